//! Azure DevOps: `https://dev.azure.com`, with one organisation, project and repository.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Path, Query, State as Shared},
    http::{HeaderMap, StatusCode, Uri, header as names},
    response::Response,
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{State, answer, header, says, zipped};

type Known = Arc<Mutex<State>>;
const PAGE: &str = "<html><title>Azure DevOps Services | Sign In</title></html>";

pub fn api(state: &Known) -> Router {
    Router::new()
        .route("/contoso/{project}/_apis/git/repositories/{repository}/{kind}", get(ask))
        .with_state(state.clone())
}

async fn ask(
    Shared(state): Shared<Known>,
    Path((project, repository, kind)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let mut state = state.lock().unwrap();
    state.asked.push(uri.to_string());
    if let Some(trouble) = state.trouble() {
        return trouble;
    }
    if let Some(page) = sign_in(&state, header(&headers, "authorization")) {
        return page;
    }
    let get = |name: &str| query.get(name).map_or("", String::as_str);
    if get("api-version") != "7.1" {
        return says(StatusCode::BAD_REQUEST, "No api-version was supplied for the request.");
    }
    if (project.as_str(), repository.as_str()) != ("Image Factory", "images") {
        let unknown = "TF401019: The Git repository with name or identifier does not exist or you do not have permissions";
        return says(StatusCode::NOT_FOUND, unknown);
    }
    match kind.as_str() {
        "refs" => refs(&state, get("filter")),
        "items" => items(&state, &get),
        _ => says(StatusCode::NOT_FOUND, "no such resource"),
    }
}

/// The page that whoever brings no good token is shown: as an answer with a personal token, as a redirect without one.
fn sign_in(state: &State, given: &str) -> Option<Response> {
    let token = state.token.as_ref()?;
    let basic = format!("Basic {}", BASE64_STANDARD.encode(format!(":{token}")));
    if given == basic || given == format!("Bearer {token}") {
        return None;
    }
    if given.starts_with("Basic ") {
        return Some(answer(StatusCode::NON_AUTHORITATIVE_INFORMATION, "text/html; charset=utf-8", PAGE));
    }
    let mut page = answer(StatusCode::FOUND, "text/html; charset=utf-8", PAGE);
    page.headers_mut().insert(names::LOCATION, "/_signin?realm=dev.azure.com".parse().unwrap());
    Some(page)
}

fn refs(state: &State, filter: &str) -> Response {
    let all =
        state.branches.iter().map(|(name, id)| json!({"name": format!("refs/heads/{name}"), "objectId": id}));
    let begins = format!("refs/{filter}");
    let value: Vec<_> = all.filter(|branch| branch["name"].as_str().unwrap().starts_with(&begins)).collect();
    let body = json!({"count": value.len(), "value": value}).to_string();
    answer(StatusCode::OK, "application/json; charset=utf-8; api-version=7.1", body)
}

fn items<'a>(state: &State, get: &impl Fn(&str) -> &'a str) -> Response {
    let version = get("versionDescriptor.version");
    let found = match get("versionDescriptor.versionType") {
        "commit" => state.commits.get_key_value(version).map(|(id, _)| id),
        "branch" => state.branches.get(version),
        _ => None,
    };
    let Some(id) = found else {
        let unknown = format!(
            "TF401175: The version descriptor <{version}> could not be resolved to a version in the repository images"
        );
        return says(StatusCode::NOT_FOUND, &unknown);
    };
    if get("$format") != "zip" || get("recursionLevel") != "Full" || get("scopePath") != "/" {
        return says(StatusCode::OK, "a list of items");
    }
    answer(
        StatusCode::OK,
        "application/zip",
        state.archive.clone().unwrap_or_else(|| zipped("", &state.commits[id])),
    )
}
