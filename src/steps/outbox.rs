//! Where steps put their messages.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::domain::Message;

/// A message on its way to its queue.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The message.
    pub message: Message,
    /// When it shall become visible; at once where `None`.
    pub at: Option<OffsetDateTime>,
    /// Set where the same message was sent before and may be lost: keeps duplicate detection from dropping this one.
    pub recovery: Option<String>,
}

impl Envelope {
    /// A message for now.
    pub fn now(message: Message) -> Self {
        Self { message, at: None, recovery: None }
    }

    /// A message for later.
    pub fn at(message: Message, at: OffsetDateTime) -> Self {
        Self { message, at: Some(at), recovery: None }
    }

    /// The broker's MessageId, the same for the same message.
    pub fn message_id(&self) -> String {
        let id = self.message.message_id();
        match &self.recovery {
            Some(recovery) => format!("{id}.{recovery}"),
            None => id,
        }
    }
}

/// The queues, for sending.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Sends `envelopes`, each to its message's queue. After an error some may have been sent.
    ///
    /// # Errors
    /// If the broker did not take one.
    async fn send(&self, envelopes: Vec<Envelope>) -> Result<(), OutboxError>;
}

/// A message could not be sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot send to queue {queue}: {reason}")]
pub struct OutboxError {
    /// The queue.
    pub queue: String,
    /// What the broker said.
    pub reason: String,
}
