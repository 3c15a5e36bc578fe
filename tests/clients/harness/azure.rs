//! Simulated Azure as a live process.

use std::{
    fs::File,
    io::{Read as _, Seek as _},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use factory_clock::{CLOCK_VARIABLE, Clock};
use reqwest::Method;
use serde_json::{Map, Value};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// Before the name of each address in the environment of a suite.
const PREFIX: &str = "AZURE_SIM_";

/// A running `image-factory azure-sim`; it ends when this is dropped.
pub struct Azure {
    addresses: Map<String, Value>,
    log: File,
    http: reqwest::Client,
    _process: Child,
    /// Where the certificate stands that its clients trust.
    _certificates: Option<TempDir>,
}

impl Azure {
    /// Starts it with `clock`, and waits until it listens.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start(clock: &Clock) -> anyhow::Result<Self> {
        Self::serving(clock, None).await
    }

    /// As [`start`](Self::start), over HTTPS and AMQPS: the file of the authority to trust is among the addresses.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn start_over_tls(clock: &Clock) -> anyhow::Result<Self> {
        Self::serving(clock, Some(tempfile::tempdir()?)).await
    }

    async fn serving(clock: &Clock, certificates: Option<TempDir>) -> anyhow::Result<Self> {
        let log = tempfile::tempfile()?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-factory"));
        command.arg("azure-sim");
        if let Some(folder) = &certificates {
            command.arg("--tls").arg(folder.path());
        }
        let mut process = command
            .env(CLOCK_VARIABLE, clock.to_string())
            // Held open by the handle of the process: it ends with us, however we end.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start image-factory azure-sim")?;
        let stdout = process.stdout.take().context("the simulator has no stdout")?;
        let line = BufReader::new(stdout).lines().next_line().await?;
        let line = line.with_context(|| format!("the simulator ended at once:\n{}", text_of(&log)))?;
        let addresses = serde_json::from_str(&line).context("the simulator does not say where it listens")?;
        // It is on this machine, whatever proxy the environment names.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { addresses, log, http, _process: process, _certificates: certificates })
    }

    /// One of the addresses, by its name in the line that the simulator prints.
    ///
    /// # Errors
    /// If there is none of this name.
    pub fn address(&self, name: &str) -> anyhow::Result<&str> {
        let address = self.addresses.get(name).and_then(Value::as_str);
        address.with_context(|| format!("the simulator names no '{name}'"))
    }

    /// All addresses as environment variables: `serviceBus` is `AZURE_SIM_SERVICE_BUS`.
    pub fn environment(&self) -> impl Iterator<Item = (String, String)> {
        self.addresses.iter().map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (variable(name), value)
        })
    }

    /// A request to the simulator's own interface; its answer is null if it is empty.
    ///
    /// # Errors
    /// If the simulator refuses.
    pub async fn control(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}{path}", self.address("control")?);
        let answer = self.http.request(method, url).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        if !status.is_success() {
            bail!("the simulator refused {path} ({status}): {text}");
        }
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }

    /// What it wrote to stderr so far.
    pub fn log(&self) -> String {
        text_of(&self.log)
    }
}

/// What was written to a file so far.
pub fn text_of(log: &File) -> String {
    let mut text = Vec::new();
    // A log that cannot be read must not hide what it was wanted for.
    let _ = log.try_clone().and_then(|mut log| {
        log.rewind()?;
        log.read_to_end(&mut text)
    });
    String::from_utf8_lossy(&text).into_owned()
}

fn variable(name: &str) -> String {
    let mut variable = PREFIX.to_owned();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            variable.push('_');
        }
        variable.push(letter.to_ascii_uppercase());
    }
    variable
}

#[test]
fn an_address_is_named_as_environment_variables_are() {
    assert_eq!(variable("serviceBus"), "AZURE_SIM_SERVICE_BUS");
}
