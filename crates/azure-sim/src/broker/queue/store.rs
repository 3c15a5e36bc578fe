//! The messages of one queue or sub-queue, with what is needed to find the next one by each question in logarithmic time.

use std::collections::{BTreeMap, BTreeSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::broker::{BrokerMessage, Delivery, MessageState, lock::Lock};

/// A message in a queue.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) sequence_number: i64,
    pub(super) message: BrokerMessage,
    pub(super) state: MessageState,
    pub(super) lock: Option<Lock>,
    /// How many times it was handed out.
    pub(super) deliveries: u32,
    /// When it was or becomes visible.
    pub(super) enqueued_time: OffsetDateTime,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) dead_letter_source: Option<String>,
}

impl Stored {
    pub(super) fn delivery(
        &self,
        earlier_deliveries: u32,
        lock_token: Uuid,
        locked_until: Option<OffsetDateTime>,
    ) -> Delivery {
        Delivery {
            message: self.message.clone(),
            lock_token,
            locked_until,
            earlier_deliveries,
            sequence_number: self.sequence_number,
            enqueued_time: self.enqueued_time,
            expires_at: self.expires_at,
            dead_letter_source: self.dead_letter_source.clone(),
            state: self.state,
        }
    }
}

/// Messages by sequence number, and indexes that [`Store::index`] keeps in step.
#[derive(Debug, Default)]
pub(super) struct Store {
    messages: BTreeMap<i64, Stored>,
    /// Active and not locked.
    ready: BTreeSet<i64>,
    scheduled: BTreeSet<(OffsetDateTime, i64)>,
    deferred: BTreeSet<i64>,
    lock_ends: BTreeSet<(OffsetDateTime, i64)>,
    locks: BTreeMap<Uuid, i64>,
    /// Not locked, not scheduled, and with a time to live.
    expiries: BTreeSet<(OffsetDateTime, i64)>,
}

impl Store {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn scheduled(&self) -> usize {
        self.scheduled.len()
    }

    pub(super) fn deferred(&self) -> usize {
        self.deferred.len()
    }

    pub(super) fn locked(&self) -> usize {
        self.locks.len()
    }

    pub(super) fn get(&self, sequence_number: i64) -> Option<&Stored> {
        self.messages.get(&sequence_number)
    }

    /// All messages from `sequence_number` on.
    pub(super) fn from(&self, sequence_number: i64) -> impl Iterator<Item = &Stored> {
        self.messages.range(sequence_number..).map(|(_, stored)| stored)
    }

    pub(super) fn first_ready(&self) -> Option<i64> {
        self.ready.first().copied()
    }

    pub(super) fn locked_by(&self, token: Uuid) -> Option<i64> {
        self.locks.get(&token).copied()
    }

    /// The next moment at which something here happens by itself.
    pub(super) fn next_due(&self) -> Option<OffsetDateTime> {
        [&self.scheduled, &self.lock_ends, &self.expiries]
            .into_iter()
            .filter_map(|set| set.first().map(|(at, _)| *at))
            .min()
    }

    pub(super) fn insert(&mut self, stored: Stored) {
        self.index(&stored, true);
        self.messages.insert(stored.sequence_number, stored);
    }

    pub(super) fn remove(&mut self, sequence_number: i64) -> Option<Stored> {
        let stored = self.messages.remove(&sequence_number)?;
        self.index(&stored, false);
        Some(stored)
    }

    /// Takes a message out if it is there and `wanted` says so.
    pub(super) fn take_if(
        &mut self,
        sequence_number: i64,
        wanted: impl Fn(&Stored) -> bool,
    ) -> Option<Stored> {
        self.get(sequence_number).filter(|stored| wanted(stored))?;
        self.remove(sequence_number)
    }

    /// Changes a message in place.
    pub(super) fn change<R>(&mut self, sequence_number: i64, f: impl FnOnce(&mut Stored) -> R) -> Option<R> {
        let mut stored = self.remove(sequence_number)?;
        let out = f(&mut stored);
        self.insert(stored);
        Some(out)
    }

    /// Takes out a message whose scheduled time is `now` or before, the earliest first.
    pub(super) fn take_scheduled(&mut self, now: OffsetDateTime) -> Option<Stored> {
        let (_, number) = *self.scheduled.first().filter(|(at, _)| *at <= now)?;
        self.remove(number)
    }

    /// Takes away a lock that ended at `now` or before, the earliest first; the message stays.
    pub(super) fn take_ended_lock(&mut self, now: OffsetDateTime) -> Option<i64> {
        let (_, number) = *self.lock_ends.first().filter(|(at, _)| *at <= now)?;
        self.change(number, |stored| stored.lock = None).map(|()| number)
    }

    /// Takes out a message that expired at `now` or before, the earliest first.
    pub(super) fn take_expired(&mut self, now: OffsetDateTime) -> Option<Stored> {
        let (_, number) = *self.expiries.first().filter(|(at, _)| *at <= now)?;
        self.remove(number)
    }

    /// Takes all locks away; gives back whose they were, in order.
    pub(super) fn end_all_locks(&mut self) -> Vec<i64> {
        let numbers: Vec<i64> = self.lock_ends.iter().map(|(_, number)| *number).collect();
        for number in &numbers {
            self.change(*number, |stored| stored.lock = None);
        }
        numbers
    }

    fn index(&mut self, stored: &Stored, present: bool) {
        fn keep<T: Ord>(set: &mut BTreeSet<T>, item: T, present: bool) {
            if present {
                set.insert(item);
            } else {
                set.remove(&item);
            }
        }
        let number = stored.sequence_number;
        match stored.state {
            MessageState::Scheduled => keep(&mut self.scheduled, (stored.enqueued_time, number), present),
            MessageState::Deferred => keep(&mut self.deferred, number, present),
            MessageState::Active if stored.lock.is_none() => keep(&mut self.ready, number, present),
            MessageState::Active => {}
        }
        match (stored.lock, stored.expires_at) {
            (Some(lock), _) => {
                keep(&mut self.lock_ends, (lock.until, number), present);
                if present {
                    self.locks.insert(lock.token, number);
                } else {
                    self.locks.remove(&lock.token);
                }
            }
            // A lock keeps a message from expiring until it ends.
            (None, Some(at)) if stored.state != MessageState::Scheduled => {
                keep(&mut self.expiries, (at, number), present);
            }
            (None, _) => {}
        }
    }
}
