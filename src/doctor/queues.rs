//! Whether each queue that functions/ binds is there, and gives and takes messages. None is touched.

use async_trait::async_trait;
use servicebus::{ReceiverOptions, ServiceBusClient};

use super::{Check, Finding, Known, Reached, grant, queue_properties::AS_MADE};
use crate::{azure::actions::Place, domain::Queue};

/// What is wrong with a queue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueueTrouble {
    /// There is no such queue.
    #[error("{0}")]
    Missing(String),
    /// The caller may not receive from it, or send to it.
    #[error("{0}")]
    Refused(String),
    /// The namespace was not reached.
    #[error("{0}")]
    Unreached(String),
}

/// The queues of an installation.
#[async_trait]
pub trait Queues: Send + Sync {
    /// Looks whether a queue gives and takes messages, without touching any.
    ///
    /// # Errors
    /// What is wrong.
    async fn look(&self, queue: Queue) -> Result<(), QueueTrouble>;
}

#[async_trait]
impl Queues for ServiceBusClient {
    async fn look(&self, queue: Queue) -> Result<(), QueueTrouble> {
        let trouble = |error: servicebus::Error| match error {
            servicebus::Error::NotFound(_) => QueueTrouble::Missing(error.to_string()),
            servicebus::Error::Unauthorized(_) => QueueTrouble::Refused(error.to_string()),
            _ => QueueTrouble::Unreached(error.to_string()),
        };
        self.receiver(queue.name(), ReceiverOptions::default()).peek(0, 1).await.map_err(trouble)?;
        self.sender(queue.name()).attach().await.map_err(trouble)
    }
}

/// The check.
pub struct AllQueues;

#[async_trait]
impl Check for AllQueues {
    fn name(&self) -> &'static str {
        "queues"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let (mut findings, mut is_reached) = (Vec::new(), true);
        for queue in Queue::ALL {
            let name = queue.name();
            // The others would wait as long for the same.
            if !is_reached {
                findings.push(Finding::skipped(name, "the namespace was not reached"));
                continue;
            }
            findings.push(match at.queues.look(queue).await {
                Ok(()) => Finding::ok(name, "gives and takes messages"),
                Err(QueueTrouble::Missing(why)) => {
                    let create = "az servicebus queue create --resource-group <group> --namespace-name <namespace>";
                    Finding::failed(name, why, format!("{create} --name {name} {AS_MADE}; or 'azd provision'"))
                }
                Err(QueueTrouble::Refused(why)) => {
                    let scope = "/subscriptions/<subscription>/resourceGroups/<group>/providers/Microsoft.ServiceBus/namespaces/<namespace>";
                    Finding::failed(name, why, grant::command(at, known, Place::ServiceBus, scope))
                }
                Err(QueueTrouble::Unreached(why)) => {
                    let fix = "correct ServiceBus__fullyQualifiedNamespace, and let this machine reach it over AMQP (port 5671)";
                    is_reached = false;
                    Finding::failed(name, why, fix)
                }
            });
        }
        findings
    }
}
