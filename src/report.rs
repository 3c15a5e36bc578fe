//! How a run went: from the ledger, for people (a table) and machines (JSON).

use std::collections::BTreeMap;

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    azure::AzureError,
    domain::{ImageName, ImagePath, InputsHash, LabId, RunId, RunReason, VmName, messages::Queue},
    ledger::{
        BuildRecord, CallOffKind, CopyRecord, Ending, Failure, Kept, Key, Ledger, Record, RunBuild,
        RunRecord, StepState, UnchangedImage,
    },
};

/// A word for how something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// Not begun.
    Waiting,
    /// Going on.
    Running,
    /// There.
    Succeeded,
    /// Not there, with a reason.
    Failed,
    /// Not there because what it needs failed.
    Skipped,
    /// Not there because a person cancelled the run.
    Cancelled,
    /// Not there because a later run builds it anew.
    Superseded,
}

impl Status {
    fn of(state: Option<&StepState>) -> Self {
        match state.map(|state| &state.ending) {
            None => Self::Waiting,
            Some(None) => Self::Running,
            Some(Some(Ending::Succeeded)) => Self::Succeeded,
            Some(Some(Ending::Failed { .. })) => Self::Failed,
        }
    }

    /// The same, told more exactly: of something that was called off, what failed because of that was not wanted any more.
    fn told(self, kind: Option<CallOffKind>) -> Self {
        match (self, kind) {
            (Self::Failed, Some(CallOffKind::Cancelled)) => Self::Cancelled,
            (Self::Failed, Some(CallOffKind::Superseded)) => Self::Superseded,
            (status, _) => status,
        }
    }

    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Superseded => "superseded",
        }
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    /// Whether nothing more will happen and it is not there.
    pub fn is_missing(self) -> bool {
        self.is_final() && self != Self::Succeeded
    }
}

/// A run as the ledger knows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunReport {
    /// The run itself.
    pub run: RunLine,
    /// The images that it makes or brings to labs, in order of image path.
    pub images: Vec<ImageLine>,
    /// The images about which it does nothing.
    pub unchanged: Vec<UnchangedImage>,
    /// What retired because of it.
    pub retired: Vec<RetiredLine>,
    /// Older images that stay, each with what blocks its retirement.
    pub kept: Vec<KeptLine>,
    /// What failed beside the images: they stand, but a person should look at this.
    pub attention: Vec<AttentionLine>,
}

/// The run itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunLine {
    /// Its id.
    pub id: RunId,
    /// What started it.
    pub reason: RunReason,
    /// The commit that it is pinned to.
    pub commit: Option<String>,
    /// Who wrote that commit, if known.
    pub author: Option<String>,
    /// How it stands.
    pub status: Status,
    /// Why it failed, if it did.
    pub error: Option<Failure>,
    /// What people should know about its configuration.
    pub warnings: Vec<String>,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When its last item ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
}

/// One image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageLine {
    /// The definition.
    pub image_path: ImagePath,
    /// The custom image's name.
    pub image_name: ImageName,
    /// The factory VM's name.
    pub vm_name: VmName,
    /// How its build stands.
    pub status: Status,
    /// Which step it is in, and what that waits for.
    pub progress: Option<String>,
    /// When its build began and ended.
    #[serde(flatten)]
    pub times: Times,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Why it is built, or which image of another run is brought to labs.
    pub why: Option<String>,
    /// The hash of what it is made from, where it is known.
    pub hash: Option<InputsHash>,
    /// The run that makes or made it, if another does.
    pub made_by: Option<RunId>,
    /// The labs that receive it.
    pub labs: Vec<LabLine>,
}

/// When something began and ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// When it began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended_at: Option<OffsetDateTime>,
}

impl Times {
    fn of<'a>(states: impl IntoIterator<Item = Option<&'a StepState>>) -> Self {
        let states: Vec<&StepState> = states.into_iter().flatten().collect();
        let ended = states.iter().all(|state| state.ending.is_some());
        Self {
            started_at: states.iter().map(|state| state.started_at).min(),
            ended_at: states.iter().filter_map(|state| state.ended_at).max().filter(|_| ended),
        }
    }

    fn minutes(self, now: OffsetDateTime) -> String {
        let Some(started) = self.started_at else {
            return String::new();
        };
        let taken = self.ended_at.unwrap_or(now) - started;
        format!("{}:{:02}", taken.whole_minutes(), taken.whole_seconds().rem_euclid(60))
    }
}

/// One image in one lab.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LabLine {
    /// The lab's subscription.
    pub subscription_id: String,
    /// The lab's resource group, where Labs.json names it.
    pub resource_group: Option<String>,
    /// The lab.
    pub lab_name: String,
    /// How the copy stands.
    pub status: Status,
    /// What it waits for.
    pub progress: Option<String>,
    /// When the copy began and ended.
    #[serde(flatten)]
    pub times: Times,
    /// The custom image's resource id.
    pub custom_image_id: Option<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Older images that stay in the lab, each with what blocks its retirement.
    pub kept: Vec<Kept>,
}

/// A custom image that retired.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetiredLine {
    /// The lab that it stood in.
    pub lab_name: String,
    /// The image.
    pub image_name: String,
    /// The definition that both it and its successor are of.
    pub image_path: ImagePath,
}

/// An older image that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptLine {
    /// The lab that it stands in; the factory lab for a captured VHD.
    pub lab_name: String,
    /// The image.
    pub image_name: String,
    /// What blocks its retirement.
    pub reason: String,
}

/// A step that failed although no image is missing because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttentionLine {
    /// What it was about: an image, or `image in lab`.
    pub item: String,
    /// The step.
    pub step: Queue,
    /// Why it failed.
    pub error: Failure,
}

/// What people read below the table at most; the JSON has everything.
const MOST_REMARKS: usize = 20;

impl RunReport {
    /// Reads a run from the ledger; `None` if it does not know the run.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn read(ledger: &Ledger, run: &RunId) -> Result<Option<Self>, AzureError> {
        let Some((record, _)) = ledger.read::<RunRecord>(&Key::run(run)).await? else {
            return Ok(None);
        };
        let run_line = run_line(&record);
        let plan = ledger.run_plan(run).await?.map(|plan| plan.images).unwrap_or_default();
        let why: BTreeMap<ImagePath, String> =
            plan.into_iter().map(|image| (image.image_path, image.reason.to_string())).collect();
        // Of a run that was cancelled, what never began never will.
        let settle = |status: &mut Status| {
            if run_line.status == Status::Cancelled && *status == Status::Waiting {
                *status = Status::Cancelled;
            }
        };
        let (mut images, mut retired) = (Vec::new(), Vec::new());
        let (mut kept, mut attention) = (Vec::new(), Vec::new());
        for plan in &record.builds {
            let build =
                ledger.read::<BuildRecord>(&Key::build(run, &plan.vm_name)).await?.map(|(build, _)| build);
            let mut image = image_line(plan, build.as_ref());
            settle(&mut image.status);
            image.why = why.get(&plan.image_path).cloned();
            if let Some(build) = &build {
                let path = plan.image_path.to_string();
                attention.extend(failures(build, &path, &[Queue::DeleteVm, Queue::RetireImages]));
                kept.extend(kept_lines(build, &build.factory_lab));
            }
            // A build without a document has no labs yet.
            for lab in build.iter().flat_map(|build| &build.plan.labs) {
                let key = Key::copy(run, &plan.vm_name, lab);
                let copy = match build.as_ref().and_then(BuildRecord::captured) {
                    Some(_) => ledger.read::<CopyRecord>(&key).await?.map(|(copy, _)| copy),
                    None => None,
                };
                if let Some(copy) = &copy {
                    let item = format!("{} in {}", plan.image_path, lab.lab_name());
                    attention.extend(failures(copy, &item, &[Queue::RetireImages]));
                    kept.extend(kept_lines(copy, lab));
                }
                // A copy that was run again keeps what retired because of its first life.
                let names = copy
                    .iter()
                    .flat_map(|copy| [Queue::CopyImage, Queue::RetireImages].map(|step| copy.facts(step)))
                    .flatten()
                    .flat_map(|facts| &facts.retired);
                retired.extend(names.map(|name| RetiredLine {
                    lab_name: lab.lab_name().to_owned(),
                    image_name: name.clone(),
                    image_path: plan.image_path.clone(),
                }));
                let mut line = lab_line(lab, copy.as_ref());
                settle(&mut line.status);
                if image.status.is_missing() {
                    line.status = Status::Skipped;
                }
                image.labs.push(line);
            }
            images.push(image);
        }
        let unchanged = record.unchanged;
        Ok(Some(Self { run: run_line, images, unchanged, retired, kept, attention }))
    }

    /// Whether every image stands in every lab that asked for it.
    pub fn succeeded(&self) -> bool {
        let good = |status| status == Status::Succeeded;
        let image = |image: &ImageLine| good(image.status) && image.labs.iter().all(|lab| good(lab.status));
        good(self.run.status) && self.images.iter().all(image)
    }

    /// A table for people: a row for each image and lab.
    pub fn table(&self, now: OffsetDateTime) -> Table {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["Image", "Lab", "State", "Minutes", "Error"]);
        for image in &self.images {
            let error = image.error.as_ref().map(ToString::to_string).unwrap_or_default();
            table.add_row([
                Cell::new(&image.image_path),
                Cell::new("(factory)"),
                state_cell(image.status),
                Cell::new(image.times.minutes(now)),
                Cell::new(error),
            ]);
            for lab in &image.labs {
                let error = lab.error.as_ref().map(ToString::to_string).unwrap_or_default();
                table.add_row([
                    Cell::new(""),
                    Cell::new(&lab.lab_name),
                    state_cell(lab.status),
                    Cell::new(lab.times.minutes(now)),
                    Cell::new(error),
                ]);
            }
        }
        table
    }

    /// What people should know besides the table: what failed beside the images, and which older images stay and why.
    pub fn remarks(&self) -> Vec<String> {
        let attention = self
            .attention
            .iter()
            .map(|line| format!("attention: {} of {}: {}", line.step, line.item, line.error));
        let kept = self
            .kept
            .iter()
            .map(|line| format!("{} stays in {}: {}", line.image_name, line.lab_name, line.reason));
        let unchanged = self
            .unchanged
            .iter()
            .map(|image| format!("{} is right as it is in every lab: {}", image.image_path, image.reason));
        let cut = |lines: Vec<String>| {
            let more = lines.len().saturating_sub(MOST_REMARKS);
            let rest = (more > 0).then(|| format!("… and {more} more like these, see the JSON report"));
            lines.into_iter().take(MOST_REMARKS).chain(rest)
        };
        cut(attention.collect()).chain(cut(kept.collect())).chain(cut(unchanged.collect())).collect()
    }
}

/// The steps of an item that failed, among these.
fn failures<R: Record>(record: &R, item: &str, steps: &[Queue]) -> Vec<AttentionLine> {
    let line = |step: &Queue| {
        let error = record.step(*step)?.failure()?.clone();
        Some(AttentionLine { item: item.to_owned(), step: *step, error })
    };
    steps.iter().filter_map(line).collect()
}

fn kept_lines<R: Record>(record: &R, lab: &LabId) -> Vec<KeptLine> {
    let facts = record.facts(Queue::RetireImages);
    let line = |kept: &Kept| KeptLine {
        lab_name: lab.lab_name().to_owned(),
        image_name: kept.name.clone(),
        reason: kept.reason.clone(),
    };
    facts.iter().flat_map(|facts| &facts.kept).map(line).collect()
}

fn state_cell(status: Status) -> Cell {
    let color = match status {
        Status::Succeeded => Color::Green,
        Status::Failed => Color::Red,
        Status::Skipped | Status::Cancelled | Status::Superseded => Color::Yellow,
        Status::Waiting | Status::Running => Color::Blue,
    };
    Cell::new(status.word()).fg(color)
}

/// How a run stands.
pub fn run_status(record: &RunRecord) -> Status {
    match Status::of(record.step(Queue::StartRun)) {
        Status::Waiting => Status::Running,
        status => status.told(run_call_off(record)),
    }
}

fn run_line(record: &RunRecord) -> RunLine {
    let state = record.step(Queue::StartRun);
    let status = run_status(record);
    RunLine {
        id: record.run.clone(),
        reason: record.reason,
        commit: record.commit.clone(),
        author: record.author.clone(),
        status,
        error: state.and_then(StepState::failure).cloned(),
        warnings: record.warnings.clone(),
        started_at: record.started_at,
        ended_at: record.ended_at(),
    }
}

/// How a run was called off: by a person, or in that all it lacks is superseded.
fn run_call_off(record: &RunRecord) -> Option<CallOffKind> {
    let superseded = CallOffKind::Superseded;
    let all = record.failure().filter(|failure| failure.code == superseded.code()).map(|_| superseded);
    record.call_off_kind().or(all)
}

fn image_line(plan: &RunBuild, build: Option<&BuildRecord>) -> ImageLine {
    let create = build.and_then(|build| build.step(Queue::CreateVm));
    let capture = build.and_then(|build| build.step(Queue::CaptureImage));
    let status = match (Status::of(create), Status::of(capture)) {
        (_, status) if plan.reuses.is_some() => status,
        (Status::Succeeded, Status::Waiting) => Status::Running,
        (Status::Succeeded, status) => status,
        (status, _) => status,
    };
    let status = status.told(build.and_then(Record::call_off_kind));
    let going = [(Queue::CaptureImage, capture), (Queue::CreateVm, create)].into_iter();
    ImageLine {
        image_path: plan.image_path.clone(),
        image_name: plan.image_name.clone(),
        vm_name: plan.vm_name.clone(),
        status,
        progress: going.filter_map(|(step, state)| Some(format!("{step}: {}", waiting_for(state?)?))).next(),
        times: Times::of([create, capture]),
        error: build.and_then(Record::failure).cloned(),
        why: None,
        hash: plan.hash.clone(),
        made_by: plan.reuses.as_ref().map(|reused| reused.run.clone()),
        labs: Vec::new(),
    }
}

fn lab_line(lab: &LabId, copy: Option<&CopyRecord>) -> LabLine {
    let state = copy.and_then(|copy| copy.step(Queue::CopyImage));
    LabLine {
        subscription_id: lab.subscription_id().to_owned(),
        resource_group: lab.resource_group().map(str::to_owned),
        lab_name: lab.lab_name().to_owned(),
        status: Status::of(state).told(copy.and_then(Record::call_off_kind)),
        progress: state.and_then(waiting_for).map(str::to_owned),
        times: Times::of([state]),
        custom_image_id: state.and_then(|state| state.facts.custom_image_id.clone()),
        error: state.and_then(StepState::failure).cloned(),
        kept: copy
            .and_then(|copy| copy.facts(Queue::RetireImages))
            .map(|facts| facts.kept.clone())
            .unwrap_or_default(),
    }
}

fn waiting_for(state: &StepState) -> Option<&str> {
    (state.ending.is_none()).then_some(state.waiting_for.as_str())
}
