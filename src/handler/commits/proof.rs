//! What proves that an event comes from the repository's host. Every comparison takes as long whatever is compared.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::request::HttpRequest;
use crate::{domain::Repository, secret::Secret};

/// GitHub's signature of the body (GitHub, "Validating webhook deliveries").
const SIGNATURE_HEADER: &str = "X-Hub-Signature-256";
/// What it begins with; SHA-1 signatures are in another header and not taken.
const SIGNATURE_SCHEME: &str = "sha256=";
/// Where a service hook without basic authentication carries the secret.
const SECRET_HEADER: &str = "X-Image-Factory-Secret";

/// Why a request is not taken: for the log, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproven {
    /// No proof at all.
    #[error("it has neither a signature nor a password")]
    Missing,
    /// Another form than the host's.
    #[error("its signature or its Authorization header has another form than the host's")]
    Malformed,
    /// The wrong secret, or another body than was signed.
    #[error(
        "its signature or password is wrong: the secret here and there differ, or it is an attempt to deceive"
    )]
    Wrong,
}

/// Judges the proof that the host of `repository` gives.
pub(super) fn judge(
    request: &HttpRequest,
    repository: &Repository,
    secret: &Secret<String>,
) -> Result<(), Unproven> {
    match repository {
        Repository::GitHub { .. } => {
            let signature = request.header(SIGNATURE_HEADER).ok_or(Unproven::Missing)?;
            signed(request.body(), &signature, secret)
        }
        // It signs nothing; the secret itself comes with each event, over TLS.
        Repository::AzureDevOps { .. } => {
            match (request.header("Authorization"), request.header(SECRET_HEADER)) {
                (Some(authorization), _) => {
                    same(&password(&authorization).ok_or(Unproven::Malformed)?, secret)
                }
                (None, Some(text)) => same(text.as_bytes(), secret),
                (None, None) => Err(Unproven::Missing),
            }
        }
    }
}

fn signed(body: &[u8], signature: &str, secret: &Secret<String>) -> Result<(), Unproven> {
    let digits = signature.strip_prefix(SIGNATURE_SCHEME).ok_or(Unproven::Malformed)?;
    let signature = bytes(digits).ok_or(Unproven::Malformed)?;
    // A key of any length is one.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map_err(|_| Unproven::Malformed)?;
    mac.update(body);
    mac.verify_slice(&signature).map_err(|_| Unproven::Wrong)
}

/// Hexadecimal digits, two a byte.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let pairs = digits.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?)).collect()
}

/// The password of basic authentication (RFC 7617); whatever the user is called.
fn password(authorization: &str) -> Option<Vec<u8>> {
    let (scheme, credentials) = authorization.split_once(' ')?;
    let credentials =
        BASE64.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("Basic"))?;
    let colon = credentials.iter().position(|byte| *byte == b':')?;
    Some(credentials[colon + 1..].to_vec())
}

/// Compares digests: not even the secret's length shows in the time.
fn same(given: &[u8], secret: &Secret<String>) -> Result<(), Unproven> {
    let is_same = Sha256::digest(given).ct_eq(&Sha256::digest(secret.expose().as_bytes()));
    if bool::from(is_same) { Ok(()) } else { Err(Unproven::Wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GitHub, "Validating webhook deliveries", "Testing the webhook payload validation".
    #[test]
    fn the_signature_that_github_publishes_for_tests_is_right() {
        let secret = Secret::new("It's a Secret to Everybody".to_owned());
        let published = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(signed(b"Hello, World!", published, &secret), Ok(()));
        assert_eq!(signed(b"Hello, World", published, &secret), Err(Unproven::Wrong));
        let other = Secret::new("It's a Secret to Nobody".to_owned());
        assert_eq!(signed(b"Hello, World!", published, &other), Err(Unproven::Wrong));
        for (signature, refusal) in [
            (published.replace("sha256=", "sha1="), Unproven::Malformed),
            (published.replace("sha256=", ""), Unproven::Malformed),
            (published[..published.len() - 1].to_owned(), Unproven::Malformed),
            (published.replace('7', "g"), Unproven::Malformed),
            (published.replace("757", "+57"), Unproven::Malformed),
            (published[..published.len() - 2].to_owned(), Unproven::Wrong),
            (format!("{published}00"), Unproven::Wrong),
            (format!("{published},{published}"), Unproven::Malformed),
            ("sha256=".to_owned(), Unproven::Wrong),
            ("sha256=é".to_owned(), Unproven::Malformed),
            (String::new(), Unproven::Malformed),
        ] {
            assert_eq!(signed(b"Hello, World!", &signature, &secret), Err(refusal), "{signature}");
        }
    }

    #[test]
    fn a_password_is_what_follows_the_first_colon() {
        let basic = |credentials: &str| password(&format!("Basic {}", BASE64.encode(credentials)));
        assert_eq!(basic("hook:se:cret").unwrap(), b"se:cret");
        assert_eq!(basic(":").unwrap(), b"");
        assert_eq!(basic("secret"), None);
        assert_eq!(password("basic OnNlY3JldA==").unwrap(), b"secret");
        for text in ["", "Basic", "Bearer OnNlY3JldA==", "Basic :secret", "Basic OnNlY3JldA=", "OnNlY3JldA=="]
        {
            assert_eq!(password(text), None, "{text}");
        }
    }

    #[test]
    fn secrets_are_the_same_or_not() {
        let secret = Secret::new("correct horse battery".to_owned());
        assert_eq!(same(b"correct horse battery", &secret), Ok(()));
        for other in ["", "correct horse batter", "correct horse battery ", "Correct horse battery"] {
            assert_eq!(same(other.as_bytes(), &secret), Err(Unproven::Wrong), "{other}");
        }
    }
}
