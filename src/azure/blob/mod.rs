//! Blobs: <https://learn.microsoft.com/rest/api/storageservices/blob-service-rest-api>.

mod container;
mod delegation;
mod sas;
mod shared_key;
mod spaces;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, sync::Arc};

use azure_core::http::{ClientOptions, Pipeline, Url, policies::Policy};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Azure, AzureError, authorization, client_options, pipeline};
use crate::{secret::Secret, telemetry::Service};
use shared_key::{AccountKey, SignSharedKey};
use spaces::EncodeSpaces;

/// The service's version: one that every cloud knows, and the newest for which the SAS below is signed as it is.
const VERSION: &str = "2023-11-03";

/// What the storage service's tokens are asked for.
const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

/// How blobs are reached.
#[derive(Clone, Debug)]
pub enum BlobAuthorization {
    /// With a key of the account.
    SharedKey {
        /// The account's name.
        account: String,
        /// One of its keys, base64 as Azure hands it out.
        key: Secret<String>,
    },
    /// As the factory itself, by its roles on the account's data.
    Bearer,
}

/// A blob's version, as the service wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ETag(String);

impl ETag {
    /// The tag, with the quotes that it may have.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: Into<String>> From<T> for ETag {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

/// When a write may happen; if not, the error is a precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always.
    None,
    /// If no blob has this name.
    IfMissing,
    /// If the blob is still the one that was read.
    IfMatch(ETag),
}

/// A blob in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobItem {
    /// Its name, from the container on.
    pub name: String,
    /// Its version.
    pub etag: ETag,
    /// Its length in bytes. A copy that is pending has its full length at once.
    pub length: u64,
    /// When it was written last.
    pub last_modified: Option<OffsetDateTime>,
    /// Its metadata; names in lower case.
    pub metadata: BTreeMap<String, String>,
}

/// A blob, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobProperties {
    /// Its version; it changes all the time while a copy is pending.
    pub etag: ETag,
    /// Its length in bytes. A copy that is pending has its full length at once.
    pub length: u64,
    /// When it was written last.
    pub last_modified: Option<OffsetDateTime>,
    /// Its metadata; names in lower case.
    pub metadata: BTreeMap<String, String>,
    /// The last copy into it; absent if it was written otherwise since.
    pub copy: Option<Copy>,
}

/// A copy into a blob, done by the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Its id.
    pub id: String,
    /// How it stands. Only [`CopyStatus::Success`] proves anything about the blob.
    pub status: CopyStatus,
    /// Bytes copied, and in all; absent early on.
    pub copied: Option<(u64, u64)>,
    /// Where from, without a query: the SAS is no part of the source's identity.
    pub source: Option<String>,
    /// What went wrong. While the copy is pending, the service goes on trying.
    pub description: Option<String>,
}

/// How a copy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CopyStatus {
    /// The service is at it.
    Pending,
    /// The blob is complete.
    Success,
    /// Stopped on request; the blob stays, empty.
    Aborted,
    /// It failed; the blob stays, empty.
    Failed,
}

/// A copy that the service took on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyStarted {
    /// Its id.
    pub copy_id: String,
    /// [`CopyStatus::Pending`] as a rule.
    pub status: CopyStatus,
}

/// A container of blobs. Cheap to clone.
#[derive(Clone)]
pub struct Container {
    azure: Azure,
    name: String,
    endpoint: Url,
    url: Url,
    client: Arc<BlobContainerClient>,
    /// For reads, which are most calls: the SDK's client of a blob brings a pipeline of its own, and downloads in parts.
    pipeline: Pipeline,
    options: ClientOptions,
    key: Option<AccountKey>,
    lent: delegation::Lent,
}

/// A list of blobs, page by page: what a container holds need not fit into memory.
#[derive(Debug)]
pub struct BlobPages {
    container: Container,
    prefix: String,
    marker: Marker,
}

/// Where a list goes on.
#[derive(Debug)]
enum Marker {
    First,
    Next(String),
    End,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Container").field(&self.url.as_str()).finish()
    }
}

impl Azure {
    /// A container of a storage account, by the account's blob endpoint; calls nothing. Endpoints with a path, as
    /// stand-ins have them (`http://127.0.0.1:10000/account`), work too.
    ///
    /// # Errors
    /// If the endpoint is neither `https` nor `http` on a loopback host, or the key is not base64.
    pub fn container(
        &self,
        endpoint: &Url,
        name: &str,
        authorization: BlobAuthorization,
    ) -> Result<Container, AzureError> {
        let attempted = format!("use container {name}");
        authorization::require_private(endpoint)?;
        let mut endpoint = endpoint.clone();
        endpoint.set_query(None);
        endpoint.set_fragment(None);
        let mut url = endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(name);
        }
        let (policy, key): (Arc<dyn Policy>, _) = match authorization {
            BlobAuthorization::SharedKey { account, key } => {
                let key = AccountKey::new(account, &key)
                    .map_err(|reason| AzureError::permanent(&attempted, "InvalidAccountKey", reason))?;
                let policy = SignSharedKey::new(key.clone(), self.inner.clock.clone());
                (Arc::new(policy), Some(key))
            }
            BlobAuthorization::Bearer => {
                let credential = self.inner.credential.clone();
                let policy = authorization::bearer(
                    &endpoint,
                    credential,
                    STORAGE_SCOPE.to_owned(),
                    &self.inner.clock,
                )?;
                (policy, None)
            }
        };
        let mut options = client_options(Service::Blobs, &self.inner.transport, &self.inner.clock, policy);
        options.per_call_policies.push(Arc::new(EncodeSpaces));
        let client = BlobContainerClient::new(
            url.clone(),
            // Authorisation is a policy of ours: the SDK's clients know no keys, and refuse tokens to loopback hosts.
            None,
            Some(BlobContainerClientOptions { client_options: options.clone(), version: VERSION.to_owned() }),
        )
        .map_err(|error| AzureError::from_sdk(&attempted, &error, &self.inner.clock))?;
        let pipeline = pipeline(options.clone());
        Ok(Container {
            azure: self.clone(),
            name: name.to_owned(),
            endpoint,
            url,
            client: Arc::new(client),
            pipeline,
            options,
            key,
            lent: delegation::Lent::default(),
        })
    }
}
