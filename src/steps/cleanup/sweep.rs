//! Debris in team labs: VHDs on their way, and custom images that never came to be, whose copies ended.
//!
//! Labs are many, so a tick looks into a few: those where a copy has just failed, and in turn those of runs that ended lately,
//! until each was found clean once. What a lab holds of runs that this ledger does not know may be another factory's and stays.

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};

use super::{CleanupError, Done, Life, Runs, VHD, is_capture};
use crate::{
    azure::{AzureError, CustomImage},
    domain::{IMAGE_PATH_TAG, ImagePath, KEEP_TAG, LabId, RunId, VmName, names::lab_hash},
    ledger::{CopyRecord, ItemStatus, Key, Record as _, RunRecord, Sweep},
    steps::{Factory, lab_storage::LabStorage, tags},
    telemetry::{self, Stock},
};

/// Labs that a tick looks into at most; each costs two calls or three.
const MOST_LABS: usize = 10;
/// Runs whose notes a tick reads at most.
const MOST_RUNS: usize = 20;
/// A lab that cannot be found clean for so long after a run ended is given up for that run.
const SWEPT_FOR: Duration = Duration::days(7);

/// Sweeps some labs, and notes for the ended runs which are left.
pub(super) async fn some_labs(factory: &Factory, runs: &Runs, done: &mut Done) -> Result<(), CleanupError> {
    let mut notes = notes(factory, runs, done).await?;
    let labs = whose_turn(runs, &notes);
    let mut clean = BTreeSet::new();
    for lab in &labs {
        let swept = lab_of(factory, lab, runs, done).await;
        if done.note(lab.lab_name(), swept) == Some(true) {
            clean.insert(lab.clone());
        }
    }
    for (run, sweep) in &mut notes {
        if turn(sweep, &labs, &clean) {
            let noted = factory.ledger.note_sweep(run, sweep).await;
            done.note(run.as_str(), noted);
        }
    }
    Ok(())
}

/// The runs that ended lately and still have labs to be swept, the longest ended first.
async fn notes(factory: &Factory, runs: &Runs, done: &mut Done) -> Result<Vec<(RunId, Sweep)>, CleanupError> {
    let now = factory.clock.now();
    let lately = runs.ended.iter().filter(|(_, ended)| now - **ended < SWEPT_FOR);
    let mut lately: Vec<_> = lately.map(|(run, ended)| (*ended, run)).collect();
    if lately.is_empty() {
        return Ok(Vec::new());
    }
    let swept = factory.ledger.swept_runs().await?;
    lately.retain(|(_, run)| !swept.contains(run));
    lately.sort();
    let mut notes = Vec::new();
    for (_, run) in lately.into_iter().take(MOST_RUNS) {
        let known = note(factory, run).await;
        notes.extend(done.note(run.as_str(), known).map(|sweep| (run.clone(), sweep)));
    }
    Ok(notes)
}

async fn note(factory: &Factory, run: &RunId) -> Result<Sweep, AzureError> {
    if let Some(sweep) = factory.ledger.sweep(run).await? {
        return Ok(sweep);
    }
    let record = factory.ledger.read::<RunRecord>(&Key::run(run)).await?;
    Ok(Sweep { left: record.map(|(record, _)| record.labs).unwrap_or_default() })
}

/// The labs of this tick.
pub(super) fn whose_turn(runs: &Runs, notes: &[(RunId, Sweep)]) -> Vec<LabId> {
    let just_failed = runs
        .open
        .values()
        .flat_map(|run| run.labs.iter().filter(|lab| run.just_failed.contains(&Key::lab_part(lab))));
    let left = notes.iter().flat_map(|(_, sweep)| &sweep.left);
    let mut labs: Vec<LabId> = Vec::new();
    for lab in just_failed.chain(left) {
        if labs.len() < MOST_LABS && !labs.contains(lab) {
            labs.push(lab.clone());
        }
    }
    labs
}

/// Takes the clean labs off a run's note, and puts those that were not to its end. Whether there is something to write: a run
/// without labs is noted as well, so that nobody looks at it again.
pub(super) fn turn(sweep: &mut Sweep, swept: &[LabId], clean: &BTreeSet<LabId>) -> bool {
    if sweep.left.is_empty() {
        return true;
    }
    let (looked_at, mut left): (Vec<_>, Vec<_>) =
        std::mem::take(&mut sweep.left).into_iter().partition(|lab| swept.contains(lab));
    let changed = !looked_at.is_empty();
    left.extend(looked_at.into_iter().filter(|lab| !clean.contains(lab)));
    sweep.left = left;
    changed
}

/// Sweeps one lab; whether nothing was to be done.
async fn lab_of(factory: &Factory, lab: &LabId, runs: &Runs, done: &mut Done) -> Result<bool, CleanupError> {
    let storage = match factory.storages.get(lab).await {
        Ok(storage) => storage,
        // A lab that is not there holds nothing of ours.
        Err(error) if error.status == Some(404) => return Ok(true),
        Err(error) => return Err(error.into()),
    };
    let vhds = sweep_vhds(&storage, lab, runs, done).await?;
    let images = sweep_images(factory, &storage, lab, runs, done).await?;
    Ok(vhds && images)
}

async fn sweep_vhds(
    storage: &LabStorage,
    lab: &LabId,
    runs: &Runs,
    done: &mut Done,
) -> Result<bool, AzureError> {
    // Labs may share an account: each looks for its own.
    let own = format!("-{}{VHD}", lab_hash(lab));
    let (mut clean, mut pages) = (true, storage.container.pages(""));
    while let Some(page) = pages.next_if_any().await? {
        for blob in page.iter().filter(|blob| blob.name.ends_with(&own)) {
            let Some((run, path)) = tags::of_metadata(&blob.metadata) else { continue };
            let vm = VmName::derive(&run, &path);
            // The capture in the factory lab's account may by chance end like a copy into the lab.
            let is_copy = !is_capture(&blob.name, &vm);
            if is_copy && runs.of_copy(&run, vm.as_str(), &Key::lab_part(lab)) == Life::Over {
                clean = false;
                storage.discard(&blob.name).await?;
                done.removed.push(format!("VHD {} of lab {}", blob.name, lab.lab_name()));
            }
        }
    }
    Ok(clean)
}

async fn sweep_images(
    factory: &Factory,
    storage: &LabStorage,
    lab: &LabId,
    runs: &Runs,
    done: &mut Done,
) -> Result<bool, AzureError> {
    let mut clean = true;
    let images = factory.azure.custom_images(&storage.lab.address, None).await?;
    telemetry::lab_seen(lab, stock(&images));
    for image in images {
        let Some(copy) = unfinished(&image, lab, runs) else { continue };
        let copy = factory.ledger.read::<CopyRecord>(&copy).await?;
        // Whoever deletes it has decided that it goes; only Azure may have lost the deletion.
        if !image.is_being_deleted() && copy.is_some_and(|(copy, _)| stood(&copy, &image)) {
            continue;
        }
        clean = false;
        factory.azure.delete_custom_image(&storage.lab.address, &image.name).await?;
        done.removed.push(format!("custom image {} of lab {}", image.name, lab.lab_name()));
    }
    Ok(clean)
}

/// What the lab holds of the factory's images.
fn stock(images: &[CustomImage]) -> Stock {
    let mut newest: BTreeMap<ImagePath, OffsetDateTime> = BTreeMap::new();
    let mut count = 0;
    let stands = |image: &&CustomImage| image.provisioning_state.eq_ignore_ascii_case("Succeeded");
    for image in images.iter().filter(stands) {
        let path = tags::get(&image.tags, IMAGE_PATH_TAG).and_then(|path| ImagePath::parse(path).ok());
        let (Some(_), Some(path)) = (tags::run(&image.tags), path) else { continue };
        count += 1;
        if let Some(born) = image.creation_date {
            newest.entry(path).and_modify(|known| *known = born.max(*known)).or_insert(born);
        }
    }
    Stock { images: count, stalest: newest.into_values().min() }
}

/// Whether the image stood once: then it is retirement's matter, whatever became of it.
fn stood(copy: &CopyRecord, image: &CustomImage) -> bool {
    copy.status() == ItemStatus::Succeeded && copy.image_name.as_str().eq_ignore_ascii_case(&image.name)
}

/// The copy of a custom image of ours that never came to be and that nobody waits for.
pub(super) fn unfinished(image: &CustomImage, lab: &LabId, runs: &Runs) -> Option<Key> {
    let is = |state: &str| image.provisioning_state.eq_ignore_ascii_case(state);
    let is_kept = tags::ignored(&image.tags) || tags::get(&image.tags, KEEP_TAG).is_some();
    if is_kept || !(is("Failed") || is("Creating") || image.is_being_deleted()) {
        return None;
    }
    let run = tags::run(&image.tags)?;
    let path = ImagePath::parse(tags::get(&image.tags, IMAGE_PATH_TAG)?).ok()?;
    let vm = VmName::derive(&run, &path);
    let is_over = runs.of_copy(&run, vm.as_str(), &Key::lab_part(lab)) == Life::Over;
    is_over.then(|| Key::copy(&run, &vm, lab))
}
