//! Configuration from Azure Repos: a commit's files as an archive.
//! <https://learn.microsoft.com/rest/api/azure/devops/git/items/get>

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use factory_clock::Clock;
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue},
};
use serde_json::Value;

use super::{
    Folder, Revision, Source, SourceError,
    archive::{self, LARGEST_ARCHIVE, Layout},
    http::{Answer, Carrier, Http, Question, encoded, secret_header},
};
use crate::{
    azure::AzureError,
    domain::{commit_event::author_name, config::ConfigurationFiles},
    secret::Secret,
};

/// Azure DevOps, as Entra knows it.
const SCOPE: &str = "499b84ac-1321-427f-aa17-267ca6975798/.default";
const API_VERSION: &str = "7.1";
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const ZIP: HeaderValue = HeaderValue::from_static("application/zip");
/// The branches whose names begin alike, a commit's description, or an error in words.
const LARGEST_ANSWER: u64 = 4 << 20;
const NOT_LET_IN: &str = "put a personal access token that may read code and has not expired into \
                          IMAGE_FACTORY_REPOSITORY_TOKEN, or leave it out and give the managed identity access to the project";

/// A repository.
pub struct AzureDevOps {
    options: AzureDevOpsOptions,
    clock: Clock,
    http: Http,
}

/// Which repository, and what of it.
#[derive(Clone)]
pub struct AzureDevOpsOptions {
    /// The organisation's URL, such as `https://dev.azure.com/contoso`.
    pub organization: Url,
    /// The project.
    pub project: String,
    /// The repository's name or id.
    pub repository: String,
    /// What counts where no commit is named.
    pub branch: Revision,
    /// The configuration's folder.
    pub folder: Folder,
    /// How to get in.
    pub access: DevOpsAccess,
}

/// How to get in.
#[derive(Clone)]
pub enum DevOpsAccess {
    /// A personal access token.
    Token(Secret<String>),
    /// An identity of Entra that the organisation knows, such as the managed one.
    Identity(Arc<dyn TokenCredential>),
}

impl AzureDevOps {
    /// Opens no connection yet.
    pub fn new(options: AzureDevOpsOptions, clock: Clock) -> Self {
        Self { options, http: Http::new(clock.clone()), clock }
    }

    /// Reaches its host this way instead of through sockets.
    pub fn carried_by(self, carrier: Arc<dyn Carrier>) -> Self {
        Self { http: self.http.carried_by(carrier), ..self }
    }

    fn name(&self) -> String {
        let AzureDevOpsOptions { organization, project, repository, .. } = &self.options;
        let (host, path) =
            (organization.host_str().unwrap_or_default(), organization.path().trim_end_matches('/'));
        format!("Azure DevOps repository {host}{path}/{project}/{repository}")
    }

    async fn authorization(&self, place: &str) -> Result<HeaderValue, SourceError> {
        match &self.options.access {
            DevOpsAccess::Token(token) => {
                let pair = BASE64_STANDARD.encode(format!(":{}", token.expose()));
                secret_header(place, &format!("Basic {pair}"))
            }
            DevOpsAccess::Identity(credential) => {
                let token = credential.get_token(&[SCOPE], None).await.map_err(|error| {
                    let error = AzureError::from_sdk("get a token for Azure DevOps", &error, &self.clock);
                    let (place, reason, retry_after) =
                        (place.to_owned(), error.to_string(), error.retry_after());
                    match error.is_transient() {
                        true => SourceError::Unavailable { place, reason, retry_after },
                        false => SourceError::Refused { place, reason, advice: NOT_LET_IN.to_owned() },
                    }
                })?;
                secret_header(place, &format!("Bearer {}", token.token.secret()))
            }
        }
    }

    /// Asks `{organization}/{project}/_apis/git/repositories/{repository}/{kind}`.
    async fn get(
        &self,
        kind: &str,
        query: &[(&str, &str)],
        accept: HeaderValue,
        most_bytes: u64,
    ) -> Result<Answer, SourceError> {
        let place = self.name();
        let AzureDevOpsOptions { organization, project, repository, .. } = &self.options;
        let (project, repository) = (encoded(project), encoded(repository));
        let organization = organization.as_str().trim_end_matches('/');
        let url = format!("{organization}/{project}/_apis/git/repositories/{repository}/{kind}");
        let mut url: Url = url
            .parse()
            .map_err(|error| SourceError::malformed(&place, format!("{url} is no URL: {error}")))?;
        url.query_pairs_mut().extend_pairs(query).append_pair("api-version", API_VERSION);
        let headers =
            HeaderMap::from_iter([(ACCEPT, accept), (AUTHORIZATION, self.authorization(&place).await?)]);
        // It leads nowhere but to a page to sign in on.
        let method = Method::GET;
        self.http.ask(Question { place: &place, method, url, headers, most_bytes, most_redirects: 0 }).await
    }

    /// The answer, if it is of this type of content.
    fn expected(
        &self,
        answer: Answer,
        content_type: &str,
        revision: &Revision,
    ) -> Result<Answer, SourceError> {
        let (place, status) = (self.name(), answer.status);
        let refused = |reason: String| SourceError::Refused {
            place: place.clone(),
            reason,
            advice: NOT_LET_IN.to_owned(),
        };
        match status {
            StatusCode::OK if answer.content_type.starts_with(content_type) => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(refused(answer.reason())),
            // What a wrong or expired token gets is no 401, but a page to sign in on.
            StatusCode::NON_AUTHORITATIVE_INFORMATION => Err(refused(sign_in(status))),
            _ if status.is_redirection() || answer.content_type.starts_with("text/html") => {
                Err(refused(sign_in(status)))
            }
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => Err(self.missing(revision, &answer.reason())),
            _ => {
                let reason = format!("an answer that Azure DevOps does not give: {}", answer.reason());
                Err(SourceError::malformed(
                    &place,
                    format!("{reason}, of the type '{}'", answer.content_type),
                ))
            }
        }
    }

    fn missing(&self, revision: &Revision, reason: &str) -> SourceError {
        SourceError::Missing {
            place: self.name(),
            what: format!("commit or branch {revision} ({reason})"),
            advice:
                "see that it is pushed and that IMAGE_FACTORY_REPOSITORY and IMAGE_FACTORY_BRANCH are right"
                    .into(),
        }
    }
}

fn sign_in(status: StatusCode) -> String {
    format!("HTTP status {} with a page to sign in on: the token is wrong or has expired", status.as_u16())
}

#[async_trait]
impl Source for AzureDevOps {
    async fn resolve(&self, asked: Option<&str>) -> Result<Option<String>, SourceError> {
        let revision = self.options.branch.or(asked, &self.name())?;
        if revision.is_id() {
            return Ok(Some(revision.to_string()));
        }
        // The filter is the beginning of a name.
        let filter = format!("heads/{revision}");
        let answer = self.get("refs", &[("filter", &filter)], JSON, LARGEST_ANSWER).await?;
        let answer = self.expected(answer, "application/json", &revision)?;
        let found: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            SourceError::malformed(&self.name(), format!("its list of branches: {error}"))
        })?;
        let name = format!("refs/{filter}");
        let mut branches = found["value"].as_array().into_iter().flatten();
        let branch = branches.find(|branch| branch["name"].as_str() == Some(&name));
        let id = branch.and_then(|branch| branch["objectId"].as_str()?.parse::<Revision>().ok());
        match id.filter(Revision::is_id) {
            Some(id) => Ok(Some(id.to_string())),
            None => {
                Err(self.missing(&revision, "there is no branch of this name; a commit needs its whole id"))
            }
        }
    }

    async fn author(&self, commit: &str) -> Result<Option<String>, SourceError> {
        let revision = self.options.branch.or(Some(commit), &self.name())?;
        let kind = format!("commits/{}", encoded(revision.as_str()));
        let answer = self.get(&kind, &[], JSON, LARGEST_ANSWER).await?;
        let answer = self.expected(answer, "application/json", &revision)?;
        let told: Value = serde_json::from_slice(&answer.body).map_err(|error| {
            SourceError::malformed(&self.name(), format!("its description of a commit: {error}"))
        })?;
        Ok(author_name(told["author"]["name"].as_str()))
    }

    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        let revision = self.options.branch.or(commit, &self.name())?;
        let kind = if revision.is_id() { "commit" } else { "branch" };
        let query = [
            ("scopePath", "/"),
            ("recursionLevel", "Full"),
            ("versionDescriptor.version", revision.as_str()),
            ("versionDescriptor.versionType", kind),
            ("$format", "zip"),
            ("download", "true"),
        ];
        let answer = self.get("items", &query, ZIP, LARGEST_ARCHIVE).await?;
        let answer = self.expected(answer, "application/", &revision)?;
        let place = format!("{} at {revision}", self.name());
        archive::read_aside(place, answer.body, Layout::Plain, self.options.folder.clone()).await
    }
}

#[cfg(all(test, feature = "dev"))]
mod tests;
