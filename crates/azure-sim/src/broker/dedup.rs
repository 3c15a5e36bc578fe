//! Duplicate detection
//! (<https://learn.microsoft.com/azure/service-bus-messaging/duplicate-detection>).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use time::OffsetDateTime;

/// The message ids of a window of time.
#[derive(Debug, Default)]
pub(super) struct DuplicateHistory {
    /// Message id to the sequence number of the first message that had it.
    seen: BTreeMap<String, i64>,
    /// The same ids, oldest first.
    order: VecDeque<(OffsetDateTime, String)>,
}

impl DuplicateHistory {
    /// Forgets what is older than `window`.
    pub(super) fn forget(&mut self, window: Duration, now: OffsetDateTime) {
        while self.order.front().is_some_and(|(at, _)| now - *at >= window) {
            if let Some((_, id)) = self.order.pop_front() {
                self.seen.remove(&id);
            }
        }
    }

    /// The number of the message that had `id` within the window.
    pub(super) fn first(&self, id: &str) -> Option<i64> {
        self.seen.get(id).copied()
    }

    /// Remembers that message `sequence_number` had `id`.
    pub(super) fn remember(&mut self, id: String, sequence_number: i64, now: OffsetDateTime) {
        self.order.push_back((now, id.clone()));
        self.seen.insert(id, sequence_number);
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
