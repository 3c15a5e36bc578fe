//! `$management`: requests about a queue
//! (<https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response>).

use std::collections::BTreeMap;

use fe2o3_amqp_types::{
    messaging::{AmqpValue, Body},
    primitives::{Array, OrderedMap, Value},
};
use uuid::Uuid;

use super::{cbs, disposition};
use crate::broker::{
    Broker, BrokerError, BrokerMessage, Delivery, ReceiveMode, Settlement, message::timestamp,
};

/// What the real service says to somebody who wants a session where there are none.
pub(super) const NO_SESSIONS: &str = "A sessionful message receiver cannot be created on an entity that does not require sessions. \
     Ensure RequiresSession is set to true when creating a Queue or Subscription to enable sessionful behavior.";
/// Messages that one peek gives back at most.
const MOST_PEEKED: usize = 250;
/// Bytes of messages that one peek gives back at most, beyond its first message.
const MOST_PEEKED_BYTES: usize = 256 * 1024;

type Answer = Result<Option<Value>, BrokerError>;

/// The body of a request: a map.
struct Request<'a>(&'a OrderedMap<Value, Value>);

impl Request<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        let named = |key: &Value| match key {
            Value::String(key) => key == name,
            Value::Symbol(key) => key.as_str() == name,
            _ => false,
        };
        self.0.iter().find(|(key, _)| named(key)).map(|(_, value)| value)
    }

    fn need(&self, name: &str) -> Result<&Value, BrokerError> {
        self.get(name).ok_or_else(|| BrokerError::BadRequest(format!("'{name}' is missing.")))
    }

    fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::String(text) => Some(text),
            Value::Symbol(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The elements of an array or list.
    fn elements(&self, name: &str) -> Result<&[Value], BrokerError> {
        match self.need(name)? {
            Value::Array(elements) => Ok(&elements.0),
            Value::List(elements) => Ok(elements),
            _ => Err(BrokerError::BadRequest(format!("'{name}' is no list."))),
        }
    }

    fn numbers(&self, name: &str) -> Result<Vec<i64>, BrokerError> {
        self.elements(name)?
            .iter()
            .map(|value| {
                number(value).ok_or_else(|| BrokerError::BadRequest(format!("'{name}' holds no numbers.")))
            })
            .collect()
    }

    fn tokens(&self) -> Result<Vec<Uuid>, BrokerError> {
        self.elements("lock-tokens")?
            .iter()
            .map(|value| match value {
                Value::Uuid(token) => Ok(Uuid::from_bytes(*token.as_inner())),
                _ => Err(BrokerError::BadRequest("'lock-tokens' holds no UUIDs.".into())),
            })
            .collect()
    }
}

fn number(value: &Value) -> Option<i64> {
    match *value {
        Value::Long(n) => Some(n),
        Value::Int(n) => Some(n.into()),
        Value::Uint(n) => Some(n.into()),
        Value::Ulong(n) => n.try_into().ok(),
        Value::Ubyte(n) => Some(n.into()),
        Value::Byte(n) => Some(n.into()),
        Value::Short(n) => Some(n.into()),
        Value::Ushort(n) => Some(n.into()),
        _ => None,
    }
}

/// Answers a request about `entity`.
pub(super) fn answer(broker: &Broker, entity: &str, request: &BrokerMessage) -> Vec<u8> {
    let operation = request.property_text("operation").unwrap_or_default();
    let empty = OrderedMap::new();
    let body = match &request.amqp().body {
        Body::Value(AmqpValue(Value::Map(map))) => map,
        _ => &empty,
    };
    let (code, description, condition, body) = match perform(broker, entity, operation, &Request(body)) {
        Ok(Some(body)) => (200, "OK".to_owned(), None, body),
        Ok(None) => (204, "No Content".to_owned(), None, Value::Null),
        Err(refusal) => (refusal.status(), refusal.to_string(), Some(refusal.condition()), Value::Null),
    };
    cbs::response(request, "statusCode", code, "statusDescription", &description, condition, body)
}

fn perform(broker: &Broker, entity: &str, operation: &str, request: &Request<'_>) -> Answer {
    match operation {
        "com.microsoft:renew-lock" => renew(broker, entity, request),
        "com.microsoft:peek-message" => peek(broker, entity, request),
        "com.microsoft:schedule-message" => schedule(broker, entity, request),
        "com.microsoft:cancel-scheduled-message" => {
            broker.cancel_scheduled(entity, &request.numbers("sequence-numbers")?)?;
            Ok(Some(Value::Map(OrderedMap::new())))
        }
        "com.microsoft:receive-by-sequence-number" => receive_deferred(broker, entity, request),
        "com.microsoft:update-disposition" => settle(broker, entity, request),
        "com.microsoft:get-message-sessions"
        | "com.microsoft:get-session-state"
        | "com.microsoft:set-session-state"
        | "com.microsoft:renew-session-lock" => Err(BrokerError::NotAllowed(NO_SESSIONS.into())),
        "com.microsoft:add-rule" | "com.microsoft:remove-rule" | "com.microsoft:enumerate-rules" => {
            Err(BrokerError::NotAllowed(format!(
                "The entity '{entity}' is a queue; only subscriptions have rules."
            )))
        }
        _ => Err(BrokerError::BadRequest(format!("The operation '{operation}' is not known."))),
    }
}

/// A map of one entry, as most answers are.
fn map(name: &str, value: Value) -> Answer {
    Ok(Some(Value::Map([(Value::String(name.to_owned()), value)].into_iter().collect())))
}

fn renew(broker: &Broker, entity: &str, request: &Request<'_>) -> Answer {
    let mut ends = Vec::new();
    for token in request.tokens()? {
        ends.push(Value::Timestamp(timestamp(broker.renew(entity, token)?)));
    }
    map("expirations", Value::Array(Array(ends)))
}

fn schedule(broker: &Broker, entity: &str, request: &Request<'_>) -> Answer {
    let messages = request
        .elements("messages")?
        .iter()
        .map(|entry| match entry {
            Value::Map(entry) => match Request(entry).need("message")? {
                Value::Binary(bytes) => BrokerMessage::decode(bytes),
                _ => Err(BrokerError::BadRequest("'message' is not binary.".into())),
            },
            _ => Err(BrokerError::BadRequest("'messages' holds no maps.".into())),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let numbers = broker.send(entity, messages)?;
    map("sequence-numbers", Value::Array(Array(numbers.into_iter().map(Value::Long).collect())))
}

fn peek(broker: &Broker, entity: &str, request: &Request<'_>) -> Answer {
    let from = number(request.need("from-sequence-number")?).unwrap_or(0);
    let count = number(request.need("message-count")?).unwrap_or(0);
    let count = usize::try_from(count).unwrap_or(0).min(MOST_PEEKED);
    let mut bytes = 0;
    let messages: Vec<Value> = broker
        .peek(entity, from, count)?
        .iter()
        .map(Delivery::to_amqp)
        .take_while(|message| {
            let first = bytes == 0;
            bytes += message.len();
            first || bytes <= MOST_PEEKED_BYTES
        })
        .map(|message| entry(message, None))
        .collect();
    if messages.is_empty() { Ok(None) } else { map("messages", Value::List(messages)) }
}

/// A message in an answer, with its lock token if it has one.
fn entry(message: Vec<u8>, token: Option<Uuid>) -> Value {
    let mut entry = OrderedMap::new();
    entry.insert(Value::String("message".into()), Value::Binary(message.into()));
    if let Some(token) = token {
        entry.insert(Value::String("lock-token".into()), Value::Uuid(token.into_bytes().into()));
    }
    Value::Map(entry)
}

fn receive_deferred(broker: &Broker, entity: &str, request: &Request<'_>) -> Answer {
    // 0 is receive and delete, 1 is peek-lock.
    let mode = match number(request.need("receiver-settle-mode")?) {
        Some(0) => ReceiveMode::ReceiveAndDelete,
        _ => ReceiveMode::PeekLock,
    };
    let messages = broker.receive_deferred(entity, &request.numbers("sequence-numbers")?, mode)?;
    let messages = messages
        .iter()
        .map(|delivery| match mode {
            ReceiveMode::PeekLock => entry(delivery.to_amqp_with_token(), Some(delivery.lock_token)),
            ReceiveMode::ReceiveAndDelete => entry(delivery.to_amqp(), None),
        })
        .collect();
    map("messages", Value::List(messages))
}

fn settle(broker: &Broker, entity: &str, request: &Request<'_>) -> Answer {
    let settlement = match request.text("disposition-status") {
        Some("completed") => Settlement::Complete,
        Some("abandoned") => Settlement::Abandon,
        Some("defered" | "deferred") => Settlement::Defer,
        Some("suspended") => Settlement::DeadLetter {
            reason: request.text("deadletter-reason").unwrap_or_default().to_owned(),
            description: request.text("deadletter-description").unwrap_or_default().to_owned(),
        },
        other => {
            let why = format!("The disposition status '{}' is not known.", other.unwrap_or_default());
            return Err(BrokerError::BadRequest(why));
        }
    };
    let properties = match request.get("properties-to-modify") {
        Some(map) => disposition::properties(map.clone()),
        None => BTreeMap::new(),
    };
    for token in request.tokens()? {
        broker.settle_with(entity, token, settlement.clone(), &properties)?;
    }
    Ok(Some(Value::Map(OrderedMap::new())))
}
