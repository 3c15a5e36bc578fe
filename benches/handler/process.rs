//! A handler as a process of its own: how soon it answers, what it takes.

use std::{collections::BTreeMap, ops::Deref, path::PathBuf, process::Command};

use anyhow::Context as _;
use image_factory::dev::handler_process::HandlerProcess;

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

/// A handler that runs.
pub struct Running(HandlerProcess);

impl Deref for Running {
    type Target = HandlerProcess;

    fn deref(&self) -> &HandlerProcess {
        &self.0
    }
}

impl Program {
    /// Starts it and waits for the first answer to the readiness probe.
    ///
    /// # Errors
    /// If it cannot be started, ends, or does not answer.
    pub fn start(&self, settings: &BTreeMap<&'static str, String>) -> anyhow::Result<Running> {
        let mut command = Command::new(&self.executable);
        command.args(&self.arguments).envs(settings);
        // Not set in Azure; with the second one every error of a library would look through the stack.
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        HandlerProcess::start(&mut command).map(Running).with_context(|| self.name)
    }
}

impl Running {
    /// The resident memory, in MB (10^6 bytes).
    ///
    /// # Errors
    /// If the process is gone.
    pub fn resident_megabytes(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes * 1024.0 / 1e6)
    }

    /// The processor time that it took so far, of all its threads.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn processor_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        // The second field is the program's name in parentheses, which may hold anything; utime and stime are 14 and 15.
        let rest = stat.rsplit_once(')').context("no process state")?.1;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let ticks = |field: usize| -> anyhow::Result<f64> {
            Ok(fields.get(field - 3).context("too few fields")?.parse()?)
        };
        Ok((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
    }
}
