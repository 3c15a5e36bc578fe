//! What people asked for and nobody has answered yet.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::{Condition, Key, Ledger, malformed};
use crate::{
    azure::AzureError,
    domain::{Message, Queue},
};

/// The folder of these documents. Each goes once its wish is answered.
const FOLDER: &str = "wishes/";

/// A wish that waits, as its document holds it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Waiting {
    queue: Queue,
    message: Value,
    #[serde(with = "time::serde::rfc3339")]
    due: OffsetDateTime,
}

impl Ledger {
    /// Keeps a wish whose message is to come at this moment, over what was kept of it before.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn keep_wish(&self, message: &Message, due: OffsetDateTime) -> Result<(), AzureError> {
        let waiting = Waiting { queue: message.queue(), message: message.to_json(), due };
        self.put(&Key::of_message(FOLDER, message), &waiting, Condition::None).await?;
        Ok(())
    }

    /// A wish is answered.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn forget_wish(&self, message: &Message) -> Result<(), AzureError> {
        self.container.delete(&Key::of_message(FOLDER, message).0).await?;
        Ok(())
    }

    /// The documents of all wishes that nobody has answered.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn wishes(&self) -> Result<Vec<Key>, AzureError> {
        Ok(self.container.list(FOLDER).await?.into_iter().map(|blob| Key(blob.name)).collect())
    }

    /// The message of a wish, and the moment at which it is to come; `None` if it has been answered.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn wish(&self, key: &Key) -> Result<Option<(Message, OffsetDateTime)>, AzureError> {
        let Some((waiting, _)) = self.document::<Waiting>(key).await? else { return Ok(None) };
        let message = Message::parse(waiting.queue, waiting.message.to_string().as_bytes());
        Ok(Some((message.map_err(|error| malformed(key, &error))?, waiting.due)))
    }
}
