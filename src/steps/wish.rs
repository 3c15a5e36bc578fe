//! A wish: a message that a person sent about what is there already, to cancel a run, to pin an image, to run a step again.
//!
//! It is on record before anything is done, and kept until it is answered: should the message be lost in which it waits, cleanup
//! sends it again.

use tracing::warn;

use super::{Factory, StepError, Told, cancel_run, pin_image, rerun, turn};
use crate::{
    domain::{
        Message,
        messages::{AskingId, CancelRun, PinImage, Rerun, Step},
    },
    ledger::AuditLine,
};

/// What became of a wish.
#[derive(Debug)]
pub enum Answer {
    /// This was done; the same message again does no harm.
    Given(Told),
    /// This was done, or nothing, and nothing more is to be done should the same message come again once things stand otherwise.
    Settled(Told),
    /// Nobody can say yet: its message comes again.
    Waits(Told),
}

impl Answer {
    /// What came of a wish that is told from others like it by this id. Without one, who asks for the same again may mean it.
    pub fn for_good(id: Option<&AskingId>, told: String) -> Self {
        match id {
            Some(_) => Self::Settled(Told(told)),
            None => Self::Given(Told(told)),
        }
    }
}

/// What a person wishes.
#[derive(Clone, Copy, Debug)]
pub enum Wish<'a> {
    /// That a step is run again.
    Rerun(&'a Rerun),
    /// That a run ends.
    Cancel(&'a CancelRun),
    /// That an image is kept, or no longer.
    Pin(&'a PinImage),
}

/// Whether a message is a wish. A run that a person starts is none: it has a document of its own, and a report.
pub fn is_wish(message: &Message) -> bool {
    message.rerun.is_some() || matches!(message.step, Step::CancelRun(_) | Step::PinImage(_))
}

/// Handles a wish.
///
/// # Errors
/// If the ledger refuses for good, or a message cannot be sent.
pub async fn take(factory: &Factory, message: &Message, wish: Wish<'_>) -> Result<Told, StepError> {
    // Before anything is done: nothing is done that is not on record.
    match factory.ledger.note_asked(message, factory.clock.now()).await {
        Ok(Some(AuditLine { settled: true, outcome, .. })) => {
            forget(factory, message).await;
            return Ok(Told(format!("answered before: {}", outcome.unwrap_or_default())));
        }
        Ok(_) => {}
        Err(error) => return turn::later(factory, message, &error).await,
    }
    if let Err(error) = factory.ledger.keep_wish(message, factory.clock.now()).await {
        return turn::later(factory, message, &error).await;
    }
    let answer = match wish {
        Wish::Rerun(rerun) => rerun::handle(factory, message, rerun).await,
        Wish::Cancel(cancel) => cancel_run::handle(factory, message, cancel).await,
        Wish::Pin(pin) => pin_image::handle(factory, message, pin).await,
    }?;
    let (is_settled, waits) = (matches!(answer, Answer::Settled(_)), matches!(answer, Answer::Waits(_)));
    let (Answer::Given(told) | Answer::Settled(told) | Answer::Waits(told)) = answer;
    match factory.ledger.note_outcome(message, &told.0, is_settled).await {
        // A later copy of the message must not do it, once things stand otherwise.
        Err(error) if is_settled => return turn::later(factory, message, &error).await,
        // It is done: a word about it that is lost is no reason to do it again.
        Err(error) => warn!(%error, "what came of it is not noted"),
        Ok(()) => {}
    }
    if !waits {
        forget(factory, message).await;
    }
    Ok(told)
}

/// An answered wish that stays in the ledger comes once more, and is told the same.
async fn forget(factory: &Factory, message: &Message) {
    if let Err(error) = factory.ledger.forget_wish(message).await {
        warn!(%error, "an answered wish is not forgotten; cleanup sends it once more");
    }
}
