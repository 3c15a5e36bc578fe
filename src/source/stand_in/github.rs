//! GitHub: `https://api.github.com`, and `https://codeload.github.com`, to which it leads for archives.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header as names},
    response::Response,
    routing::get,
};
use reqwest::Url;

use super::{State, answer, header, says, zipped};

type Known = Arc<Mutex<State>>;

pub fn api(state: &Known, archives: Url) -> Router {
    let zipball = move |Shared(state): Shared<Known>,
                        Path((owner, name, revision)): Path<(String, String, String)>,
                        headers: HeaderMap| {
        let archives = archives.clone();
        async move { archive_link(&mut state.lock().unwrap(), &archives, &owner, &name, &revision, &headers) }
    };
    Router::new()
        .route("/repos/{owner}/{name}/commits/{*revision}", get(commit))
        .route("/repos/{owner}/{name}/zipball/{*revision}", get(zipball))
        .fallback(|| async { says(StatusCode::NOT_FOUND, "Not Found") })
        .with_state(state.clone())
}

/// Serves what was linked to, once, and refuses whoever brings a token that was meant for another host.
pub fn archives(state: &Known) -> Router {
    let link = |Shared(state): Shared<Known>, Path(link): Path<String>, headers: HeaderMap| async move {
        if headers.contains_key(names::AUTHORIZATION) || headers.contains_key("x-github-api-version") {
            return says(StatusCode::BAD_REQUEST, "a header for another host");
        }
        match state.lock().unwrap().links.remove(&link) {
            Some(bytes) => answer(StatusCode::OK, "application/zip", bytes),
            None => says(StatusCode::NOT_FOUND, "Not Found"),
        }
    };
    Router::new().route("/legacy.zip/{link}", get(link)).with_state(state.clone())
}

/// What comes before either answer: the repository's name, headers, tokens, troubles.
fn refusal(state: &mut State, owner: &str, name: &str, headers: &HeaderMap) -> Option<Response> {
    if let Some(trouble) = state.trouble() {
        return Some(trouble);
    }
    if header(headers, "user-agent").is_empty() {
        return Some(says(StatusCode::FORBIDDEN, "Request forbidden by administrative rules."));
    }
    if header(headers, "x-github-api-version") != "2022-11-28" {
        return Some(says(StatusCode::BAD_REQUEST, "unsupported version"));
    }
    let given = headers.get(names::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let is_let_in = match (&state.token, given) {
        (Some(token), Some(given)) if given != format!("Bearer {token}") => {
            return Some(says(StatusCode::UNAUTHORIZED, "Bad credentials"));
        }
        (Some(_), None) => false,
        _ => true,
    };
    // What one may not see is not there.
    let is_there = (owner, name) == ("octo", "images") && is_let_in;
    (!is_there).then(|| says(StatusCode::NOT_FOUND, "Not Found"))
}

async fn commit(
    Shared(state): Shared<Known>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let mut state = state.lock().unwrap();
    state.asked.push(format!("commits/{revision}"));
    if let Some(refusal) = refusal(&mut state, &owner, &name, &headers) {
        return refusal;
    }
    if header(&headers, "accept") != "application/vnd.github.sha" {
        return says(StatusCode::OK, "a commit's whole description");
    }
    match state.commit(&revision) {
        Some(id) => answer(StatusCode::OK, "application/vnd.github.sha; charset=utf-8", id.to_owned()),
        None if state.commits.is_empty() => says(StatusCode::CONFLICT, "Git Repository is empty."),
        None => says(StatusCode::UNPROCESSABLE_ENTITY, &format!("No commit found for SHA: {revision}")),
    }
}

fn archive_link(
    state: &mut State,
    archives: &Url,
    owner: &str,
    name: &str,
    revision: &str,
    headers: &HeaderMap,
) -> Response {
    state.asked.push(format!("zipball/{revision}"));
    if let Some(refusal) = refusal(state, owner, name, headers) {
        return refusal;
    }
    if header(headers, "accept") != "application/vnd.github+json" {
        return says(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Must accept 'application/json'");
    }
    let Some(id) = state.commit(revision).map(str::to_owned) else {
        return says(StatusCode::NOT_FOUND, "Not Found");
    };
    let bytes = state.archive.clone();
    let bytes =
        bytes.unwrap_or_else(|| zipped(&format!("{owner}-{name}-{}/", &id[..7]), &state.commits[&id]));
    let link = format!("link-{}", state.asked.len());
    state.links.insert(link.clone(), bytes);
    let location = archives.join(&format!("/legacy.zip/{link}?token=SECRET")).unwrap();
    let answer = Response::builder().status(StatusCode::FOUND).header(names::LOCATION, location.as_str());
    answer.body(axum::body::Body::empty()).unwrap()
}
