//! What a run would do if it began now, from the same decisions as a run's; nothing is changed.

use serde::Serialize;

use super::{
    asked_for,
    decisions::Ground,
    lab_plans,
    planning::{find_factory_lab, wanted},
};
use crate::{
    azure::AzureError,
    domain::{Configuration, RunId, messages::StartRun},
    ledger::{Failure, ItemStatus, LabPlan, RunPlan},
    steps::Factory,
};

/// What a run would do.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Foresight {
    /// About each image.
    pub plan: RunPlan,
    /// In each lab.
    pub labs: Vec<LabPlan>,
    /// About the factory lab's captured VHDs.
    pub factory_lab: LabPlan,
}

/// Foresees what `run` would do if it were asked for now with this configuration.
///
/// # Errors
/// As any call of Azure and of the ledger. The failure is the run's own: there is no such factory lab or image.
pub async fn foresee(
    factory: &Factory,
    run: &RunId,
    start: &StartRun,
    configuration: &Configuration,
) -> Result<Result<Foresight, Failure>, AzureError> {
    let mut record = asked_for(run, start, factory.clock.now());
    record.settings = configuration.settings.clone();
    let (lab, storage) = match find_factory_lab(factory, &record.settings).await? {
        Ok(found) => found,
        Err(failure) => return Ok(Err(failure)),
    };
    let wanted = match wanted(configuration, start.only.as_deref()) {
        Ok(wanted) => wanted,
        Err(failure) => return Ok(Err(failure)),
    };
    let ground = Ground {
        factory,
        configuration,
        factory_lab: &lab,
        storage: &storage,
        record: &record,
        forced: start.force,
    };
    let runs = factory.ledger.runs().await?.into_iter();
    let ahead: Vec<RunId> = runs
        .filter(|entry| entry.status == ItemStatus::Open)
        .filter_map(|entry| entry.key.run_id())
        .filter(|other| other != run)
        .collect();
    let plan = ground.decide(&wanted, &ahead).await?;
    let (labs, factory_lab) = lab_plans::foresee(&ground, &wanted, &plan).await?;
    Ok(Ok(Foresight { plan, labs, factory_lab }))
}
