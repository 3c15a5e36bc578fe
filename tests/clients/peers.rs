//! Our Service Bus client in the view of the official ones: what it sends, they read with every property intact, and the other way
//! round. Over TLS too.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use factory_clock::Clock;
use image_factory::{
    domain::{
        ImagePath, Message, Queue, RunId,
        messages::{ImageStep, Step},
    },
    handler::ServiceBusOutbox,
    steps::{Envelope, Outbox as _},
};
use reqwest::Method;
use serde_json::json;
use servicebus::{
    Error, PropertyValue, ReceiveMode, ReceivedMessage, ReceiverOptions, ServiceBusClient, ServiceBusMessage,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::harness::{Azure, Suite};

/// What we send to the peers.
const OUTGOING: &str = "from-our-client";
/// What the peers send to us.
const INCOMING: &str = "to-our-client";
/// Longer than a busy machine takes.
const WAIT: Duration = Duration::from_secs(60);
/// A UUID that the peers know too.
const ID: Uuid = Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);
/// A moment that the peers know too, in milliseconds since 1970.
const MOMENT: i128 = 1_766_000_000_123;

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn our_client_and_the_official_one_for_python_understand_each_other() -> anyhow::Result<()> {
    let azure = Azure::start(&Clock::system()).await?;
    exchange(&azure, Suite::pytest("service_bus_peers")).await
}

#[tokio::test]
#[ignore = "needs Node.js and npm; run: cargo test --test clients -- --ignored"]
async fn our_client_and_the_official_one_for_javascript_understand_each_other() -> anyhow::Result<()> {
    let azure = Azure::start(&Clock::system()).await?;
    exchange(&azure, Suite::node("service_bus_peers.test.mjs")).await
}

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn our_client_and_the_official_one_for_python_understand_each_other_over_tls() -> anyhow::Result<()> {
    let azure = Azure::start_over_tls(&Clock::system()).await?;
    let stranger = ServiceBusClient::from_connection_string(azure.address("serviceBus")?)?;
    let refused = stranger.sender(OUTGOING).send("a".into()).await;
    ensure!(matches!(&refused, Err(Error::Connection(why)) if why.contains("TLS")), "{refused:?}");
    exchange(&azure, Suite::pytest("service_bus_peers")).await
}

#[tokio::test]
#[ignore = "needs Node.js and npm; run: cargo test --test clients -- --ignored"]
async fn our_client_and_the_official_one_for_javascript_understand_each_other_over_tls() -> anyhow::Result<()>
{
    let azure = Azure::start_over_tls(&Clock::system()).await?;
    let authority = azure.address("certificateAuthority")?.to_owned();
    exchange(&azure, Suite::node("service_bus_peers.test.mjs").env("NODE_EXTRA_CA_CERTS", authority)).await
}

/// Sends to the peer, lets it read and answer, and reads its answers.
async fn exchange<'a>(azure: &'a Azure, suite: Suite<'a>) -> anyhow::Result<()> {
    for queue in [OUTGOING, INCOMING] {
        azure.control(Method::PUT, &format!("/queues/{queue}"), &json!({})).await?;
    }
    let client = client(azure)?;
    // Later than a busy machine takes for all that is sent before it.
    let at = now() + Duration::from_secs(10);
    let sender = client.sender(OUTGOING);
    sender.send(full(at)).await?;
    sender.send_batch(vec!["in a batch 1".into(), "in a batch 2".into()]).await?;
    sender.send(ServiceBusMessage::new(vec![7; 200_000])).await?;

    let step = |name: &str| {
        let image_path = ImagePath::parse(name)?;
        anyhow::Ok(Message::first(RunId::parse("commit-abc1234")?, Step::CreateVm(ImageStep { image_path })))
    };
    let envelopes = [Envelope::now(step("a/b.json")?), Envelope::at(step("c/d.json")?, at)];
    let expected: Vec<_> = envelopes
        .iter()
        .map(|envelope| json!({"messageId": envelope.message_id(), "body": envelope.message.to_json()}))
        .collect();
    ServiceBusOutbox::new(&client).send(envelopes.to_vec()).await?;

    suite
        .azure(azure)
        .env("OUTGOING", OUTGOING)
        .env("INCOMING", INCOMING)
        .env("OUTBOX", Queue::CreateVm.name())
        .env("ENVELOPES", json!(expected).to_string())
        .env("AT", milliseconds(at).to_string())
        .run()
        .await?;

    let options = ReceiverOptions { mode: ReceiveMode::ReceiveAndDelete, ..ReceiverOptions::default() };
    let receiver = client.receiver(INCOMING, options);
    let mut got = Vec::new();
    while got.len() < 4 {
        let some = receiver.receive(4 - got.len(), WAIT).await?;
        ensure!(!some.is_empty(), "only {} of 4 messages came", got.len());
        got.extend(some);
    }
    check_full(&got[0])?;
    assert_eq!(texts(&got[1..3]), ["in a batch 1", "in a batch 2"]);
    assert_eq!(got[3].body, vec![7; 200_000]);
    client.close().await;
    Ok(())
}

fn client(azure: &Azure) -> anyhow::Result<ServiceBusClient> {
    let client = ServiceBusClient::from_connection_string(azure.address("serviceBus")?)?;
    match azure.address("certificateAuthority") {
        Ok(file) => Ok(client.trusting(&std::fs::read(file)?)?),
        Err(_) => Ok(client),
    }
}

/// A message with every property that there is.
fn full(at: OffsetDateTime) -> ServiceBusMessage {
    let moment = OffsetDateTime::from_unix_timestamp_nanos(MOMENT * 1_000_000).unwrap();
    let application_properties: BTreeMap<String, PropertyValue> = [
        ("text", PropertyValue::from("grüße")),
        ("bool", true.into()),
        ("i32", (-7).into()),
        ("i64", (1_i64 << 40).into()),
        ("u32", 4_000_000_000_u32.into()),
        ("f64", 1.5.into()),
        ("uuid", ID.into()),
        ("timestamp", moment.into()),
        ("binary", vec![0, 1, 255].into()),
        ("null", PropertyValue::Null),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    ServiceBusMessage {
        body: vec![0, 1, 255],
        message_id: Some("id 1".into()),
        content_type: Some("application/octet-stream".into()),
        subject: Some("a subject".into()),
        correlation_id: Some("correlated".into()),
        reply_to: Some("answers".into()),
        to: Some("somewhere".into()),
        session_id: Some("a session".into()),
        partition_key: Some("a session".into()),
        time_to_live: Some(Duration::from_secs(7 * 60)),
        scheduled_enqueue_time: Some(at),
        application_properties,
    }
}

/// The same message, as a peer sent it: with the properties that its language can write.
fn check_full(got: &ReceivedMessage) -> anyhow::Result<()> {
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(got.body, [0, 1, 255]);
    assert_eq!(got.message_id, text("id 1"));
    assert_eq!(got.content_type, text("application/octet-stream"));
    assert_eq!(got.subject, text("a subject"));
    assert_eq!(got.correlation_id, text("correlated"));
    assert_eq!(got.reply_to, text("answers"));
    assert_eq!(got.to, text("somewhere"));
    assert_eq!(got.session_id, text("a session"));
    assert_eq!(got.reply_to_session_id, text("another session"));
    assert_eq!(got.partition_key, text("a session"));
    assert_eq!(got.time_to_live, Some(Duration::from_secs(7 * 60)));
    let at = got.scheduled_enqueue_time.context("it was scheduled")?;
    assert_eq!(got.enqueued_time, Some(at));
    assert_eq!(got.expires_at, Some(at + Duration::from_secs(7 * 60)));
    // The peer has had a look at it.
    assert_eq!(got.delivery_count, 2);
    let property = |name: &str| got.application_properties.get(name).cloned();
    assert_eq!(property("text"), Some("grüße".into()));
    assert_eq!(property("bool"), Some(true.into()));
    assert_eq!(property("int").as_ref().and_then(number), Some(-7.0));
    assert_eq!(property("float").as_ref().and_then(number), Some(1.5));
    // Not every language writes these as what they are.
    for (name, expected) in [("uuid", PropertyValue::from(ID)), ("null", PropertyValue::Null)] {
        assert!(property(name).is_none_or(|value| value == expected), "{name}");
    }
    let moment = OffsetDateTime::from_unix_timestamp_nanos(MOMENT * 1_000_000)?;
    assert!(property("timestamp").is_none_or(|value| value == PropertyValue::from(moment)));
    Ok(())
}

/// A number, whatever width the sender chose.
fn number(value: &PropertyValue) -> Option<f64> {
    match *value {
        PropertyValue::I8(n) => Some(n.into()),
        PropertyValue::I32(n) => Some(n.into()),
        PropertyValue::I64(n) => Some(n as f64),
        PropertyValue::F32(n) => Some(n.into()),
        PropertyValue::F64(n) => Some(n),
        _ => None,
    }
}

fn texts(messages: &[ReceivedMessage]) -> Vec<String> {
    messages.iter().map(|message| String::from_utf8_lossy(&message.body).into_owned()).collect()
}

/// AMQP's times have milliseconds.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_millisecond(now.millisecond()).unwrap_or(now)
}

fn milliseconds(at: OffsetDateTime) -> i128 {
    at.unix_timestamp_nanos() / 1_000_000
}
