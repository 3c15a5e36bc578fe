//! The repository that a push names.

use std::fmt;

use super::shown;
use crate::domain::Repository;

/// A repository as a push names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PushedRepository {
    /// At GitHub.
    GitHub {
        /// `{owner}/{name}`
        full_name: String,
    },
    /// At Azure DevOps.
    AzureDevOps {
        /// The GUID.
        id: String,
        /// The name within its project.
        name: String,
        /// The address for cloning.
        remote_url: Option<String>,
    },
}

impl PushedRepository {
    /// Whether it is that one.
    pub fn is(&self, repository: &Repository) -> bool {
        match (self, repository) {
            // Which server it is follows from the secret: each webhook has one of its own.
            (Self::GitHub { full_name }, Repository::GitHub { owner, name, .. }) => {
                full_name.to_lowercase() == format!("{owner}/{name}").to_lowercase()
            }
            (Self::AzureDevOps { id, remote_url, .. }, Repository::AzureDevOps { name, .. }) => {
                // An id is one repository's in the whole world; a name is so only with its project and organisation.
                let is_same = |url: &String| Repository::parse(url).is_ok_and(|pushed| pushed.is(repository));
                is_guid(name) && id.eq_ignore_ascii_case(name) || remote_url.as_ref().is_some_and(is_same)
            }
            _ => false,
        }
    }
}

fn is_guid(text: &str) -> bool {
    text.len() == 36 && uuid::Uuid::try_parse(text).is_ok()
}

impl fmt::Display for PushedRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::GitHub { full_name: name } | Self::AzureDevOps { name, .. }) = self;
        f.write_str(&shown(name))
    }
}
