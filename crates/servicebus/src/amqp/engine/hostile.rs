//! A service that does not mean well.

use std::io::Cursor;

use fe2o3_amqp_types::{
    definitions::{Handle, Role},
    messaging::{Accepted, DeliveryState, Source, Target, TargetArchetype},
    performatives::{Attach, Begin, Close, Detach, Disposition, End, Flow, Open, Transfer},
    primitives::Symbol,
    sasl::{SaslCode, SaslMechanisms, SaslOutcome},
};
use hostile_bytes::{Attack, Grammar};
use serde::Serialize;
use tokio::sync::oneshot;

use super::*;
use crate::{ServiceBusMessage, amqp::wire::SASL_FRAME, message::envelope};

fn frame(performative: &impl Serialize, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    wire::put_frame(&mut out, AMQP_FRAME, &wire::encode(performative).unwrap(), payload);
    out.to_vec()
}

fn message() -> Vec<u8> {
    envelope(&ServiceBusMessage { message_id: Some("m".into()), ..ServiceBusMessage::new("body") }).unwrap()
}

/// The service's answer to the attach of the link with this handle, which sends or receives as we see it.
fn attach(handle: u32, sends: bool) -> Attach {
    Attach {
        name: format!("q-{handle}"),
        handle: Handle(handle + 10),
        role: if sends { Role::Receiver } else { Role::Sender },
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::Second,
        source: Some(Box::new(Source::builder().address("q").build())),
        target: Some(Box::new(TargetArchetype::Target(Target::builder().address("q").build()))),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: (!sends).then_some(0),
        max_message_size: Some(262_144),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn flow(handle: u32, echo: bool) -> Flow {
    Flow {
        next_incoming_id: Some(0),
        incoming_window: 5000,
        next_outgoing_id: 0,
        outgoing_window: 5000,
        handle: Some(Handle(handle)),
        delivery_count: Some(0),
        link_credit: Some(100),
        available: None,
        drain: false,
        echo,
        properties: None,
    }
}

fn transfer(delivery_id: Option<u32>, more: bool) -> Transfer {
    Transfer {
        handle: Handle(11),
        delivery_id,
        delivery_tag: delivery_id.map(|_| vec![7; 16].into()),
        message_format: Some(0),
        settled: Some(false),
        more,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    }
}

fn disposition(role: Role, first: u32) -> Disposition {
    let state = Some(DeliveryState::Accepted(Accepted {}));
    Disposition { role, first, last: Some(first + 3), settled: true, state, batchable: false }
}

/// What a service says in a short life.
fn session() -> Vec<Vec<u8>> {
    let message = message();
    let (start, end) = message.split_at(10);
    vec![
        frame(&attach(0, true), &[]),
        frame(&attach(1, false), &[]),
        frame(&flow(10, false), &[]),
        frame(&transfer(Some(0), false), &message),
        frame(&transfer(Some(1), true), start),
        frame(&transfer(None, false), end),
        frame(&flow(11, true), &[]),
        frame(&disposition(Role::Receiver, 0), &[]),
        frame(&disposition(Role::Sender, 0), &[]),
        frame(&Detach { handle: Handle(11), closed: true, error: None }, &[]),
    ]
}

/// A client with a link in each direction, which sends and settles as long as it is let.
struct Client {
    engine: Engine,
    received: Arc<Inbox>,
    /// Whoever asked for the links waits for the answers.
    _waiting: Vec<oneshot::Receiver<Result<(u32, u64)>>>,
}

impl Client {
    fn new() -> Self {
        let stream = Box::new(Cursor::new(Vec::new()));
        let opened = Opened {
            stream,
            input: BytesMut::new(),
            max_frame: 512,
            keep_alive: None,
            remote_window: 5000,
            next_incoming_id: 0,
        };
        let mut engine = Engine::new(&opened);
        let received = Arc::new(Inbox::default());
        let mut waiting = Vec::new();
        for (role, inbox) in [(Role::Sender, Arc::new(Inbox::default())), (Role::Receiver, received.clone())]
        {
            let spec = LinkSpec {
                role,
                source: "q".to_owned(),
                target: "q".to_owned(),
                sender_mode: SenderSettleMode::Unsettled,
                receiver_mode: ReceiverSettleMode::Second,
            };
            let (reply, waits) = oneshot::channel();
            waiting.push(waits);
            engine.obey(Command::Attach { spec, inbox, reply }).unwrap();
        }
        Self { engine, received, _waiting: waiting }
    }

    /// Takes all frames; an error ends the connection.
    fn hear(&mut self, bytes: &[u8]) -> Result<()> {
        let mut input = BytesMut::from(bytes);
        while let Some(frame) = wire::next_frame(&mut input)? {
            if let Some((performative, payload)) = wire::decode(frame.body)? {
                self.engine.handle(performative, payload)?;
            }
            self.engine.obey(Command::Credit { handle: 1, credit: 10, drain: false })?;
            let (reply, _) = oneshot::channel();
            let bytes = vec![1; 2000].into();
            self.engine.obey(Command::Send { handle: 0, bytes, format: 0, reply })?;
            for arrived in self.received.take(3) {
                let (reply, _) = oneshot::channel();
                let state = DeliveryState::Accepted(Accepted {});
                self.engine.obey(Command::Settle {
                    handle: 1,
                    delivery_id: arrived.delivery_id,
                    state,
                    reply,
                })?;
            }
            self.engine.pump()?;
            // As if it were written.
            self.engine.out.clear();
        }
        if input.is_empty() { Ok(()) } else { Err(Error::Protocol("a frame is cut off".into())) }
    }
}

#[test]
fn no_frames_break_the_engine() {
    let session = session();
    let mut attack = Attack::on("the service's frames", Grammar::Binary).sample(session.concat());
    for last in [frame(&End { error: None }, &[]), frame(&Close { error: None }, &[])] {
        // These end the connection; mutations of them still begin somewhere.
        attack = attack.words([last]);
    }
    attack = attack.words(&session);
    attack.run(|bytes| Client::new().hear(bytes).map_err(|error| error.to_string()));
}

#[test]
fn no_frame_breaks_its_decoder() {
    let bodies: Vec<Vec<u8>> = session().iter().map(|frame| frame[8..].to_vec()).collect();
    Attack::on("frames", Grammar::Binary)
        .samples(bodies)
        .run(|bytes| wire::decode(bytes.to_vec().into()).map(drop).map_err(|error| error.to_string()));
}

#[test]
fn no_greeting_breaks_the_handshake() {
    let sasl = |body: Vec<u8>| {
        let mut out = BytesMut::new();
        wire::put_frame(&mut out, SASL_FRAME, &body, &[]);
        out.to_vec()
    };
    let mechanisms = SaslMechanisms {
        sasl_server_mechanisms: vec![Symbol::from("ANONYMOUS"), Symbol::from("MSSBCBS")].into(),
    };
    let open = Open {
        container_id: "c".into(),
        hostname: None,
        max_frame_size: 65_536.into(),
        channel_max: 5.into(),
        idle_time_out: Some(240_000),
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    let begin = Begin {
        remote_channel: Some(0),
        next_outgoing_id: 1,
        incoming_window: 5000,
        outgoing_window: 5000,
        handle_max: Handle(255),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    let greeting = [
        b"AMQP\x03\x01\x00\x00".to_vec(),
        sasl(wire::encode(&mechanisms).unwrap()),
        sasl(wire::encode(&SaslOutcome { code: SaslCode::Ok, additional_data: None }).unwrap()),
        b"AMQP\x00\x01\x00\x00".to_vec(),
        frame(&open, &[]),
        frame(&begin, &[]),
    ];
    let attack = Attack::on("greetings", Grammar::Binary).sample(greeting.concat()).words(&greeting);
    attack.run(|bytes| {
        let stream = tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let opened = runtime.block_on(connect::handshake(Box::new(stream), "host"));
        opened.map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn messages_that_nobody_asked_for_do_not_pile_up() {
    let mut client = Client::new();
    client.hear(&session()[..2].concat()).unwrap();
    let unasked: Vec<u8> = (0..20_000).flat_map(|id| frame(&transfer(Some(id), false), &message())).collect();
    let mut input = BytesMut::from(&unasked[..]);
    let mut end = Ok(());
    while let Some(frame) = wire::next_frame(&mut input).unwrap() {
        let (performative, payload) = wire::decode(frame.body).unwrap().unwrap();
        end = client.engine.handle(performative, payload);
        if end.is_err() {
            break;
        }
    }
    assert!(matches!(&end, Err(Error::Protocol(why)) if why.contains("credit")), "{end:?}");
}

#[test]
fn a_link_is_attached_once() {
    let mut client = Client::new();
    let again: Vec<u8> = (0..10)
        .flat_map(|handle| frame(&Attach { handle: Handle(handle), ..attach(1, false) }, &[]))
        .collect();
    let end = client.hear(&again);
    assert!(matches!(&end, Err(Error::Protocol(why)) if why.contains("second attach")), "{end:?}");
}
