//! Messages that wait long in their queue before anyone takes them, because there are more than the handlers take.
//!
//! Such a message is not lost, however late it is. If cleanup sent it again, the queue would grow by as much as it holds with every tick,
//! and each copy takes as long to be taken as what it is a copy of. So handlers note how far a queue is, and cleanup goes by it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use factory_clock::Clock;
use time::{Duration, OffsetDateTime};
use tracing::warn;

use crate::{
    domain::Queue,
    ledger::{Backlog, Ledger},
};

/// Who has waited no longer than this has waited in no backlog.
const WORTH_NOTING: Duration = Duration::minutes(5);
/// A handler notes how far a queue is at most this often.
const BETWEEN_NOTES: Duration = Duration::minutes(1);

/// Notes how far the queues are, where they have a backlog.
#[derive(Clone)]
pub struct Backlogs {
    ledger: Ledger,
    clock: Clock,
    /// When this process noted it last.
    noted: Arc<Mutex<BTreeMap<Queue, OffsetDateTime>>>,
}

impl Backlogs {
    pub(super) fn new(ledger: Ledger, clock: Clock) -> Self {
        Self { ledger, clock, noted: Arc::default() }
    }

    /// A message is taken that had come to its queue then. It must be its first delivery: others have waited for a lock.
    pub async fn taken(&self, queue: Queue, enqueued: OffsetDateTime) {
        let at = self.clock.now();
        if at - enqueued <= WORTH_NOTING || !self.is_time(queue, at) {
            return;
        }
        if let Err(error) = self.ledger.note_backlog(&Backlog { queue, reached: enqueued, at }).await {
            warn!(%error, %queue, "how far the queue is, is not noted");
        }
    }

    fn is_time(&self, queue: Queue, now: OffsetDateTime) -> bool {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = noted.get(&queue).is_none_or(|at| now - *at >= BETWEEN_NOTES);
        if is_time {
            noted.insert(queue, now);
        }
        is_time
    }
}

#[cfg(all(test, feature = "dev"))]
mod tests {
    use super::*;
    use crate::steps::fixtures::example;

    #[tokio::test(start_paused = true)]
    async fn long_waits_are_noted_now_and_then_and_short_ones_never() {
        let (example, _) = example().await;
        let (factory, clock) = (&example.factory, example.clock());
        let take = async |minutes| {
            factory.backlogs.taken(Queue::CopyImage, clock.now() - Duration::minutes(minutes)).await;
            let noted = factory.ledger.backlogs().await.unwrap();
            noted.first().map(|backlog| (clock.now() - backlog.reached).whole_minutes())
        };
        assert_eq!(take(4).await, None);
        assert_eq!(take(30).await, Some(30));
        assert_eq!(take(7).await, Some(30), "so soon again, it is not noted");
        clock.sleep(std::time::Duration::from_secs(60)).await;
        assert_eq!(take(7).await, Some(7));
    }
}
