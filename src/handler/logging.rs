//! Log lines: one JSON object a line on stdout, which the host takes as information. Its stderr would count as errors.

use tracing::Subscriber;
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// Names what is logged: `target=level`, separated by commas.
const FILTER_VARIABLE: &str = "RUST_LOG";
const DEFAULT_FILTER: &str = "info,fe2o3_amqp=warn,azure_core=warn,azure_identity=warn,hyper=warn";

/// Starts logging for the rest of the process's life. Does nothing if logging was started before.
pub fn start() {
    let wanted = std::env::var(FILTER_VARIABLE).ok().and_then(|text| filter(&text));
    let filter = wanted.or_else(|| filter(DEFAULT_FILTER));
    let _ = tracing_subscriber::registry().with(filter).with(lines(std::io::stdout)).try_init();
}

/// Which lines are written, by module and level. `EnvFilter` could also choose by the fields of spans, but brings an engine for
/// regular expressions with it, and looks at every span for it. `None` if the text makes no sense.
pub(super) fn filter(text: &str) -> Option<Targets> {
    text.parse().ok().filter(|_| !text.trim().is_empty())
}

/// The layer that writes the lines. Spans hold run, image, lab and the invocation's id: every line of an invocation
/// carries them.
pub fn lines<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt::layer().json().flatten_event(true).with_span_list(true).with_current_span(false).with_writer(writer)
}
