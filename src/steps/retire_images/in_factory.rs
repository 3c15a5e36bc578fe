//! The factory lab keeps the newest few of its captured VHDs.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{
    announce,
    brake::{self, Stock},
    keep_all, note_kept, note_stayed, retiring,
};
use crate::{
    azure::{AzureError, BlobItem, Container},
    domain::{
        ImageName, KEEP_TAG, Message, Queue, RunId,
        names::PROVENANCE_SUFFIX,
        retention::{self, ImageState, KeepReason, StandingImage, Verdict},
    },
    ledger::{BuildRecord, ItemStatus, Key, RunRecord, StepState},
    steps::{
        Factory, tags,
        turn::{ItemStep, Next},
    },
};

/// Another invocation took the turn: its state counts, and nobody waits for this one.
const SOON: Duration = Duration::from_secs(10);
/// The ending of a captured VHD.
const VHD: &str = ".vhd";
/// The ending of its companion.
const COMPANION: &str = ".json";

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
        let path = &record.plan.image_path;
        // Not the whole container: that grows with the configuration, and every build looks.
        let mut images = captured(&container.list(&ImageName::prefix(path)).await?);
        state.facts.kept.clear();
        let verdicts = decide(record, &images);
        if retiring(&verdicts).next().is_none() {
            note_kept(&verdicts, state);
            return Ok(Next::Succeeded);
        }

        let key = Key::vhd_retirement(&record.run, &record.factory_lab);
        let all = async { Ok(captured(&container.list("").await?)) };
        let weighed =
            brake::weighed(factory, &record.run, &key, &record.factory_lab, Stock::Vhds, all).await?;
        if weighed.held {
            note_kept(&verdicts, state);
            keep_all(&verdicts, state, brake::HELD);
            let place = format!("the storage account of the factory lab {}", record.factory_lab.lab_name());
            return Ok(Next::Failed(brake::failure(&weighed, &place)));
        }

        for name in retiring(&verdicts) {
            let Some(image) = images.iter_mut().find(|image| image.name == name) else { continue };
            if let Some(run) = tags::run(&image.tags)
                && run != record.run
                && factory.ledger.status(&Key::run(&run)).await? == Some(ItemStatus::Open)
            {
                image.used_by.push(format!("run {run}, which may still copy it"));
            }
        }
        reused_by_others(factory, &record.run, &mut images).await?;
        let verdicts = decide(record, &images);
        note_kept(&verdicts, state);
        let key = Key::build(&record.run, &record.plan.vm_name);
        if !announce::<Self>(factory, &key, &verdicts, state).await? {
            return Ok(Next::wait(SOON, "who deletes older VHDs"));
        }
        for name in retiring(&verdicts) {
            retire(&container, name, state).await?;
        }
        Ok(Next::Succeeded)
    }

    fn follow_ups(&self, _record: &BuildRecord, _state: &StepState, _attempt: u32) -> Vec<Message> {
        Vec::new()
    }
}

/// The captured VHDs among these blobs. A VHD counts by its companion; one without is debris, which cleanup knows. Whoever
/// pins one may write `FactoryKeep` at either of the two.
pub(in crate::steps) fn captured(blobs: &[BlobItem]) -> Vec<StandingImage> {
    let pinned_vhds: Vec<&str> = blobs
        .iter()
        .filter(|blob| tags::get(&blob.metadata, KEEP_TAG).is_some())
        .filter_map(|blob| blob.name.strip_suffix(VHD))
        .collect();
    let image = |blob: &BlobItem| {
        if blob.name.ends_with(PROVENANCE_SUFFIX) {
            return None;
        }
        let name = blob.name.strip_suffix(COMPANION)?;
        let mut tags = tags::of_image_metadata(&blob.metadata)?;
        tags.extend(tags::of_inputs_metadata(&blob.metadata));
        if pinned_vhds.contains(&name) {
            tags.insert(KEEP_TAG.to_owned(), String::new());
        }
        Some(StandingImage {
            name: name.to_owned(),
            created: blob.last_modified.unwrap_or(OffsetDateTime::UNIX_EPOCH),
            state: ImageState::Succeeded,
            tags,
            used_by: Vec::new(),
        })
    };
    blobs.iter().filter_map(image).collect()
}

/// The verdicts about the VHDs of the build's path. This run's own copies are under way, whatever was captured after it: a
/// later run takes its VHD away.
fn decide(record: &BuildRecord, images: &[StandingImage]) -> Vec<Verdict> {
    let (path, own) = (&record.plan.image_path, record.plan.image_name.as_str());
    let mut verdicts = retention::decide(path, images, record.settings.images_to_keep as usize);
    // Other paths can begin with the same words.
    let other = retention::Decision::Keep(KeepReason::OtherPath);
    verdicts.retain(|verdict| verdict.name != own && verdict.decision != other);
    verdicts
}

/// Notes which of these images the runs that go on bring to labs, though another run made them.
async fn reused_by_others(
    factory: &Factory,
    own: &RunId,
    images: &mut [StandingImage],
) -> Result<(), AzureError> {
    let open = factory.ledger.runs().await?.into_iter().filter(|entry| entry.status == ItemStatus::Open);
    for entry in open.filter(|entry| entry.key.run_id().is_some_and(|run| run != *own)) {
        let Some((run, _)) = factory.ledger.read::<RunRecord>(&entry.key).await? else { continue };
        let reused = run.builds.iter().filter(|build| build.reuses.is_some());
        let names: BTreeSet<&str> = reused.map(|build| build.image_name.as_str()).collect();
        for image in images.iter_mut().filter(|image| names.contains(image.name.as_str())) {
            image.used_by.push(format!("run {}, which may still copy it", run.run));
        }
    }
    Ok(())
}

/// Deletes a VHD, unless somebody pinned it since the blobs were listed.
async fn retire(container: &Container, name: &str, state: &mut StepState) -> Result<(), AzureError> {
    let (companion, vhd) = (format!("{name}{COMPANION}"), format!("{name}{VHD}"));
    for blob in [&companion, &vhd] {
        let found = container.properties(blob).await?;
        if found.is_some_and(|blob| tags::get(&blob.metadata, KEEP_TAG).is_some()) {
            note_stayed(name, KeepReason::Pinned.to_string(), state);
            return Ok(());
        }
    }
    // The companion first: a VHD without one is debris that cleanup takes away, a companion without VHD would lie.
    container.delete(&companion).await?;
    container.delete(&format!("{name}{PROVENANCE_SUFFIX}")).await?;
    container.delete(&vhd).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::fixtures::{ago, build, path, run};

    fn blob(name: &str, minutes_ago: i64, metadata: std::collections::BTreeMap<String, String>) -> BlobItem {
        BlobItem {
            name: name.to_owned(),
            etag: "e".into(),
            length: 100,
            last_modified: Some(ago(minutes_ago)),
            metadata,
        }
    }

    /// A VHD with its companion and the statement about it, of a run that started so long ago.
    fn vhd(name: &str, written: i64, run_started: i64) -> [BlobItem; 3] {
        let metadata = tags::image_metadata(&RunId::parse(name).unwrap(), &path(), ago(run_started));
        let companion = blob(&format!("{name}{COMPANION}"), written, metadata);
        let own = tags::metadata(&run(), &path());
        let statement = blob(&format!("{name}{PROVENANCE_SUFFIX}"), written, own.clone());
        [blob(&format!("{name}{VHD}"), written, own), companion, statement]
    }

    #[test]
    fn a_companion_that_was_written_to_later_makes_no_vhd_newer() {
        let blobs = [vhd("touched", 1, 300), vhd("newest", 90, 100)].concat();
        let mut record = build();
        record.settings.images_to_keep = 1;
        assert_eq!(retiring(&decide(&record, &captured(&blobs))).collect::<Vec<_>>(), ["touched"]);
    }

    #[test]
    fn a_pin_counts_at_the_vhd_and_at_its_companion() {
        for pinned in 0..2 {
            let mut old = vhd("old", 300, 300);
            old[pinned].metadata.insert(KEEP_TAG.to_lowercase(), String::new());
            let blobs = [old, vhd("new", 1, 1)].concat();
            let mut record = build();
            record.settings.images_to_keep = 1;
            assert_eq!(retiring(&decide(&record, &captured(&blobs))).count(), 0, "{pinned}");
        }
    }

    #[test]
    fn a_vhd_without_companion_or_of_another_path_is_none_of_these() {
        let [lone, ..] = vhd("lone", 300, 300);
        let mut other = vhd("other", 300, 300);
        other[1].metadata.insert("imagepath".to_owned(), "Win2022/Datacenter/Core.json".to_owned());
        let blobs = [vec![lone], other.to_vec(), vhd("new", 1, 1).to_vec()].concat();
        let mut record = build();
        record.settings.images_to_keep = 1;
        let verdicts = decide(&record, &captured(&blobs));
        assert_eq!(verdicts.iter().map(|verdict| verdict.name.as_str()).collect::<Vec<_>>(), ["new"]);
    }
}
