//! The custom handler's contract, as the host's own code sees it: its payloads in, its judgement of the answers out.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use axum::{
    body::Body,
    http::{Method, Request, header::CONTENT_TYPE},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use functions_host::{
    bindings::{Cardinality, DataType, EntityPath, ServiceBusTrigger},
    payload::{Sys, service_bus, timer},
    response::{Judgement, judge},
};
use serde_json::Value;
use tower::ServiceExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use uuid::Uuid;

use super::*;
use crate::{
    domain::{
        Message, Queue, RunId, RunReason,
        messages::{StartRun, Step},
    },
    steps::{
        Envelope, Outbox, OutboxError,
        fixtures::{NOW, example},
    },
};

mod commits;
mod contract;
mod functions;
mod hostile;

const SYS: Sys<'static> = Sys { method_name: "start-run", utc_now: NOW, rand_guid: Uuid::nil() };

fn start_run() -> Message {
    let start = StartRun::of_everything(RunReason::Manual);
    Message::first(RunId::parse("run-1").unwrap(), Step::StartRun(start))
}

/// What the host sends for a message with this body, under a binding with these settings.
fn payload(body: &[u8], data_type: Option<DataType>) -> Vec<u8> {
    let binding = ServiceBusTrigger {
        name: "message".to_owned(),
        entity: EntityPath("start-run".to_owned()),
        connection: "ServiceBus".to_owned(),
        data_type,
        cardinality: Cardinality::One,
    };
    let message = service_bus::Message { body: body.to_vec(), ..service_bus::Message::from_input("") };
    let client =
        service_bus::Client { fully_qualified_namespace: "ns.servicebus.windows.net", identifier: "ns-1" };
    service_bus::invocation(&binding, &message, &client, &SYS)
}

fn binary(body: &[u8]) -> Vec<u8> {
    payload(body, Some(DataType::Binary))
}

fn tick() -> Vec<u8> {
    let tick = timer::Tick { adjust_for_dst: true, schedule_status: None, is_past_due: true };
    timer::invocation("timer", &tick, &SYS)
}

/// The handler's answer; every answer must be what the host can read: JSON, an object, not empty.
async fn ask(router: &Router, method: Method, path: &str, body: impl Into<Body>) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(INVOCATION_ID_HEADER, "7c0b5b5e-0000-4000-8000-00000000cafe")
        .body(body.into())
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let media_type = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    assert_eq!(media_type, "application/json", "{path} answered {status}");
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    let judged = judge(status, Some(&media_type), &body);
    assert_eq!(matches!(judged, Judgement::Success(_)), (200..300).contains(&status), "{judged:?}");
    let value: Value = serde_json::from_slice(&body).unwrap();
    assert!(value.is_object(), "{value}");
    (status, value)
}

async fn post(router: &Router, function: &str, body: impl Into<Body>) -> (u16, String) {
    let (status, value) = ask(router, Method::POST, &format!("/{function}"), body).await;
    let text = match status {
        200 => &value["Logs"][0],
        _ => &value["error"],
    };
    (status, text.as_str().unwrap_or_else(|| panic!("{value}")).to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_readiness_probe_is_answered_at_once() {
    let router = router(example().await.0.factory);
    assert_eq!(ask(&router, Method::GET, "/", Body::empty()).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn every_path_and_method_answers_a_json_object() {
    let router = router(example().await.0.factory);
    for (method, path, status) in [
        (Method::POST, "/", 405),
        (Method::GET, "/create-vm", 405),
        (Method::PUT, "/create-vm", 405),
        (Method::DELETE, "/nowhere", 405),
        (Method::GET, "/a/b", 404),
        (Method::POST, "/a/b/c", 404),
        (Method::POST, "/nowhere", 404),
        (Method::POST, "/Create-VM", 404),
        (Method::POST, "/%FF", 400),
        (Method::POST, "/create-vm", 400),
        (Method::POST, "/cleanup", 400),
        (Method::POST, "/commit", 400),
        (Method::PUT, "/start", 405),
    ] {
        let (answered, value) = ask(&router, method.clone(), path, Body::empty()).await;
        assert_eq!(answered, status, "{method} {path}: {value}");
        assert!(value["error"].as_str().is_some_and(|reason| !reason.is_empty()), "{value}");
    }
}

/// The turns in which a small run plans, and then begins its builds.
const TURNS: u32 = 5;

#[tokio::test(start_paused = true)]
async fn a_message_as_the_host_hands_it_over_starts_a_run() {
    let (factory, builds) = example().await;
    let router = router(factory.factory.clone());
    for attempt in 1..=TURNS {
        let (status, told) =
            post(&router, "start-run", binary(&start_run().numbered(attempt).to_bytes())).await;
        assert_eq!(status, 200, "{told}");
    }
    let listed = factory.factory.ledger.builds(&start_run().run).await.unwrap();
    assert_eq!(listed.len(), builds);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_used_is_refused_with_the_reason() {
    let router = router(example().await.0.factory);
    let data =
        |message: Value| json!({"Data": {"message": message}, "Metadata": {}}).to_string().into_bytes();
    let version = |version: Value| {
        let mut body = start_run().to_json();
        body["version"] = version;
        binary(body.to_string().as_bytes())
    };
    for (body, reason) in [
        (b"".to_vec(), "not an invocation"),
        (b"{".to_vec(), "not an invocation"),
        (b"[]".to_vec(), "not an invocation"),
        (b"\xff\xfe".to_vec(), "not an invocation"),
        (br#"{"data":{}}"#.to_vec(), "missing field `Data`"),
        (br#"{"Data":[]}"#.to_vec(), "not an invocation"),
        (br#"{"Data":{}}"#.to_vec(), "Data has no 'message'"),
        (data(json!(["e30="])), "cardinality"),
        (data(json!({"version": 1})), "it is an object"),
        (data(json!(null)), "it is null"),
        (data(json!("not base64!")), "dataType"),
        (data(json!("e30")), "dataType"),
        (binary(b""), "no JSON object"),
        (binary(b"{\"version\":1"), "no JSON object"),
        (binary(b"[1]"), "another JSON value"),
        (binary(b"\xff"), "no JSON object"),
        (binary(b"{}"), "$.version: it is missing"),
        (version(json!(2)), "version 2"),
        (version(json!("1")), "version \"1\""),
        (binary(br#"{"version":1,"reason":"manual"}"#), "$.run"),
        (binary(br#"{"version":1,"run":"../x","reason":"manual"}"#), "$.run"),
        (binary(br#"{"version":1,"run":"r","reason":"boredom"}"#), "$.reason"),
        (binary(br#"{"version":1,"run":"r","reason":"manual","attempt":-1}"#), "$.attempt"),
        (tick(), "Data has no 'message'"),
    ] {
        let shown = String::from_utf8_lossy(&body).chars().take(200).collect::<String>();
        let (status, told) = post(&router, "start-run", body).await;
        assert_eq!(status, 400, "{shown}: {told}");
        assert!(told.contains(reason), "{shown}: {told}");
    }
    let (status, told) = post(&router, "cleanup", binary(b"{}")).await;
    assert_eq!((status, told.contains("'timer'")), (400, true), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_message_of_another_queue_is_refused() {
    let router = router(example().await.0.factory);
    for queue in Queue::ALL.into_iter().filter(|queue| *queue != Queue::StartRun) {
        let (status, told) = post(&router, queue.name(), binary(&start_run().to_bytes())).await;
        assert_eq!(status, 400, "{queue}");
        let missing = match queue {
            Queue::CancelRun => "$.by",
            Queue::PinImage => "$.lab",
            _ => "$.imagePath",
        };
        assert!(told.contains(missing), "{told}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_largest_message_number_is_no_end_of_the_world() {
    let router = router(example().await.0.factory);
    let last = start_run().numbered(u32::MAX);
    for _ in 0..2 {
        assert_eq!(post(&router, "start-run", binary(&last.to_bytes())).await.0, 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_is_refused_and_one_of_the_largest_message_is_not() {
    let router = router(example().await.0.factory);
    let mut body = start_run().to_json();
    body["padding"] = "x".repeat(1 << 20).into();
    assert_eq!(post(&router, "start-run", binary(body.to_string().as_bytes())).await.0, 200);
    let (status, told) = post(&router, "start-run", vec![b' '; 5 << 20]).await;
    assert_eq!(status, 413, "{told}");
    assert!(told.contains("length limit"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_in_chunks_is_put_together_and_one_that_breaks_off_is_refused() {
    let router = router(example().await.0.factory);
    let whole = binary(&start_run().to_bytes());
    let chunks: Vec<Result<Vec<u8>, io::Error>> = whole.chunks(7).map(|chunk| Ok(chunk.to_vec())).collect();
    let body = Body::from_stream(futures::stream::iter(chunks));
    assert_eq!(post(&router, "start-run", body).await.0, 200);
    let broken = vec![Ok(whole), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    let (status, _) = post(&router, "start-run", Body::from_stream(futures::stream::iter(broken))).await;
    assert_eq!(status, 400);
}

/// A broker that takes nothing.
struct Closed;

#[async_trait]
impl Outbox for Closed {
    async fn send(&self, _envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        Err(OutboxError { queue: "create-vm".to_owned(), reason: "the namespace is full".to_owned() })
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_cannot_send_fails_and_its_next_delivery_sends_what_was_due() {
    let (factory, builds) = example().await;
    let parts = &factory.factory;
    let closed = Factory::new(
        parts.azure.clone(),
        parts.ledger.clone(),
        Arc::new(Closed),
        parts.source.clone(),
        parts.clock.clone(),
        parts.factory_lab.clone(),
    );
    for attempt in 1..TURNS {
        let turn = binary(&start_run().numbered(attempt).to_bytes());
        assert_eq!(post(&router(parts.clone()), "start-run", turn).await.0, 200);
    }
    let before = factory.messages();
    let invocation = binary(&start_run().numbered(TURNS).to_bytes());
    let (status, told) = post(&router(Arc::new(closed)), "start-run", invocation.clone()).await;
    assert_eq!((status, told.as_str()), (500, "cannot send to queue create-vm: the namespace is full"));
    let sent = || factory.messages() - before;
    assert_eq!(sent(), 0);
    assert_eq!(post(&router(parts.clone()), "start-run", invocation).await.0, 200);
    assert_eq!(sent(), builds as u64 + 1, "the builds' first messages and the run's next");
}

/// A writer that keeps what was logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8(bytes.clone()).unwrap()
    }
}

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn every_log_line_is_one_json_object_with_the_invocations_id() {
    let kept = Kept::default();
    let writer = kept.clone();
    let lines = logging::lines(move || writer.clone());
    let filter = logging::filter("image_factory=info").unwrap();
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    let (factory, _) = example().await;
    let router = router(factory.factory);
    let mut poison = start_run().to_json();
    poison["reason"] = "two\nlines".into();
    let bodies = [start_run().to_bytes(), poison.to_string().into_bytes(), b"{\n".to_vec()];
    // Other tests run at the same time without a subscriber: a place that logs for the first time just then is remembered as
    // one that nobody listens to. So every place has logged before somebody listens.
    for body in &bodies {
        post(&router, "start-run", binary(body)).await;
    }
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    for body in &bodies {
        post(&router, "start-run", binary(body)).await;
    }
    drop(guard);
    let text = kept.text();
    assert!(text.lines().count() >= 3, "{text}");
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let spans = line["spans"].as_array().unwrap();
        let id = spans.iter().find_map(|span| span.get("invocation_id"));
        assert_eq!(id.and_then(Value::as_str), Some("7c0b5b5e-0000-4000-8000-00000000cafe"), "{line}");
    }
    assert!(text.contains("\"run\":\"run-1\""), "{text}");
}
