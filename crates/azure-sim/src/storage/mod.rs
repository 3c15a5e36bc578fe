//! Azure Blob Storage: accounts, containers, block and page blobs, copies, leases, and the exports of managed disks.
//!
//! A request is parsed and authorised once (`request`, `authorization`); then one function per operation reads or changes
//! the state. A copy is one event at its end; what a pending copy shows is computed when it is asked for.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use sha2::{Digest as _, Sha512};
use time::OffsetDateTime;
use uuid::Uuid;

mod account;
mod answer;
mod authorization;
mod blob;
mod block_blob;
mod conditions;
mod container;
mod content;
mod copy;
mod delegation;
mod error;
mod export;
mod lease;
mod leasing;
mod list;
mod page_blob;
mod properties;
mod read;
mod request;
mod service;
mod snapshot;
mod tags;
mod write;
mod xml;

pub use account::Account;
pub(crate) use delegation::revoke_keys;
pub use export::{close_export, disk_content, open_export};
pub(crate) use request::http_date;

use crate::{Request, Response, Service, World};

/// What will happen in Blob Storage.
#[derive(Clone, Debug)]
pub enum Event {
    /// The pending copy with this id ends.
    CopyEnds(Uuid),
    /// The SAS of the managed disk export with this name runs out.
    ExportExpires(String),
}

/// The state of Blob Storage.
#[derive(Debug, Default)]
pub struct State {
    /// Storage accounts by name.
    pub accounts: BTreeMap<String, Account>,
    /// What each account holds, by the account's name.
    contents: BTreeMap<String, account::Contents>,
    /// Managed disks that are open for reading, by the name of their host.
    exports: BTreeMap<String, export::Export>,
    /// Copies that have not ended.
    copies: copy::PendingCopies,
    /// Keys with which users sign, by account and the key's parameters in a SAS.
    delegation_keys: BTreeMap<(String, [String; 6]), delegation::Key>,
    last_etag: u64,
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
    /// A name of exactly these bytes: a blob and a copy of it have the same (see [`disk_content`]).
    pub content: String,
    /// Whether it ends with the footer of a fixed-size VHD of its size; other blobs are `InvalidVhd` to managed disks.
    pub is_fixed_vhd: bool,
}

/// Adds a storage account with two keys; its name must be new.
pub fn create_account(world: &mut World, id: &str, location: &str) {
    let name = id.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let mut key = || BASE64.encode(Sha512::digest(world.new_guid()));
    let keys = [key(), key()];
    let account = Account {
        id: id.to_owned(),
        name: name.clone(),
        location: location.to_owned(),
        keys,
        allow_shared_key_access: true,
        allow_blob_public_access: true,
    };
    world.storage.contents.insert(name.clone(), account::Contents::default());
    world.storage.accounts.insert(name, account);
}

/// The blob behind a URL (its query ignored).
pub fn blob(world: &World, url: &str) -> Option<BlobSummary> {
    let (account, key) = key_of(world, url)?;
    let version = &world.storage.contents.get(&account)?.blobs.get(&key)?.base;
    Some(summary(world, &account, &key, version))
}

/// The account, the container and the name in a blob's URL (its query ignored).
fn key_of(world: &World, url: &str) -> Option<(String, account::BlobKey)> {
    let url = url.split(['?', '#']).next()?;
    let uri: http::Uri = url.replace(' ', "%20").parse().ok()?;
    let Some(Service::Blob { account, path }) = world.endpoints.service_of(&uri) else {
        return None;
    };
    let (container, blob) = request::names(&path)?;
    Some((account, (container?, blob?)))
}

/// All blobs of an account, in order of container and name.
pub fn blobs(world: &World, account: &str) -> Vec<BlobSummary> {
    let account = account.to_ascii_lowercase();
    let Some(contents) = world.storage.contents.get(&account) else {
        return Vec::new();
    };
    let blobs = contents.blobs.iter();
    blobs.map(|(key, blob)| summary(world, &account, key, &blob.base)).collect()
}

fn summary(world: &World, account: &str, key: &account::BlobKey, version: &blob::Version) -> BlobSummary {
    BlobSummary {
        url: request::url_of(&world.endpoints, account, key),
        account: account.to_owned(),
        length: version.content.length(),
        blob_type: version.blob_type().to_owned(),
        copy_status: version.copy.as_ref().map(|copy| copy.status().to_owned()),
        last_modified: version.last_modified,
        metadata: version.metadata.clone(),
        content: version.content.identity(),
        is_fixed_vhd: export::is_fixed_vhd(&version.content),
    }
}

impl State {
    /// An ETag that no blob had: the moment in ticks of 100 ns since the year 1, as the service does it.
    fn new_etag(&mut self, now: OffsetDateTime) -> u64 {
        const TICKS_AT_1970: i128 = 621_355_968_000_000_000;
        let ticks = (now.unix_timestamp_nanos() / 100 + TICKS_AT_1970) as u64;
        self.last_etag = ticks.max(self.last_etag + 1);
        self.last_etag
    }
}

/// The body of an error.
pub(crate) fn error_body(code: &'static str, message: &str, request_id: &str, now: OffsetDateTime) -> String {
    error::Error::new(500, code, message).body(request_id, &request::ticks(now))
}

/// Takes an account away with all that it holds. Copies to it and from it fail.
pub(crate) fn delete_account(world: &mut World, name: &str) {
    world.storage.accounts.remove(name);
    world.storage.contents.remove(name);
    copy::destination_is_gone(world, name);
    copy::source_changed(world, name, None);
}

/// Takes away a blob that this copy made, and what has the same name and ends with `.json`. Says whether the blob was there.
pub(crate) fn lose_copied(world: &mut World, url: &str, copy: Uuid, with_companion: bool) -> bool {
    let Some((account, key)) = key_of(world, url) else {
        return false;
    };
    let Some(contents) = world.storage.contents.get_mut(&account) else {
        return false;
    };
    let made_by = contents.blobs.get(&key).and_then(|blob| blob.base.copy.as_ref());
    if made_by.is_none_or(|record| record.id != copy) {
        return false;
    }
    contents.blobs.remove(&key);
    if let Some((stem, _)) = key.1.rsplit_once('.').filter(|_| with_companion) {
        contents.blobs.remove(&(key.0.clone(), format!("{stem}.json")));
    }
    copy::source_changed(world, &account, Some(key));
    true
}

/// Lets `event` happen.
pub fn apply(world: &mut World, event: Event) {
    match event {
        Event::CopyEnds(id) => copy::end(world, id),
        Event::ExportExpires(name) => export::expire(world, &name),
    }
}

/// Answers one request to `account` (or to the disk export of that name); `path` is `/container/blob`, percent-encoded.
pub fn handle(world: &mut World, account: &str, path: &str, request: &Request) -> Response {
    service::handle(world, account, path, request)
}
