//! cleanup: a timer that finds what nobody owns any more.
//!
//! Lost messages cost minutes, not images: an item whose next message is overdue gets it again. What carries the factory's
//! tags but belongs to no open build goes.

use std::collections::BTreeSet;

use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use super::{Envelope, Factory, OutboxError, lab_storage::LabStorage, tags};
use crate::{
    azure::{AzureError, BlobItem, Deployment, LabAddress, LabVm},
    domain::{
        LabId, RUN_TAG, RunId,
        messages::{CopyImage, FIRST_ATTEMPT, ImageStep, Message, Queue, RetireImages, StartRun, Step},
    },
    ledger::{BuildRecord, CopyRecord, Entry, ItemStatus, Key, PlannedBuild, Record, RunRecord, StepState},
};

/// A message that is late by this is taken as lost. Longer than duplicate detection's window and any queue's usual backlog.
const LOST_AFTER: Duration = Duration::minutes(15);
/// What no open run knows may be seconds old and about to be written down; after this it is debris.
const DEBRIS_AFTER: Duration = Duration::hours(12);

/// Why a tick failed; the next one does the rest.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// Azure refused.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// A message could not be sent.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// What a tick did.
#[derive(Debug, Default)]
struct Done {
    repeated: usize,
    removed: Vec<String>,
    /// The first refusal: the tick went on without what it was about, and fails in the end.
    refused: Option<CleanupError>,
}

impl Done {
    /// What a part answered; a refusal is noted, and nothing else stops for it.
    fn note<T>(&mut self, about: &str, result: Result<T, impl Into<CleanupError>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.into();
                warn!(about, %error, "cleanup goes on without it");
                self.refused.get_or_insert(error);
                None
            }
        }
    }
}

/// One tick of the timer; answers what it did, in a line.
///
/// # Errors
/// The first refusal of Azure or Service Bus; everything else was done all the same, and the next tick tries again.
pub async fn tick(factory: &Factory) -> Result<String, CleanupError> {
    let mut done = Done::default();
    let mut open = Vec::new();
    let mut ended = Vec::new();
    let mut labs: BTreeSet<LabId> = factory.factory_lab.iter().cloned().collect();
    let runs = factory.ledger.runs().await?;
    let newest = runs.iter().filter_map(|entry| entry.ended_at).max();
    for entry in runs {
        let Some(run) = entry.key.run_id() else { continue };
        let is_open = entry.status == ItemStatus::Open;
        // factory.json may name another lab than the app setting: the open runs and the newest ended one know which.
        if is_open || entry.ended_at == newest {
            let read = factory.ledger.read::<RunRecord>(&entry.key).await;
            if let Some(Some((record, _))) = done.note(run.as_str(), read) {
                labs.extend(record.factory_lab.clone());
                if is_open {
                    let result = repeat_lost(factory, &record, &mut done).await;
                    done.note(run.as_str(), result);
                }
            }
        }
        if is_open { &mut open } else { &mut ended }.push(run);
    }
    for lab in &labs {
        let storage = factory.storages.get(lab).await;
        if let Some(storage) = done.note(lab.lab_name(), storage) {
            remove_debris(factory, &storage, &open, &ended, &mut done).await;
        }
    }
    for what in &done.removed {
        info!(what, "removed what nobody owns");
    }
    if let Some(error) = done.refused {
        return Err(error);
    }
    Ok(format!(
        "{} open runs, {} lost messages sent again, {} leftovers removed",
        open.len(),
        done.repeated,
        done.removed.len()
    ))
}

/// Sends again what an open run's items wait for in vain.
async fn repeat_lost(factory: &Factory, run: &RunRecord, done: &mut Done) -> Result<(), CleanupError> {
    let now = factory.clock.now();
    let mut lost = Vec::new();
    // A run's own message; a run whose first turn never came has no state yet.
    let reason = StartRun {
        reason: run.reason,
        commit: run.commit.clone(),
        only: None,
        force: false,
        approve_retirement: false,
    };
    if let Some(message) = overdue(run, Queue::StartRun, run.started_at, now) {
        lost.push(message.for_step(&run.run, Step::StartRun(reason)));
    }
    let builds = factory.ledger.builds(&run.run).await?;
    let copies = factory.ledger.copies(&run.run).await?;
    for plan in &run.builds {
        let key = Key::build(&run.run, &plan.vm_name);
        let listed = builds.iter().find(|entry| entry.key == key);
        if listed.is_some_and(|entry| entry.status == ItemStatus::Open && may_be_overdue(entry, now))
            && let Some((build, _)) = factory.ledger.read::<BuildRecord>(&key).await?
        {
            lost.extend(lost_of_build(&build, now));
        }
        // Copies that were never begun have no document: their build tells since when they should have one.
        for lab in plan.labs.iter().filter(|_| listed.is_some_and(|entry| entry.copies.is_some())) {
            let key = Key::copy(&run.run, &plan.vm_name, lab);
            match copies.iter().find(|entry| entry.key == key) {
                Some(entry) if entry.status != ItemStatus::Open || !may_be_overdue(entry, now) => {}
                Some(entry) => {
                    if let Some((copy, _)) = factory.ledger.read::<CopyRecord>(&entry.key).await? {
                        lost.extend(lost_of_copy(&copy, now));
                    }
                }
                None => lost.extend(unbegun(factory, run, plan, lab, now).await?),
            }
        }
    }
    if !lost.is_empty() {
        done.repeated += lost.len();
        // Not the same MessageId as the lost one's, which duplicate detection may still remember.
        let recovery = format!("r{}", now.unix_timestamp() / LOST_AFTER.whole_seconds());
        let envelope = |message| Envelope { message, at: None, recovery: Some(recovery.clone()) };
        factory.outbox.send(lost.into_iter().map(envelope).collect()).await?;
    }
    Ok(())
}

/// Whether a document is worth reading: its listing says that its wake-up is late, or does not say when it is.
fn may_be_overdue(entry: &Entry, now: OffsetDateTime) -> bool {
    entry.wake_at.is_none_or(|at| now - at > LOST_AFTER)
}

/// The number that a lost message had.
struct Lost(u32);

impl Lost {
    fn for_step(self, run: &RunId, step: Step) -> Message {
        Message { run: run.clone(), attempt: self.0, step }
    }
}

/// Whether `step` of an item waits in vain, having begun at `due` at the latest.
fn overdue<R: Record>(record: &R, step: Queue, due: OffsetDateTime, now: OffsetDateTime) -> Option<Lost> {
    let (number, at) = match record.step(step) {
        Some(StepState { ending: Some(_), .. }) => return None,
        Some(state) => (state.attempt, state.wake_at),
        None => (FIRST_ATTEMPT, due),
    };
    (now - at > LOST_AFTER).then_some(Lost(number))
}

fn lost_of_build(build: &BuildRecord, now: OffsetDateTime) -> Vec<Message> {
    let image_path = || build.plan.image_path.clone();
    let ended = |step| build.step(step).filter(|state| state.ending.is_some());
    let mut due = vec![(Queue::CreateVm, build.run_started_at)];
    match (ended(Queue::CreateVm), ended(Queue::CaptureImage)) {
        (Some(created), None) if created.succeeded() => due.push((Queue::CaptureImage, ended_at(created))),
        (Some(created), None) => due.push((Queue::DeleteVm, ended_at(created))),
        (Some(_), Some(captured)) => {
            due.push((Queue::DeleteVm, ended_at(captured)));
            if captured.succeeded() {
                due.push((Queue::RetireImages, ended_at(captured)));
            }
        }
        _ => {}
    }
    let message = |(step, at)| {
        let lost = overdue(build, step, at, now)?;
        let image = ImageStep { image_path: image_path() };
        let step = match step {
            Queue::CaptureImage => Step::CaptureImage(image),
            Queue::DeleteVm => Step::DeleteVm(image),
            Queue::RetireImages => Step::RetireImages(RetireImages { image_path: image_path(), lab: None }),
            _ => Step::CreateVm(image),
        };
        Some(lost.for_step(&build.run, step))
    };
    due.into_iter().filter_map(message).collect()
}

fn lost_of_copy(copy: &CopyRecord, now: OffsetDateTime) -> Option<Message> {
    let (image_path, lab) = (copy.image_path.clone(), copy.lab.clone());
    match copy.step(Queue::CopyImage) {
        Some(copied) if copied.succeeded() => {
            let lost = overdue(copy, Queue::RetireImages, ended_at(copied), now)?;
            let step = Step::RetireImages(RetireImages { image_path, lab: Some(lab) });
            Some(lost.for_step(&copy.run, step))
        }
        // The document is written before the first turn: without a state it has waited since the run started.
        _ => {
            let lost = overdue(copy, Queue::CopyImage, copy.run_started_at, now)?;
            Some(lost.for_step(&copy.run, Step::CopyImage(CopyImage { image_path, lab })))
        }
    }
}

fn ended_at(state: &StepState) -> OffsetDateTime {
    state.ended_at.unwrap_or(state.wake_at)
}

/// The first message of a copy that its captured build should have begun.
async fn unbegun(
    factory: &Factory,
    run: &RunRecord,
    plan: &PlannedBuild,
    lab: &LabId,
    now: OffsetDateTime,
) -> Result<Option<Message>, AzureError> {
    let build = factory.ledger.read::<BuildRecord>(&Key::build(&run.run, &plan.vm_name)).await?;
    let Some(captured) = build.as_ref().and_then(|(build, _)| build.captured()) else {
        return Ok(None);
    };
    let step = Step::CopyImage(CopyImage { image_path: plan.image_path.clone(), lab: lab.clone() });
    Ok((now - ended_at(captured) > LOST_AFTER).then(|| Message::first(run.run.clone(), step)))
}

/// Removes what carries our tags in the factory lab and belongs to no open run: VMs, VHDs that never got a companion, and
/// deployments.
async fn remove_debris(
    factory: &Factory,
    storage: &LabStorage,
    open: &[RunId],
    ended: &[RunId],
    done: &mut Done,
) {
    let now = factory.clock.now();
    let lab = &storage.lab.address;
    let vms = factory.azure.lab_vms(lab).await;
    for vm in done.note("the factory lab's VMs", vms).unwrap_or_default() {
        if is_debris(&vm, open, now) {
            let result = remove_vm(factory, lab, &vm).await;
            if done.note(&vm.name, result).is_some() {
                done.removed.push(format!("VM {}", vm.name));
            }
        }
    }
    let blobs = match storage.container.list("").await {
        // No image was captured yet.
        Err(error) if error.is_not_found() => Vec::new(),
        blobs => done.note("the factory lab's VHDs", blobs).unwrap_or_default(),
    };
    for name in lone_vhds(&blobs, open, now) {
        let result = storage.container.delete(name).await;
        if done.note(name, result) == Some(true) {
            done.removed.push(format!("VHD {name}"));
        }
    }
    let (subscription, group) = (&lab.subscription_id, &lab.resource_group);
    let deployments = factory.azure.deployments(subscription, group).await;
    for deployment in done.note("the factory lab's deployments", deployments).unwrap_or_default() {
        if is_old_entry(&deployment, ended, now) {
            let name = &deployment.name;
            let result = factory.azure.delete_deployment(subscription, group, name).await;
            if done.note(name, result).is_some() {
                done.removed.push(format!("deployment {name}"));
            }
        }
    }
}

/// Whether a VM is ours, of no open run, and old enough.
fn is_debris(vm: &LabVm, open: &[RunId], now: OffsetDateTime) -> bool {
    // FactoryIgnore before anything else.
    if tags::ignored(&vm.tags) {
        return false;
    }
    let Some(run) = tags::get(&vm.tags, RUN_TAG) else {
        return false;
    };
    let old = vm.created_date.is_some_and(|created| now - created > DEBRIS_AFTER);
    let is_open = open.iter().any(|open| open.as_str() == run);
    old && !is_open && !vm.provisioning_state.eq_ignore_ascii_case("Deleting")
}

/// A VM whose disk has an open SAS cannot be deleted.
async fn remove_vm(factory: &Factory, lab: &LabAddress, vm: &LabVm) -> Result<(), AzureError> {
    let compute = match &vm.compute_id {
        Some(id) => factory.azure.compute_vm(id).await?,
        None => None,
    };
    if let Some(disk_id) = compute.and_then(|vm| vm.os_disk_id)
        && let Some(disk) = factory.azure.disk(&disk_id).await?
        && disk.has_open_sas()
    {
        factory.azure.end_disk_access(&disk_id).await?;
    }
    factory.azure.delete_lab_vm(lab, &vm.name).await?;
    Ok(())
}

/// Our VHDs without a companion, of no open run, that are old enough.
fn lone_vhds<'a>(blobs: &'a [BlobItem], open: &[RunId], now: OffsetDateTime) -> Vec<&'a str> {
    let is_lone = |blob: &&BlobItem| {
        let Some(stem) = blob.name.strip_suffix(".vhd") else {
            return false;
        };
        let Some((run, _)) = tags::of_metadata(&blob.metadata) else {
            return false;
        };
        let companion = format!("{stem}.json");
        let old = blob.last_modified.is_some_and(|at| now - at > DEBRIS_AFTER);
        old && !open.contains(&run) && !blobs.iter().any(|other| other.name == companion)
    };
    blobs.iter().filter(is_lone).map(|blob| blob.name.as_str()).collect()
}

/// Whether a deployment in the history, which has room for 800, is an ended run's.
fn is_old_entry(deployment: &Deployment, ended: &[RunId], now: OffsetDateTime) -> bool {
    // A deployment has no tags here; its name begins with the run, and the ledger knows which runs were ours.
    let ours = ended
        .iter()
        .any(|run| deployment.name.strip_prefix(run.as_str()).is_some_and(|rest| rest.starts_with('-')));
    let old = deployment.timestamp.is_some_and(|at| now - at > DEBRIS_AFTER);
    ours && old && deployment.is_final()
}

#[cfg(test)]
mod tests;
