//! Who may do what: SharedKey, shared access signatures, bearer tokens, and everybody.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use time::Duration;

use super::{
    account::{Account, PublicAccess},
    error::Error,
    request::{Call, parse_http_date},
};
use crate::{
    World,
    identity::{self, Principal, TokenProblem},
};

pub(super) mod roles;
mod sas;
mod shared_key;

pub(super) use sas::{Granted, Resource, check as check_sas};

/// A request may be as old, or as far ahead, as this (Microsoft, "Authorize with Shared Key").
const CLOCK_SKEW: Duration = Duration::minutes(15);
/// Bearer tokens are understood from this version on.
const FIRST_BEARER_VERSION: &str = "2017-11-09";
/// From this version on an anonymous request is told how to get a token.
const FIRST_CHALLENGE_VERSION: &str = "2019-12-12";
/// What a caller without a good token is told.
const CHALLENGED: &str = "Server failed to authenticate the request. Please refer to the information in the \
                          www-authenticate header.";

/// What an operation needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    /// Letters of `sp`, any of which is enough.
    pub permissions: &'static str,
    pub on: On,
}

/// What an operation works on: `srt` of an account SAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Service,
    Container,
    Object,
}

/// How a request was authorised.
#[derive(Clone, Debug)]
pub(super) enum Caller {
    SharedKey,
    Bearer(Principal),
    Sas(Granted),
    Everybody,
}

impl Caller {
    /// Whether the caller may read the whole account, as a copy within it needs.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::SharedKey | Self::Bearer(_))
    }

    /// Whether the caller has this permission; a SAS has the letters that stand in it.
    pub fn has(&self, letter: char) -> bool {
        match self {
            Self::Sas(granted) => granted.permissions.contains(letter),
            Self::SharedKey | Self::Bearer(_) => true,
            Self::Everybody => false,
        }
    }
}

/// Finds out who calls and whether they may.
pub(super) fn authorize(
    world: &World,
    call: &Call<'_>,
    account: &Account,
    need: Need,
) -> Result<Caller, Error> {
    match call.header("authorization") {
        Some(header) => {
            let (scheme, credential) = header.split_once(' ').unwrap_or((header, ""));
            if scheme.eq_ignore_ascii_case("SharedKey") {
                check_date(call)?;
                shared_key::check(call, account, credential)?;
                Ok(Caller::SharedKey)
            } else if scheme.eq_ignore_ascii_case("Bearer") {
                bearer(world, call, header).map(Caller::Bearer)
            } else {
                let message = "Value for one of the HTTP headers is not in the correct format.";
                let error = Error::new(400, "InvalidAuthenticationInfo", message);
                Err(error.detail("AuthenticationErrorDetail", format!("Unsupported scheme {scheme}.")))
            }
        }
        None if call.query("sig").is_some() => {
            let resource = Resource {
                container: call.container.as_deref(),
                blob: call.blob.as_deref(),
                is_https: call.is_https,
                address: call.address,
                query: &call.query,
            };
            check_sas(world, account, &resource, need).map(Caller::Sas)
        }
        None => everybody(world, call, account, need),
    }
}

/// A signed request must say when it was made.
fn check_date(call: &Call<'_>) -> Result<(), Error> {
    let sent = call.header("x-ms-date").or_else(|| call.header("date"));
    let Some(sent) = sent else {
        return Err(Error::authentication_failed("Either Date or x-ms-date header must be specified."));
    };
    let moment = parse_http_date(sent).ok_or_else(|| {
        Error::authentication_failed(format!("Request date header not specified correctly: '{sent}'"))
    })?;
    if (call.now - moment).abs() > CLOCK_SKEW {
        let word = if moment < call.now { "old" } else { "new" };
        return Err(Error::authentication_failed(format!("Request date header too {word}: '{sent}'")));
    }
    Ok(())
}

fn bearer(world: &World, call: &Call<'_>, header: &str) -> Result<Principal, Error> {
    if call.version() < FIRST_BEARER_VERSION {
        let detail = "Authentication scheme Bearer is not supported in this version.";
        return Err(Error::authentication_failed(detail));
    }
    identity::principal(world, header, identity::STORAGE).map_err(|problem| {
        let detail = match problem {
            TokenProblem::Expired(_) => "Lifetime validation failed. The token is expired.",
            TokenProblem::WrongAudience(_) => "Audience validation failed. Audience did not match.",
            TokenProblem::Missing | TokenProblem::Invalid => "Signature validation failed.",
        };
        challenge(world, Error::new(401, "InvalidAuthenticationInfo", CHALLENGED))
            .detail("AuthenticationErrorDetail", detail)
    })
}

fn challenge(world: &World, error: Error) -> Error {
    let tenant = &world.identity.managed_identity.tenant_id;
    let authority = format!("{}/{tenant}/oauth2/authorize", world.endpoints.identity());
    let value = format!("Bearer authorization_uri={authority} resource_id={}", identity::STORAGE);
    error.header("www-authenticate", value)
}

/// Whether everybody may: to read what the container's owner opened.
fn everybody(world: &World, call: &Call<'_>, account: &Account, need: Need) -> Result<Caller, Error> {
    if is_public(world, account, call.container.as_deref(), need) {
        return Ok(Caller::Everybody);
    }
    if call.header("x-ms-version").is_some_and(|version| version >= FIRST_CHALLENGE_VERSION) {
        return Err(challenge(world, Error::new(401, "NoAuthenticationInformation", CHALLENGED)));
    }
    Err(refusal_of_everybody(account))
}

/// What somebody without any credential is told by an old version, and Copy Blob by its source.
pub(super) fn refusal_of_everybody(account: &Account) -> Error {
    if account.allow_blob_public_access {
        Error::resource_not_found()
    } else {
        let message = "Public access is not permitted on this storage account.";
        Error::new(409, "PublicAccessNotPermitted", message)
    }
}

/// Whether the container's owner opened it for this.
pub(super) fn is_public(world: &World, account: &Account, container: Option<&str>, need: Need) -> bool {
    let contents = world.storage.contents.get(&account.name);
    let container = container.and_then(|name| contents?.containers.get(name));
    let access = container.map_or(PublicAccess::None, |container| container.public_access);
    let wanted = match need.on {
        On::Service => return false,
        On::Container => PublicAccess::Container,
        On::Object => PublicAccess::Blob,
    };
    account.allow_blob_public_access && need.permissions.contains(['r', 'l']) && access >= wanted
}

/// A refusal where the account takes no keys.
fn check_keys_allowed(account: &Account) -> Result<(), Error> {
    if account.allow_shared_key_access {
        return Ok(());
    }
    let message = "Key based authentication is not permitted on this storage account.";
    Err(Error::new(403, "KeyBasedAuthenticationNotPermitted", message))
}

/// Whether `signature` (base64) is that of `text` with `key` (base64).
fn is_signed(key: &str, text: &str, signature: &str) -> bool {
    let decoded = BASE64.decode(key).ok().zip(BASE64.decode(signature).ok());
    decoded.is_some_and(|(key, signature)| {
        // HMAC takes keys of any length.
        Hmac::<Sha256>::new_from_slice(&key)
            .is_ok_and(|mac| mac.chain_update(text).verify_slice(&signature).is_ok())
    })
}
