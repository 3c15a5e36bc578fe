//! Fires `httpTrigger` functions.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use factory_clock::Clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use uuid::Uuid;

use crate::{
    access::{AccessKeys, KEY_HEADER, KEY_PARAMETER},
    bindings::{FunctionMetadata, HttpTrigger, Trigger},
    config::CustomHandler,
    dispatch::{ForwardedRequest, HandlerRequest, Invoke, is_hop_by_hop},
    outputs::HttpResponse,
    payload::{self, Sys},
    routes::Template,
};

/// Largest body that a host takes (Azure/azure-functions-host ScriptConstants.cs).
pub(crate) const LARGEST_BODY: usize = 100 * 1024 * 1024;

/// What .NET's `UrlEncoder` leaves as it is in a query (RFC 3986, unreserved).
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The app's HTTP functions, with their routes.
pub(crate) struct HttpFunctions {
    routes: Vec<Route>,
    prefix: Vec<String>,
    forwarding: bool,
    proxying: bool,
    keys: Option<AccessKeys>,
    clock: Clock,
    invoker: Arc<dyn Invoke>,
}

struct Route {
    template: Template,
    trigger: HttpTrigger,
    function: Arc<FunctionMetadata>,
}

impl HttpFunctions {
    pub(crate) fn new(
        functions: &[Arc<FunctionMetadata>],
        route_prefix: &str,
        handler: &CustomHandler,
        keys: Option<AccessKeys>,
        clock: Clock,
        invoker: Arc<dyn Invoke>,
    ) -> Self {
        let mut routes: Vec<Route> = functions
            .iter()
            .filter(|function| !function.disabled)
            .filter_map(|function| {
                let Trigger::Http(trigger) = &function.trigger else {
                    return None;
                };
                let route = trigger.route.as_deref().unwrap_or(&function.name);
                // Checked when function.json was read.
                let template = Template::parse(route).ok()?;
                Some(Route { template, trigger: trigger.clone(), function: function.clone() })
            })
            .collect();
        routes.sort_by(|one, other| one.template.precedence(&other.template));
        Self {
            routes,
            prefix: route_prefix.split('/').filter(|part| !part.is_empty()).map(Into::into).collect(),
            forwarding: handler.enable_forwarding_http_request,
            proxying: handler.enable_proxying_http_request,
            keys,
            clock,
            invoker,
        }
    }

    /// Answers a client.
    pub(crate) async fn serve(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let Some((route, params)) = self.find(&parts) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let mut known_key = None;
        if let Some(keys) = &self.keys {
            let (name, key) = (Some(route.function.name.as_str()), caller_key(&parts));
            if !keys.allow(route.trigger.auth_level, name, key.as_deref()) {
                return StatusCode::UNAUTHORIZED.into_response();
            }
            known_key = keys.find(name, key.as_deref()).map(|(level, name)| payload::http::Key {
                level: format!("{level:?}"),
                name: name.to_owned(),
            });
        }
        let body = match axum::body::to_bytes(body, LARGEST_BODY).await {
            Ok(body) => body,
            Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        };
        // Without a Content-Length the host never looks at the body (HttpRequestExtensions.cs).
        let has_length = parts.headers.contains_key(header::CONTENT_LENGTH);
        let kept = (has_length && !body.is_empty()).then(|| body.clone());
        let simple = route.function.is_http_in_and_out();
        let request = if simple && self.proxying {
            HandlerRequest::Forward(ForwardedRequest {
                method: parts.method.clone(),
                path_and_query: parts.uri.path_and_query().map_or("/", |path| path.as_str()).into(),
                headers: end_to_end(&parts.headers),
                body: (!body.is_empty()).then_some(body),
                proxied: true,
            })
        } else if simple && self.forwarding {
            HandlerRequest::Forward(ForwardedRequest {
                method: parts.method.clone(),
                path_and_query: rebuilt_path_and_query(&parts),
                headers: end_to_end(&parts.headers),
                body: kept,
                proxied: false,
            })
        } else {
            let request = payload::http::Request {
                url: url(&parts),
                method: parts.method.to_string(),
                query: query(&parts),
                headers: headers(&parts.headers),
                params,
                key: known_key,
                body: kept.map(Into::into),
            };
            let function = &route.function.name;
            let sys = Sys { method_name: function, utc_now: self.clock.now(), rand_guid: Uuid::new_v4() };
            HandlerRequest::Generic(payload::http::invocation(&route.trigger.name, &request, &sys))
        };
        match self.invoker.invoke(&route.function, request).await {
            Ok(answer) => respond(answer),
            Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn find(&self, parts: &Parts) -> Option<(&Route, Vec<(String, String)>)> {
        let path: Vec<String> = parts
            .uri
            .path()
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        if path.len() < self.prefix.len()
            || !self
                .prefix
                .iter()
                .zip(&path)
                .all(|(expected, segment)| expected.eq_ignore_ascii_case(segment))
        {
            return None;
        }
        let path = &path[self.prefix.len()..];
        self.routes
            .iter()
            .filter(|route| {
                route.trigger.methods.is_empty()
                    || route.trigger.methods.iter().any(|method| method == parts.method.as_str())
            })
            .find_map(|route| Some((route, route.template.matches(path)?)))
    }
}

/// The key that a caller gives, in the header or else in the query.
pub(crate) fn caller_key(parts: &Parts) -> Option<String> {
    if let Some(key) = parts.headers.get(KEY_HEADER) {
        return key.to_str().ok().map(Into::into);
    }
    query(parts)
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(KEY_PARAMETER))
        .map(|(_, value)| value)
}

fn host(parts: &Parts) -> &str {
    parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost")
}

fn url(parts: &Parts) -> String {
    let path_and_query = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    format!("http://{}{path_and_query}", host(parts))
}

/// Decoded query parameters, `+` read as a blank.
fn query(parts: &Parts) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    parts
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// The path, and the query put together anew: a key that came several times has its values joined with commas
/// (`QueryHelpers.AddQueryString` over a dictionary).
fn rebuilt_path_and_query(parts: &Parts) -> String {
    let mut text = parts.uri.path().to_owned();
    let joined = payload::http::joined(&query(parts), |one, other| one == other);
    for (index, (name, value)) in joined.iter().enumerate() {
        text.push(if index == 0 { '?' } else { '&' });
        text.extend(utf8_percent_encode(name, QUERY));
        text.push('=');
        text.extend(utf8_percent_encode(value.as_str().unwrap_or_default(), QUERY));
    }
    text
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| !is_hop_by_hop(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| (usual_spelling(name), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect()
}

/// `Content-Type`: the host's web server spells known headers in their usual form. How a caller spelled others is lost
/// here, for header names ignore case.
fn usual_spelling(name: &HeaderName) -> String {
    match name.as_str() {
        "etag" => return "ETag".into(),
        "te" => return "TE".into(),
        "dnt" => return "DNT".into(),
        "www-authenticate" => return "WWW-Authenticate".into(),
        _ => {}
    }
    let mut text = String::new();
    for (index, word) in name.as_str().split('-').enumerate() {
        if index > 0 {
            text.push('-');
        }
        let mut letters = word.chars();
        text.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        text.push_str(letters.as_str());
    }
    text
}

fn respond(answer: Option<HttpResponse>) -> Response {
    let Some(answer) = answer else {
        return StatusCode::OK.into_response();
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = status;
    if let Some(content_type) = answer.content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in answer.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes()))
        else {
            continue;
        };
        if name == header::CONTENT_TYPE {
            response.headers_mut().insert(name, value);
        } else if !is_hop_by_hop(&name) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
