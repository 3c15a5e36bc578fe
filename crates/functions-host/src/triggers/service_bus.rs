//! Fires `serviceBusTrigger` functions (azure-sdk-for-net ServiceBusListener.cs, and the SDK's ServiceBusProcessor).
//!
//! Locks belong to the broker, so their renewal goes by the given clock. How *long* locks are renewed, and how long the
//! listener waits for messages or after an error, is real time: like `functionTimeout` it bounds what this machine does.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use factory_clock::Clock;
use time::OffsetDateTime;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::Instant,
};
use uuid::Uuid;

use super::Stop;
use crate::{
    bindings::{Cardinality, FunctionMetadata, ServiceBusTrigger},
    config::ServiceBusOptions,
    dispatch::{HandlerRequest, Invoke},
    events::{Events, HostEvent, Level},
    messaging::{LockedMessage, MessageSource, MessagingError},
    payload::{self, Sys},
};

/// Longest wait for a message in one call (real time); between calls the listener looks whether it shall stop.
const RECEIVE_WAIT: Duration = Duration::from_secs(1);

/// First and longest wait after an error of the broker (ServiceBusRetryOptions: 0.8 seconds, doubled).
const FIRST_ERROR_WAIT: Duration = Duration::from_millis(800);
const LONGEST_ERROR_WAIT: Duration = Duration::from_secs(10);

/// A lock is renewed this long before it ends, or at half of what is left of it (ReceiverManager.cs `CalculateRenewDelay`).
const RENEW_BUFFER: Duration = Duration::from_secs(10);

/// A lock that ends sooner is renewed at once.
const RENEW_AT_ONCE: Duration = Duration::from_millis(400);

/// Receives the messages of one function.
#[derive(Clone)]
pub(crate) struct Listener {
    pub(crate) function: Arc<FunctionMetadata>,
    pub(crate) trigger: ServiceBusTrigger,
    pub(crate) source: Arc<dyn MessageSource>,
    pub(crate) invoker: Arc<dyn Invoke>,
    pub(crate) options: ServiceBusOptions,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
    pub(crate) fully_qualified_namespace: String,
    pub(crate) client_identifier: String,
}

impl Listener {
    /// Runs until it is told to stop and everything that it received is settled.
    pub(crate) async fn run(self, stop: Stop) {
        match self.trigger.cardinality {
            Cardinality::One => self.run_single(stop).await,
            Cardinality::Many => self.run_batches(stop).await,
        }
    }

    /// Up to `maxConcurrentCalls` messages at a time, each on its own.
    async fn run_single(self, stop: Stop) {
        let limit = self.options.max_concurrent_calls;
        let permits = Arc::new(Semaphore::new(limit));
        let mut prefetched: VecDeque<LockedMessage> = VecDeque::new();
        let mut calls = JoinSet::new();
        let mut errors = ErrorWait::default();
        while !stop.is_set() {
            let permit = tokio::select! {
                permit = permits.clone().acquire_owned() => permit,
                () = stop.wait() => break,
            };
            let Ok(permit) = permit else { break };
            if let Some(message) = prefetched.pop_front() {
                self.start(&mut calls, permit, message);
                continue;
            }
            let mut free = vec![permit];
            while let Ok(permit) = permits.clone().try_acquire_owned() {
                free.push(permit);
            }
            let most = free.len() + self.options.prefetch_count as usize;
            match self.source.receive(most, RECEIVE_WAIT).await {
                Ok(messages) => {
                    errors = ErrorWait::default();
                    prefetched.extend(messages);
                    if stop.is_set() {
                        break;
                    }
                    for permit in free {
                        let Some(message) = prefetched.pop_front() else {
                            break;
                        };
                        self.start(&mut calls, permit, message);
                    }
                }
                Err(error) => self.wait_after(&error, &mut errors, &stop).await,
            }
            while calls.try_join_next().is_some() {}
        }
        // Received while stopping: given back (ServiceBusListener.EnsureIsRunning).
        for message in prefetched {
            self.abandon(&message).await;
        }
        while calls.join_next().await.is_some() {}
    }

    fn start(&self, calls: &mut JoinSet<()>, permit: OwnedSemaphorePermit, message: LockedMessage) {
        let listener = self.clone();
        calls.spawn(async move {
            listener.process(message).await;
            drop(permit);
        });
    }

    /// One message: invoke, renewing the lock meanwhile, then complete or abandon.
    async fn process(&self, message: LockedMessage) {
        let sys = self.sys();
        let body = payload::service_bus::invocation(&self.trigger, &message.message, &self.client(), &sys);
        let invocation = self.invoker.invoke(&self.function, HandlerRequest::Generic(body));
        let result = tokio::select! {
            result = invocation => result,
            never = self.renew(&message) => match never {},
        };
        match result {
            Ok(_) => self.complete(&message).await,
            Err(_) => self.abandon(&message).await,
        }
    }

    /// Renews the lock until `maxAutoLockRenewalDuration` has passed or the lock is lost, and then just waits.
    async fn renew(&self, message: &LockedMessage) -> std::convert::Infallible {
        let end =
            self.options.max_auto_lock_renewal_duration.and_then(|limit| Instant::now().checked_add(limit));
        let mut locked_until = message.locked_until;
        loop {
            let delay = renew_delay(locked_until, self.clock.now(), self.clock.speed());
            match end {
                Some(end) => tokio::select! {
                    () = self.clock.sleep(delay) => {}
                    () = tokio::time::sleep_until(end) => return std::future::pending().await,
                },
                None => self.clock.sleep(delay).await,
            }
            match self.source.renew(message.message.lock_token).await {
                Ok(until) => locked_until = until,
                Err(error) => {
                    self.log(
                        Level::Warning,
                        format!("the lock of a message is not renewed any more: {error}"),
                    );
                    return std::future::pending().await;
                }
            }
        }
    }

    /// One batch at a time; all messages are completed or abandoned together, and no lock is renewed.
    async fn run_batches(self, stop: Stop) {
        let mut errors = ErrorWait::default();
        while !stop.is_set() {
            let messages = match self.batch(&stop).await {
                Ok(messages) => messages,
                Err(error) => {
                    self.wait_after(&error, &mut errors, &stop).await;
                    continue;
                }
            };
            errors = ErrorWait::default();
            if messages.is_empty() {
                continue;
            }
            let success = !stop.is_set() && self.invoke_batch(&messages).await;
            for message in &messages {
                match success {
                    true => self.complete(message).await,
                    false => self.abandon(message).await,
                }
            }
        }
    }

    /// At least `minMessageBatchSize` messages, or what has come when `maxBatchWaitTime` has passed since the first.
    async fn batch(&self, stop: &Stop) -> Result<Vec<LockedMessage>, MessagingError> {
        let options = &self.options;
        let mut messages = self.source.receive(options.max_message_batch_size, RECEIVE_WAIT).await?;
        let end = Instant::now() + options.max_batch_wait_time;
        while !messages.is_empty() && messages.len() < options.min_message_batch_size && !stop.is_set() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let most = options.max_message_batch_size - messages.len();
            match self.source.receive(most, left.min(RECEIVE_WAIT)).await {
                Ok(more) => messages.extend(more),
                // What is there is worked on; the next call meets the same error.
                Err(_) => break,
            }
        }
        Ok(messages)
    }

    async fn invoke_batch(&self, messages: &[LockedMessage]) -> bool {
        let views: Vec<_> = messages.iter().map(|message| message.message.clone()).collect();
        match payload::service_bus::batch_invocation(&self.trigger, &views, &self.client(), &self.sys()) {
            Ok(body) => self.invoker.invoke(&self.function, HandlerRequest::Generic(body)).await.is_ok(),
            Err(error) => {
                // The binding fails before the handler is asked, which counts as a failed invocation.
                self.events.send(HostEvent::InvocationFinished {
                    function: self.function.name.clone(),
                    id: Uuid::new_v4(),
                    success: false,
                    reason: Some(error.to_string()),
                });
                false
            }
        }
    }

    async fn complete(&self, message: &LockedMessage) {
        if let Err(error) = self.source.complete(message.message.lock_token).await {
            self.log(Level::Error, format!("{error}; the message will come again"));
        }
    }

    async fn abandon(&self, message: &LockedMessage) {
        if let Err(error) = self.source.abandon(message.message.lock_token).await {
            self.log(Level::Error, error.to_string());
        }
    }

    async fn wait_after(&self, error: &MessagingError, wait: &mut ErrorWait, stop: &Stop) {
        self.log(Level::Error, error.to_string());
        tokio::select! {
            () = tokio::time::sleep(wait.next()) => {}
            () = stop.wait() => {}
        }
    }

    fn sys(&self) -> Sys<'_> {
        Sys { method_name: &self.function.name, utc_now: self.clock.now(), rand_guid: Uuid::new_v4() }
    }

    fn client(&self) -> payload::service_bus::Client<'_> {
        payload::service_bus::Client {
            fully_qualified_namespace: &self.fully_qualified_namespace,
            identifier: &self.client_identifier,
        }
    }

    fn log(&self, level: Level, line: String) {
        self.events.log(level, &format!("Host.Triggers.ServiceBus.{}", self.function.name), line);
    }
}

/// How long to wait with a renewal, in the clock's time. The buffer is 10 seconds of this machine's time, however fast the
/// clock goes: it is there for the time that a renewal takes.
fn renew_delay(locked_until: OffsetDateTime, now: OffsetDateTime, speed: f64) -> Duration {
    let left = Duration::try_from(locked_until - now).unwrap_or_default();
    if left < RENEW_AT_ONCE {
        // Never quite at once, so that a broker whose locks have ended is not asked in a tight loop.
        return RENEW_AT_ONCE / 4;
    }
    left - (left / 2).min(RENEW_BUFFER.mul_f64(speed))
}

/// The growing wait after errors.
#[derive(Default)]
struct ErrorWait(Option<Duration>);

impl ErrorWait {
    fn next(&mut self) -> Duration {
        let wait = self.0.map_or(FIRST_ERROR_WAIT, |last| (last * 2).min(LONGEST_ERROR_WAIT));
        self.0 = Some(wait);
        wait
    }
}

#[cfg(test)]
mod tests;
