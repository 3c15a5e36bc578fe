//! Azure Blob Storage.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::{Request, Response, World};

/// What will happen in Blob Storage.
#[derive(Clone, Debug)]
pub enum Event {}

/// The state of Blob Storage.
#[derive(Debug, Default)]
pub struct State {
    /// Storage accounts by name.
    pub accounts: BTreeMap<String, Account>,
}

/// A storage account.
#[derive(Clone, Debug)]
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
}

/// What the rest of Azure sees of a blob.
#[derive(Clone, Debug)]
pub struct BlobSummary {
    /// The blob's URL without query.
    pub url: String,
    /// The account that holds it.
    pub account: String,
    /// In bytes.
    pub length: u64,
    /// `PageBlob` or `BlockBlob`.
    pub blob_type: String,
    /// `x-ms-copy-status`, if it was made by a copy.
    pub copy_status: Option<String>,
    /// When it was last written.
    pub last_modified: OffsetDateTime,
    /// `x-ms-meta-*`, by name.
    pub metadata: BTreeMap<String, String>,
}

/// Adds a storage account with two keys; its name must be new.
pub fn create_account(_world: &mut World, _id: &str, _location: &str) {
    unimplemented!()
}

/// The blob behind a URL (its query ignored).
pub fn blob(_world: &World, _url: &str) -> Option<BlobSummary> {
    unimplemented!()
}

/// All blobs of an account, in order of container and name.
pub fn blobs(_world: &World, _account: &str) -> Vec<BlobSummary> {
    unimplemented!()
}

/// Opens a managed disk of `length` bytes for reading until `expires`; answers the URL with its SAS.
pub fn open_export(_world: &mut World, _disk_id: &str, _length: u64, _expires: OffsetDateTime) -> String {
    unimplemented!()
}

/// Takes back the SAS of a managed disk; copies that still read from it fail.
pub fn close_export(_world: &mut World, _disk_id: &str) {
    unimplemented!()
}

/// Lets `event` happen.
pub fn apply(_world: &mut World, event: Event) {
    match event {}
}

/// Answers one request to `account` (or to the disk export of that name); `path` is `/container/blob`, percent-encoded.
pub fn handle(_world: &mut World, _account: &str, _path: &str, _request: &Request) -> Response {
    unimplemented!()
}
