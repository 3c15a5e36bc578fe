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
    domain::{ImagePath, LabId, RUN_TAG},
    report::{ImageLine, LabLine, RetiredLine, RunReport},
};

/// The reads of a copy before it is registered, at least: whether its image is there already.
const READS_TO_REGISTER: f64 = 1.0;

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
        let log = Log::since(run.run.started_at, work);
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
    let soonest = soonest(run, log);
    let needed = |budget: &Budget| {
        let copies = soonest.get(&budget.subscription_id.to_ascii_lowercase());
        time_needed(budget, run.run.started_at, copies.map_or(&[], Vec::as_slice))
    };
    budgets.iter().map(needed).fold(0.0, f64::max)
}

/// When a copy can be so far at the soonest, in seconds from the run's beginning: however many calls Azure took.
#[derive(Clone, Copy, Debug)]
struct Soonest {
    /// Its VHD is complete: it can be registered.
    complete: f64,
    /// Its image stands: it can be found, and older ones can retire.
    stands: f64,
}

/// How long after `started` a bucket can have let all its calls through: as many at once as it holds, then so many a second. None
/// comes before its first. Of a lab's subscription each copy costs the same part: what registers it comes when its VHD is complete, and
/// all else once its image stands. The few calls of planning are taken for the copies'. Zero where the bucket held them all at once.
fn time_needed(budget: &Budget, started: OffsetDateTime, copies: &[Soonest]) -> f64 {
    let taken = budget.taken as f64;
    if taken <= budget.bucket {
        return 0.0;
    }
    let time = |calls: f64| (calls - budget.bucket).max(0.0) / budget.per_second;
    let first = (budget.since - started).as_seconds_f64().max(0.0);
    let of_each = taken / copies.len().max(1) as f64;
    let to_register = of_each.min(match budget.kind.as_str() {
        "reads" => READS_TO_REGISTER,
        "deletes" => 0.0,
        _ => of_each,
    });
    let calls = |copy: &Soonest| [(copy.complete, to_register), (copy.stands, of_each - to_register)];
    let mut released: Vec<(f64, f64)> =
        copies.iter().flat_map(calls).filter(|(_, calls)| *calls > 0.0).collect();
    released.sort_by(|one, other| other.0.total_cmp(&one.0));
    let mut since_then = 0.0;
    let from = |(at, calls): (f64, f64)| {
        since_then += calls;
        at + time(since_then)
    };
    released.into_iter().map(from).fold(first + time(taken), f64::max)
}

/// By subscription, when its copies can be how far.
fn soonest(run: &RunReport, log: &Log) -> BTreeMap<String, Vec<Soonest>> {
    let mut soonest = BTreeMap::<String, Vec<Soonest>>::new();
    for image in &run.images {
        let captured = captured(image, log);
        for lab in &image.labs {
            let complete = captured + copied(image, lab, log);
            let of_subscription = soonest.entry(lab.subscription_id.to_ascii_lowercase()).or_default();
            of_subscription.push(Soonest { complete, stands: complete + registered(lab, log) });
        }
    }
    soonest
}

/// The longest chain of work, each piece as long as Azure worked on it: VM → disk access → VHD → and then either the VM's
/// deletion, or for each lab VHD → custom image → deletion of the older ones. Waiting, calls and messages are not in it.
fn critical_path(run: &RunReport, log: &Log) -> f64 {
    let mut retired = Retired::new();
    for line in &run.retired {
        retired.entry((&line.image_path, &line.lab_name)).or_default().push(line);
    }
    run.images.iter().map(|image| longest_chain(image, &retired, log)).fold(0.0, f64::max)
}

/// What retired, by its definition and the name of its lab.
type Retired<'a> = BTreeMap<(&'a ImagePath, &'a str), Vec<&'a RetiredLine>>;

fn longest_chain(image: &ImageLine, retired: &Retired<'_>, log: &Log) -> f64 {
    let vm = image.vm_name.as_str();
    let deletion =
        log.of_name(WorkKind::VirtualMachineDeletion, vm) + log.longest(WorkKind::DeploymentDeletion, vm);
    let labs = image.labs.iter().map(|lab| {
        let older = retired.get(&(&image.image_path, lab.lab_name.as_str())).map_or(&[][..], Vec::as_slice);
        copied(image, lab, log) + registered(lab, log) + deleted(lab, older, log)
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

/// The work until its image stands in a lab, once the VHD does.
fn registered(lab: &LabLine, log: &Log) -> f64 {
    log.of_subject(WorkKind::CustomImage, lab.custom_image_id.as_deref().unwrap_or_default())
}

/// The work until the older images are gone from a lab, once the new one stands.
fn deleted(lab: &LabLine, older: &[&RetiredLine], log: &Log) -> f64 {
    let Some((images, _)) = lab.custom_image_id.as_deref().and_then(|id| id.rsplit_once('/')) else {
        return 0.0;
    };
    let work = |line: &&RetiredLine| {
        log.of_subject(WorkKind::CustomImageDeletion, &format!("{images}/{}", line.image_name))
    };
    older.iter().map(work).fold(0.0, f64::max)
}

/// The work log, to look things up in: at 100,000 copies a search through it for each would not end.
struct Log {
    /// The longest piece of work of a kind, by the last part of its subject's path, in lower case.
    by_name: BTreeMap<(WorkKind, String), f64>,
    /// The same, by the whole subject.
    by_subject: BTreeMap<(WorkKind, String), f64>,
}

impl Log {
    /// What was begun since then: a run that takes an earlier run's image does not wait for its work.
    fn since(started: OffsetDateTime, work: &[Work]) -> Self {
        let mut log = Self { by_name: BTreeMap::new(), by_subject: BTreeMap::new() };
        for piece in work.iter().filter(|piece| piece.succeeded && piece.started >= started) {
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

    fn budget(kind: &str, taken: u64) -> Budget {
        Budget {
            subscription_id: "s".to_owned(),
            principal: "p".to_owned(),
            kind: kind.to_owned(),
            taken,
            refused: 0,
            since: STARTED + time::Duration::seconds(5),
            bucket: 250.0,
            per_second: 25.0,
        }
    }

    #[test]
    fn a_bucketful_needs_no_time_and_more_needs_it_from_the_first_call_on() {
        assert_eq!(time_needed(&budget("reads", 250), STARTED, &[]), 0.0);
        assert_eq!(time_needed(&budget("reads", 2750), STARTED, &[]), 105.0);
    }

    /// Copies whose image stands as soon as the VHD is complete.
    fn at_once(complete: f64) -> Soonest {
        Soonest { complete, stands: complete }
    }

    #[test]
    fn calls_for_copies_cannot_come_before_the_copies_are_ready() {
        let reads = budget("reads", 2750);
        let together = [at_once(1000.0); 1000];
        assert_eq!(time_needed(&reads, STARTED, &together), 1100.0);
        // The first tenth is early: what remains comes from 1,000 s on, and the bucket is full by then.
        let mut early = together;
        early[..100].fill(at_once(10.0));
        assert_eq!(time_needed(&reads, STARTED, &early), 1000.0 + (900.0 * 2.75 - 250.0) / 25.0);
        // One that is late by itself is nothing that a budget is to blame for: the critical path tells of it.
        let mut late = together;
        late[999] = at_once(5000.0);
        assert_eq!(time_needed(&reads, STARTED, &late), 5000.0);
    }

    #[test]
    fn what_is_asked_of_an_image_cannot_come_before_it_stands() {
        let needed = |kind, taken, stands| {
            let copies = [Soonest { complete: 1000.0, stands }; 1000];
            time_needed(&budget(kind, taken), STARTED, &copies)
        };
        // One read of each comes before its registration, and 1.75 when the image stands.
        assert_eq!(needed("reads", 2750, 1200.0), 1200.0 + (1750.0 - 250.0) / 25.0);
        // Where the first ones take longer than that, all of them together are what counts.
        assert_eq!(needed("reads", 2750, 1010.0), 1000.0 + (2750.0 - 250.0) / 25.0);
        // A write registers an image; only when it stands are others deleted for it.
        assert_eq!(needed("writes", 1000, 1200.0), 1000.0 + (1000.0 - 250.0) / 25.0);
        assert_eq!(needed("deletes", 1000, 1200.0), 1200.0 + (1000.0 - 250.0) / 25.0);
    }
}
