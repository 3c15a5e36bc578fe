//! Answers of a handler, and messages of senders, that do not mean well.

use std::collections::BTreeMap;

use functions_host::{
    bindings::{
        Cardinality, DataType, EntityPath, FunctionMetadata, OutputBinding, OutputKind, ServiceBusTrigger,
        Trigger,
    },
    outputs::resolve,
    payload::{Sys, http, manual, service_bus},
    response::{Judgement, judge},
};
use hostile_bytes::{Attack, Grammar};
use serde_json::{Map, Value, json};
use time::macros::datetime;
use uuid::Uuid;

const SYS: Sys<'static> =
    Sys { method_name: "f", utc_now: datetime!(2026-11-22 13:00 UTC), rand_guid: Uuid::nil() };

fn function() -> FunctionMetadata {
    let queue = OutputKind::ServiceBus { entity: EntityPath("q".into()), connection: "SB".into() };
    let output = |name: &str, kind| OutputBinding { name: name.into(), data_type: None, kind };
    FunctionMetadata {
        name: "f".into(),
        trigger: Trigger::Manual { name: "m".into() },
        outputs: vec![output("o", queue.clone()), output("res", OutputKind::Http), output("$return", queue)],
        disabled: false,
        config: Map::new(),
    }
}

#[test]
fn no_answer_breaks_the_host() {
    let function = function();
    let answers = host_contract::answers().into_iter().flat_map(|file| file.answers);
    let successes = answers.filter(|answer| answer.becomes["success"].is_object()).map(|answer| answer.body);
    let whole = json!({"Outputs": {"o": ["x"], "res": {"statusCode": 201, "headers": {"X-A": "b"}, "body": {"a": 1}}},
        "Logs": ["l"], "ReturnValue": "2026-11-22T13:00:00.1234567Z"});
    let attack = Attack::on("answers", Grammar::Json).samples(successes).sample(whole.to_string());
    attack.words(["\"Outputs\":", "\"o\":", "\"{\\\"\"", "0000-00-00T00:00:00", "T24:00:00+99:99"]).run(
        |bytes| match judge(200, Some("application/json"), bytes) {
            Judgement::Failure { reason } => Err(reason),
            Judgement::NeverCompletes => Ok(()),
            Judgement::Success(result) => {
                resolve(&function, &result).map(drop).map_err(|error| error.to_string())
            }
        },
    );
}

/// Whatever the body is, the request is JSON from which a handler gets the body back.
#[test]
fn no_message_breaks_the_requests_that_carry_it() {
    let trigger = |data_type, cardinality| ServiceBusTrigger {
        name: "msg".into(),
        entity: EntityPath("q".into()),
        connection: "SB".into(),
        data_type,
        cardinality,
    };
    let client = service_bus::Client { fully_qualified_namespace: "ns", identifier: "ns-1" };
    let contract = b"\x40\x06string\x08\x33http://schemas.microsoft.com/2003/10/Serialization/\x99\x05hello";
    let attack = Attack::on("message bodies", Grammar::Json)
        .sample(r#"{"id":7,"MessageId":"x","at":"2026-11-22T13:00:00+02:00","o":{"a":[1.5,null]},"sys":{},"trigger":1}"#)
        .sample("[1,2]")
        .words([&contract[..], b"\x9b\xff\xff", b"\x9d\xff\xff\xff\x7f", b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"]);
    attack.run(|bytes| {
        let message = service_bus::Message { body: bytes.to_vec(), ..service_bus::Message::from_input("") };
        let text = trigger(None, Cardinality::One);
        let sent: Value =
            serde_json::from_slice(&service_bus::invocation(&text, &message, &client, &SYS)).unwrap();
        let once = sent["Data"]["msg"].as_str().unwrap();
        let twice: String = serde_json::from_str(once).unwrap();
        if let Ok(original) = std::str::from_utf8(bytes) {
            assert_eq!(twice, original);
        }
        let binary = trigger(Some(DataType::Binary), Cardinality::One);
        let sent: Value =
            serde_json::from_slice(&service_bus::invocation(&binary, &message, &client, &SYS)).unwrap();
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        assert_eq!(STANDARD.decode(sent["Data"]["msg"].as_str().unwrap()).unwrap(), bytes);

        let input = String::from_utf8_lossy(bytes);
        let request = http::Request {
            url: format!("http://h/{input}"),
            method: "POST".into(),
            headers: vec![("Content-Type".into(), input.clone().into_owned())],
            body: Some(bytes.to_vec()),
            ..http::Request::default()
        };
        for request in [manual("m", Some(&input), &SYS), http::invocation("req", &request, &SYS)] {
            serde_json::from_slice::<BTreeMap<String, Value>>(&request).unwrap();
        }
        let many = trigger(None, Cardinality::Many);
        let batch = service_bus::batch_invocation(&many, &[message], &client, &SYS);
        batch.map(drop).map_err(|error| error.to_string())
    });
}
