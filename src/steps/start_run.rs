//! start-run: the run is planned from its pinned configuration, its builds are under way, and in the end it says how it went.

mod cancelled;
mod decisions;
mod foresight;
mod lab_plans;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::try_join_all;
use time::OffsetDateTime;
use tracing::warn;

use decisions::{Ground, Turn};
pub use foresight::{Foresight, foresee};

use super::{
    Factory, StepError, Told, call_off,
    lab_storage::LabStorage,
    pace::{self, Bounds},
    turn::{self, ItemStep, Next},
};
use crate::{
    azure::{AzureError, ErrorKind},
    domain::{
        Definition, ImagePath, Inputs, LabId, OsSource, OsType, RunId, VmName,
        config::{Configuration, ConfigurationFiles, FactorySettings, GOLDEN_IMAGES},
        messages::{ImageStep, Message, Queue, StartRun, Step},
        subscriptions::Subscription,
    },
    ledger::{
        BuildRecord, CallOffKind, CallOffReason, CalledOff, Entry, Failure, ImagePlan, ItemStatus, Key,
        PlannedBuild, RunBuild, RunRecord, Siblings, StepState, UnchangedImage,
    },
    source::SourceError,
};

/// Between two looks at how the run stands. The lateness of the last look delays nobody: images do not wait for the run.
const BOUNDS: Bounds = Bounds::seconds(15, 180).of_elapsed(10);
/// A look lists all builds and copies, 1,000 a call. It waits this much longer for each that is listed, so that the looks at
/// a large run cost each of its copies as little as those at a small one.
const FOR_EACH_ITEM: Duration = Duration::from_millis(3);
/// Between two turns of planning, each of a few calls: it is the turns that may die.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Between two looks at whether the run before has planned.
const PLANNING: Bounds = Bounds::seconds(5, 60).of_elapsed(5);
/// A run that was asked for earlier and has not planned when this is over is passed by: its git host may be down.
const PATIENCE: time::Duration = time::Duration::hours(1);
/// The code of a run that was passed by.
const PASSED_BY: &str = "Superseded";
/// A run that is open for longer than all its steps' deadlines and this is ended: room for taking back and for a bad day.
/// It must not end before its steps do, since cleanup takes away what belongs to no open run.
const BEYOND_DEADLINES: Duration = Duration::from_secs(18 * 3600);
/// Documents written at once while a run is planned; also how many of them are in memory.
const WRITES_AT_ONCE: usize = 16;
/// The code of a configuration that cannot be used.
const INVALID_CONFIGURATION: &str = "InvalidConfiguration";
/// The code of a pinned configuration that is not what it was when the run was planned.
const UNUSABLE_CONFIGURATION: &str = "UnusableConfiguration";

/// Handles a message of the queue `start-run`: the first that reaches the ledger makes the run's document. It comes before the
/// plan: a run that is known can be taken up again, whatever is lost while it is being planned.
pub async fn handle(factory: &Factory, message: &Message, start: &StartRun) -> Result<Told, StepError> {
    let key = Key::run(&message.run);
    match turn::take(factory, &Run, &key, message).await {
        Err(StepError::UnknownItem { .. }) => {}
        other => return other,
    }
    let record = asked_for(&message.run, start, factory.clock.now());
    match factory.ledger.create(&key, &record).await {
        Ok(_) => turn::take(factory, &Run, &key, message).await,
        Err(error) => turn::later(factory, message, &error).await,
    }
}

/// Writes down that a run is asked for, so that cleanup sends its message; one that is known stays as it is.
pub(super) async fn note(factory: &Factory, run: &RunId, start: &StartRun) -> Result<(), AzureError> {
    let record = asked_for(run, start, factory.clock.now());
    factory.ledger.create(&Key::run(run), &record).await?;
    Ok(())
}

/// A run that is known and nothing more.
fn asked_for(run: &RunId, start: &StartRun, now: OffsetDateTime) -> RunRecord {
    RunRecord {
        run: run.clone(),
        reason: start.reason,
        commit: start.commit.clone(),
        author: start.author.clone(),
        started_at: now,
        asked: Some(start.clone()),
        factory_lab: None,
        settings: FactorySettings::default(),
        approve_retirement: start.approve_retirement,
        warnings: Vec::new(),
        builds: Vec::new(),
        unchanged: Vec::new(),
        labs: Vec::new(),
        called_off: None,
        steps: BTreeMap::new(),
    }
}

/// What a turn of planning came to.
enum Planned {
    /// The run is planned.
    Run,
    /// It cannot be.
    Failed(Failure),
    /// A run that was asked for earlier plans first.
    After(RunId),
    /// A part of the plan is written down; the next turn goes on from there. Nothing is asked twice, whoever dies.
    Partly,
}

/// Plans a run that is only known so far, a part in each turn; answers it with its plan, or why there is none.
async fn plan(factory: &Factory, record: &RunRecord, start: &StartRun) -> Result<Planned, AzureError> {
    let mut planned = RunRecord { asked: None, ..record.clone() };
    let result = match plan_into(factory, &mut planned, start).await? {
        Part::All => Ok(()),
        Part::Failed(failure) => Err(failure),
        Part::After(run) => return Ok(Planned::After(run)),
        Part::Some => return Ok(Planned::Partly),
    };
    let change = |stored: &mut RunRecord| {
        // Another invocation may have planned it meanwhile: then its plan stands.
        let is_first = stored.asked.is_some();
        if is_first {
            let (steps, called_off) = (std::mem::take(&mut stored.steps), stored.called_off.take());
            *stored = RunRecord { steps, called_off, ..planned.clone() };
        }
        is_first
    };
    factory.ledger.update::<RunRecord>(&Key::run(&record.run), change).await?;
    Ok(match result {
        Ok(()) => Planned::Run,
        Err(failure) => Planned::Failed(failure),
    })
}

/// How far planning came in a turn.
enum Part {
    All,
    Some,
    After(RunId),
    Failed(Failure),
}

/// Pins the configuration and plans from it.
async fn plan_into(factory: &Factory, record: &mut RunRecord, start: &StartRun) -> Result<Part, AzureError> {
    let decided = factory.ledger.run_plan(&record.run).await?;
    let mut ahead = Vec::new();
    if decided.is_none() {
        let impatient = factory.clock.now() - record.started_at > PATIENCE;
        match decisions::take_turn(factory, &record.run, impatient).await? {
            Turn::Now(runs) => ahead = runs,
            Turn::After(run) => return Ok(Part::After(run)),
            Turn::PassedBy(later) => {
                let message =
                    format!("run {later}, which was asked for later, planned first: this one took too long");
                return Ok(Part::Failed(Failure::new(PASSED_BY, message)));
            }
        }
        if start.only_newest
            && let Some(failure) = newer_commit(factory, record).await?
        {
            return Ok(Part::Failed(failure));
        }
    }
    let (configuration, is_pinned_now) = match configuration(factory, record).await? {
        Ok(configuration) => configuration,
        Err(failure) => return Ok(Part::Failed(failure)),
    };
    if is_pinned_now {
        return Ok(Part::Some);
    }
    record.settings = configuration.settings.clone();
    let (lab, storage) = match find_factory_lab(factory, &record.settings).await? {
        Ok(found) => found,
        Err(failure) => return Ok(Part::Failed(failure)),
    };
    record.factory_lab = Some(lab.clone());
    let wanted = match wanted(&configuration, start.only.as_deref()) {
        Ok(wanted) => wanted,
        Err(failure) => return Ok(Part::Failed(failure)),
    };
    let ground = Ground {
        factory,
        configuration: &configuration,
        factory_lab: &lab,
        storage: &storage,
        record,
        forced: start.force,
    };
    let Some(plan) = decided else {
        factory.ledger.keep_run_plan(ground.decide(&wanted, &ahead).await?).await?;
        return Ok(Part::Some);
    };
    let Some(labs) = lab_plans::plan(&ground, &wanted, &plan).await? else { return Ok(Part::Some) };
    for image in plan.images {
        match labs.get(&image.image_path) {
            Some(labs) => {
                let build = planned(image, labs.len(), &configuration, &record.run);
                record.builds.push(build);
            }
            None => record.unchanged.push(UnchangedImage {
                image_path: image.image_path,
                image_name: image.image_name,
                reason: image.reason.to_string(),
                supersedes: image.supersedes,
            }),
        }
    }
    let labs: BTreeSet<LabId> = labs.into_values().flatten().collect();
    record.labs = labs.into_iter().collect();
    Ok(Part::All)
}

/// The failure of a run whose branch has moved on: events of pushes may come in any order, and what is newer must not be undone.
async fn newer_commit(factory: &Factory, record: &RunRecord) -> Result<Option<Failure>, AzureError> {
    let newest = match factory.source.resolve(None).await {
        Ok(newest) => newest,
        Err(error) => return no_source(&error).map(Some),
    };
    let is_newer =
        |newest: &String| record.commit.as_ref().is_some_and(|own| !own.eq_ignore_ascii_case(newest));
    Ok(newest.filter(is_newer).map(|newest| {
        Failure::new(
            PASSED_BY,
            format!("the branch has moved on to commit {newest}, which has a run of its own"),
        )
    }))
}

/// The configuration that the run is pinned to, and whether it was pinned just now: fetched once, then always the same, whatever is
/// pushed meanwhile.
async fn configuration(
    factory: &Factory,
    record: &mut RunRecord,
) -> Result<Result<(Configuration, bool), Failure>, AzureError> {
    let mut is_pinned_now = false;
    let files = match factory.ledger.pinned_configuration(&record.run).await {
        Ok(Some(files)) => files,
        Err(error) if error.is_transient() => return Err(error),
        // Somebody spoilt it: the run says so instead of never being seen.
        Err(error) => return Ok(Err(error.into())),
        Ok(None) => match fetch(factory, record).await? {
            Ok(files) => {
                is_pinned_now = true;
                factory.ledger.pin_configuration(&record.run, &files).await?
            }
            Err(failure) => return Ok(Err(failure)),
        },
    };
    let (configuration, problems) = Configuration::load(&files);
    record.warnings = problems.warnings().map(ToString::to_string).collect();
    Ok(match configuration.filter(|_| !problems.has_errors()) {
        Some(configuration) => Ok((configuration, is_pinned_now)),
        None => {
            let all: Vec<String> = problems.errors().map(ToString::to_string).collect();
            Err(Failure::new(INVALID_CONFIGURATION, all.join("\n")))
        }
    })
}

/// Fetches the configuration. The commit is written down before: whoever tries again, or at the same time, fetches the same.
async fn fetch(
    factory: &Factory,
    record: &mut RunRecord,
) -> Result<Result<ConfigurationFiles, Failure>, AzureError> {
    let found = match factory.source.resolve(record.commit.as_deref()).await {
        Ok(found) => found,
        Err(error) => return no_source(&error).map(Err),
    };
    let author = match (&record.author, &found) {
        (None, Some(commit)) => author(factory, commit).await,
        (known, _) => known.clone(),
    };
    if (&found, &author) != (&record.commit, &record.author) {
        let change = |stored: &mut RunRecord| {
            let is_first = stored.commit == record.commit;
            if is_first {
                stored.commit.clone_from(&found);
                stored.author.clone_from(&author);
            }
            is_first
        };
        let stored = factory.ledger.update::<RunRecord>(&Key::run(&record.run), change).await?;
        (record.commit, record.author) = (stored.commit, stored.author);
    }
    match factory.source.fetch(record.commit.as_deref()).await {
        Ok(files) => Ok(Ok(files)),
        Err(error) => no_source(&error).map(Err),
    }
}

/// Who wrote a commit that was named without its author. No run waits or fails for it.
async fn author(factory: &Factory, commit: &str) -> Option<String> {
    match factory.source.author(commit).await {
        Ok(author) => author,
        Err(error) => {
            warn!(%error, commit, "the commit's author is not known");
            None
        }
    }
}

/// Why there is no configuration: for good, or as trouble that the turn waits for.
fn no_source(error: &SourceError) -> Result<Failure, AzureError> {
    match error {
        SourceError::Unavailable { retry_after, .. } => Err(AzureError {
            kind: ErrorKind::Transient { retry_after: *retry_after },
            ..AzureError::permanent("fetch the configuration", "ConfigurationUnavailable", error.to_string())
        }),
        _ => Ok(Failure::new("ConfigurationUnreadable", error.to_string())),
    }
}

/// The factory lab and its storage.
async fn find_factory_lab(
    factory: &Factory,
    settings: &FactorySettings,
) -> Result<Result<(LabId, LabStorage), Failure>, AzureError> {
    let lab = match factory_lab(settings, factory.factory_lab.as_ref()) {
        Ok(lab) => lab,
        Err(failure) => return Ok(Err(failure)),
    };
    match factory.storages.get(&lab).await {
        Ok(storage) => {
            let address = &storage.lab.address;
            let known =
                LabId::new(&address.subscription_id, Some(&address.resource_group), &address.lab_name);
            Ok(Ok((known.unwrap_or(lab), storage)))
        }
        Err(error) if error.is_transient() => Err(error),
        Err(error) => Ok(Err(error.into())),
    }
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
fn wanted<'a>(
    configuration: &'a Configuration,
    only: Option<&[ImagePath]>,
) -> Result<Vec<Subscription<'a>>, Failure> {
    if let Some(unknown) =
        only.unwrap_or_default().iter().find(|path| !configuration.definitions.contains_key(path))
    {
        return Err(Failure::new("UnknownImagePath", format!("there is no {GOLDEN_IMAGES}/{unknown}")));
    }
    let wanted = configuration.subscriptions().into_iter().filter(|subscription| {
        !subscription.labs.is_empty() && only.is_none_or(|only| only.contains(subscription.image_path))
    });
    Ok(wanted.collect())
}

fn planned(image: ImagePlan, lab_count: usize, configuration: &Configuration, run: &RunId) -> RunBuild {
    let os = configuration.definitions.get(&image.image_path).map(Definition::os_source);
    RunBuild {
        vm_name: VmName::derive(run, &image.image_path),
        image_path: image.image_path,
        image_name: image.image_name,
        lab_count,
        is_small: os == Some(&OsSource::Known(OsType::Linux)),
        hash: image.inputs.as_ref().map(Inputs::hash),
        reuses: image.reuses,
        supersedes: image.supersedes,
    }
}

/// The run itself, as a step. Its fact `begun` tells which of these it has done.
struct Run;

/// The run's own document stands, its builds' do not yet.
const PLANNED: u32 = 0;
/// The last turn wrote the builds' documents: their first messages go out with it.
const FANNED_OUT: u32 = 1;
/// The first messages are out; the run only looks.
pub(super) const WATCHED: u32 = 2;

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
        if let Some(called_off) = &record.called_off {
            return cancelled::advance(factory, record, called_off, state).await;
        }
        if let Some(start) = &record.asked {
            return Ok(match plan(factory, record, start).await? {
                // The next turn writes the builds down.
                Planned::Run | Planned::Partly => Next::wait(AT_ONCE, "its plan"),
                Planned::Failed(failure) => Next::Failed(failure),
                Planned::After(run) => {
                    let waiting_for = format!("run {run}, which was asked for earlier, to plan");
                    let wait = pace::growing(record.started_at, factory.clock.now(), PLANNING);
                    Next::wait(wait, waiting_for)
                }
            });
        }
        if state.facts.begun == PLANNED {
            return Ok(match prepare_builds(factory, record).await? {
                Ok(()) => {
                    state.facts.begun = FANNED_OUT;
                    Next::wait(BOUNDS.least, "the images")
                }
                Err(failure) => Next::Failed(failure),
            });
        }
        state.facts.begun = WATCHED;
        let standing = Standing::read(factory, record).await?;
        if standing.missing() > 0 {
            match prepare_builds(factory, record).await? {
                Ok(()) => {
                    state.facts.begun = FANNED_OUT;
                    return Ok(Next::wait(BOUNDS.least, "images whose documents were missing"));
                }
                // The others are not left alone for it.
                Err(failure) if standing.is_over_but_for_missing() => return Ok(Next::Failed(failure)),
                Err(_) => {}
            }
        }
        if !standing.is_over() {
            let after = pace::growing(record.started_at, factory.clock.now(), BOUNDS);
            return Ok(Next::wait(after + FOR_EACH_ITEM * standing.items(), standing.to_string()));
        }
        // The run took as long as its last item, not as long as until somebody looked.
        state.ended_at = standing.last_end;
        let (failed, superseded) = (standing.failed_builds + standing.failed_copies, standing.superseded);
        Ok(match failed {
            0 => Next::Succeeded,
            _ if failed == superseded => {
                Next::Failed(Failure::new(CallOffKind::Superseded.code(), standing.to_string()))
            }
            _ => Next::Failed(Failure::new("ItemsFailed", standing.to_string())),
        })
    }

    /// What travels long begins first: a run is as long as its longest chain, and Azure takes 800 deployments at a time in a
    /// resource group, so the last of a thousand wait until the first are made.
    fn slot(&self, record: &RunRecord, follow_up: &Message) -> Duration {
        let (Step::CreateVm(ImageStep { image_path }) | Step::CaptureImage(ImageStep { image_path })) =
            &follow_up.step
        else {
            return Duration::ZERO;
        };
        let all = record.builds.len();
        let large = record.builds.iter().filter(|build| !build.is_small).count();
        let is_small = record.builds.iter().any(|build| build.image_path == *image_path && build.is_small);
        let places = if is_small { large..all } else { 0..large };
        pace::slot(all, places, &follow_up.message_id())
    }

    fn follow_ups(&self, record: &RunRecord, state: &StepState, _attempt: u32) -> Vec<Message> {
        // Not by the message's number: the first ones may have met trouble.
        if state.facts.begun != FANNED_OUT || state.ending.is_some() {
            return Vec::new();
        }
        let first = |build: &RunBuild| {
            let image = ImageStep { image_path: build.image_path.clone() };
            let step = match build.reuses {
                Some(_) => Step::CaptureImage(image),
                None => Step::CreateVm(image),
            };
            Message::first(record.run.clone(), step)
        };
        record.builds.iter().map(first).collect()
    }
}

/// Writes the builds' documents and templates; those that are there stay. The failure tells why there can be none.
async fn prepare_builds(factory: &Factory, record: &RunRecord) -> Result<Result<(), Failure>, AzureError> {
    let unusable = |reason: String| Ok(Err(Failure::new(UNUSABLE_CONFIGURATION, reason)));
    let files = match factory.ledger.pinned_configuration(&record.run).await {
        Ok(Some(files)) => files,
        Ok(None) => return unusable("the configuration that the run is pinned to is gone".to_owned()),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => return Ok(Err(error.into())),
    };
    let Some(lab) = record.factory_lab.clone() else {
        return unusable("the run's document names no factory lab".to_owned());
    };
    let (Some(configuration), _) = Configuration::load(&files) else {
        return unusable("the configuration that the run is pinned to cannot be read any more".to_owned());
    };
    drop(files);
    supersede(factory, record).await?;
    let reused = match record.builds.iter().any(|build| build.reuses.is_some()) {
        true => lab_plans::labs_of_reused(factory, &record.run, &record.labs).await?,
        false => BTreeMap::new(),
    };
    let reuses = |path: &ImagePath| {
        record.builds.iter().any(|build| build.image_path == *path && build.reuses.is_some())
    };
    let subscriptions: BTreeMap<&ImagePath, Vec<&LabId>> = configuration
        .subscriptions()
        .into_iter()
        .map(|subscription| match reused.get(subscription.image_path) {
            Some(labs) if reuses(subscription.image_path) => (subscription.image_path, labs.iter().collect()),
            _ => (subscription.image_path, subscription.labs),
        })
        .collect();
    let copies = copies_by_subscription(record, &subscriptions);
    let inputs = inputs(factory, &record.run).await?;
    let plan =
        Plan { factory, record, configuration: &configuration, lab: &lab, subscriptions, copies, inputs };
    for builds in record.builds.chunks(WRITES_AT_ONCE) {
        let prepared = try_join_all(builds.iter().map(|build| plan.prepare(build))).await?;
        if let Some(failure) = prepared.into_iter().find_map(Result::err) {
            return Ok(Err(failure));
        }
    }
    Ok(Ok(()))
}

/// What the run's images are made from, as its plan says.
async fn inputs(factory: &Factory, run: &RunId) -> Result<BTreeMap<ImagePath, Inputs>, AzureError> {
    let images = factory.ledger.run_plan(run).await?.map(|plan| plan.images).unwrap_or_default();
    Ok(images.into_iter().filter_map(|image| Some((image.image_path, image.inputs?))).collect())
}

/// Calls off what earlier runs are building and would be wrong when it is done.
async fn supersede(factory: &Factory, record: &RunRecord) -> Result<(), AzureError> {
    let builds = record.builds.iter().map(|build| (&build.image_path, &build.supersedes));
    let unchanged = record.unchanged.iter().map(|image| (&image.image_path, &image.supersedes));
    let reason = CallOffReason::Superseded { by: record.run.clone() };
    let called_off = CalledOff { reason, at: factory.clock.now() };
    for (path, runs) in builds.chain(unchanged) {
        for run in runs {
            call_off::build(factory, run, &VmName::derive(run, path), &called_off).await?;
        }
    }
    Ok(())
}

/// How many copies the run makes in each subscription, by its id in lower case.
fn copies_by_subscription(
    record: &RunRecord,
    subscriptions: &BTreeMap<&ImagePath, Vec<&LabId>>,
) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for lab in record.builds.iter().filter_map(|build| subscriptions.get(&build.image_path)).flatten() {
        *copies.entry(lab.subscription_id().to_ascii_lowercase()).or_default() += 1;
    }
    copies
}

/// What the builds' documents are made from.
struct Plan<'a> {
    factory: &'a Factory,
    record: &'a RunRecord,
    configuration: &'a Configuration,
    lab: &'a LabId,
    subscriptions: BTreeMap<&'a ImagePath, Vec<&'a LabId>>,
    copies: BTreeMap<String, usize>,
    inputs: BTreeMap<ImagePath, Inputs>,
}

impl Plan<'_> {
    /// Writes one build's documents.
    async fn prepare(&self, build: &RunBuild) -> Result<Result<(), Failure>, AzureError> {
        let Self { factory, record, configuration, .. } = self;
        let found = configuration.definitions.get(&build.image_path);
        let Some((definition, labs)) = found.zip(self.subscriptions.get(&build.image_path)) else {
            let reason = format!("the configuration that the run is pinned to has no {}", build.image_path);
            return Ok(Err(Failure::new(UNUSABLE_CONFIGURATION, reason)));
        };
        let template = definition.template().to_string();
        factory.ledger.keep_definition(&record.run, &build.vm_name, template.as_bytes()).await?;
        let own = labs.iter().map(|lab| lab.subscription_id().to_ascii_lowercase());
        let copies = own.filter_map(|id| self.copies.get(&id).map(|number| (id, *number))).collect();
        let document = BuildRecord {
            run: record.run.clone(),
            run_started_at: record.started_at,
            commit: record.commit.clone(),
            author: record.author.clone(),
            reason: Some(record.reason),
            plan: PlannedBuild {
                image_path: build.image_path.clone(),
                image_name: build.image_name.clone(),
                vm_name: build.vm_name.clone(),
                labs: labs.iter().copied().cloned().collect(),
            },
            description: definition.notes().unwrap_or(build.image_path.stem()).to_owned(),
            factory_lab: self.lab.clone(),
            settings: record.settings.clone(),
            inputs: self.inputs.get(&build.image_path).cloned(),
            reuses: build.reuses.clone(),
            siblings: Some(Siblings { builds: record.builds.len(), copies }),
            called_off: None,
            steps: BTreeMap::new(),
        };
        factory.ledger.create(&Key::build(&record.run, &build.vm_name), &document).await?;
        Ok(Ok(()))
    }
}

/// How a run stands, by its listings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Standing {
    builds: usize,
    listed_builds: usize,
    ended_builds: usize,
    failed_builds: usize,
    copies: usize,
    ended_copies: usize,
    failed_copies: usize,
    /// Of what failed, that which a later run superseded.
    superseded: usize,
    last_end: Option<OffsetDateTime>,
}

impl Standing {
    /// Reads the listings, keeping no more of them than these numbers.
    async fn read(factory: &Factory, record: &RunRecord) -> Result<Self, AzureError> {
        let mut standing = Self { builds: record.builds.len(), ..Self::default() };
        for build in factory.ledger.builds(&record.run).await? {
            standing.add_build(&build);
        }
        let mut copies = factory.ledger.copy_pages(&record.run);
        while let Some(page) = copies.next().await? {
            page.iter().for_each(|copy| standing.add_copy(copy));
        }
        Ok(standing)
    }

    fn add_build(&mut self, entry: &Entry) {
        self.listed_builds += 1;
        self.ended_builds += usize::from(entry.status != ItemStatus::Open);
        self.failed_builds += usize::from(entry.status == ItemStatus::Failed);
        let is_superseded = entry.called_off == Some(CallOffKind::Superseded);
        self.superseded += usize::from(is_superseded && entry.status == ItemStatus::Failed);
        // Of a captured build the copies are to be there, begun or not; copies that nobody began are open.
        self.copies += entry.copies.unwrap_or_default();
        self.last_end = self.last_end.max(entry.ended_at);
    }

    fn add_copy(&mut self, entry: &Entry) {
        self.ended_copies += usize::from(entry.status != ItemStatus::Open);
        self.failed_copies += usize::from(entry.status == ItemStatus::Failed);
        self.last_end = self.last_end.max(entry.ended_at);
    }

    /// The builds that were planned and have no document: open, not forgotten.
    fn missing(&self) -> usize {
        self.builds.saturating_sub(self.listed_builds)
    }

    fn open_builds(&self) -> usize {
        self.missing() + self.listed_builds - self.ended_builds
    }

    fn open_copies(&self) -> usize {
        self.copies.saturating_sub(self.ended_copies)
    }

    fn is_over(&self) -> bool {
        self.missing() == 0 && self.is_over_but_for_missing()
    }

    fn is_over_but_for_missing(&self) -> bool {
        self.listed_builds == self.ended_builds && self.open_copies() == 0
    }

    /// How much a look lists.
    fn items(&self) -> u32 {
        u32::try_from(self.listed_builds + self.copies).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { builds, failed_builds, copies, failed_copies, .. } = self;
        let (open_builds, open_copies) = (self.open_builds(), self.open_copies());
        write!(f, "{builds} images ({open_builds} open, {failed_builds} failed), ")?;
        write!(f, "{copies} copies ({open_copies} open, {failed_copies} failed)")
    }
}

#[cfg(test)]
mod tests;
