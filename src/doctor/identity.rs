//! Whether there are tokens for each service, and whose they are.

use async_trait::async_trait;

use super::{Check, Finding, Known, Reached};
use crate::azure::Caller;

/// Blob Storage's audience.
const STORAGE: &str = "https://storage.azure.com";
/// Service Bus's.
const SERVICE_BUS: &str = "https://servicebus.azure.net";

/// The check.
pub struct Identity;

#[async_trait]
impl Check for Identity {
    fn name(&self) -> &'static str {
        "identity"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let azure = &at.factory.azure;
        let resource_manager = azure.resource_manager_audience();
        let mut audiences = vec![("Resource Manager", resource_manager.as_str()), ("Blob Storage", STORAGE)];
        if at.namespace.is_some() {
            audiences.push(("Service Bus", SERVICE_BUS));
        }
        let mut findings = Vec::new();
        for (service, audience) in audiences {
            match azure.caller(audience).await {
                Ok(caller) => {
                    findings.push(Finding::ok(service, format!("a token for {}", told(&caller))));
                    // The first one is Resource Manager's, which roles are about; whoever comes later is the same.
                    let _ = known.caller.set(caller);
                }
                Err(error) => {
                    let fix = "on your machine: az login; in Azure: give the app its identity (az functionapp identity assign), and set \
                               AZURE_CLIENT_ID to the client id of that identity";
                    findings.push(Finding::refused(service, &error, fix));
                }
            }
        }
        let is_person = known.caller.get().is_some_and(|caller| caller.user.is_some());
        if is_person && at.identity.is_none() {
            let found = "these checks are made as you: whether the factory's identity may do the same was not looked at";
            let fix = "image-factory doctor --identity $(az identity show --resource-group rg-<environment> --name id-<environment> --query \
                       principalId --output tsv)";
            findings.push(Finding::warning("you", found, fix));
        }
        findings
    }
}

fn told(caller: &Caller) -> String {
    let id = caller.object_id.as_deref().unwrap_or("somebody whom the token does not name");
    match (&caller.user, &caller.client_id) {
        (Some(user), _) => format!("{user} ({id})"),
        (None, Some(client)) => format!("{id} (client id {client})"),
        (None, None) => id.to_owned(),
    }
}
