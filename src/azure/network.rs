//! The way over the network.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use azure_core::{
    error::ErrorKind,
    http::{AsyncRawResponse, HttpClient, HttpClientOptions, Request, Transport, Url, new_http_client},
};
use reqwest::{Client, ClientBuilder, redirect::Policy};
use tokio::sync::OnceCell;

use super::authorization::is_loopback;

/// As in the SDK's own client.
const CONNECT_TIME_OUT: Duration = Duration::from_secs(20);

/// The SDK's HTTP client; for stand-ins on this machine one that passes by any proxy that the environment names.
pub(super) fn transport(endpoint: &Url) -> Transport {
    on_first_use(if is_loopback(endpoint) { stand_in } else { public })
}

/// The way to the managed identity's endpoint, which is plain `http` on this machine or a link-local address
/// (<https://learn.microsoft.com/azure/app-service/overview-managed-identity>, "REST endpoint reference"): no proxy leads there.
pub fn identity_transport() -> Transport {
    on_first_use(identity)
}

fn on_first_use(make: Make) -> Transport {
    Transport::new(Arc::new(OnFirstUse { make, made: OnceCell::new() }))
}

type Make = fn() -> azure_core::Result<Arc<dyn HttpClient>>;

fn public() -> azure_core::Result<Arc<dyn HttpClient>> {
    // Blob downloads in ranges must count the bytes that were stored.
    Ok(new_http_client(Some(HttpClientOptions { automatic_decompression: false })))
}

fn stand_in() -> azure_core::Result<Arc<dyn HttpClient>> {
    made(passing_proxies_by())
}

fn identity() -> azure_core::Result<Arc<dyn HttpClient>> {
    // Nobody there speaks TLS, so this machine's certificates need not be read.
    made(passing_proxies_by().tls_certs_only([]))
}

fn passing_proxies_by() -> ClientBuilder {
    Client::builder().no_proxy().connect_timeout(CONNECT_TIME_OUT).redirect(Policy::none())
}

fn made(builder: ClientBuilder) -> azure_core::Result<Arc<dyn HttpClient>> {
    let failed = |error| azure_core::Error::with_error(ErrorKind::Other, error, "cannot make an HTTP client");
    Ok(Arc::new(builder.build().map_err(failed)?))
}

/// A client that is made when it is first used. It reads every certificate of this machine, which takes longer than all else
/// that a handler does before it answers the host.
struct OnFirstUse {
    make: Make,
    made: OnceCell<Arc<dyn HttpClient>>,
}

impl fmt::Debug for OnFirstUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnFirstUse").field("made", &self.made.initialized()).finish_non_exhaustive()
    }
}

#[async_trait]
impl HttpClient for OnFirstUse {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let client = self.made.get_or_try_init(async || (self.make)()).await?;
        client.execute_request(request).await
    }
}
