//! The span and the metrics of one call of Azure.

use azure_core::http::{Method, Url};
use factory_clock::Clock;
use opentelemetry::{
    Context, KeyValue, global,
    trace::{Span as _, SpanBuilder, SpanKind, Status},
};
use time::OffsetDateTime;

use super::{export, metrics, names};

/// The resource provider under which blobs count.
const STORAGE: &str = "Microsoft.Storage";
/// What Resource Manager's own resources count under, such as resource groups.
const RESOURCES: &str = "Microsoft.Resources";
/// The storage service's word for "too many calls", in the place of 429.
const SERVER_BUSY: &str = "ServerBusy";

/// The error of a call for whose answer nobody waited.
const GIVEN_UP: &str = "given_up";

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Azure Resource Manager.
    ResourceManager,
    /// Blob Storage.
    Blobs,
}

/// A call that goes on.
pub(crate) struct Call {
    span: global::BoxedSpan,
    provider: String,
    method: String,
    host: String,
    started: OffsetDateTime,
    clock: Clock,
    is_over: bool,
}

impl Call {
    /// A call that begins now; `None` where nobody wants to know. Neither query nor headers nor body of it are told anywhere,
    /// where secrets are.
    pub fn begin(service: Service, method: Method, url: &Url, clock: &Clock) -> Option<Self> {
        if !export::is_on() {
            return None;
        }
        let started = clock.now();
        let (provider, kind) = match service {
            Service::ResourceManager => resource_type(url.path()),
            Service::Blobs => (STORAGE.to_owned(), blob_or_container(url).to_owned()),
        };
        let method = method.to_string();
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        let attributes = [
            KeyValue::new(names::HTTP_METHOD, method.clone()),
            KeyValue::new(names::SERVER_ADDRESS, host.clone()),
            KeyValue::new(names::URL_FULL, String::from(shown)),
            KeyValue::new(names::AZURE_PROVIDER, provider.clone()),
            KeyValue::new(names::RESOURCE_TYPE, kind.clone()),
        ];
        let span = SpanBuilder::from_name(format!("{method} {kind}"))
            .with_kind(SpanKind::Client)
            .with_start_time(started)
            .with_attributes(attributes)
            .start_with_context(&global::tracer(names::SCOPE), &Context::current());
        Some(Self { span, provider, method, host, started, clock: clock.clone(), is_over: false })
    }

    /// Azure answered. A 404 is the usual answer to "is it there already?" and no error.
    pub fn answered(mut self, status: u16, code: Option<&str>, request_id: Option<&str>) {
        self.span.set_attribute(KeyValue::new(names::HTTP_STATUS, i64::from(status)));
        if let Some(id) = request_id {
            self.span.set_attribute(KeyValue::new(names::AZURE_REQUEST_ID, id.to_owned()));
        }
        let error = (status >= 400 && status != 404).then(|| status.to_string());
        if status == 429 || code == Some(SERVER_BUSY) {
            metrics::throttled(&self.provider, &self.host);
        }
        self.end(Some(status), error);
    }

    /// No answer came.
    pub fn unanswered(mut self, error: String) {
        self.end(None, Some(error));
    }

    fn end(&mut self, status: Option<u16>, error: Option<String>) {
        self.is_over = true;
        let now = self.clock.now();
        if let Some(error) = &error {
            self.span.set_attribute(KeyValue::new(names::ERROR_TYPE, error.clone()));
            self.span.set_status(Status::error(""));
        }
        self.span.end_with_timestamp(now.into());
        metrics::called(&self.provider, &self.method, &self.host, status, error, now - self.started);
    }
}

impl Drop for Call {
    /// Nobody waits for the answer any more: another call beside it failed, or it took too long.
    fn drop(&mut self) {
        if !self.is_over {
            self.end(None, Some(GIVEN_UP.to_owned()));
        }
    }
}

/// The provider and the type of the resource that a path of Resource Manager leads to.
fn resource_type(path: &str) -> (String, String) {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let provider = segments.iter().rposition(|segment| segment.eq_ignore_ascii_case("providers"));
    let (provider, rest) = match provider.and_then(|at| Some((segments.get(at + 1)?, &segments[at + 2..]))) {
        Some((provider, rest)) => ((*provider).to_owned(), rest),
        None => (RESOURCES.to_owned(), &segments[..]),
    };
    let types: Vec<&str> = rest.iter().step_by(2).copied().collect();
    let kind = format!("{provider}/{}", types.join("/"));
    (provider, kind)
}

/// Whether a URL leads to a blob or to its container: stand-ins on this machine have the account's name in the path.
fn blob_or_container(url: &Url) -> &'static str {
    match url.query_pairs().any(|(name, value)| name == "restype" && value == "container") {
        true => "container",
        false => "blob",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_by_the_type_of_its_resource_and_by_no_name_of_one() {
        let kind = |path: &str| resource_type(path).1;
        let lab = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/web";
        assert_eq!(kind(lab), "Microsoft.DevTestLab/labs");
        assert_eq!(kind(&format!("{lab}/virtualmachines/v")), "Microsoft.DevTestLab/labs/virtualmachines");
        assert_eq!(
            kind("/subscriptions/s/resourceGroups/rg"),
            "Microsoft.Resources/subscriptions/resourceGroups"
        );
        let operation = "/subscriptions/s/providers/Microsoft.Compute/locations/westeurope/operations/1";
        assert_eq!(kind(operation), "Microsoft.Compute/locations/operations");
        let nested = "/subscriptions/s/providers/Microsoft.A/b/c/providers/Microsoft.D/e";
        assert_eq!(resource_type(nested), ("Microsoft.D".to_owned(), "Microsoft.D/e".to_owned()));
    }
}
