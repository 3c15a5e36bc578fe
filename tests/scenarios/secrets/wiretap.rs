//! A way to Azure that notes every secret that passes, and lets calls fail with answers that repeat all of them.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use azure_core::http::{
    AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode,
    headers::{AUTHORIZATION, Headers},
};
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::sweep::Secrets;

/// The word by which an answer that repeats its request is known again.
pub const ECHO: &str = "EchoedByTheTest";

tokio::task_local! {
    /// In its scope nothing fails: so the test itself reads.
    pub static CALM: ();
}

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Refused with this status, without effect.
    Refused(u16),
    /// Its answer is replaced by one with this status, which repeats it as well.
    Lost(u16),
    /// Its answer is cut, and its status left.
    Cut,
}

/// Listens, and lets some calls fail.
#[derive(Debug)]
pub struct Wiretap {
    onward: Arc<dyn HttpClient>,
    secrets: Secrets,
    seed: u64,
    calls: AtomicU64,
    /// How often each kind of trouble was made.
    pub failures: Arc<Mutex<Vec<String>>>,
}

impl Wiretap {
    pub fn new(onward: Arc<dyn HttpClient>, secrets: Secrets, seed: u64) -> Self {
        Self { onward, secrets, seed, calls: AtomicU64::new(0), failures: Arc::default() }
    }

    /// A number below a thousand, and one more, both drawn from the seed.
    fn draw(&self) -> (u16, u8) {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let digest = Sha256::digest(format!("{}/{call}", self.seed));
        (u16::from_be_bytes([digest[0], digest[1]]) % 1000, digest[2])
    }

    /// What befalls this call. The ledger is spared lasting refusals, without which no run could be told.
    fn fate(&self, request: &Request) -> (Option<Failure>, u8) {
        let (fate, form) = self.draw();
        let is_ledger = request.url().host_str().is_some_and(|host| host.starts_with("imagefactoryledger"));
        let failure = match fate {
            0..40 => Some(Failure::Refused([500, 502, 503, 429][usize::from(fate) % 4])),
            40..70 => Some(Failure::Lost(500)),
            70..80 if !is_ledger => Some(Failure::Refused([400, 401, 403, 409][usize::from(fate) % 4])),
            80..95 if !is_ledger => Some(Failure::Cut),
            _ => None,
        };
        (failure, form)
    }
}

#[async_trait]
impl HttpClient for Wiretap {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        note_request(&self.secrets, request);
        let (failure, form) = match CALM.try_with(|()| ()) {
            Ok(()) => (None, 0),
            Err(_) => self.fate(request),
        };
        if let Some(failure) = failure {
            self.failures.lock().unwrap().push(format!(
                "{failure:?} {} {}",
                request.method(),
                request.url().path()
            ));
        }
        if let Some(Failure::Refused(status)) = failure {
            return Ok(echo(status, request, b"", form));
        }
        let answer = self.onward.execute_request(request).await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().collect().await?;
        note_answer(&self.secrets, request, &body);
        Ok(match failure {
            Some(Failure::Lost(status)) => echo(status, request, &body, form),
            Some(Failure::Cut) if request.method() != Method::Head && !body.is_empty() => {
                AsyncRawResponse::from_bytes(status, headers, body.slice(..body.len() - 2))
            }
            _ => AsyncRawResponse::from_bytes(status, headers, body),
        })
    }
}

fn body_of(request: &Request) -> Bytes {
    match request.body() {
        Body::Bytes(bytes) => bytes.clone(),
        Body::SeekableStream(_) => Bytes::new(),
    }
}

fn note_signatures(secrets: &Secrets, what: &'static str, text: &str) {
    for (_, rest) in text.match_indices("sig=").map(|(at, _)| text.split_at(at + 4)) {
        let end = rest.find(|c: char| matches!(c, '&' | '"' | '<' | '\\') || c.is_whitespace());
        secrets.add(what, &rest[..end.unwrap_or(rest.len())]);
    }
}

fn note_request(secrets: &Secrets, request: &Request) {
    if let Some(authorization) = request.headers().get_optional_str(&AUTHORIZATION) {
        match authorization.split_once(' ') {
            Some(("Bearer", token)) => secrets.add("a token of the identity", token),
            Some(("SharedKey", signed)) => {
                secrets.add("a signature of a call", signed.split_once(':').unwrap().1);
            }
            other => panic!("an authorization of a kind that this test does not know: {other:?}"),
        }
    }
    let source = request.headers().get_optional_str(&"x-ms-copy-source".into()).unwrap_or_default();
    let kind = if source.contains("skoid=") { "a user delegation SAS" } else { "a SAS" };
    note_signatures(secrets, kind, source);
    let body: Value = serde_json::from_slice(&body_of(request)).unwrap_or_default();
    let declared = body["properties"]["template"]["parameters"].as_object().into_iter().flatten();
    for (name, parameter) in declared {
        if parameter["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case("securestring")) {
            let value = &body["properties"]["parameters"][name]["value"];
            secrets.add("a VM's password", value.as_str().unwrap());
        }
    }
}

fn note_answer(secrets: &Secrets, request: &Request, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    note_signatures(secrets, "a SAS of a disk", &text);
    if request.url().path().to_ascii_lowercase().ends_with("/listkeys") {
        let keys: Value = serde_json::from_slice(body).unwrap_or_default();
        for key in keys["keys"].as_array().into_iter().flatten() {
            secrets.add("a key of an account", key["value"].as_str().unwrap());
        }
    }
    if request.url().query().is_some_and(|query| query.contains("userdelegationkey"))
        && let Some((_, rest)) = text.split_once("<Value>")
    {
        secrets.add("a key that was lent", rest.split('<').next().unwrap());
    }
}

/// An answer that repeats all that it was asked with, as services of a bad kind do, in one of several forms.
fn echo(status: u16, request: &Request, answer: &[u8], form: u8) -> AsyncRawResponse {
    let headers: Vec<String> = request
        .headers()
        .iter()
        .map(|(name, value)| format!("{}: {}", name.as_str(), value.as_str()))
        .collect();
    let body = String::from_utf8_lossy(&body_of(request)).into_owned();
    // Messages are cut: each part comes first now and then. Of a body its parameters are of interest.
    let parameters = serde_json::from_str::<Value>(&body)
        .map(|body| body["properties"]["parameters"].to_string())
        .unwrap_or_default();
    let mut parts = [
        format!("{} {}", request.method(), request.url()),
        headers.join(", "),
        format!("parameters {parameters}"),
        format!("answer {}", String::from_utf8_lossy(answer)),
        body,
    ];
    let count = parts.len();
    parts.rotate_left(usize::from(form) % count);
    let message = format!("{ECHO}: {}", parts.join("; "));
    let escaped = message.replace('&', "&amp;").replace('<', "&lt;");
    let envelope = json!({"error": {"code": "Echo", "message": message}});
    let (kind, text) = match form / 5 % 6 {
        0 => ("application/json", envelope.to_string()),
        1 => ("application/json", json!({"code": "Echo", "message": envelope.to_string()}).to_string()),
        2 => (
            "application/xml",
            format!(
                "\u{feff}<?xml version=\"1.0\"?><Error><Code>Echo</Code><Message>{escaped}</Message></Error>"
            ),
        ),
        3 => ("text/html", format!("<html><head><title>Error</title></head><body>{escaped}</body></html>")),
        4 => ("text/plain", message),
        _ => ("application/json", json!({"error": {"code": "Outer", "details": [envelope]}}).to_string()),
    };
    let mut headers = Headers::new();
    headers.insert("content-type", kind);
    AsyncRawResponse::from_bytes(StatusCode::from(status), headers, text)
}
