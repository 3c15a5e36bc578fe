//! The app settings, which reach the handler as environment variables. Every public text of this module and of those in it is the
//! name of a setting: `tests/infrastructure/settings.rs` looks for each in `infra/`.

pub mod source;
pub mod telemetry;
pub mod webhooks;

use std::{collections::BTreeMap, sync::Arc};

use azure_core::{
    credentials::TokenCredential,
    http::{ClientOptions, Url},
};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use factory_clock::{CLOCK_VARIABLE, Clock};
use servicebus::ServiceBusClient;

use self::source::SourceSettings;
use super::ServiceBusOutbox;
use crate::{
    azure::{Azure, AzureOptions, BlobAuthorization, ResourceId, identity_transport},
    domain::LabId,
    ledger::Ledger,
    secret::Secret,
    steps::{Factory, KeyedAccounts},
    telemetry::Traces,
};

/// The container of the ledger, such as `https://myfactory.blob.core.windows.net/image-factory`.
pub const LEDGER: &str = "IMAGE_FACTORY_LEDGER";
/// The resource id of the factory lab; `factoryLab` in factory.json comes before it.
pub const FACTORY_LAB: &str = "IMAGE_FACTORY_LAB";
/// The names of those storage accounts of labs, separated by commas, that are reached with a key of theirs because they allow
/// nothing else; all others are reached as the factory's identity.
pub const KEYED_ACCOUNTS: &str = "IMAGE_FACTORY_KEYED_ACCOUNTS";
/// Resource Manager's endpoint; the public cloud's where it is not set.
pub const RESOURCE_MANAGER: &str = "IMAGE_FACTORY_RESOURCE_MANAGER";
/// The Service Bus connection, by the name that function.json gives it: a connection string (the local stand-in's), or with
/// this suffix the namespace, reached with the managed identity.
pub const SERVICE_BUS: &str = "ServiceBus";
/// See [`SERVICE_BUS`].
pub const SERVICE_BUS_NAMESPACE: &str = "ServiceBus__fullyQualifiedNamespace";
/// The client id of a user-assigned identity; the system-assigned one where it is not set.
pub const CLIENT_ID: &str = "AZURE_CLIENT_ID";
/// Set by Azure where there is a managed identity (Microsoft, "How to use managed identities for App Service").
const IDENTITY_ENDPOINT: &str = "IDENTITY_ENDPOINT";

/// What a reference to Key Vault reads like; it stays there where Azure cannot resolve it, and everybody could guess it
/// (Microsoft, "Use Key Vault references as app settings").
pub(crate) const UNRESOLVED_REFERENCE: &str = "@Microsoft.KeyVault(";
const PUBLIC_RESOURCE_MANAGER: &str = "https://management.azure.com";

/// Settings that cannot be used: all of them, each with what to do.
#[derive(Debug, thiserror::Error)]
#[error("the app settings cannot be used:\n{}", .0.join("\n"))]
pub struct BadSettings(Vec<String>);

impl BadSettings {
    /// Each problem, beginning with the setting's name.
    pub fn problems(&self) -> &[String] {
        &self.0
    }
}

/// What the handler needs to know.
pub struct Settings {
    ledger: Url,
    ledger_container: String,
    factory_lab: Option<LabId>,
    keyed_accounts: KeyedAccounts,
    source: SourceSettings,
    resource_manager: Url,
    service_bus: ServiceBus,
    client_id: Option<String>,
    has_managed_identity: bool,
    clock: Clock,
}

enum ServiceBus {
    /// Holds a key.
    ConnectionString(Secret<String>),
    Namespace(String),
}

impl Settings {
    /// Reads the settings from `variables`, usually the environment.
    ///
    /// # Errors
    /// All that is missing or wrong, in one go.
    pub fn read(variables: &BTreeMap<String, String>) -> Result<Self, BadSettings> {
        let mut problems = Vec::new();
        let get =
            |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let url = |name: &str, value: &str, problems: &mut Vec<String>| {
            value
                .parse::<Url>()
                // Without the value: a connection string, put here by mistake, holds a key.
                .map_err(|error| problems.push(format!("{name} is no URL: {error}")))
                .ok()
        };
        let ledger = match get(LEDGER) {
            Some(value) => url(LEDGER, value, &mut problems),
            None => {
                problems.push(format!("{LEDGER} is not set: the URL of the ledger's blob container"));
                None
            }
        };
        let ledger = ledger.and_then(|mut url| {
            let path = url.path().trim_matches('/').to_owned();
            let (account, container) = path.rsplit_once('/').unwrap_or(("", path.as_str()));
            if container.is_empty() {
                problems
                    .push(format!("{LEDGER} names no container: add it to the URL, such as …/image-factory"));
                return None;
            }
            url.set_path(&format!("/{account}"));
            Some((url, container.to_owned()))
        });
        let factory_lab = get(FACTORY_LAB).and_then(|value| match lab_of_id(value) {
            Ok(lab) => Some(lab),
            Err(reason) => {
                problems.push(format!("{FACTORY_LAB}: {reason}"));
                None
            }
        });
        let keyed_accounts =
            keyed_accounts(get(KEYED_ACCOUNTS).unwrap_or_default()).unwrap_or_else(|problem| {
                problems.push(problem);
                KeyedAccounts::new()
            });
        let source = SourceSettings::read(get, &mut problems);
        let resource_manager =
            url(RESOURCE_MANAGER, get(RESOURCE_MANAGER).unwrap_or(PUBLIC_RESOURCE_MANAGER), &mut problems);
        let service_bus = match (get(SERVICE_BUS), get(SERVICE_BUS_NAMESPACE)) {
            (Some(text), _) => Some(ServiceBus::ConnectionString(Secret::new(text.to_owned()))),
            (None, Some(namespace)) => Some(ServiceBus::Namespace(namespace.to_owned())),
            (None, None) => {
                problems.push(format!(
                    "{SERVICE_BUS_NAMESPACE} is not set: the namespace, such as ns.servicebus.windows.net"
                ));
                None
            }
        };
        let clock = match get(CLOCK_VARIABLE).map_or(Ok(Clock::system()), str::parse) {
            Ok(clock) => Some(clock.adjustable()),
            Err(error) => {
                problems.push(format!("{CLOCK_VARIABLE}: {error}"));
                None
            }
        };
        match (ledger, source, resource_manager, service_bus, clock) {
            (
                Some((ledger, ledger_container)),
                Some(source),
                Some(resource_manager),
                Some(service_bus),
                Some(clock),
            ) if problems.is_empty() => Ok(Self {
                ledger,
                ledger_container,
                factory_lab,
                keyed_accounts,
                source,
                resource_manager,
                service_bus,
                client_id: get(CLIENT_ID).map(str::to_owned),
                has_managed_identity: get(IDENTITY_ENDPOINT).is_some(),
                clock,
            }),
            _ => Err(BadSettings(problems)),
        }
    }

    /// The host of the Service Bus namespace; `None` if that is reached with a key, and not with the identity.
    pub fn service_bus_namespace(&self) -> Option<&str> {
        match &self.service_bus {
            ServiceBus::ConnectionString(_) => None,
            ServiceBus::Namespace(host) => Some(host),
        }
    }

    /// The factory that these settings describe. Opens no connection yet.
    ///
    /// # Errors
    /// If a client cannot be made of them.
    pub fn factory(self) -> anyhow::Result<Factory> {
        let credential = self.managed_identity()?;
        Ok(self.parts(credential)?.0)
    }

    /// The factory for a person's command, with Service Bus: with the managed identity where there is one, such as in `dev`, else
    /// as whom the Azure CLI or the Azure Developer CLI is signed in.
    ///
    /// # Errors
    /// If a client cannot be made of the settings.
    pub fn for_person(self) -> anyhow::Result<(Factory, ServiceBusClient)> {
        let credential: Arc<dyn TokenCredential> = match self.has_managed_identity {
            true => self.managed_identity()?,
            false => DeveloperToolsCredential::new(None)?,
        };
        self.parts(credential)
    }

    fn managed_identity(&self) -> anyhow::Result<Arc<dyn TokenCredential>> {
        let user_assigned_id = self.client_id.clone().map(UserAssignedId::ClientId);
        let client_options = ClientOptions { transport: Some(identity_transport()), ..Default::default() };
        let options = ManagedIdentityCredentialOptions { user_assigned_id, client_options };
        Ok(ManagedIdentityCredential::new(Some(options))?)
    }

    fn parts(self, credential: Arc<dyn TokenCredential>) -> anyhow::Result<(Factory, ServiceBusClient)> {
        let client = match self.service_bus {
            ServiceBus::ConnectionString(text) => ServiceBusClient::from_connection_string(text.expose())?,
            ServiceBus::Namespace(namespace) => ServiceBusClient::new(&namespace, credential.clone())?,
        };
        let azure = Azure::new(AzureOptions {
            resource_manager: self.resource_manager,
            credential: credential.clone(),
            transport: None,
            clock: self.clock.clone(),
        })?;
        let container = azure.container(&self.ledger, &self.ledger_container, BlobAuthorization::Bearer)?;
        let traces = Traces::new(container.address(), self.clock.clone());
        let outbox = Arc::new(ServiceBusOutbox::new(&client).traced(traces));
        let source = self.source.source(credential, self.clock.clone());
        let factory =
            Factory::new(azure, Ledger::new(container), outbox, source, self.clock, self.factory_lab);
        Ok((factory.with_keyed_accounts(self.keyed_accounts), client))
    }
}

/// The names in [`KEYED_ACCOUNTS`].
fn keyed_accounts(text: &str) -> Result<KeyedAccounts, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let is_name = |name: &str| {
        (3..=24).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    names
        .enumerate()
        .map(|(index, name)| match is_name(name) {
            true => Ok(name.to_owned()),
            // Without the value: it may be a key that somebody put here by mistake.
            false => Err(format!(
                "{KEYED_ACCOUNTS}: part {} is no storage account's name: 3 to 24 lower-case letters and digits",
                index + 1
            )),
        })
        .collect()
}

/// The lab of a resource id.
///
/// # Errors
/// In words, if it is none.
pub fn lab_of_id(id: &str) -> Result<LabId, String> {
    let wanted = "/subscriptions/{guid}/resourceGroups/{group}/providers/Microsoft.DevTestLab/labs/{lab}";
    let parsed: ResourceId =
        id.parse().map_err(|_| format!("'{id}' is no resource id; expected {wanted}"))?;
    let name = parsed.named("labs").ok_or_else(|| format!("'{id}' names no lab; expected {wanted}"))?;
    LabId::new(&parsed.subscription_id, parsed.resource_group.as_deref(), name)
        .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
