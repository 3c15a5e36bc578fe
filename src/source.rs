//! Where configuration comes from.

mod directory;

use async_trait::async_trait;

pub use directory::Directory;

use crate::domain::config::ConfigurationFiles;

/// A place that holds configuration.
#[async_trait]
pub trait Source: Send + Sync {
    /// The configuration's files at `commit`, or as they are now where `None`.
    ///
    /// # Errors
    /// If they cannot be had.
    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError>;
}

/// Configuration that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// The file or folder.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// More than a configuration can be.
    #[error("{path} is too large for a configuration: {reason}")]
    TooLarge {
        /// The file or folder.
        path: String,
        /// Which limit.
        reason: String,
    },
    /// The source has no commits.
    #[error("{0} is a plain folder and cannot be read at a commit; start the run without one")]
    NoCommits(String),
}
