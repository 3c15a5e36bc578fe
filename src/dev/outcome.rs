//! What a run left behind, its critical path, and the report of both.

use std::collections::BTreeMap;

use azure_sim::{
    arm::Budget,
    control::State,
    work::{Work, WorkKind},
    world::Counts,
};
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    domain::{LabId, RUN_TAG},
    report::{ImageLine, LabLine, RunReport},
};

/// The report of `dev` and `simulate`. Stable; more keys may be added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What the ledger says.
    #[serde(flatten)]
    pub run: RunReport,
    /// What is left behind; empty lists if all went well.
    pub leftovers: Leftovers,
    /// How often things happened.
    pub counts: RunCounts,
    /// How long the run took, in seconds of the simulated clock.
    pub virtual_seconds: f64,
    /// The longest chain of simulated Azure work that the run could not avoid, in the same seconds.
    pub critical_path_seconds: f64,
    /// The time within which Resource Manager's budgets let the run's calls through, in the same seconds: it is the bound
    /// where it is longer than the critical path.
    pub budget_seconds: f64,
}

/// What is left behind.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Leftovers {
    /// Lab VMs with the factory's tags.
    pub vms: Vec<String>,
    /// Disks of which a SAS is out.
    pub disks_with_sas: Vec<String>,
    /// VHDs that are no captured image: in the factory's account those without companion, elsewhere all of ours. Also
    /// statements about VHDs that are gone.
    pub vhds: Vec<String>,
    /// Deployments of this run in the history.
    pub deployments: Vec<String>,
}

impl Leftovers {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.vms.is_empty()
            && self.disks_with_sas.is_empty()
            && self.vhds.is_empty()
            && self.deployments.is_empty()
    }
}

/// How often things happened.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunCounts {
    /// Messages that were sent.
    pub messages: u64,
    /// Invocations of the handler.
    pub invocations: u64,
    /// Calls to Azure.
    #[serde(flatten)]
    pub azure: Counts,
    /// The most memory that the handler's process had (`VmHWM`), where it is one of its own and the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handler_peak_memory_bytes: Option<u64>,
}

impl RunCounts {
    /// What happened after `before`.
    pub fn since(self, before: &Self) -> Self {
        let azure = Counts {
            arm_reads: self.azure.arm_reads - before.azure.arm_reads,
            arm_writes: self.azure.arm_writes - before.azure.arm_writes,
            arm_deletes: self.azure.arm_deletes - before.azure.arm_deletes,
            blob_calls: self.azure.blob_calls - before.azure.blob_calls,
            throttled: self.azure.throttled - before.azure.throttled,
        };
        let (messages, invocations) =
            (self.messages - before.messages, self.invocations - before.invocations);
        Self { messages, invocations, azure, ..self }
    }
}

impl Outcome {
    /// Puts together what the ledger and Azure say after a run.
    pub fn new(run: RunReport, state: &State, work: &[Work], budgets: &[Budget], counts: RunCounts) -> Self {
        let ended = run.run.ended_at.unwrap_or(state.now);
        let log = Log::of(work);
        Self {
            leftovers: leftovers(&run, state),
            counts,
            virtual_seconds: (ended - run.run.started_at).as_seconds_f64(),
            critical_path_seconds: critical_path(&run, &log),
            budget_seconds: budget_bound(&run, &log, budgets),
            run,
        }
    }

    /// The virtual time as a multiple of what bounds it: the critical path, or Resource Manager's budgets.
    pub fn ratio(&self) -> f64 {
        self.virtual_seconds / self.critical_path_seconds.max(self.budget_seconds)
    }

    /// Whether every image stands in every lab and nothing is left behind.
    pub fn succeeded(&self) -> bool {
        self.run.succeeded() && self.leftovers.is_empty()
    }
}

fn leftovers(run: &RunReport, state: &State) -> Leftovers {
    let mut found = Leftovers::default();
    for lab in &state.labs {
        let ours = |vm: &&azure_sim::control::VirtualMachineState| vm.tags.contains_key(RUN_TAG);
        found
            .vms
            .extend(lab.virtual_machines.iter().filter(ours).map(|vm| format!("{}/{}", lab.name, vm.name)));
    }
    found.disks_with_sas.extend(state.disks_with_sas().map(|disk| disk.id.clone()));
    // Also those of earlier runs: the companion is written when a capture is complete, and only in the factory's account.
    let lone = state.vhds.iter().filter(|vhd| !vhd.has_companion);
    found.vhds.extend(lone.map(|vhd| vhd.url.clone()).chain(state.lone_statements.iter().cloned()));
    let prefix = format!("{}-", run.run.id);
    let ours = state.deployments.iter().filter(|deployment| deployment.name.starts_with(&prefix));
    found.deployments.extend(ours.map(|deployment| deployment.name.clone()));
    found
}

/// The longest time that one of Resource Manager's token buckets needed for the calls that it took, from the run's beginning.
fn budget_bound(run: &RunReport, log: &Log, budgets: &[Budget]) -> f64 {
    let ready = ready(run, log);
    let needed = |budget: &Budget| {
        let ready = ready.get(&budget.subscription_id.to_ascii_lowercase());
        time_needed(budget, run.run.started_at, ready.map_or(&[], Vec::as_slice))
    };
    budgets.iter().map(needed).fold(0.0, f64::max)
}

/// How long after `started` a bucket can have let all its calls through: as many at once as it holds, then so many a second. None
/// comes before its first, and in a lab's subscription none that a copy costs before that copy is `ready` (soonest first). The
/// few calls of planning are taken for the copies'. Zero where the bucket held them all at once.
fn time_needed(budget: &Budget, started: OffsetDateTime, ready: &[f64]) -> f64 {
    let taken = budget.taken as f64;
    if taken <= budget.bucket {
        return 0.0;
    }
    let time = |calls: f64| (calls - budget.bucket).max(0.0) / budget.per_second;
    let first = (budget.since - started).as_seconds_f64().max(0.0);
    let of_each = taken / ready.len().max(1) as f64;
    let from = |(before, at): (usize, &f64)| at + time((ready.len() - before) as f64 * of_each);
    ready.iter().enumerate().map(from).fold(first + time(taken), f64::max)
}

/// By subscription, the times from the run's beginning at which its copies' VHDs can be complete, soonest first.
fn ready(run: &RunReport, log: &Log) -> BTreeMap<String, Vec<f64>> {
    let mut ready = BTreeMap::<String, Vec<f64>>::new();
    for image in &run.images {
        let captured = captured(image, log);
        for lab in &image.labs {
            let of_subscription = ready.entry(lab.subscription_id.to_ascii_lowercase()).or_default();
            of_subscription.push(captured + copied(image, lab, log));
        }
    }
    ready.values_mut().for_each(|times| times.sort_by(f64::total_cmp));
    ready
}

/// The longest chain of work, each piece as long as Azure worked on it: VM → disk access → VHD → and then either the VM's
/// deletion, or for each lab VHD → custom image → retirement of the older ones. Waiting, calls and messages are not in it.
fn critical_path(run: &RunReport, log: &Log) -> f64 {
    run.images.iter().map(|image| longest_chain(image, log)).fold(0.0, f64::max)
}

fn longest_chain(image: &ImageLine, log: &Log) -> f64 {
    let vm = image.vm_name.as_str();
    let deletion =
        log.of_name(WorkKind::VirtualMachineDeletion, vm) + log.longest(WorkKind::DeploymentDeletion, vm);
    let labs = image.labs.iter().map(|lab| {
        let id = lab.custom_image_id.as_deref().unwrap_or_default();
        copied(image, lab, log) + log.of_subject(WorkKind::CustomImage, id)
    });
    captured(image, log) + labs.fold(deletion, f64::max)
}

/// The work until an image is captured.
fn captured(image: &ImageLine, log: &Log) -> f64 {
    let vm = image.vm_name.as_str();
    log.of_name(WorkKind::VirtualMachine, vm)
        + log.longest(WorkKind::DiskAccess, vm)
        + log.of_name(WorkKind::BlobCopy, &image.image_name.factory_vhd_blob())
}

/// The work until its VHD stands in a lab.
fn copied(image: &ImageLine, lab: &LabLine, log: &Log) -> f64 {
    let lab_id = LabId::new(&lab.subscription_id, lab.resource_group.as_deref(), &lab.lab_name);
    let vhd = lab_id.map(|lab| image.image_name.target_vhd_blob(&lab)).unwrap_or_default();
    log.of_name(WorkKind::BlobCopy, &vhd)
}

/// The work log, to look things up in: at 100,000 copies a search through it for each would not end.
struct Log {
    /// The longest piece of work of a kind, by the last part of its subject's path, in lower case.
    by_name: BTreeMap<(WorkKind, String), f64>,
    /// The same, by the whole subject.
    by_subject: BTreeMap<(WorkKind, String), f64>,
}

impl Log {
    fn of(work: &[Work]) -> Self {
        let mut log = Self { by_name: BTreeMap::new(), by_subject: BTreeMap::new() };
        for piece in work.iter().filter(|piece| piece.succeeded) {
            let subject = piece.subject.to_ascii_lowercase();
            let name = subject.rsplit('/').next().unwrap_or_default().to_owned();
            keep_longest(&mut log.by_name, (piece.kind, name), piece.seconds());
            keep_longest(&mut log.by_subject, (piece.kind, subject), piece.seconds());
        }
        log
    }

    /// The work on what has this name.
    fn of_name(&self, kind: WorkKind, name: &str) -> f64 {
        self.by_name.get(&(kind, name.to_ascii_lowercase())).copied().unwrap_or_default()
    }

    /// The work on what has this id.
    fn of_subject(&self, kind: WorkKind, subject: &str) -> f64 {
        self.by_subject.get(&(kind, subject.to_ascii_lowercase())).copied().unwrap_or_default()
    }

    /// The longest work on what Azure named after a VM: its disk, its deployment.
    fn longest(&self, kind: WorkKind, vm: &str) -> f64 {
        let vm = vm.to_ascii_lowercase();
        let of_kind =
            self.by_subject.range((kind, String::new())..).take_while(|((other, _), _)| *other == kind);
        of_kind
            .filter(|((_, subject), _)| subject.contains(&vm))
            .map(|(_, seconds)| *seconds)
            .fold(0.0, f64::max)
    }
}

fn keep_longest(map: &mut BTreeMap<(WorkKind, String), f64>, key: (WorkKind, String), seconds: f64) {
    let longest = map.entry(key).or_default();
    *longest = longest.max(seconds);
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const STARTED: OffsetDateTime = datetime!(2026-11-22 13:00 UTC);

    fn budget(taken: u64) -> Budget {
        Budget {
            subscription_id: "s".to_owned(),
            principal: "p".to_owned(),
            kind: "reads".to_owned(),
            taken,
            refused: 0,
            since: STARTED + time::Duration::seconds(5),
            bucket: 250.0,
            per_second: 25.0,
        }
    }

    #[test]
    fn a_bucketful_needs_no_time_and_more_needs_it_from_the_first_call_on() {
        assert_eq!(time_needed(&budget(250), STARTED, &[]), 0.0);
        assert_eq!(time_needed(&budget(2750), STARTED, &[]), 105.0);
    }

    #[test]
    fn calls_for_copies_cannot_come_before_the_copies_are_ready() {
        let at_once = [1000.0; 1000];
        assert_eq!(time_needed(&budget(2750), STARTED, &at_once), 1100.0);
        // The first tenth is early: what remains comes from 1,000 s on, and the bucket is full by then.
        let mut early = at_once;
        early[..100].fill(10.0);
        assert_eq!(time_needed(&budget(2750), STARTED, &early), 1000.0 + (900.0 * 2.75 - 250.0) / 25.0);
        // One that is late by itself is nothing that a budget is to blame for: the critical path tells of it.
        let mut late = at_once;
        late[999] = 5000.0;
        assert_eq!(time_needed(&budget(2750), STARTED, &late), 5000.0);
    }
}
