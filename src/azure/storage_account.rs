//! Storage accounts: <https://learn.microsoft.com/rest/api/storagerp/storage-accounts>.

use azure_core::http::{Method, Url};
use serde_json::Value;

use super::{
    Azure, AzureError,
    json::{items, name, text},
};
use crate::secret::Secret;

const API_VERSION: &str = "2023-01-01";

/// A storage account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageAccount {
    /// Its resource id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its region.
    pub location: String,
    /// Where its blobs are. Never built from the name: clouds and DNS zones differ.
    pub blob_endpoint: Url,
    /// Whether its keys can be used; if not, only Entra ID's tokens can.
    pub allow_shared_key: bool,
}

impl Azure {
    /// Reads a storage account; `None` if it is not there.
    ///
    /// # Errors
    /// As any call; and if `id` is no resource id, or the account has no blobs.
    pub async fn storage_account(&self, id: &str) -> Result<Option<StorageAccount>, AzureError> {
        let attempted = format!("GET storage account {id}");
        let url = self.resource_url(&attempted, id, &[], API_VERSION, &[])?;
        let Some(account) = self.get(&attempted, url).await? else {
            return Ok(None);
        };
        let blob_endpoint =
            text(&account, "/properties/primaryEndpoints/blob").and_then(|url| Url::parse(&url).ok());
        let blob_endpoint = blob_endpoint.ok_or_else(|| {
            AzureError::permanent(&attempted, "UnexpectedAnswer", "the account has no blob endpoint")
        })?;
        let allowed = account.pointer("/properties/allowSharedKeyAccess");
        Ok(Some(StorageAccount {
            id: text(&account, "/id").unwrap_or_else(|| id.to_owned()),
            name: name(&account),
            location: text(&account, "/location").unwrap_or_default(),
            blob_endpoint,
            // Absent means allowed.
            allow_shared_key: allowed.and_then(Value::as_bool).unwrap_or(true),
        }))
    }

    /// A key of a storage account that may do everything.
    ///
    /// # Errors
    /// As any call; and if `id` is no resource id, or no key came.
    pub async fn storage_key(&self, id: &str) -> Result<Secret<String>, AzureError> {
        let attempted = format!("POST listKeys of storage account {id}");
        let url = self.resource_url(&attempted, id, &["listKeys"], API_VERSION, &[])?;
        let answer = self.call(&attempted, Method::Post, url, None).await?;
        if !answer.is_success() {
            return Err(self.refusal(&attempted, &answer));
        }
        let body = answer.json();
        let full =
            |key: &&Value| text(key, "/permissions").is_none_or(|text| text.eq_ignore_ascii_case("full"));
        let key = items(&body, "/keys").filter(full).find_map(|key| text(key, "/value"));
        key.map(Secret::new).ok_or_else(|| {
            AzureError::permanent(
                &attempted,
                "UnexpectedAnswer",
                "the answer holds no key with full permissions",
            )
        })
    }
}
