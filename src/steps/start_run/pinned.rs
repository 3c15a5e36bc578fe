//! The configuration that a run is pinned to: fetched once, then always the same.

use tracing::warn;

use super::planning::{INVALID_CONFIGURATION, PASSED_BY};
use crate::{
    azure::{AzureError, ErrorKind},
    domain::config::{Configuration, ConfigurationFiles},
    ledger::{Failure, Key, RunRecord},
    source::SourceError,
    steps::Factory,
};

/// The failure of a run whose branch has moved on: events of pushes may come in any order, and what is newer must not be undone.
pub(super) async fn newer_commit(
    factory: &Factory,
    record: &RunRecord,
) -> Result<Option<Failure>, AzureError> {
    let newest = match factory.source.resolve(None).await {
        Ok(newest) => newest,
        Err(error) => return no_source(&error).map(Some),
    };
    let is_newer =
        |newest: &String| record.commit.as_ref().is_some_and(|own| !own.eq_ignore_ascii_case(newest));
    Ok(newest.filter(is_newer).map(|newest| {
        Failure::new(
            PASSED_BY,
            format!("the branch has moved on to commit {newest}, which has a run of its own"),
        )
    }))
}

/// The configuration that the run is pinned to, and whether it was pinned just now: fetched once, then always the same, whatever is
/// pushed meanwhile.
pub(super) async fn configuration(
    factory: &Factory,
    record: &mut RunRecord,
) -> Result<Result<(Configuration, bool), Failure>, AzureError> {
    let mut is_pinned_now = false;
    let files = match factory.ledger.pinned_configuration(&record.run).await {
        Ok(Some(files)) => files,
        Err(error) if error.is_transient() => return Err(error),
        // Somebody spoilt it: the run says so instead of never being seen.
        Err(error) => return Ok(Err(error.into())),
        Ok(None) => match fetch(factory, record).await? {
            Ok(files) => {
                is_pinned_now = true;
                factory.ledger.pin_configuration(&record.run, &files).await?
            }
            Err(failure) => return Ok(Err(failure)),
        },
    };
    let (configuration, problems) = Configuration::load(&files);
    record.warnings = problems.warnings().map(ToString::to_string).collect();
    Ok(match configuration.filter(|_| !problems.has_errors()) {
        Some(configuration) => Ok((configuration, is_pinned_now)),
        None => {
            let all: Vec<String> = problems.errors().map(ToString::to_string).collect();
            Err(Failure::new(INVALID_CONFIGURATION, all.join("\n")))
        }
    })
}

/// Fetches the configuration. The commit is written down before: whoever tries again, or at the same time, fetches the same.
async fn fetch(
    factory: &Factory,
    record: &mut RunRecord,
) -> Result<Result<ConfigurationFiles, Failure>, AzureError> {
    let found = match factory.source.resolve(record.commit.as_deref()).await {
        Ok(found) => found,
        Err(error) => return no_source(&error).map(Err),
    };
    let author = match (&record.author, &found) {
        (None, Some(commit)) => author(factory, commit).await,
        (known, _) => known.clone(),
    };
    if (&found, &author) != (&record.commit, &record.author) {
        let change = |stored: &mut RunRecord| {
            let is_first = stored.commit == record.commit;
            if is_first {
                stored.commit.clone_from(&found);
                stored.author.clone_from(&author);
            }
            is_first
        };
        let stored = factory.ledger.update::<RunRecord>(&Key::run(&record.run), change).await?;
        (record.commit, record.author) = (stored.commit, stored.author);
    }
    match factory.source.fetch(record.commit.as_deref()).await {
        Ok(files) => Ok(Ok(files)),
        Err(error) => no_source(&error).map(Err),
    }
}

/// Who wrote a commit that was named without its author. No run waits or fails for it.
async fn author(factory: &Factory, commit: &str) -> Option<String> {
    match factory.source.author(commit).await {
        Ok(author) => author,
        Err(error) => {
            warn!(%error, commit, "the commit's author is not known");
            None
        }
    }
}

/// Why there is no configuration: for good, or as trouble that the turn waits for.
fn no_source(error: &SourceError) -> Result<Failure, AzureError> {
    match error {
        SourceError::Unavailable { retry_after, .. } => Err(AzureError {
            kind: ErrorKind::Transient { retry_after: *retry_after },
            ..AzureError::permanent("fetch the configuration", "ConfigurationUnavailable", error.to_string())
        }),
        _ => Ok(Failure::new("ConfigurationUnreadable", error.to_string())),
    }
}
