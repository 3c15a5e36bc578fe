//! Sending to one queue.

use std::sync::Arc;

use fe2o3_amqp_types::primitives::{Array, SimpleValue, Value};
use tokio::sync::Mutex;

use crate::{
    Error, Result, ServiceBusClient, ServiceBusMessage,
    amqp::SenderLink,
    management::{Requests, map},
    message,
};

/// The message format of a batch.
const BATCH_FORMAT: u32 = 0x8001_3700;
/// Bytes of a batch that its envelope takes at most, beside the first message's properties that it repeats.
const BATCH_ENVELOPE: usize = 256;
/// Bytes that a message in a batch takes beside its own.
const BATCH_ENTRY: usize = 8;

/// Sends messages to one queue. Cheap to clone; may be used from many tasks at once.
///
/// An operation during which the connection breaks is tried again on a new one, so that a message may be sent twice; queues with
/// duplicate detection drop the second one if the message has an id.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: ServiceBusClient,
    queue: String,
    link: Mutex<Option<Arc<SenderLink>>>,
    requests: Mutex<Option<Arc<Requests>>>,
}

impl Sender {
    pub(crate) fn new(client: ServiceBusClient, queue: &str) -> Self {
        let queue = queue.to_owned();
        Self(Arc::new(Inner { client, queue, link: Mutex::default(), requests: Mutex::default() }))
    }

    /// The queue's name.
    pub fn queue(&self) -> &str {
        &self.0.queue
    }

    /// Attaches to the queue, and sends nothing: whether it exists and takes messages from this client shows.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], and transient ones.
    pub async fn attach(&self) -> Result<()> {
        self.retry("attach", || async { self.link().await.map(drop) }).await
    }

    /// Sends one message and waits until the broker has it. A message with a later enqueue time is scheduled.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], [`Error::MessageTooLarge`], [`Error::QuotaExceeded`], and transient ones.
    pub async fn send(&self, message: ServiceBusMessage) -> Result<()> {
        let bytes: bytes::Bytes = message::envelope(&message)?.into();
        self.retry("send", || async { self.link().await?.send(bytes.clone(), 0).await }).await
    }

    /// Sends messages in as few AMQP messages as the queue's size limit allows; each of those is taken as a whole or not at all.
    ///
    /// # Errors
    /// As [`Sender::send`]; [`Error::MessageTooLarge`] before anything is sent. After other errors, the first messages may have
    /// been sent.
    pub async fn send_batch(&self, messages: Vec<ServiceBusMessage>) -> Result<()> {
        if messages.is_empty() {
            return Ok(());
        }
        let limit = self.retry("attach", || async { Ok(self.link().await?.max_message_size) }).await?;
        let limit = if limit == 0 { usize::MAX } else { usize::try_from(limit).unwrap_or(usize::MAX) };
        let encoded: Vec<Vec<u8>> = messages.iter().map(message::envelope).collect::<Result<_>>()?;
        if let Some(large) = encoded.iter().find(|bytes| bytes.len() > limit) {
            return Err(Error::MessageTooLarge(format!("{} bytes; the queue takes {limit}", large.len())));
        }
        for part in parts(&messages, &encoded, limit) {
            let (bytes, format) = match &encoded[part.clone()] {
                [single] => (single.clone(), 0),
                many => (message::batch(many, &messages[part.start])?, BATCH_FORMAT),
            };
            let bytes = bytes::Bytes::from(bytes);
            self.retry("send", || async { self.link().await?.send(bytes.clone(), format).await }).await?;
        }
        Ok(())
    }

    /// Schedules messages for their `scheduled_enqueue_time`; gives back their sequence numbers, which
    /// [`Sender::cancel_scheduled`] takes.
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub async fn schedule(&self, messages: Vec<ServiceBusMessage>) -> Result<Vec<i64>> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        let entries = messages.iter().map(entry).collect::<Result<Vec<_>>>()?;
        let body = map([("messages", Value::List(entries))]);
        let mut answer = self.request("com.microsoft:schedule-message", body).await?;
        let numbers: Vec<i64> = answer.take_elements("sequence-numbers").iter().filter_map(long).collect();
        if numbers.len() == messages.len() {
            Ok(numbers)
        } else {
            Err(Error::Protocol("the answer to a schedule has another number of sequence numbers".into()))
        }
    }

    /// Takes scheduled messages away.
    ///
    /// # Errors
    /// [`Error::NotFound`] if one of them is not scheduled (any more); else as [`Sender::send`].
    pub async fn cancel_scheduled(&self, sequence_numbers: &[i64]) -> Result<()> {
        let numbers = sequence_numbers.iter().copied().map(Value::Long).collect();
        let body = map([("sequence-numbers", Value::Array(Array(numbers)))]);
        self.request("com.microsoft:cancel-scheduled-message", body).await.map(drop)
    }

    async fn request(&self, operation: &str, body: Value) -> Result<crate::management::Answer> {
        let properties = [("operation", SimpleValue::String(operation.to_owned()))];
        self.retry(operation, || async { self.requests().await?.call(&properties, body.clone()).await }).await
    }

    async fn retry<R, F>(&self, what: &str, operation: impl FnMut() -> F) -> Result<R>
    where
        F: Future<Output = Result<R>>,
    {
        self.0.client.with_retries(&format!("{what} ({})", self.0.queue), operation).await
    }

    async fn link(&self) -> Result<Arc<SenderLink>> {
        let mut slot = self.0.link.lock().await;
        if let Some(link) = slot.as_ref().filter(|link| link.is_alive()) {
            return Ok(link.clone());
        }
        let live = self.0.client.live(&self.0.queue).await?;
        let link = Arc::new(live.connection.attach_sender(&self.0.queue, &self.0.queue).await?);
        Ok(slot.insert(link).clone())
    }

    async fn requests(&self) -> Result<Arc<Requests>> {
        let mut slot = self.0.requests.lock().await;
        if let Some(requests) = slot.as_ref().filter(|requests| requests.is_alive()) {
            return Ok(requests.clone());
        }
        let live = self.0.client.live(&self.0.queue).await?;
        let node = format!("{}/$management", self.0.queue);
        let requests = Arc::new(Requests::open(&live.connection, &node).await?);
        Ok(slot.insert(requests).clone())
    }
}

/// A message in a schedule request.
fn entry(message: &ServiceBusMessage) -> Result<Value> {
    let mut entry = Vec::new();
    let id = message.message_id.clone().unwrap_or_else(|| uuid::Uuid::new_v4().simple().to_string());
    entry.push(("message-id", Value::String(id)));
    if let Some(session) = &message.session_id {
        entry.push(("session-id", Value::String(session.clone())));
    }
    if let Some(key) = &message.partition_key {
        entry.push(("partition-key", Value::String(key.clone())));
    }
    entry.push(("message", Value::Binary(message::envelope(message)?.into())));
    Ok(Value::Map(entry.into_iter().map(|(name, value)| (Value::String(name.to_owned()), value)).collect()))
}

fn long(value: &Value) -> Option<i64> {
    match value {
        Value::Long(number) => Some(*number),
        _ => None,
    }
}

/// Cuts the messages into runs whose batch is not larger than `limit`.
fn parts(messages: &[ServiceBusMessage], encoded: &[Vec<u8>], limit: usize) -> Vec<std::ops::Range<usize>> {
    let envelope = |first: usize| {
        let message = &messages[first];
        let texts = [&message.message_id, &message.session_id, &message.partition_key];
        BATCH_ENVELOPE + texts.into_iter().flatten().map(String::len).sum::<usize>()
    };
    let mut parts: Vec<std::ops::Range<usize>> = Vec::new();
    let mut size = 0;
    for (index, bytes) in encoded.iter().enumerate() {
        let entry = bytes.len() + BATCH_ENTRY;
        match parts.last_mut() {
            Some(part) if size + entry <= limit => {
                part.end = index + 1;
                size += entry;
            }
            _ => {
                parts.push(index..index + 1);
                size = envelope(index) + entry;
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_cut_where_it_would_be_too_large() {
        let messages: Vec<_> = (0..10).map(|_| ServiceBusMessage::new(vec![0; 300])).collect();
        let encoded: Vec<_> = messages.iter().map(|m| message::envelope(m).unwrap()).collect();
        let parts = parts(&messages, &encoded, 1500);
        assert!(parts.len() > 2);
        for part in &parts {
            assert!(message::batch(&encoded[part.clone()], &messages[part.start]).unwrap().len() <= 1500);
        }
        assert_eq!(parts.iter().map(ExactSizeIterator::len).sum::<usize>(), 10);
    }
}
