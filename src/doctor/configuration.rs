//! Whether the configuration can be had from where the settings say, and is one.

use async_trait::async_trait;

use super::{Check, Finding, Known, Reached};
use crate::{
    domain::{Configuration, Severity},
    handler::settings::source::{GITHUB_APP_KEY, TOKEN},
    source::SourceError,
};

/// More problems than people mend in one go are counted.
const MOST_TOLD: usize = 20;
/// Digits of a commit that people know it by.
const SHORT_COMMIT: usize = 12;

/// The check.
pub struct ConfigurationSource;

#[async_trait]
impl Check for ConfigurationSource {
    fn name(&self) -> &'static str {
        "configuration"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        if let Some(name) = at.unresolved.iter().find(|name| *name == TOKEN || *name == GITHUB_APP_KEY) {
            return vec![Finding::skipped(
                "",
                format!("the repository is read with {name}: see 'key-vault'"),
            )];
        }
        let source = &at.factory.source;
        let fetched = async {
            let commit = source.resolve(None).await?;
            let files = source.fetch(commit.as_deref()).await?;
            Ok((commit, files))
        };
        let (commit, files) = match fetched.await {
            Ok(fetched) => fetched,
            Err(error) => return vec![unfetched(&error)],
        };
        let (configuration, problems) = Configuration::load(&files);
        let mut findings = Vec::new();
        let fix = "correct it and commit: 'image-factory validate DIR' tells the same before";
        for problem in problems.iter().take(MOST_TOLD) {
            let found = format!("{}: {}", problem.json_path, problem.message);
            findings.push(match problem.severity {
                Severity::Error => Finding::failed(&problem.file, found, fix),
                Severity::Warning => Finding::warning(&problem.file, found, fix),
            });
        }
        if problems.len() > MOST_TOLD {
            findings.push(Finding::failed(
                "",
                format!("and {} more problems", problems.len() - MOST_TOLD),
                fix,
            ));
        }
        if let Some(configuration) = configuration {
            let (images, labs) = (configuration.definitions.len(), configuration.labs.len());
            let short = commit.map(|id| format!("commit {}: ", id.get(..SHORT_COMMIT).unwrap_or(&id)));
            let found = format!("{}{images} images, {labs} labs", short.unwrap_or_default());
            findings.insert(0, Finding::ok("", found));
            let _ = known.configuration.set(configuration);
        }
        findings
    }
}

/// The error, with what it advises apart.
fn unfetched(error: &SourceError) -> Finding {
    match error {
        SourceError::Missing { place, what, advice } => {
            let settings = "IMAGE_FACTORY_REPOSITORY, IMAGE_FACTORY_BRANCH and IMAGE_FACTORY_FOLDER say where it is looked for";
            Finding::failed("", format!("{place} has no {what}"), format!("{advice}; {settings}"))
        }
        SourceError::Refused { place, reason, advice } => {
            Finding::failed("", format!("{place} refuses access: {reason}"), advice)
        }
        SourceError::Unavailable { .. } => {
            Finding::failed("", error.to_string(), "trouble that passes: run the doctor again in a while")
        }
        other => {
            let fix = "docs/configuration.md, 'Where it comes from', says what IMAGE_FACTORY_REPOSITORY and IMAGE_FACTORY_CONFIGURATION may name";
            Finding::failed("", other.to_string(), fix)
        }
    }
}
