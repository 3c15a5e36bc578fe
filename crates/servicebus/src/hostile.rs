//! Messages and connection strings from nobody who means well.

use std::{collections::BTreeMap, time::Duration};

use fe2o3_amqp_types::{
    messaging::{AmqpValue, Body, Header, Message, MessageAnnotations, annotations::OwnedKey},
    primitives::{Timestamp, Value},
};
use hostile_bytes::{Attack, Grammar};
use time::macros::datetime;

use crate::{
    ServiceBusClient, ServiceBusMessage,
    message::{encoded, envelope, received},
};

#[test]
fn no_bytes_break_the_reader_of_messages() {
    let sent = ServiceBusMessage {
        body: b"{\"version\":1}".to_vec(),
        message_id: Some("m-1".into()),
        content_type: Some("application/json".into()),
        subject: Some("s".into()),
        session_id: Some("g".into()),
        time_to_live: Some(Duration::from_secs(90)),
        scheduled_enqueue_time: Some(datetime!(2026-11-22 13:00 UTC)),
        application_properties: BTreeMap::from([
            ("DeadLetterReason".into(), "r".into()),
            ("n".into(), i64::MAX.into()),
            ("at".into(), datetime!(2026-11-22 13:00 UTC).into()),
            ("raw".into(), vec![1_u8, 2].into()),
        ]),
        ..ServiceBusMessage::default()
    };
    let annotations = [
        ("x-opt-locked-until", Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000))),
        ("x-opt-enqueued-time", Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_000))),
        ("x-opt-sequence-number", Value::Long(7)),
        ("x-opt-message-state", Value::Int(1)),
        ("x-opt-deadletter-source", Value::String("q".into())),
    ];
    let delivered = Message {
        header: Some(Header { ttl: Some(1000), delivery_count: 3, ..Header::default() }),
        delivery_annotations: None,
        message_annotations: Some(MessageAnnotations(
            annotations.into_iter().map(|(name, value)| (OwnedKey::Symbol(name.into()), value)).collect(),
        )),
        properties: None,
        application_properties: None,
        body: Body::Value(AmqpValue(Value::List(vec![Value::String("x".into()), Value::Null]))),
        footer: None,
    };
    let attack = Attack::on("messages", Grammar::Binary)
        .sample(envelope(&sent).unwrap())
        .sample(encoded(&delivered).unwrap())
        .words(["x-opt-locked-until", "DeadLetterReason", "\x00\x53\x75\u{a0}", "\x00\x53\x73"]);
    attack.run(|bytes| received(bytes, None).map(drop).map_err(|error| error.to_string()));
}

#[test]
fn no_connection_string_breaks_its_reader_or_shows_its_key() {
    let key = "c2VjcmV0a2V5";
    let attack = Attack::on("connection strings", Grammar::Text)
        .sample(format!("Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={key}"))
        .sample(format!("Endpoint=sb://localhost:5672;SharedAccessKeyName=a;SharedAccessKey={key};UseDevelopmentEmulator=true;"))
        // A ';' too few, and one too many.
        .once_broke(format!("Endpoint=sb://localhost:SharedAccessKey={key};UseDevelopmentEmulator=true;"))
        .once_broke("Endpoint=sb://localhost;SharedAccessKey=c2Vj;cmV0a2V5=;SharedAccessKeyName=a")
        .words(["Endpoint=", "sb://", "EntityPath=q", "SharedAccessSignature=", ";;", "sb://[::1]:99999"]);
    attack.run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        match ServiceBusClient::from_connection_string(&text) {
            Ok(_) => Ok(()),
            Err(error) => {
                let shown = format!("{error} {error:?}");
                assert!(!shown.contains(key) && !shown.contains("cmV0a2V5"), "{error}");
                Err(error.to_string())
            }
        }
    });
}
