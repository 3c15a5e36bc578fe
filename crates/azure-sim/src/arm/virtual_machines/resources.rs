//! What stands behind a lab VM: the compute VM, its OS disk and their resource group; how they come and go.

use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    LabMachine,
    life::{DELETING, Place, What, made, schedule},
};
use crate::{
    World,
    arm::{
        compute::{ComputeMachine, Power},
        disks::{self, Access, Disk},
        operations::{self, Provider},
        resource_groups::{self, ResourceGroup},
    },
    chaos::Lasts,
};

/// Letters that depend on a VM's id only, so that names do not depend on what else happens.
fn letters(id: &str) -> String {
    let hash = Sha256::digest(id.to_lowercase());
    hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Makes the compute VM of a lab VM, its disk and their group.
pub(super) fn add_compute(place: &mut Place<'_>, machine: &LabMachine, subscription: &str, size: &str) {
    let now = place.world.now();
    let lab_name = place.world.arm.labs.get(place.lab).map(|lab| lab.name.clone()).unwrap_or_default();
    let letters = letters(&machine.request_id);
    let digits: String = letters.bytes().take(6).map(|b| char::from(b'0' + b % 10)).collect();
    let group = format!("{lab_name}-{}-{digits}", machine.name);
    let name = machine.name.to_lowercase();
    let base = format!("/subscriptions/{subscription}/resourceGroups/{group}/providers");
    let id = format!("{base}/Microsoft.Compute/virtualMachines/{name}");
    let disk_name = format!("{name}_OsDisk_1_{letters}");
    let disk_id = format!("{base}/Microsoft.Compute/disks/{disk_name}");
    let compute = ComputeMachine {
        id: id.clone(),
        name: name.clone(),
        location: machine.location.clone(),
        size: size.to_owned(),
        os: machine.os,
        image_reference: machine.image_reference.clone(),
        power: Power::Starting,
        power_known: false,
        provisioning: "creating",
        generalized: false,
        deleting: false,
        disk: disk_id.clone(),
        nic: format!("{base}/Microsoft.Network/networkInterfaces/{name}"),
        lab_machine: (place.lab.to_owned(), place.name.to_owned()),
        changed: now,
        unseen_until: place.world.unseen_until(&id),
    };
    let disk = Disk {
        id: disk_id.clone(),
        name: disk_name,
        location: machine.location.clone(),
        bytes: machine.disk_bytes,
        os: machine.os,
        machine: Some(id.clone()),
        created: now,
        access: Access::None,
        grants: 0,
    };
    let resource_group = ResourceGroup {
        subscription: subscription.to_owned(),
        name: group.clone(),
        location: machine.location.clone(),
        ..ResourceGroup::default()
    };
    let arm = &mut place.world.arm;
    arm.groups.insert(resource_groups::key(subscription, &group), resource_group);
    arm.machines.insert(id.to_lowercase(), compute);
    arm.disks.insert(disk_id.to_lowercase(), disk);
    if let Some(machine) = place.machine() {
        machine.compute = Some(id);
    }
}

/// Gives a lab VM that was seeded its compute VM, running.
pub(crate) fn seed_compute(world: &mut World, lab: &str, name: &str) {
    let stored = world.arm.labs.get(lab).and_then(|lab| lab.machines.get(name).map(|machine| (lab, machine)));
    let Some((stored_lab, machine)) = stored else {
        return;
    };
    let (subscription, machine) = (stored_lab.subscription.clone(), machine.clone());
    let size = machine.properties.get("size").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut place = Place { world, lab, name, unique: machine.unique };
    add_compute(&mut place, &machine, &subscription, &size);
    if let Some(compute) = place.compute() {
        compute.power = Power::Running;
        compute.power_known = true;
        compute.provisioning = "succeeded";
    }
    if let Some(machine) = place.machine() {
        machine.known_power = Some(Power::Running.lab_text());
    }
}

/// The OS disk of a lab VM.
pub(super) fn disk_of<'a>(world: &'a World, machine: &LabMachine) -> Option<&'a Disk> {
    let compute = world.arm.machines.get(&machine.compute.as_ref()?.to_lowercase())?;
    world.arm.disks.get(&compute.disk.to_lowercase())
}

/// Lets a deletion begin. What went on before ends here.
pub(super) fn begin_deletion(world: &mut World, lab: &str, name: &str, operation: &str) {
    let since = world.now();
    let stored = world.arm.labs.get_mut(lab).and_then(|lab| lab.machines.get_mut(name));
    let Some(machine) = stored else {
        return;
    };
    machine.state = DELETING;
    let before = machine.operation.replace(operation.to_owned());
    let (unique, subject) = (machine.unique, machine.request_id.clone());
    let mut place = Place { world, lab, name, unique };
    made(&mut place, false);
    if let Some(compute) = place.compute() {
        compute.deleting = true;
        compute.provisioning = "deleting";
    }
    if let Some(before) = before {
        operations::cancel(world, &before);
    }
    let takes = world.latencies.draw(world.latencies.profile.vm_deletion, &subject);
    match world.lasts(&subject, takes) {
        Lasts::For(takes) => schedule(world, takes, lab, name, unique, What::Deleted { subject, since }),
        Lasts::Forever(_) => world.stick(operation),
    }
}

/// Lets a deletion go on that hung.
pub(super) fn resume_deletion(world: &mut World, lab: &str, name: &str) {
    let stored = world.arm.labs.get(lab).and_then(|lab| lab.machines.get(name));
    let Some((unique, subject)) = stored.map(|machine| (machine.unique, machine.request_id.clone())) else {
        return;
    };
    let takes = world.latencies.draw(world.latencies.profile.vm_deletion, &subject);
    let since = world.now();
    schedule(world, takes, lab, name, unique, What::Deleted { subject, since });
}

/// Somebody deletes a lab VM, and takes back the SAS of its disk where one is out; answers its id if it was there.
pub(crate) fn lose(world: &mut World, lab: &str, name: &str, unique: Uuid) -> Option<String> {
    let stored = world.arm.labs.get(lab)?;
    let machine = stored.machines.get(name)?;
    if machine.unique != unique || machine.state == DELETING {
        return None;
    }
    let (subscription, location) = (stored.subscription.clone(), machine.location.clone());
    let id = machine.request_id.clone();
    if let Some(disk) = disk_of(world, machine).map(|disk| disk.id.to_lowercase()) {
        disks::withdraw(world, &disk);
    }
    let operation = operations::begin(world, Provider::DevTestLab, &subscription, &location);
    begin_deletion(world, lab, name, &operation);
    Some(id)
}

/// Takes a lab VM away with everything behind it.
pub(crate) fn remove(world: &mut World, lab: &str, name: &str) {
    let machine = world.arm.labs.get_mut(lab).and_then(|lab| lab.machines.remove(name));
    let Some(compute) = machine.and_then(|machine| machine.compute) else {
        return;
    };
    let Some(compute) = world.arm.machines.remove(&compute.to_lowercase()) else {
        return;
    };
    if let Some(disk) = world.arm.disks.remove(&compute.disk.to_lowercase())
        && disk.is_exported()
    {
        crate::storage::close_export(world, &disk.id);
    }
    let segments: Vec<&str> = compute.id.split('/').collect();
    if let (Some(subscription), Some(group)) = (segments.get(2), segments.get(4)) {
        world.arm.groups.remove(&resource_groups::key(subscription, group));
    }
}
