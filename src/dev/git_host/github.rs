//! GitHub: `https://api.github.com`, and `https://codeload.github.com`, to which it leads for archives.

use axum::{
    Router,
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode, header as names},
    response::Response,
    routing::{get, post},
};
use reqwest::Url;
use serde_json::json;

use super::{Known, OWNER, State, answer, app, broken, header, says};

pub fn api(known: &Known, archives: Url) -> Router {
    let zipball = move |Shared(known): Shared<Known>,
                        Path((owner, name, revision)): Path<(String, String, String)>,
                        headers: HeaderMap| {
        let archives = archives.clone();
        async move { archive_link(&known, &archives, &owner, &name, &revision, &headers) }
    };
    Router::new()
        .route("/repos/{owner}/{name}/commits/{*revision}", get(commit_id))
        .route("/repos/{owner}/{name}/git/commits/{commit}", get(commit))
        .route("/repos/{owner}/{name}/zipball/{*revision}", get(zipball))
        .route("/app/installations/{installation}/access_tokens", post(app::access_token))
        .fallback(|| async { says(StatusCode::NOT_FOUND, "Not Found") })
        .with_state(known.clone())
}

/// Serves what was linked to, once, and refuses whoever brings a token that was meant for another host.
pub fn archives(known: &Known) -> Router {
    let link = |Shared(known): Shared<Known>, Path(link): Path<String>, headers: HeaderMap| async move {
        if headers.contains_key(names::AUTHORIZATION) || headers.contains_key("x-github-api-version") {
            return says(StatusCode::BAD_REQUEST, "a header for another host");
        }
        match known.state().links.remove(&link) {
            Some(bytes) => answer(StatusCode::OK, "application/zip", bytes),
            None => says(StatusCode::NOT_FOUND, "Not Found"),
        }
    };
    Router::new().route("/legacy.zip/{link}", get(link)).with_state(known.clone())
}

/// What comes before any answer: headers, versions, troubles.
pub(super) fn bad_manners(state: &mut State, headers: &HeaderMap) -> Option<Response> {
    if let Some(trouble) = state.trouble() {
        return Some(trouble);
    }
    if header(headers, "user-agent").is_empty() {
        return Some(says(StatusCode::FORBIDDEN, "Request forbidden by administrative rules."));
    }
    if header(headers, "x-github-api-version") != "2022-11-28" {
        return Some(says(StatusCode::BAD_REQUEST, "unsupported version"));
    }
    None
}

/// What comes before an answer about a repository: its name, and tokens.
fn refusal(known: &Known, owner: &str, name: &str, headers: &HeaderMap) -> Option<Response> {
    let mut state = known.state();
    if let Some(refusal) = bad_manners(&mut state, headers) {
        return Some(refusal);
    }
    let is_public = state.token.is_none() && state.app.is_none();
    let is_let_in = match header(headers, "authorization") {
        "" => is_public,
        given => {
            let token = given.strip_prefix("Bearer ").unwrap_or_default();
            let is_known = state.token.as_deref() == Some(token)
                || state.app.as_ref().is_some_and(|app| app.knows(token, &known.clock));
            if !is_known && !is_public {
                return Some(says(StatusCode::UNAUTHORIZED, "Bad credentials"));
            }
            true
        }
    };
    // What one may not see is not there.
    let is_there = (owner, name) == (OWNER, known.name.as_str()) && is_let_in;
    (!is_there).then(|| says(StatusCode::NOT_FOUND, "Not Found"))
}

async fn commit_id(
    Shared(known): Shared<Known>,
    Path((owner, name, revision)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    known.state().asked.push(format!("commits/{revision}"));
    if let Some(refusal) = refusal(&known, &owner, &name, &headers) {
        return refusal;
    }
    if header(&headers, "accept") != "application/vnd.github.sha" {
        return says(StatusCode::OK, "a commit's whole description");
    }
    let is_empty = || known.repository.branches().is_ok_and(|branches| branches.is_empty());
    match known.repository.named(&revision) {
        Ok(Some(id)) => answer(StatusCode::OK, "application/vnd.github.sha; charset=utf-8", id),
        Ok(None) if is_empty() => says(StatusCode::CONFLICT, "Git Repository is empty."),
        Ok(None) => says(StatusCode::UNPROCESSABLE_ENTITY, &format!("No commit found for SHA: {revision}")),
        Err(error) => broken(&error),
    }
}

/// <https://docs.github.com/rest/git/commits#get-a-commit-object>
async fn commit(
    Shared(known): Shared<Known>,
    Path((owner, name, commit)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Response {
    known.state().asked.push(format!("git/commits/{commit}"));
    if let Some(refusal) = refusal(&known, &owner, &name, &headers) {
        return refusal;
    }
    match known.repository.tell(&commit) {
        Ok(Some(told)) => {
            let person = |person: &super::served::Person| json!({"name": person.name, "email": person.email, "date": person.date});
            let parents: Vec<_> = told.parents.iter().map(|id| json!({"sha": id})).collect();
            let body = json!({
                "sha": told.id, "author": person(&told.author), "committer": person(&told.committer),
                "message": told.message, "tree": {"sha": told.tree}, "parents": parents,
            });
            answer(StatusCode::OK, "application/json; charset=utf-8", body.to_string())
        }
        Ok(None) => says(StatusCode::NOT_FOUND, "Not Found"),
        Err(error) => broken(&error),
    }
}

fn archive_link(
    known: &Known,
    archives: &Url,
    owner: &str,
    name: &str,
    revision: &str,
    headers: &HeaderMap,
) -> Response {
    known.state().asked.push(format!("zipball/{revision}"));
    if let Some(refusal) = refusal(known, owner, name, headers) {
        return refusal;
    }
    if header(headers, "accept") != "application/vnd.github+json" {
        return says(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Must accept 'application/json'");
    }
    let id = match known.repository.named(revision) {
        Ok(Some(id)) => id,
        Ok(None) => return says(StatusCode::NOT_FOUND, "Not Found"),
        Err(error) => return broken(&error),
    };
    let mut state = known.state();
    let bytes = match state.archive.clone() {
        Some(bytes) => bytes,
        None => match known.repository.zipped(&id, &format!("{owner}-{name}-{}/", &id[..7])) {
            Ok(bytes) => bytes,
            Err(error) => return says(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
    };
    let link = format!("link-{}", state.asked.len());
    state.links.insert(link.clone(), bytes);
    let base = archives.as_str().trim_end_matches('/');
    let location = format!("{base}/legacy.zip/{link}?token=SECRET");
    let answer = Response::builder().status(StatusCode::FOUND).header(names::LOCATION, location);
    answer.body(axum::body::Body::empty()).unwrap_or_default()
}
