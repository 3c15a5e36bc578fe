//! From [`ServiceBusMessage`] to AMQP.

use fe2o3_amqp_types::{
    messaging::{
        ApplicationProperties, Body, Data, Header, Message, MessageAnnotations, Properties,
        message::__private::Serializable,
    },
    primitives::{OrderedMap, SimpleValue, Symbol, Timestamp, Value},
};
use time::OffsetDateTime;

use super::{PropertyValue, ServiceBusMessage};
use crate::{Error, Result};

/// Longest time to live that AMQP can say, in milliseconds.
const LONGEST_TIME_TO_LIVE: u128 = u32::MAX as u128;

/// Milliseconds since 1970.
fn timestamp(at: OffsetDateTime) -> Timestamp {
    Timestamp::from_milliseconds((at.unix_timestamp_nanos() / 1_000_000) as i64)
}

/// The message in AMQP's types.
fn message(message: &ServiceBusMessage) -> Message<Body<Value>> {
    let mut annotations = MessageAnnotations(OrderedMap::new());
    if let Some(at) = message.scheduled_enqueue_time {
        annotations.0.insert("x-opt-scheduled-enqueue-time".into(), Value::Timestamp(timestamp(at)));
    }
    if let Some(key) = &message.partition_key {
        annotations.0.insert("x-opt-partition-key".into(), Value::String(key.clone()));
    }
    let mut properties = Properties::new();
    properties.message_id = message.message_id.clone().map(Into::into);
    properties.to = message.to.clone();
    properties.subject = message.subject.clone();
    properties.reply_to = message.reply_to.clone();
    properties.correlation_id = message.correlation_id.clone().map(Into::into);
    properties.content_type = message.content_type.clone().map(Symbol::from);
    properties.group_id = message.session_id.clone();
    let mut application = ApplicationProperties(OrderedMap::new());
    for (name, value) in &message.application_properties {
        application.0.insert(name.clone(), simple(value));
    }
    Message {
        header: message.time_to_live.map(|ttl| Header {
            ttl: Some(ttl.as_millis().min(LONGEST_TIME_TO_LIVE) as u32),
            durable: true,
            ..Header::default()
        }),
        delivery_annotations: None,
        message_annotations: (!annotations.0.is_empty()).then_some(annotations),
        properties: Some(properties),
        application_properties: (!application.0.is_empty()).then_some(application),
        body: Body::Data(vec![Data(message.body.clone().into())].into()),
        footer: None,
    }
}

fn simple(value: &PropertyValue) -> SimpleValue {
    match value.clone() {
        PropertyValue::Null => SimpleValue::Null,
        PropertyValue::Bool(v) => SimpleValue::Bool(v),
        PropertyValue::U8(v) => SimpleValue::Ubyte(v),
        PropertyValue::U16(v) => SimpleValue::Ushort(v),
        PropertyValue::U32(v) => SimpleValue::Uint(v),
        PropertyValue::U64(v) => SimpleValue::Ulong(v),
        PropertyValue::I8(v) => SimpleValue::Byte(v),
        PropertyValue::I16(v) => SimpleValue::Short(v),
        PropertyValue::I32(v) => SimpleValue::Int(v),
        PropertyValue::I64(v) => SimpleValue::Long(v),
        PropertyValue::F32(v) => SimpleValue::Float(v.into()),
        PropertyValue::F64(v) => SimpleValue::Double(v.into()),
        PropertyValue::Char(v) => SimpleValue::Char(v),
        PropertyValue::Timestamp(v) => SimpleValue::Timestamp(timestamp(v)),
        PropertyValue::Uuid(v) => SimpleValue::Uuid(v.into_bytes().into()),
        PropertyValue::Binary(v) => SimpleValue::Binary(fe2o3_amqp_types::primitives::Binary::from(v)),
        PropertyValue::String(v) | PropertyValue::Other(v) => SimpleValue::String(v),
    }
}

/// The bytes of an AMQP message.
pub(crate) fn encoded(message: &Message<Body<Value>>) -> Result<Vec<u8>> {
    serde_amqp::to_vec(&Serializable(message))
        .map_err(|e| Error::Protocol(format!("cannot encode the message: {e}")))
}

/// The bytes of `message`.
pub(crate) fn envelope(message_to_send: &ServiceBusMessage) -> Result<Vec<u8>> {
    encoded(&message(message_to_send))
}

/// One AMQP message of Service Bus's batch format: every one of `messages` is a data section. The envelope bears the
/// first message's id, session and partition key, as the official clients do.
pub(crate) fn batch(messages: &[Vec<u8>], first: &ServiceBusMessage) -> Result<Vec<u8>> {
    let mut carrier = message(&ServiceBusMessage {
        message_id: first.message_id.clone(),
        session_id: first.session_id.clone(),
        partition_key: first.partition_key.clone(),
        ..ServiceBusMessage::default()
    });
    carrier.body = Body::Data(messages.iter().map(|m| Data(m.clone().into())).collect::<Vec<_>>().into());
    encoded(&carrier)
}
