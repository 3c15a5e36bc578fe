//! Which trace something belongs to, and the spans of invocations, messages and runs.
//!
//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>) travels with each message in its application properties, which the
//! Functions host hands on in the trigger's metadata. The trace's id is a hash of the run's id, and so is that of the run's own span:
//! a message that lost its context, was sent by a person or by an older version, is still of the run's trace, under that span.

use std::{collections::HashMap, sync::Arc};

use factory_clock::Clock;
use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedTracer},
    propagation::TextMapPropagator as _,
    trace::{
        FutureExt as _, Link, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
        TraceFlags, TraceId, TraceState,
    },
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::{export, metrics, names};
use crate::{
    domain::{ImagePath, LabId, Message, Queue, RunId, messages::Step},
    ledger::{Ending, Failure, StepState},
};

/// The name of the header and of the application property.
pub const TRACEPARENT: &str = "traceparent";
/// The older name of the application property. The host's Service Bus client takes `traceparent` for the parent of its own request
/// only if OpenTelemetry is switched on in host.json, and this one otherwise (azure-sdk-for-net,
/// `MessagingClientDiagnostics.TryExtractTraceContext`).
pub const DIAGNOSTIC_ID: &str = "Diagnostic-Id";
/// OpenTelemetry's word for Azure Service Bus.
const SERVICE_BUS: &str = "servicebus";
/// What a failed invocation is called where nobody knows better.
const OTHER: &str = "_OTHER";

/// The traces of one factory's runs. Cheap to clone.
#[derive(Clone)]
pub struct Traces {
    /// Two factories may have runs of the same name, such as those of one timer's tick, and one collector.
    factory: Arc<str>,
    clock: Clock,
}

/// A message as an invocation brings it.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The host's id of the invocation.
    pub invocation_id: String,
    /// The broker's MessageId.
    pub message_id: Option<String>,
    /// How often it was delivered, this time included.
    pub delivery: u32,
    /// When it became visible, to the second.
    pub enqueued: Option<OffsetDateTime>,
    /// Its sender's context, as it stands in the application property.
    pub traceparent: Option<String>,
    /// The host's own context of the invocation, if it passes one.
    pub host: Option<String>,
}

impl Traces {
    /// The traces of the factory whose ledger is at this URL.
    pub fn new(ledger: &str, clock: Clock) -> Self {
        Self { factory: ledger.trim_end_matches('/').into(), clock }
    }

    /// The run's own span, in which everything is that was asked for by nobody else.
    pub fn root(&self, run: &RunId) -> SpanContext {
        let hash = Sha256::new()
            .chain_update(&*self.factory)
            .chain_update([0])
            .chain_update(run.as_str())
            .finalize();
        let (mut trace, mut span) = ([0; 16], [0; 8]);
        trace.copy_from_slice(&hash[..16]);
        span.copy_from_slice(&hash[16..24]);
        let (trace, span) = (TraceId::from_bytes(trace), SpanId::from_bytes(span));
        SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::NONE)
    }

    /// The context that a message of this run is sent with: the present one if it is of the run's trace.
    pub fn traceparent(&self, run: &RunId) -> String {
        let root = self.root(run);
        let current = Context::map_current(|context| context.span().span_context().clone());
        let context =
            if current.is_valid() && current.trace_id() == root.trace_id() { current } else { root };
        written(&context)
    }

    /// The context of an invocation for a message, with its span if spans leave this process.
    pub fn processing(&self, message: &Message, received: &Received) -> Context {
        let root = self.root(&message.run);
        let sender = received.traceparent.as_deref().and_then(read);
        let host = received.host.as_deref().and_then(read);
        let (parent, stranger) = match sender {
            Some(sender) if sender.trace_id() == root.trace_id() => (sender, None),
            sender => (root, sender),
        };
        let context = Context::new().with_remote_span_context(parent);
        if !export::is_on() {
            return context;
        }
        let now = self.clock.now();
        let queue = message.queue();
        metrics::received(queue, received, now);
        let mut attributes = vec![
            KeyValue::new(names::MESSAGING_SYSTEM, SERVICE_BUS),
            KeyValue::new(names::MESSAGING_DESTINATION, queue.name()),
            KeyValue::new(names::MESSAGING_OPERATION_NAME, names::PROCESS_SPAN),
            KeyValue::new(names::MESSAGING_OPERATION_TYPE, names::PROCESS_SPAN),
            KeyValue::new(names::MESSAGING_DELIVERY_COUNT, i64::from(received.delivery)),
            KeyValue::new(names::FAAS_INVOCATION_ID, received.invocation_id.clone()),
            KeyValue::new(names::FAAS_TRIGGER, "pubsub"),
            KeyValue::new(names::STEP, queue.name()),
            KeyValue::new(names::ATTEMPT, i64::from(message.attempt)),
        ];
        attributes.extend(subject(message));
        attributes
            .extend(received.message_id.clone().map(|id| KeyValue::new(names::MESSAGING_MESSAGE_ID, id)));
        attributes.extend(
            received.enqueued.map(|at| KeyValue::new(names::MESSAGING_ENQUEUED_TIME, at.unix_timestamp())),
        );
        let links = [stranger, host].into_iter().flatten().map(Link::with_context).collect();
        let span = SpanBuilder::from_name(format!("{} {queue}", names::PROCESS_SPAN))
            .with_kind(SpanKind::Consumer)
            .with_start_time(now)
            .with_attributes(attributes)
            .with_links(links)
            .start_with_context(&tracer(), &context);
        context.with_span(span)
    }

    /// The context of an invocation by a timer or over HTTP: of the host's trace, or of one of its own.
    pub fn invoking(&self, function: &str, trigger: &'static str, received: &Received) -> Context {
        let host = received.host.as_deref().and_then(read);
        let context = host.map_or_else(Context::new, |host| Context::new().with_remote_span_context(host));
        if !export::is_on() {
            return context;
        }
        let attributes = [
            KeyValue::new(names::FAAS_INVOCATION_ID, received.invocation_id.clone()),
            KeyValue::new(names::FAAS_TRIGGER, trigger),
        ];
        let span = SpanBuilder::from_name(format!("{} {function}", names::INVOKE_SPAN))
            .with_kind(SpanKind::Server)
            .with_start_time(self.clock.now())
            .with_attributes(attributes)
            .start_with_context(&tracer(), &context);
        context.with_span(span)
    }

    /// Ends the span of an invocation; `queue` is that of its message.
    pub fn invoked(
        &self,
        context: &Context,
        queue: Option<Queue>,
        started: OffsetDateTime,
        failure: Option<&str>,
    ) {
        if !export::is_on() {
            return;
        }
        let now = self.clock.now();
        let span = context.span();
        if let Some(reason) = failure {
            span.set_attribute(KeyValue::new(names::ERROR_TYPE, OTHER));
            span.set_status(Status::error(reason.to_owned()));
        }
        span.end_with_timestamp(now.into());
        if let Some(queue) = queue {
            metrics::processed(queue, now - started, failure.map(|_| OTHER));
        }
    }

    /// Lets messages of one queue go out within a span, which is what their receivers follow upon.
    ///
    /// # Errors
    /// Those of the sending.
    pub async fn sending<T, E: std::fmt::Display>(
        &self,
        queue: Queue,
        messages: &[&Message],
        sending: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let Some(first) = messages.first().filter(|_| export::is_on()) else { return sending.await };
        let root = self.root(&first.run);
        let current = Context::current();
        let own = current.span().span_context().clone();
        let is_of_run = own.is_valid() && own.trace_id() == root.trace_id();
        let (parent, links) = match is_of_run {
            true => (current.clone(), Vec::new()),
            // Such as a tick of cleanup, which is about many runs.
            false => {
                let link = own.is_valid().then(|| Link::with_context(own));
                (Context::new().with_remote_span_context(root), link.into_iter().collect())
            }
        };
        let mut attributes = vec![
            KeyValue::new(names::MESSAGING_SYSTEM, SERVICE_BUS),
            KeyValue::new(names::MESSAGING_DESTINATION, queue.name()),
            KeyValue::new(names::MESSAGING_OPERATION_NAME, names::SEND_SPAN),
            KeyValue::new(names::MESSAGING_OPERATION_TYPE, names::SEND_SPAN),
            KeyValue::new(names::MESSAGING_BATCH, i64::try_from(messages.len()).unwrap_or(i64::MAX)),
        ];
        match messages {
            [only] => attributes.extend(subject(only)),
            _ => attributes.push(KeyValue::new(names::RUN, first.run.as_str().to_owned())),
        }
        let span = SpanBuilder::from_name(format!("{} {queue}", names::SEND_SPAN))
            .with_kind(SpanKind::Producer)
            .with_start_time(self.clock.now())
            .with_attributes(attributes)
            .with_links(links)
            .start_with_context(&tracer(), &parent);
        let context = parent.with_span(span);
        let result = sending.with_context(context.clone()).await;
        let span = context.span();
        if let Err(error) = &result {
            span.set_attribute(KeyValue::new(names::ERROR_TYPE, OTHER));
            span.set_status(Status::error(error.to_string()));
        }
        span.end_with_timestamp(self.clock.now().into());
        result
    }

    /// Tells what a turn came to: once the ledger has it.
    pub fn told(&self, message: &Message, state: &StepState) {
        if !export::is_on() {
            return;
        }
        let context = Context::current();
        let span = context.span();
        let outcome = outcome(state);
        span.set_attribute(KeyValue::new(names::OUTCOME, outcome));
        let Some(ending) = &state.ending else {
            span.set_attribute(KeyValue::new(names::WAITING_FOR, state.waiting_for.clone()));
            return;
        };
        let failure = state.failure();
        for attribute in failure.into_iter().flat_map(about_failure) {
            span.set_attribute(attribute);
        }
        if let Ending::Failed { failure } = ending {
            span.set_status(Status::error(failure.to_string()));
        }
        metrics::step_ended(message.queue(), state);
        if message.queue() == Queue::StartRun {
            self.run_ended(&message.run, state);
        }
    }

    /// The span of the whole run, under the id that everything in it knows already.
    fn run_ended(&self, run: &RunId, state: &StepState) {
        let root = self.root(run);
        let mut attributes = vec![
            KeyValue::new(names::RUN, run.as_str().to_owned()),
            KeyValue::new(names::OUTCOME, outcome(state)),
        ];
        attributes.extend(state.failure().into_iter().flat_map(about_failure));
        let builder = SpanBuilder::from_name(names::RUN_SPAN)
            .with_kind(SpanKind::Internal)
            .with_start_time(state.started_at)
            .with_attributes(attributes);
        let span = export::with_ids(&root, || builder.start_with_context(&tracer(), &Context::new()));
        let context = Context::new().with_span(span);
        if let Some(failure) = state.failure() {
            context.span().set_status(Status::error(failure.to_string()));
        }
        context.span().end_with_timestamp(state.end().into());
    }
}

fn tracer() -> BoxedTracer {
    global::tracer(names::SCOPE)
}

pub(super) fn outcome(state: &StepState) -> &'static str {
    match &state.ending {
        None => "waits",
        Some(Ending::Succeeded) => "succeeded",
        Some(Ending::Failed { .. }) => "failed",
    }
}

fn about_failure(failure: &Failure) -> Vec<KeyValue> {
    let mut attributes = vec![KeyValue::new(names::ERROR_TYPE, failure.code.clone())];
    attributes.extend(failure.correlation_id.clone().map(|id| KeyValue::new(names::AZURE_REQUEST_ID, id)));
    attributes
}

/// What a message is about.
fn subject(message: &Message) -> Vec<KeyValue> {
    let (image, lab) = image_and_lab(message);
    let image = image.map(|image| KeyValue::new(names::IMAGE, image.as_str().to_owned()));
    let lab = lab.map(|lab| KeyValue::new(names::LAB, lab.lab_name().to_owned()));
    let run = KeyValue::new(names::RUN, message.run.as_str().to_owned());
    std::iter::once(run).chain(image).chain(lab).collect()
}

/// The golden image and the lab that a message is about.
pub fn image_and_lab(message: &Message) -> (Option<&ImagePath>, Option<&LabId>) {
    match &message.step {
        Step::StartRun(_) | Step::CancelRun(_) => (None, None),
        Step::CreateVm(step) | Step::CaptureImage(step) | Step::DeleteVm(step) => {
            (Some(&step.image_path), None)
        }
        Step::CopyImage(step) => (Some(&step.image_path), Some(&step.lab)),
        Step::RetireImages(step) => (Some(&step.image_path), step.lab.as_ref()),
        Step::PinImage(pin) => (None, Some(&pin.lab)),
    }
}

fn read(traceparent: &str) -> Option<SpanContext> {
    let carrier = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let context = context.span().span_context().clone();
    context.is_valid().then_some(context)
}

fn written(context: &SpanContext) -> String {
    let mut carrier: HashMap<String, String> = HashMap::new();
    let context = Context::new().with_remote_span_context(context.clone());
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    carrier.remove(TRACEPARENT).unwrap_or_default()
}

/// The ids for a line of the log: of the trace, and of the span if it is one of this process.
pub(crate) fn current_ids() -> Option<(TraceId, Option<SpanId>)> {
    Context::map_current(|context| {
        let span = context.span();
        let own = span.span_context();
        own.is_valid().then(|| (own.trace_id(), (!own.is_remote()).then(|| own.span_id())))
    })
}

#[cfg(test)]
mod tests;
