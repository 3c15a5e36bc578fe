//! The document of a build.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Failure, ItemStatus, Record, StepState};
use crate::{
    domain::{
        DeploymentName, FactorySettings, ImageName, ImagePath, Inputs, LabId, OsType, RunId, RunReason,
        VmName, messages::Queue, plan::ReusedImage,
    },
    ledger::CalledOff,
};

/// A build as it was planned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedBuild {
    /// The definition.
    pub image_path: ImagePath,
    /// The custom image's name in every lab.
    pub image_name: ImageName,
    /// The lab VM's name in the factory lab.
    pub vm_name: VmName,
    /// The labs that receive the image.
    pub labs: Vec<LabId>,
}

/// One build: a definition of a run on its way to a captured VHD.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildRecord {
    /// The run.
    pub run: RunId,
    /// When the run started.
    #[serde(with = "time::serde::rfc3339")]
    pub run_started_at: OffsetDateTime,
    /// The commit that the run is pinned to.
    pub commit: Option<String>,
    /// Who wrote that commit, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// What started the run. Builds that an older version of the factory planned do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RunReason>,
    /// What is built, under which names, for which labs.
    #[serde(flatten)]
    pub plan: PlannedBuild,
    /// A line about the image, for people.
    pub description: String,
    /// The lab in which it is made.
    pub factory_lab: LabId,
    /// The settings that the run was pinned to.
    pub settings: FactorySettings,
    /// What it is made from. Builds that an older version of the factory planned do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// The image of another run that it is: then it is not built, only brought to labs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuses: Option<ReusedImage>,
    /// What the run does beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub siblings: Option<Siblings>,
    /// That it is no longer wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<CalledOff>,
    /// The states of its steps.
    pub steps: BTreeMap<Queue, StepState>,
}

/// What a run does beside one build. All of it shares Azure's budget of calls, which is counted by subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Siblings {
    /// The run's builds, this one among them.
    pub builds: usize,
    /// The run's copies into each subscription to which this build is copied, by its id in lower case.
    pub copies: BTreeMap<String, usize>,
    /// The older images that it lets retire in these subscriptions, as far as it was foreseen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retired: BTreeMap<String, usize>,
}

impl Record for BuildRecord {
    fn steps(&self) -> &BTreeMap<Queue, StepState> {
        &self.steps
    }
    fn steps_mut(&mut self) -> &mut BTreeMap<Queue, StepState> {
        &mut self.steps
    }
    fn status(&self) -> ItemStatus {
        let ended = |step| self.step(step).is_some_and(|state: &StepState| state.ending.is_some());
        let captured = self.captured().is_some();
        let cleared = match &self.reuses {
            Some(_) => ended(Queue::CaptureImage),
            None => ended(Queue::DeleteVm) && (!captured || ended(Queue::RetireImages)),
        };
        match (cleared, captured) {
            (false, _) => ItemStatus::Open,
            (true, true) => ItemStatus::Succeeded,
            (true, false) => ItemStatus::Failed,
        }
    }
    fn due(&self) -> Vec<(Queue, OffsetDateTime)> {
        if self.reuses.is_some() {
            return vec![(Queue::CaptureImage, self.run_started_at)];
        }
        let ended = |step| self.step(step).filter(|state: &&StepState| state.ending.is_some());
        let mut due = vec![(Queue::CreateVm, self.run_started_at)];
        match (ended(Queue::CreateVm), ended(Queue::CaptureImage)) {
            (Some(created), None) if created.succeeded() => due.push((Queue::CaptureImage, created.end())),
            (Some(created), None) => due.push((Queue::DeleteVm, created.end())),
            (Some(_), Some(captured)) => {
                due.push((Queue::DeleteVm, captured.end()));
                if captured.succeeded() {
                    due.push((Queue::RetireImages, captured.end()));
                }
            }
            (None, _) => {}
        }
        due
    }
    fn labs(&self) -> Vec<&LabId> {
        vec![&self.factory_lab]
    }
    fn called_off(&self) -> Option<&CalledOff> {
        self.called_off.as_ref()
    }
    fn want_again(&mut self) {
        self.called_off = None;
    }
    fn failure(&self) -> Option<&Failure> {
        [Queue::CreateVm, Queue::CaptureImage].iter().find_map(|step| self.step(*step)?.failure())
    }
    fn copies(&self) -> Option<usize> {
        self.captured().map(|_| self.plan.labs.len())
    }
}

impl BuildRecord {
    /// The deployment that makes the VM.
    pub fn deployment(&self) -> DeploymentName {
        DeploymentName::derive(&self.run, &self.plan.image_path)
    }

    /// The operating system that the image has, once that is known.
    pub fn os_type(&self) -> Option<OsType> {
        let reused = self.reuses.as_ref().map(|reused| reused.os_type);
        reused.or_else(|| self.facts(Queue::CreateVm)?.os_type)
    }

    /// The capture, once it succeeded.
    pub fn captured(&self) -> Option<&StepState> {
        self.step(Queue::CaptureImage).filter(|state| state.succeeded())
    }

    /// How many builds the run has, this one among them; 1 in documents of before this was noted.
    pub fn builds_beside(&self) -> usize {
        self.siblings.as_ref().map_or(1, |siblings| siblings.builds)
    }

    /// How many copies of the run go into the subscription of `lab`; `None` in documents of before this was noted.
    pub fn copies_beside(&self, lab: &LabId) -> Option<usize> {
        of_subscription(&self.siblings.as_ref()?.copies, lab)
    }

    /// How many older images the run lets retire in the subscription of `lab`, as far as it was foreseen.
    pub fn retired_beside(&self, lab: &LabId) -> Option<usize> {
        of_subscription(&self.siblings.as_ref()?.retired, lab)
    }
}

fn of_subscription(numbers: &BTreeMap<String, usize>, lab: &LabId) -> Option<usize> {
    numbers.get(&lab.subscription_id().to_ascii_lowercase()).copied()
}
