//! The outbox over Service Bus.

use std::collections::BTreeMap;

use async_trait::async_trait;
use servicebus::{Sender, ServiceBusClient, ServiceBusMessage};

use crate::{
    domain::Queue,
    steps::{Envelope, Outbox, OutboxError},
};

/// Bodies are JSON (RFC 8259).
const CONTENT_TYPE: &str = "application/json";

/// Sends to the queues of a Service Bus namespace.
pub struct ServiceBusOutbox {
    senders: BTreeMap<Queue, Sender>,
}

impl ServiceBusOutbox {
    /// An outbox to the queues behind `client`.
    pub fn new(client: &ServiceBusClient) -> Self {
        Self { senders: Queue::ALL.into_iter().map(|queue| (queue, client.sender(queue.name()))).collect() }
    }
}

#[async_trait]
impl Outbox for ServiceBusOutbox {
    async fn send(&self, envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        let mut batches: BTreeMap<Queue, Vec<ServiceBusMessage>> = BTreeMap::new();
        for envelope in envelopes {
            batches.entry(envelope.message.queue()).or_default().push(message(&envelope));
        }
        for (queue, batch) in batches {
            let Some(sender) = self.senders.get(&queue) else {
                continue;
            };
            let failed = |error: servicebus::Error| OutboxError {
                queue: queue.to_string(),
                reason: error.to_string(),
            };
            sender.send_batch(batch).await.map_err(failed)?;
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
