//! The life of a lab VM over time.
//!
//! A PUT is accepted; some minutes later the compute VM exists; it boots; the artifacts run one by one. The PUT's operation
//! succeeds when they are through, even if one failed. After a generalising artifact the OS shuts down and DevTest Labs
//! deallocates the VM (`postDeployActions` of windows-sysprep and linux-deprovision in Azure/azure-devtestlab).

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::{
    FAILED, LabMachine, SUCCEEDED,
    power::{self, Target},
    resources::{add_compute, remove},
};
use crate::{
    World,
    arm::{
        Event,
        artifacts::{self, PostDeploy},
        compute::{ComputeMachine, Power},
        error::ArmError,
        marketplace::OsType,
        operations, quota,
    },
    chaos::Chance,
    fault::{ArtifactOutcome, holds},
    work::WorkKind,
    world,
};

/// The VM goes.
pub(super) const DELETING: &str = "Deleting";
/// Artifacts run.
const APPLYING: &str = "ApplyingArtifacts";
/// How long an update of notes or tags takes.
pub(super) const UPDATE: Duration = Duration::from_secs(5);
/// DevTest Labs learns so late that a VM's power state changed.
const POWER_STATE_LAG: Duration = Duration::from_secs(60);
/// After the compute VM exists, this part of the rest passes before Azure shows its power state.
const UNTIL_POWER: f64 = 0.5;
/// Of the time from the generalising artifact's end to deallocation, this part passes before the OS has shut down.
const UNTIL_SHUTDOWN: f64 = 0.5;

/// How artifacts fail by chance.
const FAILURES: [&str; 3] = [
    "VM has reported a failure when processing extension 'CustomScriptExtension'. Error message: \"Command execution finished, but failed because it returned a non-zero exit code of: '1603'\".",
    "VM has reported a failure when processing extension 'CustomScriptExtension'. Error message: \"The remote name could not be resolved: 'chocolatey.org'\".",
    "VM has reported a failure when processing extension 'CustomScriptExtension'. Error message: \"Provisioning of VM extension 'CustomScriptExtension' has timed out.\".",
];

/// The next step of a lab VM.
#[derive(Clone, Debug)]
pub struct Step {
    lab: String,
    name: String,
    /// Steps of a VM that was deleted must not move its successor of the same name.
    unique: Uuid,
    what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    /// The compute VM exists; it gets ready after `rest`, or never.
    ComputeAppears {
        rest: Duration,
        is_ready: bool,
    },
    /// There is no room for a compute VM.
    Refused(Box<ArmError>),
    PowerAppears,
    Ready,
    ArtifactEnds(usize),
    Restarted(usize),
    ShutDown {
        rest: Duration,
    },
    Deallocated,
    PowerEnds {
        target: Target,
        operation: Option<String>,
    },
    PowerLearned(Power),
    Deleted {
        subject: String,
        since: time::OffsetDateTime,
    },
}

pub(super) fn schedule(world: &mut World, after: Duration, lab: &str, name: &str, unique: Uuid, what: What) {
    let step = Step { lab: lab.to_owned(), name: name.to_lowercase(), unique, what };
    world.schedule(after, world::Event::Arm(Event::Machine(step)));
}

/// A lab VM's place, while it lives.
pub(super) struct Place<'a> {
    pub(super) world: &'a mut World,
    pub(super) lab: &'a str,
    pub(super) name: &'a str,
    pub(super) unique: Uuid,
}

impl Place<'_> {
    pub(super) fn machine(&mut self) -> Option<&mut LabMachine> {
        self.world.arm.labs.get_mut(self.lab)?.machines.get_mut(self.name)
    }

    pub(super) fn compute(&mut self) -> Option<&mut ComputeMachine> {
        let id = self.machine()?.compute.clone()?;
        self.world.arm.machines.get_mut(&id.to_lowercase())
    }

    fn later(&mut self, after: Duration, what: What) {
        schedule(self.world, after, self.lab, self.name, self.unique, what);
    }
}

/// Lets a step happen.
pub(crate) fn step(world: &mut World, step: Step) {
    let machine = world.arm.labs.get(&step.lab).and_then(|lab| lab.machines.get(&step.name));
    let Some(machine) = machine.filter(|machine| machine.unique == step.unique) else {
        return;
    };
    let machine = machine.clone();
    let deleting = machine.state == DELETING;
    if deleting && !matches!(step.what, What::Deleted { .. }) {
        return;
    }
    let mut place = Place { world, lab: &step.lab, name: &step.name, unique: step.unique };
    match step.what {
        What::ComputeAppears { rest, is_ready } => compute_appears(&mut place, &machine, rest, is_ready),
        What::Refused(error) => refuse(&mut place, &machine, *error),
        What::PowerAppears => {
            if let Some(compute) = place.compute() {
                compute.power_known = true;
            }
            set_power(&mut place, Power::Running);
        }
        What::Ready => {
            let now = place.world.now();
            if let Some(compute) = place.compute() {
                compute.provisioning = "succeeded";
                compute.changed = now;
            }
            apply_next(&mut place, 0);
        }
        What::ArtifactEnds(index) => artifact_ends(&mut place, &machine, index),
        What::Restarted(index) => {
            set_power(&mut place, Power::Running);
            apply_next(&mut place, index + 1);
        }
        What::ShutDown { rest } => {
            set_power(&mut place, Power::Stopped);
            place.later(rest, What::Deallocated);
        }
        What::Deallocated => {
            set_power(&mut place, Power::Deallocated);
            let succeeded = machine.artifacts.iter().all(|run| run.status == artifacts::SUCCEEDED);
            made(&mut place, succeeded);
        }
        What::PowerEnds { target, operation } => power_ends(&mut place, target, operation),
        What::PowerLearned(power) => {
            if let Some(machine) = place.machine() {
                machine.known_power = Some(power.lab_text());
            }
        }
        What::Deleted { subject, since } => {
            remove(place.world, &step.lab, &step.name);
            place.world.worked(WorkKind::VirtualMachineDeletion, &subject, since, true);
            if let Some(operation) = machine.operation {
                operations::end(place.world, &operation, Ok(None));
            }
        }
    }
}

fn compute_appears(place: &mut Place<'_>, machine: &LabMachine, rest: Duration, is_ready: bool) {
    let fault = place
        .world
        .faults
        .virtual_machines
        .iter()
        .find(|fault| holds(&machine.name, &fault.vm_part))
        .map(|fault| ArmError::new(409, &fault.code, fault.message.clone()));
    let Some(lab) = place.world.arm.labs.get(place.lab) else {
        return;
    };
    let subscription = lab.subscription.clone();
    let size = machine.properties.get("size").and_then(Value::as_str).unwrap_or_default().to_owned();
    let quota = quota::check(place.world, &subscription, &machine.location, &size);
    if let Some(error) = fault.or(quota.err()) {
        refuse(place, machine, error);
        return;
    }
    add_compute(place, machine, &subscription, &size);
    place.later(rest.mul_f64(UNTIL_POWER), What::PowerAppears);
    if is_ready {
        place.later(rest, What::Ready);
    }
}

/// The VM cannot be made; it stays, failed.
fn refuse(place: &mut Place<'_>, machine: &LabMachine, error: ArmError) {
    if let Some(machine) = place.machine() {
        machine.state = FAILED;
        machine.operation = None;
    }
    made(place, false);
    if let Some(operation) = &machine.operation {
        operations::end(place.world, operation, Err(error));
    }
}

/// Applies the artifact at `index`, or ends when there is none.
pub(super) fn apply_from(world: &mut World, lab: &str, name: &str, unique: Uuid, index: usize) {
    let mut place = Place { world, lab, name, unique };
    apply_next(&mut place, index);
}

fn apply_next(place: &mut Place<'_>, index: usize) {
    let now = place.world.now();
    let Some(machine) = place.machine() else {
        return;
    };
    let Some(run) = machine.artifacts.get_mut(index) else {
        finish(place);
        return;
    };
    run.status = artifacts::INSTALLING;
    run.started = Some(now);
    machine.state = APPLYING;
    let generalizing = run.artifact.post_deploy == PostDeploy::Deallocate;
    let subject = format!("{}/artifacts/{index}/{}", machine.request_id, machine.artifacts[index].id);
    let (id, vm) = (machine.request_id.clone(), machine.name.clone());
    let artifact = machine.artifacts[index].id.clone();
    let never = place.world.faults.artifacts.iter().any(|fault| {
        holds(&vm, &fault.vm_part)
            && holds(&artifact, &fault.artifact_part)
            && matches!(fault.outcome, ArtifactOutcome::NeverEnds)
    });
    if never || place.world.strike(Chance::ArtifactNeverEnds, &id).is_some() {
        return;
    }
    let profile = &place.world.latencies.profile;
    let span = if generalizing { profile.generalizing_artifact } else { profile.artifact };
    let takes = place.world.latencies.draw(span, &subject);
    place.later(takes, What::ArtifactEnds(index));
}

fn artifact_ends(place: &mut Place<'_>, machine: &LabMachine, index: usize) {
    let Some(run) = machine.artifacts.get(index) else {
        return;
    };
    let fault = place.world.faults.artifacts.iter().find_map(|fault| match &fault.outcome {
        ArtifactOutcome::Fails(message)
            if holds(&machine.name, &fault.vm_part) && holds(&run.id, &fault.artifact_part) =>
        {
            Some(message.clone())
        }
        _ => None,
    });
    let running = place.compute().is_some_and(|compute| compute.power == Power::Running);
    let failure = if !running {
        Some("The virtual machine is not running, so the artifact cannot be applied.".to_owned())
    } else if run.artifact.os != machine.os {
        let script = match run.artifact.os {
            OsType::Windows => "powershell.exe",
            OsType::Linux => "bash",
        };
        Some(format!(
            "VM has reported a failure when processing extension 'CustomScript'. Error message: \"Command execution finished, but failed because '{script}' is not recognized: the artifact '{}' is for {} and the virtual machine runs {}.\"",
            run.artifact.name,
            run.artifact.os.text(),
            machine.os.text()
        ))
    } else {
        let chance = place.world.strike(Chance::ArtifactFails, &machine.request_id);
        fault.or_else(|| chance.map(|mut draw| FAILURES[draw.choice(FAILURES.len())].to_owned()))
    };
    let post_deploy = run.artifact.post_deploy;
    let last = index + 1 == machine.artifacts.len();
    let Some(stored) = place.machine() else {
        return;
    };
    if let Some(message) = failure {
        stored.artifacts[index].status = artifacts::FAILED;
        stored.artifacts[index].message = message;
        for later in &mut stored.artifacts[index + 1..] {
            later.status = artifacts::SKIPPED;
        }
        finish(place);
        return;
    }
    stored.artifacts[index].status = artifacts::SUCCEEDED;
    match post_deploy {
        PostDeploy::Nothing => apply_next(place, index + 1),
        PostDeploy::Restart => {
            set_power(place, Power::Starting);
            let subject = format!("{}/restart/{index}", machine.request_id);
            let span = place.world.latencies.profile.power_action;
            let takes = place.world.latencies.draw(span, &subject);
            place.later(takes, What::Restarted(index));
        }
        PostDeploy::Deallocate => {
            set_power(place, Power::Stopping);
            let span = place.world.latencies.profile.deallocation;
            let takes = place.world.latencies.draw(span, &machine.request_id);
            let first = takes.mul_f64(UNTIL_SHUTDOWN);
            place.later(first, What::ShutDown { rest: takes - first });
            if last {
                finish(place);
            } else {
                apply_next(place, index + 1);
            }
        }
    }
}

/// The artifacts are through: the operation succeeds, whatever became of them.
fn finish(place: &mut Place<'_>) {
    let power = place.compute().map(|compute| compute.power);
    let Some(machine) = place.machine() else {
        return;
    };
    machine.state = SUCCEEDED;
    let operation = machine.operation.take();
    let succeeded = machine.artifacts.iter().all(|run| run.status == artifacts::SUCCEEDED);
    let waits = machine.flag("allowClaim") && power == Some(Power::Running);
    // After the generalising artifact the work ends with the deallocation.
    if power == Some(Power::Running) {
        made(place, succeeded);
    }
    if let Some(operation) = operation {
        operations::end(place.world, &operation, Ok(None));
    }
    if let Some(id) = place.machine().map(|machine| machine.request_id.clone())
        && let Some(until) = place.world.unseen_until(&id)
        && let Some(machine) = place.machine()
    {
        machine.unseen_until = Some(until);
    }
    if waits && let Some(compute) = place.compute().cloned() {
        // A claimable VM waits, deallocated, for its owner.
        power::begin_power(place.world, &compute, Target::Deallocated, None);
    }
}

/// Writes the VM's making down as work, once.
pub(super) fn made(place: &mut Place<'_>, succeeded: bool) {
    let Some(machine) = place.machine() else {
        return;
    };
    let subject = machine.request_id.clone();
    if let Some(since) = machine.making_since.take() {
        place.world.worked(WorkKind::VirtualMachine, &subject, since, succeeded);
    }
}

fn set_power(place: &mut Place<'_>, power: Power) {
    if let Some(compute) = place.compute() {
        compute.power = power;
    }
    place.later(POWER_STATE_LAG, What::PowerLearned(power));
}

/// Changes a compute VM's power state; its lab VM learns it later.
pub(super) fn change_power(world: &mut World, lab: &str, name: &str, unique: Uuid, power: Power) {
    let mut place = Place { world, lab, name, unique };
    set_power(&mut place, power);
}

fn power_ends(place: &mut Place<'_>, target: Target, operation: Option<String>) {
    set_power(place, target.power());
    if let Some(machine) = place.machine()
        && machine.operation.is_some()
        && machine.operation == operation
    {
        machine.operation = None;
        machine.state = SUCCEEDED;
        // DevTest Labs did it itself, so it knows.
        machine.known_power = Some(target.power().lab_text());
    }
    if let Some(operation) = operation {
        operations::end(place.world, &operation, Ok(None));
    }
}
