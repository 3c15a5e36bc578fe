//! What the broker refuses, with the AMQP conditions of the real service.

/// A refusal.
///
/// Conditions: <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot>.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    /// No queue of that name.
    #[error("The messaging entity '{0}' could not be found.")]
    EntityNotFound(String),
    /// The lock ran out, was settled, or never was.
    #[error(
        "The lock supplied is invalid. Either the lock expired, or the message has already been removed from the queue."
    )]
    LockLost,
    /// No message of that number in the state that the operation asks for.
    #[error("The message with sequence number {0} could not be found.")]
    MessageNotFound(i64),
    /// Larger than the queue takes.
    #[error(
        "The received message (size: {size} bytes) exceeds the limit ({limit} bytes) currently allowed on the link."
    )]
    MessageTooLarge {
        /// Bytes of the message.
        size: u64,
        /// Bytes that the queue takes.
        limit: u64,
    },
    /// The entity lacks what the operation asks for, or the request makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// An operation that a queue without sessions, or this kind of entity, does not have.
    #[error("{0}")]
    NotAllowed(String),
}

impl BrokerError {
    pub(crate) fn not_found(entity: &str) -> Self {
        Self::EntityNotFound(entity.to_owned())
    }

    /// The AMQP error condition.
    pub fn condition(&self) -> &'static str {
        match self {
            Self::EntityNotFound(_) => "amqp:not-found",
            Self::LockLost => "com.microsoft:message-lock-lost",
            Self::MessageNotFound(_) => "com.microsoft:message-not-found",
            Self::MessageTooLarge { .. } => "amqp:link:message-size-exceeded",
            Self::BadRequest(_) => "com.microsoft:argument-error",
            Self::NotAllowed(_) => "amqp:not-allowed",
        }
    }

    /// The status code of a `$management` answer.
    pub fn status(&self) -> i32 {
        match self {
            Self::EntityNotFound(_) | Self::MessageNotFound(_) => 404,
            Self::LockLost => 410,
            Self::MessageTooLarge { .. } | Self::BadRequest(_) | Self::NotAllowed(_) => 400,
        }
    }
}
