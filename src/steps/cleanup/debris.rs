//! Debris in the factory lab: VMs, VHDs that never got a companion, and deployments that belong to nothing that goes on.

use std::collections::BTreeSet;

use time::{Duration, OffsetDateTime};

use super::{DEBRIS_AFTER, Done, Life, Runs, VHD, is_capture};
use crate::{
    azure::{AzureError, BlobItem, Deployment, Disk, LabAddress, LabVm},
    domain::{RUN_TAG, RunId, VmName, names::PROVENANCE_SUFFIX},
    ledger::{ItemStatus, Key},
    steps::{Factory, lab_storage::LabStorage, tags},
};

/// A resource group's history has room for 800 deployments; then Azure refuses new ones until it has pruned (Microsoft,
/// "Automatic deletions from deployment history"). From here on also what is over but not ended leaves it.
const MOST_ENTRIES: usize = 700;
/// A deployment that succeeded this long ago was seen by create-vm: its entry is of no more use.
const SEEN_AFTER: Duration = Duration::minutes(15);
/// Entries that a tick removes at most: Azure takes 10 deletions a second.
const MOST_REMOVALS: usize = 300;

/// Removes what carries our tags and belongs to no open build.
pub(super) async fn remove(factory: &Factory, storage: &LabStorage, runs: &Runs, done: &mut Done) {
    let lab = &storage.lab.address;
    let vms = factory.azure.lab_vms(lab).await;
    let vms = done.note("the factory lab's VMs", vms).unwrap_or_default();
    for vm in vms.iter().filter(|vm| is_debris(vm, runs, factory.clock.now())) {
        let begun = match &tags::run(&vm.tags) {
            Some(run) => began_anew(factory, run, &vm.name).await,
            None => Ok(false),
        };
        if done.note(&vm.name, begun) != Some(false) {
            continue;
        }
        let result = remove_vm(factory, lab, vm).await;
        if let Some(removed) = done.note(&vm.name, result) {
            done.removed.push(removed);
        }
    }
    let result = remove_vhds(factory, storage, runs, done).await;
    done.note("the factory lab's VHDs", result);
    let result = remove_deployments(factory, lab, &vms, runs, done).await;
    done.note("the factory lab's deployments", result);
}

/// Whether a person had the build begin anew since this tick read how it stands.
async fn began_anew(factory: &Factory, run: &RunId, vm: &str) -> Result<bool, AzureError> {
    let is_open = async |key: Key| Ok(factory.ledger.status(&key).await? == Some(ItemStatus::Open));
    Ok(is_open(Key::run(run)).await? && is_open(Key::build_of(run, vm)).await?)
}

/// Whether a VM is ours and belongs to nothing that goes on.
pub(super) fn is_debris(vm: &LabVm, runs: &Runs, now: OffsetDateTime) -> bool {
    // FactoryIgnore before anything else.
    if tags::ignored(&vm.tags) {
        return false;
    }
    let Some(run) = tags::get(&vm.tags, RUN_TAG) else {
        return false;
    };
    match RunId::parse(run).map_or(Life::Unknown, |run| runs.of_build(&run, &vm.name)) {
        Life::Live => false,
        Life::Over => true,
        Life::Unknown => vm.created_date.is_some_and(|created| now - created > DEBRIS_AFTER),
    }
}

/// A VM whose disk has an open SAS cannot be deleted: the SAS goes first, the VM at the next tick. A SAS that Azure never got
/// to hand out holds the VM as well, and shows only in the refusal.
async fn remove_vm(factory: &Factory, lab: &LabAddress, vm: &LabVm) -> Result<String, AzureError> {
    let compute = match &vm.compute_id {
        Some(id) => factory.azure.compute_vm(id).await?,
        None => None,
    };
    let disk = match compute.and_then(|vm| vm.os_disk_id) {
        Some(id) => factory.azure.disk(&id).await?,
        None => None,
    };
    if !disk.as_ref().is_some_and(Disk::has_open_sas) {
        match factory.azure.delete_lab_vm(lab, &vm.name).await {
            Err(error) if error.is_conflict() && disk.is_some() => {}
            result => return result.map(|_| format!("VM {}", vm.name)),
        }
    }
    if let Some(disk) = disk {
        factory.azure.end_disk_access(&disk.id).await?;
    }
    Ok(format!("SAS of VM {}", vm.name))
}

async fn remove_vhds(
    factory: &Factory,
    storage: &LabStorage,
    runs: &Runs,
    done: &mut Done,
) -> Result<(), AzureError> {
    let mut pages = storage.container.pages("");
    let mut companion = String::new();
    while let Some(page) = pages.next_if_any().await? {
        for name in lone_vhds(&page, &mut companion, runs, factory.clock.now()) {
            let result = remove_vhd(storage, name).await;
            if done.note(name, result) == Some(true) {
                done.removed.push(format!("VHD {name}"));
            }
        }
        for name in lone_statements(&page, runs, factory.clock.now()) {
            let result = remove_statement(storage, name).await;
            if done.note(name, result) == Some(true) {
                done.removed.push(format!("statement {name}"));
            }
        }
    }
    Ok(())
}

/// Removes a VHD that was listed without a companion; `false` if it has one after all, or is gone.
async fn remove_vhd(storage: &LabStorage, name: &str) -> Result<bool, AzureError> {
    // A captured image must not be lost to a name that sorts between the two, or to a companion that was just written.
    if storage.container.properties(&companion_of(name)).await?.is_some() || !storage.stop_copy(name).await? {
        return Ok(false);
    }
    storage.container.delete(&statement_of(name)).await?;
    storage.container.delete(name).await
}

/// Removes the statement about a VHD that is not there any more; `false` if that or its companion is there after all.
async fn remove_statement(storage: &LabStorage, name: &str) -> Result<bool, AzureError> {
    let vhd = vhd_of(name);
    for blob in [&companion_of(&vhd), &vhd] {
        if storage.container.properties(blob).await?.is_some() {
            return Ok(false);
        }
    }
    storage.container.delete(name).await
}

fn statement_of(vhd: &str) -> String {
    format!("{}{PROVENANCE_SUFFIX}", vhd.strip_suffix(VHD).unwrap_or(vhd))
}

fn vhd_of(statement: &str) -> String {
    format!("{}{VHD}", statement.strip_suffix(PROVENANCE_SUFFIX).unwrap_or(statement))
}

fn companion_of(vhd: &str) -> String {
    format!("{}.json", vhd.strip_suffix(VHD).unwrap_or(vhd))
}

/// Our VHDs of a page without a companion that belong to nothing that goes on. A companion sorts before its VHD, on the page
/// before if need be: `companion` is the last that was seen.
pub(super) fn lone_vhds<'a>(
    page: &'a [BlobItem],
    companion: &mut String,
    runs: &Runs,
    now: OffsetDateTime,
) -> Vec<&'a str> {
    let mut lone = Vec::new();
    for blob in page {
        if blob.name.ends_with(".json") && !blob.name.ends_with(PROVENANCE_SUFFIX) {
            companion.clone_from(&blob.name);
        }
        if !blob.name.ends_with(VHD) {
            continue;
        }
        if is_over(blob, &blob.name, runs, now) && *companion != companion_of(&blob.name) {
            lone.push(blob.name.as_str());
        }
    }
    lone
}

/// Our statements of a page that belong to nothing that goes on, and about whose VHD the page says nothing.
pub(super) fn lone_statements<'a>(page: &'a [BlobItem], runs: &Runs, now: OffsetDateTime) -> Vec<&'a str> {
    let names: BTreeSet<&str> = page.iter().map(|blob| blob.name.as_str()).collect();
    let lone = page.iter().filter(|blob| {
        let vhd = vhd_of(&blob.name);
        blob.name.ends_with(PROVENANCE_SUFFIX)
            && is_over(blob, &vhd, runs, now)
            && !names.contains(vhd.as_str())
            && !names.contains(companion_of(&vhd).as_str())
    });
    lone.map(|blob| blob.name.as_str()).collect()
}

/// Whether a blob is one of ours that is or tells of the captured `vhd`, and its build is over.
fn is_over(blob: &BlobItem, vhd: &str, runs: &Runs, now: OffsetDateTime) -> bool {
    let Some((run, path)) = tags::of_metadata(&blob.metadata) else { return false };
    let vm = VmName::derive(&run, &path);
    match runs.of_build(&run, vm.as_str()) {
        Life::Live => false,
        // A VHD that is on its way into a lab of the same account is the sweep's matter.
        Life::Over => is_capture(vhd, &vm),
        Life::Unknown => blob.last_modified.is_some_and(|at| now - at > DEBRIS_AFTER),
    }
}

async fn remove_deployments(
    factory: &Factory,
    lab: &LabAddress,
    vms: &[LabVm],
    runs: &Runs,
    done: &mut Done,
) -> Result<(), AzureError> {
    let (subscription, group) = (&lab.subscription_id, &lab.resource_group);
    let entries = factory.azure.deployments(subscription, group).await?;
    for (name, action) in stray(&entries, vms, runs, factory.clock.now()) {
        if let Some((run, vm)) = parts(name, runs).filter(|_| action == Action::Cancel)
            && began_anew(factory, &run, vm).await?
        {
            continue;
        }
        let result = match action {
            Action::Cancel => factory.azure.cancel_deployment(subscription, group, name).await,
            Action::Remove => factory.azure.delete_deployment(subscription, group, name).await,
        };
        if done.note(name, result).is_some() {
            done.removed.push(format!("deployment {name}"));
        }
    }
    Ok(())
}

/// What happens to a deployment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// It goes on, and nobody waits for it: stopped now, removed at the next tick.
    Cancel,
    /// Its entry leaves the history.
    Remove,
}

/// The deployments of a group that are ours and to go, oldest first.
pub(super) fn stray<'a>(
    entries: &'a [Deployment],
    vms: &[LabVm],
    runs: &Runs,
    now: OffsetDateTime,
) -> Vec<(&'a str, Action)> {
    let mut entries_by_age: Vec<&Deployment> = entries.iter().collect();
    entries_by_age.sort_by_key(|entry| entry.timestamp);
    let is_ignored = |vm: &str| vms.iter().any(|other| other.name == vm && tags::ignored(&other.tags));
    let mut too_many = entries.len().saturating_sub(MOST_ENTRIES);
    let mut stray = Vec::new();
    let mut dispensable = Vec::new();
    for entry in entries_by_age {
        // A deployment has no tags here; its name begins with the run, and the ledger knows which runs were ours.
        let Some((run, vm)) = parts(&entry.name, runs) else { continue };
        // A deletion that Azure has lost goes on when it is asked for again.
        let can_go = entry.is_final() || entry.is_being_deleted();
        match (runs.of_build(&run, vm), can_go) {
            (Life::Over, true) => stray.push((entry.name.as_str(), Action::Remove)),
            // To stop it would be to meddle with a VM that people keep from the factory.
            (Life::Over, false) if !is_ignored(vm) => stray.push((entry.name.as_str(), Action::Cancel)),
            (Life::Live, true)
                if entry.succeeded() && entry.timestamp.is_some_and(|at| now - at > SEEN_AFTER) =>
            {
                dispensable.push((entry.name.as_str(), Action::Remove));
            }
            _ => {}
        }
    }
    too_many = too_many.saturating_sub(stray.len());
    dispensable.truncate(too_many);
    stray.extend(dispensable);
    stray.truncate(MOST_REMOVALS);
    stray
}

/// The run and the VM in a deployment's name, `{run}-{vm}`, if the run is one of ours. Runs' ids have hyphens: the longest counts.
fn parts<'a>(name: &'a str, runs: &Runs) -> Option<(RunId, &'a str)> {
    name.rmatch_indices('-').find_map(|(at, _)| {
        let run = RunId::parse(&name[..at]).ok().filter(|run| runs.is_known(run))?;
        Some((run, &name[at + 1..]))
    })
}
