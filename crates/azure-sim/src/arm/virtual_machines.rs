//! Lab VMs (Microsoft.DevTestLab/labs/virtualMachines).
//!
//! | room | what |
//! |---|---|
//! | [`create`] | what DevTest Labs checks before it makes a VM |
//! | [`life`] | the VM's life over time: boot, artifacts, generalising |
//! | [`resources`] | what stands behind it, and its deletion |
//! | [`power`] | start, stop, restart, claim |

mod create;
mod life;
mod power;
mod request;
mod resources;

use http::Method;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use create::{claimed_machine, create_environment, preflight_cores};
pub use life::Step;
pub(crate) use life::step;
pub(crate) use power::{Target, begin_power, check_power, claim_any};
pub(crate) use resources::{lose, remove, seed_compute};

use super::{
    artifacts::{self, Run},
    call::{Answer, Call},
    error::ArmError,
    labs, listing,
    marketplace::OsType,
    operations::{self, Provider},
    tags::{self, Tags},
};
use crate::{World, chaos::is_seen};

/// The VM stands and nothing goes on.
pub(crate) const SUCCEEDED: &str = "Succeeded";
/// The VM could not be made.
pub(crate) const FAILED: &str = "Failed";

/// A lab VM.
#[derive(Clone, Debug)]
pub struct LabMachine {
    /// Its name.
    pub name: String,
    /// The region.
    pub location: String,
    pub(crate) tags: Tags,
    /// As asked for, without secrets and artifacts.
    pub(crate) properties: Map<String, Value>,
    pub(crate) unique: Uuid,
    pub(crate) created: OffsetDateTime,
    pub(crate) created_by: String,
    /// The id in the spelling of the request.
    pub(crate) request_id: String,
    /// The OS of its image.
    pub os: OsType,
    pub(crate) disk_bytes: u64,
    pub(crate) source: &'static str,
    /// The compute VM's `imageReference`, of an image of the Marketplace.
    pub(crate) image_reference: Option<Value>,
    pub(crate) state: &'static str,
    pub(crate) artifacts: Vec<Run>,
    /// The compute VM's id, once there is one.
    pub compute: Option<String>,
    /// DevTest Labs' cache of the power state.
    pub(crate) known_power: Option<&'static str>,
    pub(crate) operation: Option<String>,
    /// When its making began, until that is written down as work.
    pub(crate) making_since: Option<OffsetDateTime>,
    /// It is not shown before.
    pub(crate) unseen_until: Option<OffsetDateTime>,
}

impl LabMachine {
    /// `provisioningState`.
    pub fn provisioning_state(&self) -> &'static str {
        self.state
    }

    pub(crate) fn storage_type(&self) -> &str {
        self.properties.get("storageType").and_then(Value::as_str).unwrap_or("Standard")
    }

    pub(crate) fn owner(&self) -> &str {
        self.properties.get("ownerObjectId").and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.properties.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn artifact_status(&self) -> Value {
        let total = self.artifacts.len();
        let count = |status| self.artifacts.iter().filter(|run| run.status == status).count();
        let applied = count(artifacts::SUCCEEDED);
        let mut status = json!({"artifactsApplied": applied, "totalArtifacts": total});
        if total > 0 {
            // With no artifacts at all the key is missing.
            status["deploymentStatus"] = json!(if count(artifacts::FAILED) > 0 {
                artifacts::FAILED
            } else if applied == total {
                artifacts::SUCCEEDED
            } else {
                "InProgress"
            });
        }
        status
    }
}

/// What `$expand` asks for.
#[derive(Clone, Copy, Debug, Default)]
struct Expand {
    compute: bool,
    artifacts: bool,
    network: bool,
}

impl Expand {
    fn of(call: &Call) -> Self {
        let text = call.query.get("$expand").map(|e| e.to_ascii_lowercase()).unwrap_or_default();
        Self {
            compute: text.contains("computevm"),
            artifacts: text.contains("artifacts"),
            network: text.contains("networkinterface"),
        }
    }
}

fn view(world: &World, lab_key: &str, machine: &LabMachine, expand: Expand) -> Value {
    let mut properties = machine.properties.clone();
    let mut set = |name: &str, value: Value| {
        properties.insert(name.to_owned(), value);
    };
    set("createdByUserId", json!(machine.created_by));
    set("createdByUser", json!(""));
    set("createdDate", json!(super::stamp(machine.created)));
    set("osType", json!(machine.os.text()));
    set("artifactDeploymentStatus", machine.artifact_status());
    set("virtualMachineCreationSource", json!(machine.source));
    if let Some(compute) = &machine.compute {
        set("computeId", json!(compute));
    }
    if let Some(power) = machine.known_power {
        set("lastKnownPowerState", json!(power));
    }
    set("provisioningState", json!(machine.state));
    set("uniqueIdentifier", json!(machine.unique));
    if expand.artifacts {
        set("artifacts", machine.artifacts.iter().map(Run::view).collect());
    }
    let compute = machine.compute.as_ref().and_then(|id| world.arm.machines.get(&id.to_lowercase()));
    if let Some(compute) = compute.filter(|_| expand.compute) {
        set(
            "computeVm",
            json!({
                "statuses": compute.statuses(),
                "osType": compute.os.text(),
                "vmSize": compute.size,
                "networkInterfaceId": compute.nic,
                "osDiskId": compute.disk,
                "dataDiskIds": [],
                "dataDisks": [],
            }),
        );
        if expand.compute {
            set("canApplyArtifacts", json!(compute.power == super::Power::Running));
        }
    }
    if let Some(compute) = compute.filter(|_| expand.network) {
        set(
            "networkInterface",
            json!({"dnsName": format!("{}.{}.cloudapp.azure.com", compute.name, compute.location)}),
        );
    }
    let mut body = json!({
        "properties": properties,
        "id": format!("{lab_key}/virtualmachines/{}", machine.name.to_lowercase()),
        "name": machine.name,
        "type": "Microsoft.DevTestLab/labs/virtualMachines",
        "location": machine.location,
    });
    if !machine.tags.is_empty() {
        body["tags"] = json!(machine.tags);
    }
    body
}

/// # Errors
/// 404 if the VM is not there.
fn find<'a>(
    world: &'a mut World,
    lab_key: &str,
    name: &str,
    call: &Call,
) -> Result<&'a mut LabMachine, ArmError> {
    let lab = labs::get_mut(world, lab_key, call)?;
    lab.machines.get_mut(name).ok_or_else(|| {
        let id = call.segments.get(..10).unwrap_or(&call.segments).join("/");
        ArmError::not_found(&format!("/{id}"))
    })
}

/// `{lab}/virtualmachines[/{name}[/{action}]]`.
pub(crate) fn route(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    let expand = Expand::of(call);
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let lab = labs::get(world, lab_key, call)?;
            let view = |machine: &LabMachine| view(world, lab_key, machine, expand);
            let now = world.now();
            let seen = |token: Option<&str>| {
                listing::after(&lab.machines, token)
                    .filter(move |(_, machine)| is_seen(machine.unseen_until, now))
            };
            listing::page(world, call, seen, view)
        }
        ([name], &Method::GET) => {
            let now = world.now();
            if !is_seen(find(world, lab_key, name, call)?.unseen_until, now) {
                return Err(ArmError::not_found(&call.path()));
            }
            let machine = &world.arm.labs[lab_key].machines[*name];
            Ok(Answer::json(200, view(world, lab_key, machine, expand)))
        }
        ([name], &Method::PUT) => put(world, call, lab_key, name),
        ([name], &Method::PATCH) => {
            let body = call.json()?;
            if body.as_object().is_some_and(|body| body.keys().any(|key| key != "tags")) {
                return Err(ArmError::bad_request("Only the tags of a virtual machine can be patched."));
            }
            let new = tags::read(&body)?;
            let machine = find(world, lab_key, name, call)?;
            if let Some(new) = new {
                machine.tags = new;
            }
            let machine = &world.arm.labs[lab_key].machines[*name];
            Ok(Answer::json(200, view(world, lab_key, machine, expand)))
        }
        ([name], &Method::DELETE) => delete(world, call, lab_key, name),
        ([name, action], &Method::POST) => power::action(world, call, lab_key, name, action),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

/// Makes a VM, or updates the one that is there.
fn put(world: &mut World, call: &Call, lab_key: &str, name: &str) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let lab = labs::get(world, lab_key, call)?;
    if !lab.machines.contains_key(name) {
        let operation = create::create(world, call, lab_key, call.name(), &call.path(), &body)?;
        let machine = &world.arm.labs[lab_key].machines[name];
        let answer = Answer::json(201, view(world, lab_key, machine, Expand::default()));
        return Ok(operations::accepted(world, &operation, answer));
    }
    let new_tags = tags::read(&body)?;
    let location = lab.location.clone();
    let machine = find(world, lab_key, name, call)?;
    if machine.operation.is_some() || machine.state == life::DELETING {
        return Err(busy(&machine.name, machine.state));
    }
    // What an update may change; the rest of a VM is fixed when it is made.
    for key in ["notes", "expirationDate", "allowClaim", "ownerObjectId", "ownerUserPrincipalName"] {
        if let Some(value) = body["properties"].get(key) {
            machine.properties.insert(key.to_owned(), value.clone());
        }
    }
    if let Some(tags) = new_tags {
        machine.tags = tags;
    }
    let operation = operations::begin(world, Provider::DevTestLab, call.subscription(), &location);
    let ends = super::Event::OperationEnds(operation.clone());
    world.schedule(life::UPDATE, crate::world::Event::Arm(ends));
    let machine = &world.arm.labs[lab_key].machines[name];
    let answer = Answer::json(200, view(world, lab_key, machine, Expand::default()));
    Ok(operations::accepted(world, &operation, answer))
}

fn delete(world: &mut World, call: &Call, lab_key: &str, name: &str) -> Result<Answer, ArmError> {
    let lab = labs::get_mut(world, lab_key, call)?;
    let Some(machine) = lab.machines.get(name).cloned() else {
        return Ok(Answer::empty(204));
    };
    if machine.state == life::DELETING {
        // Asked again: the same deletion goes on.
        let operation = machine.operation.clone().unwrap_or_default();
        if world.unstick(&operation) {
            resources::resume_deletion(world, lab_key, name);
        }
        return Ok(operations::accepted(world, &operation, Answer::empty(202)));
    }
    let location = lab.location.clone();
    if let Some(disk) = resources::disk_of(world, &machine)
        && disk.is_exported()
    {
        return Err(disk.outstanding());
    }
    let operation = operations::begin(world, Provider::DevTestLab, call.subscription(), &location);
    resources::begin_deletion(world, lab_key, name, &operation);
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

fn busy(name: &str, state: &str) -> ArmError {
    ArmError::conflict(format!(
        "Another operation is in progress on the virtual machine '{name}' (provisioning state '{state}'). Please try again later."
    ))
}
