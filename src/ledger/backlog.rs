//! Queues whose messages wait long before anyone takes them.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Condition, Key, Ledger};
use crate::{azure::AzureError, domain::Queue};

/// The folder of these documents, one for each such queue.
const FOLDER: &str = "backlogs/";

/// How far a queue is that has more messages than the handlers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backlog {
    /// The queue.
    pub queue: Queue,
    /// Since when the message had waited that was taken then: what came to the queue later may wait still.
    #[serde(with = "time::serde::rfc3339")]
    pub reached: OffsetDateTime,
    /// When it was taken.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

impl Ledger {
    /// Notes how far a queue is, over what was noted of it before.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn note_backlog(&self, backlog: &Backlog) -> Result<(), AzureError> {
        let key = Key(format!("{FOLDER}{}.json", backlog.queue));
        self.put(&key, backlog, Condition::None).await?;
        Ok(())
    }

    /// How far the queues are that ever had a backlog.
    ///
    /// # Errors
    /// If Blob Storage refuses, or a document is not of the expected form.
    pub async fn backlogs(&self) -> Result<Vec<Backlog>, AzureError> {
        let mut backlogs = Vec::new();
        for blob in self.container.list(FOLDER).await? {
            backlogs.extend(self.document::<Backlog>(&Key(blob.name)).await?.map(|(backlog, _)| backlog));
        }
        Ok(backlogs)
    }
}
