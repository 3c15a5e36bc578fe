//! Receiving from one queue.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fe2o3_amqp_types::{
    definitions::{self, ErrorCondition},
    messaging::{Accepted, DeliveryState, Modified, Rejected},
    primitives::{Array, OrderedMap, SimpleValue, Value},
};
use time::OffsetDateTime;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use crate::{
    Error, ReceivedMessage, Result, ServiceBusClient,
    amqp::{Arrived, ReceiverLink},
    client::OPERATION_TIMEOUT,
    management::{Answer, Requests, map},
    message::{self, Delivery},
};

/// A receive during which the connection breaks goes on on a new one; after this many new ones in a row, it fails.
const RECONNECTIONS: u32 = 4;
/// Pause before the first of them; each further one takes twice as long.
const RECONNECTION_PAUSE: Duration = Duration::from_millis(50);

/// What receiving does to a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveMode {
    /// The message is locked for this receiver until it is settled or the lock ends.
    #[default]
    PeekLock,
    /// The message is gone from the queue as soon as it is sent to this receiver.
    ReceiveAndDelete,
}

/// A part of a queue with messages of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubQueue {
    /// `queue/$DeadLetterQueue`.
    DeadLetter,
}

/// How a receiver receives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverOptions {
    /// Peek-lock unless said otherwise.
    pub mode: ReceiveMode,
    /// The queue itself if `None`.
    pub sub_queue: Option<SubQueue>,
}

/// Receives from one queue. Cheap to clone; may be used from many tasks at once: receives queue up, settlements do not.
#[derive(Clone, Debug)]
pub struct Receiver(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: ServiceBusClient,
    queue: String,
    /// The queue, or its sub-queue.
    entity: String,
    mode: ReceiveMode,
    /// Held while a task receives.
    receiving: tokio::sync::Mutex<()>,
    link: Mutex<Option<Arc<ReceiverLink>>>,
    requests: tokio::sync::Mutex<Option<Arc<Requests>>>,
}

impl Receiver {
    pub(crate) fn new(client: ServiceBusClient, queue: &str, options: ReceiverOptions) -> Self {
        let entity = match options.sub_queue {
            Some(SubQueue::DeadLetter) => format!("{queue}/$DeadLetterQueue"),
            None => queue.to_owned(),
        };
        Self(Arc::new(Inner {
            client,
            queue: queue.to_owned(),
            entity,
            mode: options.mode,
            receiving: Default::default(),
            link: Mutex::default(),
            requests: Default::default(),
        }))
    }

    /// The path of what it receives from: the queue, or `queue/$DeadLetterQueue`.
    pub fn entity_path(&self) -> &str {
        &self.0.entity
    }

    /// Receives up to `max` messages. Returns as soon as there is at least one, with all others that the broker has ready then;
    /// with none after `max_wait`.
    ///
    /// The future may be dropped at any time without losing a message: what arrives is kept in the receiver until a call hands it
    /// out without waiting in between, and dropping takes back the permission to send more. Messages that arrived for a dropped
    /// call are what the next one gets first (their locks have been running since).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], and transient ones.
    pub async fn receive(&self, max: usize, max_wait: Duration) -> Result<Vec<ReceivedMessage>> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let _turn = self.0.receiving.lock().await;
        let deadline = Instant::now() + max_wait;
        let (mut tries, mut pause) = (0, RECONNECTION_PAUSE);
        loop {
            let result = async {
                let link = self.link().await?;
                let arrived = link.fetch(max, deadline).await?;
                Ok((link.id, arrived))
            };
            match result.await {
                Ok((link, arrived)) => {
                    return Ok(arrived
                        .into_iter()
                        .filter_map(|arrived| self.received(link, &arrived))
                        .collect());
                }
                Err(error @ Error::Connection(_)) if tries < RECONNECTIONS && !self.0.client.is_closed() => {
                    tracing::debug!(%error, entity = self.0.entity, "receiving again on a new connection");
                    tries += 1;
                    sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn received(&self, link: u64, arrived: &Arrived) -> Option<ReceivedMessage> {
        // The tag is the lock token as .NET lays a GUID out.
        let token = <[u8; 16]>::try_from(arrived.tag.as_slice()).ok().map(Uuid::from_bytes_le);
        let token = token.filter(|_| self.0.mode == ReceiveMode::PeekLock);
        match message::received(&arrived.bytes, token) {
            Ok(mut message) => {
                message.delivery = token.map(|_| Delivery { link, id: arrived.delivery_id });
                Some(message)
            }
            Err(error) => {
                // Its lock runs out, and in the end the broker puts it aside.
                tracing::warn!(%error, entity = self.0.entity, "a message cannot be decoded");
                None
            }
        }
    }

    /// Done: the broker deletes the message.
    ///
    /// # Errors
    /// [`Error::LockLost`] if the lock ran out: the message is or will be delivered again. Also if the connection broke while the
    /// broker's answer was on its way, and the broker had completed it: who settles cannot tell the two apart.
    pub async fn complete(&self, message: &ReceivedMessage) -> Result<()> {
        self.settle(message, DeliveryState::Accepted(Accepted {}), &[("disposition-status", "completed")])
            .await
    }

    /// Gives the message back; it is delivered again at once, and its delivery count is one more.
    ///
    /// # Errors
    /// As [`Receiver::complete`].
    pub async fn abandon(&self, message: &ReceivedMessage) -> Result<()> {
        let state = modified(false);
        self.settle(message, state, &[("disposition-status", "abandoned")]).await
    }

    /// Moves the message to the dead-letter sub-queue. Service Bus takes up to 4096 characters of reason and of description.
    ///
    /// # Errors
    /// As [`Receiver::complete`].
    pub async fn dead_letter(
        &self,
        message: &ReceivedMessage,
        reason: &str,
        description: &str,
    ) -> Result<()> {
        let text = |text: &str| Value::String(text.to_owned());
        let info: OrderedMap<_, _> = [
            ("DeadLetterReason".into(), text(reason)),
            ("DeadLetterErrorDescription".into(), text(description)),
        ]
        .into_iter()
        .collect();
        let condition = ErrorCondition::Custom("com.microsoft:dead-letter".into());
        let error = definitions::Error::new(condition, None, info);
        let by_request = [
            ("disposition-status", "suspended"),
            ("deadletter-reason", reason),
            ("deadletter-description", description),
        ];
        self.settle(message, DeliveryState::Rejected(Rejected { error: Some(error) }), &by_request).await
    }

    /// Puts the message aside; [`Receiver::receive_deferred`] brings it back by its sequence number.
    ///
    /// # Errors
    /// As [`Receiver::complete`].
    pub async fn defer(&self, message: &ReceivedMessage) -> Result<()> {
        let state = modified(true);
        self.settle(message, state, &[("disposition-status", "defered")]).await
    }

    /// Receives deferred messages by their sequence numbers.
    ///
    /// # Errors
    /// [`Error::NotFound`] if one of them is not deferred or is locked; else as [`Receiver::receive`].
    pub async fn receive_deferred(&self, sequence_numbers: &[i64]) -> Result<Vec<ReceivedMessage>> {
        if sequence_numbers.is_empty() {
            return Ok(Vec::new());
        }
        let peek_lock = self.0.mode == ReceiveMode::PeekLock;
        let numbers = sequence_numbers.iter().copied().map(Value::Long).collect();
        let body = map([
            ("sequence-numbers", Value::Array(Array(numbers))),
            ("receiver-settle-mode", Value::Uint(u32::from(peek_lock))),
        ]);
        let mut answer = self.request("com.microsoft:receive-by-sequence-number", body).await?;
        messages(&mut answer)
    }

    /// Prolongs the lock by the queue's lock duration; gives back its new end, by the broker's clock.
    ///
    /// # Errors
    /// As [`Receiver::complete`].
    pub async fn renew_lock(&self, message: &ReceivedMessage) -> Result<OffsetDateTime> {
        let tokens = Value::Array(Array(vec![lock_token(message)?]));
        let mut answer = self.request("com.microsoft:renew-lock", map([("lock-tokens", tokens)])).await?;
        match answer.take_elements("expirations").pop() {
            Some(Value::Timestamp(until)) => message::moment(until),
            _ => None,
        }
        .ok_or_else(|| Error::Protocol("the answer to a renewal has no expiration".into()))
    }

    /// Looks at up to `max` messages from the sequence number `from_sequence` on, whatever their state, and leaves them as they
    /// are. The broker may give fewer than there are; go on after the last one.
    ///
    /// # Errors
    /// As [`Receiver::receive`].
    pub async fn peek(&self, from_sequence: i64, max: usize) -> Result<Vec<ReceivedMessage>> {
        let body = map([
            ("from-sequence-number", Value::Long(from_sequence)),
            ("message-count", Value::Int(i32::try_from(max).unwrap_or(i32::MAX))),
        ]);
        let mut answer = self.request("com.microsoft:peek-message", body).await?;
        let mut seen = messages(&mut answer)?;
        for message in &mut seen {
            // This look is no delivery.
            message.delivery_count -= 1;
        }
        Ok(seen)
    }

    /// Settles over the link that brought the message; if that is gone, by a request that names the lock.
    async fn settle(
        &self,
        message: &ReceivedMessage,
        state: DeliveryState,
        by_request: &[(&str, &str)],
    ) -> Result<()> {
        let token = lock_token(message)?;
        if let (Some(delivery), Some(link)) = (message.delivery, self.current_link())
            && link.id == delivery.link
            && link.is_alive()
        {
            match timeout(OPERATION_TIMEOUT, link.settle(delivery.id, state)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(Error::Connection(why))) => tracing::debug!(why, "settling by request"),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(Error::Timeout(format!("settling a message of {}", self.0.entity))),
            }
        }
        let mut entries: Vec<(&str, Value)> =
            by_request.iter().map(|(name, text)| (*name, Value::String((*text).to_owned()))).collect();
        entries.push(("lock-tokens", Value::Array(Array(vec![token]))));
        let body = entries.into_iter().map(|(name, value)| (Value::String(name.to_owned()), value)).collect();
        self.request("com.microsoft:update-disposition", Value::Map(body)).await.map(drop)
    }

    async fn request(&self, operation: &str, body: Value) -> Result<Answer> {
        let properties = [("operation", SimpleValue::String(operation.to_owned()))];
        let what = format!("{operation} ({})", self.0.entity);
        let call = || async { self.requests().await?.call(&properties, body.clone()).await };
        self.0.client.with_retries(&what, call).await
    }

    fn current_link(&self) -> Option<Arc<ReceiverLink>> {
        self.0.link.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The link; a new one if it is gone and nothing waits in it. Called by one task at a time.
    async fn link(&self) -> Result<Arc<ReceiverLink>> {
        if let Some(link) = self.current_link().filter(|link| link.is_alive() || !link.inbox.is_empty()) {
            return Ok(link);
        }
        let attaching = async {
            let live = self.0.client.live(&self.0.queue).await?;
            let settled = self.0.mode == ReceiveMode::ReceiveAndDelete;
            live.connection.attach_receiver(&self.0.entity, &self.0.entity, settled).await
        };
        let attached = timeout(OPERATION_TIMEOUT, attaching).await;
        let link = attached.map_err(|_| Error::Timeout(format!("attaching to {}", self.0.entity)))??;
        let link = Arc::new(link);
        *self.0.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
        Ok(link)
    }

    async fn requests(&self) -> Result<Arc<Requests>> {
        let mut slot = self.0.requests.lock().await;
        if let Some(requests) = slot.as_ref().filter(|requests| requests.is_alive()) {
            return Ok(requests.clone());
        }
        let live = self.0.client.live(&self.0.queue).await?;
        let node = format!("{}/$management", self.0.entity);
        let requests = Arc::new(Requests::open(&live.connection, &node).await?);
        Ok(slot.insert(requests).clone())
    }
}

/// Abandoned, or deferred.
fn modified(deferred: bool) -> DeliveryState {
    let undeliverable_here = deferred.then_some(true);
    let delivery_failed = (!deferred).then_some(true);
    DeliveryState::Modified(Modified { delivery_failed, undeliverable_here, message_annotations: None })
}

fn lock_token(message: &ReceivedMessage) -> Result<Value> {
    if message.lock_token.is_nil() {
        return Err(Error::LockLost(
            "the message was never locked: it was peeked, or received and deleted".into(),
        ));
    }
    Ok(Value::Uuid(message.lock_token.into_bytes().into()))
}

/// The messages of an answer.
fn messages(answer: &mut Answer) -> Result<Vec<ReceivedMessage>> {
    let mut out = Vec::new();
    for entry in answer.take_elements("messages") {
        let Value::Map(entry) = entry else { continue };
        let entry = |name: &str| entry.get(&Value::String(name.to_owned()));
        let token = match entry("lock-token") {
            Some(Value::Uuid(token)) => Some(Uuid::from_bytes(*token.as_inner())),
            _ => None,
        };
        if let Some(Value::Binary(bytes)) = entry("message") {
            out.push(message::received(bytes, token)?);
        }
    }
    Ok(out)
}
