//! Requests to `$cbs` and `$management`, and their answers
//! (<https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response>).

use fe2o3_amqp_types::{
    messaging::{AmqpValue, ApplicationProperties, Body, Message, MessageId, Properties},
    primitives::{OrderedMap, SimpleValue, Value},
};
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{
    Error, Result,
    amqp::{Connection, ReceiverLink, SenderLink},
    message,
};

/// Answers that may arrive without new credit; calls go one after the other, so that one would do.
const CREDIT: u32 = 10;

/// A pair of links to a node that answers requests. Calls queue up.
#[derive(Debug)]
pub(crate) struct Requests {
    sender: SenderLink,
    receiver: ReceiverLink,
    reply_to: String,
    last_id: Mutex<u64>,
}

/// An answer that is no refusal.
pub(crate) struct Answer {
    /// The body, if it is a map.
    pub(crate) body: OrderedMap<Value, Value>,
}

impl Answer {
    /// Takes an entry of the body.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.body.swap_remove(&Value::String(name.to_owned()))
    }

    /// Takes the elements of a list or array of the body; none if it is not there.
    pub(crate) fn take_elements(&mut self, name: &str) -> Vec<Value> {
        match self.take(name) {
            Some(Value::Array(elements)) => elements.0,
            Some(Value::List(elements)) => elements,
            _ => Vec::new(),
        }
    }
}

/// A map with text keys.
pub(crate) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (Value::String(name.to_owned()), value)).collect())
}

impl Requests {
    /// Attaches both links to `node`.
    pub(crate) async fn open(connection: &Connection, node: &str) -> Result<Self> {
        let reply_to = format!("{node}-{}", Uuid::new_v4().simple());
        let receiver = connection.attach_receiver(node, &reply_to, false).await?;
        let sender = connection.attach_sender(&reply_to, node).await?;
        Ok(Self { sender, receiver, reply_to, last_id: Mutex::new(0) })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.sender.is_alive() && self.receiver.is_alive()
    }

    /// Asks and waits for the answer.
    ///
    /// # Errors
    /// What the node refused with; [`Error::Connection`] if the links broke.
    pub(crate) async fn call(&self, properties: &[(&str, SimpleValue)], body: Value) -> Result<Answer> {
        let mut last_id = self.last_id.lock().await;
        *last_id += 1;
        let mut envelope = Properties::new();
        envelope.message_id = Some(MessageId::Ulong(*last_id));
        envelope.reply_to = Some(self.reply_to.clone());
        let application =
            properties.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let request = Message {
            header: None,
            delivery_annotations: None,
            message_annotations: None,
            properties: Some(envelope),
            application_properties: Some(ApplicationProperties(application)),
            body: Body::Value(AmqpValue(body)),
            footer: None,
        };
        self.receiver.grant(CREDIT)?;
        self.sender.send(message::encoded(&request)?.into(), 0).await?;
        loop {
            self.receiver.inbox.arrival().await;
            for arrived in self.receiver.inbox.take(1) {
                let answer = message::decoded(&arrived.bytes)?;
                let to = answer.properties.as_ref().and_then(|p| p.correlation_id.as_ref());
                // An answer to a call that was given up is passed over.
                if to == Some(&MessageId::Ulong(*last_id)) {
                    return read(answer);
                }
            }
            if let Some(error) = self.receiver.inbox.closed() {
                return Err(error);
            }
        }
    }
}

fn read(answer: Message<Body<Value>>) -> Result<Answer> {
    let properties = answer.application_properties.map(|p| p.0).unwrap_or_default();
    let number = |name: &str| match properties.get(name) {
        Some(SimpleValue::Int(n)) => Some(*n),
        Some(SimpleValue::Uint(n)) => i32::try_from(*n).ok(),
        Some(SimpleValue::Long(n)) => i32::try_from(*n).ok(),
        _ => None,
    };
    let text = |name: &str| match properties.get(name) {
        Some(SimpleValue::String(text)) => text.as_str(),
        Some(SimpleValue::Symbol(text)) => text.as_str(),
        _ => "",
    };
    // `$cbs` and `$management` name the same things differently.
    let code = number("statusCode").or_else(|| number("status-code")).unwrap_or(0);
    let description = [text("statusDescription"), text("status-description")].concat();
    let condition = [text("errorCondition"), text("error-condition")].concat();
    if (200..300).contains(&code) {
        let body = match answer.body {
            Body::Value(AmqpValue(Value::Map(map))) => map,
            _ => OrderedMap::new(),
        };
        return Ok(Answer { body });
    }
    let known = match Error::from_condition(&condition, &description) {
        Error::Protocol(_) => None,
        known => Some(known),
    };
    let text =
        if description.is_empty() { format!("status {code}") } else { format!("{description} ({code})") };
    Err(known.unwrap_or(match code {
        401 | 403 => Error::Unauthorized(text),
        404 => Error::NotFound(text),
        408 => Error::Timeout(text),
        410 => Error::LockLost(text),
        500 | 502 | 504 => Error::Connection(text),
        503 => Error::ServerBusy(text),
        _ => Error::Protocol(text),
    }))
}
