//! The documents of a planned run's builds, and what the run calls off.

use std::collections::BTreeMap;

use futures::future::try_join_all;

use super::lab_plans;
use crate::{
    azure::AzureError,
    domain::{ImagePath, Inputs, LabId, RunId, VmName, config::Configuration},
    ledger::{
        BuildRecord, CallOffReason, CalledOff, Failure, Key, PlannedBuild, RunBuild, RunRecord, Siblings,
    },
    steps::{Factory, call_off},
};

/// Documents written at once while a run is planned; also how many of them are in memory.
const WRITES_AT_ONCE: usize = 16;
/// The code of a pinned configuration that is not what it was when the run was planned.
pub(super) const UNUSABLE_CONFIGURATION: &str = "UnusableConfiguration";

/// Writes the builds' documents and templates; those that are there stay. The failure tells why there can be none.
pub(super) async fn prepare_builds(
    factory: &Factory,
    record: &RunRecord,
) -> Result<Result<(), Failure>, AzureError> {
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
    // The plan did it already; one that an older version made did not.
    let builds = record.builds.iter().map(|build| (&build.image_path, &build.supersedes));
    let unchanged = record.unchanged.iter().map(|image| (&image.image_path, &image.supersedes));
    supersede(factory, &record.run, builds.chain(unchanged)).await?;
    let of_others = record.builds.iter().filter(|build| build.reuses.is_some());
    let mut reused: BTreeMap<&ImagePath, Vec<LabId>> =
        of_others.map(|build| (&build.image_path, Vec::new())).collect();
    if !reused.is_empty() {
        let labs: Vec<&LabId> = record.labs.iter().collect();
        let bring = |image: ImagePath, lab: &LabId| {
            if let Some(labs) = reused.get_mut(&image) {
                labs.push(lab.clone());
            }
        };
        lab_plans::each_brought(factory, &record.run, &labs, bring).await?;
        reused.retain(|_, labs| !labs.is_empty());
    }
    let subscriptions: BTreeMap<&ImagePath, Vec<&LabId>> = configuration
        .subscriptions()
        .into_iter()
        .map(|subscription| match reused.get(subscription.image_path) {
            Some(labs) => (subscription.image_path, labs.iter().collect()),
            None => (subscription.image_path, subscription.labs),
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

/// Calls off what earlier runs are building and would be wrong when it is done. Whether that was in time for all: what is captured
/// meanwhile goes to labs, so whoever has not planned yet decides anew.
pub(super) async fn supersede<'a>(
    factory: &Factory,
    by: &RunId,
    superseded: impl Iterator<Item = (&'a ImagePath, &'a Vec<RunId>)>,
) -> Result<bool, AzureError> {
    let reason = CallOffReason::Superseded { by: by.clone() };
    let called_off = CalledOff { reason, at: factory.clock.now() };
    let mut in_time = true;
    for (path, runs) in superseded {
        for run in runs {
            in_time &= call_off::build(factory, run, &VmName::derive(run, path), &called_off).await?;
        }
    }
    Ok(in_time)
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
        let template = definition.template_json().as_bytes();
        factory.ledger.keep_definition(&record.run, &build.vm_name, template).await?;
        let own = |of_run: &BTreeMap<String, usize>| {
            let ids = labs.iter().map(|lab| lab.subscription_id().to_ascii_lowercase());
            ids.filter_map(|id| of_run.get(&id).map(|number| (id, *number))).collect()
        };
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
            siblings: Some(Siblings {
                builds: record.builds.len(),
                copies: own(&self.copies),
                retired: own(&record.retired),
            }),
            called_off: None,
            steps: BTreeMap::new(),
        };
        factory.ledger.create(&Key::build(&record.run, &build.vm_name), &document).await?;
        Ok(Ok(()))
    }
}
