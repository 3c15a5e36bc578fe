//! Signing with an account's key: <https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>.

use std::{collections::BTreeMap, fmt, sync::Arc};

use azure_core::http::{
    Context, Request, Url,
    headers::{AUTHORIZATION, HeaderName, Headers},
    policies::{Policy, PolicyResult},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use factory_clock::Clock;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::secret::Secret;

/// The standard headers that are signed, in this order, by their values alone.
const SIGNED_HEADERS: [&str; 11] = [
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
];

/// A storage account's name and key.
#[derive(Clone, Debug)]
pub(super) struct AccountKey {
    account: String,
    key: Secret<Vec<u8>>,
}

impl AccountKey {
    pub(super) fn new(account: String, key: &Secret<String>) -> Result<Self, String> {
        // The decoder's own error would quote a byte of the key.
        let key = STANDARD
            .decode(key.expose().trim())
            .map_err(|_| format!("the key of storage account {account} is not base64"))?;
        Ok(Self { account, key: Secret::new(key) })
    }

    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// HMAC-SHA256 of a text, in base64.
    pub(super) fn sign(&self, text: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(self.key.expose()) else {
            return String::new();
        };
        hmac.update(text.as_bytes());
        STANDARD.encode(hmac.finalize().into_bytes())
    }
}

/// Signs each try anew, because the signature holds the date.
pub(super) struct SignSharedKey {
    key: AccountKey,
    clock: Clock,
}

impl SignSharedKey {
    pub(super) fn new(key: AccountKey, clock: Clock) -> Self {
        Self { key, clock }
    }
}

impl fmt::Debug for SignSharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignSharedKey").field("account", &self.key.account).finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl Policy for SignSharedKey {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        request.insert_header("x-ms-date", azure_core::time::to_rfc7231(&self.clock.now()));
        let length = request.body().len();
        let text = string_to_sign(
            request.method().as_str(),
            request.url(),
            request.headers(),
            length,
            &self.key.account,
        );
        let value = format!("SharedKey {}:{}", self.key.account, self.key.sign(&text));
        request.insert_header(AUTHORIZATION, value);
        next[0].send(context, request, &next[1..]).await
    }
}

/// What is signed of a request to the blob service.
pub(super) fn string_to_sign(
    method: &str,
    url: &Url,
    headers: &Headers,
    body_length: Option<u64>,
    account: &str,
) -> String {
    let value =
        |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name)).unwrap_or_default();
    let mut text = format!("{method}\n");
    for name in SIGNED_HEADERS {
        let value = match name {
            // The transport may add the header later, from the body.
            "content-length" => match value(name) {
                "" => body_length.unwrap_or_default().to_string(),
                sent => sent.to_owned(),
            },
            // The date counts by its x-ms-date.
            "date" => String::new(),
            name => value(name).to_owned(),
        };
        // Since version 2015-02-21 a length of zero is signed as nothing.
        let zero = name == "content-length" && value == "0";
        text.push_str(if zero { "" } else { &value });
        text.push('\n');
    }
    let own: BTreeMap<String, &str> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str()))
        .filter(|(name, _)| name.starts_with("x-ms-"))
        .collect();
    for (name, value) in own {
        text.push_str(&format!("{name}:{}\n", value.trim()));
    }
    text.push_str(&format!("/{account}{}", url.path()));
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        query.entry(name.to_ascii_lowercase()).or_default().push(value.into_owned());
    }
    for (name, mut values) in query {
        values.sort();
        text.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    text
}
