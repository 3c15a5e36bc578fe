//! A turn: what happens around a step's own work in one invocation.
//!
//! 1. Read the item. Is it this message's turn? A copy of an earlier message changes nothing; a copy of the last one only
//!    repeats what that one sent, in case it died before sending.
//! 2. Let the step look, decide and act.
//! 3. Trouble that passes is a longer wait. Trouble that stays, or a missed deadline, is a failure: then what was half made
//!    is taken back first.
//! 4. Write the ledger, then send the next message, then answer. Dying between any two is repaired by redelivery.

use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tracing::{info, warn};

use super::{Envelope, Factory, OutboxError, pace, wish};
use crate::{
    azure::{AzureError, ErrorKind},
    domain::{Message, Queue},
    ledger::{Ending, Failure, Key, Record, StepState},
    telemetry,
};

/// How long taking back what was half made may take before the failure is reported without it.
const TAKE_BACK_DEADLINE: time::Duration = time::Duration::hours(2);
/// How often in a row a refused key is looked up again before the refusal counts.
const KEY_TRIES: u32 = 3;
/// The storage service's codes for a wrong signature: of the call, and of a copy's source.
const KEY_REFUSED_CODES: [&str; 2] = ["AuthenticationFailed", "CannotVerifyCopySource"];
/// The factory's own code for a missed deadline.
const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

/// What a step found.
#[derive(Debug)]
pub enum Next {
    /// Not there yet: look again after this.
    Wait {
        /// The time until the next look.
        after: Duration,
        /// What is waited for, in words for people.
        waiting_for: String,
    },
    /// What the message asks for is true.
    Succeeded,
    /// It cannot become true.
    Failed(Failure),
}

impl Next {
    /// Look again `after` this.
    pub fn wait(after: Duration, waiting_for: impl Into<String>) -> Self {
        Self::Wait { after, waiting_for: waiting_for.into() }
    }
}

/// How far taking back what a step made has come.
#[derive(Debug)]
pub enum TakenBack {
    /// Nothing of it is left.
    All,
    /// Not done yet: look again after this.
    Goes(Duration),
    /// What the step was to make is there after all, only late: it stays, and the step has succeeded.
    Stands,
}

/// A step, as the turn sees it.
#[async_trait]
pub trait ItemStep: Send + Sync {
    /// The document of the item that it works on.
    type Record: Record;
    /// Its name.
    const STEP: Queue;

    /// Whether it ends where its item is called off: so do the steps that make something.
    const CAN_BE_CALLED_OFF: bool = false;

    /// How long it may take.
    fn deadline(&self, record: &Self::Record) -> Duration;

    /// Looks, decides and acts once. `state` is written to the ledger afterwards.
    ///
    /// # Errors
    /// What Azure refused: transient trouble waits, everything else fails the item.
    async fn advance(
        &self,
        factory: &Factory,
        record: &Self::Record,
        state: &mut StepState,
    ) -> Result<Next, AzureError>;

    /// Whether it is too late to call the step off: it goes on then, and is soon over.
    ///
    /// # Errors
    /// As of [`Self::advance`].
    async fn is_past_recall(
        &self,
        _factory: &Factory,
        _record: &Self::Record,
        _state: &StepState,
    ) -> Result<bool, AzureError> {
        Ok(false)
    }

    /// Takes away what was half made, before a failure is reported.
    ///
    /// # Errors
    /// What Azure refused; it is tried again until [`TAKE_BACK_DEADLINE`].
    async fn take_back(
        &self,
        _factory: &Factory,
        _record: &Self::Record,
        _state: &mut StepState,
    ) -> Result<TakenBack, AzureError> {
        Ok(TakenBack::All)
    }

    /// The messages that follow message number `attempt`, besides the step's own next one. A function of the ledger alone,
    /// so that a redelivered message can repeat them.
    fn follow_ups(&self, record: &Self::Record, state: &StepState, attempt: u32) -> Vec<Message>;

    /// How long one of the [follow-ups](Self::follow_ups) waits for its place among its siblings, the same at every repetition.
    fn slot(&self, _record: &Self::Record, _follow_up: &Message) -> Duration {
        Duration::ZERO
    }
}

/// What an invocation did, in a line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told(pub String);

/// Why an invocation fails, so that its message is delivered again and, if that does not help, dead-lettered.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The message is about something that the ledger does not know.
    #[error(
        "message {message_id} is about {key}, which is not in the ledger: it was sent by hand or the ledger was emptied"
    )]
    UnknownItem {
        /// The message.
        message_id: String,
        /// The document that it needs.
        key: String,
    },
    /// The ledger refuses, or the document that the message is about cannot be read by this program: waiting will not mend
    /// it. The message ends where dead letters are seen; once people have mended it, cleanup finds the item overdue.
    #[error("{0}")]
    Ledger(AzureError),
    /// The message could not be sent again, and nothing of its turn is in the ledger.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// What follows could not be sent. The ledger has the turn: another delivery repeats it, and so does cleanup.
    #[error(transparent)]
    Unsent(OutboxError),
}

/// Whose turn it is.
#[derive(Debug)]
enum Place {
    /// This message's.
    Turn(Box<StepState>),
    /// The message was handled; what it sent may not have gone out.
    Repeat(Box<StepState>),
    /// The message was handled long ago, or belongs to an earlier life of a step that is not due again yet.
    Stale,
}

/// Whether a step has begun or is to begin. One that has not may have had another life, before the item was run again.
fn is_due<R: Record>(record: &R, step: Queue) -> bool {
    record.step(step).is_some() || record.due().iter().any(|(due, _)| *due == step)
}

/// Decides whose turn it is. `state.attempt` is the number of the message that the step waits for, or that ended it.
fn place<R: Record>(record: &R, step: Queue, attempt: u32, now: OffsetDateTime) -> Place {
    let Some(state) = record.step(step) else {
        return if is_due(record, step) {
            Place::Turn(Box::new(StepState::begin(now)))
        } else {
            Place::Stale
        };
    };
    let boxed = || Box::new(state.clone());
    match &state.ending {
        Some(_) if attempt >= state.attempt => Place::Repeat(boxed()),
        Some(_) => Place::Stale,
        // A later number than expected: its predecessor could not write the ledger and only sent the next message.
        None if attempt >= state.attempt => Place::Turn(boxed()),
        None if attempt.saturating_add(1) == state.attempt => Place::Repeat(boxed()),
        None => Place::Stale,
    }
}

/// Takes the turn of `message` for `step`'s item, whose document is `key`.
pub async fn take<S: ItemStep>(
    factory: &Factory,
    step: &S,
    key: &Key,
    message: &Message,
) -> Result<Told, StepError> {
    let now = factory.clock.now();
    let (record, etag) = match factory.ledger.read::<S::Record>(key).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            return Err(StepError::UnknownItem { message_id: message.message_id(), key: key.to_string() });
        }
        Err(error) => return later(factory, message, &error).await,
    };
    let mut state = match place(&record, S::STEP, message.attempt, now) {
        Place::Stale => {
            return Ok(Told("a copy of this message was handled long ago, or the step is not due".into()));
        }
        Place::Repeat(state) => {
            send(factory, step, &record, &state, message).await?;
            return Ok(Told("handled before; its messages are repeated".into()));
        }
        Place::Turn(state) => *state,
    };
    // Whatever was expected, this is the message whose turn it is.
    state.attempt = message.attempt;
    let written_ahead = state.written_ahead;
    let found = advance(factory, step, &record, &mut state, now).await;
    let told = conclude(&mut state, message, found, factory.clock.now());

    let mut lost = false;
    let change = |stored: &mut S::Record| {
        lost = !put(stored, S::STEP, &state, state.written_ahead, message.attempt);
        !lost
    };
    // What was written ahead made what was read an old version: it would look as if another invocation had written that.
    let known = (state.written_ahead == written_ahead).then_some((record, etag));
    match factory.ledger.update_read::<S::Record>(key, known, change).await {
        Ok(_) if lost => Ok(Told("another invocation was faster".into())),
        Ok(record) => {
            factory.traces.told(message, &state);
            send(factory, step, &record, &state, message).await?;
            Ok(told)
        }
        Err(error) => later(factory, message, &error).await,
    }
}

/// Puts a step's state into its item's document, where it wrote ahead `written_ahead` times so far. `false`: another invocation
/// took this turn meanwhile; then its state stands, and it sends the next message. Should it die first, its own message comes again.
/// So too where the item was run again meanwhile, and the step is not due any more.
fn put<R: Record>(stored: &mut R, step: Queue, state: &StepState, written_ahead: u32, attempt: u32) -> bool {
    let is_ahead = |theirs: &StepState| {
        theirs.attempt > attempt || theirs.ending.is_some() || theirs.written_ahead != written_ahead
    };
    let lost = stored.step(step).map_or(!is_due(stored, step), is_ahead);
    if !lost {
        stored.steps_mut().insert(step, state.clone());
    }
    !lost
}

/// Writes the state of a step down before it does something of which Azure shows no trace afterwards: what is deleted would
/// otherwise be told nowhere, should the invocation die before its end. `false`: another invocation has taken this turn
/// meanwhile, or the step was called off, so this one must not do it.
///
/// # Errors
/// If the ledger refuses: then the step must not do it now.
pub async fn write_ahead<S: ItemStep>(
    factory: &Factory,
    key: &Key,
    state: &mut StepState,
) -> Result<bool, AzureError> {
    let next = StepState { written_ahead: state.written_ahead.saturating_add(1), ..state.clone() };
    let mut lost = false;
    let change = |stored: &mut S::Record| {
        let is_called_off = S::CAN_BE_CALLED_OFF && stored.called_off().is_some();
        lost = is_called_off || !put(stored, S::STEP, &next, state.written_ahead, state.attempt);
        !lost
    };
    factory.ledger.update::<S::Record>(key, change).await?;
    if !lost {
        *state = next;
    }
    Ok(!lost)
}

/// Lets the step work, and turns trouble and missed deadlines into waits and failures.
async fn advance<S: ItemStep>(
    factory: &Factory,
    step: &S,
    record: &S::Record,
    state: &mut StepState,
    now: OffsetDateTime,
) -> Next {
    if state.failing.is_none() {
        let next = match work(factory, step, record, state).await {
            Ok(next) => {
                state.troubles = 0;
                next
            }
            Err(error) => match error.kind {
                ErrorKind::Transient { retry_after } => trouble(S::STEP, state, &error, retry_after),
                _ if is_key_refused(&error) && state.troubles < KEY_TRIES => {
                    factory.storages.forget(&record.labs());
                    trouble(S::STEP, state, &error, None)
                }
                _ => Next::Failed(error.into()),
            },
        };
        let failure = match next {
            Next::Failed(failure) => failure,
            Next::Wait { waiting_for, .. } if now - state.started_at > step.deadline(record) => {
                let hours = step.deadline(record).as_secs_f64() / 3600.0;
                let message =
                    format!("{} did not end within {hours:.1} h; it waited for: {waiting_for}", S::STEP);
                Failure::new(DEADLINE_EXCEEDED, message)
            }
            next => return next,
        };
        warn!(step = %S::STEP, %failure, "failed; what was half made is taken back");
        state.failing = Some(failure);
        state.failing_since = Some(now);
        state.troubles = 0;
    }
    let since = state.failing_since.unwrap_or(now);
    let failure = state.failing.clone().unwrap_or_else(|| Failure::new("Unknown", "no reason was kept"));
    if now - since > TAKE_BACK_DEADLINE {
        return Next::Failed(failure);
    }
    match step.take_back(factory, record, state).await {
        Ok(TakenBack::All) => Next::Failed(failure),
        Ok(TakenBack::Stands) => Next::Succeeded,
        Ok(TakenBack::Goes(after)) => {
            Next::wait(after, format!("taking back what was half made after: {failure}"))
        }
        Err(error) => {
            if is_key_refused(&error) {
                factory.storages.forget(&record.labs());
            }
            let asked = match error.kind {
                ErrorKind::Transient { retry_after } => retry_after,
                _ => None,
            };
            trouble(S::STEP, state, &error, asked)
        }
    }
}

/// Lets the step work, unless it was called off in time.
async fn work<S: ItemStep>(
    factory: &Factory,
    step: &S,
    record: &S::Record,
    state: &mut StepState,
) -> Result<Next, AzureError> {
    if S::CAN_BE_CALLED_OFF
        && let Some(called_off) = record.called_off()
        && !step.is_past_recall(factory, record, state).await?
    {
        return Ok(Next::Failed(called_off.failure()));
    }
    step.advance(factory, record, state).await
}

/// Whether a storage account refused a key, or a SAS signed with it: it was rotated since it was looked up.
fn is_key_refused(error: &AzureError) -> bool {
    matches!(error.status, Some(401 | 403)) && KEY_REFUSED_CODES.contains(&error.code.as_str())
}

fn trouble(step: Queue, state: &mut StepState, error: &AzureError, asked: Option<Duration>) -> Next {
    telemetry::retried(step, &error.code);
    let after = pace::after_trouble(state.troubles, asked);
    state.troubles += 1;
    Next::wait(after, format!("trouble that should pass: {error}"))
}

/// Writes what was found into the state.
fn conclude(state: &mut StepState, message: &Message, next: Next, now: OffsetDateTime) -> Told {
    let step = message.queue();
    let ending = match next {
        Next::Wait { after, waiting_for } => {
            let spread = if state.troubles > 0 { pace::spread } else { pace::spread_little };
            let after = spread(after, &message.message_id());
            state.attempt = message.attempt.saturating_add(1);
            state.wake_at = now + after;
            state.waiting_for = waiting_for;
            info!(%step, seconds = after.as_secs(), waiting_for = state.waiting_for, "waits");
            return Told(format!("waits {} s for: {}", after.as_secs(), state.waiting_for));
        }
        Next::Succeeded => Ending::Succeeded,
        Next::Failed(failure) => Ending::Failed { failure },
    };
    let told = match &ending {
        Ending::Succeeded => "succeeded".to_owned(),
        Ending::Failed { failure } => format!("failed: {failure}"),
    };
    let code = match &ending {
        Ending::Succeeded => None,
        Ending::Failed { failure } => Some(failure.code.as_str()),
    };
    let seconds = (state.ended_at.unwrap_or(now) - state.started_at).whole_seconds();
    info!(%step, ending = told, code, seconds, "ended");
    state.attempt = message.attempt;
    state.ended_at.get_or_insert(now);
    state.waiting_for.clear();
    state.failing = None;
    state.failing_since = None;
    state.ending = Some(ending);
    Told(told)
}

/// Sends what follows from the ledger: the step's own next message, or those of the steps after it.
async fn send<S: ItemStep>(
    factory: &Factory,
    step: &S,
    record: &S::Record,
    state: &StepState,
    message: &Message,
) -> Result<(), StepError> {
    let follow_ups = step.follow_ups(record, state, message.attempt);
    let envelope = |follow_up: Message| match step.slot(record, &follow_up) {
        Duration::ZERO => Envelope::now(follow_up),
        slot => Envelope::at(follow_up, factory.clock.now() + slot),
    };
    let mut envelopes: Vec<Envelope> = follow_ups.into_iter().map(envelope).collect();
    if state.ending.is_none() {
        envelopes.push(Envelope::at(message.numbered(state.attempt), state.wake_at));
    }
    if !envelopes.is_empty() {
        factory.outbox.send(envelopes).await.map_err(StepError::Unsent)?;
    }
    Ok(())
}

/// The ledger cannot be reached: nothing can be decided, so the message comes again later.
///
/// # Errors
/// If the ledger refuses for good, the document is none that this program can read, or the message cannot be sent.
pub async fn later(factory: &Factory, message: &Message, error: &AzureError) -> Result<Told, StepError> {
    let ErrorKind::Transient { retry_after: asked } = error.kind else {
        return Err(StepError::Ledger(error.clone()));
    };
    let next = message.numbered(message.attempt.saturating_add(1));
    let after = pace::spread(pace::after_trouble(message.attempt, asked), &next.message_id());
    warn!(%error, seconds = after.as_secs(), "the ledger cannot be used; waits");
    telemetry::retried(message.queue(), &error.code);
    again(factory, message, factory.clock.now() + after).await?;
    Ok(Told(format!("waits {} s for the ledger: {error}", after.as_secs())))
}

/// Sends a message again, with the next number, to come at this moment; of a wish the ledger is told so first.
///
/// # Errors
/// If the message cannot be sent.
pub async fn again(factory: &Factory, message: &Message, at: OffsetDateTime) -> Result<(), OutboxError> {
    let next = message.numbered(message.attempt.saturating_add(1));
    if wish::is_wish(message)
        && let Err(error) = factory.ledger.keep_wish(&next, at).await
    {
        warn!(%error, "Service Bus alone remembers that a wish waits");
    }
    factory.outbox.send(vec![Envelope::at(next, at)]).await
}

#[cfg(test)]
mod tests;
