//! The host's side of the contract in crates/host-contract: it makes exactly these requests, and judges these answers so.

use functions_host::{
    bindings::{FunctionMetadata, Trigger, parse_function},
    config::HostConfig,
    outputs::{HttpResponse, resolve},
    payload::{self, Sys, http, service_bus, timer},
    response::{Judgement, judge},
    settings::Settings,
};
use host_contract::{Answer, Request, Stated, answers, requests};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use uuid::Uuid;

/// The moment and the GUID of the requests that state none of their own.
const NOW: &str = "2026-11-22T13:00:01.1234567Z";
const GUID: &str = "6f0e2c1a-5d3c-4b2a-9f8e-000000000001";

fn function(name: &str, bindings: &Value) -> FunctionMetadata {
    let app = tempfile::tempdir().unwrap();
    let bundle = json!({"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.0.0, 5.0.0)"});
    let host = json!({"version": "2.0", "extensionBundle": bundle,
        "customHandler": {"description": {"defaultExecutablePath": "handler"}}});
    std::fs::write(app.path().join("host.json"), host.to_string()).unwrap();
    let connection = "Endpoint=sb://ns.servicebus.windows.net;SharedAccessKeyName=a;SharedAccessKey=b";
    let schedules = [("CleanupSchedule", "0 */10 * * * *"), ("Schedule", "0 0 1 * * *")];
    let settings = [("ServiceBus", connection), schedules[0], schedules[1]]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = Settings::new(settings.into());
    let host = HostConfig::read(app.path(), &settings).unwrap();
    let text = json!({"bindings": bindings}).to_string();
    parse_function(name, &text, None, &host, &settings).unwrap_or_else(|error| panic!("{name}: {error}")).0
}

fn text(value: &Value, key: &str) -> Option<String> {
    value[key].as_str().map(str::to_owned)
}

fn moment(value: &Value, never: OffsetDateTime) -> OffsetDateTime {
    match value.as_str() {
        None | Some("never") => never,
        Some(text) => OffsetDateTime::parse(text, &Rfc3339).unwrap_or_else(|error| panic!("{text}: {error}")),
    }
}

fn body(value: &Value) -> Option<Vec<u8>> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    match (value["bodyText"].as_str(), value["bodyBase64"].as_str()) {
        (Some(text), None) => Some(text.as_bytes().to_vec()),
        (None, Some(bytes)) => Some(STANDARD.decode(bytes).unwrap()),
        (None, None) => None,
        _ => panic!("two bodies"),
    }
}

fn message(value: &Value) -> service_bus::Message {
    service_bus::Message {
        body: body(value).unwrap(),
        message_id: text(value, "messageId"),
        content_type: text(value, "contentType"),
        subject: text(value, "subject"),
        correlation_id: text(value, "correlationId"),
        reply_to: text(value, "replyTo"),
        reply_to_session_id: text(value, "replyToSessionId"),
        to: text(value, "to"),
        session_id: text(value, "sessionId"),
        partition_key: text(value, "partitionKey"),
        transaction_partition_key: text(value, "transactionPartitionKey"),
        delivery_count: value["deliveryCount"].as_i64().unwrap_or_default(),
        sequence_number: value["sequenceNumber"].as_i64().unwrap_or_default(),
        lock_token: value["lockToken"].as_str().map_or(Uuid::nil(), |text| text.parse().unwrap()),
        enqueued_time: moment(&value["enqueuedTime"], service_bus::BEGINNING),
        expires_at: moment(&value["expiresAt"], service_bus::NEVER),
        dead_letter_source: text(value, "deadLetterSource"),
        application_properties: value["applicationProperties"].as_object().cloned().unwrap_or_default(),
    }
}

fn tick(value: &Value) -> timer::Tick {
    let status = value["status"].as_object().map(|status| timer::ScheduleStatus {
        last: moment(&status["last"], service_bus::BEGINNING),
        next: moment(&status["next"], service_bus::BEGINNING),
        last_updated: moment(&status["lastUpdated"], service_bus::BEGINNING),
    });
    timer::Tick {
        adjust_for_dst: value["timeSpan"] != true,
        schedule_status: status,
        is_past_due: value["pastDue"] == true,
    }
}

fn web_request(value: &Value) -> http::Request {
    let pairs = |key: &str| -> Vec<(String, String)> { serde_json::from_value(value[key].clone()).unwrap() };
    let key = value["key"].as_array().map(|key| http::Key {
        level: key[0].as_str().unwrap().to_owned(),
        name: key[1].as_str().unwrap().to_owned(),
    });
    http::Request {
        url: text(value, "url").unwrap(),
        method: text(value, "method").unwrap(),
        query: pairs("query"),
        headers: pairs("headers"),
        params: pairs("params"),
        key,
        body: body(value),
    }
}

/// What this host sends for the request's event; an error if it sends nothing.
fn sent(request: &Request, event: &Value) -> Result<String, String> {
    let function = function(&request.function, &request.bindings);
    let own = |key: &str, usual: &str| event[key].as_str().unwrap_or(usual).to_owned();
    let sys = Sys {
        method_name: &request.function,
        utc_now: moment(&own("utcNow", NOW).into(), service_bus::NEVER),
        rand_guid: own("randGuid", GUID).parse().unwrap(),
    };
    let client =
        service_bus::Client { fully_qualified_namespace: "ns.servicebus.windows.net", identifier: "ns-1" };
    let input = event.get("input").map(Value::as_str);
    let bytes = match (&function.trigger, input) {
        (Trigger::ServiceBus(trigger), Some(input)) => {
            service_bus::manual_invocation(trigger, input.unwrap(), &sys)
        }
        (Trigger::ServiceBus(trigger), None) => match event["messages"].as_array() {
            Some(messages) => {
                let messages: Vec<_> = messages.iter().map(message).collect();
                service_bus::batch_invocation(trigger, &messages, &client, &sys)
                    .map_err(|error| error.to_string())?
            }
            None => service_bus::invocation(trigger, &message(&event["message"]), &client, &sys),
        },
        (Trigger::Timer(trigger), None) => timer::invocation(&trigger.name, &tick(&event["tick"]), &sys),
        (Trigger::Timer(trigger), Some(input)) => {
            timer::manual_invocation(&trigger.name, &tick(&event["tick"]), input, &sys)
        }
        (Trigger::Http(trigger), _) => http::invocation(&trigger.name, &web_request(&event["http"]), &sys),
        (Trigger::Manual { name }, input) => payload::manual(name, input.flatten(), &sys),
    };
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn every_event_makes_the_stated_request() {
    let mut made = 0;
    for request in requests() {
        let Some(event) = &request.event else { continue };
        made += 1;
        let about = format!("{}: {}", request.name, request.about);
        let sent = match (sent(&request, event), &request.unbound) {
            (Err(reason), Some(Stated { value, .. })) => {
                assert!(reason.contains(value.as_str().unwrap()), "{about}: {reason}");
                continue;
            }
            (sent, unbound) => {
                assert!(unbound.is_none(), "{about}: the host makes a request");
                sent.unwrap_or_else(|reason| panic!("{about}: {reason}"))
            }
        };
        if request.complete {
            assert_eq!(sent, request.body(), "{about}");
        } else {
            among(&request, &sent, &about);
        }
    }
    assert!(made > 45, "{made} requests");
}

/// Looks at what the request states of a body that has more, and where a recorded one differs from the present.
fn among(request: &Request, sent: &str, about: &str) {
    let sent: Value = serde_json::from_str(sent).unwrap();
    let mut differs: Map<String, Value> =
        request.differs.iter().map(|(key, stated)| (key.clone(), stated.value.clone())).collect();
    let mut expect = |part: &str, lines: &host_contract::Lines| {
        for (key, stated) in lines {
            let other = differs.remove(&format!("{part}.{key}")).or_else(|| match part {
                "Metadata" => differs.remove(key),
                _ => None,
            });
            let expected = other.as_ref().unwrap_or(&stated.value);
            assert_eq!(&sent[part][key], expected, "{about}: {part}.{key} by the rule '{}'", stated.rule);
        }
    };
    expect("Data", &request.data);
    expect("Metadata", &request.metadata);
    assert!(differs.is_empty(), "{about}: nothing is recorded of {:?}", differs.keys());
    assert_eq!(sent["Data"].as_object().unwrap().len(), request.data.len(), "{about}");
}

#[test]
fn no_request_has_a_key_that_is_stated_as_absent() {
    let mut seen = 0;
    for request in requests() {
        let Some(event) = &request.event else { continue };
        for (key, stated) in &request.absent {
            let sent: Value = serde_json::from_str(&sent(&request, event).unwrap()).unwrap();
            let found = sent["Metadata"].get(key);
            assert_eq!(found, None, "{}: {key} by the rule '{}'", request.name, stated.rule);
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} keys");
}

/// What this host makes of an answer, in the words of the contract.
fn becomes(function: &FunctionMetadata, answer: &Answer) -> Value {
    match judge(answer.status, answer.content_type.as_deref(), &answer.body) {
        Judgement::NeverCompletes => "hangs".into(),
        Judgement::Failure { reason } => json!({"failure": reason}),
        Judgement::Success(result) => match resolve(function, &result) {
            Err(error) => json!({"failure": error.to_string()}),
            Ok(outputs) => {
                let mut success = Map::new();
                if !result.logs.is_empty() {
                    success.insert("logs".into(), json!(result.logs));
                }
                for messages in outputs.messages {
                    success.insert(messages.binding.name, json!(messages.bodies));
                }
                if let Some(HttpResponse { status, headers, body, content_type }) = outputs.http {
                    let body = String::from_utf8(body).unwrap();
                    let http = json!({"status": status, "headers": headers, "body": body, "contentType": content_type});
                    success.insert("http".into(), http);
                }
                json!({"success": success})
            }
        },
    }
}

#[test]
fn every_answer_becomes_what_is_stated() {
    let mut judged = 0;
    for file in answers() {
        let function = function(&file.function, &file.bindings);
        for answer in file.answers {
            judged += 1;
            let shown = String::from_utf8_lossy(&answer.body);
            let about = format!("{}, rule '{}': {} {shown}", file.name, answer.rule, answer.status);
            let became = becomes(&function, &answer);
            match answer.becomes["failure"].as_str() {
                // Of a failure's reason a part is stated.
                Some(part) => {
                    let reason = became["failure"].as_str().unwrap_or_else(|| panic!("{about}: {became}"));
                    assert!(reason.contains(part), "{about}: {reason}");
                }
                None => assert_eq!(became, answer.becomes, "{about}"),
            }
        }
    }
    assert!(judged > 60, "{judged} answers");
}
