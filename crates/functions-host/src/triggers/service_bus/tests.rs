use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use serde_json::{Map, Value};
use time::macros::datetime;
use tokio::sync::{Notify, mpsc, watch};

use super::*;
use crate::{
    bindings::{DataType, EntityPath, Trigger},
    dispatch::InvocationFailed,
    outputs::HttpResponse,
    payload::service_bus::Message,
};

/// How long the queue's locks hold.
const LOCK: time::Duration = time::Duration::seconds(60);

/// A queue in memory, with locks by the clock.
struct Queue {
    clock: Clock,
    waiting: Mutex<Vec<Message>>,
    locked: Mutex<BTreeMap<Uuid, (Message, OffsetDateTime)>>,
    completed: Mutex<Vec<i64>>,
    renewals: Mutex<Vec<OffsetDateTime>>,
    arrived: Notify,
}

impl Queue {
    fn new(clock: &Clock, bodies: &[&str]) -> Arc<Self> {
        let messages = bodies
            .iter()
            .zip(1_i64..=100)
            .map(|(body, number)| Message { sequence_number: number, ..Message::from_input(body) });
        Arc::new(Self {
            clock: clock.clone(),
            waiting: Mutex::new(messages.collect::<Vec<_>>().into_iter().rev().collect()),
            locked: Mutex::default(),
            completed: Mutex::default(),
            renewals: Mutex::default(),
            arrived: Notify::new(),
        })
    }

    fn completed(&self) -> Vec<i64> {
        self.completed.lock().unwrap().clone()
    }

    fn waiting(&self) -> Vec<(i64, i64)> {
        self.waiting.lock().unwrap().iter().rev().map(|m| (m.sequence_number, m.delivery_count)).collect()
    }

    fn take(&self, max: usize) -> Vec<LockedMessage> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(max);
        let at = waiting.len() - count;
        waiting
            .split_off(at)
            .into_iter()
            .rev()
            .map(|mut message| {
                message.delivery_count += 1;
                message.lock_token = Uuid::new_v4();
                let locked_until = self.clock.now() + LOCK;
                self.locked.lock().unwrap().insert(message.lock_token, (message.clone(), locked_until));
                LockedMessage { message, locked_until }
            })
            .collect()
    }

    fn unlock(&self, lock: Uuid) -> Result<Message, MessagingError> {
        match self.locked.lock().unwrap().remove(&lock) {
            Some((message, until)) if until >= self.clock.now() => Ok(message),
            _ => Err(MessagingError("the lock is lost".into())),
        }
    }
}

#[async_trait]
impl MessageSource for Queue {
    async fn receive(&self, max: usize, max_wait: Duration) -> Result<Vec<LockedMessage>, MessagingError> {
        // A real broker is never there at once; without this an abandoned message would come round for ever.
        tokio::task::yield_now().await;
        let taken = self.take(max);
        if !taken.is_empty() {
            return Ok(taken);
        }
        let _ = tokio::time::timeout(max_wait, self.arrived.notified()).await;
        Ok(self.take(max))
    }

    async fn complete(&self, lock: Uuid) -> Result<(), MessagingError> {
        let message = self.unlock(lock)?;
        self.completed.lock().unwrap().push(message.sequence_number);
        Ok(())
    }

    async fn abandon(&self, lock: Uuid) -> Result<(), MessagingError> {
        let message = self.unlock(lock)?;
        self.waiting.lock().unwrap().push(message);
        self.arrived.notify_one();
        Ok(())
    }

    async fn renew(&self, lock: Uuid) -> Result<OffsetDateTime, MessagingError> {
        let now = self.clock.now();
        let mut locked = self.locked.lock().unwrap();
        let (_, until) = locked.get_mut(&lock).ok_or_else(|| MessagingError("the lock is lost".into()))?;
        *until = now + LOCK;
        self.renewals.lock().unwrap().push(now);
        Ok(*until)
    }
}

type Handler = Box<dyn Fn(Value) -> (Duration, bool) + Send + Sync>;

/// A handler that takes a while and succeeds or not, and remembers how many calls it had at once.
struct Handlers {
    handler: Handler,
    running: Mutex<(usize, usize)>,
    calls: mpsc::UnboundedSender<Value>,
}

#[async_trait]
impl Invoke for Handlers {
    async fn invoke(
        &self,
        _: &FunctionMetadata,
        request: HandlerRequest,
    ) -> Result<Option<HttpResponse>, InvocationFailed> {
        let HandlerRequest::Generic(body) = request else { panic!("not a message") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        {
            let mut running = self.running.lock().unwrap();
            running.0 += 1;
            running.1 = running.1.max(running.0);
        }
        let _ = self.calls.send(body.clone());
        let (takes, success) = (self.handler)(body);
        tokio::time::sleep(takes).await;
        self.running.lock().unwrap().0 -= 1;
        if success { Ok(None) } else { Err(InvocationFailed("no".into())) }
    }
}

struct World {
    clock: Clock,
    queue: Arc<Queue>,
    handlers: Arc<Handlers>,
    calls: mpsc::UnboundedReceiver<Value>,
    stop: watch::Sender<bool>,
    listener: tokio::task::JoinHandle<()>,
    _events: mpsc::UnboundedReceiver<HostEvent>,
}

fn start(
    bodies: &[&str],
    options: ServiceBusOptions,
    cardinality: Cardinality,
    handler: impl Fn(Value) -> (Duration, bool) + Send + Sync + 'static,
) -> World {
    let clock = Clock::virtual_from(datetime!(2026-11-22 13:00 UTC));
    let queue = Queue::new(&clock, bodies);
    let (events, received) = Events::channel();
    let (calls, called) = mpsc::unbounded_channel();
    let handlers = Arc::new(Handlers { handler: Box::new(handler), running: Mutex::default(), calls });
    let trigger = ServiceBusTrigger {
        name: "msg".into(),
        entity: EntityPath("q".into()),
        connection: "SB".into(),
        data_type: (cardinality == Cardinality::One).then_some(DataType::String),
        cardinality,
    };
    let function = Arc::new(FunctionMetadata {
        name: "f".into(),
        trigger: Trigger::ServiceBus(trigger.clone()),
        outputs: vec![],
        disabled: false,
        config: Map::new(),
    });
    let listener = Listener {
        function,
        trigger,
        source: queue.clone(),
        invoker: handlers.clone(),
        options,
        clock: clock.clone(),
        events,
        fully_qualified_namespace: "ns".into(),
        client_identifier: "ns-1".into(),
    };
    let (stop, stopped) = Stop::channel();
    let listener = tokio::spawn(listener.run(stopped));
    World { clock, queue, handlers, calls: called, stop, listener, _events: received }
}

impl World {
    async fn finish(self) -> (Arc<Queue>, Arc<Handlers>) {
        self.stop.send(true).unwrap();
        self.listener.await.unwrap();
        (self.queue, self.handlers)
    }
}

#[tokio::test(start_paused = true)]
async fn messages_are_completed_on_success_and_never_more_run_than_allowed() {
    let options = ServiceBusOptions { max_concurrent_calls: 2, ..Default::default() };
    let world =
        start(&["a", "b", "c", "d", "e"], options, Cardinality::One, |_| (Duration::from_secs(5), true));
    world.clock.sleep(Duration::from_secs(60)).await;
    let (queue, handlers) = world.finish().await;
    let mut completed = queue.completed();
    completed.sort_unstable();
    assert_eq!(completed, [1, 2, 3, 4, 5]);
    assert_eq!(handlers.running.lock().unwrap().1, 2);
}

#[tokio::test(start_paused = true)]
async fn only_as_many_messages_are_locked_as_can_run_unless_some_are_prefetched() {
    for (prefetch_count, expected) in [(0, 2), (2, 4)] {
        let options = ServiceBusOptions { max_concurrent_calls: 2, prefetch_count, ..Default::default() };
        let world =
            start(&["a", "b", "c", "d", "e"], options, Cardinality::One, |_| (Duration::from_secs(50), true));
        world.clock.sleep(Duration::from_secs(10)).await;
        assert_eq!(world.queue.locked.lock().unwrap().len(), expected);
        world.listener.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_message_is_abandoned_and_comes_again_at_once_with_a_higher_count() {
    let world = start(&["a"], ServiceBusOptions::default(), Cardinality::One, |body| {
        (Duration::from_secs(1), body["Metadata"]["DeliveryCount"] == "3")
    });
    world.clock.sleep(Duration::from_secs(20)).await;
    let mut world = world;
    let counts: Vec<Value> = std::iter::from_fn(|| world.calls.try_recv().ok())
        .map(|b| b["Metadata"]["DeliveryCount"].clone())
        .collect();
    assert_eq!(counts, ["1", "2", "3"]);
    let (queue, _) = world.finish().await;
    assert_eq!(queue.completed(), [1]);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_renewed_ten_seconds_before_it_ends() {
    let world =
        start(&["a"], ServiceBusOptions::default(), Cardinality::One, |_| (Duration::from_secs(170), true));
    world.clock.sleep(Duration::from_secs(200)).await;
    let (queue, _) = world.finish().await;
    assert_eq!(queue.completed(), [1]);
    let renewals: Vec<i64> = queue
        .renewals
        .lock()
        .unwrap()
        .iter()
        .map(|at| (*at - datetime!(2026-11-22 13:00 UTC)).whole_seconds())
        .collect();
    assert_eq!(renewals, [50, 100, 150]);
}

#[tokio::test(start_paused = true)]
async fn renewal_ends_after_its_time_and_the_completion_then_fails() {
    let options = ServiceBusOptions {
        max_auto_lock_renewal_duration: Some(Duration::from_secs(60)),
        ..Default::default()
    };
    let world = start(&["a"], options, Cardinality::One, |_| (Duration::from_secs(170), true));
    world.clock.sleep(Duration::from_secs(200)).await;
    let (queue, _) = world.finish().await;
    assert_eq!(queue.renewals.lock().unwrap().len(), 1);
    assert!(queue.completed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_settled_as_a_whole_and_no_lock_is_renewed() {
    let world = start(&["{}", "5"], ServiceBusOptions::default(), Cardinality::Many, |body| {
        (Duration::from_secs(55), body["Metadata"]["DeliveryCountArray"] == "[2,2]")
    });
    world.clock.sleep(Duration::from_secs(54)).await;
    assert_eq!(world.queue.locked.lock().unwrap().len(), 2);
    world.clock.sleep(Duration::from_secs(70)).await;
    let (queue, handlers) = world.finish().await;
    let mut completed = queue.completed();
    completed.sort_unstable();
    assert_eq!(completed, [1, 2]);
    assert!(queue.renewals.lock().unwrap().is_empty());
    assert_eq!(handlers.running.lock().unwrap().1, 1);
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_the_fewest_messages_but_not_for_ever() {
    let options = ServiceBusOptions { min_message_batch_size: 3, ..Default::default() };
    let mut world = start(&["1", "2"], options, Cardinality::Many, |_| (Duration::from_secs(1), true));
    world.clock.sleep(Duration::from_secs(29)).await;
    assert!(world.calls.try_recv().is_err());
    world.clock.sleep(Duration::from_secs(3)).await;
    assert_eq!(world.calls.try_recv().unwrap()["Data"]["msg"], "[1,2]");
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_cannot_be_bound_is_given_back_without_asking_the_handler() {
    let mut world = start(&["{}", "no json"], ServiceBusOptions::default(), Cardinality::Many, |_| {
        (Duration::ZERO, true)
    });
    tokio::task::yield_now().await;
    world.stop.send(true).unwrap();
    let _ = (&mut world.listener).await;
    assert!(world.calls.try_recv().is_err());
    assert!(world.queue.waiting().iter().all(|(_, count)| *count >= 1));
    assert_eq!(world.queue.waiting().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn stopping_waits_for_what_runs_and_takes_nothing_new() {
    let options = ServiceBusOptions { max_concurrent_calls: 1, prefetch_count: 1, ..Default::default() };
    let world = start(&["a", "b", "c"], options, Cardinality::One, |_| (Duration::from_secs(5), true));
    world.clock.sleep(Duration::from_secs(2)).await;
    let (queue, _) = world.finish().await;
    assert_eq!(queue.completed(), [1]);
    // The prefetched one is given back, the last was never touched.
    assert_eq!(queue.waiting(), [(2, 1), (3, 0)]);
}

#[test]
fn a_renewal_waits_until_shortly_before_the_end() {
    let now = datetime!(2026-11-22 13:00 UTC);
    let at = |seconds: i64, speed: f64| renew_delay(now + time::Duration::seconds(seconds), now, speed);
    assert_eq!(at(60, 1.0), Duration::from_secs(50));
    assert_eq!(at(10, 1.0), Duration::from_secs(5));
    // At 300 times the speed, 10 seconds would be 33 real milliseconds.
    assert_eq!(at(300, 300.0), Duration::from_secs(150));
    assert_eq!(at(-5, 1.0), RENEW_AT_ONCE / 4);
}
