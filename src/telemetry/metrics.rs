//! The metrics.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Gauge, Histogram, Meter},
};
use time::{Duration, OffsetDateTime};

use super::{
    export, names,
    traces::{Received, outcome},
};
use crate::{
    domain::{LabId, Queue},
    ledger::StepState,
};

/// From tenths of a second to hours: steps wait for Azure.
const LONG: [f64; 12] =
    [1.0, 5.0, 15.0, 60.0, 180.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0, 43_200.0];
/// For calls and invocations, as OpenTelemetry advises for HTTP.
const SHORT: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

struct Instruments {
    processed: Histogram<f64>,
    called: Histogram<f64>,
    step: Histogram<f64>,
    failures: Counter<u64>,
    retries: Counter<u64>,
    wait: Histogram<f64>,
    redeliveries: Counter<u64>,
    recovered: Counter<u64>,
    throttles: Counter<u64>,
    queue_age: Gauge<f64>,
    open_runs: Gauge<u64>,
    leftovers: Gauge<u64>,
    removed: Counter<u64>,
    lab_images: Gauge<u64>,
    lab_image_age: Gauge<f64>,
}

/// The factory's images in a lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stock {
    /// How many there are.
    pub images: usize,
    /// When the golden image that was renewed least lately got its newest one.
    pub stalest: Option<OffsetDateTime>,
}

/// What labs held when they were last looked into, which is seldom: ages grow meanwhile, so they are told anew at each tick.
static LABS: Mutex<BTreeMap<LabId, Stock>> = Mutex::new(BTreeMap::new());

impl Instruments {
    fn of(meter: &Meter) -> Self {
        let seconds = |name, bounds: &[f64]| {
            meter.f64_histogram(name).with_unit("s").with_boundaries(bounds.to_vec()).build()
        };
        let counter = |name| meter.u64_counter(name).build();
        Self {
            processed: seconds(names::PROCESS_DURATION, &SHORT),
            called: seconds(names::CALL_DURATION, &SHORT),
            step: seconds(names::STEP_DURATION, &LONG),
            failures: counter(names::STEP_FAILURES),
            retries: counter(names::STEP_RETRIES),
            wait: seconds(names::MESSAGE_WAIT, &LONG),
            redeliveries: counter(names::MESSAGE_REDELIVERIES),
            recovered: counter(names::MESSAGES_RECOVERED),
            throttles: counter(names::THROTTLES),
            queue_age: meter.f64_gauge(names::QUEUE_AGE).with_unit("s").build(),
            open_runs: meter.u64_gauge(names::RUNS_OPEN).build(),
            leftovers: meter.u64_gauge(names::LEFTOVERS).build(),
            removed: counter(names::LEFTOVERS_REMOVED),
            lab_images: meter.u64_gauge(names::LAB_IMAGES).build(),
            lab_image_age: meter.f64_gauge(names::LAB_IMAGE_AGE).with_unit("s").build(),
        }
    }
}

/// `None` where metrics leave this process nowhere.
fn instruments() -> Option<&'static Instruments> {
    static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();
    export::is_on().then(|| INSTRUMENTS.get_or_init(|| Instruments::of(&global::meter(names::SCOPE))))
}

fn of_lab(lab: &LabId) -> [KeyValue; 2] {
    [
        KeyValue::new(names::CLOUD_ACCOUNT, lab.subscription_id().to_owned()),
        KeyValue::new(names::LAB, lab.lab_name().to_owned()),
    ]
}

fn of_queue(queue: Queue) -> KeyValue {
    KeyValue::new(names::MESSAGING_DESTINATION, queue.name())
}

fn of_step(step: Queue) -> KeyValue {
    KeyValue::new(names::STEP, step.name())
}

/// A message is taken. Of a later delivery nobody knows since when it could have been taken.
pub(super) fn received(queue: Queue, received: &Received, now: OffsetDateTime) {
    let Some(instruments) = instruments() else { return };
    match (received.delivery, received.enqueued) {
        (0 | 1, Some(due)) => {
            // The host tells whole seconds.
            let waited = (now - due).max(Duration::ZERO);
            instruments.wait.record(waited.as_seconds_f64(), &[of_queue(queue)]);
        }
        (0 | 1, None) => {}
        _ => instruments.redeliveries.add(1, &[of_queue(queue)]),
    }
}

/// An invocation for a message ended.
pub(super) fn processed(queue: Queue, took: Duration, error: Option<&'static str>) {
    let Some(instruments) = instruments() else { return };
    let mut attributes = vec![
        KeyValue::new(names::MESSAGING_SYSTEM, "servicebus"),
        KeyValue::new(names::MESSAGING_OPERATION_NAME, names::PROCESS_SPAN),
        of_queue(queue),
    ];
    attributes.extend(error.map(|error| KeyValue::new(names::ERROR_TYPE, error)));
    instruments.processed.record(took.as_seconds_f64(), &attributes);
}

/// A call of Azure ended.
pub(super) fn called(
    provider: &str,
    method: &str,
    host: &str,
    status: Option<u16>,
    error: Option<String>,
    took: Duration,
) {
    let Some(instruments) = instruments() else { return };
    let mut attributes = vec![
        KeyValue::new(names::AZURE_PROVIDER, provider.to_owned()),
        KeyValue::new(names::HTTP_METHOD, method.to_owned()),
        KeyValue::new(names::SERVER_ADDRESS, host.to_owned()),
    ];
    attributes.extend(status.map(|status| KeyValue::new(names::HTTP_STATUS, i64::from(status))));
    attributes.extend(error.map(|error| KeyValue::new(names::ERROR_TYPE, error)));
    instruments.called.record(took.as_seconds_f64(), &attributes);
}

/// Azure asked for fewer calls.
pub(super) fn throttled(provider: &str, host: &str) {
    let Some(instruments) = instruments() else { return };
    let attributes = [
        KeyValue::new(names::AZURE_PROVIDER, provider.to_owned()),
        KeyValue::new(names::SERVER_ADDRESS, host.to_owned()),
    ];
    instruments.throttles.add(1, &attributes);
}

/// A step ended.
pub(super) fn step_ended(step: Queue, state: &StepState) {
    let Some(instruments) = instruments() else { return };
    let took = (state.end() - state.started_at).as_seconds_f64();
    instruments.step.record(took, &[of_step(step), KeyValue::new(names::OUTCOME, outcome(state))]);
    if let Some(failure) = state.failure() {
        instruments.failures.add(1, &[of_step(step), KeyValue::new(names::ERROR_TYPE, failure.code.clone())]);
    }
}

/// A step met trouble that should pass, and tries again.
pub(crate) fn retried(step: Queue, code: &str) {
    let Some(instruments) = instruments() else { return };
    instruments.retries.add(1, &[of_step(step), KeyValue::new(names::ERROR_TYPE, code.to_owned())]);
}

/// What a tick of cleanup found and did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick {
    /// Runs that go on.
    pub open_runs: usize,
    /// How long the message that is due the longest has been due.
    pub longest_due: Duration,
    /// Lost messages that were sent again.
    pub recovered: usize,
    /// Leftovers that were removed.
    pub removed: usize,
    /// What could neither be judged nor removed.
    pub leftovers: usize,
}

/// A tick of cleanup is over.
pub(crate) fn cleaned_up(tick: &Tick, now: OffsetDateTime) {
    let Some(instruments) = instruments() else { return };
    instruments.open_runs.record(tick.open_runs as u64, &[]);
    instruments.queue_age.record(tick.longest_due.as_seconds_f64(), &[]);
    instruments.recovered.add(tick.recovered as u64, &[]);
    instruments.removed.add(tick.removed as u64, &[]);
    instruments.leftovers.record(tick.leftovers as u64, &[]);
    for (lab, stock) in LABS.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let lab = of_lab(lab);
        instruments.lab_images.record(stock.images as u64, &lab);
        if let Some(born) = stock.stalest {
            instruments.lab_image_age.record((now - born).as_seconds_f64(), &lab);
        }
    }
}

/// What a lab holds, seen just now; the tick that looked tells it.
pub(crate) fn lab_seen(lab: &LabId, stock: Stock) {
    if export::is_on() {
        LABS.lock().unwrap_or_else(PoisonError::into_inner).insert(lab.clone(), stock);
    }
}
