//! The Service Bus client against the simulated broker, over loopback sockets and real time.

use std::{sync::Arc, time::Duration};

use azure_sim::broker::{
    Broker, BrokerMessage, QueueSettings,
    amqp::{Authorization, Server, serve},
};
use factory_clock::Clock;
use servicebus::{
    Error, MessageState, PropertyValue, ReceiveMode, ReceivedMessage, Receiver, ReceiverOptions,
    ServiceBusClient, ServiceBusMessage, SubQueue,
};
use time::OffsetDateTime;
use tokio::net::TcpListener;

const KEY: &str = "dGhpcyBpcyBub3Qgc2VjcmV0";
const WAIT: Duration = Duration::from_secs(5);
/// Long enough for a message that should not come to come.
const MOMENT: Duration = Duration::from_millis(150);

struct World {
    broker: Arc<Broker>,
    server: Server,
    client: ServiceBusClient,
}

fn client_for(server: &Server, key: &str) -> ServiceBusClient {
    let address = server.local_address();
    ServiceBusClient::from_connection_string(&format!(
        "Endpoint=sb://{address};SharedAccessKeyName=Root;SharedAccessKey={key};UseDevelopmentEmulator=true;"
    ))
    .unwrap()
}

async fn world_with(settings: QueueSettings) -> World {
    let broker = Broker::new(Clock::system());
    broker.create_queue("q", settings).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = serve(listener, broker.clone(), Authorization::default().with_key("Root", KEY)).unwrap();
    let client = client_for(&server, KEY);
    World { broker, server, client }
}

async fn world() -> World {
    world_with(QueueSettings::default()).await
}

impl World {
    fn receiver(&self) -> Receiver {
        self.client.receiver("q", ReceiverOptions::default())
    }

    fn dead_letters(&self) -> Receiver {
        let options = ReceiverOptions { sub_queue: Some(SubQueue::DeadLetter), ..ReceiverOptions::default() };
        self.client.receiver("q", options)
    }

    fn put(&self, body: &str) {
        self.broker.send("q", vec![BrokerMessage::new(body)]).unwrap();
    }
}

async fn one(receiver: &Receiver) -> ReceivedMessage {
    let mut got = receiver.receive(1, WAIT).await.unwrap();
    assert_eq!(got.len(), 1);
    got.remove(0)
}

#[tokio::test]
async fn a_message_comes_back_with_every_property() {
    let world = world().await;
    let sent = ServiceBusMessage {
        message_id: Some("m-1".into()),
        content_type: Some("application/json".into()),
        subject: Some("tick".into()),
        correlation_id: Some("c".into()),
        reply_to: Some("answers".into()),
        to: Some("there".into()),
        session_id: Some("s".into()),
        partition_key: Some("s".into()),
        time_to_live: Some(Duration::from_secs(3600)),
        application_properties: [
            ("text".to_owned(), PropertyValue::from("x")),
            ("number".to_owned(), PropertyValue::from(7_i64)),
            ("flag".to_owned(), PropertyValue::from(true)),
        ]
        .into(),
        ..ServiceBusMessage::new(b"\x00\xff".to_vec())
    };
    let before = OffsetDateTime::now_utc() - Duration::from_secs(1);
    world.client.sender("Q").send(sent.clone()).await.unwrap();
    let receiver = world.receiver();
    let got = one(&receiver).await;
    assert_eq!(got.body, sent.body);
    assert_eq!(got.message_id, sent.message_id);
    assert_eq!(got.content_type, sent.content_type);
    assert_eq!(got.subject, sent.subject);
    assert_eq!(got.correlation_id, sent.correlation_id);
    assert_eq!(got.reply_to, sent.reply_to);
    assert_eq!(got.to, sent.to);
    assert_eq!(got.session_id, sent.session_id);
    assert_eq!(got.partition_key, sent.partition_key);
    assert_eq!(got.time_to_live, sent.time_to_live);
    assert_eq!(got.application_properties, sent.application_properties);
    assert_eq!((got.delivery_count, got.sequence_number, got.state), (1, 1, MessageState::Active));
    let enqueued = got.enqueued_time.unwrap();
    assert!(enqueued > before && got.locked_until.unwrap() > enqueued + Duration::from_secs(59));
    assert_eq!(got.expires_at.unwrap() - enqueued, time::Duration::HOUR);
    assert!(!got.lock_token.is_nil());
    receiver.complete(&got).await.unwrap();
    assert_eq!(world.broker.counts("q").unwrap().active, 0);
}

#[tokio::test]
async fn abandon_defer_and_dead_letter_do_what_they_say() {
    let world = world().await;
    let receiver = world.receiver();
    world.put("a");
    receiver.abandon(&one(&receiver).await).await.unwrap();
    let again = one(&receiver).await;
    assert_eq!(again.delivery_count, 2);
    receiver.defer(&again).await.unwrap();
    assert!(receiver.receive(1, MOMENT).await.unwrap().is_empty());
    assert_eq!(receiver.peek(0, 10).await.unwrap()[0].state, MessageState::Deferred);
    let deferred = receiver.receive_deferred(&[again.sequence_number]).await.unwrap().remove(0);
    assert_eq!((deferred.delivery_count, deferred.body.as_slice()), (3, &b"a"[..]));
    assert!(matches!(receiver.receive_deferred(&[99]).await, Err(Error::NotFound(_))));
    receiver.dead_letter(&deferred, "Poison", "does not parse").await.unwrap();

    world.put("b");
    receiver.dead_letter(&one(&receiver).await, "Poison 2", "it neither").await.unwrap();
    let dead_letters = world.dead_letters();
    let dead = dead_letters.receive(10, WAIT).await.unwrap();
    assert_eq!(dead.len(), 2);
    assert_eq!(dead[0].dead_letter_reason.as_deref(), Some("Poison"));
    assert_eq!(dead[1].dead_letter_reason.as_deref(), Some("Poison 2"));
    assert_eq!(dead[1].dead_letter_description.as_deref(), Some("it neither"));
    assert_eq!(dead[1].dead_letter_source.as_deref(), Some("q"));
    for message in &dead {
        dead_letters.complete(message).await.unwrap();
    }
    assert_eq!(world.broker.counts("q").unwrap(), Default::default());
}

#[tokio::test]
async fn a_settlement_after_the_lock_ran_out_is_told() {
    let lock_duration = Duration::from_millis(300);
    let world = world_with(QueueSettings { lock_duration, ..QueueSettings::default() }).await;
    world.put("a");
    let receiver = world.receiver();
    let held = one(&receiver).await;
    let until = receiver.renew_lock(&held).await.unwrap();
    assert!(until > held.locked_until.unwrap());
    tokio::time::sleep(lock_duration + MOMENT).await;
    assert!(matches!(receiver.complete(&held).await, Err(Error::LockLost(_))));
    assert!(matches!(receiver.renew_lock(&held).await, Err(Error::LockLost(_))));
    let again = one(&receiver).await;
    assert_eq!(again.delivery_count, 2);
    assert!(matches!(receiver.abandon(&held).await, Err(Error::LockLost(_))));
    receiver.complete(&again).await.unwrap();
    assert!(matches!(receiver.complete(&again).await, Err(Error::LockLost(_))), "it was completed already");
}

#[tokio::test]
async fn unknown_queues_and_wrong_keys_are_told_apart() {
    let world = world().await;
    let nowhere = world.client.sender("nowhere").send("a".into()).await.unwrap_err();
    assert!(
        matches!(&nowhere, Error::NotFound(text) if text.contains("/nowhere' could not be found. (404)")),
        "{nowhere}"
    );
    let nowhere =
        world.client.receiver("nowhere", ReceiverOptions::default()).receive(1, WAIT).await.unwrap_err();
    assert!(matches!(nowhere, Error::NotFound(_)), "{nowhere}");
    let stranger = client_for(&world.server, "wrong").sender("q").send("a".into()).await.unwrap_err();
    assert!(matches!(stranger, Error::Unauthorized(_)), "{stranger}");
    assert!(!stranger.is_transient());
}

#[tokio::test]
async fn scheduled_messages_wait_and_can_be_cancelled() {
    let world = world().await;
    let (sender, receiver) = (world.client.sender("q"), world.receiver());
    let at = OffsetDateTime::now_utc() + Duration::from_millis(600);
    let late = |body: &str| ServiceBusMessage { scheduled_enqueue_time: Some(at), ..body.into() };
    sender.send(late("by annotation")).await.unwrap();
    let numbers = sender.schedule(vec![late("by request"), late("cancelled")]).await.unwrap();
    sender.cancel_scheduled(&numbers[1..]).await.unwrap();
    assert!(matches!(sender.cancel_scheduled(&numbers[1..]).await, Err(Error::NotFound(_))));
    assert_eq!(world.broker.counts("q").unwrap().scheduled, 2);
    assert!(receiver.peek(0, 10).await.unwrap().iter().all(|m| m.state == MessageState::Scheduled));
    // The receiver waits and is woken by the clock, not by a message.
    let mut bodies = Vec::new();
    while bodies.len() < 2 {
        bodies.extend(receiver.receive(2, WAIT).await.unwrap().into_iter().map(|m| m.body));
        assert!(OffsetDateTime::now_utc() >= at - Duration::from_millis(1));
    }
    assert_eq!(bodies, [b"by annotation".to_vec(), b"by request".to_vec()]);
}

#[tokio::test]
async fn duplicates_are_dropped_by_the_queue() {
    let window = Some(QueueSettings::DEFAULT_DUPLICATE_DETECTION_WINDOW);
    let world =
        world_with(QueueSettings { duplicate_detection_window: window, ..QueueSettings::default() }).await;
    let message = || ServiceBusMessage { message_id: Some("one".into()), ..ServiceBusMessage::new("a") };
    let sender = world.client.sender("q");
    sender.send(message()).await.unwrap();
    sender.send_batch(vec![message(), message(), "other".into()]).await.unwrap();
    assert_eq!(world.broker.counts("q").unwrap().active, 2);
}

#[tokio::test]
async fn large_messages_and_batches_larger_than_the_limit_arrive_whole() {
    let world = world().await;
    let (sender, receiver) = (world.client.sender("q"), world.receiver());
    let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    sender.send(ServiceBusMessage::new(body.clone())).await.unwrap();
    let got = one(&receiver).await;
    assert_eq!(got.body, body);
    receiver.complete(&got).await.unwrap();
    // 20 × 200 kB does not fit into one message of 1 MiB.
    sender.send_batch(vec![ServiceBusMessage::new(body.clone()); 20]).await.unwrap();
    assert_eq!(world.broker.counts("q").unwrap().active, 20);
    let got = receiver.receive(20, WAIT).await.unwrap();
    assert!(got.iter().all(|m| m.body == body));
    let error = sender.send(ServiceBusMessage::new(vec![0; 1024 * 1024])).await.unwrap_err();
    assert!(matches!(error, Error::MessageTooLarge(_)), "{error}");
    sender.send("the link still works".into()).await.unwrap();
}

#[tokio::test]
async fn receive_and_delete_deletes() {
    let world = world().await;
    world.put("a");
    let options = ReceiverOptions { mode: ReceiveMode::ReceiveAndDelete, ..ReceiverOptions::default() };
    let receiver = world.client.receiver("q", options);
    let got = one(&receiver).await;
    assert!(got.lock_token.is_nil() && got.body == b"a");
    assert_eq!(world.broker.counts("q").unwrap().active, 0);
    assert!(matches!(receiver.complete(&got).await, Err(Error::LockLost(_))));
}

#[tokio::test]
async fn everything_goes_on_after_the_broker_restarts() {
    let world = world().await;
    let (sender, receiver) = (world.client.sender("q"), world.receiver());
    sender.send("before".into()).await.unwrap();
    let held = one(&receiver).await;
    let waiting = tokio::spawn({
        let receiver = receiver.clone();
        async move { receiver.receive(10, WAIT).await.unwrap() }
    });
    tokio::time::sleep(MOMENT).await;
    world.broker.restart();
    // The restart ended the lock, so that the waiting receiver gets the message again.
    let got = waiting.await.unwrap();
    assert_eq!((got[0].body.as_slice(), got[0].delivery_count), (&b"before"[..], 2));
    assert!(matches!(receiver.complete(&held).await, Err(Error::LockLost(_))));
    receiver.complete(&got[0]).await.unwrap();
    world.broker.restart();
    sender.send("after".into()).await.unwrap();
    assert_eq!(receiver.peek(0, 10).await.unwrap().len(), 1);
    let after = one(&receiver).await;
    assert_eq!(after.body, b"after");
}

#[tokio::test]
async fn a_message_received_over_a_broken_link_is_settled_by_its_lock_token() {
    let world = world().await;
    world.put("a");
    let receiver = world.receiver();
    let held = one(&receiver).await;
    // Another receiver has another link, as a new one after a broken connection has.
    world.receiver().complete(&held).await.unwrap();
    assert_eq!(world.broker.counts("q").unwrap().active, 0);
}

#[tokio::test]
async fn a_broker_that_is_gone_is_a_transient_error() {
    let world = world().await;
    world.client.sender("q").send("a".into()).await.unwrap();
    world.server.shutdown().await;
    let error = world.client.sender("q").send("b".into()).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    world.client.close().await;
    assert!(matches!(world.client.sender("q").send("c".into()).await, Err(Error::Connection(_))));
}

#[tokio::test]
async fn a_dropped_receive_loses_no_message() {
    const ROUNDS: usize = 20;
    let world = world().await;
    let receiver = world.receiver();
    let mut got = Vec::new();
    for round in 0..ROUNDS {
        // Dropped while the message is on its way.
        tokio::select! {
            some = receiver.receive(5, WAIT) => got.extend(some.unwrap()),
            () = tokio::time::sleep(Duration::from_micros(200 * round as u64)) => world.put("a"),
        }
        tokio::task::yield_now().await;
    }
    let sent = ROUNDS - got.len();
    loop {
        let some = receiver.receive(100, MOMENT).await.unwrap();
        if some.is_empty() {
            break;
        }
        got.extend(some);
    }
    for message in &got {
        assert_eq!(message.delivery_count, 1);
        receiver.complete(message).await.unwrap();
    }
    assert!(got.len() >= sent.min(ROUNDS / 2), "{} of {sent}", got.len());
    assert_eq!(world.broker.counts("q").unwrap(), Default::default());
}

#[tokio::test]
async fn bytes_that_are_no_amqp_harm_nobody_else() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let world = world().await;
    let sasl = b"AMQP\x03\x01\x00\x00";
    let amqp = b"AMQP\x00\x01\x00\x00";
    // An open frame without anything, one of 4 GB, noise, and one whose value is nested without end.
    let nested = [&[0, 0, 0x80, 8, 2, 0, 0, 0][..], &[0; 0x8000]].concat();
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [&sasl[..], &[0, 0, 0, 8, 2, 1, 0, 0]].concat(),
        [&amqp[..], &[0xff; 64]].concat(),
        [&amqp[..], &[0, 0, 0, 12, 2, 0, 0, 0, 0x00, 0x53, 0x10, 0x45]].concat(),
        [&amqp[..], &nested].concat(),
    ] {
        let mut stream = tokio::net::TcpStream::connect(world.server.local_address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        // The server ends the connection by itself, after at most a few words.
        let mut answer = Vec::new();
        let end = tokio::time::timeout(WAIT, stream.read_to_end(&mut answer)).await.expect("it hangs");
        assert!(end.is_err() || answer.len() < 1000);
    }
    world.client.sender("q").send("still here".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_senders_and_six_receivers_work_at_once() {
    const SENDERS: usize = 50;
    const EACH: usize = 10;
    let world = world().await;
    let sends: Vec<_> = (0..SENDERS)
        .map(|n| {
            // Half of them over one connection, half over their own.
            let client = if n % 2 == 0 { world.client.clone() } else { client_for(&world.server, KEY) };
            tokio::spawn(async move {
                let sender = client.sender("q");
                for i in 0..EACH {
                    sender.send(format!("{n}/{i}").as_str().into()).await.unwrap();
                }
            })
        })
        .collect();
    let receives: Vec<_> = (0..6)
        .map(|_| {
            let receiver = world.receiver();
            tokio::spawn(async move {
                let mut bodies = Vec::new();
                loop {
                    let got = receiver.receive(16, Duration::from_secs(2)).await.unwrap();
                    if got.is_empty() {
                        return bodies;
                    }
                    let settled = got.iter().map(|message| receiver.complete(message));
                    futures::future::try_join_all(settled).await.unwrap();
                    bodies.extend(got.into_iter().map(|m| m.body));
                }
            })
        })
        .collect();
    for send in sends {
        send.await.unwrap();
    }
    let mut bodies = Vec::new();
    for receive in receives {
        bodies.extend(receive.await.unwrap());
    }
    assert_eq!(bodies.len(), SENDERS * EACH);
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), SENDERS * EACH);
    assert_eq!(world.broker.counts("q").unwrap(), Default::default());
}
