//! The document of a copy.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Ending, Failure, ItemStatus, Record, StepState};
use crate::{
    domain::{FactorySettings, ImageName, ImagePath, Inputs, LabId, OsType, RunId, messages::Queue},
    ledger::CalledOff,
};

/// One copy: a build on its way into one lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyRecord {
    /// The run.
    pub run: RunId,
    /// When the run started.
    #[serde(with = "time::serde::rfc3339")]
    pub run_started_at: OffsetDateTime,
    /// The definition.
    pub image_path: ImagePath,
    /// The custom image's name.
    pub image_name: ImageName,
    /// A line about the image, for people.
    pub description: String,
    /// The operating system that the image has.
    pub os_type: OsType,
    /// Where the statement about its provenance stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance_url: Option<String>,
    /// The lab that receives it.
    pub lab: LabId,
    /// The lab in which it was made.
    pub factory_lab: LabId,
    /// The settings that the run was pinned to.
    pub settings: FactorySettings,
    /// What the image was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// When the run started that made the image, if another did.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub made_at: Option<OffsetDateTime>,
    /// How many copies of the run go into the lab's subscription, this one among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siblings: Option<usize>,
    /// How many older images the run lets retire in the lab's subscription, as far as it was foreseen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_beside: Option<usize>,
    /// That it is no longer wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<CalledOff>,
    /// The states of its steps.
    pub steps: BTreeMap<Queue, StepState>,
}

impl Record for CopyRecord {
    fn steps(&self) -> &BTreeMap<Queue, StepState> {
        &self.steps
    }
    fn steps_mut(&mut self) -> &mut BTreeMap<Queue, StepState> {
        &mut self.steps
    }
    fn status(&self) -> ItemStatus {
        let copied = self.step(Queue::CopyImage);
        let retired = self.step(Queue::RetireImages).is_some_and(|state| state.ending.is_some());
        match copied.and_then(|state| state.ending.as_ref()) {
            Some(Ending::Failed { .. }) => ItemStatus::Failed,
            Some(Ending::Succeeded) if retired => ItemStatus::Succeeded,
            _ => ItemStatus::Open,
        }
    }
    fn due(&self) -> Vec<(Queue, OffsetDateTime)> {
        match self.step(Queue::CopyImage) {
            Some(copied) if copied.succeeded() => vec![(Queue::RetireImages, copied.end())],
            // The document is written before the first turn: without a state it has waited since the run started.
            _ => vec![(Queue::CopyImage, self.run_started_at)],
        }
    }
    fn labs(&self) -> Vec<&LabId> {
        vec![&self.lab, &self.factory_lab]
    }
    fn called_off(&self) -> Option<&CalledOff> {
        self.called_off.as_ref()
    }
    fn want_again(&mut self) {
        self.called_off = None;
    }
    fn failure(&self) -> Option<&Failure> {
        self.step(Queue::CopyImage)?.failure()
    }
}

impl CopyRecord {
    /// What tells how new the image is: when the run started that made it.
    pub fn born(&self) -> OffsetDateTime {
        self.made_at.unwrap_or(self.run_started_at)
    }

    /// How many copies the run makes into the lab's subscription, this one among them; 1 in documents of before this was noted.
    pub fn copies_beside(&self) -> usize {
        self.siblings.unwrap_or(1)
    }

    /// How many older images the run lets retire in the lab's subscription; none in documents of before this was noted.
    pub fn retired_beside(&self) -> usize {
        self.retired_beside.unwrap_or(0)
    }

    /// The VHD's name in the lab's storage account.
    pub fn vhd(&self) -> String {
        self.image_name.target_vhd_blob(&self.lab)
    }
}
