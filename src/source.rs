//! Where configuration comes from.

mod directory;
mod error;
mod git;
mod local;
mod place;
mod selection;

use async_trait::async_trait;

pub use directory::Directory;
pub use error::SourceError;
pub use git::Git;
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

    /// The configuration's files at `commit`, or as they are now where `None`.
    ///
    /// # Errors
    /// If they cannot be had.
    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError>;
}
