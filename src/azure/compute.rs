//! Compute VMs and managed disks: <https://learn.microsoft.com/rest/api/compute/>.

use std::time::Duration;

use azure_core::http::Method;
use serde_json::{Value, json};

use crate::domain::OsType;

use super::{
    Answer, Azure, AzureError, OperationUrl, Progress, Started,
    devtestlab::os_type,
    error,
    json::{items, text},
};
use crate::secret::Secret;

const VM_API_VERSION: &str = "2023-09-01";
const DISK_API_VERSION: &str = "2023-10-02";

const POWER_STATE: &str = "PowerState/";

/// Bytes in Azure's "GB" of a disk.
const GIB: u64 = 1 << 30;

/// The VM behind a lab VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComputeVm {
    /// Its resource id.
    pub id: String,
    /// `running`, `stopped`, `deallocated` …, from the instance view; absent early on. `stopped` is not `deallocated`:
    /// the VM is still leased and its disk attached.
    pub power_state: Option<String>,
    /// `Creating`, `Updating`, `Succeeded`, `Failed`, `Deleting`.
    pub provisioning_state: String,
    /// Its OS disk.
    pub os_disk_id: Option<String>,
    /// Its operating system.
    pub os_type: Option<OsType>,
    /// The marketplace's image that it was made from, with the version that was really taken:
    /// `publisher:offer:sku:version`.
    pub image: Option<String>,
    /// How many data disks it has.
    pub data_disks: usize,
}

/// A managed disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its resource id.
    pub id: String,
    /// `Unattached`, `Attached`, `Reserved`, `ActiveSAS` … An SAS can be had unless it is `Attached`.
    pub state: String,
    /// Its size.
    pub size_bytes: Option<u64>,
}

/// The answer to asking for a disk's SAS.
#[derive(Clone, Debug)]
pub enum DiskAccess {
    /// A URL with which the disk can be read. It must be given back with [`Azure::end_disk_access`].
    Granted(Secret<String>),
    /// Azure is at it.
    Pending {
        /// For [`Azure::disk_access`].
        operation: OperationUrl,
        /// How long Azure asks to wait.
        retry_after: Option<Duration>,
    },
}

/// How the asking for a disk's SAS stands.
#[derive(Clone, Debug)]
pub enum DiskAccessProgress {
    /// Still at it.
    Running,
    /// As [`DiskAccess::Granted`].
    Granted(Secret<String>),
    /// Refused.
    Failed(AzureError),
    /// Azure no longer knows the operation; if the disk's state is `ActiveSAS`, end the access and ask again.
    Gone,
}

impl Disk {
    /// Whether a SAS of it is out: then neither it nor its VM can be deleted.
    pub fn has_open_sas(&self) -> bool {
        self.state.eq_ignore_ascii_case("ActiveSAS")
    }
}

impl Azure {
    /// Reads a compute VM with its instance view; `None` if it is not there.
    ///
    /// # Errors
    /// As any call; and if `id` is no resource id.
    pub async fn compute_vm(&self, id: &str) -> Result<Option<ComputeVm>, AzureError> {
        let attempted = format!("GET compute VM {id}");
        let url = self.resource_url(&attempted, id, &[], VM_API_VERSION, &[("$expand", "instanceView")])?;
        let vm = self.get(&attempted, url).await?;
        Ok(vm.map(|vm| read_vm(id, &vm)))
    }

    /// Reads a managed disk; `None` if it is not there.
    ///
    /// # Errors
    /// As any call; and if `id` is no resource id.
    pub async fn disk(&self, id: &str) -> Result<Option<Disk>, AzureError> {
        let attempted = format!("GET disk {id}");
        let url = self.resource_url(&attempted, id, &[], DISK_API_VERSION, &[])?;
        let disk = self.get(&attempted, url).await?;
        Ok(disk.map(|disk| {
            let size = |key: &str| disk.pointer(key).and_then(Value::as_u64);
            Disk {
                id: text(&disk, "/id").unwrap_or_else(|| id.to_owned()),
                state: text(&disk, "/properties/diskState").unwrap_or_default(),
                size_bytes: size("/properties/diskSizeBytes")
                    .or_else(|| size("/properties/diskSizeGB")?.checked_mul(GIB)),
            }
        }))
    }

    /// Asks for a SAS to read a disk, for `duration` in whole seconds (at most 60 days). While it is out, the VM can be
    /// neither started nor deleted.
    ///
    /// # Errors
    /// As any call; 409 if the disk is in use, or if a SAS is out already: end that one and ask again.
    pub async fn begin_disk_access(
        &self,
        disk_id: &str,
        duration: Duration,
    ) -> Result<DiskAccess, AzureError> {
        let attempted = format!("POST beginGetAccess of disk {disk_id}");
        let url = self.resource_url(&attempted, disk_id, &["beginGetAccess"], DISK_API_VERSION, &[])?;
        let body = json!({"access": "Read", "durationInSeconds": duration.as_secs()});
        let answer = self.call(&attempted, Method::Post, url, Some(&body)).await?;
        if !answer.is_success() {
            return Err(self.refusal(&attempted, &answer));
        }
        if let Some(sas) = sas_in(&answer.json()) {
            return Ok(DiskAccess::Granted(sas));
        }
        // `Location` first: its last answer is the SAS itself.
        let operation = self.location(&answer).or_else(|| Self::monitor(&answer));
        let operation = operation.ok_or_else(|| {
            let message = "neither a SAS nor a place to ask for it came back";
            AzureError::unanswered(&attempted, "UnexpectedAnswer", message)
        })?;
        Ok(DiskAccess::Pending { operation, retry_after: error::retry_after(&answer.headers, self.clock()) })
    }

    /// Asks once what became of [`Self::begin_disk_access`].
    ///
    /// # Errors
    /// As [`Azure::check`].
    pub async fn disk_access(&self, operation: &OperationUrl) -> Result<DiskAccessProgress, AzureError> {
        Ok(match self.check_with_secrets(operation).await? {
            Progress::Running { .. } => DiskAccessProgress::Running,
            Progress::Failed(error) => DiskAccessProgress::Failed(error),
            Progress::Gone => DiskAccessProgress::Gone,
            Progress::Succeeded(body) => match sas_in(&body) {
                Some(sas) => DiskAccessProgress::Granted(sas),
                None => DiskAccessProgress::Failed(AzureError::permanent(
                    "GET disk access",
                    "UnexpectedAnswer",
                    "the operation succeeded and yet handed out no SAS",
                )),
            },
        })
    }

    /// Gives a disk's SAS back; done if none is out or the disk is gone.
    ///
    /// # Errors
    /// As any call; and if `disk_id` is no resource id.
    pub async fn end_disk_access(&self, disk_id: &str) -> Result<Started, AzureError> {
        let attempted = format!("POST endGetAccess of disk {disk_id}");
        let url = self.resource_url(&attempted, disk_id, &["endGetAccess"], DISK_API_VERSION, &[])?;
        match self.start(&attempted, Method::Post, url, None).await {
            Err(error) if error.is_not_found() => Ok(Started::Done),
            result => result,
        }
    }

    fn monitor(answer: &Answer) -> Option<OperationUrl> {
        answer.header("azure-asyncoperation").map(OperationUrl::monitor)
    }
}

fn read_vm(id: &str, vm: &Value) -> ComputeVm {
    // The order of the statuses is not fixed.
    let power_state = items(vm, "/properties/instanceView/statuses")
        .filter_map(|status| text(status, "/code"))
        .find_map(|code| {
            let start = code.get(..POWER_STATE.len())?;
            start.eq_ignore_ascii_case(POWER_STATE).then(|| code[POWER_STATE.len()..].to_ascii_lowercase())
        });
    ComputeVm {
        id: text(vm, "/id").unwrap_or_else(|| id.to_owned()),
        power_state,
        provisioning_state: text(vm, "/properties/provisioningState").unwrap_or_default(),
        os_disk_id: text(vm, "/properties/storageProfile/osDisk/managedDisk/id"),
        os_type: os_type(vm, "/properties/storageProfile/osDisk/osType"),
        image: image(vm),
        data_disks: items(vm, "/properties/storageProfile/dataDisks").count(),
    }
}

fn image(vm: &Value) -> Option<String> {
    let part = |name: &str| text(vm, &format!("/properties/storageProfile/imageReference/{name}"));
    let version = part("exactVersion").or_else(|| part("version"))?;
    Some(format!("{}:{}:{}:{version}", part("publisher")?, part("offer")?, part("sku")?))
}

/// The SAS, in the result of a `Location` or in the output of an `Azure-AsyncOperation`.
fn sas_in(body: &Value) -> Option<Secret<String>> {
    ["/accessSAS", "/properties/output/accessSAS", "/output/accessSAS"]
        .iter()
        .find_map(|pointer| text(body, pointer))
        .map(Secret::new)
}
