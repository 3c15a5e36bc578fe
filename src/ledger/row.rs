//! The rows in which large runs wait for Resource Manager: one for each subscription, whatever run they are of.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Condition, ETag, Key, Ledger};
use crate::azure::AzureError;

/// How far the places of a row are given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The first place that nobody has.
    #[serde(with = "time::serde::rfc3339")]
    pub next: OffsetDateTime,
}

impl Ledger {
    /// The row of a subscription with its ETag; `None` where nobody ever waited.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn row(&self, subscription_id: &str) -> Result<Option<(Row, ETag)>, AzureError> {
        self.document(&Key::row(subscription_id)).await
    }

    /// Writes a row that was read with this ETag, or was not there.
    ///
    /// # Errors
    /// If Blob Storage refuses; [`AzureError::is_precondition`] if somebody else wrote it meanwhile.
    pub async fn put_row(
        &self,
        subscription_id: &str,
        row: Row,
        read: Option<ETag>,
    ) -> Result<ETag, AzureError> {
        let condition = read.map_or(Condition::IfMissing, Condition::IfMatch);
        self.put(&Key::row(subscription_id), &row, condition).await
    }
}
