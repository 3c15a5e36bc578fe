//! What a run left behind, its critical path, and the report of both.

use std::collections::BTreeMap;

use azure_sim::{
    arm::Budget,
    control::State,
    work::{Work, WorkKind},
    world::Counts,
};
use serde::Serialize;

use crate::{
    domain::{LabId, RUN_TAG},
    report::{ImageLine, RunReport},
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

impl Outcome {
    /// Puts together what the ledger and Azure say after a run.
    pub fn new(run: RunReport, state: &State, work: &[Work], budgets: &[Budget], counts: RunCounts) -> Self {
        let ended = run.run.ended_at.unwrap_or(state.now);
        Self {
            leftovers: leftovers(&run, state),
            counts,
            virtual_seconds: (ended - run.run.started_at).as_seconds_f64(),
            critical_path_seconds: critical_path(&run, work),
            budget_seconds: budget_bound(&run, budgets),
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

/// The longest time that one of Resource Manager's token buckets needed for the calls that it took, from the run's beginning:
/// none before the first call, then as many at once as the bucket holds, then so many a second.
fn budget_bound(run: &RunReport, budgets: &[Budget]) -> f64 {
    let needed = |budget: &Budget| {
        let first = (budget.since - run.run.started_at).as_seconds_f64().max(0.0);
        first + (budget.taken as f64 - budget.bucket).max(0.0) / budget.per_second
    };
    budgets.iter().filter(|budget| budget.taken as f64 > budget.bucket).map(needed).fold(0.0, f64::max)
}

/// The longest chain of work, each piece as long as Azure worked on it: VM → disk access → VHD → and then either the VM's
/// deletion, or for each lab VHD → custom image → retirement of the older ones. Waiting, calls and messages are not in it.
fn critical_path(run: &RunReport, work: &[Work]) -> f64 {
    let log = Log::of(work);
    run.images.iter().map(|image| longest_chain(image, &log)).fold(0.0, f64::max)
}

fn longest_chain(image: &ImageLine, log: &Log) -> f64 {
    let vm = image.vm_name.as_str();
    let capture = log.of_name(WorkKind::VirtualMachine, vm)
        + log.longest(WorkKind::DiskAccess, vm)
        + log.of_name(WorkKind::BlobCopy, &image.image_name.factory_vhd_blob());
    let deletion =
        log.of_name(WorkKind::VirtualMachineDeletion, vm) + log.longest(WorkKind::DeploymentDeletion, vm);
    let labs = image.labs.iter().map(|lab| {
        let id = lab.custom_image_id.as_deref().unwrap_or_default();
        let lab_id = LabId::new(&lab.subscription_id, lab.resource_group.as_deref(), &lab.lab_name);
        let vhd = lab_id.map(|lab| image.image_name.target_vhd_blob(&lab)).unwrap_or_default();
        log.of_name(WorkKind::BlobCopy, &vhd) + log.of_subject(WorkKind::CustomImage, id)
    });
    capture + labs.fold(deletion, f64::max)
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
