//! An answer of Blob Storage.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::error::Error;
use crate::Response;

/// Status, headers and body of a request that went through.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// With one more header; what cannot be a header's value is left out.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a header; what cannot be a header's value is left out.
    pub fn set(&mut self, name: &str, value: impl AsRef<str>) {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_str(value.as_ref());
        if let (Ok(name), Ok(value)) = (name, value) {
            self.headers.insert(name, value);
        }
    }

    /// With an XML body.
    pub fn xml(mut self, document: String) -> Self {
        self.body = Bytes::from(document);
        self.header("content-type", "application/xml")
    }

    pub fn into_response(self) -> Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

impl Error {
    /// The error as an answer. A HEAD request gets the header only.
    pub fn into_answer(self, is_head: bool, request: &str, time: &str) -> Answer {
        let mut answer = Answer::new(self.status);
        if !is_head && self.status != StatusCode::NOT_MODIFIED {
            answer = answer.xml(self.body(request, time));
        }
        answer.headers.insert("x-ms-error-code", self.code_header());
        for (name, value) in &self.headers {
            answer.set(name, value);
        }
        answer
    }
}
