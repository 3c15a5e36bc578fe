//! The way over the network.

use std::{sync::Arc, time::Duration};

use azure_core::http::{HttpClientOptions, Transport, Url, new_http_client};

use super::{AzureError, authorization::is_loopback};

/// As in the SDK's own client.
const CONNECT_TIME_OUT: Duration = Duration::from_secs(20);

/// The SDK's HTTP client; for stand-ins on this machine one that passes by any proxy that the environment names.
pub(super) fn transport(endpoint: &Url) -> Result<Transport, AzureError> {
    if !is_loopback(endpoint) {
        // Blob downloads in ranges must count the bytes that were stored.
        let options = HttpClientOptions { automatic_decompression: false };
        return Ok(Transport::new(new_http_client(Some(options))));
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(CONNECT_TIME_OUT)
        .redirect(reqwest::redirect::Policy::none())
        .build();
    let client = client
        .map_err(|error| AzureError::permanent("make an HTTP client", "NoHttpClient", error.to_string()))?;
    Ok(Transport::new(Arc::new(client)))
}
