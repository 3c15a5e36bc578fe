//! Which labs the simulated Azure has: a factory lab, and every lab that Labs.json names.

use azure_sim::{Sim, arm::LabSpec};

use crate::{
    azure::{Azure, BlobAuthorization, Container},
    domain::{Configuration, LabId},
};

/// The subscription of the factory lab and of the factory's own storage.
pub const FACTORY_SUBSCRIPTION: &str = "f0000000-0000-4000-8000-000000000000";
/// The resource group of the factory lab and of the factory's own storage.
pub const FACTORY_GROUP: &str = "rg-image-factory";
/// The factory lab, where the configuration names none.
pub const FACTORY_LAB: &str = "image-factory";
/// The storage account of the ledger.
pub const LEDGER_ACCOUNT: &str = "imagefactoryledger";
/// The Service Bus namespace, where there is one beside the stand-in on sockets.
pub const NAMESPACE: &str = "imagefactory";
/// The container of the ledger.
pub const LEDGER_CONTAINER: &str = "image-factory";
/// Labs.json does not say where a lab is: neighbours get different regions, so that copies cross them.
const REGIONS: [&str; 2] = ["westeurope", "northeurope"];

/// The resource id of the ledger's storage account.
pub fn ledger_account_id() -> String {
    format!(
        "/subscriptions/{FACTORY_SUBSCRIPTION}/resourceGroups/{FACTORY_GROUP}/providers/Microsoft.Storage/storageAccounts/{LEDGER_ACCOUNT}"
    )
}

/// The resource id of the Service Bus namespace.
pub fn namespace_id() -> String {
    format!(
        "/subscriptions/{FACTORY_SUBSCRIPTION}/resourceGroups/{FACTORY_GROUP}/providers/Microsoft.ServiceBus/namespaces/{NAMESPACE}"
    )
}

/// The ledger's container in simulated Azure, reached as the handler does.
///
/// # Errors
/// If the container cannot be addressed.
pub fn ledger_container(azure: &Azure, sim: &Sim) -> anyhow::Result<Container> {
    let endpoint = sim.world().endpoints.blob(LEDGER_ACCOUNT).parse()?;
    Ok(azure.container(&endpoint, LEDGER_CONTAINER, BlobAuthorization::Bearer)?)
}

/// The URL of that container.
pub fn ledger_url(sim: &Sim) -> String {
    format!("{}/{LEDGER_CONTAINER}", sim.world().endpoints.blob(LEDGER_ACCOUNT).trim_end_matches('/'))
}

/// The factory lab that `configuration` names, or the default.
pub fn factory_lab(configuration: &Configuration) -> LabSpec {
    let own = &configuration.settings.factory_lab;
    let or = |text: &Option<String>, default: &str| text.clone().unwrap_or_else(|| default.to_owned());
    LabSpec {
        subscription_id: or(&own.subscription_id, FACTORY_SUBSCRIPTION),
        resource_group: or(&own.resource_group, FACTORY_GROUP),
        name: or(&own.lab_name, FACTORY_LAB),
        location: REGIONS[0].to_owned(),
    }
}

/// The labs that Labs.json names, each in its region.
pub fn target_labs(configuration: &Configuration) -> Vec<LabSpec> {
    let labs = configuration.labs.iter().enumerate();
    labs.map(|(index, subscribed)| target_lab(&subscribed.lab, REGIONS[index % REGIONS.len()])).collect()
}

/// A lab that Labs.json names, in a region. Where it names no group, the lab stands in one of its own.
pub fn target_lab(lab: &LabId, location: &str) -> LabSpec {
    LabSpec {
        subscription_id: lab.subscription_id().to_owned(),
        resource_group: lab.resource_group().map_or_else(|| format!("rg-{}", lab.lab_name()), str::to_owned),
        name: lab.lab_name().to_owned(),
        location: location.to_owned(),
    }
}
