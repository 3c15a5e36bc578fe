//! Start, stop, restart, claim, unclaim and applying artifacts.

use std::time::Duration;

use serde_json::json;

use super::{
    LabMachine, busy, claimed_machine, find,
    life::{self, What},
};
use crate::{
    World,
    arm::{
        artifacts,
        call::{Answer, Call},
        compute::{ComputeMachine, Power},
        error::ArmError,
        labs,
        operations::{self, Provider},
        quota,
    },
};

/// Where a power action leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Running.
    Running,
    /// Running again.
    Restarted,
    /// Shut down, still leased.
    Stopped,
    /// Deallocated.
    Deallocated,
}

/// What is there already takes this long to be found out.
const NOTHING_TO_DO: Duration = Duration::from_secs(2);

impl Target {
    pub(crate) fn power(self) -> Power {
        match self {
            Self::Running | Self::Restarted => Power::Running,
            Self::Stopped => Power::Stopped,
            Self::Deallocated => Power::Deallocated,
        }
    }

    fn on_the_way(self) -> Power {
        match self {
            Self::Running | Self::Restarted => Power::Starting,
            Self::Stopped => Power::Stopping,
            Self::Deallocated => Power::Deallocating,
        }
    }

    fn lab_state(self) -> &'static str {
        match self {
            Self::Running => "Starting",
            Self::Restarted => "Restarting",
            Self::Stopped | Self::Deallocated => "Stopping",
        }
    }
}

/// # Errors
/// 409 if the VM cannot get there: it is being deleted or changed, was generalised, or its disk has a SAS out.
pub(crate) fn check_power(world: &World, machine: &ComputeMachine, target: Target) -> Result<(), ArmError> {
    let moving = matches!(machine.power, Power::Starting | Power::Stopping | Power::Deallocating);
    if machine.deleting || moving {
        return Err(ArmError::conflict(format!(
            "The request failed due to conflict with a concurrent request on VM '{}'.",
            machine.name
        )));
    }
    if target.power() == Power::Running {
        if machine.generalized {
            return Err(ArmError::new(
                409,
                "OperationNotAllowed",
                format!(
                    "Operation 'start' is not allowed on VM '{}' since the VM is generalized.",
                    machine.name
                ),
            ));
        }
        let disk = world.arm.disks.get(&machine.disk.to_lowercase());
        if let Some(disk) = disk.filter(|disk| disk.is_exported()) {
            return Err(disk.outstanding());
        }
    }
    if target == Target::Restarted && machine.power != Power::Running {
        return Err(ArmError::conflict(format!("VM '{}' is not running.", machine.name)));
    }
    Ok(())
}

/// Lets a power action begin; `operation` ends with it.
pub(crate) fn begin_power(
    world: &mut World,
    machine: &ComputeMachine,
    target: Target,
    operation: Option<String>,
) {
    let (lab, name) = &machine.lab_machine;
    let stored = world.arm.labs.get(lab).and_then(|lab| lab.machines.get(name));
    let Some(unique) = stored.map(|machine| machine.unique) else {
        return;
    };
    let there = target != Target::Restarted && machine.power == target.power();
    let takes = if there {
        NOTHING_TO_DO
    } else {
        life::change_power(world, lab, name, unique, target.on_the_way());
        let subject = format!("{}/{target:?}/{}", machine.id, world.now());
        let takes = world.latencies.draw(world.latencies.profile.power_action, &subject);
        world.slowed(&machine.id, takes)
    };
    life::schedule(world, takes, lab, name, unique, What::PowerEnds { target, operation });
}

/// The POST actions of a lab VM.
pub(super) fn action(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    name: &str,
    action: &str,
) -> Result<Answer, ArmError> {
    let machine = find(world, lab_key, name, call)?.clone();
    if machine.operation.is_some() {
        return Err(busy(&machine.name, machine.state));
    }
    match action {
        "start" => power(world, call, lab_key, &machine, Target::Running),
        "stop" => power(world, call, lab_key, &machine, Target::Deallocated),
        "restart" | "redeploy" => power(world, call, lab_key, &machine, Target::Restarted),
        "claim" => claim(world, call, lab_key, &machine),
        "unclaim" => unclaim(world, call, lab_key, &machine),
        "applyartifacts" => apply_artifacts(world, call, lab_key, &machine),
        "resize" => resize(world, call, lab_key, &machine),
        "transferdisks" => Ok(Answer::empty(200)),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

fn power(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    machine: &LabMachine,
    target: Target,
) -> Result<Answer, ArmError> {
    let compute = compute_of(world, machine)?;
    check_power(world, &compute, target)?;
    let operation = begin_operation(world, call, lab_key, machine, target.lab_state())?;
    begin_power(world, &compute, target, Some(operation.clone()));
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

/// # Errors
/// 409 if the compute VM was never made or is gone.
fn compute_of(world: &World, machine: &LabMachine) -> Result<ComputeMachine, ArmError> {
    let id = machine.compute.as_ref().map(|id| id.to_lowercase()).unwrap_or_default();
    world.arm.machines.get(&id).cloned().ok_or_else(|| {
        ArmError::conflict(format!("The compute virtual machine behind '{}' does not exist.", machine.name))
    })
}

fn begin_operation(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    machine: &LabMachine,
    state: &'static str,
) -> Result<String, ArmError> {
    let operation = operations::begin(world, Provider::DevTestLab, call.subscription(), &machine.location);
    let stored = find(world, lab_key, &machine.name.to_lowercase(), call)?;
    stored.operation = Some(operation.clone());
    stored.state = state;
    Ok(operation)
}

/// Makes the caller the owner and starts the VM.
fn claim(world: &mut World, call: &Call, lab_key: &str, machine: &LabMachine) -> Result<Answer, ArmError> {
    if !machine.flag("allowClaim") {
        return Err(ArmError::conflict(format!("The virtual machine '{}' cannot be claimed.", machine.name)));
    }
    claimed_machine(labs::get(world, lab_key, call)?, &call.principal.object_id)?;
    let answer = power(world, call, lab_key, machine, Target::Running)?;
    let stored = find(world, lab_key, &machine.name.to_lowercase(), call)?;
    stored.properties.insert("allowClaim".to_owned(), json!(false));
    let owner = json!(call.principal.object_id);
    stored.properties.insert("ownerObjectId".to_owned(), owner);
    Ok(answer)
}

/// Gives the VM back to the pool, deallocated.
fn unclaim(world: &mut World, call: &Call, lab_key: &str, machine: &LabMachine) -> Result<Answer, ArmError> {
    let answer = power(world, call, lab_key, machine, Target::Deallocated)?;
    let stored = find(world, lab_key, &machine.name.to_lowercase(), call)?;
    stored.properties.insert("allowClaim".to_owned(), json!(true));
    stored.properties.insert("ownerObjectId".to_owned(), json!(""));
    Ok(answer)
}

/// `POST {lab}/claimAnyVm`: the first claimable VM.
pub(crate) fn claim_any(world: &mut World, call: &Call, lab_key: &str) -> Result<Answer, ArmError> {
    let lab = labs::get(world, lab_key, call)?;
    let machine = lab
        .machines
        .values()
        .find(|machine| {
            machine.flag("allowClaim") && machine.operation.is_none() && machine.compute.is_some()
        })
        .cloned();
    match machine {
        Some(machine) => claim(world, call, lab_key, &machine),
        None => Err(ArmError::conflict("There is no claimable virtual machine in this lab.")),
    }
}

fn apply_artifacts(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    machine: &LabMachine,
) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let runs = artifacts::read(labs::get(world, lab_key, call)?, &body["artifacts"])?;
    let compute = compute_of(world, machine)?;
    if runs.is_empty() {
        return Err(ArmError::bad_request("There are no artifacts to apply."));
    }
    if compute.power != Power::Running {
        return Err(ArmError::conflict(format!(
            "Artifacts cannot be applied: the virtual machine '{}' is not running.",
            machine.name
        )));
    }
    let operation = begin_operation(world, call, lab_key, machine, "ApplyingArtifacts")?;
    let name = machine.name.to_lowercase();
    let first = machine.artifacts.len();
    find(world, lab_key, &name, call)?.artifacts.extend(runs);
    life::apply_from(world, lab_key, &name, machine.unique, first);
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

fn resize(world: &mut World, call: &Call, lab_key: &str, machine: &LabMachine) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let size = body["size"].as_str().unwrap_or_default().to_owned();
    if quota::cores(&size).is_none() {
        return Err(ArmError::bad_request(format!("The size '{size}' is not valid.")));
    }
    let compute = compute_of(world, machine)?;
    let target = if compute.power == Power::Running { Target::Restarted } else { Target::Deallocated };
    check_power(world, &compute, target)?;
    let answer = power(world, call, lab_key, machine, target)?;
    if let Some(compute) = world.arm.machines.get_mut(&compute.id.to_lowercase()) {
        compute.size = size.clone();
    }
    let stored = find(world, lab_key, &machine.name.to_lowercase(), call)?;
    stored.properties.insert("size".to_owned(), json!(size));
    Ok(answer)
}
