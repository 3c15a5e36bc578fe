//! The steps: each makes its message true, a little in every invocation.
//!
//! A step *looks* at what Azure has, *decides* with a pure function, does one thing and ends; it never sleeps. Waiting is the
//! same message again, later. What all steps share — whose turn it is, deadlines, trouble, the order of effect, ledger and
//! message — is [`turn`]; a step's own file knows only its own part of Azure.
//!
//! To add a step: a file here, its word in [`Queue`](crate::domain::Queue), a folder in `functions/`.

mod backlog;
pub mod base_image;
pub mod call_off;
mod cancel_run;
mod capture_image;
pub mod cleanup;
mod copy_image;
mod create_vm;
mod delete_vm;
#[cfg(test)]
pub(crate) mod fixtures;
mod lab_storage;
mod outbox;
mod pace;
mod pin_image;
mod progress;
pub(crate) mod rerun;
mod retire_images;
pub mod schedule;
pub mod start_run;
pub mod tags;
mod turn;
mod turnstile;
mod wish;

use std::sync::Arc;

use factory_clock::Clock;
use tracing::warn;

pub use lab_storage::LabStorage;
pub use outbox::{Envelope, Outbox, OutboxError};
pub use turn::{StepError, Told};

use crate::{
    azure::{Azure, AzureError},
    domain::{
        LabId, Message, RunId, VmName,
        messages::{RetireImages, Step},
    },
    ledger::{Key, Ledger},
    source::Source,
    telemetry::Traces,
};
use backlog::Backlogs;
pub use lab_storage::KeyedAccounts;
use lab_storage::LabStorages;
use turnstile::Turnstile;
use wish::Wish;

/// From this delivery on a message is not given back because what follows it cannot be sent: a host delivers it again at once,
/// and after the tenth time (`maxDeliveryCount`) it would be a dead letter although the ledger has its turn.
pub const LAST_DELIVERY: u32 = 5;

/// Everything that steps may touch.
#[derive(Clone)]
pub struct Factory {
    /// Azure's interfaces.
    pub azure: Azure,
    /// What the factory remembers.
    pub ledger: Ledger,
    /// Where messages go.
    pub outbox: Arc<dyn Outbox>,
    /// Where configuration comes from.
    pub source: Arc<dyn Source>,
    /// The time.
    pub clock: Clock,
    /// The lab in which images are made, unless `factory.json` names one.
    pub factory_lab: Option<LabId>,
    /// The traces of its runs.
    pub traces: Traces,
    /// How far the queues are.
    pub backlogs: Backlogs,
    storages: LabStorages,
    turnstile: Turnstile,
}

impl Factory {
    /// A factory of these parts.
    pub fn new(
        azure: Azure,
        ledger: Ledger,
        outbox: Arc<dyn Outbox>,
        source: Arc<dyn Source>,
        clock: Clock,
        factory_lab: Option<LabId>,
    ) -> Self {
        let storages = LabStorages::new(azure.clone(), clock.clone());
        let backlogs = Backlogs::new(ledger.clone(), clock.clone());
        let turnstile = Turnstile::new(ledger.clone(), clock.clone());
        let traces = Traces::new(ledger.address(), clock.clone());
        Self { azure, ledger, outbox, source, clock, factory_lab, traces, backlogs, storages, turnstile }
    }

    /// The same factory, with its configuration from elsewhere.
    #[must_use]
    pub fn with_source(self, source: Arc<dyn Source>) -> Self {
        Self { source, ..self }
    }

    /// The same factory, reaching these storage accounts of labs with a key of theirs.
    #[must_use]
    pub fn with_keyed_accounts(self, accounts: KeyedAccounts) -> Self {
        Self { storages: self.storages.with_keyed_accounts(accounts), ..self }
    }

    /// Whether the storage account with this resource id is reached with a key of its own.
    pub fn is_keyed(&self, account_id: &str) -> bool {
        self.storages.is_keyed(account_id)
    }

    /// A lab with the container of its VHDs, as steps reach it.
    ///
    /// # Errors
    /// If Azure refuses, or the lab is not there.
    pub async fn lab_storage(&self, lab: &LabId) -> Result<LabStorage, AzureError> {
        self.storages.get(lab).await
    }

    /// Handles one message: the whole of an invocation. `delivery` counts from 1 how often Service Bus has delivered it.
    ///
    /// # Errors
    /// Only where a later delivery of the same message must be tried or the message is of no use: it names no item of the
    /// ledger, or the next message could not be sent. Trouble with Azure is no error; the message is scheduled again.
    pub async fn handle(&self, message: &Message, delivery: u32) -> Result<Told, StepError> {
        match self.take(message).await {
            Err(StepError::Unsent(error)) if delivery >= LAST_DELIVERY => {
                warn!(%error, delivery, "what follows is left to cleanup");
                Ok(Told(format!("{error}; cleanup sends what follows")))
            }
            other => other,
        }
    }

    async fn take(&self, message: &Message) -> Result<Told, StepError> {
        let build = |path| Key::build(&message.run, &VmName::derive(&message.run, path));
        let copy = |path, lab| Key::copy(&message.run, &VmName::derive(&message.run, path), lab);
        let wish = |wish| Box::pin(wish::take(self, message, wish));
        if let Some(rerun) = &message.rerun {
            return wish(Wish::Rerun(rerun)).await;
        }
        match &message.step {
            Step::CancelRun(cancel) => wish(Wish::Cancel(cancel)).await,
            Step::PinImage(pin) => wish(Wish::Pin(pin)).await,
            Step::StartRun(start) => start_run::handle(self, message, start).await,
            Step::CreateVm(step) => {
                turn::take(self, &create_vm::CreateVm, &build(&step.image_path), message).await
            }
            Step::CaptureImage(step) => {
                turn::take(self, &capture_image::CaptureImage, &build(&step.image_path), message).await
            }
            Step::DeleteVm(step) => {
                turn::take(self, &delete_vm::DeleteVm, &build(&step.image_path), message).await
            }
            Step::CopyImage(step) => copy_image::handle(self, message, step).await,
            Step::RetireImages(RetireImages { image_path, lab: Some(lab) }) => {
                turn::take(self, &retire_images::InLab, &copy(image_path, lab), message).await
            }
            Step::RetireImages(RetireImages { image_path, lab: None }) => {
                turn::take(self, &retire_images::InFactory, &build(image_path), message).await
            }
        }
    }
}

/// What people are told about a run that the ledger does not know.
fn unknown_run(run: &RunId) -> String {
    format!("run {run} is not known: it never started, or it ended more than 90 days ago and is forgotten")
}
