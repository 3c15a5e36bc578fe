//! retire-images: of one golden image, a lab keeps the newest few and what is in use.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{
    Factory, tags,
    turn::{ItemStep, Next},
};
use crate::{
    azure::{AzureError, CustomImage, Formula, LabAddress, LabVm, same_id},
    domain::{
        IMAGE_PATH_TAG, ImagePath, Message, Queue, RunId,
        retention::{self, Decision, ImageState, KeepReason, StandingImage, Verdict},
    },
    ledger::{BuildRecord, CopyRecord, ItemStatus, Kept, Key, Record as _, RunRecord, StepState},
};

/// The ending of a captured VHD's companion.
const COMPANION: &str = ".json";
/// While Azure deletes custom images: about a minute.
const DELETING: Duration = Duration::from_secs(20);

/// The step for a team lab: its custom images.
pub struct InLab;

#[async_trait]
impl ItemStep for InLab {
    type Record = CopyRecord;
    const STEP: Queue = Queue::RetireImages;

    fn deadline(&self, record: &CopyRecord) -> Duration {
        record.settings.deadlines.retire_images
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &CopyRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        let (azure, lab) = (&factory.azure, factory.storages.get(&record.lab).await?.lab.address);
        let mut images = azure.custom_images(&lab).await?;
        images.retain(|image| {
            tags::get(&image.tags, IMAGE_PATH_TAG).is_some_and(|path| same_path(&record.image_path, path))
        });
        let (going, standing): (Vec<_>, Vec<_>) = images.into_iter().partition(CustomImage::is_being_deleted);
        let keep = record.settings.images_to_keep as usize;
        // Who uses what matters only where something could go.
        let users = if standing.len() > keep { Users::of(factory, &lab).await? } else { Users::default() };
        let images: Vec<StandingImage> = standing.iter().map(|image| users.standing(image)).collect();
        let verdicts = retention::decide(&record.image_path, &images, keep);
        let mut leaving = !going.is_empty();
        for image in retiring(&verdicts, state) {
            azure.delete_custom_image(&lab, &image).await?;
            leaving = true;
        }
        Ok(if leaving { Next::wait(DELETING, "older images to be deleted") } else { Next::Succeeded })
    }

    fn follow_ups(&self, _record: &CopyRecord, _state: &StepState, _attempt: u32) -> Vec<Message> {
        Vec::new()
    }
}

/// What of a lab can use an image.
#[derive(Default)]
struct Users {
    formulas: Vec<Formula>,
    vms: Vec<LabVm>,
}

impl Users {
    async fn of(factory: &Factory, lab: &LabAddress) -> Result<Self, AzureError> {
        Ok(Self { formulas: factory.azure.formulas(lab).await?, vms: factory.azure.lab_vms(lab).await? })
    }

    fn standing(&self, image: &CustomImage) -> StandingImage {
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

/// The names that go; notes them, and why the others stay.
fn retiring(verdicts: &[Verdict], state: &mut StepState) -> Vec<String> {
    state.facts.kept.clear();
    let mut names = Vec::new();
    for verdict in verdicts {
        let name = &verdict.name;
        match &verdict.decision {
            Decision::Retire => {
                if !state.facts.retired.contains(name) {
                    state.facts.retired.push(name.clone());
                }
                names.push(name.clone());
            }
            // That the newest stay needs no reason.
            Decision::Keep(KeepReason::Newest) => {}
            Decision::Keep(reason) => {
                state.facts.kept.push(Kept { name: name.clone(), reason: reason.to_string() })
            }
        }
    }
    names
}

/// The step for the factory lab: its captured VHDs.
pub struct InFactory;

#[async_trait]
impl ItemStep for InFactory {
    type Record = BuildRecord;
    const STEP: Queue = Queue::RetireImages;

    fn deadline(&self, record: &BuildRecord) -> Duration {
        record.settings.deadlines.retire_images
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &BuildRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        let container = factory.storages.get(&record.factory_lab).await?.container;
        let mut images = Vec::new();
        // A VHD counts by its companion; one without is debris, which cleanup knows.
        for companion in container.list("").await?.into_iter().filter(|item| item.name.ends_with(COMPANION)) {
            let Some((run, path)) = tags::of_metadata(&companion.metadata) else {
                continue;
            };
            if record.plan.image_path != path {
                continue;
            }
            let open = run != record.run && is_open(factory, &run).await?;
            images.push(StandingImage {
                name: companion.name.trim_end_matches(COMPANION).to_owned(),
                created: companion.last_modified.unwrap_or(OffsetDateTime::UNIX_EPOCH),
                state: ImageState::Succeeded,
                tags: tags::of(&run, &path),
                used_by: if open { vec![format!("run {run}, which still copies it")] } else { Vec::new() },
            });
        }
        let mut verdicts =
            retention::decide(&record.plan.image_path, &images, record.settings.images_to_keep as usize);
        // This run's own copies are under way, whatever was captured after it: a later run takes its VHD away.
        verdicts.retain(|verdict| verdict.name != record.plan.image_name.as_str());
        for name in retiring(&verdicts, state) {
            // The companion first: a VHD without one is debris that cleanup takes away, a companion without VHD would lie.
            container.delete(&format!("{name}{COMPANION}")).await?;
            container.delete(&format!("{name}.vhd")).await?;
        }
        Ok(Next::Succeeded)
    }

    fn follow_ups(&self, _record: &BuildRecord, _state: &StepState, _attempt: u32) -> Vec<Message> {
        Vec::new()
    }

    fn copies(&self, record: &BuildRecord) -> Option<usize> {
        record.captured().map(|_| record.plan.labs.len())
    }
}

async fn is_open(factory: &Factory, run: &RunId) -> Result<bool, AzureError> {
    let found = factory.ledger.read::<RunRecord>(&Key::run(run)).await?;
    Ok(found.is_some_and(|(record, _)| record.status() == ItemStatus::Open))
}

/// Whether a tag's text names the golden image, in whatever spelling.
fn same_path(path: &ImagePath, text: &str) -> bool {
    ImagePath::parse(text).is_ok_and(|other| *path == other)
}

#[cfg(test)]
mod tests;
