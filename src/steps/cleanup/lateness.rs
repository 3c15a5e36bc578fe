//! From when on a message that did not come counts as lost.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime};

use crate::{
    domain::Queue,
    ledger::{Backlog, Entry},
};

/// A message that is late by this is taken as lost: the timer's period, so that what was lost goes on within two of them.
pub(super) const LOST_AFTER: Duration = Duration::minutes(10);
/// So long a backlog counts after a message was taken from it: two ticks. Where nobody takes any for longer, none may be left.
const BACKLOG_COUNTS: Duration = Duration::minutes(20);

/// What a tick goes by.
#[derive(Debug)]
pub(super) struct Lateness {
    pub(super) now: OffsetDateTime,
    /// The queues with a backlog, and since when the message had waited that was taken last.
    reached: BTreeMap<Queue, OffsetDateTime>,
}

impl Lateness {
    /// That of a tick at `now`, by these backlogs.
    pub(super) fn by(now: OffsetDateTime, backlogs: Vec<Backlog>) -> Self {
        let fresh = backlogs.into_iter().filter(|backlog| now - backlog.at < BACKLOG_COUNTS);
        Self { now, reached: fresh.map(|backlog| (backlog.queue, backlog.reached)).collect() }
    }

    /// Whether a message of this queue that was to come at `due` is lost. Where there is a backlog, only if later ones were taken.
    pub(super) fn is_lost(&self, queue: Queue, due: OffsetDateTime) -> bool {
        let reached = self.reached.get(&queue).map_or(self.now, |reached| self.now.min(*reached));
        reached - due > LOST_AFTER
    }

    /// Whether a document is worth reading: its listing says that the message of its next step is lost, or does not say it.
    pub(super) fn may_be_lost(&self, entry: &Entry) -> bool {
        match (entry.wake_at, entry.wakes) {
            (Some(due), Some(queue)) => self.is_lost(queue, due),
            (Some(due), None) => self.now - due > LOST_AFTER,
            (None, _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::fixtures::{NOW, ago};

    fn backlog(queue: Queue, reached: i64, noted: i64) -> Backlog {
        Backlog { queue, reached: ago(reached), at: ago(noted) }
    }

    #[test]
    fn what_waits_in_a_backlog_is_not_lost_unless_later_messages_were_taken() {
        let lateness = Lateness::by(NOW, vec![backlog(Queue::CopyImage, 60, 1)]);
        let lost = |minutes| lateness.is_lost(Queue::CopyImage, ago(minutes));
        assert_eq!([11, 60, 69, 71].map(lost), [false, false, false, true]);
        assert!(lateness.is_lost(Queue::RetireImages, ago(11)), "its queue has none");
    }

    #[test]
    fn a_backlog_counts_as_long_as_messages_are_taken_from_it() {
        for (noted, expected) in [(19, false), (21, true)] {
            let lateness = Lateness::by(NOW, vec![backlog(Queue::CopyImage, 60, noted)]);
            assert_eq!(lateness.is_lost(Queue::CopyImage, ago(30)), expected, "noted {noted} minutes ago");
        }
    }

    #[test]
    fn a_note_of_the_future_makes_nothing_lost_that_is_not() {
        let lateness = Lateness::by(NOW, vec![backlog(Queue::CopyImage, -60, -60)]);
        assert!(!lateness.is_lost(Queue::CopyImage, ago(9)));
    }
}
