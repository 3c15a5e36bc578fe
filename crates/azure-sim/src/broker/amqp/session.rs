//! A session: links, windows and deliveries.

mod attach;
mod pump;

use std::collections::BTreeMap;

use bytes::Bytes;
use fe2o3_amqp_types::{
    definitions::{Handle, Role},
    messaging::{Accepted, DeliveryState, Rejected},
    performatives::{Begin, Detach, End, Flow, Transfer},
};
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    cbs,
    connection::Peer,
    disposition::{self, Disposition, Outcome},
    link::{Arriving, IncomingLink, Link, Node, OutgoingLink},
    management,
    wire::{Incoming, WireError},
};
use crate::broker::{BrokerError, BrokerMessage};

/// Frames with messages that may come before a new window is announced.
const WINDOW: u32 = 5000;
/// Highest handle of a link.
const HANDLE_MAX: u32 = 255;
/// Messages that a peer may send on a link before it gets new credit.
const CREDIT: u32 = 1000;
/// Deliveries of a session that may be unsettled at once.
const MOST_UNSETTLED: usize = 5000;
/// The message format of a batch.
const BATCH_FORMAT: u32 = 0x8001_3700;

/// An answer of `$cbs` or `$management`.
pub(super) struct Reply {
    pub(super) node: Node,
    /// What the request's reply-to said.
    pub(super) to: Option<String>,
    pub(super) message: Vec<u8>,
}

/// A session.
pub(super) struct Session {
    channel: u16,
    next_outgoing_id: u32,
    /// Deliveries are numbered one after the other over all links, whatever number of frames each has.
    next_delivery_id: u32,
    next_incoming_id: u32,
    /// Frames that may still come in the window that was announced.
    incoming_window: u32,
    /// Frames that the peer still takes.
    remote_window: u32,
    links: BTreeMap<u32, Link>,
    /// Deliveries that wait for their settlement: the entity and the lock.
    unsettled: BTreeMap<u32, (u32, String, Uuid)>,
}

impl Session {
    /// Answers a begin.
    pub(super) fn begin(peer: &mut Peer, channel: u16, begin: &Begin) -> Self {
        peer.send(
            channel,
            &Begin {
                remote_channel: Some(channel),
                next_outgoing_id: 0,
                incoming_window: WINDOW,
                outgoing_window: WINDOW,
                handle_max: Handle(HANDLE_MAX),
                offered_capabilities: None,
                desired_capabilities: None,
                properties: None,
            },
        );
        Self {
            channel,
            next_outgoing_id: 0,
            next_delivery_id: 0,
            next_incoming_id: begin.next_outgoing_id,
            incoming_window: WINDOW,
            remote_window: begin.incoming_window,
            links: BTreeMap::new(),
            unsettled: BTreeMap::new(),
        }
    }

    /// Answers an end.
    pub(super) fn end(&mut self, peer: &mut Peer) {
        for link in std::mem::take(&mut self.links).into_values() {
            forget_arriving(peer, &link);
        }
        peer.send(self.channel, &End { error: None });
    }

    /// The links that wait for answers.
    pub(super) fn reply_links(&mut self) -> impl Iterator<Item = &mut OutgoingLink> {
        self.links.values_mut().filter_map(|link| match link {
            Link::Outgoing(link) if !matches!(link.node, Node::Entity(_)) => Some(link),
            _ => None,
        })
    }

    /// Handles a frame of this session.
    pub(super) fn handle(&mut self, peer: &mut Peer, frame: Incoming) -> Result<Option<Reply>, WireError> {
        match frame {
            Incoming::Attach(attach) => self.attach(peer, *attach)?,
            Incoming::UnknownAttach { name, handle, receiver } => {
                self.refuse_unknown(peer, name, handle, receiver);
            }
            Incoming::Flow(flow) => self.flow(peer, &flow),
            Incoming::Transfer(transfer, payload) => return self.transfer(peer, &transfer, &payload),
            Incoming::Disposition(disposition) => self.disposition(peer, &disposition),
            Incoming::Detach(detach) => self.detach(peer, &detach),
            Incoming::Open(_) | Incoming::Begin(_) | Incoming::End | Incoming::Close | Incoming::Empty => {}
        }
        Ok(None)
    }

    fn detach(&mut self, peer: &mut Peer, detach: &Detach) {
        let handle = detach.handle.0;
        // Our own detach (after an error) may have crossed it: then this is the answer.
        if let Some(link) = self.links.remove(&handle) {
            forget_arriving(peer, &link);
            self.unsettled.retain(|_, (of, _, _)| *of != handle);
            let answer = Detach { handle: detach.handle.clone(), closed: detach.closed, error: None };
            peer.send(self.channel, &answer);
        }
    }

    /// Ends a link with an error.
    fn detach_with(&mut self, peer: &mut Peer, handle: u32, condition: &str, description: &str) {
        if let Some(link) = self.links.remove(&handle) {
            forget_arriving(peer, &link);
        }
        self.unsettled.retain(|_, (of, _, _)| *of != handle);
        let error = Some(disposition::error_of(condition, description));
        peer.send(self.channel, &Detach { handle: Handle(handle), closed: true, error });
    }

    fn flow(&mut self, peer: &mut Peer, flow: &Flow) {
        // Before the peer has seen our begin it cannot say what it expects next.
        let expects = flow.next_incoming_id.unwrap_or(0);
        self.remote_window = expects.wrapping_add(flow.incoming_window).wrapping_sub(self.next_outgoing_id);
        if self.remote_window > i32::MAX as u32 && flow.incoming_window < i32::MAX as u32 {
            self.remote_window = 0;
        }
        let mut answer = flow.echo;
        let handle = flow.handle.as_ref().map(|handle| handle.0);
        if let Some(Link::Outgoing(link)) = handle.and_then(|handle| self.links.get_mut(&handle)) {
            if let Some(credit) = flow.link_credit {
                let credit =
                    flow.delivery_count.unwrap_or(0).wrapping_add(credit).wrapping_sub(link.delivery_count);
                link.credit = if credit > i32::MAX as u32 { 0 } else { credit };
            }
            link.drain = flow.drain;
            // The answer to a drain comes when it is done.
            answer &= !flow.drain;
        }
        if answer {
            self.send_flow(peer, handle, false);
        }
    }

    fn send_flow(&mut self, peer: &mut Peer, handle: Option<u32>, drain: bool) {
        self.incoming_window = WINDOW;
        let (delivery_count, link_credit) = match handle.and_then(|handle| self.links.get(&handle)) {
            Some(Link::Incoming(link)) => (Some(link.delivery_count), Some(link.credit)),
            Some(Link::Outgoing(link)) => (Some(link.delivery_count), Some(link.credit)),
            None => (None, None),
        };
        peer.send(
            self.channel,
            &Flow {
                next_incoming_id: Some(self.next_incoming_id),
                incoming_window: WINDOW,
                next_outgoing_id: self.next_outgoing_id,
                outgoing_window: WINDOW,
                handle: handle.filter(|_| link_credit.is_some()).map(Handle),
                delivery_count,
                link_credit,
                available: None,
                drain,
                echo: false,
                properties: None,
            },
        );
    }

    fn transfer(
        &mut self,
        peer: &mut Peer,
        transfer: &Transfer,
        payload: &Bytes,
    ) -> Result<Option<Reply>, WireError> {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        self.incoming_window =
            self.incoming_window.checked_sub(1).ok_or(WireError::Protocol("the window is exceeded"))?;
        if self.incoming_window < WINDOW / 2 {
            self.send_flow(peer, None, false);
        }
        let handle = transfer.handle.0;
        let Some(Link::Incoming(link)) = self.links.get_mut(&handle) else {
            // Frames that were on their way when we ended the link.
            return Ok(None);
        };
        let arriving = match &mut link.arriving {
            Some(arriving) => arriving,
            none => {
                let delivery_id =
                    transfer.delivery_id.ok_or(WireError::Protocol("a transfer without delivery-id"))?;
                if link.credit == 0 {
                    self.detach_with(
                        peer,
                        handle,
                        "amqp:link:transfer-limit-exceeded",
                        "There is no credit.",
                    );
                    return Ok(None);
                }
                link.credit -= 1;
                link.delivery_count = link.delivery_count.wrapping_add(1);
                let format = transfer.message_format.unwrap_or(0);
                none.insert(Arriving {
                    delivery_id,
                    format,
                    settled: false,
                    size: 0,
                    bytes: Default::default(),
                })
            }
        };
        arriving.settled |= transfer.settled == Some(true);
        if transfer.aborted {
            peer.unfinished -= arriving.bytes.len();
            link.arriving = None;
            return Ok(None);
        }
        arriving.size += payload.len();
        if arriving.size <= link.max_message_size {
            arriving.bytes.extend_from_slice(payload);
            peer.unfinished += payload.len();
        } else {
            // It will be refused: what came of it need not be kept.
            peer.unfinished -= arriving.bytes.len();
            arriving.bytes = Default::default();
        }
        if transfer.more {
            return Ok(None);
        }
        let Some(arrived) = link.arriving.take() else {
            return Ok(None);
        };
        peer.unfinished -= arrived.bytes.len();
        let node = link.node.clone();
        let refill = link.credit < CREDIT / 2;
        if refill {
            link.credit = CREDIT;
        }
        let limit = link.max_message_size;
        let (result, reply) = if arrived.size > limit {
            let error = BrokerError::MessageTooLarge { size: arrived.size as u64, limit: limit as u64 };
            (Err(error), None)
        } else {
            arrive(peer, node, arrived.format, &arrived.bytes)
        };
        if !arrived.settled {
            let state = match result {
                Ok(()) => DeliveryState::Accepted(Accepted {}),
                Err(refusal) => {
                    DeliveryState::Rejected(Rejected { error: Some(disposition::error(&refusal)) })
                }
            };
            peer.send(self.channel, &disposition::settled(Role::Receiver, arrived.delivery_id, state));
        }
        if refill {
            self.send_flow(peer, Some(handle), false);
        }
        Ok(reply)
    }

    fn disposition(&mut self, peer: &mut Peer, disposition: &Disposition) {
        // What a peer says as a sender is about messages that we settled when they came.
        if !disposition.receiver || disposition.outcome == Some(Outcome::Received) {
            return;
        }
        let released = Outcome::Settle(crate::broker::Settlement::Release, BTreeMap::new());
        let outcome = disposition.outcome.as_ref().unwrap_or(&released);
        let ids: Vec<u32> = if disposition.first <= disposition.last {
            self.unsettled.range(disposition.first..=disposition.last).map(|(id, _)| *id).collect()
        } else {
            // The numbers went once around.
            let (end, start) =
                (self.unsettled.range(disposition.first..), self.unsettled.range(..=disposition.last));
            end.chain(start).map(|(id, _)| *id).collect()
        };
        if ids.is_empty() && !disposition.settled && disposition.first == disposition.last {
            // A delivery that we know nothing of any more: its settlement failed, and somebody waits for that.
            let state = disposition::answer(outcome, Err(BrokerError::LockLost));
            peer.send(self.channel, &disposition::settled(Role::Sender, disposition.first, state));
        }
        for id in ids {
            let Some((_, entity, token)) = self.unsettled.remove(&id) else {
                continue;
            };
            let result = match outcome {
                Outcome::Settle(settlement, properties) => {
                    peer.broker.settle_with(&entity, token, settlement.clone(), properties)
                }
                Outcome::Received | Outcome::Unknown => {
                    Err(BrokerError::NotAllowed("Transactions are not supported for this entity.".into()))
                }
            };
            if !disposition.settled {
                let state = disposition::answer(outcome, result);
                peer.send(self.channel, &disposition::settled(Role::Sender, id, state));
            }
        }
    }

    /// Sends what links want and have credit for.
    pub(super) fn pump(&mut self, peer: &mut Peer, hungry: &mut Vec<(String, watch::Receiver<u64>)>) {
        let mut handles: Vec<u32> = self.links.keys().copied().collect();
        // Frames of two messages are not mixed in a session: some clients take them for one.
        handles.sort_by_key(|handle| !self.is_leaving(*handle));
        for handle in handles {
            self.pump_link(peer, handle, hungry);
            if self.is_leaving(handle) {
                return;
            }
        }
    }
}

fn forget_arriving(peer: &mut Peer, link: &Link) {
    if let Link::Incoming(IncomingLink { arriving: Some(arriving), .. }) = link {
        peer.unfinished -= arriving.bytes.len();
    }
}

/// Hands a whole message to what the link leads to.
fn arrive(
    peer: &mut Peer,
    node: Node,
    format: u32,
    bytes: &[u8],
) -> (Result<(), BrokerError>, Option<Reply>) {
    let message = match BrokerMessage::decode(bytes) {
        Ok(message) => message,
        Err(refusal) => return (Err(refusal), None),
    };
    let to = message.amqp().properties.as_ref().and_then(|p| p.reply_to.clone());
    match &node {
        Node::Cbs => {
            let message = cbs::answer(peer, &message);
            (Ok(()), Some(Reply { node, to, message }))
        }
        Node::Management(entity) => {
            let message = management::answer(&peer.broker, entity, &message);
            (Ok(()), Some(Reply { node, to, message }))
        }
        Node::Entity(entity) => {
            let messages = if format == BATCH_FORMAT { unbatched(&message) } else { Ok(vec![message]) };
            (messages.and_then(|messages| peer.broker.send(entity, messages)).map(drop), None)
        }
    }
}

/// The messages of a batch: each is a data section.
fn unbatched(batch: &BrokerMessage) -> Result<Vec<BrokerMessage>, BrokerError> {
    match &batch.amqp().body {
        fe2o3_amqp_types::messaging::Body::Data(sections) => {
            sections.iter().map(|section| BrokerMessage::decode(&section.0)).collect()
        }
        _ => Err(BrokerError::BadRequest("A batch must consist of data sections.".into())),
    }
}
