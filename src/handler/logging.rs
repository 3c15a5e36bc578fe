//! Log lines: one JSON object a line on stdout, which the host takes as information. Its stderr would count as errors.

use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// Chooses what is logged, in tracing's syntax; `RUST_LOG` as everywhere.
const DEFAULT_FILTER: &str = "info,fe2o3_amqp=warn,azure_core=warn,azure_identity=warn,hyper=warn";

/// Starts logging for the rest of the process's life. Does nothing if logging was started before.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let _ = tracing_subscriber::registry().with(filter).with(lines(std::io::stdout)).try_init();
}

/// The layer that writes the lines. Spans hold run, image, lab and the invocation's id: every line of an invocation
/// carries them.
pub(super) fn lines<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt::layer().json().flatten_event(true).with_span_list(true).with_current_span(false).with_writer(writer)
}
