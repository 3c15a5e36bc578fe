//! Whether an installation can do its work, looked at before its first run: `image-factory doctor`.
//!
//! Every check is a file of this folder and a line in [`CHECKS`]. It looks with the product's own clients, leaves nothing behind,
//! and says for each failure what mends it. A check goes on after a failure; what it needs of an earlier one stands in [`Known`],
//! and where it does not, the check is skipped and says so. Secrets are neither read nor shown: a setting's value is looked at,
//! never repeated.

mod artifacts;
mod base_images;
mod clock;
mod configuration;
mod finding;
mod grant;
mod identity;
mod key_vault;
mod lab_storage;
mod labs;
mod ledger;
mod patience;
mod queue_properties;
mod queues;
mod quota;
mod roles;
mod settings;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;

pub use finding::{Diagnosis, Finding, Verdict};
pub use key_vault::{resolved, unresolved};
pub use queues::{QueueTrouble, Queues};

use crate::{
    azure::{Caller, Lab},
    domain::{Configuration, LabId},
    steps::Factory,
};

/// What is examined.
pub struct Installation {
    /// The settings, as the handler would read them.
    pub variables: BTreeMap<String, String>,
    /// What they lead to; `None` where they cannot be used.
    pub reached: Option<Reached>,
}

/// An installation's parts, reached as the handler reaches them.
pub struct Reached {
    /// The clients.
    pub factory: Factory,
    /// The queues.
    pub queues: Arc<dyn Queues>,
    /// The object id of the identity whose roles are looked at; those of the caller where `None`.
    pub identity: Option<String>,
    /// Settings whose references to Key Vault are not resolved.
    pub unresolved: Vec<String>,
    /// The host of the Service Bus namespace; `None` where that is reached with a key, so that no token for it is needed.
    pub namespace: Option<String>,
}

/// What checks found out for those after them.
#[derive(Default)]
struct Known {
    caller: OnceLock<Caller>,
    configuration: OnceLock<Configuration>,
    factory_lab: OnceLock<Lab>,
    /// The labs of Labs.json that are there.
    team_labs: OnceLock<Vec<(LabId, Lab)>>,
}

impl Known {
    /// The configuration and the factory lab, or why a check that needs both is skipped.
    fn definitions_and_lab(&self) -> Result<(&Configuration, &Lab), Finding> {
        match (self.configuration.get(), self.factory_lab.get()) {
            (Some(configuration), Some(lab)) => Ok((configuration, lab)),
            (None, _) => {
                Err(Finding::skipped("", "there is no configuration to look at: see 'configuration'"))
            }
            (_, None) => Err(Finding::skipped("", "the factory lab was not reached: see 'labs'")),
        }
    }
}

/// A check of what is reached.
#[async_trait]
trait Check: Sync {
    /// Its name in tables and JSON.
    fn name(&self) -> &'static str;

    /// Looks, and tells what it found.
    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding>;
}

/// All of them, in their order: a later one uses what an earlier one found.
const CHECKS: [&dyn Check; 12] = [
    &identity::Identity,
    &clock::SameTime,
    &queues::AllQueues,
    &queue_properties::AllQueueProperties,
    &ledger::LedgerContainer,
    &configuration::ConfigurationSource,
    &labs::AllLabs,
    &roles::Roles,
    &lab_storage::LabStorages,
    &base_images::AllBaseImages,
    &artifacts::AllArtifacts,
    &quota::Quota,
];

/// Examines an installation.
pub async fn examine(installation: &Installation) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    diagnosis.add(settings::NAME, settings::look(&installation.variables));
    diagnosis.add(key_vault::NAME, key_vault::look(&installation.variables));
    let known = Known::default();
    for check in CHECKS {
        let found = match &installation.reached {
            Some(reached) => check.look(reached, &known).await,
            None => vec![Finding::skipped("", "the settings cannot be used: see 'settings'")],
        };
        diagnosis.add(check.name(), found);
    }
    diagnosis
}
