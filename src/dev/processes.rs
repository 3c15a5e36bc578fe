//! The processes behind `dev`: simulated Azure, and the Functions host, which starts the handler.
//!
//! Each is this very program under another command. A child ends when its stdin closes, so that nothing outlives `dev`,
//! however `dev` ends.

use std::{io::Read as _, path::Path, process::Stdio};

use anyhow::{Context as _, bail};
use factory_clock::{CLOCK_VARIABLE, Clock};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::{azure_sim::SimAddresses, functions_host::HostLine};

/// Done once the parent process is gone: it holds the other end of our stdin.
pub async fn parent_gone() {
    let (gone, told) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own: tokio would wait for a blocked read at the end of the runtime.
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 64];
        while std::io::stdin().read(&mut buffer).is_ok_and(|read| read > 0) {}
        drop(gone);
    });
    // An error says that the other end was dropped: just that is the news.
    let _ = told.await;
}

/// A running child, and what it says.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
    name: &'static str,
}

impl Process {
    fn start(name: &'static str, arguments: &[&std::ffi::OsStr], clock: &Clock) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut child = Command::new(program)
            .arg(name)
            .args(arguments)
            .env(CLOCK_VARIABLE, clock.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().with_context(|| format!("{name} has no stdout"))?;
        Ok(Self { child, stdin, lines: BufReader::new(stdout).lines(), name })
    }

    /// Its process id; 0 once it has ended.
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// The next line that it prints; `None` once it has ended.
    ///
    /// # Errors
    /// If its output cannot be read.
    pub async fn line(&mut self) -> anyhow::Result<Option<String>> {
        Ok(self.lines.next_line().await?)
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Errors
    /// If that cannot be learnt.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        // Its last lines: a child that cannot write would not end.
        while self.line().await.is_ok_and(|line| line.is_some()) {}
        self.child.wait().await.with_context(|| format!("cannot wait for {}", self.name))?;
        Ok(())
    }
}

/// Starts simulated Azure; answers where it listens.
///
/// # Errors
/// If it does not come up.
pub async fn start_azure(seed: u64, clock: &Clock) -> anyhow::Result<(Process, SimAddresses)> {
    let seed = seed.to_string();
    let mut process = Process::start("azure-sim", &["--seed".as_ref(), seed.as_ref()], clock)?;
    let Some(line) = process.line().await? else { bail!("simulated Azure ended at once") };
    let addresses = serde_json::from_str(&line).context("simulated Azure does not say where it listens")?;
    Ok((process, addresses))
}

/// A Functions host whose handler is ready.
pub struct StartedHost {
    /// Its process.
    pub process: Process,
    /// Where it listens: `http://127.0.0.1:port`.
    pub address: String,
    /// The handler's process id.
    pub handler: u32,
}

/// Starts the Functions host on the app in `app_root`, and waits until the handler is ready.
///
/// # Errors
/// If it or the handler does not come up.
pub async fn start_host(
    app_root: &Path,
    state: &Path,
    port: u16,
    clock: &Clock,
) -> anyhow::Result<StartedHost> {
    let port = port.to_string();
    let arguments = [
        "--app-root".as_ref(),
        app_root.as_os_str(),
        "--state".as_ref(),
        state.as_os_str(),
        "--port".as_ref(),
        port.as_ref(),
    ];
    let mut process = Process::start("functions-host", &arguments, clock)?;
    let (mut address, mut handler, mut said) = (String::new(), 0, Vec::new());
    while let Some(line) = process.line().await? {
        match serde_json::from_str(&line) {
            Ok(HostLine::Listening { address: listening }) => address = listening,
            Ok(HostLine::HandlerStarted { pid }) => handler = pid,
            Ok(HostLine::HandlerReady) => return Ok(StartedHost { process, address, handler }),
            Ok(HostLine::FunctionSkipped { function, reason }) => {
                bail!("function {function} cannot be loaded: {reason}")
            }
            _ => said.push(line),
        }
    }
    bail!("the Functions host ended before the handler was ready:\n{}", said.join("\n"))
}

/// The most memory that a process had so far, in bytes, where the system tells (Linux: `VmHWM`).
pub fn peak_memory(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}
