//! One invocation, from the request to the handler to the outputs written
//! (Azure/azure-functions-host DefaultHttpWorkerService.cs, WorkerFunctionInvoker.cs).
//!
//! `functionTimeout` runs in real time: what it ends is a process of this machine, and a laptop's clock that goes 300 times
//! as fast would end every invocation after a second.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{future::try_join_all, stream};
use http_body_util::StreamBody;
use reqwest::{
    Body, Client, Method, Url,
    header::{
        CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, USER_AGENT,
    },
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    bindings::{EntityPath, FunctionMetadata, OutputKind},
    events::{Events, HostEvent, Level},
    messaging::{MessageSink, Messaging, MessagingError, OutgoingMessage},
    outputs::{self, HttpResponse, OutputMessages},
    process::{HandlerProcess, Phase},
    response::{Judgement, judge},
    settings::{Connection, Settings},
};

/// The host whose contract this is.
pub const HOST_VERSION: &str = "4.1037.0.0";

/// Added to `functionTimeout` for the HTTP client's own limit (DefaultHttpWorkerService.cs).
const CLIENT_TIMEOUT_MARGIN: Duration = Duration::from_secs(60);

/// .NET's HttpClient follows so many redirects.
const MOST_REDIRECTS: usize = 50;

/// An early invocation waits so many times the initialization timeout, once for each start of the handler and one more
/// (WorkerFunctionInvoker.cs); then the host stops.
const STARTS_WAITED_FOR: u32 = 4;

/// What is sent to the handler.
#[derive(Clone, Debug)]
pub(crate) enum HandlerRequest {
    /// `POST /<function>` with this JSON body.
    Generic(Vec<u8>),
    /// A client's request, passed on.
    Forward(ForwardedRequest),
}

/// A client's request that is passed on as it is.
#[derive(Clone, Debug)]
pub(crate) struct ForwardedRequest {
    pub(crate) method: Method,
    /// The path with the route prefix, and the query.
    pub(crate) path_and_query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Bytes>,
    /// `enableProxyingHttpRequest`: the user agent stays as it is.
    pub(crate) proxied: bool,
}

/// An invocation that failed; the reason is logged already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InvocationFailed(pub(crate) String);

/// Runs functions. Triggers know the handler only through this.
#[async_trait]
pub(crate) trait Invoke: Send + Sync {
    /// Runs a function once; its answer if an HTTP request triggered it.
    async fn invoke(
        &self,
        function: &FunctionMetadata,
        request: HandlerRequest,
    ) -> Result<Option<HttpResponse>, InvocationFailed>;
}

/// Sends invocations to the handler's process.
pub(crate) struct Dispatcher {
    pub(crate) process: HandlerProcess,
    pub(crate) clients: Clients,
    pub(crate) function_timeout: Option<Duration>,
    pub(crate) initialization_timeout: Duration,
    pub(crate) settings: Settings,
    pub(crate) messaging: Arc<dyn Messaging>,
    pub(crate) events: Events,
    pub(crate) in_flight: watch::Sender<usize>,
    /// Set when the host must stop because the handler never came up.
    pub(crate) never_ready: watch::Sender<bool>,
    /// Opened sinks: one link per entity, not per message.
    pub(crate) sinks: Mutex<BTreeMap<(Connection, EntityPath), Arc<dyn MessageSink>>>,
}

/// The HTTP clients: redirects are followed unless a request is passed on.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) following: Client,
    passing_on: Client,
}

impl Clients {
    pub(crate) fn new(function_timeout: Option<Duration>) -> Result<Self, reqwest::Error> {
        let client = |redirects: reqwest::redirect::Policy| {
            // No connection outlives an invocation, so none is ever a dead process's.
            let builder = Client::builder().redirect(redirects).no_proxy().pool_max_idle_per_host(0);
            match function_timeout {
                Some(limit) => builder.timeout(limit + CLIENT_TIMEOUT_MARGIN),
                None => builder,
            }
            .build()
        };
        Ok(Self {
            following: client(reqwest::redirect::Policy::limited(MOST_REDIRECTS))?,
            passing_on: client(reqwest::redirect::Policy::none())?,
        })
    }
}

/// Counts an invocation while it lives.
struct InFlight<'a>(&'a watch::Sender<usize>);

impl<'a> InFlight<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[async_trait]
impl Invoke for Dispatcher {
    async fn invoke(
        &self,
        function: &FunctionMetadata,
        request: HandlerRequest,
    ) -> Result<Option<HttpResponse>, InvocationFailed> {
        let _in_flight = InFlight::new(&self.in_flight);
        let id = Uuid::new_v4();
        self.events.send(HostEvent::InvocationStarted { function: function.name.clone(), id });
        let result = match self.function_timeout {
            None => self.run(function, request, id).await,
            Some(limit) => match tokio::time::timeout(limit, self.run(function, request, id)).await {
                Ok(result) => result,
                Err(_) => {
                    // The whole process goes, with everything else it was doing (WebScriptHostExceptionHandler.cs).
                    self.process.restart(self.process.state().generation);
                    Err(InvocationFailed(format!(
                        "Timeout value of {limit:?} exceeded by function 'Functions.{}' (Id: '{id}'). Initiating \
                         cancellation.",
                        function.name
                    )))
                }
            },
        };
        self.events.send(HostEvent::InvocationFinished {
            function: function.name.clone(),
            id,
            success: result.is_ok(),
            reason: result.as_ref().err().map(|failed| failed.0.clone()),
        });
        result
    }
}

impl Dispatcher {
    async fn run(
        &self,
        function: &FunctionMetadata,
        request: HandlerRequest,
        id: Uuid,
    ) -> Result<Option<HttpResponse>, InvocationFailed> {
        self.wait_for_handler().await?;
        match request {
            HandlerRequest::Forward(request) => self.pass_on(request, id).await.map(Some),
            HandlerRequest::Generic(body) => self.generic(function, body, id).await,
        }
    }

    async fn wait_for_handler(&self) -> Result<(), InvocationFailed> {
        let limit = self.initialization_timeout * STARTS_WAITED_FOR;
        match tokio::time::timeout(limit, self.process.settled()).await {
            Ok(state) if state.phase == Phase::Stopped => {
                Err(InvocationFailed("the host is shutting down".into()))
            }
            // `Down` is tried as well: the connection is refused.
            Ok(_) => Ok(()),
            Err(_) => {
                let _ = self.never_ready.send(true);
                Err(InvocationFailed(format!("the handler was not ready within {limit:?}")))
            }
        }
    }

    fn url(&self, path_and_query: &str) -> Result<Url, InvocationFailed> {
        let text = format!("http://127.0.0.1:{}{path_and_query}", self.process.port);
        Url::parse(&text).map_err(|error| InvocationFailed(format!("'{text}' is no URL: {error}")))
    }

    async fn generic(
        &self,
        function: &FunctionMetadata,
        body: Vec<u8>,
        id: Uuid,
    ) -> Result<Option<HttpResponse>, InvocationFailed> {
        let url = self.url(&format!("/{}", function.name))?;
        let mut headers = HeaderMap::new();
        host_headers(&mut headers, id);
        headers.insert(USER_AGENT, HeaderValue::from_static(concat_user_agent()));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        // In Azure the body is chunked, for .NET's ObjectContent does not know its length. (Core Tools reads it first for
        // its log and sends a Content-Length.) The harder of the two is what a handler is tested with.
        let frame = hyper::body::Frame::data(Bytes::from(body));
        let body = Body::wrap(StreamBody::new(stream::iter([Ok::<_, std::convert::Infallible>(frame)])));
        let response =
            self.clients.following.post(url).headers(headers).body(body).send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let content_type = response
            .headers()
            .get(CONTENT_TYPE)
            .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let body = response.bytes().await.map_err(failed)?;
        match judge(status, content_type.as_deref(), &body) {
            Judgement::Failure { reason } => Err(InvocationFailed(reason)),
            Judgement::NeverCompletes => {
                let line = format!(
                    "the handler answered function '{}' (Id: '{id}') with success and no result; the invocation hangs until \
                     functionTimeout",
                    function.name
                );
                self.events.log(Level::Warning, "Host", line);
                std::future::pending().await
            }
            Judgement::Success(result) => {
                let category = format!("Function.{}.User", function.name);
                for line in &result.logs {
                    self.events.log(Level::Information, &category, line);
                }
                let outputs = outputs::resolve(function, &result)
                    .map_err(|error| InvocationFailed(error.to_string()))?;
                // All at once, without a transaction: one may be written although another fails.
                try_join_all(outputs.messages.into_iter().map(|messages| self.send(messages, id))).await?;
                Ok(outputs.http)
            }
        }
    }

    async fn send(&self, messages: OutputMessages, id: Uuid) -> Result<(), InvocationFailed> {
        let OutputKind::ServiceBus { entity, connection } = &messages.binding.kind else {
            return Ok(());
        };
        let failed = |reason: String| {
            InvocationFailed(format!(
                "Error while handling parameter '{}' after function returned: {reason}",
                messages.binding.name
            ))
        };
        let connection = self.settings.connection(connection).map_err(|error| failed(error.to_string()))?;
        let sink = self.sink(connection, entity).map_err(|error| failed(error.to_string()))?;
        let outgoing = messages
            .bodies
            .iter()
            .map(|body| OutgoingMessage { body: body.clone(), parent_id: id })
            .collect();
        sink.send(outgoing).await.map_err(|error| failed(error.to_string()))
    }

    fn sink(
        &self,
        connection: Connection,
        entity: &EntityPath,
    ) -> Result<Arc<dyn MessageSink>, MessagingError> {
        let mut sinks = self.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (connection, entity.clone());
        if let Some(sink) = sinks.get(&key) {
            return Ok(sink.clone());
        }
        let sink = self.messaging.sink(&key.0, entity)?;
        sinks.insert(key, sink.clone());
        Ok(sink)
    }

    /// The answer goes back to the client whatever its status; the invocation has succeeded by then.
    async fn pass_on(&self, request: ForwardedRequest, id: Uuid) -> Result<HttpResponse, InvocationFailed> {
        let url = self.url(&request.path_and_query)?;
        let mut headers = request.headers;
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        headers.remove(reqwest::header::CONNECTION);
        host_headers(&mut headers, id);
        if !request.proxied {
            let agent = match headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()) {
                Some(agent) => format!("{agent} {}", concat_user_agent()),
                None => concat_user_agent().into(),
            };
            if let Ok(agent) = HeaderValue::from_str(&agent) {
                headers.insert(USER_AGENT, agent);
            }
        }
        let mut builder = self.clients.passing_on.request(request.method, url).headers(headers);
        if let Some(body) = request.body {
            builder = builder.body(body);
        }
        let response = builder.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .filter(|(name, _)| !is_hop_by_hop(name))
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let body = response.bytes().await.map_err(failed)?.to_vec();
        Ok(HttpResponse { status, headers, body, content_type: None })
    }
}

const fn concat_user_agent() -> &'static str {
    "Azure-Functions-Host/4.1037.0.0"
}

fn host_headers(headers: &mut HeaderMap, id: Uuid) {
    headers.insert("x-azure-functions-hostversion", HeaderValue::from_static(HOST_VERSION));
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-azure-functions-invocationid", id);
    }
}

/// Headers of one connection, which are not passed on.
pub(crate) fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "transfer-encoding" | "upgrade" | "te" | "trailer" | "content-length"
    )
}

/// The error with all its causes: the last one says "connection refused".
fn failed(error: reqwest::Error) -> InvocationFailed {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    InvocationFailed(text)
}
