//! Everything that a run may have made or left behind.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use time::OffsetDateTime;

use crate::{Sim, World, arm::DiskState, storage};

/// All labs, disks, VHDs and deployments, each in order of its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// The simulator's time.
    #[serde(with = "time::serde::rfc3339")]
    pub now: OffsetDateTime,
    /// All labs.
    pub labs: Vec<LabState>,
    /// All managed disks.
    pub disks: Vec<DiskInState>,
    /// All blobs whose name ends with `.vhd`.
    pub vhds: Vec<BlobState>,
    /// The URLs of the blobs `….provenance.json` beside which neither the `.vhd` nor the `.json` stands.
    #[serde(default)]
    pub lone_statements: Vec<String>,
    /// The deployment history of all groups.
    pub deployments: Vec<DeploymentState>,
}

impl State {
    /// The disks of which a SAS is out.
    pub fn disks_with_sas(&self) -> impl Iterator<Item = &DiskInState> {
        self.disks.iter().filter(|disk| disk.state == DiskState::ActiveSAS)
    }

    /// The lab of this id, in any spelling.
    pub fn lab(&self, id: &str) -> Option<&LabState> {
        self.labs.iter().find(|lab| lab.id.eq_ignore_ascii_case(id))
    }
}

/// A lab.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabState {
    /// Its id in lower case.
    pub id: String,
    /// Its subscription.
    pub subscription_id: String,
    /// Its group.
    pub resource_group: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// Its storage account.
    pub storage_account: String,
    /// Its VMs.
    pub virtual_machines: Vec<VirtualMachineState>,
    /// Its custom images.
    pub custom_images: Vec<CustomImageState>,
    /// Its formulas.
    #[serde(default)]
    pub formulas: Vec<FormulaState>,
}

/// A formula.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormulaState {
    /// Its name.
    pub name: String,
    /// The custom image that it names, as it names it.
    pub custom_image_id: Option<String>,
}

/// A lab VM.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineState {
    /// Its name.
    pub name: String,
    /// `provisioningState`.
    pub provisioning_state: String,
    /// Its tags.
    pub tags: Map<String, Value>,
    /// Whether it waits for an owner.
    pub allow_claim: bool,
    /// How many of its artifacts succeeded.
    pub artifacts_applied: usize,
    /// How many artifacts it has.
    pub artifacts: usize,
    /// Its compute VM's id, once there is one.
    pub compute_id: Option<String>,
    /// The custom image that it was made from, if it was.
    #[serde(default)]
    pub custom_image_id: Option<String>,
}

/// A custom image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomImageState {
    /// Its name.
    pub name: String,
    /// `provisioningState`.
    pub provisioning_state: String,
    /// Its tags.
    pub tags: Map<String, Value>,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
}

/// A managed disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskInState {
    /// Its id.
    pub id: String,
    /// `diskState`.
    pub state: DiskState,
}

/// A blob.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BlobState {
    /// Its account.
    pub account: String,
    /// Its URL without query.
    pub url: String,
    /// In bytes.
    pub length: u64,
    /// `x-ms-copy-status`, if it was made by a copy.
    pub copy_status: Option<String>,
    /// Whether a `.json` of the same name stands beside it.
    #[serde(default)]
    pub has_companion: bool,
}

/// A deployment of a group's history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentState {
    /// `{subscription}/{group}` in lower case.
    pub group: String,
    /// Its name.
    pub name: String,
    /// `provisioningState`.
    pub provisioning_state: String,
    /// When that last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: OffsetDateTime,
}

/// The state as of now.
pub fn state(sim: &Sim) -> State {
    let world = sim.world();
    let world: &World = &world;
    let accounts: Vec<String> = world.storage.accounts.keys().cloned().collect();
    State {
        now: world.now(),
        labs: labs(world),
        disks: world
            .arm
            .disks
            .values()
            .map(|disk| DiskInState { id: disk.id.clone(), state: disk.state(world) })
            .collect(),
        vhds: accounts
            .iter()
            .flat_map(|account| storage::blobs(world, account))
            .filter(|blob| blob.url.to_lowercase().ends_with(".vhd"))
            .map(|blob| BlobState {
                account: blob.account,
                has_companion: storage::blob(world, &companion(&blob.url)).is_some(),
                url: blob.url,
                length: blob.length,
                copy_status: blob.copy_status,
            })
            .collect(),
        lone_statements: accounts
            .iter()
            .flat_map(|account| storage::blobs(world, account))
            .map(|blob| blob.url)
            .filter(|url| is_lone_statement(world, url))
            .collect(),
        deployments: deployments(world),
    }
}

fn is_lone_statement(world: &World, url: &str) -> bool {
    let stands = |stem: &str, ending: &str| storage::blob(world, &format!("{stem}{ending}")).is_some();
    url.strip_suffix(".provenance.json").is_some_and(|stem| !stands(stem, ".vhd") && !stands(stem, ".json"))
}

/// The URL of the `.json` beside a `.vhd`.
fn companion(vhd: &str) -> String {
    let stem = vhd.len() - ".vhd".len();
    format!("{}.json", vhd.get(..stem).unwrap_or(vhd))
}

/// One lab as of now, by its id in any spelling.
pub fn lab_state(sim: &Sim, id: &str) -> Option<LabState> {
    sim.world().arm.labs.get(&id.to_lowercase()).map(lab)
}

fn labs(world: &World) -> Vec<LabState> {
    world.arm.labs.values().map(lab).collect()
}

fn lab(lab: &crate::arm::Lab) -> LabState {
    LabState {
        id: lab.key(),
        subscription_id: lab.subscription.clone(),
        resource_group: lab.group.clone(),
        name: lab.name.clone(),
        location: lab.location.clone(),
        storage_account: lab.storage_account().to_owned(),
        virtual_machines: lab.machines.values().map(machine).collect(),
        custom_images: lab
            .images
            .values()
            .map(|image| CustomImageState {
                name: image.name.clone(),
                provisioning_state: image.provisioning_state().to_owned(),
                tags: image.tags.clone(),
                created: image.created,
            })
            .collect(),
        formulas: lab.formulas.values().map(formula).collect(),
    }
}

fn formula(formula: &crate::arm::Formula) -> FormulaState {
    let image = &formula.properties["formulaContent"]["properties"]["customImageId"];
    FormulaState { name: formula.name.clone(), custom_image_id: image.as_str().map(str::to_owned) }
}

fn machine(machine: &crate::arm::LabMachine) -> VirtualMachineState {
    VirtualMachineState {
        name: machine.name.clone(),
        provisioning_state: machine.provisioning_state().to_owned(),
        tags: machine.tags.clone(),
        allow_claim: machine.flag("allowClaim"),
        artifacts_applied: machine.artifacts.iter().filter(|run| run.status == "Succeeded").count(),
        artifacts: machine.artifacts.len(),
        compute_id: machine.compute.clone(),
        custom_image_id: machine.properties.get("customImageId").and_then(Value::as_str).map(str::to_owned),
    }
}

fn deployments(world: &World) -> Vec<DeploymentState> {
    let of_group = |(key, group): (&String, &crate::arm::ResourceGroup)| {
        let key = key.clone();
        group
            .deployments
            .values()
            .map(|deployment| DeploymentState {
                group: key.clone(),
                name: deployment.name.clone(),
                provisioning_state: deployment.provisioning_state().to_owned(),
                timestamp: deployment.timestamp,
            })
            .collect::<Vec<_>>()
    };
    world.arm.groups.iter().flat_map(of_group).collect()
}
