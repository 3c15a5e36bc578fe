//! Where messages come from and go to. The host only knows these traits; [`service_bus`] implements them over AMQP, and a
//! test or a simulation may implement them in memory.

mod service_bus;

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use std::{sync::Arc, time::Duration};

use crate::{bindings::EntityPath, payload::service_bus::Message, settings::Connection};

pub use service_bus::ServiceBus;

/// Opens queues and topics.
pub trait Messaging: Send + Sync + 'static {
    /// Receives from an entity in peek-lock mode. Connects when first used.
    ///
    /// # Errors
    /// If the connection cannot be used at all.
    fn source(
        &self,
        connection: &Connection,
        entity: &EntityPath,
    ) -> Result<Arc<dyn MessageSource>, MessagingError>;

    /// Sends to an entity. Connects when first used.
    ///
    /// # Errors
    /// If the connection cannot be used at all.
    fn sink(
        &self,
        connection: &Connection,
        entity: &EntityPath,
    ) -> Result<Arc<dyn MessageSink>, MessagingError>;
}

/// A message that is locked for this host.
#[derive(Clone, Debug, PartialEq)]
pub struct LockedMessage {
    /// What the function sees; its lock token names the lock.
    pub message: Message,
    /// When the lock ends, by the broker's clock.
    pub locked_until: OffsetDateTime,
}

/// Receives and settles the messages of one entity.
#[async_trait]
pub trait MessageSource: Send + Sync {
    /// Waits up to `max_wait` (real time) for a message and takes at most `max`; none came if the answer is empty.
    async fn receive(&self, max: usize, max_wait: Duration) -> Result<Vec<LockedMessage>, MessagingError>;
    /// Removes a message from the queue.
    async fn complete(&self, lock: Uuid) -> Result<(), MessagingError>;
    /// Gives a message back, at once and with a higher delivery count.
    async fn abandon(&self, lock: Uuid) -> Result<(), MessagingError>;
    /// Renews a lock; when it ends now.
    async fn renew(&self, lock: Uuid) -> Result<OffsetDateTime, MessagingError>;
}

/// A message that a function sends through an output binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The body's text.
    pub body: String,
    /// The invocation that sent it; the application property `$AzureWebJobsParentId`.
    pub parent_id: Uuid,
}

/// Sends messages to one entity.
#[async_trait]
pub trait MessageSink: Send + Sync {
    /// Sends all messages, in order.
    async fn send(&self, messages: Vec<OutgoingMessage>) -> Result<(), MessagingError>;
}

/// Something did not work with the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MessagingError(pub String);
