//! Sending messages to peers, as far as credit, window and the peer's patience allow.

use bytes::Bytes;
use fe2o3_amqp_types::{definitions::Handle, performatives::Transfer};
use tokio::sync::watch;
use uuid::Uuid;

use super::{MOST_UNSETTLED, Session};
use crate::broker::{
    ReceiveMode,
    amqp::{
        connection::Peer,
        link::{Leaving, Link, Node, OutgoingLink},
        wire,
    },
};

/// Bytes of a frame that are kept free for its header and the transfer performative.
const TRANSFER_ROOM: usize = 128;

impl Session {
    /// Whether a message of this link is under way, of which more frames must follow.
    pub(super) fn is_leaving(&self, handle: u32) -> bool {
        matches!(self.links.get(&handle), Some(Link::Outgoing(OutgoingLink { leaving: Some(_), .. })))
    }

    pub(super) fn pump_link(
        &mut self,
        peer: &mut Peer,
        handle: u32,
        hungry: &mut Vec<(String, watch::Receiver<u64>)>,
    ) {
        loop {
            let Some(Link::Outgoing(link)) = self.links.get_mut(&handle) else {
                return;
            };
            if let Some(leaving) = &mut link.leaving {
                while self.remote_window > 0 && !peer.is_full() {
                    self.next_outgoing_id = self.next_outgoing_id.wrapping_add(1);
                    self.remote_window -= 1;
                    if send_part(peer, self.channel, handle, leaving) {
                        link.leaving = None;
                        break;
                    }
                }
                if link.leaving.is_some() {
                    return;
                }
            }
            if link.credit == 0 {
                if link.drain {
                    link.drain = false;
                    self.send_flow(peer, Some(handle), true);
                }
                return;
            }
            if self.remote_window == 0 || peer.is_full() || self.unsettled.len() >= MOST_UNSETTLED {
                return;
            }
            let waiting = match &mut link.changes {
                Some(changes) => {
                    // Seen before the look, so that nothing is missed in between.
                    changes.borrow_and_update();
                    Some(changes.clone())
                }
                None => None,
            };
            match next(peer, link) {
                Some((tag, rest, lock)) => {
                    let delivery_id = self.next_delivery_id;
                    self.next_delivery_id = delivery_id.wrapping_add(1);
                    let settled = lock.is_none();
                    link.credit -= 1;
                    link.delivery_count = link.delivery_count.wrapping_add(1);
                    link.leaving = Some(Leaving { delivery_id, tag, settled, started: false, rest });
                    if let Some((entity, token)) = lock {
                        self.unsettled.insert(delivery_id, (handle, entity, token));
                    }
                }
                None if link.drain => {
                    link.delivery_count = link.delivery_count.wrapping_add(link.credit);
                    link.credit = 0;
                }
                None => {
                    if let (Node::Entity(entity), Some(changes)) = (&link.node, waiting) {
                        hungry.push((entity.clone(), changes));
                    }
                    return;
                }
            }
        }
    }
}

/// A message to send: its tag, its bytes, and the entity and lock that settle it if it is not settled yet.
type Next = (Vec<u8>, Bytes, Option<(String, Uuid)>);

/// Takes the next message for a link.
fn next(peer: &Peer, link: &mut OutgoingLink) -> Option<Next> {
    let Node::Entity(entity) = &link.node else {
        let reply = link.replies.pop_front()?;
        return Some((link.delivery_count.to_be_bytes().to_vec(), reply.into(), None));
    };
    let mode = if link.settled { ReceiveMode::ReceiveAndDelete } else { ReceiveMode::PeekLock };
    let delivery = peer.broker.try_receive(entity, mode).ok()??;
    let bytes = Bytes::from(delivery.to_amqp());
    if link.settled {
        return Some((link.delivery_count.to_be_bytes().to_vec(), bytes, None));
    }
    // The tag is the lock token as .NET lays a GUID out.
    let tag = delivery.lock_token.to_bytes_le().to_vec();
    Some((tag, bytes, Some((entity.clone(), delivery.lock_token))))
}

/// Sends the next frame of a message; says whether it was the last.
fn send_part(peer: &mut Peer, channel: u16, handle: u32, leaving: &mut Leaving) -> bool {
    let part = leaving.rest.split_to(leaving.rest.len().min(peer.max_frame - TRANSFER_ROOM));
    let more = !leaving.rest.is_empty();
    let first = !std::mem::replace(&mut leaving.started, true);
    let transfer = Transfer {
        handle: Handle(handle),
        delivery_id: first.then_some(leaving.delivery_id),
        delivery_tag: first.then(|| leaving.tag.clone().into()),
        message_format: first.then_some(0),
        settled: Some(leaving.settled),
        more,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    };
    peer.send_with(channel, &wire::encode(&transfer), &part);
    !more
}
