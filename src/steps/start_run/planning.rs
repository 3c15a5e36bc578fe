//! How a run comes to its plan: in short turns, each of which writes down what it found.

use super::{
    builds,
    decisions::{self, Ground, Turn},
    lab_plans,
    pinned::{configuration, newer_commit},
};
use crate::{
    azure::AzureError,
    domain::{
        Definition, ImagePath, Inputs, LabId, OsSource, OsType, RunId, VmName,
        config::{Configuration, FactorySettings, GOLDEN_IMAGES},
        messages::StartRun,
        subscriptions::Subscription,
    },
    ledger::{Failure, ImagePlan, Key, RunBuild, RunRecord, UnchangedImage},
    steps::{Factory, lab_storage::LabStorage},
};

/// A run that was asked for earlier and has decided nothing when this is over is passed by: its git host may be down.
const PATIENCE: time::Duration = time::Duration::hours(1);
/// The code of a run that was passed by.
pub(super) const PASSED_BY: &str = "Superseded";
/// The code of a configuration that cannot be used.
pub(super) const INVALID_CONFIGURATION: &str = "InvalidConfiguration";

/// What a turn of planning came to.
pub(super) enum Planned {
    /// The run is planned.
    Whole,
    /// It cannot be.
    Failed(Failure),
    /// A run that was asked for earlier plans first.
    After(RunId),
    /// A part of the plan is written down; the next turn goes on from there. Nothing is asked twice, whoever dies.
    Partly,
}

/// Plans a run that is only known so far, a part in each turn; answers it with its plan, or why there is none.
pub(super) async fn plan(
    factory: &Factory,
    record: &RunRecord,
    start: &StartRun,
) -> Result<Planned, AzureError> {
    let mut planned = RunRecord { asked: None, ..record.clone() };
    let come_to = plan_into(factory, &mut planned, start).await?;
    if matches!(come_to, Planned::After(_) | Planned::Partly) {
        return Ok(come_to);
    }
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
    Ok(come_to)
}

/// Pins the configuration and plans from it.
async fn plan_into(
    factory: &Factory,
    record: &mut RunRecord,
    start: &StartRun,
) -> Result<Planned, AzureError> {
    let decided = factory.ledger.run_plan(&record.run).await?;
    if let Some(later) = decided.as_ref().and_then(|plan| plan.passed_by.as_ref()) {
        let message =
            format!("run {later}, which was asked for later, planned first: this one took too long");
        return Ok(Planned::Failed(Failure::new(PASSED_BY, message)));
    }
    let mut ahead = Vec::new();
    if decided.is_none() {
        let impatient = factory.clock.now() - record.started_at > PATIENCE;
        match decisions::take_turn(factory, &record.run, impatient).await? {
            Turn::Now(runs) => ahead = runs,
            Turn::After(run) => return Ok(Planned::After(run)),
        }
        if start.only_newest
            && let Some(failure) = newer_commit(factory, record).await?
        {
            return Ok(Planned::Failed(failure));
        }
    }
    let (configuration, is_pinned_now) = match configuration(factory, record).await? {
        Ok(configuration) => configuration,
        Err(failure) => return Ok(Planned::Failed(failure)),
    };
    if is_pinned_now {
        return Ok(Planned::Partly);
    }
    record.settings = configuration.settings.clone();
    let (lab, storage) = match find_factory_lab(factory, &record.settings).await? {
        Ok(found) => found,
        Err(failure) => return Ok(Planned::Failed(failure)),
    };
    record.factory_lab = Some(lab.clone());
    let wanted = match wanted(&configuration, start.only.as_deref()) {
        Ok(wanted) => wanted,
        Err(failure) => return Ok(Planned::Failed(failure)),
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
        let plan = ground.decide(&wanted, &ahead).await?;
        let superseded = plan.images.iter().map(|image| (&image.image_path, &image.supersedes));
        if builds::supersede(factory, &record.run, superseded).await? {
            // The next turn sees it if a later run was faster, and passed this one by.
            factory.ledger.keep_run_plan(plan).await?;
        }
        return Ok(Planned::Partly);
    };
    let Some(brought) = lab_plans::plan(&ground, &wanted, &plan).await? else { return Ok(Planned::Partly) };
    for image in plan.images {
        match brought.copies.get(&image.image_path) {
            Some(copies) => {
                let build = planned(image, *copies, &configuration, &record.run);
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
    record.labs = brought.labs.into_iter().collect();
    record.retired = brought.retired;
    Ok(Planned::Whole)
}

/// The factory lab and its storage.
pub(super) async fn find_factory_lab(
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
pub(crate) fn factory_lab(settings: &FactorySettings, default: Option<&LabId>) -> Result<LabId, Failure> {
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
pub(crate) fn wanted<'a>(
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
