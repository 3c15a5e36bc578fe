//! schedule: a timer's tick is one run of everything, however often it fires.

use std::time::Duration;

use time::OffsetDateTime;
use tracing::warn;

use super::{Envelope, Factory, OutboxError, start_run};
use crate::{
    azure::AzureError,
    domain::{
        Message, RunId, RunReason,
        messages::{StartRun, Step},
    },
};

/// A timer never fires earlier than this before its time; what comes earlier was fired by hand.
const EARLY: Duration = Duration::from_secs(60);

/// Why a tick has no run: neither Service Bus nor the ledger took it. A timer's tick is not repeated, so this is for people.
#[derive(Debug, thiserror::Error)]
#[error("run {run} is not started: {outbox}; and it cannot be noted for cleanup either: {ledger}")]
pub struct ScheduleError {
    run: RunId,
    outbox: OutboxError,
    ledger: AzureError,
}

/// The moment that a tick stands for. `next` is the occurrence that the host's record says is due: of several that were missed it
/// is the first, and the same if the host died before it could record that it fired. Without a record, or where the next one is
/// still to come because somebody fired the timer by hand, it is the present minute.
fn occurrence(next: Option<OffsetDateTime>, now: OffsetDateTime) -> OffsetDateTime {
    let minute = |moment: OffsetDateTime| {
        moment.replace_second(0).and_then(|moment| moment.replace_nanosecond(0)).unwrap_or(moment)
    };
    // Hosts that have never fired record year 1.
    let is_due = |next: &OffsetDateTime| next.year() > 1 && *next <= now + EARLY;
    next.filter(is_due).unwrap_or_else(|| minute(now))
}

/// One tick of the timer; answers what it did, in a line.
///
/// # Errors
/// If neither Service Bus nor the ledger takes the run.
pub async fn tick(factory: &Factory, next: Option<OffsetDateTime>) -> Result<String, ScheduleError> {
    let run = RunId::timer(occurrence(next, factory.clock.now()));
    let start = StartRun::of_everything(RunReason::Schedule);
    let message = Message::first(run.clone(), Step::StartRun(start.clone()));
    let Err(outbox) = factory.outbox.send(vec![Envelope::now(message)]).await else {
        return Ok(format!("run {run} is asked for"));
    };
    warn!(error = %outbox, %run, "the run's message is not sent; cleanup will find that it is missing");
    match start_run::note(factory, &run, &start).await {
        Ok(()) => Ok(format!("run {run} is noted in the ledger; cleanup sends its message")),
        Err(ledger) => Err(ScheduleError { run, outbox, ledger }),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-11-22 01:00:02.5 UTC);

    #[test]
    fn a_tick_stands_for_the_occurrence_that_was_due_however_late_it_comes() {
        let due = datetime!(2026-11-22 01:00 UTC);
        for late in [0, 7, 86_400] {
            assert_eq!(occurrence(Some(due), NOW + Duration::from_secs(late)), due);
        }
        assert_eq!(occurrence(Some(due), due - Duration::from_millis(20)), due, "a little early");
        let elsewhere = datetime!(2026-11-22 02:00 +1);
        assert_eq!(RunId::timer(occurrence(Some(elsewhere), NOW)), RunId::timer(due));
    }

    #[test]
    fn without_a_due_occurrence_it_is_the_present_minute() {
        let minute = datetime!(2026-11-22 01:00 UTC);
        let tomorrow = datetime!(2026-11-23 01:00 UTC);
        for next in [None, Some(tomorrow), Some(datetime!(0001-01-01 0:00 UTC))] {
            assert_eq!(occurrence(next, NOW), minute);
        }
    }

    #[cfg(feature = "dev")]
    mod with_a_broker {
        use super::*;
        use crate::{
            azure::ErrorKind,
            ledger::{ItemStatus, Key, RunRecord},
            steps::{Outbox, cleanup, fixtures::example},
        };
        use std::sync::Arc;

        /// A Service Bus that takes nothing.
        struct Refusing;

        #[async_trait::async_trait]
        impl Outbox for Refusing {
            async fn send(&self, _: Vec<Envelope>) -> Result<(), OutboxError> {
                Err(OutboxError { queue: "start-run".to_owned(), reason: "it is away".to_owned() })
            }
        }

        #[tokio::test(start_paused = true)]
        async fn a_tick_that_fires_twice_is_one_run_of_everything() {
            let (example, builds) = example().await;
            let due = example.clock().now();
            for _ in 0..2 {
                tick(&example.factory, Some(due)).await.unwrap();
                example.clock().sleep(Duration::from_secs(1200)).await;
            }
            assert!(example.run_until_settled().await);
            let runs = example.factory.ledger.runs().await.unwrap();
            assert_eq!(runs.len(), 1);
            let (run, _) = example.factory.ledger.read::<RunRecord>(&runs[0].key).await.unwrap().unwrap();
            assert_eq!((run.run.clone(), run.reason), (RunId::timer(due), RunReason::Schedule));
            assert_eq!((run.builds.len(), runs[0].status), (builds, ItemStatus::Succeeded));
        }

        #[tokio::test(start_paused = true)]
        async fn a_tick_that_service_bus_does_not_take_is_started_by_cleanup() {
            let (example, _) = example().await;
            let due = example.clock().now();
            let away = Factory { outbox: Arc::new(Refusing), ..(*example.factory).clone() };
            tick(&away, Some(due)).await.unwrap();
            assert_eq!(example.messages(), 0);
            let key = Key::run(&RunId::timer(due));
            assert_eq!(example.factory.ledger.status(&key).await.unwrap(), Some(ItemStatus::Open));
            example.clock().sleep(Duration::from_secs(900)).await;
            cleanup::tick(&example.factory).await.unwrap();
            assert_eq!(example.messages(), 1);
        }

        #[tokio::test(start_paused = true)]
        async fn a_tick_that_nothing_takes_says_so() {
            use azure_sim::control::{FaultsSpec, HttpFaultSpec, set_faults};
            let (example, _) = example().await;
            let fault = HttpFaultSpec {
                url_part: "/runs/".to_owned(),
                times: Some(50),
                status: Some(503),
                ..Default::default()
            };
            set_faults(&example.sim, &FaultsSpec { http: vec![fault], ..Default::default() });
            let away = Factory { outbox: Arc::new(Refusing), ..(*example.factory).clone() };
            let error = tick(&away, None).await.unwrap_err();
            assert!(matches!(error.ledger.kind, ErrorKind::Transient { .. }));
            assert!(error.to_string().contains("it is away"), "{error}");
        }
    }
}
