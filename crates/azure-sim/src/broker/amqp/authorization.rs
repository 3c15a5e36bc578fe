//! Who may use the broker: shared access keys and tokens.

use std::{collections::BTreeMap, fmt, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use time::OffsetDateTime;

/// How a shared access signature begins.
const SIGNATURE: &str = "SharedAccessSignature ";
const MALFORMED: &str = "MalformedToken: The token is malformed.";

/// Says whether a JSON web token (first) is good for an audience (second).
pub type TokenCheck = Arc<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// What the server demands of its clients.
#[derive(Clone, Default)]
pub struct Authorization {
    keys: BTreeMap<String, String>,
    token_check: Option<TokenCheck>,
    open: bool,
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorization")
            .field("key_names", &self.keys.keys())
            .field("open", &self.open)
            .finish()
    }
}

impl Authorization {
    /// Nobody needs a token, and any token is taken.
    pub fn open() -> Self {
        Self { open: true, ..Self::default() }
    }

    /// Demands a signature with this shared access key.
    pub fn with_key(mut self, name: impl Into<String>, key: impl Into<String>) -> Self {
        self.keys.insert(name.into(), key.into());
        self
    }

    /// Takes JSON web tokens too, if `check` says so.
    pub fn with_token_check(mut self, check: TokenCheck) -> Self {
        self.token_check = Some(check);
        self
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Whether a user of SASL PLAIN has the key.
    pub(super) fn knows(&self, name: &str, key: &str) -> bool {
        self.open || self.keys.get(name).is_some_and(|expected| expected == key)
    }

    /// Checks a token of `$cbs`.
    ///
    /// # Errors
    /// The status description that the real service answers with, beside the code 401.
    pub(super) fn check(&self, kind: &str, token: &str, audience: &str) -> Result<(), &'static str> {
        if self.open {
            return Ok(());
        }
        match kind {
            // The Python client calls its signatures "jwt"; the service goes by what the token is.
            _ if token.starts_with(SIGNATURE) => self.check_signature(token, audience),
            "servicebus.windows.net:sastoken" => Err(MALFORMED),
            "jwt" if self.token_check.as_ref().is_some_and(|check| check(token, audience)) => Ok(()),
            "jwt" => Err("InvalidToken: The token is not valid."),
            _ => Err("UnsupportedTokenType: The token type is not supported."),
        }
    }

    /// <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas>
    fn check_signature(&self, token: &str, audience: &str) -> Result<(), &'static str> {
        let fields = token.strip_prefix(SIGNATURE).ok_or(MALFORMED)?;
        let fields: BTreeMap<&str, &str> =
            fields.split('&').filter_map(|field| field.split_once('=')).collect();
        let field = |name: &str| fields.get(name).copied().ok_or(MALFORMED);
        let (resource, signature, expiry, name) = (field("sr")?, field("sig")?, field("se")?, field("skn")?);
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let key = self.keys.get(&decoded(name)).ok_or("InvalidSignature: The key name was not found.")?;
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|_| MALFORMED)?;
        mac.update(format!("{resource}\n{expiry}").as_bytes());
        let given = BASE64_STANDARD.decode(decoded(signature)).map_err(|_| MALFORMED)?;
        mac.verify_slice(&given).map_err(|_| "InvalidSignature: The token has an invalid signature.")?;
        // Signatures are dated by the sockets' world, not by the simulated clock, which may be days ahead of it.
        let expiry: i64 = expiry.parse().map_err(|_| MALFORMED)?;
        if expiry <= OffsetDateTime::now_utc().unix_timestamp() {
            return Err("ExpiredToken: The token is expired.");
        }
        if !covers(&path_of(&decoded(resource)), &path_of(audience)) {
            return Err("InvalidAudience: The token's resource does not cover the audience.");
        }
        Ok(())
    }
}

/// The path of an address or audience in lower case: `sb://host/Queue/` and `queue` are both `queue`.
pub(super) fn path_of(address: &str) -> String {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => address,
    };
    path.trim_matches('/').to_lowercase()
}

/// Whether a claim on `resource` is good for `path`; both from [`path_of`].
pub(super) fn covers(resource: &str, path: &str) -> bool {
    resource.is_empty()
        || path.strip_prefix(resource).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
