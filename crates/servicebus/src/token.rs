//! Tokens for `$cbs`.

use std::sync::Arc;

use azure_core::credentials::TokenCredential;
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;
use time::{Duration, OffsetDateTime};

use crate::{Error, Result, connection_string::SharedKey};

/// How long a signature is good for.
const SIGNATURE_LIFE: Duration = Duration::hours(1);
/// What Entra ID is asked for.
const SCOPE: &str = "https://servicebus.azure.net/.default";
/// What RFC 3986 leaves as it is; Service Bus signs the encoded form.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Where tokens come from.
#[derive(Clone, Debug)]
pub(crate) enum TokenSource {
    /// Signed here with a shared access key.
    Key { name: String, key: SharedKey },
    /// From Microsoft Entra ID.
    Credential(Arc<dyn TokenCredential>),
}

/// A token as `$cbs` takes it. Not printable.
pub(crate) struct Token {
    /// The type that goes with it.
    pub(crate) kind: &'static str,
    pub(crate) secret: String,
    pub(crate) expires_on: OffsetDateTime,
}

impl TokenSource {
    /// A token for `audience`.
    pub(crate) async fn token(&self, audience: &str) -> Result<Token> {
        match self {
            Self::Key { name, key } => {
                // The service compares with the real time, whatever clock the program runs by.
                let expires_on = OffsetDateTime::now_utc() + SIGNATURE_LIFE;
                let secret = signature(name, key, audience, expires_on.unix_timestamp())?;
                Ok(Token { kind: "servicebus.windows.net:sastoken", secret, expires_on })
            }
            Self::Credential(credential) => {
                let token = credential
                    .get_token(&[SCOPE], None)
                    .await
                    .map_err(|e| Error::Unauthorized(format!("no token for {SCOPE}: {e}")))?;
                Ok(Token {
                    kind: "jwt",
                    secret: token.token.secret().to_owned(),
                    expires_on: token.expires_on,
                })
            }
        }
    }
}

/// <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-sas#generate-a-shared-access-signature-token>
fn signature(name: &str, key: &SharedKey, audience: &str, expiry: i64) -> Result<String> {
    let encoded = |text: &str| utf8_percent_encode(text, ENCODED).to_string();
    let resource = encoded(audience);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.bytes())
        .map_err(|_| Error::BadConnectionString("the SharedAccessKey cannot key an HMAC".into()))?;
    mac.update(format!("{resource}\n{expiry}").as_bytes());
    let signature = encoded(&BASE64_STANDARD.encode(mac.finalize().into_bytes()));
    Ok(format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={}", encoded(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_string::ConnectionString;

    #[test]
    fn a_signature_is_what_the_documented_recipe_gives() {
        let text =
            "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=c2VjcmV0";
        let key = ConnectionString::parse(text).unwrap().key;
        // Computed with Python's hmac, base64 and urllib by the page's recipe.
        assert_eq!(
            signature("Root", &key, "sb://ns.servicebus.windows.net/q", 1_800_000_000).unwrap(),
            "SharedAccessSignature sr=sb%3A%2F%2Fns.servicebus.windows.net%2Fq&sig=OImpFy4mhmssrJCOy7%2FNQW5v8onbVA3StsE%2B1qJa5Fg%3D&se=1800000000&skn=Root"
        );
    }

    #[derive(Debug)]
    struct Fixed;

    #[async_trait::async_trait]
    impl TokenCredential for Fixed {
        async fn get_token(
            &self,
            scopes: &[&str],
            _: Option<azure_core::credentials::TokenRequestOptions<'_>>,
        ) -> azure_core::Result<azure_core::credentials::AccessToken> {
            assert_eq!(scopes, ["https://servicebus.azure.net/.default"]);
            Ok(azure_core::credentials::AccessToken::new("abc", OffsetDateTime::UNIX_EPOCH))
        }
    }

    #[tokio::test]
    async fn a_credential_gives_json_web_tokens_for_service_bus() {
        let token = TokenSource::Credential(Arc::new(Fixed)).token("sb://ns/q").await.unwrap();
        assert_eq!((token.kind, token.secret.as_str()), ("jwt", "abc"));
        assert_eq!(token.expires_on, OffsetDateTime::UNIX_EPOCH);
    }
}
