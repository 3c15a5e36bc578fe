use serde_json::json;

use super::*;
use crate::{
    bindings::{AuthorizationLevel, EntityPath, HttpTrigger},
    response::InvocationResult,
};

fn queue(name: &str, data_type: Option<DataType>) -> OutputBinding {
    OutputBinding {
        name: name.into(),
        data_type,
        kind: OutputKind::ServiceBus { entity: EntityPath("q".into()), connection: "SB".into() },
    }
}

fn http(name: &str) -> OutputBinding {
    OutputBinding { name: name.into(), data_type: None, kind: OutputKind::Http }
}

fn function(trigger: Trigger, outputs: Vec<OutputBinding>) -> FunctionMetadata {
    FunctionMetadata { name: "f".into(), trigger, outputs, disabled: false, config: Map::new() }
}

fn http_trigger() -> Trigger {
    Trigger::Http(HttpTrigger {
        name: "req".into(),
        methods: vec![],
        route: None,
        auth_level: AuthorizationLevel::Anonymous,
    })
}

fn result(outputs: Value) -> InvocationResult {
    InvocationResult { outputs: outputs.as_object().cloned(), ..Default::default() }
}

fn bodies(value: Value) -> Result<Vec<String>, OutputError> {
    let function = function(Trigger::Manual { name: "m".into() }, vec![queue("o", None)]);
    let outputs = resolve(&function, &result(json!({"o": value})))?;
    Ok(outputs.messages.into_iter().flat_map(|messages| messages.bodies).collect())
}

fn answer(outputs: Value) -> Result<HttpResponse, OutputError> {
    let function = function(http_trigger(), vec![http("res")]);
    Ok(resolve(&function, &result(outputs))?.http.unwrap())
}

#[test]
fn an_array_gives_one_message_per_element() {
    let value = json!(["test", "{\"a\":1}", {"a": [1]}, 5, 1.5, true, null, [1]]);
    assert_eq!(
        bodies(value).unwrap(),
        ["test", "{\"a\":1}", "{\n  \"a\": [\n    1\n  ]\n}", "5", "1.5", "True", "", "[\n  1\n]"]
    );
}

#[test]
fn a_string_that_looks_like_json_is_parsed_and_indented() {
    assert_eq!(bodies(json!("[\"a\", {\"b\":2}]")).unwrap(), ["a", "{\n  \"b\": 2\n}"]);
    assert_eq!(bodies(json!(" {\"b\":2} ")).unwrap(), ["{\n  \"b\": 2\n}"]);
    assert!(matches!(bodies(json!("{nonsense}")), Err(OutputError::Json { .. })));
}

#[test]
fn an_object_is_one_indented_message() {
    assert_eq!(
        bodies(json!({"b": "2026-11-22T13:00:00.0Z"})).unwrap(),
        ["{\n  \"b\": \"2026-11-22T13:00:00Z\"\n}"]
    );
}

#[test]
fn a_plain_string_is_sent_unless_it_happens_to_be_base64() {
    assert_eq!(bodies(json!("hello, world")).unwrap(), ["hello, world"]);
    for text in
        ["test", "1234", "abcdefgh", "c3d0e0a4b1f84f6e9d8a2b3c4d5e6f70", "aGVsbG8=", "some text", "", "QQ=="]
    {
        assert_eq!(bodies(json!(text)).unwrap(), ["System.Byte[]"], "{text}");
    }
    for text in ["tes", "QR", "a-b_", "abc=d"] {
        assert_eq!(bodies(json!(text)).unwrap(), [text], "{text}");
    }
}

#[test]
fn a_binary_binding_does_not_guess() {
    let function = function(Trigger::Manual { name: "m".into() }, vec![queue("o", Some(DataType::Binary))]);
    let outputs = resolve(&function, &result(json!({"o": "test"}))).unwrap();
    assert_eq!(outputs.messages[0].bodies, ["test"]);
}

#[test]
fn nothing_is_written_for_an_empty_array_null_or_an_unknown_name() {
    assert!(bodies(json!([])).unwrap().is_empty());
    assert!(bodies(Value::Null).unwrap().is_empty());
    let function = function(Trigger::Manual { name: "m".into() }, vec![queue("o", None)]);
    assert_eq!(resolve(&function, &result(json!({"other": ["x"]}))).unwrap(), Outputs::default());
}

#[test]
fn the_return_value_goes_to_its_binding_or_over_the_outputs() {
    let mut answer = result(json!({"o": ["a"], "p": ["b"]}));
    answer.return_value = Some(json!("plain text!"));
    let with_binding =
        function(Trigger::Manual { name: "m".into() }, vec![queue("o", None), queue("$return", None)]);
    let outputs = resolve(&with_binding, &answer).unwrap();
    assert_eq!(outputs.messages.iter().map(|m| m.bodies.concat()).collect::<Vec<_>>(), ["a", "plain text!"]);

    // Merged values skip the base64 guess.
    answer.return_value = Some(json!({"o": "test"}));
    let without = function(Trigger::Manual { name: "m".into() }, vec![queue("o", None), queue("p", None)]);
    let outputs = resolve(&without, &answer).unwrap();
    assert_eq!(outputs.messages.iter().map(|m| m.bodies.concat()).collect::<Vec<_>>(), ["test", "b"]);
}

#[test]
fn an_http_output_is_a_response_object() {
    let response =
        answer(json!({"res": {"statusCode": 201, "headers": {"X-A": "b", "X-N": 5}, "body": "hi"}})).unwrap();
    assert_eq!((response.status, &response.body[..]), (201, &b"hi"[..]));
    assert_eq!(response.headers, [("X-A".into(), "b".into()), ("X-N".into(), "5".into())]);
    assert_eq!(response.content_type, Some("text/plain; charset=utf-8"));
    let response = answer(json!({"res": "{\"StatusCode\":\"404\",\"body\":{\"a\":1}}"})).unwrap();
    assert_eq!((response.status, &response.body[..]), (404, &b"{\"a\":1}"[..]));
    assert_eq!(response.content_type, Some("application/json; charset=utf-8"));
}

#[test]
fn status_alone_is_ignored() {
    assert_eq!(answer(json!({"res": {"status": 404, "body": ""}})).unwrap().status, 200);
}

#[test]
fn a_missing_http_output_is_an_empty_object_and_missing_outputs_are_an_empty_answer() {
    let response = answer(json!({})).unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b"{}"[..]));
    let response = answer(Value::Null).unwrap();
    assert_eq!((response.status, &response.body[..]), (200, &b""[..]));
}

#[test]
fn an_http_output_of_another_shape_fails_the_invocation() {
    for value in
        [json!("text"), json!(5), json!([1]), json!({"headers": []}), json!({"headers": {"a": null}})]
    {
        assert!(matches!(answer(json!({"res": value.clone()})), Err(OutputError::Http(_))), "{value}");
    }
}
