use std::time::Duration;

use time::macros::datetime;
use uuid::Uuid;

use super::*;

#[test]
fn a_message_keeps_every_property_on_its_way() {
    let sent = ServiceBusMessage {
        body: b"\x00\xff{}".to_vec(),
        message_id: Some("m-1".into()),
        content_type: Some("application/json".into()),
        subject: Some("tick".into()),
        correlation_id: Some("c".into()),
        reply_to: Some("r".into()),
        to: Some("t".into()),
        session_id: Some("s".into()),
        partition_key: Some("s".into()),
        time_to_live: Some(Duration::from_secs(90)),
        scheduled_enqueue_time: Some(datetime!(2026-11-22 13:00:00.25 UTC)),
        application_properties: BTreeMap::from([
            ("text".into(), "x".into()),
            ("flag".into(), true.into()),
            ("small".into(), (-5_i32).into()),
            ("big".into(), i64::MAX.into()),
            ("real".into(), 0.5.into()),
            ("at".into(), datetime!(2026-11-22 13:00 UTC).into()),
            ("id".into(), Uuid::from_u128(7).into()),
            ("raw".into(), vec![1_u8, 2].into()),
            ("nothing".into(), PropertyValue::Null),
        ]),
    };
    let token = Uuid::from_u128(42);
    let got = received(&envelope(&sent).unwrap(), Some(token)).unwrap();
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
    assert_eq!(got.scheduled_enqueue_time, sent.scheduled_enqueue_time);
    assert_eq!(got.application_properties, sent.application_properties);
    assert_eq!((got.lock_token, got.delivery_count), (token, 1));
}

#[test]
fn bytes_that_are_no_message_are_an_error() {
    for bytes in
        [&b""[..], b"\x00", b"\x00\x53", b"\x00\x53\x75\xb0\xff\xff\xff\xff", b"hello", &[0xc0; 50_000]]
    {
        assert!(received(bytes, None).is_err(), "{:?}", &bytes[..bytes.len().min(10)]);
    }
}

#[test]
fn values_nested_without_end_are_refused_and_do_not_overflow_the_stack() {
    let mut bytes = vec![0x00, 0x53, 0x77];
    for _ in 0..100_000 {
        bytes.extend_from_slice(&[0x00, 0x53, 0x01]);
    }
    assert!(received(&bytes, None).is_err());
}
