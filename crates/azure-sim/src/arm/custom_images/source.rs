//! Where a custom image comes from: a VHD in the lab's storage account, or a VM of the lab.

use serde_json::Value;
use time::OffsetDateTime;

use crate::{
    Service, World,
    arm::{compute::Power, disks::VHD_FOOTER, error::ArmError, labs::Lab, marketplace::OsType},
    storage,
};

/// A VHD for Azure has whole MiB before its footer.
const MIB: u64 = 1 << 20;

/// What a body asks for.
pub(super) struct Asked {
    pub(super) os: OsType,
    pub(super) bytes: u64,
    pub(super) generalized: bool,
    pub(super) vhd: Option<Vhd>,
}

/// The VHD as it was when the image was asked for.
#[derive(Clone, Debug)]
pub(super) struct Vhd {
    url: String,
    written: Option<OffsetDateTime>,
}

/// Reads and checks the source that a body names.
pub(super) fn read(world: &World, lab: &Lab, properties: &Value) -> Result<Asked, ArmError> {
    match (properties.get("vhd"), properties.get("vm")) {
        (Some(vhd), None) => from_vhd(world, lab, vhd),
        (None, Some(vm)) => from_machine(world, lab, vm),
        _ => Err(ArmError::bad_request("A custom image needs exactly one of 'vhd' and 'vm'.")),
    }
}

fn from_vhd(world: &World, lab: &Lab, vhd: &Value) -> Result<Asked, ArmError> {
    let os = vhd["osType"].as_str().unwrap_or_default();
    let Some(os) = OsType::read(os) else {
        return Err(ArmError::bad_request(
            "The property 'osType' of 'vhd' is required: 'Windows' or 'Linux'.",
        ));
    };
    let url = vhd["imageName"].as_str().unwrap_or_default();
    let account = url
        .parse::<http::Uri>()
        .ok()
        .filter(|uri| uri.query().is_none())
        .and_then(|uri| world.endpoints.service_of(&uri))
        .and_then(|service| match service {
            Service::Blob { account, .. } => Some(account),
            _ => None,
        });
    if !account.is_some_and(|account| account.eq_ignore_ascii_case(lab.storage_account())) {
        return Err(ArmError::new(400, "InvalidStorageAccountForLab", "Invalid storage account for lab"));
    }
    let sysprepped = vhd["sysPrep"].as_bool().unwrap_or(false);
    let blob = storage::blob(world, url);
    Ok(Asked {
        os,
        bytes: blob.as_ref().map_or(0, |blob| blob.length.saturating_sub(VHD_FOOTER)),
        // `sysPrep` is for Windows only; the VHD of a Linux image is taken to be deprovisioned.
        generalized: os == OsType::Linux || sysprepped,
        vhd: Some(Vhd { url: url.to_owned(), written: blob.map(|blob| blob.last_modified) }),
    })
}

fn from_machine(world: &World, lab: &Lab, vm: &Value) -> Result<Asked, ArmError> {
    let id = vm["sourceVmId"].as_str().unwrap_or_default().to_lowercase();
    let machine = id
        .strip_prefix(&format!("{}/virtualmachines/", lab.key()))
        .and_then(|name| lab.machines.get(name))
        .ok_or_else(|| {
            ArmError::bad_request(format!("The source virtual machine '{id}' was not found in this lab."))
        })?;
    let compute = machine.compute.as_ref().and_then(|id| world.arm.machines.get(&id.to_lowercase()));
    let Some(compute) = compute.filter(|_| machine.operation.is_none()) else {
        return Err(ArmError::conflict(format!(
            "The virtual machine '{}' is in state '{}' and cannot be captured.",
            machine.name, machine.state
        )));
    };
    let (state, other) = match machine.os {
        OsType::Windows => (&vm["windowsOsInfo"]["windowsOsState"], "linuxOsInfo"),
        OsType::Linux => (&vm["linuxOsInfo"]["linuxOsState"], "windowsOsInfo"),
    };
    if vm[other].is_object() {
        return Err(ArmError::bad_request(format!(
            "'{other}' does not go with the virtual machine '{}', which runs {}.",
            machine.name,
            machine.os.text()
        )));
    }
    let state = state.as_str().unwrap_or_default().to_ascii_lowercase();
    let generalized = state.starts_with("sysprep") || state.starts_with("deprovision");
    if generalized && state.ends_with("requested") && compute.power != Power::Running {
        return Err(ArmError::conflict(format!(
            "The virtual machine '{}' must be running to be generalized.",
            machine.name
        )));
    }
    Ok(Asked { os: machine.os, bytes: machine.disk_bytes, generalized, vhd: None })
}

/// Why an image cannot be made of a VHD: it must be there from the beginning to the end, complete, unchanged, and a fixed VHD.
pub(super) fn vhd_problem(world: &World, vhd: &Vhd) -> Option<ArmError> {
    let missing = || {
        ArmError::new(
            404,
            "BlobNotFound",
            format!("The blob '{}' does not exist, or vanished while the image was made from it.", vhd.url),
        )
    };
    let invalid = |reason: &str| {
        ArmError::new(
            400,
            "InvalidVhd",
            format!(
                "The specified cookie value in VHD footer indicates that disk with blob '{}' is not a supported VHD: {reason}",
                vhd.url
            ),
        )
    };
    let Some(blob) = storage::blob(world, &vhd.url) else {
        return Some(missing());
    };
    let complete = blob.copy_status.as_deref().is_none_or(|status| status == "success");
    if !blob.blob_type.eq_ignore_ascii_case("PageBlob") {
        Some(invalid("it is no page blob."))
    } else if vhd.written.is_none() {
        Some(missing())
    } else if !complete {
        Some(invalid("its copy did not succeed."))
    } else if blob.length <= VHD_FOOTER || !(blob.length - VHD_FOOTER).is_multiple_of(MIB) {
        Some(invalid("its size is not a whole number of MiB plus the footer."))
    } else if vhd.written != Some(blob.last_modified) {
        Some(ArmError::conflict(format!(
            "The blob '{}' was changed while the image was made from it.",
            vhd.url
        )))
    } else {
        None
    }
}
