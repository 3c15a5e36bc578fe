//! Proving to Azure who calls.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use azure_core::{
    credentials::{AccessToken, TokenCredential},
    http::{
        Context, Request, Url,
        headers::AUTHORIZATION,
        policies::{Policy, PolicyResult, auth::BearerTokenAuthorizationPolicy},
    },
};
use factory_clock::Clock;
use tokio::sync::Mutex;

use super::AzureError;

/// A token is replaced this long before it expires; the SDK's own policy uses the same margin.
const REFRESH_MARGIN: Duration = Duration::from_secs(5 * 60);

/// The bearer policy for an endpoint: the SDK's for `https`; for `http` one that works on loopback hosts only.
///
/// # Errors
/// If the endpoint would show the token to the network.
pub(super) fn bearer(
    endpoint: &Url,
    credential: Arc<dyn TokenCredential>,
    scope: String,
    clock: &Clock,
) -> Result<Arc<dyn Policy>, AzureError> {
    require_private(endpoint)?;
    Ok(match endpoint.scheme() {
        "https" => Arc::new(BearerTokenAuthorizationPolicy::new(credential, [scope])),
        _ => Arc::new(LoopbackBearer { credential, scope, clock: clock.clone(), token: Mutex::new(None) }),
    })
}

/// Refuses endpoints where what is sent could be read on the way.
pub(super) fn require_private(endpoint: &Url) -> Result<(), AzureError> {
    let private = match endpoint.scheme() {
        "https" => endpoint.has_host(),
        "http" => is_loopback(endpoint),
        _ => false,
    };
    if private {
        return Ok(());
    }
    let message = format!(
        "'{}' must be an https URL; http is accepted for loopback hosts only",
        super::error::without_queries(endpoint.as_str())
    );
    Err(AzureError::permanent("use an endpoint of Azure", "InsecureEndpoint", message))
}

/// Whether a URL leads to this very machine: 127.0.0.0/8, ::1 or `localhost`.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Bearer tokens over plain `http`, to this machine only.
struct LoopbackBearer {
    credential: Arc<dyn TokenCredential>,
    scope: String,
    clock: Clock,
    token: Mutex<Option<AccessToken>>,
}

impl fmt::Debug for LoopbackBearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopbackBearer").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl LoopbackBearer {
    async fn token(&self) -> azure_core::Result<String> {
        let mut cached = self.token.lock().await;
        let fresh = cached.as_ref().filter(|token| token.expires_on - REFRESH_MARGIN > self.clock.now());
        let token = match fresh {
            Some(token) => token,
            None => cached.insert(self.credential.get_token(&[&self.scope], None).await?),
        };
        Ok(token.token.secret().to_owned())
    }
}

#[async_trait::async_trait]
impl Policy for LoopbackBearer {
    async fn send(&self, context: &Context, request: &mut Request, next: &[Arc<dyn Policy>]) -> PolicyResult {
        // Checked for each request: the URL may have come from an answer.
        if !is_loopback(request.url()) {
            let message = "a token is sent over http to loopback hosts only";
            return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Other, message));
        }
        let token = self.token().await?;
        request.insert_header(AUTHORIZATION, format!("Bearer {token}"));
        let answer = next[0].send(context, request, &next[1..]).await?;
        if answer.status() == azure_core::http::StatusCode::Unauthorized {
            // Revoked before its time: the next call asks for a new one.
            *self.token.lock().await = None;
        }
        Ok(answer)
    }
}
