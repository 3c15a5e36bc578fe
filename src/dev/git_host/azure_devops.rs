//! Azure DevOps: `https://dev.azure.com`, with one organisation, project and repository.

use std::collections::HashMap;

use axum::{
    Router,
    extract::{Path, Query, State as Shared},
    http::{HeaderMap, StatusCode, Uri, header as names},
    response::Response,
    routing::get,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::{Known, PROJECT, State, answer, broken, header, says};

const PAGE: &str = "<html><title>Azure DevOps Services | Sign In</title></html>";
const JSON: &str = "application/json; charset=utf-8; api-version=7.1";

pub fn api(known: &Known) -> Router {
    Router::new()
        .route("/contoso/{project}/_apis/git/repositories/{repository}/{*resource}", get(ask))
        .with_state(known.clone())
}

async fn ask(
    Shared(known): Shared<Known>,
    Path((project, repository, resource)): Path<(String, String, String)>,
    Query(query): Query<HashMap<String, String>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    {
        let mut state = known.state();
        state.asked.push(uri.to_string());
        if let Some(trouble) = state.trouble() {
            return trouble;
        }
        if let Some(page) = sign_in(&state, header(&headers, "authorization")) {
            return page;
        }
    }
    let get = |name: &str| query.get(name).map_or("", String::as_str);
    if get("api-version") != "7.1" {
        return says(StatusCode::BAD_REQUEST, "No api-version was supplied for the request.");
    }
    if (project.as_str(), repository.as_str()) != (PROJECT, known.name.as_str()) {
        let unknown = "TF401019: The Git repository with name or identifier does not exist or you do not have permissions";
        return says(StatusCode::NOT_FOUND, unknown);
    }
    match resource.split_once('/') {
        None if resource == "refs" => refs(&known, get("filter")),
        None if resource == "items" => items(&known, &get),
        Some(("commits", commit)) => commits(&known, commit),
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
    let location = axum::http::HeaderValue::from_static("/_signin?realm=dev.azure.com");
    page.headers_mut().insert(names::LOCATION, location);
    Some(page)
}

fn refs(known: &Known, filter: &str) -> Response {
    let branches = match known.repository.branches() {
        Ok(branches) => branches,
        Err(error) => return broken(&error),
    };
    let begins = format!("refs/{filter}");
    let all = branches.into_iter().map(|(name, id)| (format!("refs/heads/{name}"), id));
    let value: Vec<_> = all
        .filter(|(name, _)| name.starts_with(&begins))
        .map(|(name, id)| json!({"name": name, "objectId": id}))
        .collect();
    answer(StatusCode::OK, JSON, json!({"count": value.len(), "value": value}).to_string())
}

/// <https://learn.microsoft.com/rest/api/azure/devops/git/commits/get>
fn commits(known: &Known, commit: &str) -> Response {
    match known.repository.tell(commit) {
        Ok(Some(told)) => {
            let person = |person: &super::served::Person| json!({"name": person.name, "email": person.email, "date": person.date});
            let body = json!({
                "treeId": told.tree, "commitId": told.id, "author": person(&told.author),
                "committer": person(&told.committer), "comment": told.message, "parents": told.parents,
            });
            answer(StatusCode::OK, JSON, body.to_string())
        }
        Ok(None) => {
            let unknown = format!(
                "TF401175: The version descriptor <Commit: {commit} > could not be resolved to a version in the repository {}",
                known.name
            );
            says(StatusCode::NOT_FOUND, &unknown)
        }
        Err(error) => broken(&error),
    }
}

fn items<'a>(known: &Known, get: &impl Fn(&str) -> &'a str) -> Response {
    let version = get("versionDescriptor.version");
    let found = match get("versionDescriptor.versionType") {
        "commit" => known.repository.tell(version).map(|told| told.map(|told| told.id)),
        "branch" => known.repository.newest(version),
        _ => Ok(None),
    };
    let id = match found {
        Ok(Some(id)) => id,
        Ok(None) => {
            let unknown = format!(
                "TF401175: The version descriptor <{version}> could not be resolved to a version in the repository {}",
                known.name
            );
            return says(StatusCode::NOT_FOUND, &unknown);
        }
        Err(error) => return broken(&error),
    };
    if get("$format") != "zip" || get("recursionLevel") != "Full" || get("scopePath") != "/" {
        return says(StatusCode::OK, "a list of items");
    }
    let bytes = match known.state().archive.clone() {
        Some(bytes) => bytes,
        None => match known.repository.zipped(&id, "") {
            Ok(bytes) => bytes,
            Err(error) => return says(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        },
    };
    answer(StatusCode::OK, "application/zip", bytes)
}
