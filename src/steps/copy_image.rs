//! copy-image: the captured image stands as a custom image in one lab.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{
    Factory, StepError, Told,
    lab_storage::LabStorage,
    pace::{self, Bounds},
    progress::{self, CopyStands},
    tags,
    turn::{self, ItemStep, Next},
};
use crate::{
    azure::{AzureError, BlobProperties, CustomImage, CustomImageSpec, Progress, Started},
    domain::{
        Message, OsType, Queue, VmName,
        messages::{self, RetireImages, Step},
    },
    ledger::{BuildRecord, CopyRecord, Failure, Key, Record as _, StepState},
};

/// Azure needs at least two minutes for a custom image: no look before this.
const FIRST_LOOK_AT_IMAGE: Duration = Duration::from_secs(100);
/// Between two looks at a custom image that is being registered.
const REGISTERING: Bounds = Bounds::seconds(10, 30);
/// A broken VHD was deleted; its copy is begun again.
const AFTER_BROKEN: Duration = Duration::from_secs(5);
/// A failed custom image was deleted; Azure needs about a minute.
const AFTER_DELETION: Duration = Duration::from_secs(30);
/// The source's SAS outlives the copy's deadline by this, so that it never expires under a copy that may still succeed.
const SAS_MARGIN: Duration = Duration::from_secs(3600);

/// Handles a message of the queue `copy-image`: the first that reaches the ledger makes the copy's document.
pub async fn handle(
    factory: &Factory,
    message: &Message,
    step: &messages::CopyImage,
) -> Result<Told, StepError> {
    let vm = VmName::derive(&message.run, &step.image_path);
    let key = Key::copy(&message.run, &vm, &step.lab);
    match turn::take(factory, &CopyImage, &key, message).await {
        Err(StepError::UnknownItem { .. }) => {}
        other => return other,
    }
    match make_document(factory, &key, &Key::build(&message.run, &vm), step).await {
        Ok(_) => turn::take(factory, &CopyImage, &key, message).await,
        Err(error) => turn::later(factory, message, &error).await,
    }
}

/// Makes the copy's document from its build's; `false` where the ledger knows no such captured build.
async fn make_document(
    factory: &Factory,
    key: &Key,
    build: &Key,
    step: &messages::CopyImage,
) -> Result<bool, AzureError> {
    let Some((build, _)) = factory.ledger.read::<BuildRecord>(build).await? else {
        return Ok(false);
    };
    let os_type = build.facts(Queue::CreateVm).and_then(|facts| facts.os_type);
    let Some(os_type) = os_type.filter(|_| build.captured().is_some()) else {
        return Ok(false);
    };
    let record = CopyRecord {
        run: build.run,
        run_started_at: build.run_started_at,
        image_path: build.plan.image_path,
        image_name: build.plan.image_name,
        description: build.description,
        os_type,
        lab: step.lab.clone(),
        factory_lab: build.factory_lab,
        settings: build.settings,
        steps: Default::default(),
    };
    factory.ledger.create(key, &record, None).await?;
    Ok(true)
}

/// The step.
pub struct CopyImage;

/// What to do about what stands in the lab.
#[derive(Debug, PartialEq)]
enum Action {
    StartCopy,
    DeleteBroken,
    Register,
    Wait { after: Duration, waiting_for: String },
    Done { vhd_stands: bool },
    Fail(Failure),
}

#[async_trait]
impl ItemStep for CopyImage {
    type Record = CopyRecord;
    const STEP: Queue = Queue::CopyImage;

    fn deadline(&self, record: &CopyRecord) -> Duration {
        record.settings.deadlines.copy_image
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &CopyRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        let storage = factory.storages.get(&record.lab).await?;
        let now = factory.clock.now();
        if let Some(next) = await_registration(factory, state, now).await? {
            return Ok(next);
        }
        let name = record.vhd();
        let vhd = storage.container.properties(&name).await?;
        let stands = progress::judge(vhd.as_ref(), state, now);
        let image = match stands {
            // While the copy goes on there can be no image: one call less at each look.
            CopyStands::Goes { .. } => None,
            _ => factory.azure.custom_image(&storage.lab.address, record.image_name.as_str()).await?,
        };
        Ok(match decide(image.as_ref(), vhd.as_ref(), stands, record, state, now) {
            Action::StartCopy => start_copy(factory, record, state, &storage).await?,
            Action::DeleteBroken => {
                storage.container.delete(&name).await?;
                Next::wait(AFTER_BROKEN, "a broken copy to be begun again")
            }
            Action::Register => register(factory, record, state, &storage).await?,
            Action::Wait { after, waiting_for } => Next::wait(after, waiting_for),
            Action::Done { vhd_stands } => {
                if vhd_stands {
                    storage.container.delete(&name).await?;
                }
                state.facts.custom_image_id = image.map(|image| image.id);
                Next::Succeeded
            }
            Action::Fail(failure) => Next::Failed(failure),
        })
    }

    async fn take_back(
        &self,
        factory: &Factory,
        record: &CopyRecord,
        state: &mut StepState,
    ) -> Result<Option<Duration>, AzureError> {
        state.facts.operation = None;
        let storage = match factory.storages.get(&record.lab).await {
            Ok(storage) => storage,
            // Nothing looks into a team lab later: what this misses stays for good.
            Err(error) if error.is_transient() => return Err(error),
            // A lab that is not there holds nothing of ours.
            Err(_) => return Ok(None),
        };
        let name = record.vhd();
        if storage.stop_copy(&name).await? {
            storage.container.delete(&name).await?;
        }
        let (lab, image_name) = (&storage.lab.address, record.image_name.as_str());
        match factory.azure.custom_image(lab, image_name).await? {
            Some(image) if tags::made_by(&image.tags, &record.run) => {
                if !image.is_being_deleted() {
                    factory.azure.delete_custom_image(lab, image_name).await?;
                }
                Ok(Some(AFTER_DELETION))
            }
            _ => Ok(None),
        }
    }

    fn follow_ups(&self, record: &CopyRecord, state: &StepState, _attempt: u32) -> Vec<Message> {
        if !state.succeeded() {
            return Vec::new();
        }
        let retire = RetireImages { image_path: record.image_path.clone(), lab: Some(record.lab.clone()) };
        vec![Message::first(record.run.clone(), Step::RetireImages(retire))]
    }
}

/// Looks at the registration that goes on; `None` where there is none, or it ended and the image itself must be looked at.
async fn await_registration(
    factory: &Factory,
    state: &mut StepState,
    now: OffsetDateTime,
) -> Result<Option<Next>, AzureError> {
    let Some(operation) = state.facts.operation.clone() else {
        return Ok(None);
    };
    let begun = state.facts.begun_at.unwrap_or(state.started_at);
    Ok(match factory.azure.check(&operation).await? {
        Progress::Running { retry_after } => {
            let after = pace::growing(begun, now, REGISTERING).max(pace::bounded(retry_after));
            Some(Next::wait(after, "the custom image to be registered"))
        }
        Progress::Succeeded(_) | Progress::Gone => {
            state.facts.operation = None;
            None
        }
        Progress::Failed(error) => {
            state.facts.operation = None;
            Some(Next::Failed(error.into()))
        }
    })
}

fn decide(
    image: Option<&CustomImage>,
    vhd: Option<&BlobProperties>,
    stands: CopyStands,
    record: &CopyRecord,
    state: &StepState,
    now: OffsetDateTime,
) -> Action {
    if let Some(image) = image {
        let name = &image.name;
        if !tags::made_by(&image.tags, &record.run) {
            let message = format!("a custom image {name} that this run did not make stands in the lab");
            return Action::Fail(Failure::new("NameTaken", message));
        }
        return match image.provisioning_state.to_ascii_lowercase().as_str() {
            // Only now: the image needs its VHD until it is registered.
            "succeeded" => Action::Done { vhd_stands: vhd.is_some() },
            "failed" => Action::Fail(Failure::new(
                "CustomImageFailed",
                format!("custom image {name} could not be registered"),
            )),
            _ => {
                let begun = state.facts.begun_at.unwrap_or(state.started_at);
                let after = pace::growing(begun, now, REGISTERING);
                Action::Wait { after, waiting_for: "the custom image to be registered".to_owned() }
            }
        };
    }
    match stands {
        CopyStands::Absent => Action::StartCopy,
        CopyStands::Goes { after, progress } => Action::Wait { after, waiting_for: progress },
        CopyStands::Complete => Action::Register,
        CopyStands::Broken => Action::DeleteBroken,
        CopyStands::Failed(failure) => Action::Fail(failure),
    }
}

/// The source is in another account: Copy Blob accepts it only with a SAS, which lives only in this call.
async fn start_copy(
    factory: &Factory,
    record: &CopyRecord,
    state: &mut StepState,
    storage: &LabStorage,
) -> Result<Next, AzureError> {
    let now = factory.clock.now();
    let from = factory.storages.get(&record.factory_lab).await?;
    let expires = now + record.settings.deadlines.copy_image + SAS_MARGIN;
    let source = from.container.sas_url(&record.image_name.factory_vhd_blob(), "r", expires)?;
    storage.container.create_if_missing().await?;
    let metadata = tags::metadata(&record.run, &record.image_path);
    storage.container.start_copy(&record.vhd(), &source, &metadata).await?;
    progress::begun(state, now);
    Ok(Next::wait(progress::AFTER_BEGINNING, "VHD copy"))
}

async fn register(
    factory: &Factory,
    record: &CopyRecord,
    state: &mut StepState,
    storage: &LabStorage,
) -> Result<Next, AzureError> {
    let spec = CustomImageSpec {
        vhd_url: storage.container.url(&record.vhd()),
        os_type: record.os_type,
        author: "Image Factory".to_owned(),
        description: record.description.clone(),
        tags: tags::of_image(&record.run, &record.image_path, record.run_started_at),
        // DevTest Labs knows "sysprepped" for Windows alone.
        sys_prep: record.os_type == OsType::Windows,
    };
    let started =
        factory.azure.put_custom_image(&storage.lab.address, record.image_name.as_str(), &spec).await?;
    state.facts.operation = match started {
        Started::Done => None,
        Started::Running { operation, .. } => operation,
    };
    state.facts.begun_at = Some(factory.clock.now());
    Ok(Next::wait(FIRST_LOOK_AT_IMAGE, "the custom image to be registered"))
}

#[cfg(test)]
mod tests;
