//! A GitHub App as the one who reads: its key signs a proof for minutes, which GitHub answers with a token for an hour.
//! <https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app>

use std::{fmt, time::Duration};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::Mutex;

use super::{GitHub, JSON, LARGEST_ANSWER};
use crate::{secret::Secret, source::SourceError};

/// A proof is made out for a minute ago, in case GitHub's clock is late, as GitHub advises.
const BACKDATED: Duration = Duration::from_secs(60);
/// And expires so soon after now: GitHub allows 10 minutes.
const PROOF_LIFETIME: Duration = Duration::from_secs(9 * 60);
/// A token is not used in its last minutes: what it was asked for with shall not outlive it.
const LAST_MINUTES: Duration = Duration::from_secs(5 * 60);
/// PEM breaks its lines here (RFC 7468).
const PEM_LINE: usize = 64;

const NOT_THE_APP: &str = "see that IMAGE_FACTORY_GITHUB_APP_ID, IMAGE_FACTORY_GITHUB_APP_INSTALLATION_ID and \
                           IMAGE_FACTORY_GITHUB_APP_PRIVATE_KEY are of one app, that the key was not deleted there, and that \
                           the app is installed where the repository is";

/// An app that is installed where the repository is.
#[derive(Clone)]
pub struct GitHubApp {
    id: String,
    installation: u64,
    key: EncodingKey,
}

/// Which part of an app is none. No part of a key is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadApp {
    /// The app's id.
    #[error("it is no app's id or client id, such as 123456 or Iv23liABCDEFGHIJKLMN")]
    Id,
    /// The installation's id.
    #[error(
        "it is no installation's id: the number at the end of its page's address, …/settings/installations/<number>"
    )]
    Installation,
    /// The private key.
    #[error(
        "it is no RSA private key as PEM, as the app's page generates it: -----BEGIN RSA PRIVATE KEY----- and so on"
    )]
    Key,
}

impl GitHubApp {
    /// An app by its id or client id, its installation's id, and its private key as PEM, whose line breaks may have become spaces
    /// or `\n`.
    ///
    /// # Errors
    /// With the part that is none.
    pub fn new(id: &str, installation: &str, key: &str) -> Result<Self, BadApp> {
        let is_id =
            !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_id {
            return Err(BadApp::Id);
        }
        let installation = installation.parse().map_err(|_| BadApp::Installation)?;
        let key =
            pem(key).and_then(|pem| EncodingKey::from_rsa_pem(pem.as_bytes()).ok()).ok_or(BadApp::Key)?;
        let app = Self { id: id.to_owned(), installation, key };
        // Only signing shows whether the numbers in it are a key.
        app.proof(OffsetDateTime::UNIX_EPOCH).map_err(|_| BadApp::Key)?;
        Ok(app)
    }

    /// A text that proves to GitHub, for minutes, that this is the app.
    fn proof(&self, now: OffsetDateTime) -> Result<String, jsonwebtoken::errors::Error> {
        #[derive(Serialize)]
        struct Claims<'a> {
            iat: i64,
            exp: i64,
            iss: &'a str,
        }
        let (iat, exp) = ((now - BACKDATED).unix_timestamp(), (now + PROOF_LIFETIME).unix_timestamp());
        encode(&Header::new(Algorithm::RS256), &Claims { iat, exp, iss: &self.id }, &self.key)
    }
}

impl fmt::Debug for GitHubApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, installation, key: _ } = self;
        f.debug_struct("GitHubApp")
            .field("id", id)
            .field("installation", installation)
            .finish_non_exhaustive()
    }
}

/// PEM with its line breaks, wherever an environment variable or a form has left them.
fn pem(text: &str) -> Option<String> {
    let text = text.replace("\\r", "").replace("\\n", "\n");
    let (_, text) = text.split_once("-----BEGIN ")?;
    let (label, text) = text.split_once("-----")?;
    let (body, _) = text.split_once(&format!("-----END {label}-----"))?;
    let body: Vec<char> = body.chars().filter(|c| !c.is_whitespace()).collect();
    let lines: Vec<String> = body.chunks(PEM_LINE).map(|line| line.iter().collect()).collect();
    Some(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n")))
}

/// The tokens of an app: one at a time, until shortly before its end.
#[derive(Debug)]
pub(super) struct Tokens {
    app: GitHubApp,
    newest: Mutex<Option<Token>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Token {
    token: Secret<String>,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
}

impl Tokens {
    pub fn of(app: GitHubApp) -> Self {
        Self { app, newest: Mutex::default() }
    }

    /// A token that lets in, and whether it was made for this very call.
    pub async fn get(&self, host: &GitHub) -> Result<(Secret<String>, bool), SourceError> {
        // Held while GitHub is asked: whoever comes meanwhile takes the same one.
        let mut newest = self.newest.lock().await;
        let now = host.clock.now();
        if let Some(token) = newest.as_ref().filter(|token| now + LAST_MINUTES < token.expires_at) {
            return Ok((token.token.clone(), false));
        }
        let token = self.ask_for_one(host, now).await?;
        Ok((newest.insert(token).token.clone(), true))
    }

    /// Does not use this one again.
    pub async fn forget(&self, token: &Secret<String>) {
        self.newest.lock().await.take_if(|newest| newest.token.expose() == token.expose());
    }

    /// <https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app>
    async fn ask_for_one(&self, host: &GitHub, now: OffsetDateTime) -> Result<Token, SourceError> {
        let place = format!("GitHub App {} (installation {})", self.app.id, self.app.installation);
        let proof = self.app.proof(now);
        let proof =
            proof.map_err(|error| SourceError::malformed(&place, format!("its key cannot sign: {error}")))?;
        let path = format!("app/installations/{}/access_tokens", self.app.installation);
        let authorization = Some(format!("Bearer {proof}"));
        let answer = host.ask(Method::POST, &path, authorization, JSON, LARGEST_ANSWER, 0).await?;
        match answer.status {
            StatusCode::CREATED => serde_json::from_slice(&answer.body)
                // Without what is in the answer: a part of it is a token.
                .map_err(|_| SourceError::malformed(&place, "what should be a token is none")),
            _ => Err(SourceError::Refused { place, reason: answer.reason(), advice: NOT_THE_APP.to_owned() }),
        }
    }
}

#[cfg(all(test, feature = "dev"))]
mod tests;
