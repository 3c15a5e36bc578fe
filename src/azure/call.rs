//! A log line for each call.

use std::sync::Arc;

use azure_core::http::{
    Context, Request,
    policies::{Policy, PolicyResult},
};
use factory_clock::Clock;

use super::error::correlation_id;

/// Logs what was called, what came back and how long it took; never a query, a header or a body, where secrets are.
#[derive(Debug)]
pub(super) struct LogCall {
    clock: Clock,
}

impl LogCall {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock }
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
        let result = following.send(context, request, rest).await;
        let milliseconds = (self.clock.now() - started).whole_milliseconds();
        let (method, url) = (request.method(), request.url());
        let (host, path) = (url.host_str().unwrap_or_default(), url.path());
        match &result {
            Ok(answer) => {
                let status = u16::from(answer.status());
                let correlation = correlation_id(answer.headers()).unwrap_or_default();
                // A 404 is the usual answer to "is it there already?".
                if status < 400 || status == 404 {
                    tracing::debug!(%method, host, path, status, milliseconds, correlation, "Azure answered");
                } else {
                    tracing::info!(%method, host, path, status, milliseconds, correlation, "Azure refused");
                }
            }
            Err(error) => {
                let error = error.kind().to_string();
                tracing::info!(%method, host, path, milliseconds, error, "Azure did not answer");
            }
        }
        result
    }
}
