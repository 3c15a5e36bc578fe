//! The outbox over Service Bus.

use std::collections::BTreeMap;

use async_trait::async_trait;
use servicebus::{Sender, ServiceBusClient, ServiceBusMessage};

use crate::{
    domain::{Message, Queue},
    steps::{Envelope, Outbox, OutboxError},
    telemetry::{DIAGNOSTIC_ID, TRACEPARENT, Traces},
};

/// Bodies are JSON (RFC 8259).
const CONTENT_TYPE: &str = "application/json";

/// Sends to the queues of a Service Bus namespace.
pub struct ServiceBusOutbox {
    senders: BTreeMap<Queue, Sender>,
    traces: Option<Traces>,
}

impl ServiceBusOutbox {
    /// An outbox to the queues behind `client`.
    pub fn new(client: &ServiceBusClient) -> Self {
        let senders = Queue::ALL.into_iter().map(|queue| (queue, client.sender(queue.name()))).collect();
        Self { senders, traces: None }
    }

    /// The same outbox, whose messages say which trace they belong to.
    #[must_use]
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces: Some(traces), ..self }
    }

    async fn send_to(
        &self,
        queue: Queue,
        sender: &Sender,
        envelopes: &[Envelope],
    ) -> Result<(), servicebus::Error> {
        let Some(traces) = &self.traces else {
            return sender.send_batch(envelopes.iter().map(message).collect()).await;
        };
        let messages: Vec<&Message> = envelopes.iter().map(|envelope| &envelope.message).collect();
        let sending = async {
            let traced = |envelope: &Envelope| traced(envelope, &traces.traceparent(&envelope.message.run));
            sender.send_batch(envelopes.iter().map(traced).collect()).await
        };
        traces.sending(queue, &messages, sending).await
    }
}

#[async_trait]
impl Outbox for ServiceBusOutbox {
    async fn send(&self, envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        let mut batches: BTreeMap<Queue, Vec<Envelope>> = BTreeMap::new();
        for envelope in envelopes {
            batches.entry(envelope.message.queue()).or_default().push(envelope);
        }
        for (queue, batch) in batches {
            let Some(sender) = self.senders.get(&queue) else {
                continue;
            };
            let failed = |error: servicebus::Error| OutboxError {
                queue: queue.to_string(),
                reason: error.to_string(),
            };
            self.send_to(queue, sender, &batch).await.map_err(failed)?;
        }
        Ok(())
    }
}

fn message(envelope: &Envelope) -> ServiceBusMessage {
    let mut message = ServiceBusMessage::new(envelope.message.to_bytes());
    message.message_id = Some(envelope.message_id());
    message.content_type = Some(CONTENT_TYPE.to_owned());
    message.subject = Some(envelope.message.queue().to_string());
    message.correlation_id = Some(envelope.message.run.to_string());
    message.scheduled_enqueue_time = envelope.at;
    message
}

/// A message that says which trace it belongs to.
fn traced(envelope: &Envelope, context: &str) -> ServiceBusMessage {
    let mut message = message(envelope);
    for name in [TRACEPARENT, DIAGNOSTIC_ID] {
        message.application_properties.insert(name.to_owned(), context.into());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ImagePath, RunId,
        messages::{ImageStep, Step},
    };

    #[test]
    fn a_message_carries_its_context_under_both_names_that_service_bus_clients_look_for() {
        let image_path = ImagePath::parse("Linux/Docker.json").unwrap();
        let step = Step::CreateVm(ImageStep { image_path });
        let envelope = Envelope::now(Message::first(RunId::parse("manual-1").unwrap(), step));
        let context = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let sent = traced(&envelope, context);
        let properties: Vec<_> = sent.application_properties.iter().collect();
        let value = context.into();
        assert_eq!(properties, [(&"Diagnostic-Id".to_owned(), &value), (&"traceparent".to_owned(), &value)]);
        // Nothing else of it is different.
        assert_eq!(ServiceBusMessage { application_properties: BTreeMap::new(), ..sent }, message(&envelope));
    }
}
