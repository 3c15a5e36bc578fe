//! rerun: a step that has ended begins anew because a person asks, and what follows it follows again.
//!
//! The step's state is put back to its beginning with a higher message number, so that all messages of its first life are old. What
//! still goes on is left alone: it will do what is asked for by itself. Names come from run, path and lab, so what begins anew makes
//! the same things, never twins.

use std::time::Duration;

use time::OffsetDateTime;

use super::{
    Envelope, Factory, StepError, Told, call_off, cleanup::lost::awaited_of_run, start_run, turn,
    wish::Answer,
};
use crate::{
    azure::AzureError,
    domain::{
        Message, Queue, VmName,
        messages::{self, AskingId, ImageStep, Rerun, RetireImages, Step},
    },
    ledger::{BuildRecord, CopyRecord, Key, Record, RunRecord, StepState},
};

/// Until it is looked again whether what must end first has ended.
const UNTIL_ENDED: Duration = Duration::from_secs(60);
/// A run that was opened again looks for the first time after this: by then what is to begin anew has begun, and is seen. Otherwise
/// the run might end at once, and if this invocation met trouble then, nobody would look after what began.
const UNTIL_FIRST_LOOK: Duration = Duration::from_secs(120);
/// The distance to the numbers of earlier messages: the next number would count as a copy of the last message.
const NUMBERS_BETWEEN: u32 = 2;

/// What is to become of the wish.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The step begins anew.
    Begin,
    /// It began because of this very wish already.
    Begun,
    /// Something else must end first.
    Wait(String),
    /// Nothing is done, for this reason.
    Leave(String),
}

/// Handles a message that asks for a rerun.
///
/// # Errors
/// If the ledger refuses for good, or a message cannot be sent.
pub async fn handle(factory: &Factory, message: &Message, rerun: &Rerun) -> Result<Answer, StepError> {
    match take(factory, message, rerun).await {
        Ok((Verdict::Begin | Verdict::Begun, attempt)) => {
            let own = Message { rerun: None, ..message.numbered(attempt) };
            let told = Box::pin(factory.take(&own)).await?;
            Ok(Answer::Given(Told(format!("{} begins anew: {}", message.queue(), told.0))))
        }
        Ok((Verdict::Wait(reason), _)) => {
            turn::again(factory, message, factory.clock.now() + UNTIL_ENDED).await?;
            Ok(Answer::Waits(Told(format!("waits: {reason}"))))
        }
        Ok((Verdict::Leave(reason), _)) => Ok(Answer::Settled(Told(format!("nothing is done: {reason}")))),
        Err(error) => turn::later(factory, message, &error).await.map(Answer::Waits),
    }
}

/// Judges the wish and prepares the ledger; also the number of the message that the step waits for then.
async fn take(factory: &Factory, message: &Message, rerun: &Rerun) -> Result<(Verdict, u32), AzureError> {
    let leave = |reason: String| Ok((Verdict::Leave(reason), 0));
    let run_key = Key::run(&message.run);
    let Some((run, _)) = factory.ledger.read::<RunRecord>(&run_key).await? else {
        return leave(super::unknown_run(&message.run));
    };
    if run.called_off.is_some() && !has_ended(&run, Queue::StartRun) {
        return leave("the run is being cancelled; ask again once it has ended".to_owned());
    }
    let vm = |path| VmName::derive(&message.run, path);
    match &message.step {
        Step::CreateVm(ImageStep { image_path }) => {
            let key = Key::build(&message.run, &vm(image_path));
            begin::<BuildRecord>(factory, message, rerun, &key, judge_build).await
        }
        Step::DeleteVm(ImageStep { image_path })
        | Step::RetireImages(RetireImages { image_path, lab: None }) => {
            let key = Key::build(&message.run, &vm(image_path));
            let step = message.queue();
            begin::<BuildRecord>(factory, message, rerun, &key, |build, id| judge_last(build, step, id)).await
        }
        Step::RetireImages(RetireImages { image_path, lab: Some(lab) }) => {
            let key = Key::copy(&message.run, &vm(image_path), lab);
            let judge = |copy: &CopyRecord, id: &AskingId| judge_last(copy, Queue::RetireImages, id);
            begin::<CopyRecord>(factory, message, rerun, &key, judge).await
        }
        Step::CopyImage(step) => copy(factory, message, rerun, step).await,
        Step::CaptureImage(_) => leave(
            "a VM goes once its capture has ended; rerun create-vm, which makes it again and captures it"
                .to_owned(),
        ),
        Step::StartRun(_) | Step::CancelRun(_) | Step::PinImage(_) => {
            leave("a run is not run again; start a new one, of the same commit if you like".to_owned())
        }
    }
}

async fn copy(
    factory: &Factory,
    message: &Message,
    rerun: &Rerun,
    step: &messages::CopyImage,
) -> Result<(Verdict, u32), AzureError> {
    let vm = VmName::derive(&message.run, &step.image_path);
    let key = Key::copy(&message.run, &vm, &step.lab);
    if let Some((record, _)) = factory.ledger.read::<CopyRecord>(&key).await?
        && judge_copy(&record, &rerun.id) == Verdict::Begin
        && record.step(Queue::CopyImage).is_some_and(StepState::succeeded)
        && stands(factory, &record).await?
    {
        return Ok((Verdict::Leave("the image stands in the lab".to_owned()), 0));
    }
    begin::<CopyRecord>(factory, message, rerun, &key, judge_copy).await
}

/// Whether the custom image stands. Of a lab that is not there, or that refuses the factory, nobody can say so: then the copy that
/// begins anew fails with that reason.
async fn stands(factory: &Factory, record: &CopyRecord) -> Result<bool, AzureError> {
    let look = async {
        let storage = factory.storages.get(&record.lab).await?;
        factory.azure.custom_image(&storage.lab.address, record.image_name.as_str()).await
    };
    match look.await {
        Ok(image) => Ok(image.is_some()),
        Err(error) if error.is_transient() => Err(error),
        Err(_) => Ok(false),
    }
}

/// Puts the step back to its beginning, if `judge` allows it; the run is opened again first, since cleanup takes away what belongs
/// to no open run.
async fn begin<R: Record>(
    factory: &Factory,
    message: &Message,
    rerun: &Rerun,
    key: &Key,
    judge: impl Fn(&R, &AskingId) -> Verdict + Send + Sync,
) -> Result<(Verdict, u32), AzureError> {
    let unknown = || (Verdict::Leave(format!("run {} has no {key}: nothing of that began", message.run)), 0);
    let Some((record, _)) = factory.ledger.read::<R>(key).await? else { return Ok(unknown()) };
    match judge(&record, &rerun.id) {
        Verdict::Begin => {}
        // Whoever began it may have died before this.
        Verdict::Begun => {
            overtake(factory, message).await?;
            reopen(factory, message).await?;
            return Ok((Verdict::Begun, awaited(&record, message.queue())));
        }
        verdict => return Ok((verdict, awaited(&record, message.queue()))),
    }
    reopen(factory, message).await?;
    let now = factory.clock.now();
    let mut verdict = Verdict::Begin;
    let change = |stored: &mut R| {
        verdict = judge(stored, &rerun.id);
        let begins = verdict == Verdict::Begin;
        if begins {
            put_back(stored, message.queue(), rerun, now);
        }
        begins
    };
    let stored = factory.ledger.update::<R>(key, change).await?;
    if verdict == Verdict::Begin {
        overtake(factory, message).await?;
    }
    reopen(factory, message).await?;
    Ok((verdict, awaited(&stored, message.queue())))
}

/// The number of the message that a step waits for.
fn awaited<R: Record>(record: &R, step: Queue) -> u32 {
    record.step(step).map_or(messages::FIRST_ATTEMPT, |state| state.attempt)
}

/// Opens a run that has ended, and sends its message: it looks until everything has ended once more.
async fn reopen(factory: &Factory, message: &Message) -> Result<(), AzureError> {
    let now = factory.clock.now();
    let mut opened = false;
    let change = |run: &mut RunRecord| {
        opened = has_ended(run, Queue::StartRun);
        if opened {
            // What was called off has ended; this is wanted again.
            run.called_off = None;
            let old = run.steps.get(&Queue::StartRun).map_or(0, |state| state.attempt);
            let mut state = StepState::begin(now);
            state.attempt = old.saturating_add(NUMBERS_BETWEEN);
            state.facts.begun = start_run::WATCHED;
            state.wake_at = now + UNTIL_FIRST_LOOK;
            state.waiting_for = "what is run again to begin".to_owned();
            run.steps.insert(Queue::StartRun, state);
        }
        opened
    };
    let run = factory.ledger.update::<RunRecord>(&Key::run(&message.run), change).await?;
    if !opened {
        return Ok(());
    }
    // Its labs may have been found clean; they are looked into again.
    factory.ledger.forget_sweep(&run.run).await?;
    let first_look = |message| Envelope::at(message, now + UNTIL_FIRST_LOOK);
    let envelopes = awaited_of_run(&run).into_iter().map(first_look).collect();
    factory.outbox.send(envelopes).await.map_err(call_off::not_sent)
}

/// Overtakes a turn of the run that looked before the item began anew: it would end the run, and cleanup take the item's things away.
/// A turn that has ended the run already is seen by [`reopen`].
async fn overtake(factory: &Factory, message: &Message) -> Result<(), AzureError> {
    let mut goes_on = false;
    let change = |run: &mut RunRecord| {
        let state = run.steps.get_mut(&Queue::StartRun).filter(|state| state.ending.is_none());
        goes_on = state.is_some();
        if let Some(state) = state {
            state.written_ahead = state.written_ahead.saturating_add(1);
        }
        goes_on
    };
    let run = factory.ledger.update::<RunRecord>(&Key::run(&message.run), change).await?;
    if goes_on {
        // The turn that would send the run's next message may be the overtaken one.
        call_off::wake(factory, awaited_of_run(&run), time::Duration::ZERO).await?;
    }
    Ok(())
}

/// Puts a step back to its beginning, and those that follow it to before theirs.
fn put_back<R: Record>(record: &mut R, step: Queue, rerun: &Rerun, now: OffsetDateTime) {
    let following: &[Queue] = match step {
        Queue::CreateVm => &[Queue::CaptureImage, Queue::DeleteVm],
        Queue::CopyImage => &[Queue::RetireImages],
        _ => &[],
    };
    record.want_again();
    let steps = record.steps_mut();
    let old = steps.remove(&step);
    let mut state = StepState::begin(now);
    // What retired is told of all lives.
    let mut retired = old.iter().flat_map(|old| old.facts.retired.clone()).collect::<Vec<_>>();
    for next in following {
        retired.extend(steps.remove(next).into_iter().flat_map(|state| state.facts.retired));
    }
    state.facts.retired = retired;
    if let Some(old) = old {
        state.attempt = old.attempt.saturating_add(NUMBERS_BETWEEN);
        state.reruns = old.reruns;
    }
    state.reruns.push(rerun.id.clone());
    steps.insert(step, state);
}

fn has_ended<R: Record>(record: &R, step: Queue) -> bool {
    record.step(step).is_some_and(|state| state.ending.is_some())
}

/// What holds for every step: the same wish twice is one, and what goes on is left alone.
fn judge_step(state: Option<&StepState>, step: Queue, id: &AskingId) -> Verdict {
    match state {
        Some(state) if state.reruns.contains(id) => match state.ending {
            None => Verdict::Begun,
            Some(_) => Verdict::Leave("it was run again because of this, and has ended".to_owned()),
        },
        Some(StepState { ending: None, .. }) => Verdict::Leave(format!("{step} still goes on")),
        Some(_) => Verdict::Begin,
        None => Verdict::Leave(format!("{step} has not begun yet")),
    }
}

/// A step after which nothing comes.
fn judge_last<R: Record>(record: &R, step: Queue, id: &AskingId) -> Verdict {
    judge_step(record.step(step), step, id)
}

/// create-vm: only where there is no image, and once nothing is left of the first attempt.
fn judge_build(build: &BuildRecord, id: &AskingId) -> Verdict {
    let verdict = judge_step(build.step(Queue::CreateVm), Queue::CreateVm, id);
    if verdict != Verdict::Begin {
        return verdict;
    }
    if build.captured().is_some() {
        let reason = "it is captured: rerun copy-image where a lab lacks it, or start a run with --force";
        return Verdict::Leave(reason.to_owned());
    }
    if build.failure().is_none() {
        return Verdict::Leave("the build still goes on".to_owned());
    }
    if !has_ended(build, Queue::DeleteVm) {
        return Verdict::Wait("what the first attempt left is being deleted".to_owned());
    }
    Verdict::Begin
}

/// copy-image: not while its lab's old images retire because of it.
fn judge_copy(copy: &CopyRecord, id: &AskingId) -> Verdict {
    let verdict = judge_step(copy.step(Queue::CopyImage), Queue::CopyImage, id);
    let succeeded = copy.step(Queue::CopyImage).is_some_and(StepState::succeeded);
    if verdict == Verdict::Begin && succeeded && !has_ended(copy, Queue::RetireImages) {
        return Verdict::Wait("the lab's old images are being retired".to_owned());
    }
    verdict
}

#[cfg(test)]
mod tests;
