//! The body for a `serviceBusTrigger` (azure-sdk-for-net, Microsoft.Azure.WebJobs.Extensions.ServiceBus 5.x).

use serde_json::{Map, Value, json};
use time::{OffsetDateTime, macros::datetime};
use uuid::Uuid;

use super::{Arrays, BindingData, BindingValue, Sys, body, leak_properties};
use crate::{
    bindings::{Cardinality, DataType, ServiceBusTrigger},
    newtonsoft::{self, Fraction},
};

/// .NET's `DateTimeOffset.MaxValue`, when a message never expires.
pub const NEVER: OffsetDateTime = datetime!(9999-12-31 23:59:59.999_999_9 UTC);

/// .NET's `DateTimeOffset.MinValue`, the time of a message that no broker saw.
pub const BEGINNING: OffsetDateTime = datetime!(0001-01-01 00:00 UTC);

/// A message, as far as a function sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The body's bytes.
    pub body: Vec<u8>,
    /// The sender's id.
    pub message_id: Option<String>,
    /// The media type.
    pub content_type: Option<String>,
    /// The subject; `Label` in older clients.
    pub subject: Option<String>,
    /// What it belongs to.
    pub correlation_id: Option<String>,
    /// Where an answer is wanted.
    pub reply_to: Option<String>,
    /// The session of an answer.
    pub reply_to_session_id: Option<String>,
    /// Where it shall go.
    pub to: Option<String>,
    /// The session.
    pub session_id: Option<String>,
    /// The partition's key.
    pub partition_key: Option<String>,
    /// The partition's key in a transaction.
    pub transaction_partition_key: Option<String>,
    /// 1 on the first delivery.
    pub delivery_count: i64,
    /// The broker's number.
    pub sequence_number: i64,
    /// The lock.
    pub lock_token: Uuid,
    /// When it became visible.
    pub enqueued_time: OffsetDateTime,
    /// When it expires; [`NEVER`] if it does not.
    pub expires_at: OffsetDateTime,
    /// The queue that it was dead-lettered from.
    pub dead_letter_source: Option<String>,
    /// The sender's properties.
    pub application_properties: Map<String, Value>,
}

impl Message {
    /// The message that the extension makes from an admin request's input
    /// (`ServiceBusTriggerBindingStrategy.ConvertFromString`): only a body, no lock.
    pub fn from_input(input: &str) -> Self {
        Self {
            body: input.as_bytes().into(),
            message_id: None,
            content_type: None,
            subject: None,
            correlation_id: None,
            reply_to: None,
            reply_to_session_id: None,
            to: None,
            session_id: None,
            partition_key: None,
            transaction_partition_key: None,
            delivery_count: 0,
            // The default argument of `ServiceBusModelFactory.ServiceBusReceivedMessage`.
            sequence_number: -1,
            lock_token: Uuid::nil(),
            enqueued_time: BEGINNING,
            expires_at: NEVER,
            dead_letter_source: None,
            application_properties: Map::new(),
        }
    }
}

/// The client that received a message, for `Metadata.Client`.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// `ns.servicebus.windows.net`
    pub fully_qualified_namespace: &'a str,
    /// The client's own name: the namespace and a GUID.
    pub identifier: &'a str,
}

/// The trigger's value cannot be made from the message: the invocation fails before the handler sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Exception binding parameter '{name}': {reason}")]
pub struct BindingError {
    name: String,
    reason: String,
}

/// The body for one message (cardinality `one`).
pub fn invocation(
    binding: &ServiceBusTrigger,
    message: &Message,
    client: &Client<'_>,
    sys: &Sys<'_>,
) -> Vec<u8> {
    let mut data = BindingData::default();
    receiver_objects(&mut data, client);
    message_properties(&mut data, message);
    finish_single(binding, message, data, sys)
}

/// The body for an admin request's input: no client, no actions, and the input once more under the binding's name
/// (Azure/azure-webjobs-sdk FunctionBinding.cs).
pub fn manual_invocation(binding: &ServiceBusTrigger, input: &str, sys: &Sys<'_>) -> Vec<u8> {
    let message = Message::from_input(input);
    let mut data = BindingData::default();
    message_properties(&mut data, &message);
    data.set(&binding.name, BindingValue::text(Some(input)));
    finish_single(binding, &message, data, sys)
}

fn finish_single(
    binding: &ServiceBusTrigger,
    message: &Message,
    mut data: BindingData,
    sys: &Sys<'_>,
) -> Vec<u8> {
    data.set_sys(sys);
    let value = match binding.data_type {
        Some(DataType::Binary) => BindingValue::Bytes(message.body.clone()),
        None | Some(DataType::String) => {
            let text = text(&message.body);
            leak_properties(&text, &mut data, Arrays::LeftOut);
            BindingValue::Other(text.into())
        }
    };
    body(&binding.name, value.encode(), data.metadata())
}

/// The body for a batch (cardinality `many`).
///
/// # Errors
/// Without a `dataType`, if one message's body is no JSON: the whole batch fails
/// (Azure/azure-webjobs-sdk PocoTriggerArgumentBinding.cs).
pub fn batch_invocation(
    binding: &ServiceBusTrigger,
    messages: &[Message],
    client: &Client<'_>,
    sys: &Sys<'_>,
) -> Result<Vec<u8>, BindingError> {
    debug_assert_eq!(binding.cardinality, Cardinality::Many);
    let mut data = BindingData::default();
    receiver_objects(&mut data, client);
    batch_properties(&mut data, messages);
    data.set_sys(sys);
    let value = match binding.data_type {
        Some(DataType::Binary) => {
            messages.iter().map(|message| BindingValue::Bytes(message.body.clone()).encode()).collect()
        }
        Some(DataType::String) => messages.iter().map(|message| Value::String(text(&message.body))).collect(),
        None => messages
            .iter()
            .map(|message| {
                serde_json::from_str(&text(&message.body)).map(newtonsoft::reformat_dates).map_err(|error| {
                    BindingError {
                        name: binding.name.clone(),
                        reason: format!(
                            "Binding parameters to complex objects (such as 'Object') uses Json.NET serialization. \
                             1. Bind the parameter type as 'string' instead of 'Object' to get the raw values and avoid \
                             JSON deserialization, or 2. Change the queue payload to be valid json. The JSON parser \
                             failed: {error}"
                        ),
                    }
                })
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(body(&binding.name, BindingValue::Other(Value::Array(value)).encode(), data.metadata()))
}

/// `ServiceBusTriggerBindingStrategy.GetBindingData`: objects of the SDK, of which only public properties are written.
fn receiver_objects(data: &mut BindingData, client: &Client<'_>) {
    for key in ["MessageReceiver", "MessageSession", "MessageActions", "SessionActions", "ReceiveActions"] {
        data.set(key, BindingValue::Object(Map::new()));
    }
    let mut map = Map::new();
    map.insert("FullyQualifiedNamespace".into(), client.fully_qualified_namespace.into());
    map.insert("IsClosed".into(), false.into());
    map.insert("TransportType".into(), 0.into());
    map.insert("Identifier".into(), client.identifier.into());
    data.set("Client", BindingValue::Object(map));
}

/// `AddBindingData` for one message, key by key in its order.
fn message_properties(data: &mut BindingData, message: &Message) {
    let text = |value: &Option<String>| BindingValue::text(value.as_deref());
    let properties = || BindingValue::Object(message.application_properties.clone());
    data.set("DeliveryCount", BindingValue::Other(message.delivery_count.into()));
    data.set("DeadLetterSource", text(&message.dead_letter_source));
    data.set("LockToken", BindingValue::Other(message.lock_token.to_string().into()));
    data.set("ExpiresAtUtc", BindingValue::DateTime(message.expires_at));
    data.set("ExpiresAt", BindingValue::DateTimeOffset(message.expires_at));
    data.set("EnqueuedTimeUtc", BindingValue::DateTime(message.enqueued_time));
    data.set("EnqueuedTime", BindingValue::DateTimeOffset(message.enqueued_time));
    data.set("MessageId", text(&message.message_id));
    data.set("ContentType", text(&message.content_type));
    data.set("ReplyTo", text(&message.reply_to));
    data.set("SequenceNumber", BindingValue::Other(message.sequence_number.into()));
    data.set("To", text(&message.to));
    data.set("Subject", text(&message.subject));
    data.set("Label", text(&message.subject));
    data.set("CorrelationId", text(&message.correlation_id));
    data.set("ApplicationProperties", properties());
    data.set("UserProperties", properties());
    data.set("SessionId", text(&message.session_id));
    data.set("ReplyToSessionId", text(&message.reply_to_session_id));
    data.set("PartitionKey", text(&message.partition_key));
    data.set("TransactionPartitionKey", text(&message.transaction_partition_key));
}

/// `AddBindingData` for a batch, key by key in its order. Inside arrays dates keep their fractions and nulls appear.
fn batch_properties(data: &mut BindingData, messages: &[Message]) {
    let mut add = |key: &str, value: &dyn Fn(&Message) -> Value| {
        data.set(key, BindingValue::Other(messages.iter().map(value).collect()));
    };
    let local = |moment: OffsetDateTime| Value::from(newtonsoft::date_time(moment, Fraction::Full));
    let zoned = |moment: OffsetDateTime| Value::from(newtonsoft::date_time_offset(moment, Fraction::Full));
    add("DeliveryCountArray", &|m| m.delivery_count.into());
    add("DeadLetterSourceArray", &|m| json!(m.dead_letter_source));
    add("LockTokenArray", &|m| m.lock_token.to_string().into());
    add("ExpiresAtUtcArray", &|m| local(m.expires_at));
    add("ExpiresAtArray", &|m| zoned(m.expires_at));
    add("EnqueuedTimeUtcArray", &|m| local(m.enqueued_time));
    add("EnqueuedTimeArray", &|m| zoned(m.enqueued_time));
    add("MessageIdArray", &|m| json!(m.message_id));
    add("ContentTypeArray", &|m| json!(m.content_type));
    add("ReplyToArray", &|m| json!(m.reply_to));
    add("SequenceNumberArray", &|m| m.sequence_number.into());
    add("ToArray", &|m| json!(m.to));
    add("SubjectArray", &|m| json!(m.subject));
    add("LabelArray", &|m| json!(m.subject));
    add("CorrelationIdArray", &|m| json!(m.correlation_id));
    add("ApplicationPropertiesArray", &|m| Value::Object(m.application_properties.clone()));
    add("UserPropertiesArray", &|m| Value::Object(m.application_properties.clone()));
    add("SessionIdArray", &|m| json!(m.session_id));
    add("ReplyToSessionIdArray", &|m| json!(m.reply_to_session_id));
    add("PartitionKeyArray", &|m| json!(m.partition_key));
    // The extension passes the partition keys here, by mistake.
    add("TransactionPartitionKeyArray", &|m| json!(m.partition_key));
}

/// The body as text (azure-sdk-for-net MessageToStringConverter.cs): UTF-8, else a string that .NET's
/// DataContractSerializer wrote, else what is left of it.
fn text(body: &[u8]) -> String {
    match std::str::from_utf8(body) {
        Ok(text) => text.into(),
        Err(_) => data_contract_string(body).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()),
    }
}

/// How `DataContractSerializer` begins a string in .NET's binary XML: `<string xmlns="…/Serialization/">`.
const DATA_CONTRACT_STRING: &[u8] =
    b"\x40\x06string\x08\x33http://schemas.microsoft.com/2003/10/Serialization/";

fn data_contract_string(body: &[u8]) -> Option<String> {
    let (kind, rest) = body.strip_prefix(DATA_CONTRACT_STRING)?.split_first()?;
    // Records "chars with end element" of \[MC-NBFX\]: the length in 1, 2 or 4 bytes, little-endian.
    let (length, text) = match kind {
        0x99 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x9b => (usize::from(u16::from_le_bytes(rest.get(..2)?.try_into().ok()?)), rest.get(2..)?),
        0x9d => (usize::try_from(u32::from_le_bytes(rest.get(..4)?.try_into().ok()?)).ok()?, rest.get(4..)?),
        _ => return None,
    };
    String::from_utf8(text.get(..length)?.into()).ok()
}
