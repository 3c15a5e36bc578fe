//! Git hosts on this machine: a git repository behind the interfaces of GitHub or Azure DevOps, with the webhooks that they send.
//!
//! What is served is a real repository, so an archive, a commit's author and the commits of a push are never of different
//! minds. As towards the real hosts one needs the right headers, versions and tokens, and learns nothing with wrong ones.

pub mod app;
mod azure_devops;
mod carrier;
mod github;
pub mod served;
pub mod webhook;

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use factory_clock::Clock;
use reqwest::Url;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use app::App;
use carrier::InProcess;
use served::Served;

use crate::source::Carrier;

/// Whose repository it is: GitHub's user, Azure DevOps' organisation.
const OWNER: &str = "octo";
const ORGANIZATION: &str = "contoso";
/// Azure DevOps' project: with a space, as many have.
const PROJECT: &str = "Image Factory";

/// Which host is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum Kind {
    /// GitHub.
    #[value(name = "github")]
    GitHub,
    /// Azure DevOps.
    #[value(name = "azure-devops")]
    AzureDevOps,
}

/// What people and tests may change about a host while it is up.
#[derive(Default)]
pub struct State {
    /// The token without which nobody gets in; a public repository has none.
    pub token: Option<String>,
    /// The GitHub App that gets in as well.
    pub app: Option<App>,
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
        answer.body(Body::empty()).ok()
    }
}

/// What all interfaces of a host share.
struct Inner {
    kind: Kind,
    /// The repository's name there.
    name: String,
    repository: Served,
    clock: Clock,
    state: Mutex<State>,
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Known = Arc<Inner>;

/// A host that lives as long as this.
pub struct Host {
    inner: Known,
    /// Where its interface is.
    pub url: Url,
    carrier: Option<Arc<dyn Carrier>>,
    _tasks: JoinSet<()>,
}

impl Host {
    /// A host on sockets of the loopback interface that calls `repository` by this name.
    ///
    /// # Errors
    /// If it cannot listen.
    pub async fn listening(kind: Kind, name: &str, repository: Served, clock: Clock) -> io::Result<Self> {
        let inner = Self::inner(kind, name, repository, clock);
        let mut tasks = JoinSet::new();
        let url = match kind {
            Kind::GitHub => {
                let archives = serve(&mut tasks, github::archives(&inner)).await?;
                serve(&mut tasks, github::api(&inner, archives)).await?
            }
            Kind::AzureDevOps => serve(&mut tasks, azure_devops::api(&inner)).await?,
        };
        Ok(Self { inner, url, carrier: None, _tasks: tasks })
    }

    /// A host without sockets, at the addresses of the real one: for runs under virtual time. It is reached by [`Self::carrier`].
    pub fn in_process(kind: Kind, name: &str, repository: Served, clock: Clock) -> Self {
        let inner = Self::inner(kind, name, repository, clock);
        let at = |host: &str| -> Url { format!("https://{host}").parse().expect("a host's name is a URL's") };
        let (url, routers) = match kind {
            Kind::GitHub => {
                let (api, archives) = (at("api.github.com"), at("codeload.github.com"));
                let routers = vec![
                    (archives.clone(), github::archives(&inner)),
                    (api.clone(), github::api(&inner, archives)),
                ];
                (api, routers)
            }
            Kind::AzureDevOps => {
                let url = at("dev.azure.com");
                (url.clone(), vec![(url, azure_devops::api(&inner))])
            }
        };
        let carrier: Arc<dyn Carrier> = Arc::new(InProcess::new(routers));
        Self { inner, url, carrier: Some(carrier), _tasks: JoinSet::new() }
    }

    fn inner(kind: Kind, name: &str, repository: Served, clock: Clock) -> Known {
        let name = name.to_owned();
        Arc::new(Inner { kind, name, repository, clock, state: Mutex::default() })
    }

    /// What takes requests to a host without sockets.
    pub fn carrier(&self) -> Option<Arc<dyn Carrier>> {
        self.carrier.clone()
    }

    /// Which host it is.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// What it serves.
    pub fn repository(&self) -> &Served {
        &self.inner.repository
    }

    /// How it is disposed.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state()
    }

    /// The repository's address, as its pages show it.
    pub fn address(&self) -> String {
        let name = &self.inner.name;
        let url = self.url.as_str().trim_end_matches('/');
        match self.kind() {
            Kind::GitHub if self.carrier.is_some() => format!("https://github.com/{OWNER}/{name}"),
            // As a GitHub Enterprise server's.
            Kind::GitHub => format!("{url}/{OWNER}/{name}"),
            Kind::AzureDevOps => format!("{url}/{ORGANIZATION}/{}/_git/{name}", PROJECT.replace(' ', "%20")),
        }
    }

    /// Commits exactly these files to a branch, and answers the commit's id.
    #[cfg(test)]
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        self.repository().commit(branch, files).unwrap()
    }

    /// GitHub, with a repository that has no commits yet.
    #[cfg(test)]
    pub async fn github() -> Self {
        let served = Served::new().unwrap();
        Self::listening(Kind::GitHub, "images", served, Clock::system()).await.unwrap()
    }

    /// Azure DevOps, with a repository that has no commits yet.
    #[cfg(test)]
    pub async fn azure_devops() -> Self {
        let served = Served::new().unwrap();
        Self::listening(Kind::AzureDevOps, "images", served, Clock::system()).await.unwrap()
    }
}

async fn serve(tasks: &mut JoinSet<()>, router: Router) -> io::Result<Url> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?).parse().map_err(io::Error::other)?;
    tasks.spawn(async move {
        // It ends with its host.
        let _ = axum::serve(listener, router).await;
    });
    Ok(url)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn answer(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Response {
    let answer = Response::builder().status(status).header(header::CONTENT_TYPE, content_type);
    answer.body(body.into()).unwrap_or_default()
}

fn says(status: StatusCode, message: &str) -> Response {
    answer(status, "application/json; charset=utf-8", json!({ "message": message }).to_string())
}

/// The repository itself is in trouble.
fn broken(error: &git2::Error) -> Response {
    says(StatusCode::INTERNAL_SERVER_ERROR, &format!("the repository cannot be read: {}", error.message()))
}
