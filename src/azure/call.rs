//! What happens around each call: a log line, a span, and a look at Azure's clock.

use std::sync::Arc;

use azure_core::http::{
    Context, Request,
    headers::{HeaderName, Headers},
    policies::{Policy, PolicyResult},
};
use factory_clock::Clock;
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use super::error::{STORAGE_ERROR_CODE, correlation_id};
use crate::telemetry::{Call, Service};

/// A clock that is wrong by less stays as it is. Waits of a few seconds must not end in the past, so it is not much more than what
/// an answer leaves open.
const CLOCK_TOLERANCE: time::Duration = time::Duration::seconds(2);
/// An answer that was longer on its way says too little about now.
const QUICK_ANSWER: time::Duration = time::Duration::seconds(1);
/// An answer's date is in whole seconds, cut off: this is the middle of what it may mean.
const HALF_A_SECOND: time::Duration = time::Duration::milliseconds(500);

/// Logs what was called, what came back and how long it took; never a query, a header or a body, where secrets are.
#[derive(Debug)]
pub(super) struct LogCall {
    service: Service,
    clock: Clock,
}

impl LogCall {
    pub(super) fn new(service: Service, clock: Clock) -> Self {
        Self { service, clock }
    }

    /// Every answer says when it was given. Whoever schedules messages and signs requests by a wrong clock of its own polls
    /// without end, waits for hours, or is refused; so Azure's clock counts.
    fn set_clock(&self, headers: &Headers) {
        let date = headers.get_optional_str(&HeaderName::from_static("date"));
        let date = date.and_then(|text| OffsetDateTime::parse(text, &Rfc2822).ok());
        if let Some(wrong) = date.and_then(|date| self.clock.set(date + HALF_A_SECOND, CLOCK_TOLERANCE)) {
            let seconds = wrong.whole_seconds();
            tracing::warn!(seconds, "this machine's clock differs from Azure's, which counts from now on");
        }
    }
}

#[async_trait::async_trait]
impl Policy for LogCall {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        let started = self.clock.now();
        let Some((following, rest)) = next.split_first() else {
            let message = "the pipeline has no transport";
            return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Other, message));
        };
        let call = Call::begin(self.service, request.method(), request.url(), &self.clock);
        let result = following.send(context, request, rest).await;
        let taken = self.clock.now() - started;
        let milliseconds = taken.whole_milliseconds();
        let (method, url) = (request.method(), request.url());
        let (host, path) = (url.host_str().unwrap_or_default(), url.path());
        match &result {
            Ok(answer) => {
                if taken < QUICK_ANSWER {
                    self.set_clock(answer.headers());
                }
                let status = u16::from(answer.status());
                let correlation = correlation_id(answer.headers());
                if let Some(call) = call {
                    let code = answer.headers().get_optional_str(&STORAGE_ERROR_CODE);
                    call.answered(status, code, correlation.as_deref());
                }
                let correlation = correlation.unwrap_or_default();
                // A 404 is the usual answer to "is it there already?".
                if status < 400 || status == 404 {
                    tracing::debug!(%method, host, path, status, milliseconds, correlation, "Azure answered");
                } else {
                    tracing::info!(%method, host, path, status, milliseconds, correlation, "Azure refused");
                }
            }
            Err(error) => {
                let error = error.kind().to_string();
                if let Some(call) = call {
                    call.unanswered(error.clone());
                }
                tracing::info!(%method, host, path, milliseconds, error, "Azure did not answer");
            }
        }
        result
    }
}
