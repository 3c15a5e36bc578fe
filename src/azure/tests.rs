//! The clients against a small scripted Azure in this process.

mod hostile;
mod labs;
mod marketplace;
mod network;
mod operations;
mod resource_manager;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
};

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, HttpClient, Request, StatusCode, Transport,
        headers::{HeaderName, HeaderValue, Headers},
        request::Body,
    },
};
use factory_clock::Clock;
use serde_json::{Value, json};
use time::{Duration, macros::datetime};
use url::Url;

use super::{Azure, AzureOptions, LabAddress};

/// One scripted answer.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::bytes(status, body.to_string())
    }

    pub(super) fn bytes(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self::bytes(status, "")
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A request as it left the pipeline.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) url: Url,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn query(&self, name: &str) -> Option<String> {
        let mut pairs = self.url.query_pairs();
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What the fake world answers: replies by method and path in their order, the last one for ever; else Azure's 404.
#[derive(Debug, Default)]
pub(super) struct Script {
    replies: Mutex<BTreeMap<String, VecDeque<Reply>>>,
    seen: Mutex<Vec<Seen>>,
    pub(super) credential: FakeCredential,
    /// Requests that get no answer at all.
    lost: Mutex<Option<azure_core::error::ErrorKind>>,
}

impl Script {
    pub(super) fn on(&self, call: &str, reply: Reply) {
        let mut replies = self.replies.lock().unwrap();
        replies.entry(call.to_ascii_lowercase()).or_default().push_back(reply);
    }

    pub(super) fn lose(&self, kind: azure_core::error::ErrorKind) {
        *self.lost.lock().unwrap() = Some(kind);
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn last(&self) -> Seen {
        self.seen().pop().expect("a request was made")
    }
}

#[async_trait::async_trait]
impl HttpClient for Script {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let body = match request.body() {
            Body::Bytes(bytes) => bytes.to_vec(),
            Body::SeekableStream(_) => panic!("no streams here"),
        };
        self.seen.lock().unwrap().push(Seen {
            method: request.method().to_string(),
            url: request.url().clone(),
            headers: request
                .headers()
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_str().to_owned()))
                .collect(),
            body,
        });
        if let Some(kind) = self.lost.lock().unwrap().clone() {
            let message = "lost https://account.blob.core.windows.net/c/b?sv=1&sig=SECRET on the way";
            return Err(azure_core::Error::with_message(kind, message));
        }
        let call = format!("{} {}", request.method(), request.url().path()).to_ascii_lowercase();
        let mut replies = self.replies.lock().unwrap();
        let reply = match replies.get_mut(&call) {
            Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
            Some(queue) => queue[0].clone(),
            None => Reply::json(404, json!({"error": {"code": "ResourceNotFound", "message": "not there"}})),
        };
        let mut headers = Headers::new();
        for (name, value) in reply.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
        }
        Ok(AsyncRawResponse::from_bytes(StatusCode::from(reply.status), headers, reply.body))
    }
}

/// Hands out `token-1`, `token-2` …, each for an hour.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeCredential {
    pub(super) scopes: Arc<Mutex<Vec<String>>>,
    pub(super) clock: Arc<Mutex<Option<Clock>>>,
}

#[async_trait::async_trait]
impl TokenCredential for FakeCredential {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let mut asked = self.scopes.lock().unwrap();
        asked.push(scopes.join(" "));
        let now = self.clock.lock().unwrap().as_ref().unwrap().now();
        Ok(AccessToken::new(format!("token-{}", asked.len()), now + Duration::hours(1)))
    }
}

pub(super) const ARM: &str = "https://management.azure.com";

/// Clients of a scripted Azure at `endpoint`, where it is 2026-11-22 13:00.
pub(super) fn azure_at(endpoint: &str) -> (Azure, Arc<Script>) {
    let clock = Clock::virtual_from(datetime!(2026-11-22 13:00 UTC));
    let script = Arc::new(Script::default());
    *script.credential.clock.lock().unwrap() = Some(clock.clone());
    let azure = Azure::new(AzureOptions {
        resource_manager: Url::parse(endpoint).unwrap(),
        credential: Arc::new(script.credential.clone()),
        transport: Some(Transport::new(script.clone())),
        clock,
    });
    (azure.unwrap(), script)
}

pub(super) fn azure() -> (Azure, Arc<Script>) {
    azure_at(ARM)
}

pub(super) const LAB: &str = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/Web";

pub(super) fn lab() -> LabAddress {
    LabAddress {
        subscription_id: "S".to_owned(),
        resource_group: "rg".to_owned(),
        lab_name: "Web".to_owned(),
    }
}
