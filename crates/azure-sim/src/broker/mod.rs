//! A simulated Service Bus namespace: queues with peek-lock, dead-lettering, scheduling, expiry and duplicate detection.
//!
//! [`Broker`] is a state machine under one clock. Nothing runs in the background: whatever has become due (a lock or a message
//! that expired, a scheduled message) is applied when somebody looks, in the order in which it became due; a waiting receiver
//! wakes when a message comes or the next moment is due. [`amqp`] puts an AMQP 1.0 server before it.
//!
//! Behaviour follows <https://learn.microsoft.com/azure/service-bus-messaging/message-transfers-locks-settlement> and the pages
//! beside it, named where they are used.

pub mod amqp;
mod dedup;
mod entity;
mod error;
mod lock;
mod message;
mod queue;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use factory_clock::Clock;
use fe2o3_amqp_types::primitives::SimpleValue;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

pub use entity::EntityPath;
pub use error::BrokerError;
pub use message::{BrokerMessage, Delivery, MessageState};
pub use queue::{QueueCounts, QueueSettings};

use self::{lock::LockTokens, queue::Queue};

/// What receiving does to a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveMode {
    /// The message is locked until it is settled or the lock ends.
    #[default]
    PeekLock,
    /// The message is gone at once.
    ReceiveAndDelete,
}

/// What the holder of a lock does with the message.
#[derive(Clone, Debug, PartialEq)]
pub enum Settlement {
    /// Done: the message is gone.
    Complete,
    /// Back into the queue; the delivery counts.
    Abandon,
    /// Back into the queue as if it had never been delivered.
    Release,
    /// Into the dead-letter sub-queue.
    DeadLetter {
        /// Becomes the application property `DeadLetterReason`.
        reason: String,
        /// Becomes the application property `DeadLetterErrorDescription`.
        description: String,
    },
    /// Put aside, to be received by its sequence number only.
    Defer,
}

/// A simulated namespace. All methods may be called from many threads.
pub struct Broker {
    clock: Clock,
    state: Mutex<State>,
    /// Counts restarts; the AMQP server closes its connections when it changes.
    restarts: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// By name in lower case: names ignore case.
    queues: BTreeMap<String, Queue>,
    tokens: LockTokens,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("queues", &self.queues()).finish()
    }
}

impl Broker {
    /// A namespace without queues.
    pub fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default(), restarts: watch::Sender::new(0) })
    }

    /// The clock that all its times are of.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` on the queue that holds `entity`, after everything due there was applied.
    fn with<R>(
        &self,
        entity: &str,
        f: impl FnOnce(&mut Queue, &mut LockTokens, &EntityPath, OffsetDateTime) -> Result<R, BrokerError>,
    ) -> Result<R, BrokerError> {
        let path = EntityPath::parse(entity)?;
        let now = self.clock.now();
        let mut state = self.state();
        let State { queues, tokens } = &mut *state;
        let queue = queues.get_mut(path.queue()).ok_or_else(|| BrokerError::not_found(entity))?;
        queue.advance(now);
        f(queue, tokens, &path, now)
    }

    /// Makes a queue; one that exists with this name (ignoring case) keeps its messages and gets the new settings.
    ///
    /// # Errors
    /// [`BrokerError::BadRequest`] if the name or a setting is outside what Service Bus takes.
    pub fn create_queue(&self, name: &str, settings: QueueSettings) -> Result<(), BrokerError> {
        settings.check()?;
        let path = EntityPath::parse(name)?;
        if path.is_dead_letter() {
            return Err(BrokerError::BadRequest(format!("'{name}' is no name for a queue")));
        }
        let mut state = self.state();
        match state.queues.get_mut(path.queue()) {
            Some(queue) => queue.set_settings(settings),
            None => {
                state
                    .queues
                    .insert(path.queue().to_owned(), Queue::new(name.trim_matches('/').to_owned(), settings));
            }
        }
        Ok(())
    }

    /// How `queue` is made.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn settings(&self, queue: &str) -> Result<QueueSettings, BrokerError> {
        self.with(queue, |queue, _, _, _| Ok(queue.settings().clone()))
    }

    /// The names of all queues as they were created, in order.
    pub fn queues(&self) -> Vec<String> {
        self.state().queues.values().map(|queue| queue.name().to_owned()).collect()
    }

    /// Whether there is a queue or sub-queue of this name.
    pub fn has_entity(&self, entity: &str) -> bool {
        self.with(entity, |_, _, _, _| Ok(())).is_ok()
    }

    /// How many messages `queue` holds.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn counts(&self, queue: &str) -> Result<QueueCounts, BrokerError> {
        self.with(queue, |queue, _, _, _| Ok(queue.counts()))
    }

    /// The largest message that `entity` takes, in bytes.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn max_message_size(&self, entity: &str) -> Result<u64, BrokerError> {
        self.with(entity, |queue, _, _, _| Ok(queue.settings().max_message_size))
    }

    /// How many messages were sent to `queue` so far, whatever became of them; dropped duplicates do not count.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn accepted(&self, queue: &str) -> Result<u64, BrokerError> {
        self.with(queue, |queue, _, _, _| Ok(queue.accepted()))
    }

    /// Sends messages, all or none; those with a later enqueue time are scheduled. Gives back their sequence numbers; a
    /// duplicate is dropped and answered with the number of the first one.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`]; [`BrokerError::MessageTooLarge`]; [`BrokerError::BadRequest`] for a dead-letter sub-queue.
    pub fn send(&self, queue: &str, messages: Vec<BrokerMessage>) -> Result<Vec<i64>, BrokerError> {
        self.with(queue, |queue, _, path, now| {
            if path.is_dead_letter() {
                return Err(BrokerError::BadRequest("nobody can send to a dead-letter sub-queue".into()));
            }
            queue.send(messages, now)
        })
    }

    /// Takes the next message if there is one.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn try_receive(&self, entity: &str, mode: ReceiveMode) -> Result<Option<Delivery>, BrokerError> {
        self.with(entity, |queue, tokens, path, now| Ok(queue.receive(path, mode, tokens, now)))
    }

    /// Locks up to `max` messages; waits up to `wait` (of the clock's time) for the first one.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub async fn receive(
        &self,
        entity: &str,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Delivery>, BrokerError> {
        let deadline = self.clock.now() + wait;
        let mut changes = self.changes(entity)?;
        loop {
            changes.borrow_and_update();
            let mut got = Vec::new();
            while got.len() < max {
                match self.try_receive(entity, ReceiveMode::PeekLock)? {
                    Some(delivery) => got.push(delivery),
                    None => break,
                }
            }
            let now = self.clock.now();
            if !got.is_empty() || max == 0 || now >= deadline {
                return Ok(got);
            }
            let until = self.next_due(entity)?.map_or(deadline, |due| due.clamp(now, deadline));
            tokio::select! {
                _ = changes.changed() => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    /// Changes whenever a message may have become receivable in the queue of `entity`.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn changes(&self, entity: &str) -> Result<watch::Receiver<u64>, BrokerError> {
        self.with(entity, |queue, _, _, _| Ok(queue.changes()))
    }

    /// Settles the message that `lock_token` locks.
    ///
    /// # Errors
    /// [`BrokerError::LockLost`] if the lock ran out or never was; [`BrokerError::EntityNotFound`].
    pub fn settle(&self, entity: &str, lock_token: Uuid, settlement: Settlement) -> Result<(), BrokerError> {
        self.settle_with(entity, lock_token, settlement, &BTreeMap::new())
    }

    /// Settles a message and sets application properties on it, if it stays.
    fn settle_with(
        &self,
        entity: &str,
        lock_token: Uuid,
        settlement: Settlement,
        properties: &BTreeMap<String, SimpleValue>,
    ) -> Result<(), BrokerError> {
        self.with(entity, |queue, _, path, now| queue.settle(path, lock_token, settlement, properties, now))
    }

    /// [`Settlement::Complete`]. Errors as [`Broker::settle`].
    pub fn complete(&self, entity: &str, lock_token: Uuid) -> Result<(), BrokerError> {
        self.settle(entity, lock_token, Settlement::Complete)
    }

    /// [`Settlement::Abandon`]. Errors as [`Broker::settle`].
    pub fn abandon(&self, entity: &str, lock_token: Uuid) -> Result<(), BrokerError> {
        self.settle(entity, lock_token, Settlement::Abandon)
    }

    /// [`Settlement::Release`]. Errors as [`Broker::settle`].
    pub fn release(&self, entity: &str, lock_token: Uuid) -> Result<(), BrokerError> {
        self.settle(entity, lock_token, Settlement::Release)
    }

    /// [`Settlement::DeadLetter`]. Errors as [`Broker::settle`].
    pub fn dead_letter(
        &self,
        entity: &str,
        lock_token: Uuid,
        reason: &str,
        description: &str,
    ) -> Result<(), BrokerError> {
        let (reason, description) = (reason.to_owned(), description.to_owned());
        self.settle(entity, lock_token, Settlement::DeadLetter { reason, description })
    }

    /// [`Settlement::Defer`]. Errors as [`Broker::settle`].
    pub fn defer(&self, entity: &str, lock_token: Uuid) -> Result<(), BrokerError> {
        self.settle(entity, lock_token, Settlement::Defer)
    }

    /// Prolongs a lock to a whole lock duration from now; gives back its new end.
    ///
    /// # Errors
    /// As [`Broker::settle`].
    pub fn renew(&self, entity: &str, lock_token: Uuid) -> Result<OffsetDateTime, BrokerError> {
        self.with(entity, |queue, _, path, now| queue.renew(path, lock_token, now))
    }

    /// Takes deferred messages by their numbers, all or none.
    ///
    /// # Errors
    /// [`BrokerError::MessageNotFound`] if one of them is not deferred here or is locked; [`BrokerError::EntityNotFound`].
    pub fn receive_deferred(
        &self,
        entity: &str,
        sequence_numbers: &[i64],
        mode: ReceiveMode,
    ) -> Result<Vec<Delivery>, BrokerError> {
        self.with(entity, |queue, tokens, path, now| {
            queue.receive_deferred(path, sequence_numbers, mode, tokens, now)
        })
    }

    /// Looks at up to `max` messages from number `from_sequence` on, in any state, without touching them.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn peek(&self, entity: &str, from_sequence: i64, max: usize) -> Result<Vec<Delivery>, BrokerError> {
        self.with(entity, |queue, _, path, _| Ok(queue.peek(path, from_sequence, max)))
    }

    /// Takes scheduled messages away, all or none.
    ///
    /// # Errors
    /// [`BrokerError::MessageNotFound`] if one of them is not scheduled (any more); [`BrokerError::EntityNotFound`].
    pub fn cancel_scheduled(&self, queue: &str, sequence_numbers: &[i64]) -> Result<(), BrokerError> {
        self.with(queue, |queue, _, path, _| queue.cancel_scheduled(path, sequence_numbers))
    }

    /// When something will next happen in `queue` by itself: a scheduled message, the end of a lock, an expiry.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn next_due(&self, queue: &str) -> Result<Option<OffsetDateTime>, BrokerError> {
        self.with(queue, |queue, _, _, _| Ok(queue.next_due()))
    }

    /// Receives and deletes everything that can be received now.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn drain(&self, entity: &str) -> Result<Vec<Delivery>, BrokerError> {
        self.with(entity, |queue, tokens, path, now| {
            Ok(std::iter::from_fn(|| queue.receive(path, ReceiveMode::ReceiveAndDelete, tokens, now))
                .collect())
        })
    }

    /// Takes every message away, whatever its state; gives back how many there were.
    ///
    /// # Errors
    /// [`BrokerError::EntityNotFound`].
    pub fn purge(&self, entity: &str) -> Result<usize, BrokerError> {
        self.with(entity, |queue, _, path, _| Ok(queue.purge(path)))
    }

    /// What a restart of the broker does: all locks end (as if they had run out), AMQP connections break, messages stay.
    pub fn restart(&self) {
        let now = self.clock.now();
        for queue in self.state().queues.values_mut() {
            queue.advance(now);
            queue.end_all_locks(now);
        }
        self.restarts.send_modify(|count| *count += 1);
    }
}
