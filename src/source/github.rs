//! Configuration from GitHub, or a GitHub Enterprise server: a commit's files as an archive.
//! <https://docs.github.com/rest/repos/contents#download-a-repository-archive-zip>

mod app;

use std::sync::Arc;

use async_trait::async_trait;
use factory_clock::Clock;
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue},
};

use super::{
    Folder, Revision, Source, SourceError,
    archive::{self, LARGEST_ARCHIVE, Layout},
    http::{Answer, Carrier, Http, Question, encoded, secret_header},
};
use crate::{
    domain::{commit_event::author_name, config::ConfigurationFiles},
    secret::Secret,
};
use app::Tokens;
pub use app::{BadApp, GitHubApp};

/// The API of github.com.
pub const PUBLIC_API: &str = "https://api.github.com";
const JSON: HeaderValue = HeaderValue::from_static("application/vnd.github+json");
/// With this a commit is answered as nothing but its id.
const ID_ALONE: HeaderValue = HeaderValue::from_static("application/vnd.github.sha");
const API_VERSION: HeaderValue = HeaderValue::from_static("2022-11-28");
/// An id, a commit's description, or an error in words.
const LARGEST_ANSWER: u64 = 1 << 20;

const UNSEEN: &str = "see that it is pushed, that the repository is neither empty nor misspelt, and that the token of \
                      IMAGE_FACTORY_REPOSITORY_TOKEN, or the GitHub App, may read it: GitHub hides what one may not see";
const NOT_LET_IN: &str = "put a token into IMAGE_FACTORY_REPOSITORY_TOKEN that is valid and may read the repository's \
                          contents, or set up a GitHub App that may";
/// It leads on to where archives are once, and once more if the repository was renamed.
const MOST_REDIRECTS: usize = 3;

/// A repository.
#[derive(Debug)]
pub struct GitHub {
    api: Url,
    owner: String,
    repository: String,
    branch: Revision,
    folder: Folder,
    access: Access,
    clock: Clock,
    http: Http,
}

/// Which repository, and what of it.
#[derive(Clone, Debug)]
pub struct GitHubOptions {
    /// [`PUBLIC_API`], or an Enterprise server's, such as `https://git.example.org/api/v3`.
    pub api: Url,
    /// The user or organisation.
    pub owner: String,
    /// Its repository.
    pub repository: String,
    /// What counts where no commit is named.
    pub branch: Revision,
    /// The configuration's folder.
    pub folder: Folder,
    /// How to get in.
    pub access: GitHubAccess,
}

/// How to get in.
#[derive(Clone, Debug)]
pub enum GitHubAccess {
    /// As everybody may: the repository is public.
    Public,
    /// With a token that may read the contents.
    Token(Secret<String>),
    /// As an app that is installed where the repository is and may read its contents.
    App(GitHubApp),
}

#[derive(Debug)]
enum Access {
    Public,
    Token(Secret<String>),
    App(Tokens),
}

impl GitHub {
    /// Opens no connection yet.
    pub fn new(options: GitHubOptions, clock: Clock) -> Self {
        let GitHubOptions { api, owner, repository, branch, folder, access } = options;
        let access = match access {
            GitHubAccess::Public => Access::Public,
            GitHubAccess::Token(token) => Access::Token(token),
            GitHubAccess::App(app) => Access::App(Tokens::of(app)),
        };
        let http = Http::new(clock.clone());
        Self { api, owner, repository, branch, folder, access, clock, http }
    }

    /// Reaches its host this way instead of through sockets.
    pub fn carried_by(self, carrier: Arc<dyn Carrier>) -> Self {
        Self { http: self.http.carried_by(carrier), ..self }
    }

    fn name(&self) -> String {
        format!("GitHub repository {}/{}", self.owner, self.repository)
    }

    /// Asks `{api}/repos/{owner}/{repository}/{kind}/{revision}`.
    async fn get(
        &self,
        kind: &str,
        revision: &Revision,
        accept: HeaderValue,
        most_bytes: u64,
    ) -> Result<Answer, SourceError> {
        // A branch's slashes stay: they are part of the path.
        let revision: Vec<String> = revision.as_str().split('/').map(encoded).collect();
        let (owner, repository) = (encoded(&self.owner), encoded(&self.repository));
        let path = format!("repos/{owner}/{repository}/{kind}/{}", revision.join("/"));
        let ask = async |token: Option<&Secret<String>>| {
            let authorization = token.map(|token| format!("Bearer {}", token.expose()));
            self.ask(Method::GET, &path, authorization, accept.clone(), most_bytes, MOST_REDIRECTS).await
        };
        match &self.access {
            Access::Public => ask(None).await,
            Access::Token(token) => ask(Some(token)).await,
            Access::App(tokens) => {
                let (token, is_fresh) = tokens.get(self).await?;
                let answer = ask(Some(&token)).await?;
                if answer.status != StatusCode::UNAUTHORIZED || is_fresh {
                    return Ok(answer);
                }
                // GitHub takes tokens back before their end, when the app's permissions change.
                tokens.forget(&token).await;
                ask(Some(&tokens.get(self).await?.0)).await
            }
        }
    }

    /// Asks `{api}/{path}`.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        authorization: Option<String>,
        accept: HeaderValue,
        most_bytes: u64,
        most_redirects: usize,
    ) -> Result<Answer, SourceError> {
        let place = self.name();
        let mut headers = HeaderMap::from_iter([(ACCEPT, accept)]);
        headers.insert("x-github-api-version", API_VERSION);
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, secret_header(&place, &authorization)?);
        }
        let url = format!("{}/{path}", self.api.as_str().trim_end_matches('/'));
        let url = url
            .parse()
            .map_err(|error| SourceError::malformed(&place, format!("{url} is no URL: {error}")))?;
        self.http.ask(Question { place: &place, method, url, headers, most_bytes, most_redirects }).await
    }

    /// Why an answer is none of those that were hoped for.
    fn refusal(&self, answer: &Answer, revision: &Revision) -> SourceError {
        let place = self.name();
        let reason = answer.reason();
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                SourceError::Refused { place, reason, advice: NOT_LET_IN.to_owned() }
            }
            // GitHub hides what a token may not see, and answers 409 and 422 about empty repositories and unknown commits.
            StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                SourceError::Missing {
                    place,
                    what: format!("commit or branch {revision} ({reason})"),
                    advice: UNSEEN.to_owned(),
                }
            }
            _ => SourceError::malformed(&place, format!("an answer that GitHub does not give: {reason}")),
        }
    }
}

#[async_trait]
impl Source for GitHub {
    async fn resolve(&self, asked: Option<&str>) -> Result<Option<String>, SourceError> {
        let revision = self.branch.or(asked, &self.name())?;
        if revision.is_id() {
            return Ok(Some(revision.to_string()));
        }
        let answer = self.get("commits", &revision, ID_ALONE, LARGEST_ANSWER).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(&answer, &revision));
        }
        let id =
            String::from_utf8_lossy(&answer.body).trim().parse::<Revision>().ok().filter(Revision::is_id);
        let id =
            id.ok_or_else(|| SourceError::malformed(&self.name(), "it answers no commit's id".to_owned()))?;
        Ok(Some(id.to_string()))
    }

    async fn author(&self, commit: &str) -> Result<Option<String>, SourceError> {
        let revision = self.branch.or(Some(commit), &self.name())?;
        // Of the two descriptions of a commit the one without its changes, which can be large.
        let answer = self.get("git/commits", &revision, JSON, LARGEST_ANSWER).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(&answer, &revision));
        }
        let told: serde_json::Value = serde_json::from_slice(&answer.body).map_err(|error| {
            SourceError::malformed(&self.name(), format!("its description of a commit: {error}"))
        })?;
        Ok(author_name(told["author"]["name"].as_str()))
    }

    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        let revision = self.branch.or(commit, &self.name())?;
        let answer = self.get("zipball", &revision, JSON, LARGEST_ARCHIVE).await?;
        if answer.status != StatusCode::OK {
            return Err(self.refusal(&answer, &revision));
        }
        let place = format!("{} at {revision}", self.name());
        archive::read_aside(place, answer.body, Layout::OneTopFolder, self.folder.clone()).await
    }
}

#[cfg(all(test, feature = "dev"))]
mod tests;
