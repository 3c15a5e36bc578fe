//! An HTTP request as the host hands it to a function (azure-functions-host HttpRequestExtensions.cs, `GetRequestAsJObject`).

use std::collections::BTreeMap;

use axum::body::Body;
use futures::StreamExt as _;
use serde::Deserialize;

use crate::handler::invocation::Unusable;

/// The only media type of events.
const JSON: &str = "application/json";

/// The envelope. Its metadata are the body's parts and the headers once more, so they are not read.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "Data")]
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    req: HttpRequest,
}

/// What a caller sent.
#[derive(Debug, Deserialize)]
pub(super) struct HttpRequest {
    #[serde(rename = "Headers")]
    headers: BTreeMap<String, Vec<String>>,
    /// The text that the host made of the bytes. Of UTF-8 these are the very bytes again; whatever else came has lost something, and
    /// no signature fits it any more. Without a Content-Length there is none.
    #[serde(rename = "Body", default)]
    body: Option<String>,
}

impl HttpRequest {
    /// Reads the invocation.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Unusable> {
        match serde_json::from_slice::<Envelope>(body) {
            Ok(envelope) => Ok(envelope.data.req),
            Err(error) => Err(Unusable::NotAnInvocation(error.to_string())),
        }
    }

    /// The caller's bytes.
    pub(super) fn body(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default().as_bytes()
    }

    /// A header, whatever its spelling; one that came several times has its values joined with commas, as everywhere in HTTP.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let same = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let values: Vec<&str> = same.flat_map(|(_, values)| values).map(String::as_str).collect();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// Whether the caller says that the body is JSON.
    pub(super) fn is_json(&self) -> bool {
        let content_type = self.header("Content-Type").unwrap_or_default();
        content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(JSON)
    }
}

/// A body that was read to its end.
pub(super) enum Collected {
    /// All of it.
    Whole(Vec<u8>),
    /// More than it may be; nothing of it was kept.
    TooLarge,
    /// It broke off, and why.
    Broken(String),
}

/// Reads a body of at most `most` bytes. A larger one is read to its end, too: the host, which still writes, would not see an answer
/// before, and the caller would take it for a fault of ours.
pub(super) async fn collect(body: Body, most: usize) -> Collected {
    let mut chunks = body.into_data_stream();
    let mut whole = Vec::new();
    let mut is_too_large = false;
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if !is_too_large && whole.len() + chunk.len() <= most => {
                whole.extend_from_slice(&chunk)
            }
            Ok(_) => {
                is_too_large = true;
                whole = Vec::new();
            }
            Err(error) => return Collected::Broken(error.to_string()),
        }
    }
    if is_too_large { Collected::TooLarge } else { Collected::Whole(whole) }
}
