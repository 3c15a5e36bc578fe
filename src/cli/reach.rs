//! How a command reaches the factory: by the same settings as the handler.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use serde::Deserialize;
use servicebus::ServiceBusClient;

use crate::{
    domain::{
        LabId, Message, RunId,
        messages::{AskingId, Person},
    },
    handler::{Settings, settings::lab_of_id},
    ledger::{Key, RunRecord},
    steps::{Envelope, Factory},
};

/// The variables in which systems say who is signed in.
const USER_VARIABLES: [&str; 3] = ["USER", "LOGNAME", "USERNAME"];
/// Random letters of an id: enough that two wishes of one moment do not meet.
const RANDOM_LETTERS: usize = 6;
/// So many of the newest runs are searched for a lab of a name.
const RUNS_SEARCHED: usize = 20;

/// Where the factory is.
#[derive(Debug, Args)]
pub struct Reach {
    /// A local.settings.json with the handler's settings, such as that of a running `dev`; the environment where it is not
    /// given. Outside Azure you are who the Azure CLI says you are.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
}

/// Who asks.
#[derive(Debug, Args)]
pub struct Asker {
    /// Who asks, for the record [default: the system's user].
    #[arg(long, value_name = "NAME")]
    by: Option<Person>,
}

/// The factory as a command sees it.
pub struct Office {
    /// The ledger, Azure, and where messages go.
    pub factory: Factory,
    /// Service Bus, for reading dead letters.
    pub client: ServiceBusClient,
}

/// `local.settings.json`, as Azure Functions Core Tools define it.
#[derive(Deserialize)]
struct LocalSettings {
    #[serde(rename = "Values")]
    values: BTreeMap<String, String>,
}

impl Reach {
    /// Runs `work` against the factory.
    ///
    /// # Errors
    /// If the settings cannot be used, or the work fails.
    pub fn run<F>(&self, work: impl FnOnce(Office) -> F) -> anyhow::Result<ExitCode>
    where
        F: Future<Output = anyhow::Result<ExitCode>>,
    {
        self.with_variables(|variables| {
            let (factory, client) = Settings::read(&variables)
                .context(
                    "this command reads the handler's settings: set them, or name a file with --settings",
                )?
                .for_person()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let closing = client.clone();
                let result = work(Office { factory, client }).await;
                closing.close().await;
                result
            })
        })
    }

    /// Runs `work` with the settings, usable or not.
    ///
    /// # Errors
    /// If the file cannot be read, or the work fails.
    pub fn with_variables(
        &self,
        work: impl FnOnce(BTreeMap<String, String>) -> anyhow::Result<ExitCode>,
    ) -> anyhow::Result<ExitCode> {
        match &self.settings {
            Some(file) => again_with(file),
            None => work(std::env::vars().collect()),
        }
    }
}

/// Starts this program once more, with a file's settings as its environment, where the libraries of Azure look for theirs too.
fn again_with(file: &Path) -> anyhow::Result<ExitCode> {
    let about = || format!("cannot use the settings in {}", file.display());
    let text = std::fs::read(file).with_context(about)?;
    let LocalSettings { values } = serde_json::from_slice(&text).with_context(about)?;
    let mut arguments = Vec::new();
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        match argument.to_str() {
            Some("--settings") => drop(given.next()),
            Some(text) if text.starts_with("--settings=") => {}
            _ => arguments.push(argument),
        }
    }
    let status =
        std::process::Command::new(std::env::current_exe()?).args(arguments).envs(values).status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Asker {
    /// Who asks.
    ///
    /// # Errors
    /// If neither `--by` nor the system tells.
    pub fn person(&self) -> anyhow::Result<Person> {
        if let Some(by) = &self.by {
            return Ok(by.clone());
        }
        let names = USER_VARIABLES.iter().filter_map(|name| std::env::var(name).ok());
        let found = names.filter_map(|name| Person::parse(&name).ok()).next();
        found.context("the system does not say who you are: say it with --by")
    }
}

impl Office {
    /// Sends a wish, or says what hindered it.
    ///
    /// # Errors
    /// If Service Bus does not take it.
    pub async fn send(&self, message: Message) -> anyhow::Result<()> {
        Ok(self.factory.outbox.send(vec![Envelope::now(message)]).await?)
    }

    /// A run's document.
    ///
    /// # Errors
    /// If the ledger refuses or does not know the run.
    pub async fn run_record(&self, run: &RunId) -> anyhow::Result<RunRecord> {
        let found = self.factory.ledger.read::<RunRecord>(&Key::run(run)).await?;
        found.map(|(record, _)| record).with_context(|| {
            format!(
                "run {run} is not known: it never started, or it ended more than 90 days ago and is forgotten"
            )
        })
    }

    /// The lab of a resource id, or of a name that the newest runs know.
    ///
    /// # Errors
    /// If it is no lab's, nobody knows the name, or several labs have it.
    pub async fn lab(&self, text: &str) -> anyhow::Result<LabId> {
        if text.starts_with('/') {
            return lab_of_id(text).map_err(anyhow::Error::msg);
        }
        let mut known: Vec<LabId> = self.factory.factory_lab.iter().cloned().collect();
        let mut runs = self.factory.ledger.runs().await?;
        runs.sort_by_key(|entry| std::cmp::Reverse(entry.ended_at.or(entry.wake_at)));
        for entry in runs.iter().take(RUNS_SEARCHED) {
            if let Some((run, _)) = self.factory.ledger.read::<RunRecord>(&entry.key).await? {
                known.extend(run.labs.into_iter().chain(run.factory_lab));
            }
        }
        one_named(known, text)
    }
}

/// The only lab of this name.
fn one_named(labs: Vec<LabId>, name: &str) -> anyhow::Result<LabId> {
    let mut found: Vec<LabId> = Vec::new();
    for lab in labs {
        // One may be named with its resource group and once without.
        if lab.lab_name().eq_ignore_ascii_case(name) && !found.iter().any(|known| known.may_be(&lab)) {
            found.push(lab);
        }
    }
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => bail!("no run of late knows a lab '{name}': name it by its resource id"),
        _ => {
            let all: Vec<String> = found.iter().map(ToString::to_string).collect();
            bail!("several labs are named '{name}': {}; name the one by its resource id", all.join(", "))
        }
    }
}

/// Letters that nobody else drew.
///
/// # Errors
/// If the system gives no random numbers.
pub fn random_letters() -> anyhow::Result<String> {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; RANDOM_LETTERS];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system gives no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}

/// What tells this wish from others.
///
/// # Errors
/// As of [`random_letters`].
pub fn asking_id() -> anyhow::Result<AskingId> {
    Ok(AskingId::parse(&random_letters()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab(subscription: char, group: Option<&str>, name: &str) -> LabId {
        let id = format!("{subscription}0000000-0000-4000-8000-000000000000");
        LabId::new(&id, group, name).unwrap()
    }

    #[test]
    fn a_lab_is_found_by_its_name_if_only_one_has_it() {
        let labs = || vec![lab('a', Some("rg"), "web"), lab('a', None, "Web"), lab('b', Some("rg"), "data")];
        assert_eq!(one_named(labs(), "WEB").unwrap(), lab('a', Some("rg"), "web"));
        assert!(one_named(labs(), "other").unwrap_err().to_string().contains("no run of late"));
        let two = labs().into_iter().chain([lab('b', Some("rg"), "web")]).collect();
        assert!(one_named(two, "web").unwrap_err().to_string().contains("several labs"));
    }

    #[test]
    fn ids_of_wishes_differ() {
        assert_ne!(asking_id().unwrap(), asking_id().unwrap());
    }
}
