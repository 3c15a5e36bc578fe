//! Links as the rest of the client holds them. Dropping one detaches it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fe2o3_amqp_types::messaging::DeliveryState;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};

use super::{engine::Command, inbox::Inbox};
use crate::{Error, Result};

pub(crate) use super::inbox::Arrived;

/// The answer to a drain takes one round trip; after this long it will not come.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

type Commands = mpsc::UnboundedSender<Command>;

pub(super) fn gone() -> Error {
    Error::Connection("the connection broke".into())
}

/// A link that takes messages to the service.
#[derive(Debug)]
pub(crate) struct SenderLink {
    pub(super) commands: Commands,
    pub(super) handle: u32,
    /// Largest message that the service takes on it, in bytes; 0 is any.
    pub(crate) max_message_size: u64,
    /// Ends with the link.
    pub(super) inbox: Arc<Inbox>,
}

impl SenderLink {
    pub(crate) fn is_alive(&self) -> bool {
        !self.commands.is_closed() && self.inbox.closed().is_none()
    }

    /// Sends a message and waits for its outcome.
    pub(crate) async fn send(&self, bytes: Bytes, format: u32) -> Result<()> {
        if self.max_message_size > 0 && bytes.len() as u64 > self.max_message_size {
            let (size, limit) = (bytes.len(), self.max_message_size);
            return Err(Error::MessageTooLarge(format!("{size} bytes; the queue takes {limit}")));
        }
        let (reply, outcome) = oneshot::channel();
        let command = Command::Send { handle: self.handle, bytes, format, reply };
        self.commands.send(command).map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

impl Drop for SenderLink {
    fn drop(&mut self) {
        // Without a connection there is nothing to detach from.
        let _ = self.commands.send(Command::Detach { handle: self.handle });
    }
}

/// A link that brings messages from the service.
#[derive(Debug)]
pub(crate) struct ReceiverLink {
    pub(super) commands: Commands,
    pub(super) handle: u32,
    /// Unlike any other link of this process.
    pub(crate) id: u64,
    pub(crate) inbox: Arc<Inbox>,
}

impl ReceiverLink {
    pub(crate) fn is_alive(&self) -> bool {
        !self.commands.is_closed() && self.inbox.closed().is_none()
    }

    /// Lets the service send up to `credit` messages.
    pub(crate) fn grant(&self, credit: u32) -> Result<()> {
        self.inbox.expect(true);
        self.commands.send(Command::Credit { handle: self.handle, credit, drain: false }).map_err(|_| gone())
    }

    /// Asks the service to send now what it has for the granted credit, and to forget the rest of it.
    fn drain(&self) {
        let _ = self.commands.send(Command::Credit { handle: self.handle, credit: 0, drain: true });
    }

    /// Up to `max` messages; waits until `deadline` for the first one. Dropped in the middle, it loses nothing: what arrives
    /// stays in the inbox, where the next call finds it.
    pub(crate) async fn fetch(&self, max: usize, deadline: Instant) -> Result<Vec<Arrived>> {
        let waiting = self.inbox.take(max);
        if !waiting.is_empty() {
            return Ok(waiting);
        }
        // An earlier call that was dropped may still have its drain under way.
        let _ = timeout(DRAIN_TIMEOUT, self.inbox.quiet()).await;
        if self.inbox.is_empty() {
            if let Some(error) = self.inbox.closed() {
                return Err(error);
            }
            let asked = DrainOnDrop(self);
            self.grant(u32::try_from(max).unwrap_or(u32::MAX))?;
            let _ = timeout_at(deadline, self.inbox.arrival()).await;
            drop(asked);
            // What comes until the service has answered belongs to this call.
            let _ = timeout(DRAIN_TIMEOUT, self.inbox.quiet()).await;
        }
        let got = self.inbox.take(max);
        match self.inbox.closed() {
            Some(error) if got.is_empty() => Err(error),
            _ => Ok(got),
        }
    }

    /// Says what shall become of a delivery and waits for what the service answers.
    pub(crate) async fn settle(
        &self,
        delivery_id: u32,
        state: DeliveryState,
    ) -> Result<Option<DeliveryState>> {
        let (reply, outcome) = oneshot::channel();
        let command = Command::Settle { handle: self.handle, delivery_id, state, reply };
        self.commands.send(command).map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}

impl Drop for ReceiverLink {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Detach { handle: self.handle });
    }
}

struct DrainOnDrop<'a>(&'a ReceiverLink);

impl Drop for DrainOnDrop<'_> {
    fn drop(&mut self) {
        self.0.drain();
    }
}
