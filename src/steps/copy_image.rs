//! copy-image: the captured image stands as a custom image in one lab.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{
    Factory, StepError, Told,
    lab_storage::LabStorage,
    pace::{self, Bounds},
    progress::{self, CopyStands},
    tags,
    turn::{self, ItemStep, Next, TakenBack},
    turnstile::Turnstile,
};
use crate::{
    azure::{AzureError, CustomImage, CustomImageSpec, Progress, Started},
    domain::{
        Message, OsType, PROVENANCE_TAG, Queue, VmName,
        messages::{self, RetireImages, Step},
    },
    ledger::{BuildRecord, CallOffKind, CopyRecord, Failure, Key, Record as _, StepState},
};

/// Azure needs two to five minutes for a custom image: few are there before this.
const FIRST_LOOK_AT_IMAGE: Duration = Duration::from_secs(150);
/// By then nearly all are there: where looks are dear, the first comes no later than this.
const LATE_FIRST_LOOK: Duration = Duration::from_secs(310);
/// Between two looks at a custom image that is being registered.
const REGISTERING: Bounds = Bounds::seconds(60, 300);
/// A broken VHD was deleted; its copy is begun again.
const AFTER_BROKEN: Duration = Duration::from_secs(5);
/// An image whose registration was asked for may be there, and not be seen, for so long.
const UNSEEN_FOR: time::Duration = time::Duration::minutes(10);
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
    let Some(os_type) = build.os_type().filter(|_| build.captured().is_some()) else {
        return Ok(false);
    };
    let siblings = build.copies_beside(&step.lab);
    let retired_beside = build.retired_beside(&step.lab);
    let provenance_url = build.facts(Queue::CaptureImage).and_then(|facts| facts.provenance_url.clone());
    let record = CopyRecord {
        run: build.run,
        run_started_at: build.run_started_at,
        image_path: build.plan.image_path,
        image_name: build.plan.image_name,
        description: build.description,
        os_type,
        inputs: build.inputs,
        made_at: build.reuses.map(|reused| reused.started_at),
        provenance_url,
        siblings,
        retired_beside,
        lab: step.lab.clone(),
        factory_lab: build.factory_lab,
        settings: build.settings,
        called_off: build.called_off.filter(|called_off| called_off.kind() == CallOffKind::Cancelled),
        // Noted at once: without a state the listing could not say since when this message is awaited.
        steps: BTreeMap::from([(Queue::CopyImage, StepState::begin(factory.clock.now()))]),
    };
    factory.ledger.create(key, &record).await?;
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
    Done,
    Fail(Failure),
}

#[async_trait]
impl ItemStep for CopyImage {
    type Record = CopyRecord;
    const STEP: Queue = Queue::CopyImage;
    const CAN_BE_CALLED_OFF: bool = true;

    fn deadline(&self, record: &CopyRecord) -> Duration {
        record.settings.deadlines.copy_image + Turnstile::longest_wait(record)
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &CopyRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        let storage = factory.storages.get(&record.lab).await?;
        let now = factory.clock.now();
        let name = record.vhd();
        let read_image = || factory.azure.custom_image(&storage.lab.address, record.image_name.as_str());
        let (image, stands) = match await_registration(factory, state, read_image()).await? {
            Registration::Goes => return Ok(Next::wait(between_looks(record, state, now), REGISTRATION)),
            Registration::Failed(failure) => return Ok(Next::Failed(failure)),
            Registration::Image(image) => (Some(image), CopyStands::Complete),
            Registration::None => {
                let vhd = storage.container.properties(&name).await?;
                let stands = progress::judge(vhd.as_ref(), state, now);
                if stands == CopyStands::Complete
                    && let Some(wait) =
                        factory.turnstile.until_turn(record, state, Turnstile::share(record)).await?
                {
                    return Ok(Next::wait(wait, "its turn to be registered"));
                }
                let image = match stands {
                    // While the copy goes on, or before it was ever begun, there can be no image: one call less.
                    CopyStands::Goes { .. } => None,
                    CopyStands::Absent if state.facts.begun == 0 => None,
                    _ => read_image().await?,
                };
                (image, stands)
            }
        };
        Ok(match decide(image.as_ref(), stands, record, state, now) {
            Action::StartCopy => start_copy(factory, record, state, &storage).await?,
            Action::DeleteBroken => {
                storage.discard(&name).await?;
                Next::wait(AFTER_BROKEN, "a broken copy to be begun again")
            }
            Action::Register => register(factory, record, state, &storage).await?,
            Action::Wait { after, waiting_for } => Next::wait(after, waiting_for),
            Action::Done => {
                // Only now: the image needs its VHD until it is registered.
                storage.container.delete(&name).await?;
                state.facts.custom_image_id = image.map(|image| image.id);
                Next::Succeeded
            }
            Action::Fail(failure) => Next::Failed(failure),
        })
    }

    /// A registration takes minutes, and nobody knows better than Azure when the image begins to count: others may retire
    /// older ones for it, and people use it. So it is left to end.
    async fn is_past_recall(
        &self,
        factory: &Factory,
        record: &CopyRecord,
        state: &StepState,
    ) -> Result<bool, AzureError> {
        if state.facts.operation.is_some() {
            return Ok(true);
        }
        let storage = factory.storages.get(&record.lab).await?;
        let vhd = storage.container.properties(&record.vhd()).await?;
        // Before its VHD is complete there can be no image: one call less.
        if !vhd.is_some_and(|vhd| progress::is_complete(&vhd)) {
            return Ok(false);
        }
        let image = factory.azure.custom_image(&storage.lab.address, record.image_name.as_str()).await?;
        Ok(image.is_some_and(|image| tags::made_by(&image.tags, &record.run) && !is(&image, FAILED)))
    }

    async fn take_back(
        &self,
        factory: &Factory,
        record: &CopyRecord,
        state: &mut StepState,
    ) -> Result<TakenBack, AzureError> {
        state.facts.operation = None;
        let storage = match factory.storages.get(&record.lab).await {
            Ok(storage) => storage,
            Err(error) if error.is_transient() => return Err(error),
            // A lab that is not there holds nothing of ours.
            Err(_) => return Ok(TakenBack::All),
        };
        let (lab, image_name) = (&storage.lab.address, record.image_name.as_str());
        let image = factory.azure.custom_image(lab, image_name).await?;
        let image = image.filter(|image| tags::made_by(&image.tags, &record.run));
        let asked = state.facts.registered_at;
        if image.is_none() && asked.is_some_and(|at| factory.clock.now() - at < UNSEEN_FOR) {
            return Ok(TakenBack::Goes(AFTER_DELETION));
        }
        storage.discard(&record.vhd()).await?;
        match image {
            // Only its VHD could not be deleted in time. It may be the lab's only good one.
            Some(image) if is(&image, SUCCEEDED) => {
                state.facts.custom_image_id = Some(image.id);
                Ok(TakenBack::Stands)
            }
            Some(image) => {
                let now = factory.clock.now();
                if !image.is_being_deleted() || pace::stalls(&mut state.facts.begun_at, now) {
                    factory.azure.delete_custom_image(lab, image_name).await?;
                }
                Ok(TakenBack::Goes(AFTER_DELETION))
            }
            None => Ok(TakenBack::All),
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

/// What is waited for, in words for people.
const REGISTRATION: &str = "the custom image to be registered";

/// How a registration stands.
enum Registration {
    /// There is none, or nothing of it is to be seen.
    None,
    /// The image is not there yet.
    Goes,
    /// The image is there, in whatever state.
    Image(CustomImage),
    /// It ended badly, in Azure's words.
    Failed(Failure),
}

/// Looks at the registration that goes on. The image itself tells all but why it failed, which only the operation knows.
async fn await_registration(
    factory: &Factory,
    state: &mut StepState,
    image: impl Future<Output = Result<Option<CustomImage>, AzureError>>,
) -> Result<Registration, AzureError> {
    let Some(operation) = state.facts.operation.clone() else {
        return Ok(Registration::None);
    };
    let image = image.await?;
    if let Some(image) = image.filter(|image| !is(image, FAILED)) {
        return Ok(Registration::Image(image));
    }
    Ok(match factory.azure.check(&operation).await? {
        Progress::Running { .. } => Registration::Goes,
        Progress::Succeeded(_) | Progress::Gone => {
            state.facts.operation = None;
            Registration::None
        }
        Progress::Failed(error) => {
            state.facts.operation = None;
            Registration::Failed(error.into())
        }
    })
}

/// `provisioningState` of an image that is there, and of one that never will be.
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";

fn is(image: &CustomImage, state: &str) -> bool {
    image.provisioning_state.eq_ignore_ascii_case(state)
}

/// How many registrations go on at once in the lab's subscription, at most.
fn registrations(record: &CopyRecord) -> usize {
    pace::going_on(record.copies_beside(), LATE_FIRST_LOOK)
}

/// The time from a registration's beginning to the first look: the more go on, the later, so that nearly all need only one.
fn until_first_look(record: &CopyRecord) -> Duration {
    let more = pace::shared(Duration::ZERO, registrations(record), 1);
    (FIRST_LOOK_AT_IMAGE + more).min(LATE_FIRST_LOOK)
}

fn between_looks(record: &CopyRecord, state: &StepState, now: OffsetDateTime) -> Duration {
    let begun = state.facts.begun_at.unwrap_or(state.started_at);
    pace::shared(pace::growing(begun, now, REGISTERING), registrations(record), 1)
}

fn decide(
    image: Option<&CustomImage>,
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
        return if is(image, SUCCEEDED) {
            Action::Done
        } else if is(image, FAILED) {
            let message = format!("custom image {name} could not be registered");
            Action::Fail(Failure::new("CustomImageFailed", message))
        } else {
            let after = between_looks(record, state, now);
            Action::Wait { after, waiting_for: REGISTRATION.to_owned() }
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
    let source = from.readable_url(&record.image_name.factory_vhd_blob(), expires).await?;
    let metadata = tags::metadata(&record.run, &record.image_path);
    storage.start_copy(&record.vhd(), &source, &metadata).await?;
    progress::begun(state, factory.clock.now());
    Ok(Next::wait(progress::AFTER_BEGINNING, "VHD copy"))
}

async fn register(
    factory: &Factory,
    record: &CopyRecord,
    state: &mut StepState,
    storage: &LabStorage,
) -> Result<Next, AzureError> {
    let mut tags = tags::of_image(&record.run, &record.image_path, record.born());
    tags.extend(record.inputs.iter().flat_map(tags::of_inputs));
    tags.extend(record.provenance_url.clone().map(|url| (PROVENANCE_TAG.to_owned(), url)));
    let spec = CustomImageSpec {
        vhd_url: storage.container.url(&record.vhd()),
        os_type: record.os_type,
        author: "Image Factory".to_owned(),
        description: record.description.clone(),
        tags,
        // DevTest Labs knows "sysprepped" for Windows alone.
        sys_prep: record.os_type == OsType::Windows,
    };
    state.facts.registered_at = Some(factory.clock.now());
    let started =
        factory.azure.put_custom_image(&storage.lab.address, record.image_name.as_str(), &spec).await?;
    state.facts.operation = match started {
        Started::Done => None,
        Started::Running { operation, .. } => operation,
    };
    state.facts.begun_at = Some(factory.clock.now());
    Ok(Next::wait(until_first_look(record), REGISTRATION))
}

#[cfg(test)]
mod tests;
