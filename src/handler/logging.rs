//! Log lines: one JSON object a line on stdout, which the host takes as information. Its stderr would count as errors.

use tracing::{Event, Subscriber};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::{
        self, FmtContext, FormatEvent, FormatFields, MakeWriter,
        format::{Format, Json, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::telemetry;

/// Names what is logged: `target=level`, separated by commas.
const FILTER_VARIABLE: &str = "RUST_LOG";
const DEFAULT_FILTER: &str =
    "info,fe2o3_amqp=warn,azure_core=warn,azure_identity=warn,hyper=warn,opentelemetry=warn";

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
/// carries them, and `trace_id`, which is the run's; where spans leave this process also the `span_id` of the one that it belongs to.
pub fn lines<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().json().flatten_event(true).with_span_list(true).with_current_span(false);
    lines.map_event_format(WithTrace).with_writer(writer)
}

/// Adds the ids of the trace to a line, under the names that OpenTelemetry gives them
/// (<https://opentelemetry.io/docs/specs/otel/compatibility/logging_trace_context/>).
struct WithTrace(Format<Json>);

impl<S, N> FormatEvent<S, N> for WithTrace
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    Format<Json>: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let Some((trace, span)) = telemetry::current_ids() else {
            return self.0.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let open = line.trim_end().strip_suffix('}').ok_or(std::fmt::Error)?;
        write!(writer, r#"{open},"trace_id":"{trace}""#)?;
        if let Some(span) = span {
            write!(writer, r#","span_id":"{span}""#)?;
        }
        writeln!(writer, "}}")
    }
}
