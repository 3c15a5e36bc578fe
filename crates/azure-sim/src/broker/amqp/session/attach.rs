//! Attaching links, and the reasons not to.

use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode},
    messaging::TargetArchetype,
    performatives::{Attach, Detach},
};

use super::{CREDIT, HANDLE_MAX, Session};
use crate::broker::{
    BrokerError,
    amqp::{
        connection::Peer,
        disposition,
        link::{IncomingLink, Link, Node, OutgoingLink},
        wire::WireError,
    },
};

/// Longest request to `$cbs` or `$management`, in bytes: a schedule of many messages is as long as they are.
const LONGEST_REQUEST: u64 = 1024 * 1024;
/// The filter that asks for a session.
const SESSION_FILTER: &str = "com.microsoft:session-filter";

impl Session {
    /// Answers an attach.
    pub(super) fn attach(&mut self, peer: &mut Peer, attach: Attach) -> Result<(), WireError> {
        let handle = attach.handle.0;
        if handle > HANDLE_MAX {
            return Err(WireError::Limit("the handle of a link is too high"));
        }
        if self.links.contains_key(&handle) {
            return Err(WireError::Protocol("the handle of a link is in use"));
        }
        let to_peer = attach.role == Role::Receiver;
        let source = attach.source.as_ref().and_then(|source| source.address.clone()).unwrap_or_default();
        let target = match attach.target.as_deref() {
            Some(TargetArchetype::Target(target)) => target.address.clone().unwrap_or_default(),
            None => String::new(),
        };
        let node = Node::parse(if to_peer { &source } else { &target });
        let wants_session = attach
            .source
            .as_ref()
            .and_then(|source| source.filter.as_ref())
            .is_some_and(|filter| filter.iter().any(|(name, _)| name.as_str() == SESSION_FILTER));
        let max_message_size = match allowed(peer, &node, to_peer, wants_session) {
            Ok(size) => size,
            Err((condition, description)) => {
                self.refuse(peer, attach, condition, &description);
                return Ok(());
            }
        };
        let link = if to_peer {
            let changes = match &node {
                Node::Entity(entity) => peer.broker.changes(entity).ok(),
                _ => None,
            };
            Link::Outgoing(OutgoingLink {
                name: attach.name.clone(),
                reply_address: target,
                credit: 0,
                delivery_count: 0,
                drain: false,
                settled: attach.snd_settle_mode == SenderSettleMode::Settled,
                replies: Default::default(),
                leaving: None,
                changes,
                node,
            })
        } else {
            Link::Incoming(IncomingLink {
                node,
                credit: CREDIT,
                delivery_count: attach.initial_delivery_count.unwrap_or(0),
                max_message_size: usize::try_from(max_message_size).unwrap_or(usize::MAX),
                arriving: None,
            })
        };
        self.links.insert(handle, link);
        peer.send(
            self.channel,
            &Attach {
                role: if to_peer { Role::Sender } else { Role::Receiver },
                // Messages to us are settled as soon as they are here, whatever the sender proposes.
                rcv_settle_mode: if to_peer { attach.rcv_settle_mode } else { ReceiverSettleMode::First },
                unsettled: None,
                incomplete_unsettled: false,
                initial_delivery_count: to_peer.then_some(0),
                max_message_size: Some(max_message_size),
                offered_capabilities: None,
                desired_capabilities: None,
                ..attach
            },
        );
        if !to_peer {
            self.send_flow(peer, Some(handle), false);
        }
        Ok(())
    }

    /// Says no: an attach without the terminus that is asked for, and a detach with the reason.
    fn refuse(&mut self, peer: &mut Peer, attach: Attach, condition: &str, description: &str) {
        let to_peer = attach.role == Role::Receiver;
        let handle = attach.handle.0;
        let refusal = Attach {
            role: if to_peer { Role::Sender } else { Role::Receiver },
            source: attach.source.filter(|_| !to_peer),
            target: attach.target.filter(|_| to_peer),
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: to_peer.then_some(0),
            offered_capabilities: None,
            desired_capabilities: None,
            ..attach
        };
        peer.send(self.channel, &refusal);
        let error = Some(disposition::error_of(condition, description));
        peer.send(self.channel, &Detach { handle: Handle(handle), closed: true, error });
    }

    /// Refuses a link to something that no queue has: a transaction coordinator.
    pub(super) fn refuse_unknown(&mut self, peer: &mut Peer, name: String, handle: u32, receiver: bool) {
        let attach = Attach {
            name,
            handle: Handle(handle),
            role: if receiver { Role::Receiver } else { Role::Sender },
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            source: None,
            target: None,
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.refuse(
            peer,
            attach,
            // What a namespace of the Basic tier says, which has neither sessions, nor topics, nor transactions:
            // https://github.com/microsoft/azure-spring-boot/issues/965
            "amqp:not-allowed",
            "Transaction is unsupported because the namespace is of 'Basic' tier.",
        );
    }
}

/// Whether a link to `node` may be; gives back the largest message on it, in bytes.
fn allowed(
    peer: &Peer,
    node: &Node,
    to_peer: bool,
    wants_session: bool,
) -> Result<u64, (&'static str, String)> {
    let (Some(entity), Some(path)) = (node.entity(), node.path()) else {
        return Ok(LONGEST_REQUEST);
    };
    if !peer.may_use(&path) {
        let right = if to_peer { "Listen" } else { "Send" };
        return Err((
            "amqp:unauthorized-access",
            format!(
                "Unauthorized access. '{right}' claim(s) are required to perform this operation. Resource: 'sb://{entity}'."
            ),
        ));
    }
    let size = peer.broker.max_message_size(entity).map_err(|e| (e.condition(), e.to_string()))?;
    if wants_session {
        let refusal = BrokerError::NotAllowed(super::super::management::NO_SESSIONS.into());
        return Err((refusal.condition(), refusal.to_string()));
    }
    Ok(match node {
        Node::Entity(_) => size,
        Node::Management(_) | Node::Cbs => LONGEST_REQUEST.max(size),
    })
}
