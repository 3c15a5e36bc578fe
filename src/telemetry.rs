//! What the factory tells about itself besides its log: traces and metrics in OpenTelemetry's terms.
//!
//! Everything that is done for one run is one trace, across all messages and processes: the trace's id follows from the run's
//! ([`Traces`]), and W3C Trace Context travels in the messages' application properties. Spans and metrics leave this process only
//! where an OTLP endpoint is set ([`Export`]); otherwise none is made. Which there are, and what they say: `docs/telemetry.md`,
//! which is held against [`names`].

mod call;
mod export;
mod metrics;
pub mod names;
mod traces;

pub(crate) use call::{Call, Service};
pub use export::{Export, ExportError};
pub(crate) use metrics::{Stock, Tick, cleaned_up, lab_seen, retried};
pub use traces::{DIAGNOSTIC_ID, Received, TRACEPARENT, Traces};
pub(crate) use traces::{current_ids, image_and_lab};
