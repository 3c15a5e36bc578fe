use std::sync::Mutex as StdMutex;

use async_trait::async_trait;
use serde_json::{Map, Value};
use time::macros::datetime;
use tokio::sync::mpsc;

use super::*;
use crate::{bindings::Trigger, dispatch::InvocationFailed, events::HostEvent, outputs::HttpResponse};

const START: OffsetDateTime = datetime!(2026-11-22 13:00:30 UTC);

struct Handler {
    clock: Clock,
    takes: Duration,
    calls: StdMutex<Vec<(OffsetDateTime, bool, Value)>>,
    running: StdMutex<usize>,
}

#[async_trait]
impl Invoke for Handler {
    async fn invoke(
        &self,
        _: &FunctionMetadata,
        request: HandlerRequest,
    ) -> Result<Option<HttpResponse>, InvocationFailed> {
        let HandlerRequest::Generic(body) = request else { panic!("not a tick") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        let past_due = body["Data"]["t"]["IsPastDue"].as_bool().unwrap();
        self.calls.lock().unwrap().push((
            self.clock.now(),
            past_due,
            body["Data"]["t"]["ScheduleStatus"].clone(),
        ));
        *self.running.lock().unwrap() += 1;
        assert_eq!(*self.running.lock().unwrap(), 1, "runs overlap");
        tokio::time::sleep(self.takes).await;
        *self.running.lock().unwrap() -= 1;
        // A failure does not stop the schedule.
        Err(InvocationFailed("no".into()))
    }
}

struct Timer {
    clock: Clock,
    handler: Arc<Handler>,
    stop: tokio::sync::watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    _events: mpsc::UnboundedReceiver<HostEvent>,
}

fn start(folder: &Path, clock: &Clock, expression: &str, takes: Duration, on_startup: bool) -> Timer {
    let schedule = Schedule::parse(expression).unwrap();
    let trigger = TimerTrigger {
        name: "t".into(),
        use_monitor: !schedule.is_sub_minute(),
        schedule,
        run_on_startup: on_startup,
    };
    let handler = Arc::new(Handler {
        clock: clock.clone(),
        takes,
        calls: StdMutex::default(),
        running: StdMutex::default(),
    });
    let (events, received) = Events::channel();
    let listener = Listener {
        function: Arc::new(FunctionMetadata {
            name: "tick".into(),
            trigger: Trigger::Timer(trigger.clone()),
            outputs: vec![],
            disabled: false,
            config: Map::new(),
        }),
        trigger,
        invoker: handler.clone(),
        clock: clock.clone(),
        events,
        state: TimerState::new(folder, "tick"),
    };
    let (stop, stopped) = Stop::channel();
    let task = tokio::spawn(listener.run(stopped));
    Timer { clock: clock.clone(), handler, stop, task, _events: received }
}

impl Timer {
    async fn run_for(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    async fn stop(self) -> Vec<(OffsetDateTime, bool, Value)> {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
        self.handler.calls.lock().unwrap().clone()
    }
}

fn times(calls: &[(OffsetDateTime, bool, Value)]) -> Vec<(String, bool)> {
    calls
        .iter()
        .map(|(at, past_due, _)| (format!("{:02}:{:02}", at.hour(), at.minute()), *past_due))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_timer_fires_on_schedule_and_tells_its_status() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::virtual_from(START);
    let timer = start(folder.path(), &clock, "0 */5 * * * *", Duration::from_secs(1), false);
    timer.run_for(660).await;
    let calls = timer.stop().await;
    assert_eq!(times(&calls), [("13:05".into(), false), ("13:10".into(), false)]);
    assert_eq!(calls[0].2["Last"], "0001-01-01T00:00:00+00:00");
    assert_eq!(calls[1].2["Last"].as_str().unwrap().get(..19), Some("2026-11-22T13:05:00"));
    assert_eq!(calls[1].2["Next"], "2026-11-22T13:10:00+00:00");
}

#[tokio::test(start_paused = true)]
async fn missed_occurrences_give_one_run_that_is_past_due() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::virtual_from(START);
    let first = start(folder.path(), &clock, "0 */5 * * * *", Duration::from_secs(1), false);
    first.run_for(300).await;
    assert_eq!(first.stop().await.len(), 1);
    // 13:05:30; 13:10 and 13:15 pass with nobody there.
    clock.sleep(Duration::from_secs(720)).await;
    let second = start(folder.path(), &clock, "0 */5 * * * *", Duration::from_secs(1), false);
    second.run_for(240).await;
    assert_eq!(times(&second.stop().await), [("13:17".into(), true), ("13:20".into(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_changed_schedule_is_not_past_due() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::virtual_from(START);
    start(folder.path(), &clock, "0 */5 * * * *", Duration::from_secs(1), false).stop().await;
    clock.sleep(Duration::from_secs(3600)).await;
    let timer = start(folder.path(), &clock, "0 */7 * * * *", Duration::from_secs(1), false);
    timer.run_for(60).await;
    assert!(timer.stop().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn runs_never_overlap_and_one_that_was_overrun_follows_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::virtual_from(START);
    let timer = start(folder.path(), &clock, "0 */5 * * * *", Duration::from_secs(400), false);
    timer.run_for(1000).await;
    // 13:05 runs until 13:11:40, 13:10 was missed meanwhile and follows.
    assert_eq!(times(&timer.stop().await), [("13:05".into(), false), ("13:11".into(), false)]);
}

#[tokio::test(start_paused = true)]
async fn run_on_startup_runs_at_once_and_a_fast_schedule_has_no_status() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::virtual_from(START);
    let timer = start(folder.path(), &clock, "*/20 * * * * *", Duration::from_secs(1), true);
    timer.run_for(35).await;
    let calls = timer.stop().await;
    assert_eq!(times(&calls), [("13:00".into(), false), ("13:00".into(), false), ("13:01".into(), false)]);
    assert!(calls.iter().all(|(_, _, status)| status.is_null()));
    assert!(TimerState::new(folder.path(), "tick").read().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn of_two_hosts_one_fires() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::virtual_from(START);
    let one = start(folder.path(), &clock, "0 */5 * * * *", Duration::from_secs(1), false);
    let two = start(folder.path(), &clock, "0 */5 * * * *", Duration::from_secs(1), false);
    one.run_for(290).await;
    let first = one.stop().await.len();
    // The other takes over once the lock is free.
    two.run_for(310).await;
    assert_eq!((first, two.stop().await.len()), (1, 1));
}

#[test]
fn a_new_timer_records_its_first_occurrence() {
    let schedule = Schedule::parse("0 */5 * * * *").unwrap();
    let start = check_past_due(None, &schedule, START).unwrap();
    assert!(start.changed && !start.past_due);
    assert_eq!(start.status.next, datetime!(2026-11-22 13:05 UTC));
    // Nothing fired, and the host was away at 13:05.
    let later = check_past_due(Some(start.status), &schedule, datetime!(2026-11-22 13:06 UTC)).unwrap();
    assert!(later.past_due && !later.changed);
}
