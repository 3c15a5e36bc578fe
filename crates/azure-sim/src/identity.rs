//! Tokens: client credentials of an Entra tenant, and the managed identity of an App Service or a VM.
//!
//! A token is a JWT signed with a key of this simulator, so that a service can read who calls ([`principal`]) and refuses
//! what was forged, is too old, or was made for another service.

mod endpoints;
#[cfg(test)]
mod tests;
mod token;

use std::{collections::BTreeMap, time::Duration};

pub use endpoints::handle;
pub use token::{TokenProblem, issue, principal};

/// The resource (audience) of Resource Manager's tokens.
pub const RESOURCE_MANAGER: &str = "https://management.azure.com";
/// The resource (audience) of Blob Storage's tokens.
pub const STORAGE: &str = "https://storage.azure.com";
/// The resource (audience) of Service Bus's tokens.
pub const SERVICE_BUS: &str = "https://servicebus.azure.net";

/// Tokens for client credentials live about an hour (Microsoft, "Access tokens in the Microsoft identity platform").
const CLIENT_CREDENTIALS_LIFETIME: Duration = Duration::from_secs(3600);
/// Tokens of managed identities live a day (Microsoft, "Managed identities for Azure resources frequently asked questions").
const MANAGED_IDENTITY_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Someone who calls Azure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Principal {
    /// The object id (`oid`), a GUID.
    pub object_id: String,
    /// The application (client) id, a GUID.
    pub client_id: String,
    /// The tenant id (`tid`), a GUID.
    pub tenant_id: String,
}

/// An application that may ask for tokens with a secret.
#[derive(Clone)]
pub struct Application {
    /// Who it is.
    pub principal: Principal,
    /// Its client secret.
    pub secret: String,
    /// How long its tokens live, where that is configured (Microsoft, "Configurable token lifetimes").
    pub token_lifetime: Option<Duration>,
}

impl std::fmt::Debug for Application {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Application").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Who may have tokens, and for how long.
#[derive(Clone)]
pub struct State {
    signing_key: [u8; 32],
    /// Registered applications by client id (lower case).
    pub applications: BTreeMap<String, Application>,
    /// Who the managed identity is.
    pub managed_identity: Principal,
    /// What the App Service endpoint wants in `X-IDENTITY-HEADER` (the variable `IDENTITY_HEADER`).
    pub identity_header: String,
    /// How long a token of the managed identity lives.
    pub managed_identity_lifetime: Duration,
    /// How long a token for client credentials lives.
    pub client_credentials_lifetime: Duration,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("applications", &self.applications)
            .field("managed_identity", &self.managed_identity)
            .finish_non_exhaustive()
    }
}

impl State {
    /// One managed identity and no application; keys and ids come from the seed.
    pub(crate) fn new(seed: u64) -> Self {
        let guid = |what: &str| {
            uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, format!("{seed}/identity/{what}").as_bytes())
        };
        let managed_identity = Principal {
            object_id: guid("object").to_string(),
            client_id: guid("client").to_string(),
            tenant_id: guid("tenant").to_string(),
        };
        let mut signing_key = [0; 32];
        let (first, second) = signing_key.split_at_mut(16);
        first.copy_from_slice(guid("key 1").as_bytes());
        second.copy_from_slice(guid("key 2").as_bytes());
        Self {
            signing_key,
            applications: BTreeMap::new(),
            managed_identity,
            identity_header: guid("header").simple().to_string(),
            managed_identity_lifetime: MANAGED_IDENTITY_LIFETIME,
            client_credentials_lifetime: CLIENT_CREDENTIALS_LIFETIME,
        }
    }

    /// Registers an application that may ask for tokens with `secret`; its object id is made from its client id.
    pub fn add_application(&mut self, tenant_id: &str, client_id: &str, secret: &str) -> Principal {
        let object =
            uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, client_id.to_ascii_lowercase().as_bytes());
        let principal = Principal {
            object_id: object.to_string(),
            client_id: client_id.to_owned(),
            tenant_id: tenant_id.to_owned(),
        };
        let application =
            Application { principal: principal.clone(), secret: secret.to_owned(), token_lifetime: None };
        self.applications.insert(client_id.to_ascii_lowercase(), application);
        principal
    }

    /// Configures how long an application's tokens live; as long as any other's where `None`.
    pub fn set_token_lifetime(&mut self, client_id: &str, lifetime: Option<Duration>) {
        if let Some(application) = self.applications.get_mut(&client_id.to_ascii_lowercase()) {
            application.token_lifetime = lifetime;
        }
    }
}
