//! Peers that do not mean well.

use factory_clock::Clock;
use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode},
    messaging::{
        Accepted, AmqpValue, ApplicationProperties, Body, DeliveryState, Message, Properties, Source, Target,
        TargetArchetype, message::__private::Serializable,
    },
    performatives::{Attach, Begin, Detach, Disposition, End, Flow, Transfer},
    primitives::{Array, OrderedMap, SimpleValue, Value},
};
use hostile_bytes::{Attack, Grammar};
use time::macros::datetime;

use super::*;
use crate::broker::{BrokerMessage, QueueSettings};

/// A connection that is open, with all that came before the first session behind it.
fn connection() -> Connection {
    let broker = Broker::new(Clock::virtual_from(datetime!(2026-11-22 13:00 UTC)));
    broker.create_queue("q", QueueSettings::default()).unwrap();
    broker.send("q", vec![BrokerMessage::new("waiting").with_message_id("m-0")]).unwrap();
    let peer = Peer {
        broker,
        authorization: Arc::default(),
        claims: Vec::new(),
        trusted: true,
        max_frame: 512,
        unfinished: 0,
        out: BytesMut::new(),
    };
    Connection { peer, sessions: BTreeMap::new() }
}

/// Takes all frames; an error, or the peer's close, ends the connection.
fn hear(bytes: &[u8]) -> Result<(), String> {
    let mut connection = connection();
    let mut input = BytesMut::from(bytes);
    loop {
        let before = input.len();
        if !connection.digest(&mut input).map_err(|error| error.to_string())? {
            return Ok(());
        }
        connection.pump();
        // As if it were written.
        connection.peer.out.clear();
        if input.len() == before {
            break;
        }
    }
    if input.is_empty() { Ok(()) } else { Err("a frame is cut off".into()) }
}

fn frame(performative: &impl Serialize, payload: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    wire::put_frame(&mut out, AMQP_FRAME, 0, &wire::encode(performative), payload);
    out.to_vec()
}

fn begin() -> Vec<u8> {
    let begin = Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 5000,
        outgoing_window: 5000,
        handle_max: Handle(255),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    frame(&begin, &[])
}

fn attach(handle: u32, role: Role, source: &str, target: &str) -> Vec<u8> {
    let attach = Attach {
        name: format!("link-{handle}"),
        handle: Handle(handle),
        snd_settle_mode: SenderSettleMode::Unsettled,
        rcv_settle_mode: ReceiverSettleMode::Second,
        source: Some(Box::new(Source::builder().address(source).build())),
        target: Some(Box::new(TargetArchetype::Target(Target::builder().address(target).build()))),
        unsettled: None,
        incomplete_unsettled: false,
        initial_delivery_count: (role == Role::Sender).then_some(0),
        role,
        max_message_size: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    frame(&attach, &[])
}

fn flow(handle: u32, drain: bool) -> Vec<u8> {
    let flow = Flow {
        next_incoming_id: Some(0),
        incoming_window: 5000,
        next_outgoing_id: 0,
        outgoing_window: 5000,
        handle: Some(Handle(handle)),
        delivery_count: Some(0),
        link_credit: Some(10),
        available: None,
        drain,
        echo: true,
        properties: None,
    };
    frame(&flow, &[])
}

fn transfer(handle: u32, id: Option<u32>, format: u32, more: bool, payload: &[u8]) -> Vec<u8> {
    let transfer = Transfer {
        handle: Handle(handle),
        delivery_id: id,
        delivery_tag: id.map(|_| vec![1].into()),
        message_format: Some(format),
        settled: Some(false),
        more,
        rcv_settle_mode: None,
        state: None,
        resume: false,
        aborted: false,
        batchable: false,
    };
    frame(&transfer, payload)
}

fn message(body: &str) -> Vec<u8> {
    wire::encode(&Serializable(BrokerMessage::new(body).with_message_id("m-1").amqp()))
}

/// A request to `$management` or `$cbs`.
fn request(properties: &[(&str, &str)], body: Value) -> Vec<u8> {
    let mut application = ApplicationProperties(OrderedMap::new());
    for (name, value) in properties {
        application.0.insert((*name).into(), SimpleValue::String((*value).into()));
    }
    let mut envelope = Properties::new();
    envelope.message_id = Some(7_u64.into());
    envelope.reply_to = Some("answers".into());
    let message = Message {
        header: None,
        delivery_annotations: None,
        message_annotations: None,
        properties: Some(envelope),
        application_properties: Some(application),
        body: Body::Value(AmqpValue(body)),
        footer: None,
    };
    wire::encode(&Serializable(&message))
}

fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(name, value)| (Value::String(name.into()), value)).collect())
}

/// The requests that clients make.
fn requests() -> Vec<Vec<u8>> {
    let operation = |name: &str, body| request(&[("operation", &format!("com.microsoft:{name}"))], body);
    let token = Value::Uuid(uuid::Uuid::from_u128(7).into_bytes().into());
    let tokens = Value::Array(Array(vec![token]));
    let numbers = || Value::Array(Array(vec![Value::Long(1), Value::Long(2)]));
    let scheduled =
        map([("message-id", Value::String("m".into())), ("message", Value::Binary(message("later").into()))]);
    vec![
        operation(
            "peek-message",
            map([("from-sequence-number", Value::Long(0)), ("message-count", Value::Int(10))]),
        ),
        operation("renew-lock", map([("lock-tokens", tokens.clone())])),
        operation("schedule-message", map([("messages", Value::List(vec![scheduled]))])),
        operation("cancel-scheduled-message", map([("sequence-numbers", numbers())])),
        operation(
            "receive-by-sequence-number",
            map([("sequence-numbers", numbers()), ("receiver-settle-mode", Value::Uint(1))]),
        ),
        operation(
            "update-disposition",
            map([("disposition-status", Value::String("completed".into())), ("lock-tokens", tokens)]),
        ),
        request(
            &[
                ("operation", "put-token"),
                ("name", "sb://host/q"),
                ("type", "servicebus.windows.net:sastoken"),
            ],
            Value::String("SharedAccessSignature sr=sb%3a%2f%2fhost%2fq&sig=x&se=1&skn=Root".into()),
        ),
    ]
}

/// What a peer says in a short life: sends, receives, settles, asks.
fn life() -> Vec<Vec<u8>> {
    let whole = message("hello");
    let (start, end) = whole.split_at(10);
    let settled = Disposition {
        role: Role::Receiver,
        first: 0,
        last: Some(0),
        settled: false,
        state: Some(DeliveryState::Accepted(Accepted {})),
        batchable: false,
    };
    let mut frames = vec![
        begin(),
        attach(0, Role::Sender, "me", "q"),
        transfer(0, Some(0), 0, false, &whole),
        transfer(0, Some(1), 0, true, start),
        transfer(0, None, 0, false, end),
        transfer(
            0,
            Some(2),
            0x8001_3700,
            false,
            &wire::encode(&Serializable(BrokerMessage::new(whole.clone()).amqp())),
        ),
        attach(1, Role::Receiver, "q", "me"),
        flow(1, false),
        frame(&settled, &[]),
        flow(1, true),
        attach(2, Role::Sender, "answers", "q/$management"),
        attach(3, Role::Receiver, "q/$management", "answers"),
        flow(3, false),
        attach(4, Role::Sender, "answers", "$cbs"),
        attach(5, Role::Receiver, "$cbs", "answers"),
        flow(5, false),
    ];
    for (id, request) in (10..).zip(requests()) {
        let handle = if id == 16 { 4 } else { 2 };
        frames.push(transfer(handle, Some(id), 0, false, &request));
    }
    frames.push(frame(&Detach { handle: Handle(0), closed: true, error: None }, &[]));
    frames.push(frame(&End { error: None }, &[]));
    frames
}

#[test]
fn no_frames_break_a_connection() {
    let life = life();
    let close = frame(&Close { error: None }, &[]);
    let attack =
        Attack::on("a peer's frames", Grammar::Binary).sample(life.concat()).words(&life).words([close]);
    attack.memory(4 << 20, 1024).run(hear);
}

#[test]
fn no_request_breaks_a_node() {
    let before = life()[..16].concat();
    Attack::on("requests", Grammar::Binary).samples(requests()).memory(4 << 20, 1024).run(|bytes| {
        // A request is so small that one frame holds it, unless it is a monster.
        if bytes.len() > 60_000 {
            return Err("too large for a frame".into());
        }
        hear(
            &[&before[..], &transfer(2, Some(10), 0, false, bytes), &transfer(4, Some(11), 0, false, bytes)]
                .concat(),
        )
    });
}

#[test]
fn no_bytes_break_the_reader_of_messages() {
    let attack =
        Attack::on("the broker's messages", Grammar::Binary).sample(message("x")).samples(requests());
    attack.run(|bytes| {
        let message = BrokerMessage::decode(bytes).map_err(|error| error.to_string())?;
        let again = wire::encode(&Serializable(message.amqp()));
        assert!(BrokerMessage::decode(&again).is_ok(), "what was kept cannot be handed out");
        Ok(())
    });
}

#[test]
fn no_frame_breaks_its_decoder() {
    let bodies: Vec<Vec<u8>> = life().iter().map(|frame| frame[8..].to_vec()).collect();
    Attack::on("frames", Grammar::Binary)
        .samples(bodies)
        .run(|bytes| wire::decode(bytes.to_vec().into()).map(drop).map_err(|error| error.to_string()));
}

#[test]
fn no_greeting_breaks_the_handshake() {
    let sasl = |mechanism: &str, proof: &[u8]| {
        let init = fe2o3_amqp_types::sasl::SaslInit {
            mechanism: mechanism.into(),
            initial_response: Some(proof.to_vec().into()),
            hostname: Some("host".into()),
        };
        let mut out = b"AMQP\x03\x01\x00\x00".to_vec();
        let mut frame = BytesMut::new();
        wire::put_frame(&mut frame, wire::SASL_FRAME, 0, &wire::encode(&init), &[]);
        out.extend_from_slice(&frame);
        out.extend_from_slice(b"AMQP\x00\x01\x00\x00");
        out
    };
    let attack = Attack::on("greetings", Grammar::Binary)
        .sample(sasl("ANONYMOUS", b""))
        .sample(sasl("PLAIN", b"\0Root\0key"))
        .words(["MSSBCBS", "EXTERNAL", "\0\0\0"]);
    let authorization = Authorization::default().with_key("Root", "key");
    attack.run(|bytes| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut bytes, mut out, mut input) = (bytes, tokio::io::sink(), BytesMut::new());
        let greeted = sasl::handshake(&mut bytes, &mut out, &mut input, &authorization);
        runtime.block_on(greeted).map(drop).map_err(|error| error.to_string())
    });
}
