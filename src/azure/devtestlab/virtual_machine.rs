//! Lab virtual machines: <https://learn.microsoft.com/rest/api/dtl/virtual-machines>.

use std::collections::BTreeMap;

use azure_core::http::Method;
use serde_json::Value;
use time::OffsetDateTime;

use super::{API_VERSION, LabAddress, os_type};
use crate::azure::{
    Azure, AzureError, Started,
    json::{date, items, name, tags, text},
};
use crate::domain::OsType;

/// Without this the answer holds neither the artifacts' states nor the compute VM's.
const EXPAND: (&str, &str) = ("$expand", "Properties($expand=ComputeVm,Artifacts,NetworkInterface)");

/// A VM of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabVm {
    /// Its name in the lab.
    pub name: String,
    /// Its resource id in the lab.
    pub id: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// The compute VM behind it, in a resource group of its own; absent until it is made.
    pub compute_id: Option<String>,
    /// Its operating system.
    pub os_type: Option<OsType>,
    /// `Creating`, `ApplyingArtifacts`, `Succeeded`, `Failed`, `Deleting` …
    pub provisioning_state: String,
    /// Its artifacts in order; empty in lists, which are not expanded.
    pub artifacts: Vec<VmArtifact>,
    /// How many artifacts are applied, and of how many.
    pub artifacts_applied: Option<(u32, u32)>,
    /// The state of all artifacts together; absent if there are none.
    pub artifact_deployment_status: Option<String>,
    /// The lab's custom image that it was made from.
    pub custom_image_id: Option<String>,
    /// When it was made.
    pub created_date: Option<OffsetDateTime>,
    /// Whether it waits for somebody to claim it.
    pub allow_claim: bool,
}

impl LabVm {
    /// Whether it is on its way out.
    pub fn is_being_deleted(&self) -> bool {
        self.provisioning_state.eq_ignore_ascii_case("Deleting")
    }
}

/// An artifact on a VM. The VM can succeed while one of these failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmArtifact {
    /// The artifact's resource id, or its part from the lab on.
    pub artifact_id: String,
    /// Free text: `Succeeded`, `Failed`, `Pending`, `Skipped`, `Installing`.
    pub status: String,
    /// What the artifact's script, or its VM extension, had to say.
    pub message: Option<String>,
}

impl Azure {
    /// Reads one VM, with its artifacts; `None` if it is not there.
    ///
    /// # Errors
    /// As any call.
    pub async fn lab_vm(&self, lab: &LabAddress, name: &str) -> Result<Option<LabVm>, AzureError> {
        let url = self.url(&lab.segments(&["virtualmachines", name]), API_VERSION, &[EXPAND]);
        let vm = self.get(&format!("GET lab VM {lab}/{name}"), url).await?;
        Ok(vm.as_ref().map(read))
    }

    /// Lists a lab's VMs, all pages, without their artifacts.
    ///
    /// # Errors
    /// As any call.
    pub async fn lab_vms(&self, lab: &LabAddress) -> Result<Vec<LabVm>, AzureError> {
        let url = self.url(&lab.segments(&["virtualmachines"]), API_VERSION, &[]);
        let vms = self.list(&format!("GET lab VMs of {lab}"), url).await?;
        Ok(vms.iter().map(read).collect())
    }

    /// Deletes a VM with its disks; done if it is not there.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete_lab_vm(&self, lab: &LabAddress, name: &str) -> Result<Started, AzureError> {
        let url = self.url(&lab.segments(&["virtualmachines", name]), API_VERSION, &[]);
        self.start(&format!("DELETE lab VM {lab}/{name}"), Method::Delete, url, None).await
    }
}

fn read(vm: &Value) -> LabVm {
    let count =
        |pointer: &str| vm.pointer(pointer).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let status = "/properties/artifactDeploymentStatus";
    LabVm {
        name: name(vm),
        id: text(vm, "/id").unwrap_or_default(),
        tags: tags(vm),
        compute_id: text(vm, "/properties/computeId"),
        os_type: os_type(vm, "/properties/osType").or_else(|| os_type(vm, "/properties/computeVm/osType")),
        provisioning_state: text(vm, "/properties/provisioningState").unwrap_or_default(),
        artifacts: items(vm, "/properties/artifacts").map(read_artifact).collect(),
        artifacts_applied: count(&format!("{status}/artifactsApplied"))
            .zip(count(&format!("{status}/totalArtifacts"))),
        artifact_deployment_status: text(vm, &format!("{status}/deploymentStatus")),
        custom_image_id: text(vm, "/properties/customImageId"),
        created_date: date(vm, "/properties/createdDate"),
        allow_claim: vm.pointer("/properties/allowClaim").and_then(Value::as_bool).unwrap_or_default(),
    }
}

fn read_artifact(artifact: &Value) -> VmArtifact {
    VmArtifact {
        artifact_id: text(artifact, "/artifactId").unwrap_or_default(),
        status: text(artifact, "/status").unwrap_or_default(),
        message: text(artifact, "/deploymentStatusMessage")
            .or_else(|| text(artifact, "/vmExtensionStatusMessage"))
            .map(|message| crate::azure::error::without_queries(&message)),
    }
}
