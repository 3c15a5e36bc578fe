//! The way of spans and metrics out of this process: OTLP over HTTP, in threads of their own.
//!
//! Nothing is started where no endpoint is set. Headers, time-outs, sampling and intervals follow OpenTelemetry's variables, which
//! the library reads (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>).

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry::{
    KeyValue, global,
    trace::{SpanContext, SpanId, TraceId},
};
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    metrics::SdkMeterProvider,
    trace::{IdGenerator, RandomIdGenerator, SdkTracerProvider},
};

use reqwest::{Url, blocking::Client, redirect::Policy};

use super::names;
use crate::azure::is_loopback;

/// Switches everything off although an endpoint is set.
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// Both may name the service.
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// A collector takes a batch in less, or not at all.
const TIME_OUT: Duration = Duration::from_secs(10);
/// Longest time for what is left at the end: a platform that stops an instance does not wait for long.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Whether spans and metrics leave this process.
static ON: AtomicBool = AtomicBool::new(false);

pub(super) fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Telemetry cannot leave this process.
#[derive(Debug, thiserror::Error)]
#[error("telemetry goes nowhere: {0}")]
pub struct ExportError(String);

/// What leaves this process, for the rest of its life.
pub struct Export {
    traces: SdkTracerProvider,
    metrics: SdkMeterProvider,
}

impl Export {
    /// Starts, if `endpoint` is not empty and the variables do not switch it off. The library reads further ones from the environment.
    ///
    /// # Errors
    /// If these variables make no sense. They are quoted nowhere: headers hold secrets.
    pub fn start(
        endpoint: Option<&str>,
        variables: &BTreeMap<String, String>,
    ) -> Result<Option<Self>, ExportError> {
        let value =
            |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let is_disabled = value(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let Some(endpoint) = endpoint.map(str::trim).filter(|text| !text.is_empty() && !is_disabled) else {
            return Ok(None);
        };
        let is_named = value(SERVICE_NAME).is_some()
            || value(RESOURCE_ATTRIBUTES).is_some_and(|attributes| attributes.contains("service.name="));
        let client = OnFirstUse::new(endpoint)?;
        // The library's reasons may quote what it was given.
        let failed = |what: &str| ExportError(format!("the OTEL_ variables cannot be used for {what}"));
        let to = |signal: &str| match value(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.to_uppercase()))
        {
            // Taken as it is; only the common one gets a path (OpenTelemetry, "OpenTelemetry Protocol Exporter", endpoints).
            Some(own) => own.to_owned(),
            None => format!("{}/v1/{signal}", endpoint.trim_end_matches('/')),
        };
        let spans = SpanExporter::builder().with_http().with_http_client(client.clone());
        let spans = spans.with_endpoint(to("traces")).build();
        let spans = spans.map_err(|_| failed("traces"))?;
        let metrics = MetricExporter::builder().with_http().with_http_client(client);
        let metrics = metrics.with_endpoint(to("metrics")).build();
        let metrics = metrics.map_err(|_| failed("metrics"))?;
        let resource = resource(is_named);
        let traces = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_id_generator(Ids::default())
            .with_batch_exporter(spans)
            .build();
        let metrics =
            SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(metrics).build();
        global::set_tracer_provider(traces.clone());
        global::set_meter_provider(metrics.clone());
        ON.store(true, Ordering::Relaxed);
        Ok(Some(Self { traces, metrics }))
    }

    /// Sends what has not been sent yet, for 5 seconds at most. Blocks this thread meanwhile.
    pub fn flush(&self) {
        let (traces, metrics) = (self.traces.clone(), self.metrics.clone());
        let (done, wait) = std::sync::mpsc::channel();
        thread::spawn(move || {
            // Whatever does not get through is lost; the library has told so in the log.
            let _ = (traces.force_flush(), metrics.force_flush());
            let _ = done.send(());
        });
        let _ = wait.recv_timeout(FLUSH_LIMIT);
    }
}

/// The client. It is made when something is sent for the first time, by the thread that sends: reading this machine's certificates
/// takes longer than all else that a handler does before it answers the host.
#[derive(Clone, Debug)]
struct OnFirstUse(Arc<Way>);

#[derive(Debug)]
struct Way {
    /// On this machine: no proxy leads there.
    is_here: bool,
    /// A plain http endpoint needs no certificates.
    is_plain: bool,
    made: OnceLock<Client>,
}

impl OnFirstUse {
    fn new(endpoint: &str) -> Result<Self, ExportError> {
        let url = endpoint.parse::<Url>().ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.ok_or_else(|| {
            ExportError(
                "the OTLP endpoint is no URL of http or https, such as http://127.0.0.1:4318".to_owned(),
            )
        })?;
        let (is_here, is_plain) = (is_loopback(&url), url.scheme() == "http");
        Ok(Self(Arc::new(Way { is_here, is_plain, made: OnceLock::new() })))
    }
}

impl Way {
    fn make(&self) -> reqwest::Result<Client> {
        let builder = Client::builder().timeout(TIME_OUT).redirect(Policy::none());
        let builder = if self.is_plain { builder.tls_certs_only([]) } else { builder };
        if self.is_here { builder.no_proxy().build() } else { builder.build() }
    }
}

#[async_trait]
impl HttpClient for OnFirstUse {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = match self.0.made.get() {
            Some(client) => client,
            None => {
                let made = self.0.make()?;
                self.0.made.get_or_init(|| made)
            }
        };
        client.send_bytes(request).await
    }
}

/// Who tells it.
fn resource(is_named: bool) -> Resource {
    // Counters of two instances must not be taken for one that jumps.
    let instance = uuid::Uuid::new_v4().to_string();
    let attributes = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance),
    ];
    let own = Resource::builder().with_attributes(attributes);
    if is_named { own.build() } else { own.with_service_name(names::SCOPE).build() }
}

thread_local! {
    /// The ids of the span that this thread makes next.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Lets `make` make a span under the ids that others know it by already.
pub(super) fn with_ids<T>(known: &SpanContext, make: impl FnOnce() -> T) -> T {
    NEXT.set(Some((known.trace_id(), known.span_id())));
    let made = make();
    NEXT.set(None);
    made
}

/// Random ids, but for spans whose ids are known beforehand.
#[derive(Debug, Default)]
struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get().map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get().map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}
