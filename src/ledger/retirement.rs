//! Whether a run may retire images in a lab: weighed once for each run and lab, and the same for all who ask later.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Key, Ledger};
use crate::{azure::AzureError, domain::LabId};

/// What a run would do to a lab, and whether it may.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retirement {
    /// The lab.
    pub lab: LabId,
    /// How many good images of the factory stood there before the run.
    pub before: usize,
    /// How many would stand there after it.
    pub after: usize,
    /// The share of them that may go: `mostRetiredShare` of the settings.
    pub most_retired_share: f64,
    /// Whether whoever started the run approved that more go.
    pub approved: bool,
    /// Whether the run retires nothing there.
    pub held: bool,
    /// When this was weighed.
    #[serde(with = "time::serde::rfc3339")]
    pub weighed_at: OffsetDateTime,
}

impl Ledger {
    /// What was weighed, if it was.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn retirement(&self, key: &Key) -> Result<Option<Retirement>, AzureError> {
        Ok(self.document(key).await?.map(|(weighed, _)| weighed))
    }

    /// Keeps what was weighed; answers what was kept first, whoever did it.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn keep_retirement(&self, key: &Key, weighed: &Retirement) -> Result<Retirement, AzureError> {
        self.keep(key, weighed.clone()).await
    }
}
