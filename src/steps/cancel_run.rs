//! cancel-run: a person's wish that a run ends. The run's own turns call off its builds and copies.

use std::time::Duration;

use super::{Factory, StepError, Told, call_off, turn, wish::Answer};
use crate::{
    azure::ErrorKind,
    domain::{Message, messages::CancelRun},
    ledger::{CallOffReason, CalledOff},
};

/// A run that was just asked for may not be known yet: so often it is looked for.
const MOST_LOOKS: u32 = 10;
/// Between two looks for it.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);

/// Handles a message of the queue `cancel-run`.
///
/// # Errors
/// If the ledger refuses for good, or a message cannot be sent.
pub async fn handle(factory: &Factory, message: &Message, cancel: &CancelRun) -> Result<Answer, StepError> {
    let given = |told| Ok(Answer::for_good(cancel.id.as_ref(), told));
    let now = factory.clock.now();
    let called_off = CalledOff { reason: CallOffReason::Cancelled { by: cancel.by.to_string() }, at: now };
    let run = &message.run;
    match call_off::run(factory, run, &called_off).await {
        Ok(true) => given(format!("run {run} is cancelled; what it does ends by itself")),
        Ok(false) => given(format!("run {run} had ended before: nothing is changed")),
        Err(error) if error.kind == ErrorKind::NotFound && message.attempt < MOST_LOOKS => {
            turn::again(factory, message, now + BETWEEN_LOOKS).await?;
            Ok(Answer::Waits(Told(format!("run {run} is not known yet; looked for again"))))
        }
        Err(error) if error.kind == ErrorKind::NotFound => given(super::unknown_run(run)),
        Err(error) => turn::later(factory, message, &error).await.map(Answer::Waits),
    }
}
