//! start-run: the run is planned from its pinned configuration, its builds are under way, and in the end it says how it went.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    Factory, StepError, Told,
    lab_storage::absent,
    pace::{self, Bounds},
    turn::{self, ItemStep, Next},
};
use crate::{
    azure::AzureError,
    domain::{
        ImageName, ImagePath, LabId, RunId, VmName,
        config::{Configuration, FactorySettings, GOLDEN_IMAGES},
        messages::{FIRST_ATTEMPT, ImageStep, Message, Queue, StartRun, Step},
    },
    ledger::{BuildRecord, Ending, Entry, Failure, ItemStatus, Key, PlannedBuild, RunRecord, StepState},
    source::SourceError,
};

/// Between two looks at how the run stands. The lateness of the last look delays nobody: images do not wait for the run.
const BOUNDS: Bounds = Bounds::seconds(15, 120);
/// A run that is open for longer than all its steps' deadlines and this is ended: room for taking back and for a bad day.
/// It must not end before its steps do, since cleanup takes away what belongs to no open run.
const BEYOND_DEADLINES: Duration = Duration::from_secs(18 * 3600);
/// Documents written at once while a run is planned.
const WRITES_AT_ONCE: usize = 16;
/// The code of a configuration that cannot be used.
const INVALID_CONFIGURATION: &str = "InvalidConfiguration";

/// Handles a message of the queue `start-run`: the first one plans the run.
pub async fn handle(factory: &Factory, message: &Message, start: &StartRun) -> Result<Told, StepError> {
    let key = Key::run(&message.run);
    match factory.ledger.read::<RunRecord>(&key).await {
        Ok(Some(_)) => {}
        Ok(None) => {
            if let Err(error) = plan_run(factory, &message.run, start).await {
                return turn::later(factory, message, &error).await;
            }
        }
        Err(error) => return turn::later(factory, message, &error).await,
    }
    turn::take(factory, &Run, &key, message).await
}

/// Writes the run's document: its plan, or why there is none.
async fn plan_run(factory: &Factory, run: &RunId, start: &StartRun) -> Result<(), AzureError> {
    let now = factory.clock.now();
    let mut record = RunRecord {
        run: run.clone(),
        reason: start.reason,
        commit: start.commit.clone(),
        started_at: now,
        factory_lab: None,
        settings: FactorySettings::default(),
        approve_retirement: start.approve_retirement,
        warnings: Vec::new(),
        builds: Vec::new(),
        steps: BTreeMap::new(),
    };
    if let Err(failure) = plan_into(factory, &mut record, start).await? {
        let ending = Some(Ending::Failed { failure });
        let state =
            StepState { ending, ended_at: Some(now), attempt: FIRST_ATTEMPT, ..StepState::begin(now) };
        record.steps.insert(Queue::StartRun, state);
    }
    factory.ledger.create(&Key::run(run), &record, None).await?;
    Ok(())
}

/// Pins the configuration and plans from it.
async fn plan_into(
    factory: &Factory,
    record: &mut RunRecord,
    start: &StartRun,
) -> Result<Result<(), Failure>, AzureError> {
    let configuration = match configuration(factory, record, start).await? {
        Ok(configuration) => configuration,
        Err(failure) => return Ok(Err(failure)),
    };
    record.settings = configuration.settings.clone();
    let lab = match factory_lab(&record.settings, factory.factory_lab.as_ref()) {
        Ok(lab) => lab,
        Err(failure) => return Ok(Err(failure)),
    };
    let found = factory.azure.find_lab(lab.subscription_id(), lab.resource_group(), lab.lab_name()).await;
    match found {
        Ok(Some(found)) => {
            let address = found.address;
            let known =
                LabId::new(&address.subscription_id, Some(&address.resource_group), &address.lab_name);
            record.factory_lab = Some(known.unwrap_or(lab));
        }
        Ok(None) => return Ok(Err(absent(format!("factory lab {}", lab.lab_name()), &lab).into())),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => return Ok(Err(error.into())),
    }
    Ok(builds(&configuration, record, start.only.as_deref()).map(|builds| record.builds = builds))
}

/// The configuration that the run is pinned to: fetched once, then always the same, whatever is pushed meanwhile.
async fn configuration(
    factory: &Factory,
    record: &mut RunRecord,
    start: &StartRun,
) -> Result<Result<Configuration, Failure>, AzureError> {
    let files = match factory.ledger.pinned_configuration(&record.run).await? {
        Some(files) => files,
        None => match factory.source.fetch(start.commit.as_deref()).await {
            Ok(files) => factory.ledger.pin_configuration(&record.run, &files).await?,
            Err(error) => return Ok(Err(no_source(&error))),
        },
    };
    let (configuration, problems) = Configuration::load(&files);
    record.warnings = problems.warnings().map(ToString::to_string).collect();
    Ok(match configuration.filter(|_| !problems.has_errors()) {
        Some(configuration) => Ok(configuration),
        None => {
            let all: Vec<String> = problems.errors().map(ToString::to_string).collect();
            Err(Failure::new(INVALID_CONFIGURATION, all.join("\n")))
        }
    })
}

fn no_source(error: &SourceError) -> Failure {
    Failure::new("ConfigurationUnreadable", error.to_string())
}

/// The lab in which images are made: factory.json's, filled up from the app setting's.
fn factory_lab(settings: &FactorySettings, default: Option<&LabId>) -> Result<LabId, Failure> {
    let own = &settings.factory_lab;
    let invalid = |reason: String| Failure::new(INVALID_CONFIGURATION, format!("the factory lab: {reason}"));
    if own.lab_name.is_none()
        && let Some(default) = default
    {
        return Ok(default.clone());
    }
    let missing = || {
        invalid(
            "factory.json names none at $.factoryLab, and the app setting IMAGE_FACTORY_LAB is not set"
                .into(),
        )
    };
    let name = own.lab_name.as_deref().ok_or_else(missing)?;
    let subscription = own.subscription_id.as_deref().or(default.map(LabId::subscription_id));
    let subscription = subscription
        .ok_or_else(|| invalid("$.factoryLab.subscriptionId of factory.json is missing".into()))?;
    LabId::new(subscription, own.resource_group.as_deref(), name).map_err(|error| invalid(error.to_string()))
}

/// What is built, for which labs: every definition that a lab receives.
fn builds(
    configuration: &Configuration,
    record: &RunRecord,
    only: Option<&[ImagePath]>,
) -> Result<Vec<PlannedBuild>, Failure> {
    if let Some(unknown) =
        only.unwrap_or_default().iter().find(|path| !configuration.definitions.contains_key(path))
    {
        return Err(Failure::new("UnknownImagePath", format!("there is no {GOLDEN_IMAGES}/{unknown}")));
    }
    let wanted = configuration.subscriptions().into_iter().filter(|subscription| {
        !subscription.labs.is_empty() && only.is_none_or(|only| only.contains(&subscription.image_path))
    });
    Ok(wanted
        .map(|subscription| PlannedBuild {
            image_name: ImageName::derive(&record.run, &subscription.image_path, record.started_at),
            vm_name: VmName::derive(&record.run, &subscription.image_path),
            image_path: subscription.image_path,
            labs: subscription.labs,
        })
        .collect())
}

/// The run itself, as a step. Its fact `begun` tells which of these it has done.
struct Run;

/// The run's own document stands, its builds' do not yet.
const PLANNED: u32 = 0;
/// The last turn wrote the builds' documents: their first messages go out with it.
const FANNED_OUT: u32 = 1;
/// The first messages are out; the run only looks.
const WATCHED: u32 = 2;

#[async_trait]
impl ItemStep for Run {
    type Record = RunRecord;
    const STEP: Queue = Queue::StartRun;

    fn deadline(&self, record: &RunRecord) -> Duration {
        let own = &record.settings.deadlines;
        let steps = [own.create_vm, own.capture_image, own.copy_image, own.delete_vm, own.retire_images];
        steps.iter().sum::<Duration>() + BEYOND_DEADLINES
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &RunRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        if state.facts.begun == PLANNED {
            prepare_builds(factory, record).await?;
            state.facts.begun = FANNED_OUT;
            return Ok(Next::wait(BOUNDS.least, "the images"));
        }
        state.facts.begun = WATCHED;
        let builds = factory.ledger.builds(&record.run).await?;
        let copies = factory.ledger.copies(&record.run).await?;
        let standing = Standing::of(record.builds.len(), &builds, &copies);
        let now = factory.clock.now();
        if !standing.is_over() {
            let after = pace::growing(record.started_at, now, BOUNDS);
            return Ok(Next::wait(after, standing.to_string()));
        }
        // The run took as long as its last item, not as long as until somebody looked.
        state.ended_at = builds.iter().chain(&copies).filter_map(|entry| entry.ended_at).max();
        Ok(if standing.failed_builds + standing.failed_copies == 0 {
            Next::Succeeded
        } else {
            Next::Failed(Failure::new("ItemsFailed", standing.to_string()))
        })
    }

    fn follow_ups(&self, record: &RunRecord, state: &StepState, _attempt: u32) -> Vec<Message> {
        // Not by the message's number: the first ones may have met trouble.
        if state.facts.begun != FANNED_OUT || state.ending.is_some() {
            return Vec::new();
        }
        let create = |build: &PlannedBuild| {
            let step = Step::CreateVm(ImageStep { image_path: build.image_path.clone() });
            Message::first(record.run.clone(), step)
        };
        record.builds.iter().map(create).collect()
    }
}

/// Writes the builds' documents and templates; those that are there stay.
async fn prepare_builds(factory: &Factory, record: &RunRecord) -> Result<(), AzureError> {
    let Some(files) = factory.ledger.pinned_configuration(&record.run).await? else {
        return Ok(());
    };
    let Some(lab) = record.factory_lab.clone() else {
        return Ok(());
    };
    let (Some(configuration), _) = Configuration::load(&files) else {
        return Ok(());
    };
    let (configuration, lab) = (&configuration, &lab);
    let builds = record.builds.iter().map(|plan| prepare_build(factory, record, configuration, lab, plan));
    // Collected first: the compiler cannot name a stream's closure that borrows this much.
    stream::iter(builds.collect::<Vec<_>>()).buffer_unordered(WRITES_AT_ONCE).try_collect::<()>().await
}

async fn prepare_build(
    factory: &Factory,
    record: &RunRecord,
    configuration: &Configuration,
    lab: &LabId,
    plan: &PlannedBuild,
) -> Result<(), AzureError> {
    let Some(definition) = configuration.definitions.get(&plan.image_path) else {
        return Ok(());
    };
    let template = definition.template().to_string();
    factory.ledger.keep_definition(&record.run, &plan.vm_name, template.as_bytes()).await?;
    let build = BuildRecord {
        run: record.run.clone(),
        run_started_at: record.started_at,
        commit: record.commit.clone(),
        plan: plan.clone(),
        description: definition.notes().unwrap_or(plan.image_path.stem()).to_owned(),
        factory_lab: lab.clone(),
        settings: record.settings.clone(),
        steps: BTreeMap::new(),
    };
    factory.ledger.create(&Key::build(&record.run, &plan.vm_name), &build, None).await?;
    Ok(())
}

/// How a run stands, by its listings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Standing {
    builds: usize,
    open_builds: usize,
    failed_builds: usize,
    copies: usize,
    open_copies: usize,
    failed_copies: usize,
}

impl Standing {
    /// `planned` builds should be there: one without a document is open, not forgotten.
    fn of(planned: usize, builds: &[Entry], copies: &[Entry]) -> Self {
        let count = |entries: &[Entry], status| entries.iter().filter(|entry| entry.status == status).count();
        // Of a captured build the copies are to be there, begun or not; copies that nobody began are open.
        let expected: usize = builds.iter().filter_map(|entry| entry.copies).sum();
        let ended = copies.iter().filter(|entry| entry.status != ItemStatus::Open).count();
        Self {
            builds: planned,
            open_builds: count(builds, ItemStatus::Open) + planned.saturating_sub(builds.len()),
            failed_builds: count(builds, ItemStatus::Failed),
            copies: expected,
            open_copies: expected.saturating_sub(ended),
            failed_copies: count(copies, ItemStatus::Failed),
        }
    }

    fn is_over(&self) -> bool {
        self.open_builds == 0 && self.open_copies == 0
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { builds, open_builds, failed_builds, copies, open_copies, failed_copies } = self;
        write!(f, "{builds} images ({open_builds} open, {failed_builds} failed), ")?;
        write!(f, "{copies} copies ({open_copies} open, {failed_copies} failed)")
    }
}

#[cfg(test)]
mod tests;
