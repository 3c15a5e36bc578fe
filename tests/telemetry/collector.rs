//! The receiving side of OTLP over HTTP, with OpenTelemetry's own messages
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header::CONTENT_TYPE},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
        trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    },
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::Metric,
    trace::v1::Span,
};
use prost::Message as _;

use crate::loopback;

const PROTOBUF: &str = "application/x-protobuf";

/// What came in so far.
#[derive(Clone, Debug, Default)]
pub struct Received {
    pub spans: Vec<Span>,
    /// The newest of each metric comes last.
    pub metrics: Vec<Metric>,
    /// The attributes of whoever told it.
    pub resources: Vec<Vec<KeyValue>>,
    pub headers: Vec<HeaderMap>,
}

/// A collector on a thread of its own.
#[derive(Clone)]
pub struct Collector {
    pub endpoint: String,
    received: Arc<Mutex<Received>>,
}

impl Collector {
    pub fn start() -> Self {
        let received: Arc<Mutex<Received>> = Arc::default();
        let router = Router::new()
            .route("/v1/traces", post(traces))
            .route("/v1/metrics", post(metrics))
            .with_state(received.clone());
        Self { endpoint: loopback::serve(router), received }
    }

    pub fn received(&self) -> Received {
        self.received.lock().unwrap().clone()
    }
}

type Shared = State<Arc<Mutex<Received>>>;

fn is_protobuf(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value == PROTOBUF)
}

async fn traces(State(shared): Shared, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let Some(request) = ExportTraceServiceRequest::decode(body).ok().filter(|_| is_protobuf(&headers)) else {
        return (StatusCode::BAD_REQUEST, Vec::new());
    };
    let mut received = shared.lock().unwrap();
    received.headers.push(headers);
    for spans in request.resource_spans {
        received.resources.extend(spans.resource.map(|resource| resource.attributes));
        received.spans.extend(spans.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}

async fn metrics(State(shared): Shared, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    let Some(request) = ExportMetricsServiceRequest::decode(body).ok().filter(|_| is_protobuf(&headers))
    else {
        return (StatusCode::BAD_REQUEST, Vec::new());
    };
    let mut received = shared.lock().unwrap();
    received.headers.push(headers);
    for metrics in request.resource_metrics {
        received.resources.extend(metrics.resource.map(|resource| resource.attributes));
        received.metrics.extend(metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
    }
    (StatusCode::OK, ExportMetricsServiceResponse::default().encode_to_vec())
}

/// An attribute as text.
pub fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == name)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => panic!("{name} is {other:?}"),
    })
}
