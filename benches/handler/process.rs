//! A handler as a process of its own: how soon it answers, what it takes.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Where the host expects a handler.
const PORT_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// The host gives up after this, too (`initializationTimeout`).
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Between two tries to connect. The host's own 25 ms would hide what is measured.
const BETWEEN_TRIES: Duration = Duration::from_micros(200);
/// Of the times in `/proc/{pid}/stat` (`getconf CLK_TCK`; 100 on every Linux of today).
const TICKS_PER_SECOND: f64 = 100.0;

/// How a handler is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// What the table calls it.
    pub name: &'static str,
    /// The executable.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// What it says of itself.
    pub version: String,
}

/// A handler that runs; it is killed when this is dropped.
pub struct Running {
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// From the start of the process to its first answer.
    pub first_answer: Duration,
}

impl Program {
    /// Starts it and waits for the first answer to the readiness probe.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not answer.
    pub fn start(&self, settings: &BTreeMap<&'static str, String>) -> anyhow::Result<Running> {
        // Free at this moment: the host chooses its port in the same way.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let started = Instant::now();
        let child = Command::new(&self.executable)
            .args(&self.arguments)
            .envs(settings)
            .env(PORT_VARIABLE, port.to_string())
            // Not set in Azure; with the second one every error of a library would look through the stack.
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null())
            // The host reads these lines; reading them here would take from the processors that are measured.
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .with_context(|| format!("cannot start {}", self.executable.display()))?;
        let mut running = Running { child, port, first_answer: Duration::ZERO };
        while !is_answered(port) {
            if let Some(status) = running.child.try_wait()? {
                bail!("{} ended with {status}", self.name);
            }
            if started.elapsed() > START_DEADLINE {
                bail!("{} did not answer within {} s", self.name, START_DEADLINE.as_secs());
            }
            thread::sleep(BETWEEN_TRIES);
        }
        running.first_answer = started.elapsed();
        Ok(running)
    }
}

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

impl Running {
    /// The resident memory, in MB (10^6 bytes).
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_megabytes(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    }

    /// The processor time that it took so far, of all its threads.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn processor_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The second field is the program's name in parentheses, which may hold anything; utime and stime are 14 and 15.
        let rest = stat.rsplit_once(')').context("no process state")?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |field: usize| -> anyhow::Result<f64> {
            Ok(fields.get(field - 3).context("too few fields")?.parse()?)
        };
        Ok((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
