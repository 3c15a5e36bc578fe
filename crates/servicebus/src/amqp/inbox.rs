//! What arrived on a link and was not taken yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::Error;

/// A message that arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) delivery_id: u32,
    pub(crate) tag: Vec<u8>,
    pub(crate) bytes: Bytes,
}

/// The state of a receiving link, shared between the connection's task and the receiver.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Arrived>,
    /// Bytes of all of them.
    size: usize,
    /// Whether the service may still send something without being asked again.
    expecting: bool,
    closed: Option<Error>,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn push(&self, message: Arrived) {
        let mut state = self.state();
        state.size += message.bytes.len();
        state.messages.push_back(message);
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn expect(&self, expecting: bool) {
        self.state().expecting = expecting;
        self.changed.notify_waiters();
    }

    pub(super) fn close(&self, error: Error) {
        let mut state = self.state();
        state.expecting = false;
        state.closed.get_or_insert(error);
        drop(state);
        self.changed.notify_waiters();
    }

    pub(crate) fn take(&self, max: usize) -> Vec<Arrived> {
        let mut state = self.state();
        let count = state.messages.len().min(max);
        let taken: Vec<Arrived> = state.messages.drain(..count).collect();
        state.size -= taken.iter().map(|message| message.bytes.len()).sum::<usize>();
        taken
    }

    /// How many messages wait here, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.messages.len(), state.size)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.state().messages.is_empty()
    }

    /// Why the link ended, if it did.
    pub(crate) fn closed(&self) -> Option<Error> {
        self.state().closed.clone()
    }

    /// Waits until there is a message or the link ended.
    pub(crate) async fn arrival(&self) {
        self.until(|state| !state.messages.is_empty() || state.closed.is_some()).await;
    }

    /// Waits until the service will send nothing more unless asked.
    pub(crate) async fn quiet(&self) {
        self.until(|state| !state.expecting).await;
    }

    async fn until(&self, done: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that nothing is missed in between.
            changed.as_mut().enable();
            if done(&self.state()) {
                return;
            }
            changed.await;
        }
    }
}
