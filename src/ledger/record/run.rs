//! The document of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use time::OffsetDateTime;

use super::{Ending, Failure, ItemStatus, Record, StepState, state::is_false};
use crate::{
    domain::{
        FactorySettings, ImageName, ImagePath, InputsHash, LabId, RunId, RunReason, VmName,
        messages::{Queue, StartRun},
        plan::ReusedImage,
    },
    ledger::CalledOff,
};

/// One run: what was planned from the pinned configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunRecord {
    /// The run.
    pub run: RunId,
    /// What started it.
    pub reason: RunReason,
    /// The commit that it is pinned to.
    pub commit: Option<String>,
    /// Who wrote that commit, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// What was asked for, until the run is planned: whoever takes it up has to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<StartRun>,
    /// The lab in which images are made, once it was found.
    pub factory_lab: Option<LabId>,
    /// The settings that it is pinned to.
    pub settings: FactorySettings,
    /// Whether whoever started it approved that it retires more than the settings allow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approve_retirement: bool,
    /// What people should know about the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Its builds, in order of image path.
    pub builds: Vec<RunBuild>,
    /// The images that are right as they are in every lab: nothing is done about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unchanged: Vec<UnchangedImage>,
    /// Every lab that receives one of its images, once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labs: Vec<LabId>,
    /// How many older images it lets retire in each subscription, by its id in lower case, as far as that was foreseen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub retired: BTreeMap<String, usize>,
    /// That it is no longer wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<CalledOff>,
    /// The states of its steps: `start-run` alone.
    pub steps: BTreeMap<Queue, StepState>,
}

/// A build as the run's document names it. Its labs stand in the build's own document: a thousand builds for a hundred labs
/// would make the run's, which every look at the run reads, 15 MB long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", from = "StoredRunBuild")]
pub struct RunBuild {
    /// The definition.
    pub image_path: ImagePath,
    /// The custom image's name in every lab.
    pub image_name: ImageName,
    /// The lab VM's name in the factory lab.
    pub vm_name: VmName,
    /// How many labs receive the image.
    pub lab_count: usize,
    /// Whether its disk is known to be small, so that it travels fast: Linux takes 30 GiB, Windows 127 (the sizes of the
    /// marketplace's images).
    #[serde(skip_serializing_if = "is_false")]
    pub is_small: bool,
    /// The hash of what it is made from, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hash: Option<InputsHash>,
    /// The image of another run that it is; `None` if this run builds it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reuses: Option<ReusedImage>,
    /// The earlier runs whose builds of it are called off.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<RunId>,
}

/// An image about which a run does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UnchangedImage {
    /// The definition.
    pub image_path: ImagePath,
    /// The image that is right.
    pub image_name: ImageName,
    /// Why nothing is done.
    pub reason: String,
    /// The earlier runs whose builds of it are called off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<RunId>,
}

/// A [`RunBuild`] as any version wrote it: the first one listed the labs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRunBuild {
    image_path: ImagePath,
    image_name: ImageName,
    vm_name: VmName,
    lab_count: Option<usize>,
    #[serde(default)]
    labs: Vec<IgnoredAny>,
    #[serde(default)]
    is_small: bool,
    #[serde(default)]
    hash: Option<InputsHash>,
    #[serde(default)]
    reuses: Option<ReusedImage>,
    #[serde(default)]
    supersedes: Vec<RunId>,
}

impl From<StoredRunBuild> for RunBuild {
    fn from(stored: StoredRunBuild) -> Self {
        let StoredRunBuild { image_path, image_name, vm_name, lab_count, labs, .. } = stored;
        let StoredRunBuild { is_small, hash, reuses, supersedes, .. } = stored;
        let lab_count = lab_count.unwrap_or(labs.len());
        Self { image_path, image_name, vm_name, lab_count, is_small, hash, reuses, supersedes }
    }
}

impl Record for RunRecord {
    fn steps(&self) -> &BTreeMap<Queue, StepState> {
        &self.steps
    }
    fn steps_mut(&mut self) -> &mut BTreeMap<Queue, StepState> {
        &mut self.steps
    }
    fn status(&self) -> ItemStatus {
        match self.step(Queue::StartRun).and_then(|state| state.ending.as_ref()) {
            None => ItemStatus::Open,
            Some(Ending::Succeeded) => ItemStatus::Succeeded,
            Some(Ending::Failed { .. }) => ItemStatus::Failed,
        }
    }
    fn due(&self) -> Vec<(Queue, OffsetDateTime)> {
        vec![(Queue::StartRun, self.started_at)]
    }
    fn labs(&self) -> Vec<&LabId> {
        Vec::new()
    }
    fn called_off(&self) -> Option<&CalledOff> {
        self.called_off.as_ref()
    }
    fn want_again(&mut self) {
        self.called_off = None;
    }
    fn failure(&self) -> Option<&Failure> {
        self.step(Queue::StartRun)?.failure()
    }
}
