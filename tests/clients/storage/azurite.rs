//! Azurite, Microsoft's emulator, as a process.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use azure_core::http::Url;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::place::{Account, Place};
use crate::harness::tools;

/// It is up within seconds, or never.
const DEADLINE: Duration = Duration::from_secs(120);
/// What it prints before its address.
const LISTENS: &str = "successfully listens on ";
/// It writes every zero of a disk into memory, so that disks are small.
const DISK: u64 = 1 << 20;
/// Its accounts.
const ACCOUNTS: [&str; 2] = ["first", "second"];
/// Runs before it. Ends it when its stdin closes: with us, however we end. And keeps it from closing connections that were idle for
/// 5 s, as Node.js does, just when a busy client sends on them; its own option for that is read under another name.
const PRELUDE: &str = "data:text/javascript,import http from 'node:http';\
    process.stdin.on('end',()=>process.exit()).resume();\
    const listen=http.Server.prototype.listen;\
    http.Server.prototype.listen=function(...where){this.keepAliveTimeout=0;return listen.apply(this,where)}";

/// A running Azurite; it ends when this is dropped.
pub struct Azurite {
    address: String,
    _process: Child,
    /// Kept open: a process that cannot write may end.
    _lines: Lines<BufReader<ChildStdout>>,
}

/// A key, base64; no secret.
fn key(account: &str) -> String {
    BASE64.encode(format!("the key of {account}"))
}

impl Azurite {
    /// Starts it on a free port, without any trace on disk.
    ///
    /// # Errors
    /// If it cannot be installed, or does not come up.
    pub async fn start() -> anyhow::Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/azurite");
        let folder = tools::node_packages(&manifest)?;
        let accounts = ACCOUNTS.map(|account| format!("{account}:{}", key(account))).join(";");
        let mut process = Command::new("node")
            .current_dir(&folder)
            .args(["--import", PRELUDE, "node_modules/azurite/dist/src/blob/main.js"])
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence", "--silent"])
            // It is told of versions that are newer than itself.
            .args(["--skipApiVersionCheck", "--disableTelemetry"])
            .env("AZURITE_ACCOUNTS", accounts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start Azurite")?;
        let mut lines = BufReader::new(process.stdout.take().context("Azurite has no stdout")?).lines();
        let mut said = Vec::new();
        let address = timeout(DEADLINE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some((_, address)) = line.split_once(LISTENS) {
                    return Ok(Some(address.trim().to_owned()));
                }
                said.push(line);
            }
            anyhow::Ok(None)
        });
        match address.await.context("Azurite does not come up")?? {
            Some(address) => Ok(Self { address, _process: process, _lines: lines }),
            None => bail!("Azurite ended at once:\n{}", said.join("\n")),
        }
    }

    /// Its two accounts.
    ///
    /// # Errors
    /// If it said no address.
    pub fn place(&self) -> anyhow::Result<Place> {
        let [account, neighbour] = ACCOUNTS.map(|name| {
            let endpoint = Url::parse(&format!("{}/{name}", self.address));
            endpoint.map(|endpoint| Account { name: name.to_owned(), key: key(name), endpoint })
        });
        Place::new(account?, neighbour?, DISK)
    }
}
