//! What the client has to say: attach, transfers within credit and window, credit, detach.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use fe2o3_amqp_types::{
    definitions::{Handle, Role},
    messaging::{Source, Target, TargetArchetype},
    performatives::{Attach, Detach, Flow, Transfer},
};

use super::{Engine, Leaving, Link, LinkSpec, Outcome, WINDOW};
use crate::{
    Result,
    amqp::{
        inbox::Inbox,
        wire::{self, AMQP_FRAME},
    },
};

/// Bytes of a frame that are kept free for its header and the transfer performative.
const TRANSFER_ROOM: usize = 128;
/// More output than this waiting for the socket, in bytes: messages wait in their links.
const FULL_OUTPUT: usize = 1024 * 1024;

impl Engine {
    pub(super) fn attach(
        &mut self,
        spec: LinkSpec,
        inbox: Arc<Inbox>,
        reply: Outcome<(u32, u64)>,
    ) -> Result<()> {
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1);
        while self.links.contains_key(&self.next_handle) {
            self.next_handle = self.next_handle.wrapping_add(1);
        }
        let attach = Attach {
            name: format!("{}-{handle}", if spec.role == Role::Sender { &spec.target } else { &spec.source }),
            handle: Handle(handle),
            role: spec.role.clone(),
            snd_settle_mode: spec.sender_mode,
            rcv_settle_mode: spec.receiver_mode,
            source: Some(Box::new(Source::builder().address(spec.source).build())),
            target: Some(Box::new(TargetArchetype::Target(Target::builder().address(spec.target).build()))),
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: (spec.role == Role::Sender).then_some(0),
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        let link = Link {
            role: spec.role,
            inbox,
            attaching: Some(reply),
            credit: 0,
            delivery_count: 0,
            attached: false,
            abandoned: false,
            leaving: VecDeque::new(),
            arriving: None,
        };
        self.links.insert(handle, link);
        self.send(&attach)
    }

    pub(super) fn detach(&mut self, handle: u32) -> Result<()> {
        let Some(link) = self.links.get_mut(&handle) else {
            return Ok(());
        };
        if link.abandoned {
            return Ok(());
        }
        link.abandoned = true;
        link.attached = false;
        self.send(&Detach { handle: Handle(handle), closed: true, error: None })
    }

    pub(super) fn credit(&mut self, handle: u32, credit: u32, drain: bool) -> Result<()> {
        let Some(link) = self.links.get_mut(&handle).filter(|link| link.attached) else {
            return Ok(());
        };
        if drain {
            if link.credit == 0 {
                // All that was granted has come.
                link.inbox.expect(false);
                return Ok(());
            }
        } else {
            link.credit = credit;
        }
        self.flow(Some(handle), drain)
    }

    pub(super) fn flow(&mut self, handle: Option<u32>, drain: bool) -> Result<()> {
        self.incoming_window = WINDOW;
        let link = handle.and_then(|handle| self.links.get(&handle));
        let flow = Flow {
            next_incoming_id: Some(self.next_incoming_id),
            incoming_window: WINDOW,
            next_outgoing_id: self.next_outgoing_id,
            outgoing_window: WINDOW,
            handle: handle.map(Handle),
            delivery_count: link.map(|link| link.delivery_count),
            link_credit: link.map(|link| link.credit),
            available: None,
            drain,
            echo: false,
            properties: None,
        };
        self.send(&flow)
    }

    /// Sends the messages that credit and window allow.
    pub(super) fn pump(&mut self) -> Result<()> {
        let Self { links, sent, out, remote_window, next_outgoing_id, max_frame, .. } = self;
        for (handle, link) in links {
            while let Some(leaving) = link.leaving.front_mut() {
                if leaving.delivery_id.is_none() {
                    if link.credit == 0 {
                        break;
                    }
                    // Nobody waits for it any more and no part of it is sent: it stays here.
                    if leaving.reply.as_ref().is_some_and(Outcome::is_closed) {
                        link.leaving.pop_front();
                        continue;
                    }
                }
                if *remote_window == 0 || out.len() >= FULL_OUTPUT {
                    return Ok(());
                }
                if leaving.delivery_id.is_none() {
                    link.credit -= 1;
                    link.delivery_count = link.delivery_count.wrapping_add(1);
                }
                let part = leaving.rest.split_to(leaving.rest.len().min(*max_frame - TRANSFER_ROOM));
                let transfer = transfer(*handle, *next_outgoing_id, leaving);
                wire::put_frame(out, AMQP_FRAME, &wire::encode(&transfer)?, &part);
                let delivery_id = *leaving.delivery_id.get_or_insert(*next_outgoing_id);
                *next_outgoing_id = next_outgoing_id.wrapping_add(1);
                *remote_window -= 1;
                if !transfer.more {
                    let done = link.leaving.pop_front();
                    if let Some(reply) = done.and_then(|done| done.reply) {
                        sent.insert(delivery_id, (*handle, reply));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The performative of the next frame of a message, whose bytes were split off already.
fn transfer(handle: u32, next_id: u32, leaving: &Leaving) -> Transfer {
    let first = leaving.delivery_id.is_none();
    Transfer {
        handle: Handle(handle),
        delivery_id: first.then_some(next_id),
        delivery_tag: first.then(|| next_id.to_be_bytes().to_vec().into()),
        message_format: first.then_some(leaving.format),
        settled: Some(false),
        more: !Bytes::is_empty(&leaving.rest),
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}
