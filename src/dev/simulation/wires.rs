//! The way from an instance of the handler to Azure and to Service Bus.
//!
//! Every call has an I/O point before it and one after its effect; the points are numbered in the order in which they are
//! reached. At each of them the instance can die: then nothing of it goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use tokio::sync::Notify;

use super::{
    faults::HostFault,
    watch::{Moment, Watch},
};
use crate::steps::{Envelope, Outbox, OutboxError};

/// One life of an instance: ends with its first death.
#[derive(Debug)]
pub struct Life {
    /// Its number, for traces.
    pub number: u32,
    is_over: AtomicBool,
    /// Wakes those that wait in the order in which they came. A `watch` channel wakes them in a random one, and a seed would not
    /// be the same story twice.
    died: Notify,
}

impl Life {
    /// A new life.
    pub fn new(number: u32) -> Arc<Self> {
        Arc::new(Self { number, is_over: AtomicBool::new(false), died: Notify::new() })
    }

    /// Comes back when this life has ended.
    pub async fn ended(&self) {
        // Made before the look, so that an end between the two is not missed.
        let died = self.died.notified();
        if !self.is_over() {
            died.await;
        }
    }

    /// Ends it.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.died.notify_waiters();
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// An instance's wires.
#[derive(Clone)]
pub struct Wires {
    /// Who judges the calls, and says where instances die.
    pub watch: Arc<Watch>,
    /// The instance's life.
    pub life: Arc<Life>,
}

impl Wires {
    /// A numbered I/O point. Never comes back if the instance dies here.
    pub async fn point(&self, moment: Moment, subject: &str) {
        if self.life.is_over() || self.watch.dies_at(moment, subject, self.life.number) {
            self.life.end();
            std::future::pending::<()>().await;
        }
    }
}

impl std::fmt::Debug for Wires {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wires").field("life", &self.life).finish_non_exhaustive()
    }
}

/// Carries an instance's requests to the simulator.
#[derive(Debug)]
pub struct WatchedTransport {
    /// The instance's wires.
    pub wires: Wires,
    /// The way into the simulator.
    pub inner: Arc<dyn HttpClient>,
}

#[async_trait]
impl HttpClient for WatchedTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let url = request.url();
        let subject = format!("{} {}{}", request.method(), url.host_str().unwrap_or_default(), url.path());
        self.wires.point(Moment::Before, &subject).await;
        self.wires.watch.judge_call(request);
        let answer = self.inner.execute_request(request).await;
        let status = answer.as_ref().map_or(0, |answer| u16::from(answer.status()));
        self.wires.watch.note(|| match status {
            0 => format!("{subject}: the connection broke"),
            status => format!("{subject}: {status}"),
        });
        self.wires.point(Moment::After, &subject).await;
        answer
    }
}

/// Puts an instance's messages into their queues, as far as faults let it.
pub struct WatchedOutbox {
    /// The instance's wires.
    pub wires: Wires,
    /// The queues.
    pub inner: Arc<dyn Outbox>,
}

#[async_trait]
impl Outbox for WatchedOutbox {
    async fn send(&self, envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        let watch = &self.wires.watch;
        for envelope in envelopes {
            let id = envelope.message_id();
            let refused = |reason: &str| OutboxError {
                queue: envelope.message.queue().to_string(),
                reason: reason.to_owned(),
            };
            self.wires.point(Moment::Before, &id).await;
            if watch.strikes(HostFault::SendFails, &id) {
                return Err(refused("the namespace is being updated"));
            }
            watch.judge_message(&envelope.message);
            let can_be_lost = watch.remembers(&envelope.message);
            if can_be_lost && watch.strikes(HostFault::LostMessage, &id) {
                watch.note(|| format!("{id} is accepted, and lost"));
            } else {
                watch.note(|| format!("{id} is sent"));
                self.inner.send(vec![envelope.clone()]).await?;
            }
            if watch.strikes(HostFault::SendUncertain, &id) {
                return Err(refused("the connection was closed before an answer came"));
            }
            self.wires.point(Moment::After, &id).await;
        }
        Ok(())
    }
}
