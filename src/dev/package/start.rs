//! How soon a handler answers after its start.

use std::{path::Path, process::Command, time::Duration};

use anyhow::Context as _;

use crate::{dev::handler_process::HandlerProcess, handler::settings};

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
        let mut command = Command::new(&program);
        command.arg("handler").current_dir(folder.path()).env_clear().envs(SETTINGS);
        times.push(HandlerProcess::start(&mut command)?.first_answer);
    }
    times.sort();
    Ok(Some(times[STARTS / 2]))
}
