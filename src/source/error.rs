//! Why configuration cannot be had.

use std::time::Duration;

/// Configuration that cannot be had. Each says what is missing, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// A repository, commit or folder is not there.
    #[error("{place} has no {what}; {advice}")]
    Missing {
        /// Where it was looked for.
        place: String,
        /// What is missing.
        what: String,
        /// What to do about it.
        advice: String,
    },
    /// A git host lets nobody in who comes like this.
    #[error("{place} refuses access: {reason}; {advice}")]
    Refused {
        /// What was asked for.
        place: String,
        /// What the host said.
        reason: String,
        /// What to do about it.
        advice: String,
    },
    /// What came is not what a git host sends, or nothing that may be trusted.
    #[error("{place} cannot be used: {reason}")]
    Malformed {
        /// Where it came from.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Trouble that passes: no connection, a host's own trouble, a rate limit.
    #[error("{place} cannot be reached now: {reason}")]
    Unavailable {
        /// What was asked for.
        place: String,
        /// What happened.
        reason: String,
        /// How long the host asks to wait, if it does.
        retry_after: Option<Duration>,
    },
}

impl SourceError {
    pub(super) fn malformed(place: &str, reason: impl Into<String>) -> Self {
        Self::Malformed { place: place.to_owned(), reason: reason.into() }
    }
}
