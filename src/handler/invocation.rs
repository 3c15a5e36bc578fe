//! What the host asks for: read once, at the edge, into a closed set of things to do.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use opentelemetry::Context;
use serde::Deserialize;
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tracing::{Span, info_span};

use crate::{
    domain::{
        ImagePath, LabId,
        messages::{Message, MessageError, Queue},
    },
    steps::{Factory, cleanup, schedule},
    telemetry::{DIAGNOSTIC_ID, Received, TRACEPARENT, image_and_lab},
};

/// The name of the Service Bus bindings in `functions/*/function.json`.
const MESSAGE_BINDING: &str = "message";
/// The name of the timer bindings.
const TIMER_BINDING: &str = "timer";
/// The function that the cleanup timer fires.
pub const CLEANUP: &str = "cleanup";
/// The function of the timer that starts runs.
pub const SCHEDULE: &str = "schedule";

/// One invocation.
#[derive(Debug)]
pub enum Invocation {
    /// A message of a step's queue.
    Step {
        /// The message.
        message: Box<Message>,
        /// How it came.
        received: Box<Received>,
    },
    /// A tick of the cleanup timer.
    Cleanup,
    /// A tick of the timer that starts runs, with the occurrence that the host's record says is next: the one that fires.
    Schedule(Option<OffsetDateTime>),
}

/// What a timer's binding holds, as far as anybody needs it (azure-webjobs-sdk-extensions TimerInfo.cs).
#[derive(Deserialize)]
struct TimerInfo {
    #[serde(rename = "ScheduleStatus")]
    status: Option<TimerStatus>,
}

#[derive(Deserialize)]
struct TimerStatus {
    #[serde(rename = "Next", with = "time::serde::rfc3339")]
    next: OffsetDateTime,
}

/// An invocation that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// There is no such function.
    #[error("there is no function '{0}'")]
    UnknownFunction(String),
    /// The request is not what the host sends.
    #[error("the request is not an invocation: {0}")]
    NotAnInvocation(String),
    /// The binding holds something else than a binary message.
    #[error(
        "binding '{MESSAGE_BINDING}' is not a base64 text; function.json must say \"dataType\": \"binary\": {0}"
    )]
    NotBinary(String),
    /// The message's body is wrong.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// The envelope of every invocation. Names ignore nothing: the host writes exactly these.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Data")]
    data: Map<String, Value>,
    #[serde(rename = "Metadata", default)]
    metadata: Map<String, Value>,
}

impl Envelope {
    /// The host writes trigger metadata as JSON in texts; a message that is started by hand counts 0.
    fn delivery(&self) -> u32 {
        let count = match self.metadata.get("DeliveryCount") {
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_u64().and_then(|count| u32::try_from(count).ok()),
            None => None,
        };
        count.unwrap_or(1)
    }

    /// What the trigger's metadata tells of the message.
    fn received(&self) -> Received {
        let text = |name: &str| self.metadata.get(name).and_then(Value::as_str);
        let properties = self.metadata.get("ApplicationProperties");
        let property = |name: &str| properties.and_then(|properties| properties.get(name)?.as_str());
        let traceparent = property(TRACEPARENT).or_else(|| property(DIAGNOSTIC_ID));
        Received {
            invocation_id: String::new(),
            // A text of .NET is a text of JSON in a text of JSON.
            message_id: text("MessageId").and_then(|text| serde_json::from_str(text).ok()),
            delivery: self.delivery(),
            // One that is started by hand has the beginning of .NET's time.
            enqueued: text("EnqueuedTime")
                .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
                .filter(|at| *at > OffsetDateTime::UNIX_EPOCH),
            traceparent: traceparent.map(str::to_owned),
            host: None,
        }
    }
}

impl Invocation {
    /// Reads the request that the host sent for `function`.
    ///
    /// # Errors
    /// If there is no such function, or the request or the message in it cannot be used.
    pub fn parse(function: &str, body: &[u8]) -> Result<Self, Unusable> {
        let queue = match function {
            CLEANUP | SCHEDULE => None,
            other => Some(other.parse::<Queue>().map_err(|_| Unusable::UnknownFunction(other.to_owned()))?),
        };
        let envelope: Envelope =
            serde_json::from_slice(body).map_err(|error| Unusable::NotAnInvocation(error.to_string()))?;
        let binding = |name| {
            let missing = || Unusable::NotAnInvocation(format!("Data has no '{name}'"));
            envelope.data.get(name).ok_or_else(missing)
        };
        let Some(queue) = queue else {
            return match binding(TIMER_BINDING)? {
                Value::Object(_) if function == CLEANUP => Ok(Self::Cleanup),
                info @ Value::Object(_) => {
                    let info = TimerInfo::deserialize(info).map_err(|error| {
                        Unusable::NotAnInvocation(format!("'{TIMER_BINDING}' is no timer's: {error}"))
                    })?;
                    Ok(Self::Schedule(info.status.map(|status| status.next)))
                }
                _ => Err(Unusable::NotAnInvocation(format!("'{TIMER_BINDING}' is no object"))),
            };
        };
        // Also if the function is started by hand: the host makes a message of the input text first.
        let bytes = match binding(MESSAGE_BINDING)? {
            Value::String(text) => {
                BASE64.decode(text).map_err(|error| Unusable::NotBinary(error.to_string()))?
            }
            other => return Err(Unusable::NotBinary(format!("it is {}", kind(other)))),
        };
        let message = Box::new(Message::parse(queue, &bytes)?);
        Ok(Self::Step { message, received: Box::new(envelope.received()) })
    }

    /// The span of its log lines, which says what it is about. Made with all its fields at once: the formatter reads back and
    /// writes anew what a span holds each time that a field is added.
    pub fn span(&self) -> Span {
        let Self::Step { message, .. } = self else { return Span::none() };
        let (image, lab) = image_and_lab(message);
        let (image, lab) = (image.map(ImagePath::as_str), lab.map(LabId::lab_name));
        info_span!("step", run = message.run.as_str(), image, lab, attempt = message.attempt)
    }

    /// The queue of its message, if it has one.
    pub fn queue(&self) -> Option<Queue> {
        match self {
            Self::Step { message, .. } => Some(message.queue()),
            Self::Cleanup | Self::Schedule(_) => None,
        }
    }

    /// Where it belongs in a trace: with its message's run. `called` is what the host's headers tell.
    pub fn context(&self, factory: &Factory, called: Received) -> Context {
        match self {
            Self::Step { message, received } => {
                let Received { invocation_id, host, .. } = called;
                let received = Received { invocation_id, host, ..Received::clone(received) };
                factory.traces.processing(message, &received)
            }
            Self::Cleanup => factory.traces.invoking(CLEANUP, TIMER_BINDING, &called),
            Self::Schedule(_) => factory.traces.invoking(SCHEDULE, TIMER_BINDING, &called),
        }
    }

    /// Does it; answers what was done, in a line.
    ///
    /// # Errors
    /// Why the message must be delivered again.
    pub async fn run(&self, factory: &Factory) -> Result<String, String> {
        match self {
            Self::Step { message, received } => {
                if let (1, Some(enqueued)) = (received.delivery, received.enqueued) {
                    factory.backlogs.taken(message.queue(), enqueued).await;
                }
                let told = factory.handle(message, received.delivery).await;
                told.map(|told| told.0).map_err(|error| error.to_string())
            }
            Self::Cleanup => cleanup::tick(factory).await.map_err(|error| error.to_string()),
            Self::Schedule(next) => schedule::tick(factory, *next).await.map_err(|error| error.to_string()),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a Boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array; function.json must not say \"cardinality\": \"many\"",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an invocation tells of its message, by its metadata.
    fn received(metadata: &str) -> Received {
        let message = BASE64.encode(r#"{"version":1,"run":"r","imagePath":"A.json"}"#);
        let body = format!(r#"{{"Data":{{"message":"{message}"}}{metadata}}}"#);
        match Invocation::parse("create-vm", body.as_bytes()) {
            Ok(Invocation::Step { received, .. }) => *received,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_host_tells_what_the_message_is_called_when_it_came_and_whose_context_it_has() {
        let told = received(
            r#","Metadata":{"MessageId":"\"m-1\"","EnqueuedTime":"2026-11-22T13:00:00+00:00",
            "ApplicationProperties":{"Diagnostic-Id":"old","traceparent":"new","n":3}}"#,
        );
        assert_eq!((told.message_id.as_deref(), told.traceparent.as_deref()), (Some("m-1"), Some("new")));
        assert_eq!(told.enqueued, Some(time::macros::datetime!(2026-11-22 13:00 UTC)));
        let older = received(r#","Metadata":{"ApplicationProperties":{"Diagnostic-Id":"old"}}"#);
        assert_eq!(older.traceparent.as_deref(), Some("old"));
        // Started by hand, and metadata that nobody sends.
        for metadata in [
            r#","Metadata":{"EnqueuedTime":"0001-01-01T00:00:00+00:00","ApplicationProperties":{}}"#,
            r#","Metadata":{"MessageId":7,"EnqueuedTime":"soon","ApplicationProperties":["traceparent"]}"#,
            "",
        ] {
            let told = received(metadata);
            assert_eq!((told.message_id, told.enqueued, told.traceparent), (None, None, None), "{metadata}");
        }
    }

    #[test]
    fn the_host_tells_how_often_it_has_delivered_a_message() {
        let delivery = |metadata: &str| received(metadata).delivery;
        assert_eq!(delivery(r#","Metadata":{"DeliveryCount":"7"}"#), 7);
        assert_eq!(delivery(r#","Metadata":{"DeliveryCount":7}"#), 7);
        assert_eq!(delivery(r#","Metadata":{"DeliveryCount":[]}"#), 1);
        assert_eq!(delivery(""), 1);
    }
}
