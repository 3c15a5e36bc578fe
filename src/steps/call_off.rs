//! Calling off: what is no longer wanted stops, as soon as it safely can.
//!
//! That something is called off is written into its document. A step that makes something sees it at its next turn and fails
//! with it, after what was half made is taken back; delete-vm follows as after every failure. So that this is soon, the message
//! that the step waits for is sent again. What deletes (delete-vm, retire-images) is never called off.
//!
//! Everything here may be done any number of times.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use time::Duration;

use super::{
    Envelope, Factory, OutboxError,
    cleanup::lost::{awaited_of_build, awaited_of_copy, awaited_of_run},
};
use crate::{
    azure::{AzureError, ErrorKind},
    domain::{Message, Queue, RunId, VmName},
    ledger::{
        BuildRecord, CallOffKind, CalledOff, CopyRecord, Entry, ItemStatus, Key, Record as _, RunRecord,
        StepState,
    },
};

/// Documents that are written at once.
const WRITES_AT_ONCE: usize = 16;
/// Documents that one turn writes at most: the rest is for the next.
const MOST_MARKED: usize = 5000;
/// Copies that are woken, each a call of Resource Manager as a rule, come this far apart: half of what Azure takes.
const BETWEEN_WAKES: Duration = Duration::milliseconds(80);

/// Calls off a build. Whether it was in time: then it will never be captured. It was not if the build is captured, or failed
/// before; then nothing is changed, except that a cancelled build's copies that are not begun yet will not be.
///
/// # Errors
/// If the ledger refuses, or the run is about to write the build down: then it is transient. Also if its step cannot be woken.
pub async fn build(
    factory: &Factory,
    run: &RunId,
    vm: &VmName,
    called_off: &CalledOff,
) -> Result<bool, AzureError> {
    let mut in_time = false;
    let change = |stored: &mut BuildRecord| {
        let is_marked = stored.called_off.is_some();
        in_time = !stored.counts_as_captured() && (is_marked || stored.is_going_well());
        let stops_copies = stored.counts_as_captured() && called_off.kind() == CallOffKind::Cancelled;
        let is_news = !is_marked && (in_time || stops_copies);
        if is_news {
            stored.called_off = Some(called_off.clone());
        }
        is_news
    };
    let stored = match factory.ledger.update::<BuildRecord>(&Key::build(run, vm), change).await {
        Err(error) if error.kind == ErrorKind::NotFound => return unwritten(factory, run, error).await,
        stored => stored?,
    };
    if in_time {
        wake(factory, awaited_of_build(&stored), Duration::ZERO).await?;
    }
    Ok(in_time)
}

/// What to make of a build that has no document: the run may be writing it down at this moment.
async fn unwritten(factory: &Factory, run: &RunId, error: AzureError) -> Result<bool, AzureError> {
    match factory.ledger.status(&Key::run(run)).await? {
        Some(ItemStatus::Open) => {
            Err(AzureError { kind: ErrorKind::Transient { retry_after: None }, ..error })
        }
        _ => Ok(false),
    }
}

/// Calls off a run, which calls off its builds and copies. Whether it was in time: it had not ended.
///
/// # Errors
/// If the ledger refuses, does not know the run, or the run cannot be woken.
pub async fn run(factory: &Factory, run: &RunId, called_off: &CalledOff) -> Result<bool, AzureError> {
    let mut in_time = false;
    let change = |stored: &mut RunRecord| {
        in_time = stored.step(Queue::StartRun).is_none_or(|state| state.ending.is_none());
        let is_news = in_time && stored.called_off.is_none();
        if is_news {
            stored.called_off = Some(called_off.clone());
        }
        is_news
    };
    let stored = factory.ledger.update::<RunRecord>(&Key::run(run), change).await?;
    if in_time {
        wake(factory, awaited_of_run(&stored), Duration::ZERO).await?;
    }
    Ok(in_time)
}

/// Calls off what a cancelled run still does, as far as a turn can; the rest is for the next.
///
/// # Errors
/// If the ledger refuses, or a step cannot be woken.
pub(super) async fn items(
    factory: &Factory,
    run: &RunRecord,
    called_off: &CalledOff,
) -> Result<(), AzureError> {
    let builds = factory.ledger.builds(&run.run).await?;
    let builds: Vec<VmName> = run
        .builds
        .iter()
        .filter(|build| {
            let key = Key::build(&run.run, &build.vm_name);
            builds.iter().any(|entry| entry.key == key && is_to_be_marked(entry))
        })
        .map(|build| build.vm_name.clone())
        .collect();
    stream::iter(builds)
        .map(|vm| async move { build(factory, &run.run, &vm, called_off).await })
        .buffer_unordered(WRITES_AT_ONCE)
        .try_collect::<Vec<bool>>()
        .await?;
    let mut room = MOST_MARKED;
    let mut pages = factory.ledger.copy_pages(&run.run);
    while let Some(page) = pages.next().await? {
        let open =
            page.into_iter().filter(|entry| entry.status == ItemStatus::Open && is_to_be_marked(entry));
        let open: Vec<(Key, Duration)> =
            open.map(|entry| entry.key).zip((0..).map(|place| BETWEEN_WAKES * place)).take(room).collect();
        room -= open.len();
        stream::iter(open)
            .map(|(key, slot)| async move { copy(factory, &key, called_off, slot).await })
            .buffer_unordered(WRITES_AT_ONCE)
            .try_collect::<Vec<()>>()
            .await?;
        if room == 0 {
            break;
        }
    }
    Ok(())
}

/// Whether the listing shows something that may still do what is not wanted: also a captured build, whose copies are to come.
fn is_to_be_marked(entry: &Entry) -> bool {
    entry.called_off.is_none() && entry.status != ItemStatus::Failed
}

async fn copy(
    factory: &Factory,
    key: &Key,
    called_off: &CalledOff,
    slot: Duration,
) -> Result<(), AzureError> {
    let mut in_time = false;
    let change = |stored: &mut CopyRecord| {
        in_time = stored.step(Queue::CopyImage).is_none_or(is_going_well);
        let is_news = in_time && stored.called_off.is_none();
        if is_news {
            stored.called_off = Some(called_off.clone());
        }
        is_news
    };
    let stored = factory.ledger.update::<CopyRecord>(key, change).await?;
    if in_time {
        wake(factory, awaited_of_copy(&stored), slot).await?;
    }
    Ok(())
}

impl BuildRecord {
    /// Whether it is captured or so near to it that it is too late to call it off.
    fn counts_as_captured(&self) -> bool {
        self.captured().is_some() || self.facts(Queue::CaptureImage).is_some_and(|facts| facts.complete)
    }

    /// Whether nothing that it does to be captured has failed, or is about to.
    pub(super) fn is_going_well(&self) -> bool {
        let is_well = |state: &StepState| state.succeeded() || is_going_well(state);
        [Queue::CreateVm, Queue::CaptureImage].iter().all(|step| self.step(*step).is_none_or(is_well))
    }
}

fn is_going_well(state: &StepState) -> bool {
    state.ending.is_none() && state.failing.is_none()
}

/// Sends again what steps wait for. The copy that they wait for comes as well, later, and finds them ended.
pub(super) async fn wake(factory: &Factory, awaited: Vec<Message>, slot: Duration) -> Result<(), AzureError> {
    let now = factory.clock.now();
    let at = slot.is_positive().then(|| now + slot);
    // Not the MessageId under which the message waits already, which duplicate detection remembers.
    let recovery = format!("c{}", now.unix_timestamp());
    let is_called_off = |message: &Message| !matches!(message.queue(), Queue::DeleteVm | Queue::RetireImages);
    let envelope = |message| Envelope { message, at, recovery: Some(recovery.clone()) };
    let envelopes: Vec<Envelope> = awaited.into_iter().filter(is_called_off).map(envelope).collect();
    if envelopes.is_empty() {
        return Ok(());
    }
    factory.outbox.send(envelopes).await.map_err(not_sent)
}

/// A step cannot be woken now: whoever wants it tries again.
pub(super) fn not_sent(error: OutboxError) -> AzureError {
    AzureError {
        kind: ErrorKind::Transient { retry_after: None },
        ..AzureError::permanent("wake a step", "NotSent", error.to_string())
    }
}
