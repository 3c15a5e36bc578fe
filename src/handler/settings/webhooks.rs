//! The settings of commit events. Without them everything but the function `commit` works.

use std::collections::BTreeMap;

use super::{
    UNRESOLVED_REFERENCE,
    source::{BRANCH, REPOSITORY, branch},
};
use crate::{
    domain::{Repository, commit_event::Watched},
    secret::Secret,
};

/// The secret of GitHub's webhook.
pub const GITHUB_WEBHOOK_SECRET: &str = "IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET";
/// The password of the service hook of Azure DevOps.
pub const AZURE_DEVOPS_WEBHOOK_SECRET: &str = "IMAGE_FACTORY_AZURE_DEVOPS_WEBHOOK_SECRET";

/// A secret that can be guessed is none: whoever knows it starts runs, and everybody may try.
const SHORTEST_SECRET: usize = 16;

/// Whose commit events are taken.
#[derive(Clone, Debug)]
pub enum Webhooks {
    /// Those of this branch.
    Taken(Hook),
    /// Nobody's: what has to be set first.
    NotSetUp(Vec<String>),
}

/// The one place whose commit events are taken, and what proves that they come from there.
#[derive(Clone, Debug)]
pub struct Hook {
    /// The branch.
    pub watched: Watched,
    /// What only the repository's host knows. Which proof is asked for follows from the repository.
    pub secret: Secret<String>,
}

impl Webhooks {
    /// Reads the settings from `variables`, usually the environment. Trouble with them ends nothing: runs that are under way
    /// go on, and timers tick.
    pub fn read(variables: &BTreeMap<String, String>) -> Self {
        let get = |name: &str| variables.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
        let Some(address) = get(REPOSITORY) else {
            return Self::NotSetUp(vec![format!(
                "{REPOSITORY} is not set: the address of the repository, such as https://github.com/<owner>/<repository>"
            )]);
        };
        let repository = match Repository::parse(address) {
            Ok(repository) => repository,
            Err(error) => return Self::NotSetUp(vec![format!("{REPOSITORY}: {error}")]),
        };
        let mut problems = Vec::new();
        let branch = branch(get);
        if branch.starts_with("refs/") || branch.starts_with('<') {
            problems.push(format!("{BRANCH} is no branch's name; expected one such as main"));
        }
        let name = match repository {
            Repository::GitHub { .. } => GITHUB_WEBHOOK_SECRET,
            Repository::AzureDevOps { .. } => AZURE_DEVOPS_WEBHOOK_SECRET,
        };
        // The values are not repeated.
        match get(name) {
            None => problems.push(format!("{name} is not set: the secret that is entered at {repository}, too")),
            Some(text) if text.starts_with(UNRESOLVED_REFERENCE) => problems.push(format!(
                "{name} is a reference to Key Vault that Azure could not resolve: see the app's environment variables in the portal"
            )),
            Some(text) if text.starts_with('<') => {
                problems.push(format!("{name} still holds the sample's text"));
            }
            Some(text) if text.len() < SHORTEST_SECRET => {
                problems.push(format!("{name} is too short: it needs at least {SHORTEST_SECRET} characters"));
            }
            Some(text) if problems.is_empty() => {
                let watched = Watched { repository, branch: branch.to_owned() };
                return Self::Taken(Hook { watched, secret: Secret::new(text.to_owned()) });
            }
            Some(_) => {}
        }
        Self::NotSetUp(problems)
    }

    /// None at all.
    pub fn none() -> Self {
        Self::read(&BTreeMap::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "It's a Secret to Everybody";
    const GITHUB: &str = "https://github.com/octo-org/images";
    const AZURE: &str = "https://dev.azure.com/org/project/_git/images";

    fn read(settings: &[(&str, &str)]) -> Webhooks {
        Webhooks::read(
            &settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        )
    }

    fn problems(settings: &[(&str, &str)]) -> String {
        match read(settings) {
            Webhooks::NotSetUp(problems) => problems.join("\n"),
            taken @ Webhooks::Taken(_) => panic!("{taken:?}"),
        }
    }

    #[test]
    fn the_repository_says_which_secret_counts() {
        for (repository, name) in [(GITHUB, GITHUB_WEBHOOK_SECRET), (AZURE, AZURE_DEVOPS_WEBHOOK_SECRET)] {
            let Webhooks::Taken(hook) = read(&[(REPOSITORY, repository), (name, SECRET)]) else {
                panic!("{name}")
            };
            assert_eq!(hook.watched.branch, "main");
            assert_eq!(hook.secret.expose(), SECRET);
            let other =
                [GITHUB_WEBHOOK_SECRET, AZURE_DEVOPS_WEBHOOK_SECRET].into_iter().find(|one| *one != name);
            let missing = problems(&[(REPOSITORY, repository), (other.unwrap(), SECRET)]);
            assert!(missing.starts_with(&format!("{name} is not set")), "{missing}");
        }
        let own = read(&[(REPOSITORY, GITHUB), (BRANCH, " release/2026 "), (GITHUB_WEBHOOK_SECRET, SECRET)]);
        assert!(matches!(own, Webhooks::Taken(hook) if hook.watched.branch == "release/2026"));
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_with_it() {
        let secret = |value| problems(&[(REPOSITORY, GITHUB), (GITHUB_WEBHOOK_SECRET, value)]);
        for (value, reason) in [
            ("", "is not set"),
            ("  ", "is not set"),
            ("hunter2hunter2!", "at least 16"),
            ("<the secret of the webhook>", "sample's text"),
            ("@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/s)", "could not resolve"),
        ] {
            let text = secret(value);
            assert!(text.starts_with(GITHUB_WEBHOOK_SECRET) && text.contains(reason), "{text}");
            assert!(value.trim().is_empty() || !text.contains(value), "{text}");
        }
        assert!(problems(&[]).contains(REPOSITORY));
        let token =
            problems(&[(REPOSITORY, "https://x:t0ken@github.com/a/b"), (GITHUB_WEBHOOK_SECRET, SECRET)]);
        assert!(token.starts_with(REPOSITORY) && !token.contains("t0ken"), "{token}");
        let branch =
            problems(&[(REPOSITORY, GITHUB), (BRANCH, "refs/tags/v1"), (GITHUB_WEBHOOK_SECRET, SECRET)]);
        assert!(branch.starts_with(BRANCH), "{branch}");
        let taken = read(&[(REPOSITORY, GITHUB), (GITHUB_WEBHOOK_SECRET, SECRET)]);
        assert!(!format!("{taken:?}").contains(SECRET));
    }
}
