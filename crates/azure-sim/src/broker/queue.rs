//! One queue with its dead-letter sub-queue.

mod store;

use std::{collections::BTreeMap, time::Duration};

use fe2o3_amqp_types::primitives::SimpleValue;
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;

use self::store::{Store, Stored};
use super::{
    BrokerError, BrokerMessage, Delivery, EntityPath, MessageState, ReceiveMode, Settlement,
    dedup::DuplicateHistory, lock::LockTokens,
};

/// Longest lock, from the queue's settings page of Azure.
const LONGEST_LOCK: Duration = Duration::from_secs(5 * 60);
/// Default lock.
const DEFAULT_LOCK: Duration = Duration::from_secs(60);
/// Default of the largest number of deliveries.
const DEFAULT_DELIVERIES: u32 = 10;
/// Largest message of the Standard tier is 256 KB, of Premium 1 MB and, if allowed for the queue, more.
const DEFAULT_MESSAGE_SIZE: u64 = 1024 * 1024;
/// Shortest and longest window of duplicate detection.
const DUPLICATE_WINDOW: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(7 * 24 * 3600));

/// The name space that message ids are derived in; any fixed value does.
const MESSAGE_IDS: Uuid = Uuid::from_u128(0x0b3f_7d52_c1e4_4c0d_8a66_52d9_7be1_09a3);

/// The settings of a queue, by their names in Azure
/// (<https://learn.microsoft.com/azure/templates/microsoft.servicebus/namespaces/queues>).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    /// How long a receiver holds a message; at most 5 minutes.
    pub lock_duration: Duration,
    /// After this many deliveries without a settlement that ends it, a message is dead-lettered.
    pub max_delivery_count: u32,
    /// How long message ids are remembered; `None` turns duplicate detection off. Azure's default when on is 10 minutes.
    pub duplicate_detection_window: Option<Duration>,
    /// Caps the time to live of every message.
    pub default_message_time_to_live: Option<Duration>,
    /// Whether expired messages go to the dead-letter sub-queue or are dropped.
    pub dead_lettering_on_message_expiration: bool,
    /// Largest message, in bytes of its AMQP form.
    pub max_message_size: u64,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            lock_duration: DEFAULT_LOCK,
            max_delivery_count: DEFAULT_DELIVERIES,
            duplicate_detection_window: None,
            default_message_time_to_live: None,
            dead_lettering_on_message_expiration: false,
            max_message_size: DEFAULT_MESSAGE_SIZE,
        }
    }
}

impl QueueSettings {
    /// Azure's window of duplicate detection when it is turned on and nothing is said about it.
    pub const DEFAULT_DUPLICATE_DETECTION_WINDOW: Duration = Duration::from_secs(10 * 60);

    pub(super) fn check(&self) -> Result<(), BrokerError> {
        let bad = |what: &str| Err(BrokerError::BadRequest(what.to_owned()));
        if self.lock_duration.is_zero() || self.lock_duration > LONGEST_LOCK {
            return bad("lockDuration must be above 0 and at most 5 minutes");
        }
        if self.max_delivery_count == 0 {
            return bad("maxDeliveryCount must be at least 1");
        }
        let (shortest, longest) = DUPLICATE_WINDOW;
        if self.duplicate_detection_window.is_some_and(|window| window < shortest || window > longest) {
            return bad("duplicateDetectionHistoryTimeWindow must be from 20 seconds to 7 days");
        }
        Ok(())
    }
}

/// How many messages a queue holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueCounts {
    /// Neither scheduled nor deferred; includes those that are locked now, as in Azure's `activeMessageCount`.
    pub active: usize,
    /// Not visible yet.
    pub scheduled: usize,
    /// In the dead-letter sub-queue.
    pub dead_letter: usize,
    /// Locked now by a receiver, in the queue itself.
    pub locked: usize,
    /// Put aside.
    pub deferred: usize,
}

/// A queue.
pub(super) struct Queue {
    name: String,
    settings: QueueSettings,
    last_sequence_number: i64,
    accepted: u64,
    live: Store,
    dead: Store,
    duplicates: DuplicateHistory,
    changed: watch::Sender<u64>,
}

impl Queue {
    pub(super) fn new(name: String, settings: QueueSettings) -> Self {
        let (live, dead) = (Store::default(), Store::default());
        let duplicates = DuplicateHistory::default();
        Self {
            name,
            settings,
            last_sequence_number: 0,
            accepted: 0,
            live,
            dead,
            duplicates,
            changed: watch::Sender::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    pub(super) fn set_settings(&mut self, settings: QueueSettings) {
        if settings.duplicate_detection_window.is_none() {
            self.duplicates.clear();
        }
        self.settings = settings;
    }

    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn poke(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    fn store(&mut self, path: &EntityPath) -> &mut Store {
        if path.is_dead_letter() { &mut self.dead } else { &mut self.live }
    }

    pub(super) fn counts(&self) -> QueueCounts {
        QueueCounts {
            active: self.live.len() - self.live.scheduled() - self.live.deferred(),
            scheduled: self.live.scheduled(),
            dead_letter: self.dead.len(),
            locked: self.live.locked(),
            deferred: self.live.deferred(),
        }
    }

    pub(super) fn accepted(&self) -> u64 {
        self.accepted
    }

    pub(super) fn next_due(&self) -> Option<OffsetDateTime> {
        self.live.next_due().into_iter().chain(self.dead.next_due()).min()
    }

    /// Applies everything that has become due, in the order in which it did.
    pub(super) fn advance(&mut self, now: OffsetDateTime) {
        let mut changed = false;
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            changed = true;
            // A message that becomes visible is appended as if it were sent at that moment, with a new number:
            // https://learn.microsoft.com/azure/service-bus-messaging/message-sequencing
            while let Some(mut stored) = self.live.take_scheduled(due) {
                self.last_sequence_number += 1;
                stored.sequence_number = self.last_sequence_number;
                stored.state = MessageState::Active;
                self.live.insert(stored);
            }
            while let Some(sequence_number) = self.live.take_ended_lock(due) {
                self.give_back(sequence_number, due);
            }
            while self.dead.take_ended_lock(due).is_some() {}
            while let Some(stored) = self.live.take_expired(due) {
                self.expire(stored);
            }
        }
        if changed {
            self.poke();
        }
    }

    /// A message whose lock ended: to its place in the queue, or to the dead letters if it was delivered too often.
    fn give_back(&mut self, sequence_number: i64, now: OffsetDateTime) {
        let limit = self.settings.max_delivery_count;
        let expired = |stored: &Stored| stored.expires_at.is_some_and(|at| at <= now);
        let Some(stored) = self.live.take_if(sequence_number, |s| expired(s) || s.deliveries >= limit) else {
            return;
        };
        if expired(&stored) {
            // The lock kept it from expiring; now it does.
            self.expire(stored);
        } else {
            let why = format!("Message could not be consumed after {limit} delivery attempts.");
            self.bury(stored, "MaxDeliveryCountExceeded", &why);
        }
    }

    fn expire(&mut self, stored: Stored) {
        if self.settings.dead_lettering_on_message_expiration {
            self.bury(stored, "TTLExpiredException", "The message expired and was dead lettered.");
        }
    }

    /// Moves a message to the dead-letter sub-queue. There it keeps its number and never expires.
    fn bury(&mut self, mut stored: Stored, reason: &str, description: &str) {
        stored.message.set_property("DeadLetterReason", SimpleValue::String(reason.to_owned()));
        stored
            .message
            .set_property("DeadLetterErrorDescription", SimpleValue::String(description.to_owned()));
        stored.dead_letter_source = Some(self.name.clone());
        stored.state = MessageState::Active;
        stored.expires_at = None;
        stored.lock = None;
        self.dead.insert(stored);
    }

    pub(super) fn send(
        &mut self,
        messages: Vec<BrokerMessage>,
        now: OffsetDateTime,
    ) -> Result<Vec<i64>, BrokerError> {
        let limit = self.settings.max_message_size;
        if let Some(size) = messages.iter().map(BrokerMessage::size).find(|size| *size > limit) {
            return Err(BrokerError::MessageTooLarge { size, limit });
        }
        let numbers = messages.into_iter().map(|message| self.put(message, now)).collect();
        self.poke();
        Ok(numbers)
    }

    fn put(&mut self, mut message: BrokerMessage, now: OffsetDateTime) -> i64 {
        if let Some(window) = self.settings.duplicate_detection_window {
            self.duplicates.forget(window, now);
            if let Some(id) = message.message_id() {
                if let Some(first) = self.duplicates.first(&id) {
                    return first;
                }
                self.duplicates.remember(id, self.last_sequence_number + 1, now);
            }
        }
        self.last_sequence_number += 1;
        self.accepted += 1;
        let number = self.last_sequence_number;
        message.ensure_id(|| Uuid::new_v5(&MESSAGE_IDS, format!("{}/{number}", self.name).as_bytes()));
        let visible = message.scheduled_enqueue_time().filter(|at| *at > now);
        let enqueued_time = visible.unwrap_or(now);
        let ttl = message.time_to_live().into_iter().chain(self.settings.default_message_time_to_live).min();
        // A longer time to live, or none, silently becomes the queue's default, and receivers see that one:
        // https://learn.microsoft.com/azure/service-bus-messaging/message-expiration#entity-level-expiration
        if let Some(ttl) = ttl {
            message.set_time_to_live(ttl);
        }
        let expires_at = ttl
            .and_then(|ttl| time::Duration::try_from(ttl).ok())
            .and_then(|ttl| enqueued_time.checked_add(ttl));
        self.live.insert(Stored {
            sequence_number: self.last_sequence_number,
            message,
            state: if visible.is_some() { MessageState::Scheduled } else { MessageState::Active },
            lock: None,
            deliveries: 0,
            enqueued_time,
            expires_at,
            dead_letter_source: None,
        });
        self.last_sequence_number
    }

    pub(super) fn receive(
        &mut self,
        path: &EntityPath,
        mode: ReceiveMode,
        tokens: &mut LockTokens,
        now: OffsetDateTime,
    ) -> Option<Delivery> {
        let lock_until = now + self.settings.lock_duration;
        let store = self.store(path);
        let sequence_number = store.first_ready()?;
        deliver(store, sequence_number, mode, tokens, lock_until)
    }

    pub(super) fn receive_deferred(
        &mut self,
        path: &EntityPath,
        sequence_numbers: &[i64],
        mode: ReceiveMode,
        tokens: &mut LockTokens,
        now: OffsetDateTime,
    ) -> Result<Vec<Delivery>, BrokerError> {
        let lock_until = now + self.settings.lock_duration;
        let store = self.store(path);
        for number in sequence_numbers {
            store
                .get(*number)
                .filter(|stored| stored.state == MessageState::Deferred && stored.lock.is_none())
                .ok_or(BrokerError::MessageNotFound(*number))?;
        }
        Ok(sequence_numbers
            .iter()
            .filter_map(|number| deliver(store, *number, mode, tokens, lock_until))
            .collect())
    }

    /// Settles a message; `properties` are set on it first, whatever happens to it.
    pub(super) fn settle(
        &mut self,
        path: &EntityPath,
        token: Uuid,
        settlement: Settlement,
        properties: &BTreeMap<String, SimpleValue>,
        now: OffsetDateTime,
    ) -> Result<(), BrokerError> {
        let store = self.store(path);
        let sequence_number = store.locked_by(token).ok_or(BrokerError::LockLost)?;
        let mut stored = store.remove(sequence_number).ok_or(BrokerError::LockLost)?;
        stored.lock = None;
        for (name, value) in properties {
            stored.message.set_property(name, value.clone());
        }
        match settlement {
            Settlement::Complete => {}
            Settlement::DeadLetter { reason, description } => self.bury(stored, &reason, &description),
            Settlement::Defer => {
                stored.state = MessageState::Deferred;
                store.insert(stored);
            }
            Settlement::Release => {
                stored.deliveries = stored.deliveries.saturating_sub(1);
                store.insert(stored);
            }
            Settlement::Abandon => {
                store.insert(stored);
                if !path.is_dead_letter() {
                    self.give_back(sequence_number, now);
                }
            }
        }
        self.poke();
        Ok(())
    }

    pub(super) fn renew(
        &mut self,
        path: &EntityPath,
        token: Uuid,
        now: OffsetDateTime,
    ) -> Result<OffsetDateTime, BrokerError> {
        let until = now + self.settings.lock_duration;
        let store = self.store(path);
        let sequence_number = store.locked_by(token).ok_or(BrokerError::LockLost)?;
        store.change(sequence_number, |stored| {
            if let Some(lock) = &mut stored.lock {
                lock.until = until;
            }
        });
        Ok(until)
    }

    pub(super) fn peek(&mut self, path: &EntityPath, from: i64, max: usize) -> Vec<Delivery> {
        let store = self.store(path);
        store
            .from(from)
            .take(max)
            .map(|stored| stored.delivery(stored.deliveries, Uuid::nil(), None))
            .collect()
    }

    pub(super) fn cancel_scheduled(&mut self, path: &EntityPath, numbers: &[i64]) -> Result<(), BrokerError> {
        let store = self.store(path);
        for number in numbers {
            store
                .get(*number)
                .filter(|stored| stored.state == MessageState::Scheduled)
                .ok_or(BrokerError::MessageNotFound(*number))?;
        }
        for number in numbers {
            store.remove(*number);
        }
        Ok(())
    }

    pub(super) fn purge(&mut self, path: &EntityPath) -> usize {
        let store = self.store(path);
        let count = store.len();
        *store = Store::default();
        count
    }

    pub(super) fn end_all_locks(&mut self, now: OffsetDateTime) {
        for sequence_number in self.live.end_all_locks() {
            self.give_back(sequence_number, now);
        }
        self.dead.end_all_locks();
        self.poke();
    }
}

/// Hands out a message: locks it, or takes it away.
fn deliver(
    store: &mut Store,
    sequence_number: i64,
    mode: ReceiveMode,
    tokens: &mut LockTokens,
    lock_until: OffsetDateTime,
) -> Option<Delivery> {
    if mode == ReceiveMode::ReceiveAndDelete {
        let stored = store.remove(sequence_number)?;
        return Some(stored.delivery(stored.deliveries, Uuid::nil(), None));
    }
    let token = tokens.next();
    store.change(sequence_number, |stored| {
        stored.lock = Some(super::lock::Lock { token, until: lock_until });
        let delivery = stored.delivery(stored.deliveries, token, Some(lock_until));
        stored.deliveries = stored.deliveries.saturating_add(1);
        delivery
    })
}
