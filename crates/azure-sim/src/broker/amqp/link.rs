//! The two kinds of links, by the direction in which messages go.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::authorization::path_of;

/// As many answers wait for a link; the oldest are dropped beyond.
const MOST_REPLIES: usize = 1000;

/// How the node that takes requests about an entity is written, in lower case.
const MANAGEMENT: &str = "/$management";

/// What an address names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Takes tokens.
    Cbs,
    /// Takes requests about the entity.
    Management(String),
    /// A queue or sub-queue.
    Entity(String),
}

impl Node {
    /// Reads an address: `q`, `amqps://host/q`, `q/$management`, `$cbs`.
    pub(super) fn parse(address: &str) -> Self {
        let path = path_of(address);
        match path.strip_suffix(MANAGEMENT) {
            _ if path == "$cbs" => Self::Cbs,
            Some(entity) => Self::Management(entity.to_owned()),
            None => Self::Entity(path),
        }
    }

    /// The path that a claim must cover for a link to this node; `None` if it needs none.
    pub(super) fn path(&self) -> Option<String> {
        match self {
            Self::Cbs => None,
            Self::Management(entity) => Some(format!("{entity}{MANAGEMENT}")),
            Self::Entity(entity) => Some(entity.clone()),
        }
    }

    /// The queue that must exist for a link to this node.
    pub(super) fn entity(&self) -> Option<&str> {
        match self {
            Self::Cbs => None,
            Self::Management(entity) | Self::Entity(entity) => Some(entity),
        }
    }
}

/// A link that brings messages to us.
#[derive(Debug)]
pub(super) struct IncomingLink {
    pub(super) node: Node,
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    /// Largest message, in bytes.
    pub(super) max_message_size: usize,
    /// The message that is arriving.
    pub(super) arriving: Option<Arriving>,
}

/// A message of which some frames came.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) delivery_id: u32,
    pub(super) format: u32,
    pub(super) settled: bool,
    /// Bytes that came so far; more than are kept if the message is too large.
    pub(super) size: usize,
    pub(super) bytes: BytesMut,
}

/// A link that takes messages from us.
#[derive(Debug)]
pub(super) struct OutgoingLink {
    pub(super) node: Node,
    pub(super) name: String,
    /// Its target's address: where requests ask answers to be sent.
    pub(super) reply_address: String,
    pub(super) credit: u32,
    pub(super) delivery_count: u32,
    pub(super) drain: bool,
    /// Messages are settled when sent: receive and delete.
    pub(super) settled: bool,
    /// Answers that wait for credit.
    pub(super) replies: VecDeque<Vec<u8>>,
    /// The message that is leaving, of which some frames may be gone.
    pub(super) leaving: Option<Leaving>,
    /// Tells when the entity has something new.
    pub(super) changes: Option<watch::Receiver<u64>>,
}

/// A message that is being sent.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) delivery_id: u32,
    pub(super) tag: Vec<u8>,
    pub(super) settled: bool,
    pub(super) started: bool,
    pub(super) rest: Bytes,
}

impl OutgoingLink {
    pub(super) fn push_reply(&mut self, reply: Vec<u8>) {
        if self.replies.len() >= MOST_REPLIES {
            self.replies.pop_front();
        }
        self.replies.push_back(reply);
    }
}

/// A link.
#[derive(Debug)]
pub(super) enum Link {
    Incoming(IncomingLink),
    Outgoing(OutgoingLink),
}
