//! A GitHub App: who proves with a signed JSON Web Token to be it gets tokens that may read the repository for an hour.
//! <https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app>

use std::{collections::BTreeMap, time::Duration};

use axum::{
    extract::{Path, State as Shared},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use factory_clock::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Known, answer, github, header, says};

/// How long a token lets in.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// How far ahead a proof may expire, in seconds.
const LONGEST_PROOF: i64 = 600;

/// An app that is installed where the repository is.
#[derive(Clone)]
pub struct App {
    /// Its id, or its client id.
    pub id: String,
    /// Its installation.
    pub installation: u64,
    /// The public half of its key, as PEM.
    pub public_key: String,
    /// The tokens that were handed out, each with its end.
    tokens: BTreeMap<String, OffsetDateTime>,
}

#[derive(Deserialize)]
struct Claims {
    iss: serde_json::Value,
    iat: i64,
    exp: i64,
}

impl App {
    /// An app that has handed out no token yet.
    pub fn new(id: &str, installation: u64, public_key: &str) -> Self {
        let (id, public_key) = (id.to_owned(), public_key.to_owned());
        Self { id, installation, public_key, tokens: BTreeMap::new() }
    }

    /// Whether this token lets in now.
    pub(super) fn knows(&self, token: &str, clock: &Clock) -> bool {
        self.tokens.get(token).is_some_and(|end| clock.now() < *end)
    }

    /// Takes all tokens back, as GitHub does when the app's permissions change.
    pub fn take_back_tokens(&mut self) {
        self.tokens.clear();
    }

    /// How many tokens it has handed out and not taken back.
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Why a proof is none, in GitHub's words.
    fn judge(&self, proof: &str, now: OffsetDateTime) -> Result<(), &'static str> {
        let undecodable = "A JSON web token could not be decoded";
        let key = DecodingKey::from_rsa_pem(self.public_key.as_bytes()).map_err(|_| undecodable)?;
        let mut validation = Validation::new(Algorithm::RS256);
        // Judged below, by the clock that everything here follows.
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let claims = decode::<Claims>(proof, &key, &validation).map_err(|_| undecodable)?.claims;
        let now = now.unix_timestamp();
        let issuer = match &claims.iss {
            serde_json::Value::String(id) => id.clone(),
            number => number.to_string(),
        };
        let is_issuer = issuer == self.id;
        match claims {
            _ if !is_issuer => Err("'Issuer' claim ('iss') must be an Integer or a client ID of the app"),
            Claims { iat, .. } if iat > now => Err(
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            ),
            Claims { exp, .. } if exp <= now => {
                Err("'Expiration time' claim ('exp') must be a numeric value in the future")
            }
            Claims { exp, .. } if exp - now > LONGEST_PROOF => {
                Err("'Expiration time' claim ('exp') is too far in the future")
            }
            _ => Ok(()),
        }
    }
}

/// <https://docs.github.com/rest/apps/apps#create-an-installation-access-token-for-an-app>
pub(super) async fn access_token(
    Shared(known): Shared<Known>,
    Path(installation): Path<String>,
    headers: HeaderMap,
) -> Response {
    let mut state = known.state();
    state.asked.push(format!("access_tokens/{installation}"));
    if let Some(refusal) = github::bad_manners(&mut state, &headers) {
        return refusal;
    }
    let number = state.asked.len();
    let Some(app) = &mut state.app else {
        return says(StatusCode::UNAUTHORIZED, "A JSON web token could not be decoded");
    };
    let now = known.clock.now();
    let proof = header(&headers, "authorization").strip_prefix("Bearer ").unwrap_or_default();
    if let Err(reason) = app.judge(proof, now) {
        return says(StatusCode::UNAUTHORIZED, reason);
    }
    if installation != app.installation.to_string() {
        return says(StatusCode::NOT_FOUND, "Not Found");
    }
    let (token, end) = (format!("ghs_installation{number}"), now + TOKEN_LIFETIME);
    app.tokens.insert(token.clone(), end);
    let body = json!({
        "token": token, "expires_at": end.format(&Rfc3339).unwrap_or_default(),
        "permissions": {"contents": "read", "metadata": "read"}, "repository_selection": "selected",
    });
    answer(StatusCode::CREATED, "application/json; charset=utf-8", body.to_string())
}
