//! That something was called off: a run by a person, or a build by a later run.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Failure;
use crate::domain::RunId;

/// That a run, build or copy is no longer wanted. Written once into its document; the steps see it at their next turn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalledOff {
    /// Why.
    #[serde(flatten)]
    pub reason: CallOffReason,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// Why something was called off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "reason")]
pub enum CallOffReason {
    /// A person cancelled the run: what is not done is not done any more.
    Cancelled {
        /// Who, for the record.
        by: String,
    },
    /// A later run builds the same definition anew: stops what is not captured yet.
    Superseded {
        /// That run.
        by: RunId,
    },
}

/// The same in a word, as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOffKind {
    /// By a person.
    Cancelled,
    /// By a later run.
    Superseded,
}

impl CallOffKind {
    /// The word in a document's metadata and in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// The kind of such a word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Cancelled, Self::Superseded].into_iter().find(|kind| kind.word() == word)
    }

    /// The code of the failure that it becomes.
    pub fn code(self) -> &'static str {
        match self {
            Self::Cancelled => "Cancelled",
            Self::Superseded => "Superseded",
        }
    }
}

impl CalledOff {
    /// Its kind.
    pub fn kind(&self) -> CallOffKind {
        match self.reason {
            CallOffReason::Cancelled { .. } => CallOffKind::Cancelled,
            CallOffReason::Superseded { .. } => CallOffKind::Superseded,
        }
    }

    /// The failure with which a step ends because of it.
    pub fn failure(&self) -> Failure {
        Failure::new(self.kind().code(), self.to_string())
    }

    /// Whether `failure` comes of it, and not of something that went wrong before.
    pub fn explains(&self, failure: &Failure) -> bool {
        failure.code == self.kind().code()
    }
}

impl std::fmt::Display for CalledOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.reason {
            CallOffReason::Cancelled { by } => write!(f, "cancelled by {by}"),
            CallOffReason::Superseded { by } => write!(f, "superseded by run {by}, which builds it anew"),
        }
    }
}
