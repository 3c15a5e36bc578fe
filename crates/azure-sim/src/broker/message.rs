//! Messages as the broker keeps and hands them out.

use std::time::Duration;

use fe2o3_amqp_types::{
    messaging::{
        ApplicationProperties, Body, Data, DeliveryAnnotations, Header, Message, MessageAnnotations,
        MessageId, Properties,
        annotations::OwnedKey,
        message::__private::{Deserializable, Serializable},
    },
    primitives::{OrderedMap, SimpleValue, Symbol, Timestamp, Value},
};
use serde_amqp::{described::Described, descriptor::Descriptor};
use time::OffsetDateTime;
use uuid::Uuid;

use super::BrokerError;

const SCHEDULED_TIME: &str = "x-opt-scheduled-enqueue-time";

/// An AMQP message: every section is kept as it came, so that any client reads back what any client sent.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerMessage {
    message: Message<Body<Value>>,
    /// Bytes of its AMQP form.
    size: u64,
}

/// Where in its life a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageState {
    /// Ready, or locked by a receiver.
    Active,
    /// Put aside.
    Deferred,
    /// Not visible yet.
    Scheduled,
}

impl MessageState {
    /// The annotation `x-opt-message-state`.
    fn number(self) -> i32 {
        match self {
            Self::Active => 0,
            Self::Deferred => 1,
            Self::Scheduled => 2,
        }
    }
}

pub(super) fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp::from_milliseconds(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
}

pub(super) fn moment(at: &Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.milliseconds()) * 1_000_000).ok()
}

impl BrokerMessage {
    /// A message with one data section.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        let data = Data(body.into().into());
        Self::from_amqp(Message {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            properties: None,
            application_properties: None,
            body: Body::Data(vec![data].into()),
            footer: None,
        })
    }

    /// Takes an AMQP message as it came.
    pub fn from_amqp(message: Message<Body<Value>>) -> Self {
        let size = serde_amqp::serialized_size(&Serializable(&message)).unwrap_or(0) as u64;
        Self { message, size }
    }

    /// Decodes an AMQP message.
    ///
    /// # Errors
    /// [`BrokerError::BadRequest`] if the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, BrokerError> {
        let bad = |why: String| BrokerError::BadRequest(format!("The message could not be decoded: {why}"));
        super::amqp::shape::check(bytes).map_err(|e| bad(e.to_owned()))?;
        let message = serde_amqp::from_slice::<Deserializable<Message<Body<Value>>>>(bytes)
            .map_err(|e| bad(e.to_string()))?
            .0;
        Ok(Self { message, size: bytes.len() as u64 })
    }

    /// Sets the message id.
    pub fn with_message_id(self, id: impl Into<String>) -> Self {
        self.properties(|p| p.message_id = Some(MessageId::String(id.into())))
    }

    /// Sets the content type.
    pub fn with_content_type(self, content_type: &str) -> Self {
        self.properties(|p| p.content_type = Some(Symbol::from(content_type)))
    }

    /// Sets the subject.
    pub fn with_subject(self, subject: impl Into<String>) -> Self {
        self.properties(|p| p.subject = Some(subject.into()))
    }

    /// Sets the correlation id.
    pub fn with_correlation_id(self, id: impl Into<String>) -> Self {
        self.properties(|p| p.correlation_id = Some(MessageId::String(id.into())))
    }

    /// Makes the message visible at `at` only.
    pub fn with_scheduled_enqueue_time(mut self, at: OffsetDateTime) -> Self {
        self.annotations().insert(SCHEDULED_TIME.into(), Value::Timestamp(timestamp(at)));
        Self::from_amqp(self.message)
    }

    /// Lets the message expire `ttl` after it was enqueued.
    pub fn with_time_to_live(mut self, ttl: Duration) -> Self {
        self.set_time_to_live(ttl);
        Self::from_amqp(self.message)
    }

    /// Sets an application property.
    pub fn with_property(mut self, name: &str, value: impl Into<SimpleValue>) -> Self {
        self.set_property(name, value.into());
        Self::from_amqp(self.message)
    }

    pub(super) fn set_time_to_live(&mut self, ttl: Duration) {
        let header = self.message.header.get_or_insert_with(Header::default);
        header.ttl = Some(u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX));
    }

    fn properties(mut self, set: impl FnOnce(&mut Properties)) -> Self {
        set(self.message.properties.get_or_insert_with(Properties::new));
        Self::from_amqp(self.message)
    }

    fn annotations(&mut self) -> &mut OrderedMap<OwnedKey, Value> {
        &mut self.message.message_annotations.get_or_insert_with(|| MessageAnnotations(OrderedMap::new())).0
    }

    /// Gives the message an id if its sender did not, as the service does.
    pub(super) fn ensure_id(&mut self, id: impl FnOnce() -> Uuid) {
        let properties = self.message.properties.get_or_insert_with(Properties::new);
        properties.message_id.get_or_insert_with(|| MessageId::String(id().simple().to_string()));
    }

    pub(super) fn set_property(&mut self, name: &str, value: SimpleValue) {
        let properties = &mut self.message.application_properties;
        properties
            .get_or_insert_with(|| ApplicationProperties(OrderedMap::new()))
            .0
            .insert(name.to_owned(), value);
    }

    /// The message in AMQP's types.
    pub fn amqp(&self) -> &Message<Body<Value>> {
        &self.message
    }

    /// Bytes of the message as it was sent.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The data sections joined, or the AMQP value if it is a string or binary.
    pub fn body(&self) -> Vec<u8> {
        match &self.message.body {
            Body::Data(sections) => sections.iter().flat_map(|section| section.0.iter().copied()).collect(),
            Body::Value(value) => match &value.0 {
                Value::String(text) => text.clone().into_bytes(),
                Value::Binary(bytes) => bytes.to_vec(),
                _ => Vec::new(),
            },
            Body::Sequence(_) | Body::Empty => Vec::new(),
        }
    }

    /// The message id, whatever its AMQP type, as text.
    pub fn message_id(&self) -> Option<String> {
        self.message.properties.as_ref()?.message_id.as_ref().map(id_text)
    }

    /// The correlation id as text.
    pub fn correlation_id(&self) -> Option<String> {
        self.message.properties.as_ref()?.correlation_id.as_ref().map(id_text)
    }

    /// The content type.
    pub fn content_type(&self) -> Option<&str> {
        Some(self.message.properties.as_ref()?.content_type.as_ref()?.as_str())
    }

    /// The subject.
    pub fn subject(&self) -> Option<&str> {
        self.message.properties.as_ref()?.subject.as_deref()
    }

    /// An application property.
    pub fn property(&self, name: &str) -> Option<&SimpleValue> {
        self.message.application_properties.as_ref()?.0.get(name)
    }

    /// An application property that is a string.
    pub fn property_text(&self, name: &str) -> Option<&str> {
        match self.property(name)? {
            SimpleValue::String(text) => Some(text),
            _ => None,
        }
    }

    /// The time at which it shall become visible.
    pub fn scheduled_enqueue_time(&self) -> Option<OffsetDateTime> {
        let annotations = self.message.message_annotations.as_ref()?;
        match annotations.0.get(&OwnedKey::from(SCHEDULED_TIME))? {
            Value::Timestamp(at) => moment(at),
            _ => None,
        }
    }

    /// How long it lives once enqueued; `None` is for ever.
    pub fn time_to_live(&self) -> Option<Duration> {
        self.message.header.as_ref()?.ttl.map(|ms| Duration::from_millis(ms.into()))
    }
}

fn id_text(id: &MessageId) -> String {
    match id {
        MessageId::String(text) => text.clone(),
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Uuid(uuid) => Uuid::from_bytes(*uuid.as_inner()).to_string(),
        MessageId::Binary(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// A message as a receiver gets it, or as somebody who peeks sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The message as it was sent; on a dead-lettered one with reason and description as application properties.
    pub message: BrokerMessage,
    /// Names the lock; nil when received and deleted, or peeked.
    pub lock_token: Uuid,
    /// The end of the lock.
    pub locked_until: Option<OffsetDateTime>,
    /// How many times the message was delivered before: what AMQP's header says. Clients show one more.
    pub earlier_deliveries: u32,
    /// The broker's number of the message.
    pub sequence_number: i64,
    /// When the message was enqueued, or became visible if it was scheduled.
    pub enqueued_time: OffsetDateTime,
    /// When it expires.
    pub expires_at: Option<OffsetDateTime>,
    /// The queue it was dead-lettered from.
    pub dead_letter_source: Option<String>,
    /// Where in its life it is.
    pub state: MessageState,
}

impl Delivery {
    /// The delivery count as clients show it: 1 on the first delivery.
    pub fn delivery_count(&self) -> u32 {
        self.earlier_deliveries.saturating_add(1)
    }

    /// The AMQP message with the broker's header and annotations
    /// (<https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide>).
    pub fn to_amqp(&self) -> Vec<u8> {
        self.encoded(self.message.clone())
    }

    /// [`Delivery::to_amqp`] where no delivery tag can carry the lock token: there clients read it from a delivery annotation.
    pub(super) fn to_amqp_with_token(&self) -> Vec<u8> {
        let mut message = self.message.clone();
        let token = Value::Uuid(self.lock_token.into_bytes().into());
        let annotations = message.message.delivery_annotations.take();
        let mut annotations = annotations.unwrap_or_else(|| DeliveryAnnotations(OrderedMap::new()));
        annotations.0.insert("x-opt-lock-token".into(), token);
        message.message.delivery_annotations = Some(annotations);
        self.encoded(message)
    }

    fn encoded(&self, mut message: BrokerMessage) -> Vec<u8> {
        let header = message.message.header.take().unwrap_or_default();
        let mut bytes = header_with_count(&header, self.earlier_deliveries);
        if let (Some(expires), Some(_)) = (self.expires_at, header.ttl) {
            let properties = message.message.properties.get_or_insert_with(Properties::new);
            properties.creation_time = Some(timestamp(self.enqueued_time));
            properties.absolute_expiry_time = Some(timestamp(expires));
        }
        let annotations = message.annotations();
        annotations.insert("x-opt-sequence-number".into(), Value::Long(self.sequence_number));
        annotations.insert("x-opt-enqueue-sequence-number".into(), Value::Long(0));
        annotations.insert("x-opt-enqueued-time".into(), Value::Timestamp(timestamp(self.enqueued_time)));
        annotations.insert("x-opt-message-state".into(), Value::Int(self.state.number()));
        if let Some(until) = self.locked_until {
            annotations.insert("x-opt-locked-until".into(), Value::Timestamp(timestamp(until)));
        }
        if let Some(source) = &self.dead_letter_source {
            annotations.insert("x-opt-deadletter-source".into(), Value::String(source.clone()));
        }
        // It was decoded or built from these very types, so that it can be encoded.
        bytes.extend(serde_amqp::to_vec(&Serializable(&message.message)).unwrap_or_default());
        bytes
    }
}

/// A header section that says its delivery count even if it is 0, as the service does: the derived encoding leaves such values
/// out, and the Python client then knows none.
fn header_with_count(header: &Header, earlier_deliveries: u32) -> Vec<u8> {
    const HEADER: u64 = 0x70;
    let fields = vec![
        Value::Bool(header.durable),
        Value::Ubyte(header.priority.0),
        header.ttl.map_or(Value::Null, Value::Uint),
        Value::Bool(header.first_acquirer),
        Value::Uint(earlier_deliveries),
    ];
    let section = Described { descriptor: Descriptor::Code(HEADER), value: Value::List(fields) };
    serde_amqp::to_vec(&Value::Described(Box::new(section))).unwrap_or_default()
}
