//! What a peer sees, frame by frame.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use factory_clock::Clock;
use fe2o3_amqp_types::{
    definitions::{Handle, ReceiverSettleMode, Role, SenderSettleMode},
    messaging::Source,
    performatives::{Attach, Begin, Flow, Open},
    primitives::Value,
};
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::broker::{
    Broker, BrokerMessage, QueueSettings,
    amqp::{
        Authorization, Server, serve,
        wire::{self, AMQP_FRAME, Incoming},
    },
};

/// Longer than a busy machine takes.
const WAIT: Duration = Duration::from_secs(30);
const HEADER: &[u8] = b"AMQP\x00\x01\x00\x00";

struct Peer {
    broker: Arc<Broker>,
    stream: TcpStream,
    input: BytesMut,
    _server: Server,
}

impl Peer {
    /// A peer with an open session, and a broker with the queues `a` and `b`.
    async fn connected() -> Self {
        let broker = Broker::new(Clock::system());
        for queue in ["a", "b"] {
            broker.create_queue(queue, QueueSettings::default()).unwrap();
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let server = serve(listener, broker.clone(), Authorization::open()).unwrap();
        let stream = TcpStream::connect(server.local_address()).await.unwrap();
        let mut peer = Self { broker, stream, input: BytesMut::new(), _server: server };
        peer.stream.write_all(HEADER).await.unwrap();
        let mut header = [0; 8];
        peer.stream.read_exact(&mut header).await.unwrap();
        assert_eq!(header, HEADER);
        let open = Open {
            container_id: "peer".into(),
            hostname: None,
            max_frame_size: 512.into(),
            channel_max: 0.into(),
            idle_time_out: None,
            outgoing_locales: None,
            incoming_locales: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        peer.send(&open).await;
        let begin = Begin {
            remote_channel: None,
            next_outgoing_id: 0,
            incoming_window: 5,
            outgoing_window: 5,
            handle_max: Handle(7),
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        peer.send(&begin).await;
        assert!(matches!(peer.next().await, Incoming::Open(_)));
        assert!(matches!(peer.next().await, Incoming::Begin(_)));
        peer
    }

    async fn send(&mut self, performative: &impl Serialize) {
        let mut out = BytesMut::new();
        wire::put_frame(&mut out, AMQP_FRAME, 0, &wire::encode(performative), &[]);
        self.stream.write_all(&out).await.unwrap();
    }

    async fn next(&mut self) -> Incoming {
        loop {
            if let Some(frame) = wire::next_frame(&mut self.input).unwrap() {
                return wire::decode(frame.body).unwrap();
            }
            let read = timeout(WAIT, self.stream.read_buf(&mut self.input)).await.expect("nothing comes");
            assert!(read.unwrap() > 0, "the connection ended");
        }
    }

    async fn receive_from(&mut self, queue: &str, handle: u32) {
        let attach = Attach {
            name: queue.into(),
            handle: Handle(handle),
            role: Role::Receiver,
            snd_settle_mode: SenderSettleMode::Unsettled,
            rcv_settle_mode: ReceiverSettleMode::Second,
            source: Some(Box::new(Source::builder().address(queue).build())),
            target: None,
            unsettled: None,
            incomplete_unsettled: false,
            initial_delivery_count: None,
            max_message_size: None,
            offered_capabilities: None,
            desired_capabilities: None,
            properties: None,
        };
        self.send(&attach).await;
        assert!(matches!(self.next().await, Incoming::Attach(_)));
    }

    /// A new window, and perhaps credit for a link.
    async fn flow(&mut self, seen: u32, window: u32, link: Option<(u32, u32)>) {
        let flow = Flow {
            next_incoming_id: Some(seen),
            incoming_window: window,
            next_outgoing_id: 0,
            outgoing_window: 5,
            handle: link.map(|(handle, _)| Handle(handle)),
            delivery_count: link.map(|_| 0),
            link_credit: link.map(|(_, credit)| credit),
            available: None,
            drain: false,
            echo: false,
            properties: None,
        };
        self.send(&flow).await;
    }
}

#[tokio::test]
async fn deliveries_are_numbered_one_after_the_other_and_never_mixed() {
    const EACH: u32 = 3;
    let mut peer = Peer::connected().await;
    for queue in ["a", "b"] {
        // Each takes several frames, more than the window.
        let message = || BrokerMessage::new(vec![7; 3000]);
        peer.broker.send(queue, (0..EACH).map(|_| message()).collect()).unwrap();
    }
    peer.receive_from("a", 0).await;
    peer.receive_from("b", 1).await;
    peer.flow(0, 5, Some((1, EACH))).await;
    peer.flow(0, 5, Some((0, EACH))).await;
    let (mut frames, mut ids, mut under_way) = (0, Vec::new(), None);
    while ids.len() < 2 * EACH as usize || under_way.is_some() {
        let Incoming::Transfer(transfer, _) = peer.next().await else { panic!("not a transfer") };
        frames += 1;
        match under_way {
            None => ids.push(transfer.delivery_id.expect("the first frame has the number")),
            Some(link) => assert_eq!((link, transfer.delivery_id), (transfer.handle.0, None)),
        }
        under_way = transfer.more.then_some(transfer.handle.0);
        if frames % 5 == 0 {
            peer.flow(frames, 5, None).await;
        }
    }
    assert_eq!(ids, (0..2 * EACH).collect::<Vec<_>>());
    assert!(frames > 6 * 5, "each message was in several frames");
}

#[tokio::test]
async fn a_transaction_coordinator_is_refused_as_in_the_basic_tier() {
    let mut peer = Peer::connected().await;
    let coordinator = super::described(0x30, vec![]);
    // name, handle, role (sender), snd-settle-mode, rcv-settle-mode, source, target
    let mut fields = vec![Value::String("coordinator".into()), Value::Uint(0), Value::Bool(false)];
    fields.extend([Value::Null, Value::Null, super::described(0x28, vec![]), coordinator]);
    peer.send(&super::described(0x12, fields)).await;
    assert!(matches!(peer.next().await, Incoming::Attach(attach) if attach.target.is_none()));
    let Incoming::Detach(detach) = peer.next().await else { panic!("not a detach") };
    let error = detach.error.expect("it says why");
    assert_eq!(serde_json::to_value(&error.condition).unwrap(), "amqp:not-allowed");
    assert!(error.description.unwrap().starts_with("Transaction is unsupported"));
}
