//! Managed disks and the SAS through which they are read (Microsoft.Compute/disks 2023-10-02).

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    call::{Answer, Call},
    compute::Power,
    error::ArmError,
    marketplace::OsType,
    operations::{self, Provider},
};
use crate::{World, chaos::Lasts, storage, work::WorkKind, world};

/// The longest life of a disk's SAS: 60 days.
const LONGEST_ACCESS: u64 = 5_184_000;
/// A fixed VHD ends with a footer (Microsoft, "Virtual Hard Disk Image Format Specification").
pub(crate) const VHD_FOOTER: u64 = 512;

/// A managed disk.
#[derive(Clone, Debug)]
pub struct Disk {
    /// Its id in Azure's spelling.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The region.
    pub location: String,
    /// In bytes, without the VHD footer.
    pub bytes: u64,
    /// The OS on it.
    pub os: OsType,
    /// The compute VM to which it belongs, by id.
    pub machine: Option<String>,
    pub(crate) created: OffsetDateTime,
    pub(crate) access: Access,
    /// Counts grants, so that the end of an old one is known from a new one.
    pub(crate) grants: u64,
}

/// Whether a SAS of the disk is out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    None,
    Granting { operation: String },
    Granted { expires: OffsetDateTime },
    Revoking { operation: String },
}

/// `diskState` (Microsoft, "Disks - Get": DiskState).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum DiskState {
    /// Of no VM.
    Unattached,
    /// Of a VM that is allocated.
    Attached,
    /// Of a VM that is deallocated; may be exported.
    Reserved,
    /// A SAS is out.
    ActiveSAS,
}

/// The next step of a disk.
#[derive(Clone, Debug)]
pub struct Step {
    disk: String,
    grant: u64,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Granted { lifetime: Duration, subject: String, asked: OffsetDateTime },
    Revoked { subject: String, asked: OffsetDateTime },
    Expired,
}

impl Disk {
    /// Its state, given whether its VM is deallocated.
    pub fn state(&self, world: &World) -> DiskState {
        if matches!(self.access, Access::Granted { .. } | Access::Revoking { .. }) {
            return DiskState::ActiveSAS;
        }
        let machine = self.machine.as_ref().and_then(|id| world.arm.machines.get(&id.to_lowercase()));
        match machine {
            Some(machine) if machine.power == Power::Deallocated => DiskState::Reserved,
            Some(_) => DiskState::Attached,
            None => DiskState::Unattached,
        }
    }

    /// Whether its SAS is out, or about to be.
    pub(crate) fn is_exported(&self) -> bool {
        self.access != Access::None
    }

    /// What Azure says to those who need the disk back.
    pub(crate) fn outstanding(&self) -> ArmError {
        ArmError::new(
            409,
            "OperationNotAllowed",
            format!(
                "There is an active shared access signature outstanding for disk {}. Call EndGetAccess before attaching or deleting it.",
                self.name
            ),
        )
    }

    fn view(&self, world: &World) -> Value {
        let mut body = json!({
            "name": self.name,
            "id": self.id,
            "type": "Microsoft.Compute/disks",
            "location": self.location,
            "sku": {"name": "Standard_LRS", "tier": "Standard"},
            "properties": {
                "osType": self.os.text(),
                "hyperVGeneration": "V1",
                "creationData": {"createOption": "FromImage"},
                "diskSizeGB": self.bytes >> 30,
                "diskSizeBytes": self.bytes,
                "timeCreated": super::stamp(self.created),
                "provisioningState": "Succeeded",
                "diskState": self.state(world),
                "networkAccessPolicy": "AllowAll",
                "publicNetworkAccess": "Enabled",
            },
        });
        if let Some(machine) = &self.machine {
            body["managedBy"] = json!(machine);
        }
        body
    }
}

/// `…/disks[/{name}[/beginGetAccess|/endGetAccess]]`.
pub(crate) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Answer, ArmError> {
    let key = format!("/{}", call.lower[..call.lower.len().min(8)].join("/"));
    match (rest, &call.method) {
        ([], _) => list(world, call),
        ([_], &Method::GET) => match world.arm.disks.get(&key) {
            Some(disk) => Ok(Answer::json(200, disk.view(world))),
            None => Err(ArmError::not_found(&call.path())),
        },
        ([_], &Method::DELETE) => delete(world, &key),
        ([_, "begingetaccess"], &Method::POST) => begin(world, call, &key),
        ([_, "endgetaccess"], &Method::POST) => end(world, call, &key),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

/// The disks of a group, or of a whole subscription.
pub(crate) fn list(world: &World, call: &Call) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let prefix = call.scope();
    let value: Vec<Value> = world
        .arm
        .disks
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .map(|(_, disk)| disk.view(world))
        .collect();
    Ok(Answer::json(200, json!({"value": value})))
}

fn delete(world: &mut World, key: &str) -> Result<Answer, ArmError> {
    let Some(disk) = world.arm.disks.get(key) else {
        return Ok(Answer::empty(204));
    };
    if disk.is_exported() {
        return Err(disk.outstanding());
    }
    if let Some(machine) = &disk.machine {
        return Err(ArmError::new(
            409,
            "OperationNotAllowed",
            format!("Disk {} is attached to VM {machine}.", disk.name),
        ));
    }
    world.arm.disks.remove(key);
    Ok(Answer::empty(200))
}

fn begin(world: &mut World, call: &Call, key: &str) -> Result<Answer, ArmError> {
    let Some(disk) = world.arm.disks.get(key).cloned() else {
        return Err(ArmError::not_found(&call.path()));
    };
    let body = call.json()?;
    let access = body["access"].as_str().unwrap_or_default();
    if !["read", "write"].contains(&access.to_ascii_lowercase().as_str()) {
        return Err(invalid("access", access));
    }
    if access.eq_ignore_ascii_case("write") {
        return Err(ArmError::new(
            409,
            "OperationNotAllowed",
            format!("Write access to disk {} is only given to disks in state ReadyToUpload.", disk.name),
        ));
    }
    let seconds = body["durationInSeconds"].as_u64();
    let Some(seconds) = seconds.filter(|seconds| (1..=LONGEST_ACCESS).contains(seconds)) else {
        return Err(invalid("durationInSeconds", &body["durationInSeconds"].to_string()));
    };
    match &disk.access {
        Access::None => {}
        Access::Granted { .. } => return Err(disk.outstanding()),
        Access::Granting { .. } | Access::Revoking { .. } => return Err(busy(&disk)),
    }
    if let Some(machine) = disk.machine.as_ref().and_then(|id| world.arm.machines.get(&id.to_lowercase())) {
        if machine.deleting {
            return Err(busy(&disk));
        }
        if machine.power != Power::Deallocated {
            return Err(ArmError::new(
                409,
                "OperationNotAllowed",
                format!(
                    "Cannot grant access to disk {} because it is attached to running VM {}. Deallocate the VM first.",
                    disk.name, machine.id
                ),
            ));
        }
    }
    let operation = operations::begin(world, Provider::ComputeDisks, call.subscription(), &disk.location);
    let subject = format!("{}/access/{}", disk.id, disk.grants + 1);
    let takes = world.latencies.draw(world.latencies.profile.disk_access, &subject);
    let asked = world.now();
    if let Some(disk) = world.arm.disks.get_mut(key) {
        disk.grants += 1;
        disk.access = Access::Granting { operation: operation.clone() };
    }
    let subject = resource_path(call);
    let lasts = world.lasts(&subject, takes);
    let what = What::Granted { lifetime: Duration::from_secs(seconds), subject, asked };
    match lasts {
        Lasts::For(takes) => schedule(world, takes, key, disk.grants + 1, what),
        Lasts::Forever(_) => world.stick(&operation),
    }
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

fn end(world: &mut World, call: &Call, key: &str) -> Result<Answer, ArmError> {
    let Some(disk) = world.arm.disks.get(key).cloned() else {
        return Err(ArmError::not_found(&call.path()));
    };
    match &disk.access {
        // Nothing is out: that is what was asked for.
        Access::None => return Ok(Answer::empty(200)),
        Access::Granting { operation } => {
            // What hangs may be called off.
            if !world.unstick(operation) {
                return Err(busy(&disk));
            }
            withdraw(world, key);
            return Ok(Answer::empty(200));
        }
        Access::Revoking { operation } => {
            let operation = operation.clone();
            if world.unstick(&operation) {
                let takes = revocation(world, &disk);
                let what = What::Revoked { subject: resource_path(call), asked: world.now() };
                schedule(world, takes, key, disk.grants, what);
            }
            return Ok(operations::accepted(world, &operation, Answer::empty(202)));
        }
        Access::Granted { .. } => {}
    }
    let operation = operations::begin(world, Provider::ComputeDisks, call.subscription(), &disk.location);
    let takes = revocation(world, &disk);
    let asked = world.now();
    if let Some(disk) = world.arm.disks.get_mut(key) {
        disk.access = Access::Revoking { operation: operation.clone() };
    }
    let subject = resource_path(call);
    match world.lasts(&subject, takes) {
        Lasts::For(takes) => schedule(world, takes, key, disk.grants, What::Revoked { subject, asked }),
        Lasts::Forever(_) => world.stick(&operation),
    }
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

/// How long taking access back usually takes.
fn revocation(world: &World, disk: &Disk) -> Duration {
    let subject = format!("{}/revocation/{}", disk.id, disk.grants);
    world.latencies.draw(world.latencies.profile.disk_access, &subject)
}

/// Ends whatever access there is to a disk, or is about to be, at once.
pub(crate) fn withdraw(world: &mut World, key: &str) {
    let Some(disk) = world.arm.disks.get_mut(key) else {
        return;
    };
    let id = disk.id.clone();
    match std::mem::replace(&mut disk.access, Access::None) {
        Access::None => return,
        Access::Granting { operation } => operations::cancel(world, &operation),
        Access::Revoking { operation } => operations::end(world, &operation, Ok(None)),
        Access::Granted { .. } => {}
    }
    storage::close_export(world, &id);
}

/// The disk's id in the spelling of the request.
fn resource_path(call: &Call) -> String {
    format!("/{}", call.segments[..8].join("/"))
}

fn schedule(world: &mut World, after: Duration, key: &str, grant: u64, what: What) {
    let step = Step { disk: key.to_owned(), grant, what };
    world.schedule(after, world::Event::Arm(super::Event::Disk(step)));
}

/// Lets a step happen.
pub(crate) fn step(world: &mut World, step: Step) {
    let Some(disk) = world.arm.disks.get(&step.disk).cloned() else {
        return;
    };
    if disk.grants != step.grant {
        return;
    }
    match (step.what, disk.access) {
        (What::Granted { lifetime, subject, asked }, Access::Granting { operation }) => {
            let expires = world.now() + lifetime;
            set(world, &step.disk, Access::Granted { expires });
            let url = storage::open_export(world, &disk.id, disk.bytes + VHD_FOOTER, expires);
            schedule(world, lifetime, &step.disk, step.grant, What::Expired);
            world.worked(WorkKind::DiskAccess, &subject, asked, true);
            operations::end(world, &operation, Ok(Some(json!({"accessSAS": url}))));
        }
        (What::Revoked { subject, asked }, Access::Revoking { operation }) => {
            set(world, &step.disk, Access::None);
            storage::close_export(world, &disk.id);
            world.worked(WorkKind::DiskAccessRevocation, &subject, asked, true);
            operations::end(world, &operation, Ok(None));
        }
        (What::Expired, Access::Granted { expires }) if expires <= world.now() => {
            set(world, &step.disk, Access::None);
            storage::close_export(world, &disk.id);
        }
        _ => {}
    }
}

fn set(world: &mut World, key: &str, access: Access) {
    if let Some(disk) = world.arm.disks.get_mut(key) {
        disk.access = access;
    }
}

fn busy(disk: &Disk) -> ArmError {
    ArmError::new(
        409,
        "AnotherOperationInProgress",
        format!("Another operation on disk {} is in progress. Please try again later.", disk.name),
    )
}

fn invalid(name: &str, value: &str) -> ArmError {
    ArmError::new(400, "InvalidParameter", format!("The value '{value}' of parameter '{name}' is invalid."))
}
