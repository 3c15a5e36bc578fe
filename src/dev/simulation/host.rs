//! A Functions host that is unkind: messages come late, twice and in any order, timers are missed or fire twice, and
//! instances of the handler die, with or without the host around them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use azure_sim::broker::{BrokerMessage, Delivery};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    faults::HostFault,
    law::Law,
    watch::{Moment, Watch},
    wires::{Life, WatchedOutbox, WatchedTransport, Wires},
};
use crate::{
    dev::in_process::{CLEANUP_PERIOD, Instance, MAX_CONCURRENT_CALLS, Surroundings},
    domain::Queue,
};

/// A copy of a message comes within this, three times as long as duplicate detection's window.
const LATEST_DUPLICATE: Duration = Duration::from_secs(1800);
/// A delivery waits at most this long, twice as long as a lock lasts.
const LONGEST_DELAY: Duration = Duration::from_secs(600);
/// Instances' clocks are wrong by at most this much.
const LARGEST_SKEW: time::Duration = time::Duration::minutes(10);
/// The name that marks a copy of a message, so that copies are not copied again.
const COPY: &str = "copy-";

/// The host.
pub struct Host {
    surroundings: Surroundings,
    watch: Arc<Watch>,
    slots: Vec<Mutex<Running>>,
    lives: AtomicU32,
    deliveries: AtomicU64,
    /// Every message comes twice, the second one so much later.
    doubled: Option<Doubled>,
}

/// Which messages come twice, and how late their copies are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Doubled {
    /// The delivery with this number, counted from 1; all where `None`.
    pub delivery: Option<u64>,
    /// How much later.
    pub later: Duration,
}

#[derive(Clone)]
struct Running {
    instance: Instance,
    life: Arc<Life>,
}

impl Host {
    /// A host with so many instances.
    ///
    /// # Errors
    /// If an instance cannot be put together.
    pub fn new(
        surroundings: Surroundings,
        watch: Arc<Watch>,
        instances: usize,
        doubled: Option<Doubled>,
    ) -> anyhow::Result<Arc<Self>> {
        let (lives, deliveries) = (AtomicU32::new(0), AtomicU64::new(0));
        let mut host = Self { surroundings, watch, slots: Vec::new(), lives, deliveries, doubled };
        for _ in 0..instances.max(1) {
            let running = host.start_instance()?;
            host.slots.push(Mutex::new(running));
        }
        Ok(Arc::new(host))
    }

    /// An instance as a process that has just started: it remembers nothing.
    fn start_instance(&self) -> anyhow::Result<Running> {
        let life = Life::new(self.lives.fetch_add(1, Ordering::Relaxed) + 1);
        let name = format!("instance {}", life.number);
        let mut clock = self.surroundings.sim.clock().clone();
        if self.watch.strikes(HostFault::ClockSkew, &name) {
            clock = clock.skewed(LARGEST_SKEW * (2.0 * self.watch.draw("skew", &name) - 1.0));
        }
        let wires = Wires { watch: self.watch.clone(), life: life.clone() };
        let transport = WatchedTransport { wires: wires.clone(), inner: self.surroundings.transport() };
        let outbox = WatchedOutbox { wires, inner: self.surroundings.outbox() };
        let instance = Instance::new(&self.surroundings, clock, Arc::new(transport), Arc::new(outbox))?;
        Ok(Running { instance, life })
    }

    /// The instance that serves `subject`; one that died is replaced.
    fn instance(&self, subject: &str) -> anyhow::Result<Running> {
        let slot = self.watch.draw("instance", subject) * self.slots.len() as f64;
        let slot = &self.slots[(slot as usize).min(self.slots.len() - 1)];
        let mut running = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if running.life.is_over() {
            *running = self.start_instance()?;
        }
        Ok(running.clone())
    }

    /// Fires all triggers until the returned tasks are dropped.
    pub fn start(self: &Arc<Self>) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for queue in Queue::ALL {
            tasks.spawn(self.clone().pump(queue));
        }
        tasks.spawn(self.clone().clean_up());
        tasks.spawn(self.clone().restart_broker());
        tasks
    }

    async fn pump(self: Arc<Self>, queue: Queue) {
        let free = Arc::new(Semaphore::new(MAX_CONCURRENT_CALLS * self.slots.len()));
        let mut running = JoinSet::new();
        loop {
            let Ok(permit) = free.clone().acquire_owned().await else { return };
            let broker = &self.surroundings.broker;
            let Ok(deliveries) = broker.receive(queue.name(), 1, Duration::from_secs(3600)).await else {
                return;
            };
            if let Some(delivery) = deliveries.into_iter().next() {
                let host = self.clone();
                running.spawn(async move {
                    host.deliver(queue, delivery).await;
                    drop(permit);
                });
            }
            while running.try_join_next().is_some() {}
        }
    }

    async fn deliver(self: Arc<Self>, queue: Queue, delivery: Delivery) {
        let (broker, watch) = (&self.surroundings.broker, &self.watch);
        let id = delivery.message.message_id().unwrap_or_default();
        let number = self.deliveries.fetch_add(1, Ordering::Relaxed) + 1;
        self.copy(queue, &delivery, &id, number);
        if watch.strikes(HostFault::Delay, &id) {
            self.surroundings.sim.clock().sleep(LONGEST_DELAY.mul_f64(watch.draw("delay", &id))).await;
        }
        let running = match self.instance(&id) {
            Ok(running) => running,
            Err(error) => return watch.broken(Law::Tellable, format!("an instance does not start: {error}")),
        };
        let life = running.life.number;
        watch.note(|| format!("instance {life} gets {id} (delivery {})", delivery.earlier_deliveries + 1));
        let wires = Wires { watch: watch.clone(), life: running.life.clone() };
        let serve = async {
            let succeeded = running.instance.deliver(queue, &delivery, watch.now()).await;
            wires.point(Moment::After, "the answer to the host").await;
            succeeded
        };
        let succeeded = tokio::select! {
            biased;
            () = running.life.ended() => None,
            succeeded = serve => Some(succeeded),
        };
        watch.note(|| format!("instance {life} ends {id}: {succeeded:?}"));
        // A lock that was lost meanwhile is no news: the message comes again.
        let _ = match succeeded {
            Some(true) => broker.complete(queue.name(), delivery.lock_token),
            // Nobody is left to give it back.
            None if watch.strikes(HostFault::HostGone, &format!("life {life}")) => Ok(()),
            Some(false) | None => broker.abandon(queue.name(), delivery.lock_token),
        };
    }

    /// Lets the message come once more, if it shall.
    fn copy(&self, queue: Queue, delivery: &Delivery, id: &str, number: u64) {
        if id.starts_with(COPY) {
            return;
        }
        let doubled = self.doubled.filter(|doubled| doubled.delivery.is_none_or(|only| only == number));
        let send = |later: Duration| {
            let at = self.watch.now() + later;
            // Another MessageId, as if duplicate detection had forgotten the first one.
            let copy = BrokerMessage::new(delivery.message.body())
                .with_message_id(format!("{COPY}{}-{number}-{id}", later.as_millis()))
                .with_scheduled_enqueue_time(at);
            if let Err(error) = self.surroundings.broker.send(queue.name(), vec![copy]) {
                self.watch.broken(Law::Tellable, format!("the copy of {id} cannot be sent: {error}"));
            }
        };
        if let Some(doubled) = doubled {
            send(doubled.later);
        }
        if self.watch.strikes(HostFault::Duplicate, id) {
            send(Duration::ZERO);
        }
        if self.watch.strikes(HostFault::LateDuplicate, id) {
            send(LATEST_DUPLICATE.mul_f64(self.watch.draw("late", id)));
        }
    }

    async fn clean_up(self: Arc<Self>) {
        let mut ticks = JoinSet::new();
        for number in 1_u64.. {
            self.surroundings.sim.clock().sleep(CLEANUP_PERIOD).await;
            let name = format!("tick {number}");
            if self.watch.strikes(HostFault::TimerMissed, &name) {
                continue;
            }
            let times = if self.watch.strikes(HostFault::TimerDoubled, &name) { 2 } else { 1 };
            for time in 0..times {
                ticks.spawn(self.clone().tick(format!("{name}.{time}")));
            }
            while ticks.try_join_next().is_some() {}
        }
    }

    async fn tick(self: Arc<Self>, name: String) {
        let Ok(running) = self.instance(&name) else { return };
        let life = running.life.number;
        self.watch.note(|| format!("instance {life} gets {name}"));
        let succeeded = tokio::select! {
            biased;
            () = running.life.ended() => None,
            succeeded = running.instance.clean_up(self.watch.now()) => Some(succeeded),
        };
        self.watch.note(|| format!("instance {life} ends {name}: {succeeded:?}"));
    }

    async fn restart_broker(self: Arc<Self>) {
        for hour in 1_u64.. {
            self.surroundings.sim.clock().sleep(Duration::from_secs(3600)).await;
            if self.watch.strikes(HostFault::BrokerRestart, &format!("hour {hour}")) {
                self.surroundings.broker.restart();
            }
        }
    }
}
