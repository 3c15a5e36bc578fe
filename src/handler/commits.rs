//! The functions that people and Git hosts call over HTTP: a commit starts a run.
//!
//! `commit` takes the webhooks of GitHub and Azure DevOps. Neither can be trusted with a key of the function in its address, which
//! logs would show, so the host lets everybody through (`authLevel` anonymous) and the proof that comes with each request is judged
//! here. `start` takes a commit's hash from a build server or a person, who can send a header: the host asks for a key there
//! (`authLevel` function). A run's id comes from its commit, so whatever is delivered twice or out of order is the same run.
//!
//! An answer to the caller travels in the output `res`; for the host the invocation has succeeded whatever it says.

mod proof;
mod request;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use opentelemetry::trace::FutureExt as _;
use serde_json::{Value, json};
use tracing::{Instrument, error, info, info_span, warn};

use super::{
    called, refused,
    settings::webhooks::{Hook, Webhooks},
};
use crate::{
    domain::{
        Message, Repository, RunId,
        commit_event::{CommitEvent, Decision, NewCommit, decide},
        messages::{StartRun, Step},
    },
    steps::{Envelope, Factory},
};
use request::{Collected, HttpRequest};

/// The function for webhooks.
pub const COMMIT: &str = "commit";
/// The function for callers with a key.
pub const START: &str = "start";

/// GitHub sends no larger event (GitHub, "Webhook events and payloads": "Payloads are capped at 25 MB").
const LARGEST_EVENT: usize = 25 << 20;
/// A hash, a name, and room.
const LARGEST_ASKED: usize = 16 << 10;
/// The body comes as a text, quotes escaped, and its parts once more as metadata.
pub(super) const LARGEST_INVOCATION: usize = 4 * LARGEST_EVENT;
/// Callers do not wait for ever; GitHub waits for 10 seconds. The message may be sent all the same, which does no harm.
const LONGEST_SENDING: Duration = Duration::from_secs(30);
/// Whatever was wrong with a proof: nobody learns what.
const UNPROVEN: &str = "this request does not prove where it comes from";

/// What these functions need.
#[derive(Clone)]
struct Commits {
    factory: Arc<Factory>,
    webhooks: Arc<Webhooks>,
}

/// Their routes.
pub(super) fn routes<S>(factory: Arc<Factory>, webhooks: Webhooks) -> Router<S> {
    Router::new()
        .route(
            "/commit",
            post(async |State(commits), headers: HeaderMap, body| {
                invoke(&commits, COMMIT, &headers, body).await
            }),
        )
        .route(
            "/start",
            post(async |State(commits), headers: HeaderMap, body| {
                invoke(&commits, START, &headers, body).await
            }),
        )
        .with_state(Commits { factory, webhooks: Arc::new(webhooks) })
}

async fn invoke(commits: &Commits, function: &'static str, headers: &HeaderMap, body: Body) -> Response {
    let called = called(headers);
    let span = info_span!("invocation", function, invocation_id = %called.invocation_id);
    let (traces, started) = (&commits.factory.traces, commits.factory.clock.now());
    let context = traces.invoking(function, "http", &called);
    let response = async {
        let body = match request::collect(body, LARGEST_INVOCATION).await {
            Collected::Whole(body) => body,
            Collected::TooLarge => return answered(&Answer::too_large(LARGEST_EVENT)),
            Collected::Broken(reason) => return super::unusable(StatusCode::BAD_REQUEST, &reason),
        };
        match HttpRequest::parse(&body) {
            Ok(request) if function == COMMIT => answered(&commits.commit(&request).await),
            Ok(request) => answered(&commits.start(&request).await),
            Err(unusable) => refused(&unusable),
        }
    }
    .instrument(span)
    .with_context(context.clone())
    .await;
    traces.invoked(&context, None, started, None);
    response
}

impl Commits {
    /// A webhook. Nothing of its body is looked at before it is proven.
    async fn commit(&self, request: &HttpRequest) -> Answer {
        let hook = match &*self.webhooks {
            Webhooks::Taken(hook) => hook,
            Webhooks::NotSetUp(problems) => {
                warn!(problems = problems.join("; "), "a commit event came, but they are not set up");
                return Answer::refused(StatusCode::NOT_FOUND, "commit events are not set up here");
            }
        };
        if request.body().len() > LARGEST_EVENT {
            return Answer::too_large(LARGEST_EVENT);
        }
        if let Err(reason) = proof::judge(request, &hook.watched.repository, &hook.secret) {
            warn!(%reason, "a commit event is not from {}", hook.watched.repository);
            return Answer::refused(StatusCode::UNAUTHORIZED, UNPROVEN);
        }
        match event(request, hook) {
            Ok(event) => match decide(event, &hook.watched) {
                Decision::Start(new) => {
                    self.ask_for_run(RunId::of(&new.commit), StartRun::of_push(new)).await
                }
                Decision::Ignore(reason) => Answer::ignored(&reason.to_string()),
            },
            Err(answer) => answer,
        }
    }

    /// A commit named by a caller whose key the host has checked.
    async fn start(&self, request: &HttpRequest) -> Answer {
        if request.body().len() > LARGEST_ASKED {
            return Answer::too_large(LARGEST_ASKED);
        }
        match NewCommit::asked_for(request.body()) {
            Ok(new) => self.ask_for_run(RunId::of(&new.commit), StartRun::of_commit(new)).await,
            Err(reason) => Answer::refused(StatusCode::BAD_REQUEST, &reason),
        }
    }

    async fn ask_for_run(&self, run: RunId, start: StartRun) -> Answer {
        let body = json!({"run": run.as_str(), "commit": start.commit});
        let told =
            format!("run {run} of commit {} is asked for", start.commit.as_deref().unwrap_or_default());
        let message = Message::first(run, Step::StartRun(start));
        let sending = self.factory.outbox.send(vec![Envelope::now(message)]);
        let reason = match tokio::time::timeout(LONGEST_SENDING, sending).await {
            Ok(Ok(())) => return Answer { status: StatusCode::ACCEPTED, body, told },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("Service Bus took longer than {} s", LONGEST_SENDING.as_secs()),
        };
        error!(reason, "{told}, but not sent");
        // Azure DevOps tries again after this status (Microsoft, "Troubleshoot service hooks", transient failures).
        Answer::refused(StatusCode::SERVICE_UNAVAILABLE, "the run could not be asked for; send this again")
    }
}

/// What a proven webhook tells.
fn event(request: &HttpRequest, hook: &Hook) -> Result<CommitEvent, Answer> {
    if !request.is_json() {
        let reason = "the webhook's content type must be application/json";
        return Err(Answer::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    let malformed = |reason: &dyn ToString| Answer::refused(StatusCode::BAD_REQUEST, &reason.to_string());
    match hook.watched.repository {
        Repository::GitHub { .. } => {
            let Some(name) = request.header("X-GitHub-Event") else {
                return Err(malformed(&"the header X-GitHub-Event is missing"));
            };
            CommitEvent::of_github(&name, request.body()).map_err(|error| malformed(&error))
        }
        Repository::AzureDevOps { .. } => {
            CommitEvent::of_azure_devops(request.body()).map_err(|error| malformed(&error))
        }
    }
}

/// What the caller is told.
struct Answer {
    status: StatusCode,
    body: Value,
    /// The line for the log.
    told: String,
}

impl Answer {
    fn ignored(reason: &str) -> Self {
        Self { status: StatusCode::OK, body: json!({"ignored": reason}), told: format!("ignored: {reason}") }
    }

    fn refused(status: StatusCode, reason: &str) -> Self {
        Self { status, body: json!({"error": reason}), told: format!("refused with {status}: {reason}") }
    }

    fn too_large(most: usize) -> Self {
        let reason = format!("the body is larger than {most} bytes");
        Self::refused(StatusCode::PAYLOAD_TOO_LARGE, &reason)
    }
}

/// The answer as the host hands it on. `statusCode` and not `status`, which it would overlook (azure-functions-host HttpBinding.cs).
fn answered(answer: &Answer) -> Response {
    info!("{}", answer.told);
    let mut res = json!({"statusCode": answer.status.as_u16(), "body": answer.body});
    if answer.status == StatusCode::UNAUTHORIZED {
        // Which every 401 has (RFC 9110); it fits Azure DevOps.
        res["headers"] = json!({"WWW-Authenticate": "Basic realm=\"image-factory\""});
    }
    Json(json!({"Outputs": {"res": res}, "Logs": [answer.told], "ReturnValue": null})).into_response()
}
