//! The source of a copy: found, authorised, and read.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::Source;
use crate::{
    Service, World,
    storage::{
        account::BlobKey,
        authorization::{Need, On, Resource, check_sas, is_public, refusal_of_everybody},
        blob::Version,
        error::Error,
        request,
    },
};

/// What reading a blob needs.
const READ: Need = Need { permissions: "r", on: On::Object };

/// A source that may be read.
#[derive(Debug)]
pub(in crate::storage) struct Read<'a> {
    pub source: Source,
    pub etag: u64,
    pub version: &'a Version,
    /// The region; `None` for a managed disk, which is taken to be where the copy goes to.
    pub location: Option<&'a str>,
    /// When the source's authorisation runs out.
    pub expires: Option<OffsetDateTime>,
}

/// Finds and authorises the source behind `url`. Blobs of the account `trusted` need no SAS.
pub(in crate::storage) fn read_source<'a>(
    world: &'a World,
    trusted: Option<&str>,
    url: &str,
) -> Result<Read<'a>, Error> {
    let bad = || Error::invalid_header("x-ms-copy-source", "not a URL");
    let uri: http::Uri = url.parse().map_err(|_| bad())?;
    if uri.scheme().is_none() || uri.authority().is_none() {
        return Err(bad());
    }
    let Some(Service::Blob { account, path }) = world.endpoints.service_of(&uri) else {
        // Nobody answers there.
        let message = "Could not verify the copy source within the specified time.";
        return Err(Error::new(500, "InternalError", message));
    };
    let (container, blob) = request::names(&path).ok_or_else(bad)?;
    let (container, blob) = match (container, blob) {
        (Some(blob), None) => ("$root".to_owned(), blob),
        (Some(container), Some(blob)) => (container, blob),
        (None, _) => return Err(bad()),
    };
    let query = request::query_of(uri.query().unwrap_or_default());
    if world.storage.exports.contains_key(&account) {
        return read_export(world, &account, &container, &blob, &query);
    }
    let owner = world.storage.accounts.get(&account).ok_or_else(Error::resource_not_found)?;
    let expires = if query.contains_key("sig") {
        let resource = Resource {
            container: Some(&container),
            blob: Some(&blob),
            is_https: uri.scheme_str() == Some("https"),
            address: None,
            query: &query,
        };
        Some(check_sas(world, owner, &resource, READ)?.expires)
    } else if trusted == Some(account.as_str()) || is_public(world, owner, Some(&container), READ) {
        None
    } else {
        return Err(refusal_of_everybody(owner));
    };
    let contents = world.storage.contents.get(&account);
    if !contents.is_some_and(|contents| contents.containers.contains_key(&container)) {
        return Err(Error::container_not_found());
    }
    let key = (container, blob);
    let snapshot = query.get("snapshot").cloned();
    let version = version(world, &account, &key, snapshot.as_deref()).ok_or_else(Error::blob_not_found)?;
    Ok(Read {
        source: Source::Blob { account, key, snapshot },
        etag: version.etag,
        version,
        location: Some(&owner.location),
        expires,
    })
}

fn read_export<'a>(
    world: &'a World,
    name: &str,
    container: &str,
    blob: &str,
    query: &BTreeMap<String, String>,
) -> Result<Read<'a>, Error> {
    let export = world.storage.exports.get(name).ok_or_else(Error::resource_not_found)?;
    export.authorize(query, world.now())?;
    if !export.is_at(container, blob) {
        return Err(Error::resource_not_found());
    }
    Ok(Read {
        source: Source::Export(name.to_owned()),
        etag: export.version.etag,
        version: &export.version,
        location: None,
        expires: Some(export.expires),
    })
}

/// The error of a request whose source cannot be read: it carries the source's status and message.
pub(in crate::storage) fn cannot_verify(error: Error) -> Error {
    if error.code == "InvalidHeaderValue" {
        return error;
    }
    Error::new(error.status.as_u16(), "CannotVerifyCopySource", error.message)
        .header("x-ms-copy-source-error-code", error.code)
        .header("x-ms-copy-source-status-code", error.status.as_u16().to_string())
}

/// A blob, or one of its snapshots.
pub(in crate::storage) fn version<'a>(
    world: &'a World,
    account: &str,
    key: &BlobKey,
    snapshot: Option<&str>,
) -> Option<&'a Version> {
    let blob = world.storage.contents.get(account)?.blobs.get(key)?;
    match snapshot {
        None => Some(&blob.base),
        Some(moment) => blob.snapshots.get(moment),
    }
}
