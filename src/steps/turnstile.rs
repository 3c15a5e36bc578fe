//! The turnstile before Resource Manager: where more is ready than it takes, each gets a place in its subscription's row.
//!
//! Copies end when they end, and those of one image to many labs end together. Each then costs a write and some reads, and more of them
//! where an older image retires; Azure takes so many a second of one principal in one subscription. Most of these come minutes later, when
//! the image stands, but one place is for all of them: so they come as evenly as the places do. The row stands in the ledger, so all
//! instances and all runs share it; a place that its owner does not use is lost, which costs a fraction of a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use factory_clock::Clock;
use time::OffsetDateTime;

use super::pace;
use crate::{
    azure::{AzureError, ETag, ErrorKind},
    ledger::{CopyRecord, Ledger, Row, StepState, WRITE_ATTEMPTS},
};

/// The row as this process wrote it last. Locked while a place is taken: an instance does not compete with itself.
type Known = Arc<tokio::sync::Mutex<Option<(Row, ETag)>>>;

/// The turnstiles of all subscriptions.
#[derive(Clone)]
pub struct Turnstile {
    ledger: Ledger,
    clock: Clock,
    known: Arc<Mutex<BTreeMap<String, Known>>>,
}

impl Turnstile {
    pub(super) fn new(ledger: Ledger, clock: Clock) -> Self {
        Self { ledger, clock, known: Arc::default() }
    }

    /// How much of its row a copy takes: for its registration, and for what its run lets retire after it.
    pub fn share(copy: &CopyRecord) -> Duration {
        pace::of_copy(copy.copies_beside(), copy.retired_beside())
    }

    /// How long a copy stands in its row at most.
    pub fn longest_wait(copy: &CopyRecord) -> Duration {
        pace::longest_row(copy.copies_beside(), Self::share(copy))
    }

    /// The time until it is a copy's turn in the row of its lab's subscription, of which it `takes` so much; `None` if it is its turn, or
    /// the run has few copies there and no row. The step's state keeps its place.
    ///
    /// # Errors
    /// Those of [`take_place`](Self::take_place).
    pub async fn until_turn(
        &self,
        copy: &CopyRecord,
        state: &mut StepState,
        takes: Duration,
    ) -> Result<Option<Duration>, AzureError> {
        if !pace::is_crowd(copy.copies_beside()) {
            return Ok(None);
        }
        let at = match state.facts.registers_at {
            Some(at) => at,
            None => self.take_place(copy.lab.subscription_id(), takes).await?,
        };
        state.facts.registers_at = Some(at);
        let wait = Duration::try_from(at - self.clock.now()).unwrap_or_default();
        Ok((!wait.is_zero()).then_some(wait))
    }

    /// What a copy had its turn for was refused: of a crowd it takes another place, behind all others.
    ///
    /// # Errors
    /// Those of [`take_place`](Self::take_place).
    pub async fn stand_again(
        &self,
        copy: &CopyRecord,
        state: &mut StepState,
        takes: Duration,
    ) -> Result<(), AzureError> {
        state.facts.registers_at = None;
        self.until_turn(copy, state, takes).await.map(drop)
    }

    /// Takes the next place in the row of a subscription, and so much of it; answers when it is.
    ///
    /// # Errors
    /// If the ledger refuses, or other instances are always faster (then it is transient).
    pub async fn take_place(
        &self,
        subscription_id: &str,
        takes: Duration,
    ) -> Result<OffsetDateTime, AzureError> {
        let known = {
            let mut rows = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            rows.entry(subscription_id.to_ascii_lowercase()).or_default().clone()
        };
        let mut known = known.lock().await;
        let mut attempts = WRITE_ATTEMPTS;
        loop {
            let read = match known.take() {
                Some(read) => Some(read),
                None => self.ledger.row(subscription_id).await?,
            };
            let (row, etag) = read.unzip();
            let (place, next) = pace::place(row.map(|row| row.next), self.clock.now(), takes);
            let row = Row { next };
            match self.ledger.put_row(subscription_id, row, etag).await {
                Ok(etag) => {
                    *known = Some((row, etag));
                    return Ok(place);
                }
                Err(error) if error.is_precondition() => {
                    attempts -= 1;
                    if attempts == 0 {
                        return Err(AzureError { kind: ErrorKind::Transient { retry_after: None }, ..error });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(all(test, feature = "dev"))]
mod tests {
    use std::collections::BTreeSet;

    use futures::future::try_join_all;

    use super::*;
    use crate::steps::fixtures::example;

    const SUBSCRIPTION: &str = "8D9F1E4A-1111-4222-8333-444455556666";
    /// More than go at once.
    const CROWD: usize = 500;
    const TAKES: Duration = Duration::from_millis(122);

    fn instance_of(factory: &crate::steps::Factory) -> Turnstile {
        Turnstile::new(factory.ledger.clone(), factory.clock.clone())
    }

    #[tokio::test(start_paused = true)]
    async fn all_instances_stand_in_one_row_and_nobody_has_anothers_place() {
        let (example, _) = example().await;
        let instances = [instance_of(&example.factory), instance_of(&example.factory)];
        let lower = SUBSCRIPTION.to_ascii_lowercase();
        let mut waits = Vec::new();
        for number in 0..CROWD {
            let id = if number % 3 == 0 { SUBSCRIPTION } else { &lower };
            waits.push(instances[number % 2].take_place(id, TAKES).await.unwrap());
        }
        let now = example.clock().now();
        let waiting: BTreeSet<_> = waits.iter().filter(|place| **place > now).collect();
        assert!(waiting.len() > 10, "those that wait have places of their own: {}", waiting.len());
        assert!(waits.iter().is_sorted());
        assert!(instances[0].take_place("other", TAKES).await.unwrap() <= example.clock().now());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_come_at_the_same_time_each_get_a_place() {
        let (example, _) = example().await;
        let one = instance_of(&example.factory);
        let places = try_join_all((0..CROWD).map(|_| one.take_place(SUBSCRIPTION, TAKES))).await.unwrap();
        let (row, _) = example.factory.ledger.row(SUBSCRIPTION).await.unwrap().unwrap();
        assert_eq!(places.len(), CROWD);
        assert!(places.iter().all(|place| *place <= row.next));
    }
}
