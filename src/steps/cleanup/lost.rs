//! Messages that were lost: what an open run's items wait for in vain is sent again.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use time::{Duration, OffsetDateTime};

use super::{
    CleanupError, Done, OpenRun,
    lateness::{LOST_AFTER, Lateness},
};
use crate::{
    azure::AzureError,
    domain::{
        LabId, RunId,
        messages::{CopyImage, FIRST_ATTEMPT, ImageStep, Message, Queue, RetireImages, StartRun, Step},
    },
    ledger::{BuildRecord, CopyRecord, Entry, ItemStatus, Key, Record, RunRecord, StepState},
    steps::{Envelope, Factory},
};

/// A copy that failed no longer ago than this is news: two ticks and a bit.
const NEWS: Duration = Duration::minutes(25);
/// Documents that are read at once.
const READS_AT_ONCE: usize = 16;

/// Sends again what an open run's items wait for in vain; answers how the run stands.
pub(super) async fn repeat(
    factory: &Factory,
    run: RunRecord,
    lateness: &Lateness,
    done: &mut Done,
) -> Result<OpenRun, CleanupError> {
    let own = overdue(&run, lateness).into_iter().map(|lost| of_run(&run, lost));
    send(factory, own.collect(), done).await?;

    let mut open = OpenRun { labs: run.labs, ..OpenRun::default() };
    let builds = factory.ledger.builds(&run.run).await?;
    done.see(&builds);
    let mut begun: BTreeMap<String, usize> = BTreeMap::new();
    let mut pages = factory.ledger.copy_pages(&run.run);
    while let Some(page) = pages.next().await? {
        done.see(&page);
        for entry in &page {
            let Some((_, vm, lab)) = entry.key.copy_parts() else { continue };
            *begun.entry(vm.to_owned()).or_default() += 1;
            if entry.status == ItemStatus::Failed {
                open.failed_copies.insert((lab.to_owned(), vm.to_owned()));
                if entry.ended_at.is_some_and(|at| lateness.now - at < NEWS) {
                    open.just_failed.insert(lab.to_owned());
                }
            }
        }
        send(factory, lost_of_page(factory, &page, lateness, lost_of_copy).await?, done).await?;
    }
    send(factory, lost_of_page(factory, &builds, lateness, lost_of_build).await?, done).await?;
    let builds: BTreeMap<Key, Entry> = builds.into_iter().map(|entry| (entry.key.clone(), entry)).collect();
    for build in &run.builds {
        let vm = build.vm_name.as_str();
        let key = Key::build(&run.run, &build.vm_name);
        let Some(entry) = builds.get(&key) else { continue };
        open.builds.insert(vm.to_owned(), entry.status);
        // Copies that were never begun have no document: their build tells since when they should have one.
        if entry.copies.unwrap_or_default() > begun.get(vm).copied().unwrap_or_default() {
            let unbegun = unbegun(factory, &key, lateness).await?;
            send(factory, unbegun, done).await?;
        }
    }
    Ok(open)
}

async fn send(factory: &Factory, lost: Vec<Message>, done: &mut Done) -> Result<(), CleanupError> {
    if lost.is_empty() {
        return Ok(());
    }
    done.repeated += lost.len();
    // Not the same MessageId as the lost one's, which duplicate detection may still remember.
    let recovery = format!("r{}", factory.clock.now().unix_timestamp() / LOST_AFTER.whole_seconds());
    let envelope = |message| Envelope { message, at: None, recovery: Some(recovery.clone()) };
    Ok(factory.outbox.send(lost.into_iter().map(envelope).collect()).await?)
}

/// Sends again the wishes of people that wait in vain.
pub(super) async fn repeat_wishes(
    factory: &Factory,
    lateness: &Lateness,
    done: &mut Done,
) -> Result<(), CleanupError> {
    let mut lost = Vec::new();
    for key in factory.ledger.wishes().await? {
        let wish = factory.ledger.wish(&key).await;
        let wish = done.note("a wish", wish).flatten();
        let wish = wish.filter(|(message, due)| lateness.is_lost(message.queue(), *due));
        lost.extend(wish.map(|(message, _)| message));
    }
    send(factory, lost, done).await
}

/// Reads the documents of the open items whose wake-up is late, and keeps no more of them than the messages that were lost.
async fn lost_of_page<R: Record>(
    factory: &Factory,
    page: &[Entry],
    lateness: &Lateness,
    lost: fn(&R, &Lateness) -> Vec<Message>,
) -> Result<Vec<Message>, AzureError> {
    let late = page.iter().filter(|entry| entry.status == ItemStatus::Open && lateness.may_be_lost(entry));
    let late: Vec<Key> = late.map(|entry| entry.key.clone()).collect();
    let ledger = factory.ledger.clone();
    let reads = stream::iter(late).map(move |key| {
        let ledger = ledger.clone();
        async move {
            let found = ledger.read::<R>(&key).await?;
            Ok(found.map(|(record, _)| lost(&record, lateness)).unwrap_or_default())
        }
    });
    reads.buffered(READS_AT_ONCE).try_concat().await
}

/// A step that waits in vain, and the number of the message that it waits for.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) step: Queue,
    pub(super) attempt: u32,
}

impl Lost {
    fn for_step(self, run: &RunId, step: Step) -> Message {
        Message::first(run.clone(), step).numbered(self.attempt)
    }
}

/// The steps of an item that are due, each with the moment at which its message was to come.
fn awaited<R: Record>(record: &R) -> impl Iterator<Item = (Lost, OffsetDateTime)> {
    let judge = |(step, due): (Queue, OffsetDateTime)| {
        let (attempt, at) = match record.step(step) {
            Some(StepState { ending: Some(_), .. }) => return None,
            Some(state) => (state.attempt, state.wake_at),
            None => (FIRST_ATTEMPT, due),
        };
        Some((Lost { step, attempt }, at))
    };
    record.due().into_iter().filter_map(judge)
}

/// The steps of an item that are due and wait in vain.
pub(super) fn overdue<R: Record>(record: &R, lateness: &Lateness) -> Vec<Lost> {
    awaited(record).filter(|(lost, at)| lateness.is_lost(lost.step, *at)).map(|(lost, _)| lost).collect()
}

fn of_run(run: &RunRecord, lost: Lost) -> Message {
    // A run that is not planned yet remembers what was asked for; afterwards the plan tells.
    let again = run.asked.clone().unwrap_or_else(|| StartRun {
        commit: run.commit.clone(),
        author: run.author.clone(),
        approve_retirement: run.approve_retirement,
        ..StartRun::of_everything(run.reason)
    });
    lost.for_step(&run.run, Step::StartRun(again))
}

fn of_build(build: &BuildRecord, lost: Lost) -> Message {
    let image_path = build.plan.image_path.clone();
    let step = match lost.step {
        Queue::RetireImages => Step::RetireImages(RetireImages { image_path, lab: None }),
        Queue::CaptureImage => Step::CaptureImage(ImageStep { image_path }),
        Queue::DeleteVm => Step::DeleteVm(ImageStep { image_path }),
        _ => Step::CreateVm(ImageStep { image_path }),
    };
    lost.for_step(&build.run, step)
}

fn of_copy(copy: &CopyRecord, lost: Lost) -> Message {
    let (image_path, lab) = (copy.image_path.clone(), copy.lab.clone());
    let step = match lost.step {
        Queue::RetireImages => Step::RetireImages(RetireImages { image_path, lab: Some(lab) }),
        _ => Step::CopyImage(CopyImage { image_path, lab }),
    };
    lost.for_step(&copy.run, step)
}

pub(super) fn lost_of_build(build: &BuildRecord, lateness: &Lateness) -> Vec<Message> {
    overdue(build, lateness).into_iter().map(|lost| of_build(build, lost)).collect()
}

pub(super) fn lost_of_copy(copy: &CopyRecord, lateness: &Lateness) -> Vec<Message> {
    overdue(copy, lateness).into_iter().map(|lost| of_copy(copy, lost)).collect()
}

/// The message that a run waits for, lost or not.
pub(in crate::steps) fn awaited_of_run(run: &RunRecord) -> Vec<Message> {
    awaited(run).map(|(lost, _)| of_run(run, lost)).collect()
}

/// The messages that a build's steps wait for, lost or not.
pub(in crate::steps) fn awaited_of_build(build: &BuildRecord) -> Vec<Message> {
    awaited(build).map(|(lost, _)| of_build(build, lost)).collect()
}

/// The messages that a copy's steps wait for, lost or not.
pub(in crate::steps) fn awaited_of_copy(copy: &CopyRecord) -> Vec<Message> {
    awaited(copy).map(|(lost, _)| of_copy(copy, lost)).collect()
}

/// The first messages of the copies that a captured build should have begun.
async fn unbegun(factory: &Factory, key: &Key, lateness: &Lateness) -> Result<Vec<Message>, AzureError> {
    let Some((build, _)) = factory.ledger.read::<BuildRecord>(key).await? else {
        return Ok(Vec::new());
    };
    let begun = factory.ledger.copies_of(&build.run, &build.plan.vm_name).await?;
    let begun: BTreeSet<Key> = begun.into_iter().map(|entry| entry.key).collect();
    let is_begun = |lab: &LabId| begun.contains(&Key::copy(&build.run, &build.plan.vm_name, lab));
    Ok(lost_copies(&build, is_begun, lateness))
}

pub(super) fn lost_copies(
    build: &BuildRecord,
    is_begun: impl Fn(&LabId) -> bool,
    lateness: &Lateness,
) -> Vec<Message> {
    if build.captured().is_none_or(|captured| !lateness.is_lost(Queue::CopyImage, captured.end())) {
        return Vec::new();
    }
    let lost = build.plan.labs.iter().filter(|lab| !is_begun(lab));
    let first = |lab: &LabId| {
        let step = CopyImage { image_path: build.plan.image_path.clone(), lab: lab.clone() };
        Message::first(build.run.clone(), Step::CopyImage(step))
    };
    lost.map(first).collect()
}
