//! A handler as a process of its own, as the host starts it: how soon it answers.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

/// Where the host expects the handler (`HttpWorkerConstants.cs`).
const PORT_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// The host gives up after this, too (`initializationTimeout`).
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two tries to connect. The host's own 25 ms would hide what is measured.
const BETWEEN_TRIES: Duration = Duration::from_micros(200);

/// A handler that runs and has answered; it is killed when this is dropped, as the host does.
pub struct HandlerProcess {
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// From the start of the process to its first answer.
    pub first_answer: Duration,
}

impl HandlerProcess {
    /// Starts `command` and waits for the first answer to the readiness probe. What it logs is thrown away: reading it would take
    /// from the processors that are measured. Why it does not start stands in our own stderr.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not answer.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        // Free at this moment: the host chooses its port in the same way.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        command.env(PORT_VARIABLE, port.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let mut running = Self { child, port, first_answer: Duration::ZERO };
        while !is_answered(port) {
            if let Some(status) = running.child.try_wait()? {
                bail!("{name} ends before it answers: {status}");
            }
            if started.elapsed() > DEADLINE {
                bail!("{name} does not answer within {} s of its start", DEADLINE.as_secs());
            }
            thread::sleep(BETWEEN_TRIES);
        }
        running.first_answer = started.elapsed();
        Ok(running)
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for HandlerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
