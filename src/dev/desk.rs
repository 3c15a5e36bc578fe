//! A person's desk: starts runs and looks at them, through the same Service Bus and the same ledger as the factory itself.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::Url,
};
use azure_sim::control::ManagedIdentity;
use factory_clock::Clock;
use serde::Deserialize;
use servicebus::ServiceBusClient;
use time::OffsetDateTime;

use super::{azure_sim::SimAddresses, world};
use crate::{
    azure::{Azure, AzureOptions, BlobAuthorization},
    domain::{Message, RunId, RunReason, messages},
    handler::ServiceBusOutbox,
    ledger::{ItemStatus, Key, Ledger},
    report::RunReport,
    steps::{Envelope, Outbox as _},
};

/// The api-version of the App Service managed identity endpoint.
const IDENTITY_API_VERSION: &str = "2019-08-01";

/// The clients that a person needs.
pub struct Desk {
    /// What the factory remembers.
    pub ledger: Ledger,
    outbox: ServiceBusOutbox,
    client: ServiceBusClient,
}

impl Desk {
    /// The desk of the factory on these addresses.
    ///
    /// # Errors
    /// If a client cannot be made.
    pub fn new(addresses: &SimAddresses, identity: ManagedIdentity, clock: &Clock) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build()?;
        let azure = Azure::new(AzureOptions {
            resource_manager: addresses.resource_manager.parse()?,
            credential: Arc::new(LocalIdentity { identity, http }),
            transport: None,
            clock: clock.clone(),
        })?;
        let endpoint = format!("{}/{}", addresses.blob, world::LEDGER_ACCOUNT).parse()?;
        let container = azure.container(&endpoint, world::LEDGER_CONTAINER, BlobAuthorization::Bearer)?;
        let client = ServiceBusClient::from_connection_string(&addresses.service_bus)?;
        Ok(Self { ledger: Ledger::new(container), outbox: ServiceBusOutbox::new(&client), client })
    }

    /// Asks for a run of everything.
    ///
    /// # Errors
    /// If Service Bus refuses.
    pub async fn start_run(&self, run: &RunId) -> anyhow::Result<()> {
        let start = messages::StartRun::of_everything(RunReason::Manual);
        let message = Message::first(run.clone(), messages::Step::StartRun(start));
        Ok(self.outbox.send(vec![Envelope::now(message)]).await?)
    }

    /// How a run stands; `None` if it has not begun.
    ///
    /// # Errors
    /// If the ledger cannot be read.
    pub async fn look(&self, run: &RunId) -> anyhow::Result<Option<RunReport>> {
        Ok(RunReport::read(&self.ledger, run).await?)
    }

    /// Whether a run is known to have ended.
    pub async fn has_ended(&self, run: &RunId) -> bool {
        let status = self.ledger.status(&Key::run(run)).await;
        matches!(status, Ok(Some(ItemStatus::Succeeded | ItemStatus::Failed)))
    }

    /// Closes its connections.
    pub async fn close(self) {
        self.client.close().await;
    }
}

/// The managed identity of the local factory. The SDK's own reads this process's environment, which only the handler has.
struct LocalIdentity {
    identity: ManagedIdentity,
    http: reqwest::Client,
}

impl std::fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LocalIdentity")
    }
}

#[derive(Deserialize)]
struct Token {
    access_token: String,
    expires_on: serde_json::Value,
}

#[async_trait]
impl TokenCredential for LocalIdentity {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let failed = |error: reqwest::Error| azure_core::Error::new(ErrorKind::Credential, error);
        let resource = scopes.first().copied().unwrap_or_default().trim_end_matches("/.default");
        let mut url: Url = self.identity.endpoint.parse()?;
        url.query_pairs_mut()
            .append_pair("resource", resource)
            .append_pair("api-version", IDENTITY_API_VERSION);
        let request = self.http.get(url).header("X-IDENTITY-HEADER", &self.identity.header);
        let answer = request.send().await.and_then(reqwest::Response::error_for_status).map_err(failed)?;
        let token: Token = answer.json().await.map_err(failed)?;
        // Seconds since 1970, as a number or as text.
        let seconds = token.expires_on.as_i64().or_else(|| token.expires_on.as_str()?.parse().ok());
        let expires = seconds.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
        Ok(AccessToken::new(token.access_token, expires.unwrap_or_else(OffsetDateTime::now_utc)))
    }
}
