//! Compute VMs: what stands behind a lab VM (Microsoft.Compute/virtualMachines).

use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    call::{Answer, Call},
    error::ArmError,
    marketplace::OsType,
    operations::{self, Provider},
    virtual_machines::{self, Target},
};
use crate::{World, chaos::is_seen};

/// A VM's power state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Starting.
    Starting,
    /// Running.
    Running,
    /// Shutting down.
    Stopping,
    /// Shut down, but still leased and billed.
    Stopped,
    /// Being deallocated.
    Deallocating,
    /// Deallocated: its disks may be read.
    Deallocated,
}

impl Power {
    fn code(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Deallocating => "deallocating",
            Self::Deallocated => "deallocated",
        }
    }

    /// As DevTest Labs caches it.
    pub(crate) fn lab_text(self) -> &'static str {
        match self {
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Stopping | Self::Deallocating => "Stopping",
            Self::Stopped | Self::Deallocated => "Stopped",
        }
    }
}

/// A compute VM.
#[derive(Clone, Debug)]
pub struct ComputeMachine {
    /// Its id in Azure's spelling.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The region.
    pub location: String,
    /// Such as `Standard_D2s_v3`.
    pub size: String,
    /// Its OS.
    pub os: OsType,
    /// The image of the Marketplace that it was made from.
    pub(crate) image_reference: Option<Value>,
    /// Its power state.
    pub power: Power,
    /// Early in its life Azure shows no power state.
    pub(crate) power_known: bool,
    /// `creating`, `updating`, `succeeded`, `failed`, `deleting`.
    pub(crate) provisioning: &'static str,
    pub(crate) generalized: bool,
    pub(crate) deleting: bool,
    /// Its OS disk's id.
    pub disk: String,
    pub(crate) nic: String,
    /// The lab VM: the lab's key and the name in lower case.
    pub(crate) lab_machine: (String, String),
    pub(crate) changed: OffsetDateTime,
    /// It is not shown before.
    pub(crate) unseen_until: Option<OffsetDateTime>,
}

impl ComputeMachine {
    /// The `statuses` of the instance view; Azure promises no order.
    pub(crate) fn statuses(&self) -> Vec<Value> {
        let text = |code: &str| {
            let mut letters = code.chars();
            let first = letters.next().map(|c| c.to_ascii_uppercase());
            first.into_iter().chain(letters).collect::<String>()
        };
        let mut statuses = vec![json!({
            "code": format!("ProvisioningState/{}", self.provisioning),
            "level": if self.provisioning == "failed" { "Error" } else { "Info" },
            "displayStatus": match self.provisioning {
                "succeeded" => "Provisioning succeeded".to_owned(),
                "failed" => "Provisioning failed".to_owned(),
                other => text(other),
            },
            "time": super::stamp(self.changed),
        })];
        if self.generalized {
            statuses.push(
                json!({"code": "OSState/generalized", "level": "Info", "displayStatus": "VM generalized"}),
            );
        }
        if self.power_known {
            statuses.push(json!({
                "code": format!("PowerState/{}", self.power.code()),
                "level": "Info",
                "displayStatus": format!("VM {}", self.power.code()),
            }));
        }
        statuses
    }

    fn instance_view(&self) -> Value {
        json!({
            "hyperVGeneration": "V1",
            "disks": [{"name": self.disk.rsplit('/').next()}],
            "statuses": self.statuses(),
        })
    }

    fn view(&self, expand: bool) -> Value {
        let state = match self.provisioning {
            "succeeded" => "Succeeded",
            "failed" => "Failed",
            "creating" => "Creating",
            "deleting" => "Deleting",
            _ => "Updating",
        };
        let mut body = json!({
            "name": self.name,
            "id": self.id,
            "type": "Microsoft.Compute/virtualMachines",
            "location": self.location,
            "properties": {
                "hardwareProfile": {"vmSize": self.size},
                "provisioningState": state,
                "storageProfile": {
                    "osDisk": {
                        "osType": self.os.text(),
                        "name": self.disk.rsplit('/').next(),
                        "createOption": "FromImage",
                        "caching": "ReadWrite",
                        "managedDisk": {"id": self.disk, "storageAccountType": "Standard_LRS"},
                        "deleteOption": "Delete",
                    },
                    "dataDisks": [],
                },
                "osProfile": {"computerName": self.name},
                "networkProfile": {"networkInterfaces": [{"id": self.nic}]},
            },
        });
        if let Some(reference) = &self.image_reference {
            body["properties"]["storageProfile"]["imageReference"] = reference.clone();
        }
        if expand {
            body["properties"]["instanceView"] = self.instance_view();
        }
        body
    }
}

/// `…/virtualMachines[/{name}[/{action}]]`.
pub(crate) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Answer, ArmError> {
    let key = format!("/{}", call.lower[..call.lower.len().min(8)].join("/"));
    if rest.is_empty() {
        return list(world, call);
    }
    let Some(machine) = world.arm.machines.get(&key).cloned() else {
        if call.method == Method::DELETE && rest.len() == 1 {
            return Ok(Answer::empty(204));
        }
        return Err(ArmError::not_found(&call.path()));
    };
    if call.method == Method::GET && !is_seen(machine.unseen_until, world.now()) {
        return Err(ArmError::not_found(&call.path()));
    }
    match (rest, &call.method) {
        ([_], &Method::GET) => {
            let expand = call.query.get("$expand");
            let expand = expand.is_some_and(|expand| expand.to_ascii_lowercase().contains("instanceview"));
            Ok(Answer::json(200, machine.view(expand)))
        }
        ([_, "instanceview"], &Method::GET) => Ok(Answer::json(200, machine.instance_view())),
        ([_, "generalize"], &Method::POST) => generalize(world, &key, &machine),
        ([_, "start"], &Method::POST) => power(world, call, &machine, Target::Running),
        ([_, "deallocate"], &Method::POST) => power(world, call, &machine, Target::Deallocated),
        ([_, "poweroff"], &Method::POST) => power(world, call, &machine, Target::Stopped),
        ([_, "restart"], &Method::POST) => power(world, call, &machine, Target::Restarted),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

/// The VMs of a group, or of a whole subscription.
pub(crate) fn list(world: &World, call: &Call) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let prefix = call.scope();
    let value: Vec<Value> = world
        .arm
        .machines
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .filter(|(_, machine)| is_seen(machine.unseen_until, world.now()))
        .map(|(_, machine)| machine.view(false))
        .collect();
    Ok(Answer::json(200, json!({"value": value})))
}

fn generalize(world: &mut World, key: &str, machine: &ComputeMachine) -> Result<Answer, ArmError> {
    if !matches!(machine.power, Power::Deallocated | Power::Stopped) {
        return Err(ArmError::new(
            409,
            "OperationNotAllowed",
            format!("The VM '{}' must be stopped or deallocated before it is generalized.", machine.name),
        ));
    }
    if let Some(machine) = world.arm.machines.get_mut(key) {
        machine.generalized = true;
    }
    Ok(Answer::empty(200))
}

fn power(
    world: &mut World,
    call: &Call,
    machine: &ComputeMachine,
    target: Target,
) -> Result<Answer, ArmError> {
    virtual_machines::check_power(world, machine, target)?;
    let operation =
        operations::begin(world, Provider::ComputeMachines, call.subscription(), &machine.location);
    virtual_machines::begin_power(world, machine, target, Some(operation.clone()));
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}
