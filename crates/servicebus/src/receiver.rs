//! Receiving from one queue.
use std::time::Duration;

use time::OffsetDateTime;

use crate::{ReceivedMessage, Result, client::unfinished};

/// What receiving does to a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveMode {
    /// The message is locked for this receiver until it is settled or the lock ends.
    #[default]
    PeekLock,
    /// The message is gone from the queue as soon as it is sent to this receiver.
    ReceiveAndDelete,
}

/// A part of a queue with messages of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubQueue {
    /// `queue/$DeadLetterQueue`.
    DeadLetter,
}

/// How a receiver receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// Peek-lock unless said otherwise.
    pub mode: ReceiveMode,
    /// The queue itself if `None`.
    pub sub_queue: Option<SubQueue>,
}

/// Receives from one queue. Cheap to clone; may be used from many tasks at once.
#[derive(Clone, Debug)]
pub struct Receiver {}

#[allow(missing_docs)]
impl Receiver {
    pub async fn receive(&self, _max: usize, _max_wait: Duration) -> Result<Vec<ReceivedMessage>> {
        Err(unfinished())
    }
    pub async fn complete(&self, _message: &ReceivedMessage) -> Result<()> {
        Err(unfinished())
    }
    pub async fn abandon(&self, _message: &ReceivedMessage) -> Result<()> {
        Err(unfinished())
    }
    pub async fn dead_letter(
        &self,
        _message: &ReceivedMessage,
        _reason: &str,
        _description: &str,
    ) -> Result<()> {
        Err(unfinished())
    }
    pub async fn defer(&self, _message: &ReceivedMessage) -> Result<()> {
        Err(unfinished())
    }
    pub async fn receive_deferred(&self, _sequence_numbers: &[i64]) -> Result<Vec<ReceivedMessage>> {
        Err(unfinished())
    }
    pub async fn renew_lock(&self, _message: &ReceivedMessage) -> Result<OffsetDateTime> {
        Err(unfinished())
    }
    pub async fn peek(&self, _from_sequence: i64, _max: usize) -> Result<Vec<ReceivedMessage>> {
        Err(unfinished())
    }
}
