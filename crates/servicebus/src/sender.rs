//! Sending to one queue.
use crate::{Result, ServiceBusMessage, client::unfinished};

/// Sends messages to one queue. Cheap to clone; may be used from many tasks at once.
#[derive(Clone, Debug)]
pub struct Sender {}

impl Sender {
    /// Sends one message and waits until the broker has it.
    pub async fn send(&self, _message: ServiceBusMessage) -> Result<()> {
        Err(unfinished())
    }
    /// Sends many messages in as few AMQP messages as the queue's size limit allows.
    pub async fn send_batch(&self, _messages: Vec<ServiceBusMessage>) -> Result<()> {
        Err(unfinished())
    }
    /// Schedules messages; gives back their sequence numbers.
    pub async fn schedule(&self, _messages: Vec<ServiceBusMessage>) -> Result<Vec<i64>> {
        Err(unfinished())
    }
    /// Cancels scheduled messages.
    pub async fn cancel_scheduled(&self, _sequence_numbers: &[i64]) -> Result<()> {
        Err(unfinished())
    }
}
