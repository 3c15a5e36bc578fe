//! How soon a handler answers after its start.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::handler::settings;

/// Where the host expects the handler (`HttpWorkerConstants.cs`).
const PORT_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// The host gives up after this, too (`initializationTimeout`).
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two tries to connect; the host tries every 25 ms.
const BETWEEN_TRIES: Duration = Duration::from_micros(200);
/// How often it is started; the time in the middle counts.
const STARTS: usize = 5;

/// Settings with which a handler starts. It calls nothing of this before its first message.
const SETTINGS: [(&str, &str); 4] = [
    (settings::LEDGER, "https://ledger.blob.core.windows.net/image-factory"),
    (settings::SERVICE_BUS_NAMESPACE, "factory.servicebus.windows.net"),
    (settings::source::CONFIGURATION, "."),
    ("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token"),
];

/// The time from the start of `program` to its first answer, with nothing else in its environment than what it must have;
/// `None` where this machine cannot start it.
///
/// # Errors
/// If it does not start, or does not answer.
pub(super) fn first_answer(program: &Path) -> anyhow::Result<Option<Duration>> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Ok(None);
    }
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let program = std::path::absolute(program)?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        times.push(start(&program, folder.path())?);
    }
    times.sort();
    Ok(Some(times[STARTS / 2]))
}

/// A handler that runs; it is killed when this is dropped, as the host does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &Path, folder: &Path) -> anyhow::Result<Duration> {
    let name = program.display();
    // Free at this moment: the host chooses its port in the same way.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let started = Instant::now();
    let child = Command::new(program)
        .arg("handler")
        .current_dir(folder)
        .env_clear()
        .envs(SETTINGS)
        .env(PORT_VARIABLE, port.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        // Why it does not start, if it does not.
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut running = Running(child);
    while !is_answered(port) {
        if let Some(status) = running.0.try_wait()? {
            bail!("{name} ends before it answers: {status}");
        }
        if started.elapsed() > DEADLINE {
            bail!("{name} does not answer within {} s of its start", DEADLINE.as_secs());
        }
        thread::sleep(BETWEEN_TRIES);
    }
    Ok(started.elapsed())
}

/// Whether the readiness probe of the host succeeds.
fn is_answered(port: u16) -> bool {
    let ask = || {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        std::io::Result::Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
