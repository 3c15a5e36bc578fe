//! One request to Resource Manager, taken apart, and its answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use jsonc_parser::ParseOptions;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::error::ArmError;
use crate::{Response, World, identity::Principal};

/// A request that was let in. Its body may hold secrets.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// The path's segments, decoded, in the caller's spelling.
    pub(crate) segments: Vec<String>,
    /// The same in lower case, by which resources are found.
    pub(crate) lower: Vec<String>,
    /// By name in lower case.
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) body: Bytes,
    pub(crate) principal: Principal,
    pub(crate) correlation_id: String,
}

impl Call {
    /// Takes a path and a query apart.
    pub(crate) fn new(
        method: Method,
        path: &str,
        query: &str,
        body: Bytes,
        principal: Principal,
        correlation_id: String,
    ) -> Self {
        // Decoded first: azure-mgmt-resource-locks writes scopes with `%2F`, and Resource Manager takes that for a `/`.
        let path = percent_decode_str(path).decode_utf8_lossy();
        let segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
        let lower = segments.iter().map(|s| s.to_lowercase()).collect();
        let query = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.into_owned()))
            .collect();
        Self { method, segments, lower, query, body, principal, correlation_id }
    }

    /// The same caller's call of another resource, as a deployment makes it.
    pub(crate) fn inner(&self, method: Method, path: &str, api_version: &str, body: &Value) -> Self {
        let mut call = Self::new(
            method,
            "",
            "",
            Bytes::from(body.to_string()),
            self.principal.clone(),
            self.correlation_id.clone(),
        );
        // Already decoded: a resource id may hold a literal '%'.
        call.segments = path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect();
        call.lower = call.segments.iter().map(|s| s.to_lowercase()).collect();
        call.query.insert("api-version".to_owned(), api_version.to_owned());
        call
    }

    pub(crate) fn api_version(&self) -> &str {
        self.query.get("api-version").map_or("", String::as_str)
    }

    /// The path in the caller's spelling: a resource id.
    pub(crate) fn path(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    /// The path in lower case.
    pub(crate) fn key(&self) -> String {
        format!("/{}", self.lower.join("/"))
    }

    /// What the ids of all resources of the group in the path begin with, or of its subscription if it names no group; in
    /// lower case and with a `/` at the end.
    pub(crate) fn scope(&self) -> String {
        let depth = if self.lower.get(2).is_some_and(|segment| segment == "resourcegroups") { 4 } else { 2 };
        format!("/{}/", self.lower[..self.lower.len().min(depth)].join("/"))
    }

    /// The last segment in the caller's spelling.
    pub(crate) fn name(&self) -> &str {
        self.segments.last().map_or("", String::as_str)
    }

    /// The subscription in the path, lower case.
    pub(crate) fn subscription(&self) -> &str {
        self.lower.get(1).map_or("", String::as_str)
    }

    /// The body, which must be a JSON object.
    pub(crate) fn json(&self) -> Result<Value, ArmError> {
        let bytes = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
        let refuse = |reason: String| {
            ArmError::new(
                400,
                "InvalidRequestContent",
                format!("The request content was invalid and could not be deserialized: '{reason}'."),
            )
        };
        match read(bytes) {
            Ok(body @ Value::Object(_)) => Ok(body),
            Ok(_) => Err(refuse("a JSON object is required".to_owned())),
            Err(error) => Err(refuse(error.to_string())),
        }
    }
}

/// Bodies are not nested deeper, as serde_json wants it, too.
const DEEPEST: usize = 127;

/// Reads JSON as Azure does, whose Newtonsoft.Json takes more than the standard: az sends templates as they were written, with
/// comments, and a name without quotes before them.
fn read(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let options = ParseOptions {
        allow_comments: true,
        allow_loose_object_property_names: true,
        allow_trailing_commas: true,
        allow_single_quoted_strings: true,
        allow_missing_commas: false,
        allow_hexadecimal_numbers: true,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    serde_json::from_slice(bytes).or_else(|error| {
        let lenient = std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| jsonc_parser::parse_to_serde_value(text, &options).ok());
        lenient.filter(|value| is_shallow(value, DEEPEST)).ok_or(error)
    })
}

/// Whether nothing in `value` is nested deeper than `levels`.
fn is_shallow(value: &Value, levels: usize) -> bool {
    let inside: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(fields) => fields.values().collect(),
        _ => return true,
    };
    levels > 0 && inside.into_iter().all(|value| is_shallow(value, levels - 1))
}

/// What a provider answers.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The operation that goes on after this answer.
    pub(crate) operation: Option<String>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self { body: Some(body), ..Self::empty(status) }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self { status, body: None, headers: Vec::new(), operation: None }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The HTTP answer with the headers that every answer of Resource Manager carries.
pub(crate) fn respond(
    world: &mut World,
    result: Result<Answer, ArmError>,
    correlation_id: &str,
    client_request_id: Option<HeaderValue>,
    extra: Vec<(String, String)>,
) -> Response {
    let answer = result.unwrap_or_else(|error| {
        let answer = Answer::json(error.status, error.body());
        match error.retry_after {
            Some(seconds) => answer.header("retry-after", seconds.to_string()),
            None => answer,
        }
    });
    let body = answer.body.map(|body| body.to_string()).unwrap_or_default();
    let has_body = !body.is_empty();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let request_id = world.new_guid().to_string();
    let routing = format!("SIMULATED:{}:{request_id}", super::stamp_compact(world.now()));
    // Where tokens come from: clients that have none yet ask there.
    let challenge = format!(
        "Bearer authorization_uri=\"{}/{}\", error=\"invalid_token\", error_description=\"The access token is missing or invalid.\"",
        world.endpoints.identity(),
        world.identity.managed_identity.tenant_id
    );
    let headers = response.headers_mut();
    let mut set = |name: &str, value: &str| {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    if has_body {
        set("content-type", "application/json; charset=utf-8");
    }
    if answer.status == 401 {
        set("www-authenticate", &challenge);
    }
    set("cache-control", "no-cache");
    set("x-ms-request-id", &request_id);
    set("x-ms-correlation-request-id", correlation_id);
    set("x-ms-routing-request-id", &routing);
    for (name, value) in answer.headers {
        set(name, &value);
    }
    for (name, value) in extra {
        set(&name, &value);
    }
    if let Some(id) = client_request_id {
        headers.insert("x-ms-client-request-id", id);
    }
    response
}
