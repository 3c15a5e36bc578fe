//! The task behind a connection: it alone reads and writes frames; everybody else sends it commands.

#[cfg(test)]
mod hostile;
mod incoming;
mod outgoing;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::{
    definitions::{self, ErrorCondition, ReceiverSettleMode, Role, SenderSettleMode},
    messaging::DeliveryState,
    performatives::{Close, Disposition},
};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

use super::{
    connect::{self, IDLE_TIMEOUT, Opened, WINDOW},
    inbox::Inbox,
    link::{ReceiverLink, SenderLink, gone},
    wire::{self, AMQP_FRAME},
};
use crate::{Error, Result, connection_string::Endpoint};

/// How long connecting may take, TLS and handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the last frames may take when the connection is closed.
const LINGER: Duration = Duration::from_secs(2);
/// More output than this waiting for the socket, in bytes: nothing more is read, for what comes may ask for answers.
const OVERFULL_OUTPUT: usize = 4 * 1024 * 1024;

/// Numbers the receiving links of this process.
static LINKS: AtomicU64 = AtomicU64::new(1);

type Outcome<T> = oneshot::Sender<Result<T>>;

/// What the connection's task is told to do.
pub(super) enum Command {
    Attach { spec: LinkSpec, inbox: Arc<Inbox>, reply: Outcome<(u32, u64)> },
    Send { handle: u32, bytes: Bytes, format: u32, reply: Outcome<()> },
    Credit { handle: u32, credit: u32, drain: bool },
    Settle { handle: u32, delivery_id: u32, state: DeliveryState, reply: Outcome<Option<DeliveryState>> },
    Detach { handle: u32 },
    Close,
}

/// A link to attach.
pub(super) struct LinkSpec {
    role: Role,
    source: String,
    target: String,
    sender_mode: SenderSettleMode,
    receiver_mode: ReceiverSettleMode,
}

/// An open connection. It ends when this is dropped, when it is closed, or by itself.
#[derive(Debug)]
pub(crate) struct Connection {
    commands: mpsc::UnboundedSender<Command>,
}

impl Connection {
    /// Connects; the connection runs in a task of its own.
    pub(crate) async fn open(endpoint: &Endpoint) -> Result<Self> {
        let opened = timeout(CONNECT_TIMEOUT, connect::open(endpoint)).await.map_err(|_| {
            let seconds = CONNECT_TIMEOUT.as_secs();
            Error::Connection(format!(
                "{}:{} did not answer within {seconds} s",
                endpoint.host, endpoint.port
            ))
        })??;
        let (commands, inbox) = mpsc::unbounded_channel();
        tokio::spawn(Engine::new(&opened).run(opened, inbox));
        Ok(Self { commands })
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// Asks the task to close; returns when it has.
    pub(crate) async fn close(&self) {
        if self.commands.send(Command::Close).is_ok() {
            self.commands.closed().await;
        }
    }

    /// Attaches a link to send to `target`; answers to requests are wanted at `source`.
    pub(crate) async fn attach_sender(&self, source: &str, target: &str) -> Result<SenderLink> {
        let spec = LinkSpec {
            role: Role::Sender,
            source: source.to_owned(),
            target: target.to_owned(),
            sender_mode: SenderSettleMode::Unsettled,
            receiver_mode: ReceiverSettleMode::First,
        };
        let (handle, max_message_size, inbox) = self.attach(spec).await?;
        Ok(SenderLink { commands: self.commands.clone(), handle, max_message_size, inbox })
    }

    /// Attaches a link to receive from `source`; `settled` is receive and delete.
    pub(crate) async fn attach_receiver(
        &self,
        source: &str,
        target: &str,
        settled: bool,
    ) -> Result<ReceiverLink> {
        let (sender_mode, receiver_mode) = if settled {
            (SenderSettleMode::Settled, ReceiverSettleMode::First)
        } else {
            (SenderSettleMode::Unsettled, ReceiverSettleMode::Second)
        };
        let (source, target) = (source.to_owned(), target.to_owned());
        let (handle, _, inbox) = self
            .attach(LinkSpec { role: Role::Receiver, source, target, sender_mode, receiver_mode })
            .await?;
        let id = LINKS.fetch_add(1, Ordering::Relaxed);
        Ok(ReceiverLink { commands: self.commands.clone(), handle, id, inbox })
    }

    async fn attach(&self, spec: LinkSpec) -> Result<(u32, u64, Arc<Inbox>)> {
        let inbox = Arc::new(Inbox::default());
        let (reply, attached) = oneshot::channel();
        self.commands.send(Command::Attach { spec, inbox: inbox.clone(), reply }).map_err(|_| gone())?;
        let (handle, max_message_size) = attached.await.map_err(|_| gone())??;
        Ok((handle, max_message_size, inbox))
    }
}

/// The error that a peer gave when it ended a link, the session or the connection.
pub(super) fn ended(error: Option<&definitions::Error>) -> Error {
    match error {
        Some(error) => Error::from_condition(
            &condition(&error.condition),
            error.description.as_deref().unwrap_or_default(),
        ),
        None => Error::Connection("ended by the service".into()),
    }
}

/// A condition's name.
fn condition(condition: &ErrorCondition) -> String {
    if let ErrorCondition::Custom(symbol) = condition {
        return symbol.0.clone();
    }
    match serde_amqp::to_vec(condition).ok().and_then(|bytes| serde_amqp::from_slice(&bytes).ok()) {
        Some(fe2o3_amqp_types::primitives::Value::Symbol(symbol)) => symbol.0,
        _ => format!("{condition:?}"),
    }
}

/// A link as the task knows it.
struct Link {
    role: Role,
    inbox: Arc<Inbox>,
    /// Who waits for the answer to the attach.
    attaching: Option<Outcome<(u32, u64)>>,
    credit: u32,
    delivery_count: u32,
    /// Whether the other side knows of it and has not ended it.
    attached: bool,
    /// Nobody holds it any more; it goes as soon as it may.
    abandoned: bool,
    /// Messages that wait for credit, the first of them perhaps half sent.
    leaving: VecDeque<Leaving>,
    /// A message of which some frames came.
    arriving: Option<Arriving>,
}

struct Leaving {
    /// The number of the delivery once its first frame is sent.
    delivery_id: Option<u32>,
    rest: Bytes,
    format: u32,
    reply: Option<Outcome<()>>,
}

struct Arriving {
    delivery_id: u32,
    tag: Vec<u8>,
    bytes: BytesMut,
}

/// The state of the task.
struct Engine {
    links: BTreeMap<u32, Link>,
    /// Our handle by the handle that the other side uses.
    remote_handles: BTreeMap<u32, u32>,
    next_handle: u32,
    next_outgoing_id: u32,
    next_incoming_id: u32,
    incoming_window: u32,
    remote_window: u32,
    max_frame: usize,
    /// Messages sent and not answered: whose link, and who waits.
    sent: BTreeMap<u32, (u32, Outcome<()>)>,
    /// Settlements sent and not answered.
    settling: BTreeMap<u32, (u32, Outcome<Option<DeliveryState>>)>,
    out: BytesMut,
}

impl Engine {
    fn new(opened: &Opened) -> Self {
        Self {
            links: BTreeMap::new(),
            remote_handles: BTreeMap::new(),
            next_handle: 0,
            next_outgoing_id: 0,
            next_incoming_id: opened.next_incoming_id,
            incoming_window: WINDOW,
            remote_window: opened.remote_window,
            max_frame: opened.max_frame,
            sent: BTreeMap::new(),
            settling: BTreeMap::new(),
            out: BytesMut::new(),
        }
    }

    fn send(&mut self, performative: &impl Serialize) -> Result<()> {
        wire::put_frame(&mut self.out, AMQP_FRAME, &wire::encode(performative)?, &[]);
        Ok(())
    }

    /// Runs until the connection ends; then tells everybody who waits.
    async fn run(mut self, opened: Opened, mut commands: mpsc::UnboundedReceiver<Command>) {
        let error = match self.serve(opened, &mut commands).await {
            Ok(()) => Error::Connection("the connection was closed".into()),
            // Whatever ends a connection, a new one may do better; the reason is in the text.
            Err(error @ (Error::Unauthorized(_) | Error::NotFound(_))) => error,
            Err(Error::Connection(why)) => Error::Connection(why),
            Err(error) => Error::Connection(error.to_string()),
        };
        tracing::debug!(%error, "connection to Service Bus ended");
        commands.close();
        for link in std::mem::take(&mut self.links).into_values() {
            link.end(&error);
        }
        for (_, reply) in std::mem::take(&mut self.sent).into_values() {
            let _ = reply.send(Err(error.clone()));
        }
        for (_, reply) in std::mem::take(&mut self.settling).into_values() {
            let _ = reply.send(Err(error.clone()));
        }
    }

    async fn serve(&mut self, opened: Opened, commands: &mut mpsc::UnboundedReceiver<Command>) -> Result<()> {
        let Opened { stream, mut input, keep_alive, .. } = opened;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (mut heard, mut spoken) = (Instant::now(), Instant::now());
        loop {
            while let Some(frame) = wire::next_frame(&mut input)? {
                if let Some((performative, payload)) = wire::decode(frame.body)? {
                    self.handle(performative, payload)?;
                }
            }
            self.pump()?;
            let may_read = self.out.len() < OVERFULL_OUTPUT;
            let keep_alive_at = spoken + keep_alive.unwrap_or(IDLE_TIMEOUT);
            tokio::select! {
                read = reader.read_buf(&mut input), if may_read => match read.map_err(connect::broken)? {
                    0 => return Err(Error::Connection("the service hung up".into())),
                    _ => heard = Instant::now(),
                },
                written = writer.write_buf(&mut self.out), if !self.out.is_empty() => {
                    written.map_err(connect::broken)?;
                    if self.out.is_empty() {
                        // TLS keeps what is too little for a record.
                        writer.flush().await.map_err(connect::broken)?;
                    }
                    spoken = Instant::now();
                }
                command = commands.recv() => match command {
                    Some(Command::Close) | None => break,
                    Some(command) => self.obey(command)?,
                },
                () = sleep_until(keep_alive_at) => {
                    if self.out.is_empty() {
                        wire::put_frame(&mut self.out, AMQP_FRAME, &[], &[]);
                    }
                    spoken = Instant::now();
                }
                () = sleep_until(heard + 2 * IDLE_TIMEOUT) => {
                    return Err(Error::Connection("the service is silent".into()));
                }
            }
        }
        self.send(&Close { error: None })?;
        let _ = timeout(LINGER, async {
            writer.write_all_buf(&mut self.out).await?;
            writer.shutdown().await
        })
        .await;
        Ok(())
    }

    fn obey(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Attach { spec, inbox, reply } => self.attach(spec, inbox, reply),
            Command::Send { handle, bytes, format, reply } => {
                match self.links.get_mut(&handle) {
                    Some(link) if link.attached => {
                        link.leaving.push_back(Leaving {
                            delivery_id: None,
                            rest: bytes,
                            format,
                            reply: Some(reply),
                        });
                    }
                    _ => {
                        let _ = reply.send(Err(Error::Connection("the link is detached".into())));
                    }
                }
                Ok(())
            }
            Command::Credit { handle, credit, drain } => self.credit(handle, credit, drain),
            Command::Settle { handle, delivery_id, state, reply } => {
                if !self.links.get(&handle).is_some_and(|link| link.attached) {
                    let _ = reply.send(Err(Error::Connection("the link is detached".into())));
                    return Ok(());
                }
                self.settling.insert(delivery_id, (handle, reply));
                // Not settled: the service shall answer, for only then is it known whether the lock still held.
                self.send(&Disposition {
                    role: Role::Receiver,
                    first: delivery_id,
                    last: None,
                    settled: false,
                    state: Some(state),
                    batchable: false,
                })
            }
            Command::Detach { handle } => self.detach(handle),
            Command::Close => Ok(()),
        }
    }
}

impl Link {
    /// Tells everybody who waits for this link that it is over.
    fn end(self, error: &Error) {
        self.inbox.close(error.clone());
        if let Some(reply) = self.attaching {
            let _ = reply.send(Err(error.clone()));
        }
        for reply in self.leaving.into_iter().filter_map(|leaving| leaving.reply) {
            let _ = reply.send(Err(error.clone()));
        }
    }
}
