//! From AMQP to [`ReceivedMessage`].

use std::time::Duration;

use fe2o3_amqp_types::{
    messaging::{Body, Message, MessageId, annotations::OwnedKey, message::__private::Deserializable},
    primitives::{SimpleValue, Timestamp, Value},
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{MessageState, PropertyValue, ReceivedMessage};
use crate::{Error, Result, amqp::shape};

/// Decodes a message that arrived. `lock_token` is the delivery tag, if it is one.
///
/// # Errors
/// [`Error::Protocol`] if the bytes are no AMQP message.
pub(crate) fn received(bytes: &[u8], lock_token: Option<Uuid>) -> Result<ReceivedMessage> {
    let message = decoded(bytes)?;
    let mut out =
        ReceivedMessage { lock_token: lock_token.unwrap_or_default(), ..ReceivedMessage::default() };
    if let Some(header) = message.header {
        out.time_to_live = header.ttl.map(|ms| Duration::from_millis(ms.into()));
        out.delivery_count = header.delivery_count;
    }
    // The header counts the deliveries before this one; clients count this one too.
    out.delivery_count = out.delivery_count.saturating_add(1);
    if let Some(p) = message.properties {
        out.message_id = p.message_id.map(id_text);
        out.correlation_id = p.correlation_id.map(id_text);
        out.content_type = p.content_type.map(|s| s.0);
        out.subject = p.subject;
        out.reply_to = p.reply_to;
        out.to = p.to;
        out.session_id = p.group_id;
        out.reply_to_session_id = p.reply_to_group_id;
        out.expires_at = p.absolute_expiry_time.and_then(moment);
    }
    for (key, value) in message.message_annotations.into_iter().flat_map(|a| a.0) {
        let OwnedKey::Symbol(key) = key else { continue };
        match (key.as_str(), value) {
            ("x-opt-locked-until", Value::Timestamp(t)) => out.locked_until = moment(t),
            ("x-opt-enqueued-time", Value::Timestamp(t)) => out.enqueued_time = moment(t),
            ("x-opt-scheduled-enqueue-time", Value::Timestamp(t)) => out.scheduled_enqueue_time = moment(t),
            ("x-opt-sequence-number", Value::Long(n)) => out.sequence_number = n,
            ("x-opt-enqueue-sequence-number", Value::Long(n)) => out.enqueued_sequence_number = Some(n),
            ("x-opt-partition-key", Value::String(key)) => out.partition_key = Some(key),
            ("x-opt-deadletter-source", Value::String(queue)) => out.dead_letter_source = Some(queue),
            ("x-opt-message-state", Value::Int(1)) => out.state = MessageState::Deferred,
            ("x-opt-message-state", Value::Int(2)) => out.state = MessageState::Scheduled,
            _ => {}
        }
    }
    if let (None, Some(enqueued), Some(ttl)) = (out.expires_at, out.enqueued_time, out.time_to_live) {
        out.expires_at = enqueued.checked_add(time::Duration::try_from(ttl).unwrap_or(time::Duration::MAX));
    }
    for (name, value) in message.application_properties.into_iter().flat_map(|a| a.0) {
        let value = property(value);
        match name.as_str() {
            "DeadLetterReason" => out.dead_letter_reason = value.as_str().map(str::to_owned),
            "DeadLetterErrorDescription" => out.dead_letter_description = value.as_str().map(str::to_owned),
            _ => {}
        }
        out.application_properties.insert(name, value);
    }
    out.body = match message.body {
        Body::Data(sections) => sections.into_iter().flat_map(|section| section.0.into_vec()).collect(),
        Body::Value(value) => match value.0 {
            Value::String(text) => text.into_bytes(),
            Value::Binary(bytes) => bytes.into_vec(),
            Value::Null => Vec::new(),
            other => other.to_string().into_bytes(),
        },
        Body::Sequence(_) | Body::Empty => Vec::new(),
    };
    Ok(out)
}

/// The AMQP message in `bytes`.
pub(crate) fn decoded(bytes: &[u8]) -> Result<Message<Body<Value>>> {
    shape::check(bytes).map_err(|e| Error::Protocol(format!("not an AMQP message: {e}")))?;
    serde_amqp::from_slice::<Deserializable<Message<Body<Value>>>>(bytes)
        .map(|m| m.0)
        .map_err(|e| Error::Protocol(format!("not an AMQP message: {e}")))
}

fn id_text(id: MessageId) -> String {
    match id {
        MessageId::String(text) => text,
        MessageId::Ulong(number) => number.to_string(),
        MessageId::Uuid(uuid) => Uuid::from_bytes(uuid.into_inner()).to_string(),
        MessageId::Binary(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// `None` for times that no calendar has (brokers say "never" with the largest number).
pub(crate) fn moment(at: Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.milliseconds()) * 1_000_000).ok()
}

fn property(value: SimpleValue) -> PropertyValue {
    match value {
        SimpleValue::Null => PropertyValue::Null,
        SimpleValue::Bool(v) => PropertyValue::Bool(v),
        SimpleValue::Ubyte(v) => PropertyValue::U8(v),
        SimpleValue::Ushort(v) => PropertyValue::U16(v),
        SimpleValue::Uint(v) => PropertyValue::U32(v),
        SimpleValue::Ulong(v) => PropertyValue::U64(v),
        SimpleValue::Byte(v) => PropertyValue::I8(v),
        SimpleValue::Short(v) => PropertyValue::I16(v),
        SimpleValue::Int(v) => PropertyValue::I32(v),
        SimpleValue::Long(v) => PropertyValue::I64(v),
        SimpleValue::Float(v) => PropertyValue::F32(v.into_inner()),
        SimpleValue::Double(v) => PropertyValue::F64(v.into_inner()),
        SimpleValue::Char(v) => PropertyValue::Char(v),
        SimpleValue::Timestamp(t) => moment(t.clone())
            .map_or_else(|| PropertyValue::Other(t.milliseconds().to_string()), PropertyValue::Timestamp),
        SimpleValue::Uuid(v) => PropertyValue::Uuid(Uuid::from_bytes(v.into_inner())),
        SimpleValue::Binary(v) => PropertyValue::Binary(v.into_vec()),
        SimpleValue::String(v) => PropertyValue::String(v),
        SimpleValue::Symbol(v) => PropertyValue::String(v.0),
        other => PropertyValue::Other(format!("{other:?}")),
    }
}
