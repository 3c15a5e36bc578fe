//! What the ledger remembers: a document for each run, build and copy.
//!
//! Everything about an item is fixed when its document is made; only the states of its steps change afterwards, and a step
//! changes its own alone (that the item was called off is written beside them, once). So two steps of one item never overwrite each other: the later writer reads again and puts its own
//! state into the newer document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use time::OffsetDateTime;

use super::{CallOffKind, CalledOff};
use crate::{
    azure::{AzureError, OperationUrl},
    domain::{
        DeploymentName, FactorySettings, ImageName, ImagePath, Inputs, InputsHash, LabId, OsType, RunId,
        RunReason, VmName,
        messages::{AskingId, FIRST_ATTEMPT, Queue, StartRun},
        plan::ReusedImage,
    },
};

/// Why something failed, as it is shown to people. Holds no secret: Azure's texts arrive here without their URLs' queries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Azure's code, such as `InvalidTemplate`, or one of the factory's own, such as `DeadlineExceeded`.
    pub code: String,
    /// What happened, in Azure's words where Azure refused.
    pub message: String,
    /// Azure's correlation id, which its support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

impl Failure {
    /// A failure that the factory itself found.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), correlation_id: None }
    }
}

impl From<AzureError> for Failure {
    fn from(error: AzureError) -> Self {
        let message = format!("{}: {}", error.attempted, error.message);
        Self { code: error.code, message, correlation_id: error.correlation_id }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.correlation_id {
            Some(id) => write!(f, " (correlation id {id})"),
            None => Ok(()),
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum Ending {
    /// What the step's message asked for is true.
    Succeeded,
    /// It cannot become true.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// Where one step of one item stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepState {
    /// The number of the message that the step waits for; the message that began it was number 1.
    pub attempt: u32,
    /// When that message becomes visible.
    #[serde(with = "time::serde::rfc3339")]
    pub wake_at: OffsetDateTime,
    /// When the step began.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it ended.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<OffsetDateTime>,
    /// How it ended; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// What it waits for, in words for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting_for: String,
    /// How often the step wrote something down in the middle of a turn. Of two invocations for one message, the one that knows
    /// another number was overtaken.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub written_ahead: u32,
    /// Transient failures in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub troubles: u32,
    /// Why it will fail, once what was half made is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failure>,
    /// Since when it is taking back.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<OffsetDateTime>,
    /// The wishes of people because of which it began anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reruns: Vec<AskingId>,
    /// What it found or made.
    #[serde(default)]
    pub facts: Facts,
}

impl StepState {
    /// A step that begins now.
    pub fn begin(now: OffsetDateTime) -> Self {
        Self {
            attempt: FIRST_ATTEMPT,
            wake_at: now,
            started_at: now,
            ended_at: None,
            ending: None,
            waiting_for: String::new(),
            written_ahead: 0,
            troubles: 0,
            failing: None,
            failing_since: None,
            reruns: Vec::new(),
            facts: Facts::default(),
        }
    }

    /// When it ended; while it goes on, when it wants to be woken.
    pub fn end(&self) -> OffsetDateTime {
        self.ended_at.unwrap_or(self.wake_at)
    }

    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.ending == Some(Ending::Succeeded)
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.ending {
            Some(Ending::Failed { failure }) => Some(failure),
            _ => None,
        }
    }
}

/// What a step found or made; each step fills what it knows. The names in Azure follow from the item, so these are only what
/// does not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The operation in Azure whose end is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationUrl>,
    /// How often the effect was begun; a copy that fails is begun again a few times.
    #[serde(skip_serializing_if = "is_zero")]
    pub begun: u32,
    /// When the effect that is waited for was begun.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<OffsetDateTime>,
    /// How far the VHD copy was at the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied: Option<Copied>,
    /// When it was last seen to have moved.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<OffsetDateTime>,
    /// The deployment is known to have succeeded: nobody needs to ask again.
    #[serde(skip_serializing_if = "is_false")]
    pub deployed: bool,
    /// The operating system that the image really has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsType>,
    /// The compute VM behind the lab VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_id: Option<String>,
    /// The image of the marketplace that it was made from, in the version that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_image: Option<String>,
    /// The ids of the artifacts that ran in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// Its OS disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<String>,
    /// The VHD is complete and about to get its companion: from now on the build counts as captured, and it is too late to
    /// call it off.
    #[serde(skip_serializing_if = "is_false")]
    pub complete: bool,
    /// Where the VHD stands, without SAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vhd_url: Option<String>,
    /// Where the statement about its provenance stands, without SAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance_url: Option<String>,
    /// Its place in the row of what is to be registered in its subscription.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub registers_at: Option<OffsetDateTime>,
    /// When it was last asked for to be registered as a custom image.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<OffsetDateTime>,
    /// The custom image's resource id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_image_id: Option<String>,
    /// Images that were retired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// Older images that stay, each with what blocks it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
}

/// How far a VHD copy was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// When that was seen.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How many bytes were there.
    pub bytes: u64,
}

/// An older image that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The image.
    pub name: String,
    /// What blocks its retirement.
    pub reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

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
}

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
    /// That it is no longer wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub called_off: Option<CalledOff>,
    /// The states of its steps.
    pub steps: BTreeMap<Queue, StepState>,
}

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
pub trait Record: Serialize + serde::de::DeserializeOwned + Clone + Send + Sync {
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

    /// The first moment at which one of its steps wants to be woken, or was to begin and did not; `None` if none does.
    fn wake_at(&self) -> Option<OffsetDateTime> {
        let going = self.steps().values().filter(|state| state.ending.is_none()).map(|state| state.wake_at);
        let unbegun = self.due().into_iter().filter(|(step, _)| self.step(*step).is_none()).map(|(_, at)| at);
        going.chain(unbegun).min()
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
        self.siblings.as_ref()?.copies.get(&lab.subscription_id().to_ascii_lowercase()).copied()
    }
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

    /// The VHD's name in the lab's storage account.
    pub fn vhd(&self) -> String {
        self.image_name.target_vhd_blob(&self.lab)
    }
}
