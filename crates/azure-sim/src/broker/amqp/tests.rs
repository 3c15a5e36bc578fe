mod peer;

use bytes::{Bytes, BytesMut};
use fe2o3_amqp_types::primitives::{Symbol, Value};
use serde_amqp::{described::Described, descriptor::Descriptor};

use super::{
    disposition::{Disposition, Outcome},
    shape,
    wire::{self, Incoming},
};
use crate::broker::Settlement;

fn described(code: u64, fields: Vec<Value>) -> Value {
    Value::Described(Box::new(Described { descriptor: Descriptor::Code(code), value: Value::List(fields) }))
}

fn disposition(state: Value) -> Disposition {
    let fields = vec![Value::Bool(true), Value::Uint(7), Value::Null, Value::Bool(false), state];
    let bytes = serde_amqp::to_vec(&described(0x15, fields)).unwrap();
    match wire::decode(bytes.into()).unwrap() {
        Incoming::Disposition(disposition) => disposition,
        _ => panic!("not a disposition"),
    }
}

#[test]
fn a_dead_lettering_is_understood_with_symbols_and_with_strings_as_keys() {
    for key in [|k: &str| Value::Symbol(Symbol::from(k)), |k: &str| Value::String(k.into())] {
        let text = |text: &str| Value::String(text.into());
        let info = [
            (key("DeadLetterReason"), text("Poison")),
            (key("DeadLetterErrorDescription"), text("why")),
            (key("more"), text("of it")),
        ];
        let condition = Value::Symbol("com.microsoft:dead-letter".into());
        let error = described(0x1d, vec![condition, Value::Null, Value::Map(info.into_iter().collect())]);
        let got = disposition(described(0x25, vec![error]));
        assert_eq!((got.first, got.last, got.settled, got.receiver), (7, 7, false, true));
        let Some(Outcome::Settle(Settlement::DeadLetter { reason, description }, properties)) = got.outcome
        else {
            panic!("{:?}", got.outcome)
        };
        assert_eq!((reason.as_str(), description.as_str()), ("Poison", "why"));
        assert_eq!(properties.into_keys().collect::<Vec<_>>(), ["more"]);
    }
}

#[test]
fn a_transactional_state_is_unknown_and_no_error() {
    let state = described(0x34, vec![Value::Binary(vec![1].into()), described(0x24, vec![])]);
    assert_eq!(disposition(state).outcome, Some(Outcome::Unknown));
}

#[test]
fn a_token_is_good_for_its_audience_only_and_as_long_as_it_says() {
    use super::authorization::Authorization;
    use base64::{Engine, prelude::BASE64_STANDARD};
    use hmac::{Hmac, Mac};

    let authorization = Authorization::default()
        .with_key("Root", "key")
        .with_token_check(std::sync::Arc::new(|token, audience| token == "good" && audience.ends_with("/q")));
    let signed = |resource: &str, expiry: i64| {
        let resource =
            percent_encoding::utf8_percent_encode(resource, percent_encoding::NON_ALPHANUMERIC).to_string();
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"key").unwrap();
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let signature =
            percent_encoding::utf8_percent_encode(&signature, percent_encoding::NON_ALPHANUMERIC).to_string();
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn=Root")
    };
    let later = time::OffsetDateTime::now_utc().unix_timestamp() + 60;
    let check = |token: &str| authorization.check("servicebus.windows.net:sastoken", token, "sb://host/q");
    assert_eq!(check(&signed("sb://host/q", later)), Ok(()));
    assert_eq!(check(&signed("sb://host/", later)), Ok(()));
    assert_eq!(authorization.check("jwt", &signed("sb://host/q", later), "sb://host/Q"), Ok(()));
    assert!(check(&signed("sb://host/queue", later)).is_err());
    assert!(check(&signed("sb://host/q", 1)).is_err());
    assert!(check(&signed("sb://host/q", later).replace("skn=Root", "skn=Other")).is_err());
    assert!(
        check(&signed("sb://host/q", later).replace(&later.to_string(), &(later + 1).to_string())).is_err()
    );
    assert!(check("").is_err());
    assert_eq!(authorization.check("jwt", "good", "sb://host/q"), Ok(()));
    assert!(authorization.check("jwt", "good", "sb://host/other").is_err());
    assert!(authorization.check("jwt", "bad", "sb://host/q").is_err());
}

#[test]
fn frames_out_of_bounds_are_errors() {
    for bytes in [
        &[0, 0, 0, 7, 2, 0, 0, 0][..],
        &[0, 1, 0, 1, 2, 0, 0, 0],
        &[0, 0, 0, 8, 1, 0, 0, 0],
        &[0, 0, 0, 8, 9, 0, 0, 0],
    ] {
        assert!(wire::next_frame(&mut BytesMut::from(bytes)).is_err(), "{bytes:?}");
    }
    assert!(wire::next_frame(&mut BytesMut::from(&[0, 0, 0, 9, 2, 0, 0, 0][..])).unwrap().is_none());
}

#[test]
fn shapes_that_would_cost_much_to_decode_are_refused() {
    let nested_lists = [0xd0, 0, 0, 0xff, 0xff, 0, 0, 0, 1].repeat(5000);
    let nested_descriptors = [0x00, 0x00].repeat(30_000);
    let billion_nulls = [0xf0, 0, 0, 0, 5, 0x3b, 0x9a, 0xca, 0x00, 0x40];
    for bytes in [&nested_lists[..], &nested_descriptors, &billion_nulls, &[0xc0, 1, 200], &[0x3f], &[]] {
        assert!(shape::check(bytes).is_err());
        assert!(wire::decode(Bytes::copy_from_slice(bytes)).is_err() || bytes.is_empty());
    }
}

#[test]
fn performatives_are_written_out_to_their_last_field() {
    use fe2o3_amqp_types::performatives::{Begin, Close, End, Open};

    let open = |id: &str| Open {
        container_id: id.into(),
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
    let begin = Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: 1,
        outgoing_window: 1,
        handle_max: 7.into(),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    };
    // Short and long lists, those that become long by it, and one that was left out as a whole.
    let lengths = [0, 236, 240, 244, 300];
    let opens = lengths.map(|length| (wire::encode(&open(&"x".repeat(length))), 10));
    let others = [
        (wire::encode(&begin), 8),
        (wire::encode(&End { error: None }), 1),
        (wire::encode(&Close { error: None }), 1),
    ];
    for (bytes, fields) in opens.into_iter().chain(others) {
        assert_eq!(shape::check(&bytes), Ok(()), "{bytes:?}");
        let value = wire::described(serde_amqp::from_slice(&bytes).unwrap());
        assert!(matches!(&value, Some((_, Value::List(list))) if list.len() == fields), "{value:?}");
        assert!(wire::decode(bytes.into()).is_ok());
    }
}

#[test]
fn a_claim_on_the_management_of_a_queue_is_good_for_that_and_no_more() {
    use super::{authorization::covers, link::Node};

    let path = |address: &str| Node::parse(address).path().unwrap();
    assert!(covers("q/$management", &path("amqps://host/Q/$management")));
    assert!(covers("q", &path("q/$management")));
    assert!(!covers("q/$management", &path("q")));
    assert!(!covers("q", &path("queue/$management")));
    assert_eq!(Node::parse("$cbs").path(), None);
}
