//! The simulated broker's queues, as the doctor looks at them without a network.

use std::sync::Arc;

use async_trait::async_trait;
use azure_sim::broker::Broker;

use crate::{
    doctor::{QueueTrouble, Queues},
    domain::Queue,
};

/// The queues of a broker in this process.
pub struct BrokerQueues(pub Arc<Broker>);

#[async_trait]
impl Queues for BrokerQueues {
    async fn look(&self, queue: Queue) -> Result<(), QueueTrouble> {
        let missing =
            |error: azure_sim::broker::BrokerError| QueueTrouble::Missing(format!("{queue}: {error}"));
        self.0.peek(queue.name(), 0, 1).map(drop).map_err(missing)
    }
}
