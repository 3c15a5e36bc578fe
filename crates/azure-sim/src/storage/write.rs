//! What every write has in common: is it allowed now, and did the bytes arrive whole?

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use crc::{CRC_64_NVME, Crc};
use http::Method;
use md5::{Digest as _, Md5};

use super::{
    account::Contents,
    answer::Answer,
    authorization::{Caller, roles},
    blob::{Blob, Properties, Version},
    conditions::{Conditions, Seen},
    copy::{self, Read, cannot_verify},
    error::Error,
    lease::Guarded,
    request::{Call, http_date, names, url_of},
};
use crate::{Service, World, chaos::Chance, identity};

/// The checksum that the service calls CRC64.
const CRC64: Crc<u64> = Crc::<u64>::new(&CRC_64_NVME);

/// What the call's account holds, if the call's container is there.
pub(super) fn container<'a>(world: &'a World, call: &Call<'_>) -> Result<&'a Contents, Error> {
    let contents = world.storage.contents.get(call.account).ok_or_else(Error::resource_not_found)?;
    let container = call.container.as_deref().and_then(|name| contents.containers.get(name));
    container.map(|_| contents).ok_or_else(Error::container_not_found)
}

/// The same, for changing it.
pub(super) fn container_mut<'a>(world: &'a mut World, call: &Call<'_>) -> Result<&'a mut Contents, Error> {
    container(world, call)?;
    world.storage.contents.get_mut(call.account).ok_or_else(Error::resource_not_found)
}

/// A blob's ETag and time, for conditions.
pub(super) fn seen(version: &Version, call: &Call<'_>) -> Seen {
    (version.etag(call.now), version.last_modified)
}

/// While a copy writes into a blob nobody else may.
pub(super) fn check_no_pending_copy(version: &Version) -> Result<(), Error> {
    match &version.copy {
        Some(record) if record.is_pending() => Err(Error::pending_copy()),
        _ => Ok(()),
    }
}

/// The blob that the call changes: conditions hold, no copy writes into it, and its lease lets the caller.
pub(super) fn blob<'a>(world: &'a mut World, call: &Call<'_>) -> Result<&'a mut Blob, Error> {
    let key = call.key()?;
    let blob = container_mut(world, call)?.blobs.get_mut(&key).ok_or_else(Error::blob_not_found)?;
    Conditions::of(call)?.check_write(Some(&seen(&blob.base, call)))?;
    check_no_pending_copy(&blob.base)?;
    blob.lease.check_write(call.lease_id(), Guarded::Blob, call.now)?;
    blob.lease.written(call.now);
    Ok(blob)
}

/// Whether a new blob may be put where the call says; 409 if there is one and the call wants none.
pub(super) fn check_replaceable(world: &World, call: &Call<'_>) -> Result<(), Error> {
    let key = call.key()?;
    let existing = container(world, call)?.blobs.get(&key);
    let conditions = Conditions::of(call)?;
    let Some(blob) = existing else {
        return conditions.check_write(None);
    };
    if conditions.wants_none() {
        return Err(Error::new(409, "BlobAlreadyExists", "The specified blob already exists."));
    }
    conditions.check_write(Some(&seen(&blob.base, call)))?;
    check_no_pending_copy(&blob.base)?;
    blob.lease.check_write(call.lease_id(), Guarded::Blob, call.now)
}

/// Puts a new blob; the lease and the snapshots of the one it replaces stay.
pub(super) fn replace(world: &mut World, call: &Call<'_>, version: Version) -> Result<(), Error> {
    let key = call.key()?;
    let contents = container_mut(world, call)?;
    contents.uncommitted.remove(&key);
    match contents.blobs.get_mut(&key) {
        Some(blob) => {
            blob.lease.written(call.now);
            blob.base = version;
        }
        None => {
            contents.blobs.insert(key, Blob::new(version));
        }
    }
    Ok(())
}

/// By chance somebody writes the same bytes a moment before a write with `If-Match` that would have gone through.
pub(super) fn overtake(world: &mut World, call: &Call<'_>) {
    let is_write = !matches!(*call.method, Method::GET | Method::HEAD);
    let names_etag = call.header("if-match").is_some_and(|etag| etag.trim() != "*");
    let (true, true, Ok(key)) = (is_write, names_etag, call.key()) else {
        return;
    };
    let blob = container(world, call).ok().and_then(|contents| contents.blobs.get(&key));
    let is_open = |blob: &Blob| {
        Conditions::of(call).is_ok_and(|c| c.check_write(Some(&seen(&blob.base, call))).is_ok())
            && check_no_pending_copy(&blob.base).is_ok()
            && blob.lease.check_write(None, Guarded::Blob, call.now).is_ok()
    };
    if !blob.is_some_and(is_open) {
        return;
    }
    let url = url_of(&world.endpoints, call.account, &key);
    if world.strike(Chance::EtagConflict, &url).is_none() {
        return;
    }
    let etag = world.storage.new_etag(call.now);
    let contents = world.storage.contents.get_mut(call.account);
    if let Some(blob) = contents.and_then(|contents| contents.blobs.get_mut(&key)) {
        blob.base.etag = etag;
        blob.base.last_modified = call.now;
    }
}

/// The source of a synchronous copy, which may also be authorised by a token of its own.
pub(super) fn read_source<'a>(
    world: &'a World,
    call: &Call<'_>,
    caller: &Caller,
    url: &str,
) -> Result<Read<'a>, Error> {
    let mut trusted = caller.is_trusted().then(|| call.account.to_owned());
    if let Some(token) = call.header("x-ms-copy-source-authorization") {
        let message = "Server failed to authenticate the copy source.";
        let principal = identity::principal(world, token, identity::STORAGE)
            .map_err(|_| cannot_verify(Error::new(401, "InvalidAuthenticationInfo", message)))?;
        let uri: Option<http::Uri> = url.parse().ok();
        if let Some(Service::Blob { account, path }) = uri.and_then(|uri| world.endpoints.service_of(&uri)) {
            if let Some(owner) = world.storage.accounts.get(&account) {
                let container = names(&path).and_then(|(container, _)| container);
                roles::check(world, &principal, owner, container.as_deref(), "containers/blobs/read")
                    .map_err(cannot_verify)?;
            }
            trusted = Some(account);
        }
    }
    copy::read_source(world, trusted.as_deref(), url).map_err(cannot_verify)
}

/// The checksums of a body that arrived whole.
pub(super) struct Checksums {
    /// Base64.
    pub md5: String,
    /// Base64.
    pub crc64: String,
    sent_md5: bool,
}

impl Checksums {
    /// Sets the checksum that the client can compare: the kind that it sent, else CRC64.
    pub fn describe(&self, answer: Answer) -> Answer {
        if self.sent_md5 {
            answer.header("content-md5", &self.md5)
        } else {
            answer.header("x-ms-content-crc64", &self.crc64)
        }
    }
}

/// A body's MD5, base64.
pub(super) fn md5_of(body: &Bytes) -> String {
    BASE64.encode(Md5::digest(body))
}

/// A body's CRC64, base64.
pub(super) fn crc64_of(body: &Bytes) -> String {
    BASE64.encode(CRC64.checksum(body).to_le_bytes())
}

/// Compares the body with the checksum that was sent with it.
pub(super) fn checksums(call: &Call<'_>) -> Result<Checksums, Error> {
    let (md5, crc64) = (md5_of(call.body), crc64_of(call.body));
    let (sent_md5, sent_crc64) = (call.header("content-md5"), call.header("x-ms-content-crc64"));
    if sent_md5.is_some() && sent_crc64.is_some() {
        let message = "Both x-ms-content-crc64 header and Content-MD5 header are present.";
        return Err(Error::new(400, "BothCrc64AndMd5HeaderPresent", message));
    }
    if let Some(sent) = sent_md5 {
        if BASE64.decode(sent).map_or(0, |bytes| bytes.len()) != 16 {
            let message = "The MD5 value specified in the request is invalid. MD5 value must be 128 bits and base64 encoded.";
            return Err(Error::new(400, "InvalidMd5", message));
        }
        if sent != md5 {
            let message = "The MD5 value specified in the request did not match with the MD5 value calculated by the server.";
            let error = Error::new(400, "Md5Mismatch", message);
            return Err(error.detail("UserSpecifiedMd5", sent).detail("ServerCalculatedMd5", md5));
        }
    }
    if let Some(sent) = sent_crc64.filter(|sent| *sent != crc64) {
        let message = "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.";
        let error = Error::new(400, "Crc64Mismatch", message);
        return Err(error.detail("UserSpecifiedCrc64", sent).detail("ServerCalculatedCrc64", crc64));
    }
    Ok(Checksums { md5, crc64, sent_md5: sent_md5.is_some() })
}

/// The properties that the `x-ms-blob-*` headers set.
pub(super) fn properties_of(call: &Call<'_>) -> Properties {
    let header = |name: &str| call.header(name).filter(|value| !value.is_empty()).map(str::to_owned);
    Properties {
        content_type: header("x-ms-blob-content-type"),
        content_encoding: header("x-ms-blob-content-encoding"),
        content_language: header("x-ms-blob-content-language"),
        content_disposition: header("x-ms-blob-content-disposition"),
        cache_control: header("x-ms-blob-cache-control"),
        content_md5: header("x-ms-blob-content-md5"),
    }
}

/// ETag and Last-Modified of a blob that was just written.
pub(super) fn written(answer: Answer, version: &Version, call: &Call<'_>) -> Answer {
    answer
        .header("etag", version.etag(call.now))
        .header("last-modified", http_date(version.last_modified))
        .header("x-ms-request-server-encrypted", "true")
}
