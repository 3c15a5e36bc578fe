//! One connection: reads frames, hands them to its sessions, writes what they have to say.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use fe2o3_amqp_types::{
    performatives::{Close, Open},
    primitives::{Symbol, Value},
};
use futures::future;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use super::{
    authorization::{Authorization, covers},
    disposition, sasl,
    session::{Reply, Session},
    wire::{self, AMQP_FRAME, Incoming, MAX_FRAME_SIZE, WireError},
};
use crate::broker::Broker;

/// A peer that has not opened its connection by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// What peers are told to send something within, as the real service tells them; twice as long is tolerated.
const IDLE_TIMEOUT: Duration = Duration::from_secs(240);
/// Keep-alives are not sent more often than this, whatever a peer asks for.
const SHORTEST_KEEP_ALIVE: Duration = Duration::from_millis(100);
/// A peer that stops taking bytes is given this long to take the last ones when the connection ends.
const LINGER: Duration = Duration::from_secs(2);
/// Sessions of a connection are numbered up to this.
pub(super) const CHANNEL_MAX: u16 = 63;
/// More output than this waiting for a slow peer, in bytes: nothing more is taken from queues for it.
const FULL_OUTPUT: usize = 1024 * 1024;
/// More than this: nothing more is read from it either.
const OVERFULL_OUTPUT: usize = 4 * FULL_OUTPUT;
/// All unfinished messages of a connection together take no more than this, in bytes.
const MOST_UNFINISHED: usize = 64 * 1024 * 1024;

/// What the sessions of a connection share.
pub(super) struct Peer {
    pub(super) broker: Arc<Broker>,
    pub(super) authorization: Arc<Authorization>,
    /// Paths that `$cbs` tokens were accepted for.
    pub(super) claims: Vec<String>,
    /// Needs no token.
    pub(super) trusted: bool,
    /// The largest frame that it takes.
    pub(super) max_frame: usize,
    /// Bytes of unfinished messages from it.
    pub(super) unfinished: usize,
    out: BytesMut,
}

impl Peer {
    /// Queues a frame.
    pub(super) fn send(&mut self, channel: u16, performative: &impl Serialize) {
        wire::put_frame(&mut self.out, AMQP_FRAME, channel, &wire::encode(performative), &[]);
    }

    /// Queues a frame with a payload.
    pub(super) fn send_with(&mut self, channel: u16, performative: &[u8], payload: &[u8]) {
        wire::put_frame(&mut self.out, AMQP_FRAME, channel, performative, payload);
    }

    /// Whether so much waits for it that it shall get no more messages for now.
    pub(super) fn is_full(&self) -> bool {
        self.out.len() >= FULL_OUTPUT
    }

    /// Whether it may use `path`.
    pub(super) fn may_use(&self, path: &str) -> bool {
        self.trusted || self.claims.iter().any(|claim| covers(claim, path))
    }
}

struct Connection {
    peer: Peer,
    sessions: BTreeMap<u16, Session>,
}

/// Serves one peer until it closes, breaks the rules, or the server stops.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite,
    broker: Arc<Broker>,
    authorization: Arc<Authorization>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), WireError> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut restarted = broker.restarts.subscribe();
    let mut input = BytesMut::new();
    let opening = async {
        let trusted = sasl::handshake(&mut reader, &mut writer, &mut input, &authorization).await?;
        let frame = sasl::read_frame(&mut reader, &mut input).await?;
        match wire::decode(frame.body)? {
            Incoming::Open(open) if frame.kind == AMQP_FRAME => Ok((trusted, open)),
            _ => Err(WireError::Protocol("expected an open frame")),
        }
    };
    let opened = tokio::select! {
        opened = timeout(HANDSHAKE_TIMEOUT, opening) => opened,
        _ = stopped.changed() => return Ok(()),
    };
    let (trusted, open) = opened.map_err(|_| WireError::Protocol("the peer was too slow to open"))??;

    let peer = Peer {
        broker,
        authorization,
        claims: Vec::new(),
        trusted,
        max_frame: (open.max_frame_size.0 as usize).clamp(512, MAX_FRAME_SIZE),
        unfinished: 0,
        out: BytesMut::new(),
    };
    let mut connection = Connection { peer, sessions: BTreeMap::new() };
    connection.peer.send(0, &our_open());
    let keep_alive = open
        .idle_time_out
        .filter(|ms| *ms > 0)
        .map(|ms| (Duration::from_millis(ms.into()) / 2).max(SHORTEST_KEEP_ALIVE));
    let mut heard = Instant::now();
    let mut spoken = Instant::now();
    // Some of what was taken from the output may still be on its way: TLS keeps what its socket does not take.
    let mut unflushed = false;

    let result = loop {
        match connection.digest(&mut input) {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
        let hungry = connection.pump();
        let peer = &mut connection.peer;
        let may_read = peer.out.len() < OVERFULL_OUTPUT;
        unflushed |= !peer.out.is_empty();
        let broker = peer.broker.clone();
        let keep_alive_at = keep_alive.map(|every| spoken + every);
        tokio::select! {
            read = reader.read_buf(&mut input), if may_read => match read {
                Ok(0) => return Ok(()),
                Ok(_) => heard = Instant::now(),
                Err(error) => return Err(error.into()),
            },
            written = write(&mut writer, &mut peer.out), if unflushed => {
                written?;
                unflushed = false;
                spoken = Instant::now();
            }
            () = something_to_deliver(&broker, hungry) => {}
            () = until(keep_alive_at) => {
                // A peer that takes nothing has unwritten frames already.
                if peer.out.is_empty() {
                    peer.send_with(0, &[], &[]);
                }
                spoken = Instant::now();
            }
            () = sleep_until(heard + 2 * IDLE_TIMEOUT) => break Err(WireError::Limit("the peer is silent")),
            _ = restarted.changed() => break Err(WireError::Protocol("the broker restarts")),
            _ = stopped.changed() => break Err(WireError::Protocol("the server stops")),
        }
    };
    let error = result.as_ref().err().map(|error| {
        let condition = match error {
            WireError::Framing(_) => "amqp:connection:framing-error",
            WireError::Decode(_) => "amqp:decode-error",
            WireError::Limit(_) => "amqp:resource-limit-exceeded",
            WireError::Protocol(_) | WireError::Io(_) => "amqp:connection:forced",
        };
        disposition::error_of(condition, &error.to_string())
    });
    connection.peer.send(0, &Close { error });
    let _ = timeout(LINGER, async {
        writer.write_all_buf(&mut connection.peer.out).await?;
        writer.shutdown().await
    })
    .await;
    result
}

/// Writes as much of `out` as the peer takes. May be dropped at any time: then it is not flushed.
async fn write(writer: &mut (impl AsyncWrite + Unpin), out: &mut BytesMut) -> std::io::Result<()> {
    if !out.is_empty() {
        writer.write_buf(out).await?;
    }
    writer.flush().await
}

fn our_open() -> Open {
    Open {
        container_id: "simulated-service-bus".into(),
        hostname: None,
        max_frame_size: (MAX_FRAME_SIZE as u32).into(),
        channel_max: CHANNEL_MAX.into(),
        idle_time_out: Some(IDLE_TIMEOUT.as_millis() as u32),
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: Some(
            [(Symbol::from("product"), Value::String("simulated".into()))].into_iter().collect(),
        ),
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}

/// Waits until one of the entities may have a message: it changed, or something in it becomes due.
async fn something_to_deliver(broker: &Broker, hungry: Vec<(String, watch::Receiver<u64>)>) {
    if hungry.is_empty() {
        return future::pending().await;
    }
    let due = hungry.iter().filter_map(|(entity, _)| broker.next_due(entity).ok().flatten()).min();
    let changes = hungry.into_iter().map(|(_, mut changes)| {
        Box::pin(async move {
            let _ = changes.changed().await;
        })
    });
    let due = async {
        match due {
            Some(due) => broker.clock().sleep_until(due).await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        _ = future::select_all(changes) => {}
        () = due => {}
    }
}

impl Connection {
    /// Handles all whole frames in `input`. False after the peer's close.
    fn digest(&mut self, input: &mut BytesMut) -> Result<bool, WireError> {
        while self.peer.out.len() < OVERFULL_OUTPUT {
            let Some(frame) = wire::next_frame(input)? else {
                break;
            };
            if frame.kind != AMQP_FRAME {
                return Err(WireError::Protocol("a frame that is not AMQP's"));
            }
            let channel = frame.channel;
            match wire::decode(frame.body)? {
                Incoming::Empty => {}
                Incoming::Close => return Ok(false),
                Incoming::Open(_) => return Err(WireError::Protocol("a second open")),
                Incoming::Begin(begin) => {
                    if channel > CHANNEL_MAX || self.sessions.contains_key(&channel) {
                        return Err(WireError::Protocol("begin on a channel that is taken or too high"));
                    }
                    self.sessions.insert(channel, Session::begin(&mut self.peer, channel, &begin));
                }
                Incoming::End => {
                    if let Some(mut session) = self.sessions.remove(&channel) {
                        session.end(&mut self.peer);
                    }
                }
                frame => {
                    let session =
                        self.sessions.get_mut(&channel).ok_or(WireError::Protocol("no such session"))?;
                    if let Some(reply) = session.handle(&mut self.peer, frame)? {
                        self.route(reply);
                    }
                    if self.peer.unfinished > MOST_UNFINISHED {
                        return Err(WireError::Limit("unfinished messages"));
                    }
                }
            }
        }
        Ok(true)
    }

    /// Hands the answer of `$cbs` or `$management` to the link that waits for it.
    fn route(&mut self, reply: Reply) {
        let mut links: Vec<_> = self.sessions.values_mut().flat_map(Session::reply_links).collect();
        links.retain(|link| link.node == reply.node);
        let wanted = reply.to.as_deref();
        let place = links
            .iter()
            .position(|link| wanted.is_some_and(|to| link.reply_address == to || link.name == to))
            .or(if links.is_empty() { None } else { Some(links.len() - 1) });
        if let Some(place) = place {
            links[place].push_reply(reply.message);
        }
    }

    /// Sends what can be sent. Gives back the entities that peers still wait for, with their changes since before the look.
    fn pump(&mut self) -> Vec<(String, watch::Receiver<u64>)> {
        let mut hungry = Vec::new();
        for session in self.sessions.values_mut() {
            session.pump(&mut self.peer, &mut hungry);
        }
        hungry
    }
}

#[cfg(test)]
mod hostile;
