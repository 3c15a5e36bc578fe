//! Storage accounts and their containers.

use std::{collections::BTreeMap, fmt, time::Duration};

use bytes::Bytes;
use time::OffsetDateTime;

use super::{blob::Blob, lease::Lease};

/// How long a deleted container's name cannot be used again: at least 30 seconds (Microsoft, "Delete Container").
pub(super) const CONTAINER_DELETION: Duration = Duration::from_secs(30);

/// A storage account.
#[derive(Clone)]
pub struct Account {
    /// `/subscriptions/…/resourceGroups/…/providers/Microsoft.Storage/storageAccounts/{name}`.
    pub id: String,
    /// 3 to 24 lower-case letters and digits.
    pub name: String,
    /// The region, such as `westeurope`.
    pub location: String,
    /// `key1` and `key2`, base64.
    pub keys: [String; 2],
    /// Whether SharedKey and account key SAS are accepted.
    pub allow_shared_key_access: bool,
    /// Whether containers may be opened to everybody. They are private until their owner opens them.
    pub allow_blob_public_access: bool,
}

impl fmt::Debug for Account {
    /// Everything but the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

/// A container and a blob in it.
pub(super) type BlobKey = (String, String);

/// What an account holds.
#[derive(Debug, Default)]
pub(super) struct Contents {
    /// By name.
    pub containers: BTreeMap<String, Container>,
    /// Deleted containers, and when their names are free again.
    pub being_deleted: BTreeMap<String, OffsetDateTime>,
    pub blobs: BTreeMap<BlobKey, Blob>,
    /// Blocks that were put and not yet committed.
    pub uncommitted: BTreeMap<BlobKey, UncommittedBlocks>,
}

/// The uncommitted blocks of a blob, in the order of their first upload, by base64 id.
pub(super) type UncommittedBlocks = Vec<(String, Bytes)>;

/// A container.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub metadata: BTreeMap<String, String>,
    pub etag: u64,
    pub last_modified: OffsetDateTime,
    pub lease: Lease,
    pub public_access: PublicAccess,
    /// Stored access policies by id.
    pub policies: Vec<(String, AccessPolicy)>,
}

/// What everybody may read of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PublicAccess {
    None,
    Blob,
    Container,
}

/// A stored access policy: what a SAS with `si` leaves out.
#[derive(Clone, Debug, Default)]
pub(super) struct AccessPolicy {
    pub start: Option<String>,
    pub expiry: Option<String>,
    pub permission: Option<String>,
}
