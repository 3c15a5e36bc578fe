//! capture-image: the generalised VM's OS disk stands as a VHD in the factory lab's storage account, with its companion.

mod reuse;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use super::{
    Factory,
    lab_storage::LabStorage,
    pace::{self, Bounds},
    progress::{self, CopyStands},
    tags,
    turn::{self, ItemStep, Next, TakenBack},
};
use crate::{
    azure::{AzureError, BlobProperties, Condition, Disk, DiskAccess, DiskAccessProgress, OperationUrl},
    domain::{
        InputPart, LabId, Message, Queue,
        messages::{CopyImage, ImageStep, RetireImages, Step},
        provenance::CapturedBuild,
    },
    ledger::{BuildRecord, Failure, Key, Record as _, StepState},
    secret::Secret,
};

/// While Azure opens or closes a disk's access.
const DISK_ACCESS_WAIT: Duration = Duration::from_secs(5);
/// Between two looks at a disk that Azure is opening: seconds as a rule.
const DISK_ACCESS_BOUNDS: Bounds = Bounds::seconds(5, 60).of_elapsed(6);
/// An open SAS outlives the copy's deadline by this, so that it never expires under a copy that may still succeed.
const SAS_MARGIN: Duration = Duration::from_secs(3600);

/// The step.
pub struct CaptureImage;

#[async_trait]
impl ItemStep for CaptureImage {
    type Record = BuildRecord;
    const STEP: Queue = Queue::CaptureImage;
    const CAN_BE_CALLED_OFF: bool = true;

    fn deadline(&self, record: &BuildRecord) -> Duration {
        let own = &record.settings.deadlines;
        match record.reuses {
            Some(_) => own.create_vm + own.capture_image + reuse::BEYOND_DEADLINES,
            None => own.capture_image,
        }
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &BuildRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        if let Some(reused) = &record.reuses {
            return reuse::advance(factory, record, reused, state).await;
        }
        let storage = factory.storages.get(&record.factory_lab).await?;
        let vhd = storage.container.properties(&record.plan.image_name.factory_vhd_blob()).await?;
        Ok(match progress::judge(vhd.as_ref(), state, factory.clock.now()) {
            CopyStands::Absent => begin(factory, record, state, &storage).await?,
            CopyStands::Goes { after, progress } => Next::wait(after, progress),
            CopyStands::Complete => finish(factory, record, state, &storage, vhd.as_ref()).await?,
            CopyStands::Broken => {
                storage.discard(&record.plan.image_name.factory_vhd_blob()).await?;
                give_back(factory, record, state).await?;
                Next::wait(DISK_ACCESS_WAIT, "a broken copy to be begun again")
            }
            CopyStands::Failed(failure) => Next::Failed(failure),
        })
    }

    async fn is_past_recall(
        &self,
        _factory: &Factory,
        _record: &BuildRecord,
        state: &StepState,
    ) -> Result<bool, AzureError> {
        Ok(state.facts.complete)
    }

    async fn take_back(
        &self,
        factory: &Factory,
        record: &BuildRecord,
        state: &mut StepState,
    ) -> Result<TakenBack, AzureError> {
        if record.reuses.is_some() {
            return Ok(TakenBack::All);
        }
        let storage = factory.storages.get(&record.factory_lab).await?;
        let name = record.plan.image_name.factory_vhd_blob();
        if storage.stop_copy(&name).await? {
            // The companion first: one without its VHD would lie.
            storage.container.delete(&record.plan.image_name.companion_blob()).await?;
            storage.container.delete(&record.plan.image_name.provenance_blob()).await?;
            storage.container.delete(&name).await?;
        }
        let had_sas = give_back(factory, record, state).await?;
        Ok(if had_sas { TakenBack::Goes(DISK_ACCESS_WAIT) } else { TakenBack::All })
    }

    fn follow_ups(&self, record: &BuildRecord, state: &StepState, _attempt: u32) -> Vec<Message> {
        let image_path = &record.plan.image_path;
        let mut steps = Vec::new();
        if state.succeeded() {
            let copy = |lab: &LabId| CopyImage { image_path: image_path.clone(), lab: lab.clone() };
            steps.extend(record.plan.labs.iter().map(copy).map(Step::CopyImage));
            if record.reuses.is_none() {
                steps.push(Step::RetireImages(RetireImages { image_path: image_path.clone(), lab: None }));
            }
        }
        if state.ending.is_some() && record.reuses.is_none() {
            steps.push(Step::DeleteVm(ImageStep { image_path: image_path.clone() }));
        }
        steps.into_iter().map(|step| Message::first(record.run.clone(), step)).collect()
    }
}

/// Opens the disk and starts its copy.
async fn begin(
    factory: &Factory,
    record: &BuildRecord,
    state: &mut StepState,
    storage: &LabStorage,
) -> Result<Next, AzureError> {
    if let Some(operation) = state.facts.operation.clone() {
        return match factory.azure.disk_access(&operation).await? {
            DiskAccessProgress::Running if stalls(factory, state) => {
                give_back(factory, record, state).await?;
                Ok(Next::wait(DISK_ACCESS_WAIT, "the disk's SAS, which did not come, to be called off"))
            }
            DiskAccessProgress::Running => {
                let now = factory.clock.now();
                let wait = pace::growing(state.facts.begun_at.unwrap_or(now), now, DISK_ACCESS_BOUNDS);
                Ok(Next::wait(wait, "the disk's SAS"))
            }
            DiskAccessProgress::Granted(source) => {
                state.facts.operation = None;
                start_copy(factory, record, state, storage, &source).await
            }
            DiskAccessProgress::Failed(error) => {
                state.facts.operation = None;
                Err(error)
            }
            DiskAccessProgress::Gone => {
                state.facts.operation = None;
                Ok(Next::wait(DISK_ACCESS_WAIT, "the disk's SAS, asked for again"))
            }
        };
    }
    let disk = match os_disk(factory, record).await? {
        Ok(disk) => disk,
        Err(failure) => return Ok(Next::Failed(failure)),
    };
    state.facts.disk_id = Some(disk.id.clone());
    if disk.has_open_sas() {
        // An answer was lost: its SAS is unknown and serves nobody.
        factory.azure.end_disk_access(&disk.id).await?;
        return Ok(Next::wait(DISK_ACCESS_WAIT, "an earlier SAS of the disk to be given back"));
    }
    let life = record.settings.deadlines.capture_image + SAS_MARGIN;
    match factory.azure.begin_disk_access(&disk.id, life).await {
        Ok(DiskAccess::Granted(source)) => start_copy(factory, record, state, storage, &source).await,
        Ok(DiskAccess::Pending { operation, .. }) => {
            state.facts.begun_at = Some(factory.clock.now());
            state.facts.operation = Some(operation);
            Ok(Next::wait(DISK_ACCESS_WAIT, "the disk's SAS"))
        }
        Err(error) if error.is_conflict() && stalls(factory, state) => {
            // Azure is at a SAS whose operation is lost: it would be so for ever.
            factory.azure.end_disk_access(&disk.id).await?;
            Err(error)
        }
        Err(error) => Err(error),
    }
}

/// Whether a SAS that was asked for is too long in coming.
fn stalls(factory: &Factory, state: &mut StepState) -> bool {
    pace::stalls(&mut state.facts.begun_at, factory.clock.now())
}

/// The SAS lives only in this call: it is in no message and no document.
async fn start_copy(
    factory: &Factory,
    record: &BuildRecord,
    state: &mut StepState,
    storage: &LabStorage,
    source: &Secret<String>,
) -> Result<Next, AzureError> {
    let name = record.plan.image_name.factory_vhd_blob();
    let metadata = tags::metadata(&record.run, &record.plan.image_path);
    storage.start_copy(&name, source, &metadata).await?;
    progress::begun(state, factory.clock.now());
    Ok(Next::wait(progress::AFTER_BEGINNING, "VHD copy"))
}

/// The VHD is complete: gives the SAS back, then writes the statement about its provenance, then the companion, which makes the
/// VHD count.
async fn finish(
    factory: &Factory,
    record: &BuildRecord,
    state: &mut StepState,
    storage: &LabStorage,
    vhd: Option<&BlobProperties>,
) -> Result<Next, AzureError> {
    // Asked once more by delete-vm, which must find no SAS: here it is enough that Azure accepted it.
    give_back(factory, record, state).await?;
    let plan = &record.plan;
    if !state.facts.complete {
        // From the companion on others count the VHD, and retire older ones for it: so it is decided before, in the ledger,
        // whether the build is captured or was called off.
        let mut ahead = state.clone();
        ahead.facts.complete = true;
        let key = Key::build(&record.run, &plan.vm_name);
        if !turn::write_ahead::<CaptureImage>(factory, &key, &mut ahead).await? {
            return Ok(Next::wait(DISK_ACCESS_WAIT, "another turn"));
        }
        *state = ahead;
    }
    if let Some(vhd) = vhd {
        state.facts.provenance_url = Some(attest(record, storage, vhd).await?);
    }
    let created = record.run_started_at.format(&Rfc3339).unwrap_or_default();
    let os_type = record.facts(Queue::CreateVm).and_then(|facts| facts.os_type);
    let companion = json!({
        "imageName": plan.image_name,
        "imagePath": plan.image_path,
        "description": record.description,
        "osType": os_type,
        "vhdFileName": plan.image_name.factory_vhd_blob(),
        "timestamp": created,
        "run": record.run,
        "commit": record.commit,
        "inputs": record.inputs,
    });
    let mut metadata = tags::image_metadata(&record.run, &plan.image_path, record.run_started_at);
    metadata.extend(record.inputs.iter().flat_map(tags::inputs_metadata));
    let bytes = companion.to_string().into_bytes();
    match storage
        .container
        .put(&plan.image_name.companion_blob(), bytes, &metadata, Condition::IfMissing)
        .await
    {
        Ok(_) => {}
        Err(error) if error.is_precondition() => {}
        Err(error) => return Err(error),
    }
    state.facts.vhd_url = Some(storage.container.url(&plan.image_name.factory_vhd_blob()));
    Ok(Next::Succeeded)
}

/// Writes the statement about the VHD's provenance; its URL. One that is there may be about a VHD that is gone, and is written
/// over.
async fn attest(
    record: &BuildRecord,
    storage: &LabStorage,
    vhd: &BlobProperties,
) -> Result<String, AzureError> {
    let BuildRecord { plan, inputs, .. } = record;
    let made = record.steps.get(&Queue::CreateVm);
    let facts = made.map(|made| &made.facts);
    let planned = inputs.as_ref().and_then(|inputs| inputs.get(InputPart::BaseImage));
    let url = |name: &str| storage.container.url(name);
    let statement = CapturedBuild {
        run: &record.run,
        reason: record.reason,
        commit: record.commit.as_deref(),
        author: record.author.as_deref(),
        image_path: &plan.image_path,
        factory_lab: &storage.lab.id,
        base_image: facts.and_then(|facts| facts.base_image.as_deref()).or(planned),
        artifacts: facts.map(|facts| facts.artifacts.as_slice()).unwrap_or_default(),
        inputs: inputs.as_ref(),
        started_at: made.map(|made| made.started_at),
        finished_at: vhd.last_modified,
        vhd: &plan.image_name.factory_vhd_blob(),
        vhd_url: &url(&plan.image_name.factory_vhd_blob()),
        copy_id: vhd.copy.as_ref().map(|copy| copy.id.as_str()).unwrap_or_default(),
        length: vhd.length,
        companion_url: &url(&plan.image_name.companion_blob()),
    };
    let bytes = serde_json::to_vec(&statement.statement()).unwrap_or_default();
    let name = plan.image_name.provenance_blob();
    let metadata = tags::metadata(&record.run, &plan.image_path);
    storage.container.put(&name, bytes, &metadata, Condition::None).await?;
    Ok(url(&name))
}

/// The OS disk of the VM that create-vm made.
async fn os_disk(factory: &Factory, record: &BuildRecord) -> Result<Result<Disk, Failure>, AzureError> {
    let gone = |what: &str| Ok(Err(Failure::new("VmGone", format!("{what} is not there any more"))));
    let Some(compute_id) = record.facts(Queue::CreateVm).and_then(|facts| facts.compute_id.as_deref()) else {
        return gone("the note of the compute VM");
    };
    let Some(vm) = factory.azure.compute_vm(compute_id).await? else {
        return gone("the compute VM");
    };
    let Some(disk_id) = vm.os_disk_id else {
        return gone("the VM's OS disk");
    };
    if vm.data_disks > 0 {
        tracing::warn!(image = %record.plan.image_path, disks = vm.data_disks, "data disks are not part of the image");
    }
    match factory.azure.disk(&disk_id).await? {
        Some(disk) => Ok(Ok(disk)),
        None => gone("the VM's OS disk"),
    }
}

/// The disk whose SAS was asked for, if any.
pub(super) fn opened_disk(record: &BuildRecord, state: &StepState) -> Option<String> {
    let captured = || record.facts(Queue::CaptureImage).and_then(|facts| facts.disk_id.clone());
    state.facts.disk_id.clone().or_else(captured)
}

/// The VM's OS disk, if it has a SAS, wherever that came from.
pub(super) async fn unnoted_open_disk(
    factory: &Factory,
    record: &BuildRecord,
) -> Result<Option<String>, AzureError> {
    let disk = os_disk(factory, record).await?;
    Ok(disk.ok().filter(Disk::has_open_sas).map(|disk| disk.id))
}

/// Gives an open SAS of the disk back; whether there was one.
pub(super) async fn give_back(
    factory: &Factory,
    record: &BuildRecord,
    state: &mut StepState,
) -> Result<bool, AzureError> {
    let operation: Option<OperationUrl> = state.facts.operation.take();
    let Some(disk_id) = opened_disk(record, state) else { return Ok(false) };
    let Some(disk) = factory.azure.disk(&disk_id).await? else {
        return Ok(false);
    };
    let open = operation.is_some() || disk.has_open_sas();
    if open {
        factory.azure.end_disk_access(&disk_id).await?;
    }
    Ok(open)
}

#[cfg(test)]
mod tests;
