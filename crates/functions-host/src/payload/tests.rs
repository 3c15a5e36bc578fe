use serde_json::json;
use time::macros::datetime;
use uuid::uuid;

use super::*;
use crate::bindings::{Cardinality, DataType, EntityPath, ServiceBusTrigger};

const GUID: Uuid = uuid!("6f0e2c1a-5d3c-4b2a-9f8e-000000000001");

fn sys() -> Sys<'static> {
    Sys { method_name: "OnMsg", utc_now: datetime!(2026-11-22 13:00:01.123_456_7 UTC), rand_guid: GUID }
}

fn client() -> service_bus::Client<'static> {
    service_bus::Client { fully_qualified_namespace: "ns.servicebus.windows.net", identifier: "ns-1" }
}

fn binding(data_type: Option<DataType>, cardinality: Cardinality) -> ServiceBusTrigger {
    ServiceBusTrigger {
        name: "msg".into(),
        entity: EntityPath("q".into()),
        connection: "SB".into(),
        data_type,
        cardinality,
    }
}

fn message(body: &[u8]) -> service_bus::Message {
    service_bus::Message {
        message_id: Some("m-1".into()),
        content_type: Some("application/json".into()),
        subject: Some("s".into()),
        correlation_id: Some("c".into()),
        delivery_count: 1,
        sequence_number: 42,
        lock_token: uuid!("5d3c0000-0000-4000-8000-000000000000"),
        enqueued_time: datetime!(2026-11-22 13:00:00.987 UTC),
        expires_at: datetime!(2026-12-06 13:00:00.987 UTC),
        application_properties: json!({"tenant":"a","n":3}).as_object().cloned().unwrap(),
        body: body.into(),
        ..service_bus::Message::from_input("")
    }
}

fn single(data_type: Option<DataType>, body: &[u8]) -> Value {
    let bytes =
        service_bus::invocation(&binding(data_type, Cardinality::One), &message(body), &client(), &sys());
    serde_json::from_slice(&bytes).unwrap()
}

fn batch(data_type: Option<DataType>, bodies: &[&[u8]]) -> Result<Value, service_bus::BindingError> {
    let messages: Vec<_> = bodies.iter().map(|body| message(body)).collect();
    service_bus::batch_invocation(&binding(data_type, Cardinality::Many), &messages, &client(), &sys())
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The whole body, byte by byte. The shape is that of a recorded request (anthonychu/functions-dotnet5-custom-handler,
/// src/Handler/test.http), with the keys of ServiceBusTriggerBindingStrategy.cs 5.x and dates as hosts write them since
/// Azure/azure-functions-host issue 6574.
#[test]
fn a_json_message_is_encoded_byte_for_byte() {
    let bytes = service_bus::invocation(
        &binding(None, Cardinality::One),
        &message(br#"{"id":7,"kind":"x"}"#),
        &client(),
        &sys(),
    );
    let expected = concat!(
        r#"{"Data":{"msg":"\"{\\\"id\\\":7,\\\"kind\\\":\\\"x\\\"}\""},"#,
        r#""Metadata":{"MessageReceiver":{},"MessageSession":{},"MessageActions":{},"SessionActions":{},"#,
        r#""ReceiveActions":{},"Client":{"FullyQualifiedNamespace":"ns.servicebus.windows.net","IsClosed":false,"#,
        r#""TransportType":0,"Identifier":"ns-1"},"#,
        r#""DeliveryCount":"1","LockToken":"\"5d3c0000-0000-4000-8000-000000000000\"","#,
        r#""ExpiresAtUtc":"2026-12-06T13:00:00","ExpiresAt":"2026-12-06T13:00:00+00:00","#,
        r#""EnqueuedTimeUtc":"2026-11-22T13:00:00","EnqueuedTime":"2026-11-22T13:00:00+00:00","#,
        r#""MessageId":"\"m-1\"","ContentType":"\"application/json\"","SequenceNumber":"42","#,
        r#""Subject":"\"s\"","Label":"\"s\"","CorrelationId":"\"c\"","#,
        r#""ApplicationProperties":{"tenant":"a","n":3},"UserProperties":{"tenant":"a","n":3},"#,
        r#""sys":{"MethodName":"OnMsg","UtcNow":"2026-11-22T13:00:01.1234567Z","#,
        r#""RandGuid":"6f0e2c1a-5d3c-4b2a-9f8e-000000000001"},"#,
        r#""id":"\"7\"","kind":"\"x\""}}"#,
    );
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}

/// ScriptInvocationContextExtensions.cs `GetHttpScriptInvocationContextValue`: strings are JSON in a JSON string.
#[test]
fn text_is_encoded_twice_and_binary_once() {
    assert_eq!(single(None, b"hello")["Data"]["msg"], "\"hello\"");
    assert_eq!(single(Some(DataType::String), b"hello")["Data"]["msg"], "\"hello\"");
    assert_eq!(single(Some(DataType::Binary), b"hello")["Data"]["msg"], "aGVsbG8=");
}

/// Utility.cs `ApplyBindingData` looks at strings only.
#[test]
fn a_binary_body_leaks_nothing_into_the_metadata() {
    let all = single(Some(DataType::Binary), br#"{"id":7,"messageId":"other"}"#);
    assert_eq!(all["Metadata"].get("id"), None);
    assert_eq!(all["Metadata"]["MessageId"], "\"m-1\"");
}

/// Utility.cs `ConvertPropertyValue`: scalars become strings, objects stay, arrays and nulls are left out.
#[test]
fn a_json_bodys_properties_replace_metadata_of_the_same_name() {
    let body = br#"{"messageid":"other","n":4,"yes":true,"f":1.50,"o":{"a":[1]},"l":[1],"z":null,
        "at":"2026-11-22T13:00:00Z","myTRIGGER":"x","sys":"mine"}"#;
    let metadata = &single(None, body)["Metadata"];
    assert_eq!(metadata["MessageId"], "\"other\"");
    assert_eq!(metadata["n"], "\"4\"");
    assert_eq!(metadata["yes"], "\"True\"");
    assert_eq!(metadata["f"], "\"1.5\"");
    assert_eq!(metadata["o"], json!({"a":[1]}));
    assert_eq!(metadata["at"], "\"11/22/2026 13:00:00\"");
    assert_eq!(metadata["sys"], "\"mine\"");
    for key in ["messageid", "l", "z", "myTRIGGER"] {
        assert_eq!(metadata.get(key), None, "{key}");
    }
}

#[test]
fn bodies_that_only_look_like_json_leak_nothing() {
    for body in [&b"[1,2]"[..], b"{oops}", b"5"] {
        let metadata = &single(None, body)["Metadata"];
        assert_eq!(metadata.as_object().unwrap().keys().next_back().unwrap(), "sys");
    }
}

/// MessageToStringConverter.cs: strict UTF-8, then .NET's DataContractSerializer, then what can be read.
#[test]
fn a_body_that_is_no_utf8_is_read_as_well_as_possible() {
    let mut contract =
        b"\x40\x06string\x08\x33http://schemas.microsoft.com/2003/10/Serialization/\x99\x05".to_vec();
    contract.extend(b"hello");
    assert_eq!(single(None, &contract)["Data"]["msg"], "\"hello\"");
    assert_eq!(single(None, b"a\xffb")["Data"]["msg"], "\"a\u{fffd}b\"");
}

/// ServiceBusTriggerBindingStrategy.cs, the overload for several messages.
#[test]
fn a_batch_is_one_json_string_of_an_array() {
    assert_eq!(
        batch(Some(DataType::String), &[b"hello", br#"{"id":7}"#]).unwrap()["Data"]["msg"],
        r#"["hello","{\"id\":7}"]"#
    );
    assert_eq!(batch(Some(DataType::Binary), &[b"hello"]).unwrap()["Data"]["msg"], r#"["aGVsbG8="]"#);
    assert_eq!(batch(None, &[br#"{"id":7}"#, b"5"]).unwrap()["Data"]["msg"], r#"[{"id":7},5]"#);
}

#[test]
fn a_batchs_metadata_are_arrays_with_full_dates_and_nulls() {
    let all = batch(Some(DataType::String), &[br#"{"id":7}"#, b"b"]).unwrap();
    let metadata = &all["Metadata"];
    assert_eq!(metadata["SequenceNumberArray"], "[42,42]");
    assert_eq!(metadata["MessageIdArray"], r#"["m-1","m-1"]"#);
    assert_eq!(metadata["ReplyToArray"], "[null,null]");
    assert_eq!(metadata["EnqueuedTimeUtcArray"], r#"["2026-11-22T13:00:00.987","2026-11-22T13:00:00.987"]"#);
    assert_eq!(
        metadata["EnqueuedTimeArray"],
        r#"["2026-11-22T13:00:00.987+00:00","2026-11-22T13:00:00.987+00:00"]"#
    );
    assert_eq!(metadata["ApplicationPropertiesArray"], r#"[{"tenant":"a","n":3},{"tenant":"a","n":3}]"#);
    assert_eq!(metadata.get("MessageId"), None);
    assert_eq!(metadata.get("id"), None);
    assert_eq!(metadata["sys"]["MethodName"], "OnMsg");
}

/// PocoTriggerArgumentBinding.cs; Azure/azure-functions-host issue 3170.
#[test]
fn one_message_that_is_no_json_fails_an_untyped_batch() {
    let error = batch(None, &[br#"{"id":7}"#, b"hello"]).unwrap_err().to_string();
    assert!(error.contains("Json.NET"), "{error}");
}

/// `ConvertFromString`, and FunctionBinding.cs for the input under the binding's name.
#[test]
fn an_admin_requests_input_becomes_a_message_without_a_broker() {
    let bytes =
        service_bus::manual_invocation(&binding(Some(DataType::Binary), Cardinality::One), "hello", &sys());
    let all: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(all["Data"]["msg"], "aGVsbG8=");
    let metadata = &all["Metadata"];
    assert_eq!(metadata["DeliveryCount"], "0");
    assert_eq!(metadata["LockToken"], "\"00000000-0000-0000-0000-000000000000\"");
    assert_eq!(metadata["EnqueuedTime"], "0001-01-01T00:00:00+00:00");
    assert_eq!(metadata["msg"], "\"hello\"");
    assert_eq!(metadata.get("Client"), None);
    let mut named = binding(None, Cardinality::One);
    named.name = "myTrigger".into();
    let all: Value =
        serde_json::from_slice(&service_bus::manual_invocation(&named, "hello", &sys())).unwrap();
    assert_eq!(all["Metadata"].get("myTrigger"), None);
}

/// TimerInfo.cs: an object, in PascalCase.
#[test]
fn a_tick_is_a_nested_object() {
    let tick = timer::Tick {
        adjust_for_dst: true,
        schedule_status: Some(timer::ScheduleStatus {
            last: datetime!(2026-11-22 12:55:00.0012 UTC),
            next: datetime!(2026-11-22 13:00:00 UTC),
            last_updated: datetime!(2026-11-22 12:55:00.0012 UTC),
        }),
        is_past_due: false,
    };
    let expected = concat!(
        r#"{"Data":{"t":{"Schedule":{"AdjustForDST":true},"#,
        r#""ScheduleStatus":{"Last":"2026-11-22T12:55:00.0012+00:00","Next":"2026-11-22T13:00:00+00:00","#,
        r#""LastUpdated":"2026-11-22T12:55:00.0012+00:00"},"IsPastDue":false}},"#,
        r#""Metadata":{"sys":{"MethodName":"OnMsg","UtcNow":"2026-11-22T13:00:01.1234567Z","#,
        r#""RandGuid":"6f0e2c1a-5d3c-4b2a-9f8e-000000000001"}}}"#,
    );
    assert_eq!(String::from_utf8(timer::invocation("t", &tick, &sys())).unwrap(), expected);
    let unmonitored = timer::Tick { schedule_status: None, ..tick };
    let all: Value = serde_json::from_slice(&timer::invocation("t", &unmonitored, &sys())).unwrap();
    assert_eq!(all["Data"]["t"]["ScheduleStatus"], Value::Null);
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// HttpRequestExtensions.cs `GetRequestAsJObject`; HttpTriggerAttributeBindingProvider.cs for the metadata.
#[test]
fn a_request_is_described_with_url_headers_params_and_body() {
    let request = http::Request {
        url: "http://localhost:7071/api/order/5?x=1&x=2&code=k".into(),
        method: "POST".into(),
        query: pairs(&[("x", "1"), ("x", "2"), ("code", "k")]),
        headers: pairs(&[("Content-Type", "application/json"), ("Host", "localhost:7071")]),
        params: pairs(&[("id", "5")]),
        body: Some(br#"{"a":1,"list":[1],"x":"from body"}"#.to_vec()),
    };
    let all: Value = serde_json::from_slice(&http::invocation("req", &request, &sys())).unwrap();
    assert_eq!(
        all["Data"]["req"],
        json!({
            "Url": "http://localhost:7071/api/order/5?x=1&x=2&code=k",
            "Method": "POST",
            "Query": {"x": "1,2", "code": "k"},
            "Headers": {"Content-Type": ["application/json"], "Host": ["localhost:7071"]},
            "Params": {"id": "5"},
            "Identities": [{"AuthenticationType": null, "IsAuthenticated": false, "Actor": null,
                "BootstrapContext": null, "Claims": [], "Label": null, "Name": null,
                "NameClaimType": "http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name",
                "RoleClaimType": "http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}],
            "Body": r#"{"a":1,"list":[1],"x":"from body"}"#,
        })
    );
    let metadata = &all["Metadata"];
    assert_eq!(metadata["x"], "\"1,2\"");
    assert_eq!(metadata["id"], "\"5\"");
    assert_eq!(metadata["a"], "\"1\"");
    assert_eq!(metadata["list"], "[1]");
    assert_eq!(metadata["Query"], json!({"x": "1,2", "code": "k"}));
    assert_eq!(metadata["Headers"], json!({"Content-Type": "application/json", "Host": "localhost:7071"}));
    assert_eq!(metadata.get("code"), None);
}

#[test]
fn a_request_without_parameters_or_body_has_no_such_keys() {
    let request = http::Request { url: "http://h/api/f".into(), method: "GET".into(), ..Default::default() };
    let all: Value = serde_json::from_slice(&http::invocation("req", &request, &sys())).unwrap();
    assert_eq!(all["Data"]["req"].get("Params"), None);
    assert_eq!(all["Data"]["req"].get("Body"), None);
    assert_eq!(all["Data"]["req"]["Query"], json!({}));
}

#[test]
fn octets_and_multipart_bodies_travel_as_base64() {
    for media_type in ["application/octet-stream", "multipart/form-data; boundary=x"] {
        let request = http::Request {
            headers: pairs(&[("content-type", media_type)]),
            body: Some(b"hello".to_vec()),
            ..Default::default()
        };
        let all: Value = serde_json::from_slice(&http::invocation("req", &request, &sys())).unwrap();
        assert_eq!(all["Data"]["req"]["Body"], "aGVsbG8=");
    }
}
