//! The custom handler: a web server on the loopback interface that the Functions host calls.
//!
//! The contract is the host's (Azure/azure-functions-host, `DefaultHttpWorkerService.cs`): `GET /` is the readiness probe;
//! every invocation is `POST /{function}` with `{"Data":…,"Metadata":…}`; an answer is never empty; a status outside 2xx fails
//! the invocation, and then its body and logs are thrown away, so the reason goes to stdout as a log line.

mod commits;
mod invocation;
pub mod logging;
mod outbox;
pub mod settings;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use opentelemetry::trace::FutureExt as _;
use serde_json::json;
use tracing::{Instrument, error, info, info_span};

pub use commits::{COMMIT, START};
pub use invocation::{CLEANUP, SCHEDULE};
pub use outbox::ServiceBusOutbox;
pub use settings::{BadSettings, Settings, webhooks::Webhooks};

use crate::{
    steps::Factory,
    telemetry::{Received, TRACEPARENT},
};
use invocation::{Invocation, Unusable};

/// The header with the invocation's id (`HttpWorkerConstants.cs`).
const INVOCATION_ID_HEADER: &str = "x-azure-functions-invocationid";
/// A Service Bus message has at most 1 MiB in the tiers that the factory asks for; base64 and metadata come on top.
const LARGEST_REQUEST: usize = 4 << 20;
/// Well below `functionTimeout` (5 minutes in host.json), at which the host would kill this process with everything in flight.
const INVOCATION_LIMIT: Duration = Duration::from_secs(240);

/// The routes of the handler, where nobody's commit events are taken.
pub fn router(factory: Arc<Factory>) -> Router {
    router_with(factory, Webhooks::none())
}

/// The routes of the handler.
pub fn router_with(factory: Arc<Factory>, webhooks: Webhooks) -> Router {
    Router::new()
        // Asked every 25 ms until it answers, and now and then for ever.
        .route("/", get(async || Json(json!({}))))
        .merge(commits::routes(factory.clone(), webhooks))
        .route("/{function}", post(invoke))
        // axum's own answers would have no body or a plain text, and the host wants JSON of every one.
        .fallback(async |uri: Uri| {
            let reason = format!("there is no path {}", uri.path());
            unusable(StatusCode::NOT_FOUND, &reason)
        })
        .method_not_allowed_fallback(async || {
            let reason = "functions are called with POST, the readiness probe is GET /";
            unusable(StatusCode::METHOD_NOT_ALLOWED, reason)
        })
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST))
        .with_state(factory)
}

async fn invoke(
    State(factory): State<Arc<Factory>>,
    function: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Path(function) = match function {
        Ok(function) => function,
        Err(rejection) => return unusable(rejection.status(), &rejection.body_text()),
    };
    let called = called(&headers);
    let span = info_span!("invocation", function = %function, invocation_id = %called.invocation_id);
    async {
        let body = match body {
            Ok(body) => body,
            Err(rejection) => return unusable(rejection.status(), &rejection.body_text()),
        };
        let invocation = match Invocation::parse(&function, &body) {
            Ok(invocation) => invocation,
            Err(unusable) => return refused(&unusable),
        };
        let about = invocation.span();
        take(invocation, &factory, called).instrument(about).await
    }
    .instrument(span)
    .await
}

/// What the host's headers tell of an invocation.
fn called(headers: &HeaderMap) -> Received {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Received {
        invocation_id: text(INVOCATION_ID_HEADER).unwrap_or_else(|| "none".to_owned()),
        host: text(TRACEPARENT),
        ..Received::default()
    }
}

async fn take(invocation: Invocation, factory: &Factory, called: Received) -> Response {
    let started = factory.clock.now();
    let context = invocation.context(factory, called);
    let work = async {
        let result = tokio::time::timeout(INVOCATION_LIMIT, invocation.run(factory)).await;
        let given_up =
            |_| Err(format!("it took longer than {} s and was given up", INVOCATION_LIMIT.as_secs()));
        match result.unwrap_or_else(given_up) {
            Ok(told) => (answered(&told), None),
            Err(reason) => (failed(&reason), Some(reason)),
        }
    };
    let (response, failure) = work.with_context(context.clone()).await;
    factory.traces.invoked(&context, invocation.queue(), started, failure.as_deref());
    response
}

/// Success. The host writes the logs to the invocation's own log.
fn answered(told: &str) -> Response {
    info!("{told}");
    Json(json!({"Outputs": {}, "Logs": [told], "ReturnValue": null})).into_response()
}

/// The message is of no use, now or later: it ends in the dead-letter queue.
fn refused(invocation: &Unusable) -> Response {
    let status = match invocation {
        Unusable::UnknownFunction(_) => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    unusable(status, &invocation.to_string())
}

fn unusable(status: StatusCode, reason: &str) -> Response {
    error!(reason, "the invocation cannot be used");
    (status, Json(json!({"error": reason}))).into_response()
}

fn failed(reason: &str) -> Response {
    error!(reason, "the invocation failed; its message will be delivered again");
    (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": reason}))).into_response()
}

#[cfg(all(test, feature = "dev"))]
mod tests;
