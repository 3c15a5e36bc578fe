//! What can go wrong, in the classes that callers decide on.

/// An error of Service Bus or of the way to it.
///
/// The conditions are those of <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-troubleshoot>.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The queue does not exist (`amqp:not-found`).
    #[error("the messaging entity was not found: {0}")]
    NotFound(String),
    /// The key, token or role does not allow this (`amqp:unauthorized-access`, or `$cbs` refused the token).
    #[error("not authorized: {0}")]
    Unauthorized(String),
    /// The lock of the message ran out or belongs to an older delivery: somebody else may have the message now.
    #[error("the lock of the message is lost: {0}")]
    LockLost(String),
    /// The message is larger than the queue takes.
    #[error("the message is too large: {0}")]
    MessageTooLarge(String),
    /// The queue or the namespace is full.
    #[error("quota exceeded: {0}")]
    QuotaExceeded(String),
    /// The namespace throttles; try again later.
    #[error("Service Bus is busy: {0}")]
    ServerBusy(String),
    /// There is no connection, or it broke in the middle; what was asked may or may not have happened.
    #[error("connection to Service Bus: {0}")]
    Connection(String),
    /// No answer came within the operation's time.
    #[error("Service Bus did not answer in time: {0}")]
    Timeout(String),
    /// The connection string cannot be used. The text never holds the key.
    #[error("bad Service Bus connection string: {0}")]
    BadConnectionString(String),
    /// Service Bus answered with something else than the protocol or this client foresees.
    #[error("Service Bus protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the same call may succeed a little later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connection(_) | Self::Timeout(_) | Self::ServerBusy(_))
    }

    /// The class of an AMQP error condition.
    pub(crate) fn from_condition(condition: &str, description: &str) -> Self {
        let text = if description.is_empty() {
            condition.to_owned()
        } else {
            format!("{description} ({condition})")
        };
        match condition {
            "amqp:not-found" | "com.microsoft:entity-disabled" => Self::NotFound(text),
            "amqp:unauthorized-access" | "com.microsoft:auth-failed" => Self::Unauthorized(text),
            "com.microsoft:message-lock-lost" | "com.microsoft:session-lock-lost" => Self::LockLost(text),
            "amqp:link:message-size-exceeded" => Self::MessageTooLarge(text),
            "amqp:resource-limit-exceeded" => Self::QuotaExceeded(text),
            "com.microsoft:server-busy" => Self::ServerBusy(text),
            "com.microsoft:timeout" => Self::Timeout(text),
            "amqp:connection:forced"
            | "amqp:connection:framing-error"
            | "amqp:link:detach-forced"
            | "amqp:internal-error"
            | "com.microsoft:operation-cancelled" => Self::Connection(text),
            _ => Self::Protocol(text),
        }
    }
}
