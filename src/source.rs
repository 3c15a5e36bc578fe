//! Where configuration comes from.

mod archive;
mod azure_devops;
mod directory;
mod error;
mod git;
mod github;
mod http;
mod local;
mod place;
mod selection;

use async_trait::async_trait;

pub use azure_devops::{AzureDevOps, AzureDevOpsOptions, DevOpsAccess};
pub use directory::Directory;
pub use error::SourceError;
pub use git::Git;
pub use github::{BadApp, GitHub, GitHubAccess, GitHubApp, GitHubOptions, PUBLIC_API};
pub use http::Carrier;
pub use local::Local;
pub use place::{BadPlace, Folder, Revision};

use crate::domain::config::ConfigurationFiles;

/// A place that holds configuration.
#[async_trait]
pub trait Source: Send + Sync {
    /// The whole id of the commit that `asked` names, be it an id, a branch or a tag; of the newest one where `None`. A source
    /// without commits has none.
    ///
    /// # Errors
    /// If there is no such commit, or it cannot be asked for now.
    async fn resolve(&self, asked: Option<&str>) -> Result<Option<String>, SourceError> {
        Ok(asked.map(str::to_owned))
    }

    /// Who wrote the commit of this whole id, if the source tells.
    ///
    /// # Errors
    /// If it cannot be asked for now.
    async fn author(&self, _commit: &str) -> Result<Option<String>, SourceError> {
        Ok(None)
    }

    /// The configuration's files at `commit`, or as they are now where `None`.
    ///
    /// # Errors
    /// If they cannot be had.
    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError>;
}

#[cfg(test)]
mod tests;
