//! retire-images: of one golden image, a lab keeps the newest few and what is pinned or in use.

mod brake;
mod in_factory;

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

pub use in_factory::InFactory;
pub(super) use in_factory::captured;

use brake::Stock;

use super::{
    Factory, pace, tags,
    turn::{self, ItemStep, Next},
    turnstile::Turnstile,
};
use crate::{
    azure::{AzureError, CustomImage, Formula, LabAddress, LabVm, same_id},
    domain::{
        IMAGE_PATH_TAG, ImageName, ImagePath, Message, Queue, VmName,
        retention::{self, Decision, ImageState, KeepReason, StandingImage, Verdict},
    },
    ledger::{CopyRecord, Kept, Key, StepState},
};

/// Azure deletes a custom image in about a minute (recorded: Azure/azure-cli, test_lab_custom_image.yaml), so the first look
/// after that finds most of them gone. Nobody waits for it, and looks are what is scarce.
const DELETION: Duration = Duration::from_secs(75);
/// Between later looks at deletions that take longer, or that another run began.
const STILL_DELETING: Duration = Duration::from_secs(30);
/// What is waited for then.
const LEAVING: &str = "older images to be deleted";

/// The step for a team lab: its custom images.
pub struct InLab;

#[async_trait]
impl ItemStep for InLab {
    type Record = CopyRecord;
    const STEP: Queue = Queue::RetireImages;

    fn deadline(&self, record: &CopyRecord) -> Duration {
        record.settings.deadlines.retire_images + Turnstile::longest_wait(record)
    }

    /// One list at every look. Only where something could go does it also cost the brake (a blob), who uses what (two lists),
    /// and a last look at each image that goes. Its copy's turn in the row was meant for that, too; only what was refused takes
    /// another one.
    async fn advance(
        &self,
        factory: &Factory,
        record: &CopyRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        if state.facts.registers_at.is_some()
            && let Some(wait) = factory.turnstile.until_turn(record, state, pace::RETIREMENT).await?
        {
            return Ok(Next::wait(wait, "its turn to let older images retire"));
        }
        let lab = factory.storages.get(&record.lab).await?.lab.address;
        let (path, keep) = (&record.image_path, record.settings.images_to_keep as usize);
        let mut images = factory.azure.custom_images(&lab, ImageName::word(path)).await?;
        images.retain(|image| {
            tags::get(&image.tags, IMAGE_PATH_TAG).is_some_and(|tagged| same_path(path, tagged))
        });
        let (going, standing): (Vec<_>, Vec<_>) = images.into_iter().partition(CustomImage::is_being_deleted);
        let verdicts = decide(path, &standing, &Users::default(), keep);
        note_kept(&verdicts, state);
        if !has_news(&verdicts, state) {
            if going.is_empty() {
                return Ok(Next::Succeeded);
            }
            if pace::stalls(&mut state.facts.begun_at, factory.clock.now()) {
                for image in going.iter().filter(|image| state.facts.retired.contains(&image.name)) {
                    factory.azure.delete_custom_image(&lab, &image.name).await?;
                }
            }
            return Ok(Next::wait(STILL_DELETING, LEAVING));
        }

        let next = Self::turn(factory, record, state, &lab, &standing, going.len()).await;
        if next.as_ref().is_err_and(AzureError::is_throttled) {
            // All is asked for again then. Whoever did that at once would have others refused.
            factory.turnstile.stand_again(record, state, pace::RETIREMENT).await?;
        }
        next
    }

    fn follow_ups(&self, _record: &CopyRecord, _state: &StepState, _attempt: u32) -> Vec<Message> {
        Vec::new()
    }
}

impl InLab {
    /// Its turn: judges the images that are `standing`, now by who uses what and by the brake, and deletes those that go. `going` more
    /// are being deleted.
    async fn turn(
        factory: &Factory,
        record: &CopyRecord,
        state: &mut StepState,
        lab: &LabAddress,
        standing: &[CustomImage],
        going: usize,
    ) -> Result<Next, AzureError> {
        let (path, keep) = (&record.image_path, record.settings.images_to_keep as usize);
        let key = Key::retirement(&record.run, &record.lab);
        let all = async {
            let (images, users) =
                (factory.azure.custom_images(lab, None).await?, Users::of(factory, lab).await?);
            Ok(images.iter().map(|image| users.standing(image)).collect())
        };
        let weighed =
            brake::weighed(factory, &record.run, &key, &record.lab, Stock::CustomImages, all).await?;
        if weighed.held {
            let verdicts = decide(path, standing, &Users::default(), keep);
            keep_all(&verdicts, state, brake::HELD);
            let place = format!("lab {}", record.lab.lab_name());
            return Ok(Next::Failed(brake::failure(&weighed, &place)));
        }

        let users = Users::of(factory, lab).await?;
        // The same images as before: what makes one old is judged and acted upon from one and the same list.
        let verdicts = decide(path, standing, &users, keep);
        state.facts.kept.clear();
        note_kept(&verdicts, state);
        let vm = VmName::derive(&record.run, path);
        let key = Key::copy(&record.run, &vm, &record.lab);
        if !announce::<Self>(factory, &key, &verdicts, state).await? {
            return Ok(Next::wait(STILL_DELETING, LEAVING));
        }
        let mut leaving = Leaving { count: going, begun: false, refused: None };
        for image in
            standing.iter().zip(&verdicts).filter(|(_, verdict)| verdict.decision == Decision::Retire)
        {
            leaving.retire(factory, lab, path, &users, image.0, state).await?;
        }
        leaving.next()
    }
}

/// What becomes of the images that go.
struct Leaving {
    /// How many Azure is deleting.
    count: usize,
    /// Whether one of these deletions was begun now.
    begun: bool,
    /// Azure's answer about one that it does not delete.
    refused: Option<AzureError>,
}

impl Leaving {
    /// Looks at an image for the last time, since it may have been pinned meanwhile, and deletes it. One that Azure refuses to
    /// delete holds up no other.
    async fn retire(
        &mut self,
        factory: &Factory,
        lab: &LabAddress,
        path: &ImagePath,
        users: &Users,
        judged: &CustomImage,
        state: &mut StepState,
    ) -> Result<(), AzureError> {
        let name = &judged.name;
        let Some(image) = factory.azure.custom_image(lab, name).await? else {
            return Ok(());
        };
        if let Some(reason) = retention::protection(path, &users.standing(&image))
            && !image.is_being_deleted()
        {
            note_stayed(name, reason.to_string(), state);
            return Ok(());
        }
        // What changed since it was judged is judged again.
        if image.provisioning_state != judged.provisioning_state {
            self.count += 1;
            return Ok(());
        }
        match factory.azure.delete_custom_image(lab, name).await {
            Ok(_) => (self.count, self.begun) = (self.count + 1, true),
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                state.facts.retired.retain(|retired| retired != name);
                self.refused = Some(error);
            }
        }
        Ok(())
    }

    fn next(self) -> Result<Next, AzureError> {
        match (self.count, self.refused) {
            (0, Some(error)) => Err(error),
            (0, None) => Ok(Next::Succeeded),
            _ if self.begun => Ok(Next::wait(DELETION, LEAVING)),
            _ => Ok(Next::wait(STILL_DELETING, LEAVING)),
        }
    }
}

/// What of a lab can use an image.
#[derive(Default)]
pub(super) struct Users {
    formulas: Vec<Formula>,
    vms: Vec<LabVm>,
}

impl Users {
    pub(super) async fn of(factory: &Factory, lab: &LabAddress) -> Result<Self, AzureError> {
        Ok(Self { formulas: factory.azure.formulas(lab).await?, vms: factory.azure.lab_vms(lab).await? })
    }

    pub(super) fn standing(&self, image: &CustomImage) -> StandingImage {
        let formulas = self.formulas.iter().filter(|formula| formula.uses_custom_image(&image.id));
        let uses = |vm: &&LabVm| vm.custom_image_id.as_deref().is_some_and(|id| same_id(id, &image.id));
        let vms = self.vms.iter().filter(uses);
        StandingImage {
            name: image.name.clone(),
            // An image without a date is older than all others: it is never taken for the newest.
            created: image.creation_date.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            state: ImageState::from_provisioning_state(&image.provisioning_state),
            tags: image.tags.clone(),
            used_by: formulas
                .map(|formula| format!("formula {}", formula.name))
                .chain(vms.map(|vm| format!("VM {}", vm.name)))
                .collect(),
        }
    }
}

/// The verdicts about `images`, in their order.
fn decide(path: &ImagePath, images: &[CustomImage], users: &Users, keep: usize) -> Vec<Verdict> {
    let standing: Vec<StandingImage> = images.iter().map(|image| users.standing(image)).collect();
    retention::decide(path, &standing, keep)
}

/// Notes what blocks the images that stay. Those that would go, but that an earlier look found blocked, keep its reason:
/// only a look that finds something new asks again who uses what.
fn note_kept(verdicts: &[Verdict], state: &mut StepState) {
    let before = std::mem::take(&mut state.facts.kept);
    state.facts.kept.extend(verdicts.iter().filter_map(|verdict| match &verdict.decision {
        // That the newest stay needs no reason.
        Decision::Keep(KeepReason::Newest) => None,
        Decision::Keep(reason) => Some(Kept { name: verdict.name.clone(), reason: reason.to_string() }),
        Decision::Retire => before.iter().find(|kept| kept.name == verdict.name).cloned(),
    }));
}

/// Whether an image would go that no earlier look found blocked.
fn has_news(verdicts: &[Verdict], state: &StepState) -> bool {
    let blocked = |name: &str| state.facts.kept.iter().any(|kept| kept.name == name);
    retiring(verdicts).any(|name| !blocked(name))
}

/// The names of those that would go.
fn retiring(verdicts: &[Verdict]) -> impl Iterator<Item = &str> {
    let going = verdicts.iter().filter(|verdict| verdict.decision == Decision::Retire);
    going.map(|verdict| verdict.name.as_str())
}

/// Notes that all of those that would go stay after all.
fn keep_all(verdicts: &[Verdict], state: &mut StepState, reason: &str) {
    for name in retiring(verdicts) {
        state.facts.kept.retain(|kept| kept.name != name);
        state.facts.kept.push(Kept { name: name.to_owned(), reason: reason.to_owned() });
    }
}

/// Writes down what is about to go: of what was deleted Azure shows nothing any more, and the invocation may die before it
/// has told. `false`: this is not its turn any more.
async fn announce<S: ItemStep>(
    factory: &Factory,
    key: &Key,
    verdicts: &[Verdict],
    state: &mut StepState,
) -> Result<bool, AzureError> {
    if !note_going(verdicts, state) {
        return Ok(true);
    }
    turn::write_ahead::<S>(factory, key, state).await
}

/// Notes what goes; whether something of it is new.
fn note_going(verdicts: &[Verdict], state: &mut StepState) -> bool {
    let before = state.facts.retired.len();
    for name in retiring(verdicts) {
        if !state.facts.retired.iter().any(|retired| retired == name) {
            state.facts.retired.push(name.to_owned());
        }
    }
    state.facts.retired.len() > before
}

/// Notes that an image stays that was about to go.
fn note_stayed(name: &str, reason: String, state: &mut StepState) {
    state.facts.retired.retain(|retired| retired != name);
    state.facts.kept.push(Kept { name: name.to_owned(), reason });
}

/// Whether a tag's text names the golden image, in whatever spelling.
fn same_path(path: &ImagePath, text: &str) -> bool {
    ImagePath::parse(text).is_ok_and(|other| *path == other)
}

#[cfg(test)]
mod tests;
