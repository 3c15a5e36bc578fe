//! A storage service with two accounts, as our blob code reaches it.

use std::{fmt, sync::Arc};

use anyhow::Context as _;
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    http::Url,
};
use factory_clock::Clock;
use image_factory::{
    azure::{Azure as Client, AzureError, AzureOptions, BlobAuthorization, Container},
    secret::Secret,
};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::harness::Azure;

/// At 60 MiB a second a copy of it takes almost five hours.
const DISK: u64 = 1 << 40;
/// What the raw requests of the suite say.
const VERSION: &str = "2023-11-03";

/// A storage service.
pub struct Place {
    client: Client,
    http: reqwest::Client,
    /// The account that most is done in.
    pub account: Account,
    /// Copies come from here.
    pub neighbour: Account,
    /// The size of a disk, in bytes, of which a copy goes on for longer than the suite, where copies take their time.
    pub disk: u64,
}

/// A storage account.
#[derive(Clone)]
pub struct Account {
    pub name: String,
    /// Base64.
    pub key: String,
    pub endpoint: Url,
}

/// Nobody here asks for a token.
struct NoToken;

impl fmt::Debug for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoToken")
    }
}

#[async_trait::async_trait]
impl TokenCredential for NoToken {
    async fn get_token(
        &self,
        _: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        Err(azure_core::Error::with_message(
            ErrorKind::Credential,
            "these accounts are reached with their keys",
        ))
    }
}

impl Place {
    /// # Errors
    /// If the clients cannot be made.
    pub fn new(account: Account, neighbour: Account, disk: u64) -> anyhow::Result<Self> {
        let client = Client::new(AzureOptions {
            resource_manager: account.endpoint.clone(),
            credential: Arc::new(NoToken),
            transport: None,
            clock: Clock::system(),
        })?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { client, http, account, neighbour, disk })
    }

    /// A container of the account.
    pub fn container(&self, name: &str) -> Result<Container, AzureError> {
        self.container_of(&self.account, name)
    }

    /// A container of this account.
    pub fn container_of(&self, account: &Account, name: &str) -> Result<Container, AzureError> {
        let key = Secret::new(account.key.clone());
        let authorization = BlobAuthorization::SharedKey { account: account.name.clone(), key };
        self.client.container(&account.endpoint, name, authorization)
    }

    /// A request that our code does not make; `url` must be authorised by a SAS.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.http.request(method, url).header("x-ms-version", VERSION)
    }
}

/// What a raw request was answered: the status, and the code of a refusal or the content.
pub async fn answer(request: RequestBuilder) -> anyhow::Result<String> {
    let answer: Response = request.send().await?;
    let status = answer.status();
    let code = answer.headers().get("x-ms-error-code").and_then(|code| code.to_str().ok()).map(str::to_owned);
    let content = answer.text().await?;
    Ok(match code {
        Some(code) => format!("{} {code}", status.as_u16()),
        None => format!("{} '{content}'", status.as_u16()),
    })
}

/// Two accounts of the simulator.
///
/// # Errors
/// If the simulator refuses.
pub async fn simulated(azure: &Azure) -> anyhow::Result<Place> {
    let mut accounts = Vec::new();
    for name in ["first", "second"] {
        let lab = json!({
            "subscriptionId": "00000000-0000-4000-8000-00000000b10b",
            "resourceGroup": "judges",
            "name": name,
            "location": "westeurope",
        });
        let added = azure.control(Method::POST, "/labs", &lab).await?;
        let text = |key: &str| {
            let text = added.get(key).and_then(Value::as_str).map(str::to_owned);
            text.with_context(|| format!("the simulator tells no '{key}' of a lab"))
        };
        let endpoint = Url::parse(&text("blobEndpoint")?)?;
        accounts.push(Account { name: text("storageAccount")?, key: text("storageKey")?, endpoint });
    }
    let [account, neighbour] =
        <[Account; 2]>::try_from(accounts).map_err(|_| anyhow::anyhow!("two accounts"))?;
    Place::new(account, neighbour, DISK)
}
