//! Configuration from GitHub, or a GitHub Enterprise server: a commit's files as an archive.
//! <https://docs.github.com/rest/repos/contents#download-a-repository-archive-zip>

use async_trait::async_trait;
use factory_clock::Clock;
use reqwest::{
    StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue},
};

use super::{
    Folder, Revision, Source, SourceError,
    archive::{self, LARGEST_ARCHIVE, Layout},
    http::{Answer, Http, Question, encoded, secret_header},
};
use crate::{domain::config::ConfigurationFiles, secret::Secret};

/// The API of github.com.
pub const PUBLIC_API: &str = "https://api.github.com";
const JSON: HeaderValue = HeaderValue::from_static("application/vnd.github+json");
/// With this a commit is answered as nothing but its id.
const ID_ALONE: HeaderValue = HeaderValue::from_static("application/vnd.github.sha");
const API_VERSION: HeaderValue = HeaderValue::from_static("2022-11-28");
/// An id, or an error in words.
const LARGEST_ANSWER: u64 = 1 << 20;

const UNSEEN: &str = "see that it is pushed, that the repository is neither empty nor misspelt, and that \
                      IMAGE_FACTORY_REPOSITORY_TOKEN may read it: GitHub hides what a token may not see";
const NOT_LET_IN: &str =
    "put a token into IMAGE_FACTORY_REPOSITORY_TOKEN that is valid and may read the repository's contents";
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
    token: Option<Secret<String>>,
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
    /// A token that may read the contents; a public repository needs none.
    pub token: Option<Secret<String>>,
}

impl GitHub {
    /// Opens no connection yet.
    pub fn new(options: GitHubOptions, clock: Clock) -> Self {
        let GitHubOptions { api, owner, repository, branch, folder, token } = options;
        Self { api, owner, repository, branch, folder, token, http: Http::new(clock) }
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
        let place = self.name();
        let mut headers = HeaderMap::from_iter([(ACCEPT, accept)]);
        headers.insert("x-github-api-version", API_VERSION);
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, secret_header(&place, &format!("Bearer {}", token.expose()))?);
        }
        // A branch's slashes stay: they are part of the path.
        let revision: Vec<String> = revision.as_str().split('/').map(encoded).collect();
        let path = format!(
            "repos/{}/{}/{kind}/{}",
            encoded(&self.owner),
            encoded(&self.repository),
            revision.join("/")
        );
        let url = format!("{}/{path}", self.api.as_str().trim_end_matches('/'));
        let url = url
            .parse()
            .map_err(|error| SourceError::malformed(&place, format!("{url} is no URL: {error}")))?;
        self.http
            .get(Question { place: &place, url, headers, most_bytes, most_redirects: MOST_REDIRECTS })
            .await
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

#[cfg(test)]
mod tests;
