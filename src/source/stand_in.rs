//! Git hosts on this machine, for tests: repositories with commits and branches, behind the interfaces of GitHub and Azure DevOps.

mod azure_devops;
mod github;

use std::{
    collections::BTreeMap,
    io::{Cursor, Write as _},
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use reqwest::Url;
use tokio::{net::TcpListener, task::JoinSet};
use zip::{ZipWriter, write::SimpleFileOptions};

/// The files of a commit.
pub type Files = Vec<(String, String)>;

/// What a host knows.
#[derive(Default)]
pub struct State {
    /// By id.
    pub commits: BTreeMap<String, Files>,
    /// The newest commits.
    pub branches: BTreeMap<String, String>,
    /// The token without which nobody gets in; a public repository has none.
    pub token: Option<String>,
    /// Trouble: the next answers are these, with their headers.
    pub troubles: Vec<(u16, Vec<(&'static str, String)>)>,
    /// What is sent instead of an archive.
    pub archive: Option<Vec<u8>>,
    /// What was asked for: paths with queries.
    pub asked: Vec<String>,
    /// Links that were handed out and not yet used.
    links: BTreeMap<String, Vec<u8>>,
}

impl State {
    /// The next trouble, if there is one.
    fn trouble(&mut self) -> Option<Response> {
        let (status, headers) = (!self.troubles.is_empty()).then(|| self.troubles.remove(0))?;
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(name, value);
        }
        Some(answer.body(Body::empty()).unwrap())
    }

    /// The commit that this names: an id, a part of one, or a branch.
    fn commit(&self, revision: &str) -> Option<&str> {
        let by_branch = self.branches.get(revision).map(String::as_str);
        let mut by_id = self.commits.keys().filter(|id| revision.len() >= 7 && id.starts_with(revision));
        by_branch.or_else(|| by_id.next().map(String::as_str))
    }
}

/// A host that lives as long as this.
pub struct Host {
    state: Arc<Mutex<State>>,
    /// Where its interface is.
    pub url: Url,
    _tasks: JoinSet<()>,
}

impl Host {
    /// GitHub, with another host for its archives.
    pub async fn github() -> Self {
        let (state, mut tasks) = (Arc::default(), JoinSet::new());
        let archives = serve(&mut tasks, github::archives(&state)).await;
        let url = serve(&mut tasks, github::api(&state, archives)).await;
        Self { state, url, _tasks: tasks }
    }

    /// Azure DevOps.
    pub async fn azure_devops() -> Self {
        let (state, mut tasks) = (Arc::default(), JoinSet::new());
        let url = serve(&mut tasks, azure_devops::api(&state)).await;
        Self { state, url, _tasks: tasks }
    }

    /// What it knows.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Commits exactly these files to a branch, and answers the commit's id.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let mut state = self.state();
        let id = format!("{:040x}", 0xc0ff_ee00_u64 + state.commits.len() as u64);
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        state.commits.insert(id.clone(), files);
        state.branches.insert(branch.to_owned(), id.clone());
        id
    }
}

async fn serve(tasks: &mut JoinSet<()>, router: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// An archive of these files, each below `top`, with an entry for every folder as git makes them.
fn zipped(top: &str, files: &[(String, String)]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    let mut folders = std::collections::BTreeSet::new();
    for (name, text) in files {
        let path = format!("{top}{name}");
        for (at, _) in path.match_indices('/') {
            if folders.insert(path[..=at].to_owned()) {
                writer.add_directory(&path[..at], SimpleFileOptions::default()).unwrap();
            }
        }
        writer.start_file(path, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn answer(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Response {
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
    answer.body(body.into()).unwrap()
}

fn says(status: StatusCode, message: &str) -> Response {
    let body = serde_json::json!({ "message": message }).to_string();
    answer(status, "application/json; charset=utf-8", body)
}
