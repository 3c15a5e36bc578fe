//! Thin typed clients of Azure on the official SDK's pipeline.
//!
//! One call is one request: nothing here sleeps, retries or polls. Waiting is a scheduled message, so every answer says
//! how long Azure asks to wait, and an operation that goes on is handed out as an [`OperationUrl`] to be checked later.

pub mod actions;
mod authorization;
mod blob;
mod call;
mod caller;
mod capacity;
mod compute;
mod deployment;
mod devtestlab;
mod error;
mod json;
mod marketplace;
mod network;
mod operation;
mod permissions;
mod resource_id;
mod service_bus;
mod storage_account;
#[cfg(test)]
mod tests;
mod text;

use std::{fmt, sync::Arc, time::Duration};

use azure_core::{
    credentials::TokenCredential,
    http::{
        ClientOptions, Context, Method, Pipeline, PipelineSendOptions, Request, RetryOptions, Transport, Url,
        headers::{ACCEPT, CONTENT_TYPE, Headers},
        policies::Policy,
    },
};
use bytes::Bytes;
use factory_clock::Clock;
use serde_json::Value;

use crate::telemetry::Service;

pub(crate) use authorization::is_loopback;
pub use blob::{
    BlobAuthorization, BlobItem, BlobPages, BlobProperties, Condition, Container, Copy, CopyStarted,
    CopyStatus, ETag,
};
pub use caller::{Caller, ClockDifference};
pub use capacity::{REGIONAL_CORES, Usage, VmSize};
pub use compute::{ComputeVm, Disk, DiskAccess, DiskAccessProgress};
pub use deployment::{Deployment, ParameterValue};
pub use devtestlab::{
    CustomImage, CustomImageSpec, Formula, Lab, LabAddress, LabVm, SharedImage, VmArtifact,
};
pub(crate) use error::without_queries;
pub use error::{AzureError, ErrorKind};
pub use marketplace::MarketplaceSku;
pub use network::identity_transport;
pub use operation::{OperationUrl, Progress, Started};
pub use permissions::{Permission, Permissions};
pub use resource_id::{BadResourceId, ResourceId, same_id};
pub use service_bus::QueueProperties;
pub use storage_account::StorageAccount;

/// Longest time that one call may take. Resource Manager itself gives up after 60 s; a time-out of ours after that
/// loses no answer.
const CALL_TIME_OUT: Duration = Duration::from_secs(100);

/// Most pages that one list is read for; beyond it a server that never ends its list would hold the step for ever.
const MOST_PAGES: usize = 1000;

/// What tokens are asked for, where the endpoint is a stand-in on this machine.
const PUBLIC_RESOURCE_MANAGER: &str = "https://management.azure.com/";

/// Where Azure is and how to get in.
#[derive(Clone)]
pub struct AzureOptions {
    /// Resource Manager's endpoint: `https://management.azure.com`. `http` is accepted for loopback hosts only.
    pub resource_manager: Url,
    /// Who the factory is.
    pub credential: Arc<dyn TokenCredential>,
    /// A transport in this process; `None` for the network.
    pub transport: Option<Transport>,
    /// The only source of time.
    pub clock: Clock,
}

/// The factory's way to Azure. Cheap to clone.
#[derive(Clone)]
pub struct Azure {
    inner: Arc<Inner>,
}

struct Inner {
    pipeline: Pipeline,
    resource_manager: Url,
    credential: Arc<dyn TokenCredential>,
    transport: Transport,
    time_out: Option<Duration>,
    clock: Clock,
}

impl fmt::Debug for Azure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Azure").field(&self.inner.resource_manager.as_str()).finish()
    }
}

/// An answer to a call of Resource Manager, whatever its status.
struct Answer {
    status: u16,
    headers: Headers,
    body: Bytes,
}

impl Answer {
    /// The body; `Null` if there is none or it is not JSON.
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    fn header(&self, name: &'static str) -> Option<&str> {
        let name = azure_core::http::headers::HeaderName::from_static(name);
        self.headers.get_optional_str(&name)
    }
}

impl Azure {
    /// Makes the clients; calls nothing.
    ///
    /// # Errors
    /// If the endpoint is neither `https` nor `http` on a loopback host.
    pub fn new(options: AzureOptions) -> Result<Self, AzureError> {
        let AzureOptions { resource_manager, credential, transport, clock } = options;
        // In-process transports run under virtual time, where a time-out would fire as soon as everything else waits.
        let time_out = transport.is_none().then_some(CALL_TIME_OUT);
        let transport = match transport {
            Some(transport) => transport,
            None => network::transport(&resource_manager),
        };
        let scope = match authorization::is_loopback(&resource_manager) {
            true => format!("{PUBLIC_RESOURCE_MANAGER}.default"),
            false => format!("{}/.default", resource_manager.origin().ascii_serialization()),
        };
        let policy = authorization::bearer(&resource_manager, credential.clone(), scope, &clock)?;
        let pipeline = pipeline(client_options(Service::ResourceManager, &transport, &clock, policy));
        Ok(Self {
            inner: Arc::new(Inner { pipeline, resource_manager, credential, transport, time_out, clock }),
        })
    }

    /// The clock of these clients.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Resource Manager's URL of a path, given as its segments, which are encoded here.
    fn url(&self, segments: &[&str], api_version: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.inner.resource_manager.clone();
        // An http(s) URL always has segments; `new` lets no other in.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url.query_pairs_mut().append_pair("api-version", api_version).extend_pairs(query);
        url
    }

    /// Resource Manager's URL of a resource id, followed by more segments.
    fn resource_url(
        &self,
        attempted: &str,
        id: &str,
        more: &[&str],
        api_version: &str,
        query: &[(&str, &str)],
    ) -> Result<Url, AzureError> {
        let id: ResourceId = id.parse().map_err(|error: BadResourceId| {
            AzureError::permanent(attempted, "InvalidResourceId", error.to_string())
        })?;
        let segments = id.segments();
        let segments: Vec<&str> = segments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        Ok(self.url(&segments, api_version, query))
    }

    /// One call; any status is an answer.
    async fn call(
        &self,
        attempted: &str,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Answer, AzureError> {
        let mut request = Request::new(url, method);
        request.insert_header(ACCEPT, "application/json");
        if let Some(body) = body {
            request.insert_header(CONTENT_TYPE, "application/json");
            request.set_body(body.to_string().into_bytes());
        }
        let context = Context::new();
        let options = PipelineSendOptions { skip_checks: true, ..Default::default() };
        let answer = self
            .within_time(attempted, self.inner.pipeline.send(&context, &mut request, Some(options)))
            .await?;
        let (status, headers, body) = answer.deconstruct();
        Ok(Answer { status: status.into(), headers, body: body.into() })
    }

    /// Waits for a call of the SDK, but not for ever.
    async fn within_time<T>(
        &self,
        attempted: &str,
        call: impl Future<Output = azure_core::Result<T>>,
    ) -> Result<T, AzureError> {
        let result = match self.inner.time_out {
            None => call.await,
            Some(limit) => tokio::time::timeout(limit, call).await.map_err(|_| {
                let message = format!("no answer within {} s", limit.as_secs());
                AzureError::unanswered(attempted, "TimedOut", message)
            })?,
        };
        result.map_err(|error| AzureError::from_sdk(attempted, &error, &self.inner.clock))
    }

    fn refusal(&self, attempted: &str, answer: &Answer) -> AzureError {
        AzureError::from_answer(attempted, answer.status, &answer.headers, &answer.body, &self.inner.clock)
    }

    /// Reads one resource; `None` if it is not there.
    async fn get(&self, attempted: &str, url: Url) -> Result<Option<Value>, AzureError> {
        let answer = self.call(attempted, Method::Get, url, None).await?;
        match answer.status {
            404 => Ok(None),
            _ if answer.is_success() => match answer.json() {
                Value::Null => Err(AzureError::unanswered(
                    attempted,
                    "UnexpectedAnswer",
                    format!("HTTP status {} without a JSON body", answer.status),
                )),
                value => Ok(Some(value)),
            },
            _ => Err(self.refusal(attempted, &answer)),
        }
    }

    /// Reads a whole collection, page by page.
    async fn list(&self, attempted: &str, url: Url) -> Result<Vec<Value>, AzureError> {
        let mut items = Vec::new();
        let mut next = url;
        for _ in 0..MOST_PAGES {
            let answer = self.call(attempted, Method::Get, next, None).await?;
            if !answer.is_success() {
                return Err(self.refusal(attempted, &answer));
            }
            let mut page = answer.json();
            match page.get_mut("value").map(Value::take) {
                Some(Value::Array(values)) => items.extend(values),
                _ => {
                    let message = format!("HTTP status {} without a list in its body", answer.status);
                    return Err(AzureError::unanswered(attempted, "UnexpectedAnswer", message));
                }
            }
            // A page can be empty and yet not be the last; only the link tells.
            match page.get("nextLink").and_then(Value::as_str).filter(|link| !link.is_empty()) {
                None => return Ok(items),
                Some(link) => next = self.own_url(attempted, link)?,
            }
        }
        let message = format!("the list has more than {MOST_PAGES} pages");
        Err(AzureError::permanent(attempted, "EndlessList", message))
    }

    /// A URL that Azure handed out, if it is Resource Manager's own: the token goes nowhere else.
    fn own_url(&self, attempted: &str, link: &str) -> Result<Url, AzureError> {
        let own = &self.inner.resource_manager;
        let url = Url::parse(link).ok().filter(|url| {
            url.origin() == own.origin() && url.username().is_empty() && url.password().is_none()
        });
        url.ok_or_else(|| {
            let message = format!(
                "refused to follow {}, because it does not belong to {}",
                error::without_queries(link),
                own.origin().ascii_serialization()
            );
            AzureError::permanent(attempted, "ForeignUrl", message)
        })
    }
}

/// A pipeline of our own, for calls that no client of the SDK makes.
fn pipeline(options: ClientOptions) -> Pipeline {
    let (name, version) = (option_env!("CARGO_PKG_NAME"), option_env!("CARGO_PKG_VERSION"));
    Pipeline::new(name, version, options, Vec::new(), Vec::new(), None)
}

/// What every client of the SDK is made with: one try, logged and authorised.
fn client_options(
    service: Service,
    transport: &Transport,
    clock: &Clock,
    authorization: Arc<dyn Policy>,
) -> ClientOptions {
    ClientOptions {
        per_try_policies: vec![Arc::new(call::LogCall::new(service, clock.clone())), authorization],
        retry: RetryOptions::none(),
        transport: Some(transport.clone()),
        ..Default::default()
    }
}
