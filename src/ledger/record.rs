//! What the ledger remembers: a document for each run, build and copy.
//!
//! Everything about an item is fixed when its document is made; only the states of its steps change afterwards, and a step
//! changes its own alone (that the item was called off is written beside them, once). So two steps of one item never overwrite
//! each other: the later writer reads again and puts its own state into the newer document.

mod build;
mod copy;
mod run;
mod state;

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

use super::{CallOffKind, CalledOff};
use crate::domain::{LabId, messages::Queue};

pub use build::{BuildRecord, PlannedBuild, Siblings};
pub use copy::CopyRecord;
pub use run::{RunBuild, RunRecord, UnchangedImage};
pub use state::{Copied, Ending, Facts, Failure, Kept, StepState};

/// How an item stands, as a listing shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemStatus {
    /// A step goes on or is still to come.
    Open,
    /// All steps ended, and what the item is for is there.
    Succeeded,
    /// All steps ended, but what the item is for is not there.
    Failed,
}

impl ItemStatus {
    /// The word that stands in the document's metadata.
    pub fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    /// The status of a document's metadata; anything unknown counts as open, so that it is looked at again.
    pub fn from_word(word: &str) -> Self {
        match word {
            "succeeded" => Self::Succeeded,
            "failed" => Self::Failed,
            _ => Self::Open,
        }
    }
}

/// A document of the ledger that steps work on.
pub trait Record: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// The states of its steps.
    fn steps(&self) -> &BTreeMap<Queue, StepState>;
    /// The states of its steps, to change.
    fn steps_mut(&mut self) -> &mut BTreeMap<Queue, StepState>;
    /// How the item stands.
    fn status(&self) -> ItemStatus;
    /// The steps that should be under way or over, each with the moment since when: what was before it ended. No other may begin.
    fn due(&self) -> Vec<(Queue, OffsetDateTime)>;
    /// The labs whose storage its steps use.
    fn labs(&self) -> Vec<&LabId>;

    /// That it is no longer wanted.
    fn called_off(&self) -> Option<&CalledOff>;
    /// Forgets that it was called off: a person wants it again.
    fn want_again(&mut self);
    /// Why what the item is for will not be there, if it will not.
    fn failure(&self) -> Option<&Failure>;

    /// How it was called off, unless it failed for another reason.
    fn call_off_kind(&self) -> Option<CallOffKind> {
        let called_off = self.called_off()?;
        self.failure().is_none_or(|failure| called_off.explains(failure)).then(|| called_off.kind())
    }

    /// How many copies the item has, for listings.
    fn copies(&self) -> Option<usize> {
        None
    }

    /// When the item ended: the end of its last step.
    fn ended_at(&self) -> Option<OffsetDateTime> {
        self.steps().values().filter_map(|state| state.ended_at).max()
    }

    /// Which of its steps wants to be woken first, or was to begin and did not, and when; `None` if none does.
    fn wakes(&self) -> Option<(Queue, OffsetDateTime)> {
        let going = self.steps().iter().filter(|(_, state)| state.ending.is_none());
        let going = going.map(|(step, state)| (*step, state.wake_at));
        let unbegun = self.due().into_iter().filter(|(step, _)| self.step(*step).is_none());
        going.chain(unbegun).min_by_key(|(_, at)| *at)
    }

    /// The state of a step.
    fn step(&self, step: Queue) -> Option<&StepState> {
        self.steps().get(&step)
    }

    /// What a step found or made.
    fn facts(&self, step: Queue) -> Option<&Facts> {
        self.step(step).map(|state| &state.facts)
    }
}
