//! What the service says.

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::{
    definitions::{Handle, Role},
    messaging::DeliveryState,
    performatives::{Attach, Detach, Disposition, Flow, Performative, Transfer},
};

use super::{Arriving, Engine, WINDOW, condition, ended};
use crate::{Error, Result, amqp::inbox::Arrived};

/// Largest message that is put together, in bytes: what Service Bus Premium allows.
const LARGEST_MESSAGE: usize = 100 * 1024 * 1024;
/// Messages without credit that are taken all the same: a smaller grant may cross those that are on their way for a larger one.
const MOST_UNASKED: usize = WINDOW as usize;

impl Engine {
    pub(super) fn handle(&mut self, performative: Performative, payload: Bytes) -> Result<()> {
        match performative {
            Performative::Attach(attach) => self.attached(&attach),
            Performative::Flow(flow) => self.on_flow(&flow),
            Performative::Transfer(transfer) => self.on_transfer(&transfer, &payload),
            Performative::Disposition(disposition) => {
                self.on_disposition(disposition);
                Ok(())
            }
            Performative::Detach(detach) => self.on_detach(&detach),
            Performative::End(end) => Err(ended(end.error.as_ref())),
            Performative::Close(close) => Err(ended(close.error.as_ref())),
            Performative::Open(_) | Performative::Begin(_) => {
                Err(Error::Protocol("a second open or begin frame".into()))
            }
        }
    }

    fn attached(&mut self, attach: &Attach) -> Result<()> {
        let ours = if attach.role == Role::Sender { Role::Receiver } else { Role::Sender };
        // The names are ours, and end with our handle.
        let handle = attach.name.rsplit_once('-').and_then(|(_, handle)| handle.parse().ok());
        let link = handle.and_then(|handle: u32| Some((handle, self.links.get_mut(&handle)?)));
        let Some((handle, link)) = link.filter(|(_, link)| link.role == ours) else {
            return Err(Error::Protocol(format!("an attach to the unknown link '{}'", attach.name)));
        };
        let known = |(theirs, ours): (&u32, &u32)| *theirs == attach.handle.0 || *ours == handle;
        if self.remote_handles.iter().any(known) {
            return Err(Error::Protocol(format!("a second attach of the link '{}'", attach.name)));
        }
        self.remote_handles.insert(attach.handle.0, handle);
        let refused = match ours {
            Role::Sender => attach.target.is_none(),
            Role::Receiver => attach.source.is_none(),
        };
        // A refusal has no source or target, and a detach with the reason follows.
        if refused || link.abandoned {
            return Ok(());
        }
        link.attached = true;
        if ours == Role::Receiver {
            link.delivery_count = attach.initial_delivery_count.unwrap_or(0);
        }
        let reply = link.attaching.take();
        if reply.is_none_or(|reply| reply.send(Ok((handle, attach.max_message_size.unwrap_or(0)))).is_err()) {
            // Whoever wanted it has gone.
            self.detach(handle)?;
        }
        Ok(())
    }

    fn on_flow(&mut self, flow: &Flow) -> Result<()> {
        let expects = flow.next_incoming_id.unwrap_or(0);
        let window = expects.wrapping_add(flow.incoming_window).wrapping_sub(self.next_outgoing_id);
        let overrun = window > i32::MAX as u32 && flow.incoming_window < i32::MAX as u32;
        self.remote_window = if overrun { 0 } else { window };
        let handle = flow.handle.as_ref().and_then(|handle| self.remote_handles.get(&handle.0)).copied();
        if let Some(link) = handle.and_then(|handle| self.links.get_mut(&handle)) {
            match link.role {
                Role::Sender => {
                    let limit = flow.delivery_count.unwrap_or(0).wrapping_add(flow.link_credit.unwrap_or(0));
                    let credit = limit.wrapping_sub(link.delivery_count);
                    link.credit = if credit > i32::MAX as u32 { 0 } else { credit };
                }
                Role::Receiver => {
                    // The service has used up or given back the credit (the answer to a drain), or merely reports.
                    if let Some(count) = flow.delivery_count {
                        let used = count.wrapping_sub(link.delivery_count);
                        link.credit = link.credit.saturating_sub(used);
                        link.delivery_count = count;
                    }
                    if link.credit == 0 {
                        link.inbox.expect(false);
                    }
                }
            }
        }
        if flow.echo { self.flow(handle, false) } else { Ok(()) }
    }

    fn on_transfer(&mut self, transfer: &Transfer, payload: &Bytes) -> Result<()> {
        self.next_incoming_id = self.next_incoming_id.wrapping_add(1);
        self.incoming_window = self.incoming_window.saturating_sub(1);
        if self.incoming_window < WINDOW / 2 {
            self.flow(None, false)?;
        }
        let handle = self.remote_handles.get(&transfer.handle.0);
        let Some(link) = handle.and_then(|handle| self.links.get_mut(handle)) else {
            return Err(Error::Protocol("a transfer on an unknown link".into()));
        };
        let arriving = match &mut link.arriving {
            Some(arriving) => arriving,
            none => {
                let (Some(delivery_id), Some(tag)) = (transfer.delivery_id, &transfer.delivery_tag) else {
                    return Err(Error::Protocol("a transfer without delivery-id or delivery-tag".into()));
                };
                let (waiting, size) = link.inbox.held();
                if link.credit == 0 && (waiting >= MOST_UNASKED || size > LARGEST_MESSAGE) {
                    return Err(Error::Protocol("messages without credit".into()));
                }
                none.insert(Arriving { delivery_id, tag: tag.to_vec(), bytes: BytesMut::new() })
            }
        };
        arriving.bytes.extend_from_slice(payload);
        if arriving.bytes.len() > LARGEST_MESSAGE {
            return Err(Error::Protocol("a message without end".into()));
        }
        if transfer.more && !transfer.aborted {
            return Ok(());
        }
        let Some(arrived) = link.arriving.take() else {
            return Ok(());
        };
        link.credit = link.credit.saturating_sub(1);
        link.delivery_count = link.delivery_count.wrapping_add(1);
        if !transfer.aborted {
            let Arriving { delivery_id, tag, bytes } = arrived;
            link.inbox.push(Arrived { delivery_id, tag, bytes: bytes.freeze() });
        }
        if link.credit == 0 {
            link.inbox.expect(false);
        }
        Ok(())
    }

    fn on_disposition(&mut self, disposition: Disposition) {
        let (first, last) = (disposition.first, disposition.last.unwrap_or(disposition.first));
        if first > last {
            return;
        }
        // The service speaks as the receiver of what we sent, or as the sender of what we settle.
        if disposition.role == Role::Receiver {
            let ids: Vec<u32> = self.sent.range(first..=last).map(|(id, _)| *id).collect();
            for (_, reply) in ids.into_iter().filter_map(|id| self.sent.remove(&id)) {
                let _ = reply.send(sent(disposition.state.as_ref()));
            }
        } else if disposition.settled {
            let ids: Vec<u32> = self.settling.range(first..=last).map(|(id, _)| *id).collect();
            for (_, reply) in ids.into_iter().filter_map(|id| self.settling.remove(&id)) {
                let _ = reply.send(settled(disposition.state.clone()));
            }
        }
    }

    fn on_detach(&mut self, detach: &Detach) -> Result<()> {
        let Some(handle) = self.remote_handles.remove(&detach.handle.0) else {
            return Err(Error::Protocol("a detach of an unknown link".into()));
        };
        let Some(link) = self.links.remove(&handle) else {
            return Ok(());
        };
        if !link.abandoned {
            self.send(&Detach { handle: Handle(handle), closed: true, error: None })?;
        }
        let error = ended(detach.error.as_ref());
        link.end(&error);
        let of_link = |(_, (of, _)): &(&u32, &(u32, _))| *of == handle;
        let ids: Vec<u32> = self.sent.iter().filter(of_link).map(|(id, _)| *id).collect();
        for (_, reply) in ids.into_iter().filter_map(|id| self.sent.remove(&id)) {
            let _ = reply.send(Err(error.clone()));
        }
        let ids: Vec<u32> =
            self.settling.iter().filter(|(_, (of, _))| *of == handle).map(|(id, _)| *id).collect();
        for (_, reply) in ids.into_iter().filter_map(|id| self.settling.remove(&id)) {
            let _ = reply.send(Err(Error::Connection(format!("the link ended: {error}"))));
        }
        Ok(())
    }
}

/// What became of a message that we sent.
fn sent(state: Option<&DeliveryState>) -> Result<()> {
    match state {
        Some(DeliveryState::Accepted(_)) => Ok(()),
        Some(DeliveryState::Rejected(rejected)) => Err(ended(rejected.error.as_ref())),
        Some(DeliveryState::Released(_) | DeliveryState::Modified(_)) => {
            Err(Error::ServerBusy("the service did not take the message".into()))
        }
        _ => Err(Error::Protocol("the service settled a message without an outcome".into())),
    }
}

/// What became of a settlement of ours.
fn settled(state: Option<DeliveryState>) -> Result<Option<DeliveryState>> {
    match state {
        Some(DeliveryState::Rejected(rejected)) if rejected.error.is_some() => {
            // A rejection that echoes our own dead-lettering bears our own condition.
            let ours = rejected
                .error
                .as_ref()
                .is_some_and(|e| condition(&e.condition) == "com.microsoft:dead-letter");
            if ours {
                Ok(Some(DeliveryState::Rejected(rejected)))
            } else {
                Err(ended(rejected.error.as_ref()))
            }
        }
        state => Ok(state),
    }
}
