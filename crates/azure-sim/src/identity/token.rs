//! JWTs: made, read and checked.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;

use super::Principal;
use crate::World;

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// There is no `Bearer` token.
    #[error("the 'Authorization' header is missing or holds no bearer token")]
    Missing,
    /// It is no token of this simulator, or was changed.
    #[error("the access token is invalid")]
    Invalid,
    /// It lived long enough.
    #[error("the access token expired at {0}")]
    Expired(OffsetDateTime),
    /// It was made for another service.
    #[error("the access token is for the wrong audience '{0}'")]
    WrongAudience(String),
}

/// A bearer token with which `principal` may call `resource` (such as [`super::STORAGE`]) for `lifetime` from now on.
pub fn issue(world: &World, principal: &Principal, resource: &str, lifetime: Duration) -> String {
    let now = world.now().unix_timestamp();
    let header = json!({"typ": "JWT", "alg": "HS256", "kid": "simulated"});
    let payload = json!({
        "aud": resource,
        "iss": format!("https://sts.windows.net/{}/", principal.tenant_id),
        "iat": now,
        "nbf": now,
        "exp": now + lifetime.as_secs() as i64,
        "appid": principal.client_id,
        "idtyp": "app",
        "oid": principal.object_id,
        "sub": principal.object_id,
        "tid": principal.tenant_id,
        "ver": "1.0",
    });
    let signed = format!("{}.{}", encode(&header), encode(&payload));
    let signature = URL_SAFE_NO_PAD.encode(sign(world, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// Who calls, from the value of the `Authorization` header; the token must be made for `resource`.
///
/// A trailing `/` of the audience is ignored; Resource Manager's old audience `https://management.core.windows.net/` stands
/// for the new one, and `https://{account}.blob.core.windows.net` for all of Blob Storage.
///
/// # Errors
/// If the token is missing, forged, expired by the world's clock, or made for another resource.
pub fn principal(
    world: &World,
    authorization_header: &str,
    resource: &str,
) -> Result<Principal, TokenProblem> {
    let token = match authorization_header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(TokenProblem::Missing),
    };
    let (signed, signature) = token.rsplit_once('.').ok_or(TokenProblem::Invalid)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| TokenProblem::Invalid)?;
    sign(world, signed).verify_slice(&signature).map_err(|_| TokenProblem::Invalid)?;
    let payload: Value = signed
        .split_once('.')
        .and_then(|(_, payload)| URL_SAFE_NO_PAD.decode(payload).ok())
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .ok_or(TokenProblem::Invalid)?;
    let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
    let expires = payload["exp"]
        .as_i64()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or(TokenProblem::Invalid)?;
    if expires <= world.now() {
        return Err(TokenProblem::Expired(expires));
    }
    if audience(&text("aud")) != audience(resource) {
        return Err(TokenProblem::WrongAudience(text("aud")));
    }
    Ok(Principal { object_id: text("oid"), client_id: text("appid"), tenant_id: text("tid") })
}

/// The spelling in which audiences are compared.
fn audience(resource: &str) -> String {
    let resource = resource.trim_end_matches('/').to_ascii_lowercase();
    if resource == "https://management.core.windows.net" {
        super::RESOURCE_MANAGER.to_owned()
    } else if resource.ends_with(".blob.core.windows.net") {
        super::STORAGE.to_owned()
    } else {
        resource
    }
}

fn encode(part: &Value) -> String {
    URL_SAFE_NO_PAD.encode(part.to_string())
}

fn sign(world: &World, signed: &str) -> Hmac<Sha256> {
    // HMAC takes keys of any length: this cannot fail.
    #[allow(clippy::expect_used)]
    let mut mac = Hmac::new_from_slice(&world.identity.signing_key).expect("a key of any length");
    mac.update(signed.as_bytes());
    mac
}
