//! Messages as callers see them.

use std::{collections::BTreeMap, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

mod decode;
mod encode;
#[cfg(test)]
mod tests;

pub(crate) use decode::received;
pub(crate) use decode::{decoded, moment};
pub(crate) use encode::{batch, encoded, envelope};

/// A message to send.
///
/// See <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-messages-payloads>.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceBusMessage {
    /// The payload; sent as one AMQP data section.
    pub body: Vec<u8>,
    /// At most 128 characters; queues with duplicate detection drop a second message with the same id.
    pub message_id: Option<String>,
    /// A media type such as `application/json`.
    pub content_type: Option<String>,
    /// What the message is about ("label" in older clients).
    pub subject: Option<String>,
    /// Ties a message to an earlier one.
    pub correlation_id: Option<String>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
    /// Where the message shall go; Service Bus itself does not look at it.
    pub to: Option<String>,
    /// The session; queues without sessions ignore it.
    pub session_id: Option<String>,
    /// Chooses the partition in a partitioned queue.
    pub partition_key: Option<String>,
    /// How long the message lives from its enqueued time on; the queue's default caps it.
    pub time_to_live: Option<Duration>,
    /// The time (UTC) at which the message becomes visible; `None` is at once.
    pub scheduled_enqueue_time: Option<OffsetDateTime>,
    /// The sender's own properties.
    pub application_properties: BTreeMap<String, PropertyValue>,
}

impl ServiceBusMessage {
    /// A message with this payload and nothing else.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }
}

impl From<&str> for ServiceBusMessage {
    fn from(body: &str) -> Self {
        Self::new(body)
    }
}

/// The value of an application property.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // each variant is the AMQP type of its name
pub enum PropertyValue {
    #[default]
    Null,
    Bool(bool),
    U8(u8),
    U16(u16),
    U32(u32),
    U64(u64),
    I8(i8),
    I16(i16),
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
    Char(char),
    /// To the millisecond.
    Timestamp(OffsetDateTime),
    Uuid(Uuid),
    Binary(Vec<u8>),
    String(String),
    /// A value of a type without a variant of its own (decimals, .NET's time spans), as text. Sent as a string.
    Other(String),
}

impl PropertyValue {
    /// The text, if this is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Other(text) => Some(text),
            _ => None,
        }
    }
}

macro_rules! property_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for PropertyValue {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
property_from!(&str => String, String => String, bool => Bool, i32 => I32, i64 => I64, u32 => U32, u64 => U64, f64 => F64,
    OffsetDateTime => Timestamp, Uuid => Uuid, Vec<u8> => Binary);

/// A message that came from Service Bus.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedMessage {
    /// The payload: the data sections joined, or the AMQP value if it is a string or binary.
    pub body: Vec<u8>,
    /// The sender's message id.
    pub message_id: Option<String>,
    /// A media type such as `application/json`.
    pub content_type: Option<String>,
    /// What the message is about.
    pub subject: Option<String>,
    /// Ties a message to an earlier one.
    pub correlation_id: Option<String>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
    /// Where the message shall go.
    pub to: Option<String>,
    /// The session.
    pub session_id: Option<String>,
    /// The session that an answer shall have.
    pub reply_to_session_id: Option<String>,
    /// The partition key.
    pub partition_key: Option<String>,
    /// How long the message lives; `None` is for ever.
    pub time_to_live: Option<Duration>,
    /// When the message was or will be made visible, if it was scheduled.
    pub scheduled_enqueue_time: Option<OffsetDateTime>,
    /// The sender's own properties; on a dead-lettered message also `DeadLetterReason` and `DeadLetterErrorDescription`.
    pub application_properties: BTreeMap<String, PropertyValue>,
    /// Names this delivery's lock; nil when the message was peeked, or received and deleted.
    pub lock_token: Uuid,
    /// When the lock ends, by the broker's clock.
    pub locked_until: Option<OffsetDateTime>,
    /// 1 on the first delivery, as every Service Bus client counts.
    pub delivery_count: u32,
    /// The broker's number of the message, unique in the queue.
    pub sequence_number: i64,
    /// The number that the message had in the queue it was first sent to.
    pub enqueued_sequence_number: Option<i64>,
    /// When the broker took the message, or made a scheduled one visible.
    pub enqueued_time: Option<OffsetDateTime>,
    /// When the message expires: its enqueued time plus its time to live.
    pub expires_at: Option<OffsetDateTime>,
    /// The queue that the message was in when it was dead-lettered.
    pub dead_letter_source: Option<String>,
    /// Why the message was dead-lettered.
    pub dead_letter_reason: Option<String>,
    /// More about why.
    pub dead_letter_description: Option<String>,
    /// `Active`, `Deferred` or `Scheduled`.
    pub state: MessageState,
    /// Which delivery of which link; `None` where only the lock token can settle it.
    pub(crate) delivery: Option<Delivery>,
}

/// Where in its life a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MessageState {
    /// Ready to be received, or received.
    #[default]
    Active,
    /// Put aside; only its sequence number brings it back.
    Deferred,
    /// Not visible yet.
    Scheduled,
}

/// Names a delivery: the link it came over and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) link: u64,
    pub(crate) id: u32,
}

impl Default for ReceivedMessage {
    /// An empty message that cannot be settled, for tests of code that takes messages.
    fn default() -> Self {
        Self {
            body: Vec::new(),
            message_id: None,
            content_type: None,
            subject: None,
            correlation_id: None,
            reply_to: None,
            to: None,
            session_id: None,
            reply_to_session_id: None,
            partition_key: None,
            time_to_live: None,
            scheduled_enqueue_time: None,
            application_properties: BTreeMap::new(),
            lock_token: Uuid::nil(),
            locked_until: None,
            delivery_count: 0,
            sequence_number: 0,
            enqueued_sequence_number: None,
            enqueued_time: None,
            expires_at: None,
            dead_letter_source: None,
            dead_letter_reason: None,
            dead_letter_description: None,
            state: MessageState::Active,
            delivery: None,
        }
    }
}
