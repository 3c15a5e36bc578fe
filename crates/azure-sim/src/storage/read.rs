//! Get Blob and Get Blob Properties.

use http::{Method, StatusCode};

use super::{
    answer::Answer,
    blob::{Blob, Kind, Version},
    conditions::Conditions,
    error::Error,
    lease::{Guarded, Lease},
    request::{Call, http_date},
    write,
};
use crate::World;

/// One answer holds at most so many bytes: the service streams, the simulator holds an answer whole.
const LARGEST_ANSWER: u64 = 1 << 30;
/// The service computes the checksum of ranges up to 4 MiB.
const LARGEST_HASHED_RANGE: u64 = 4 << 20;
/// The type of blobs that were given none.
const DEFAULT_TYPE: &str = "application/octet-stream";

/// The bounds of `bytes=start-end` or `bytes=start-`; the last byte is included.
pub(super) fn bounds(header: &str) -> Option<(u64, Option<u64>)> {
    let (start, end) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
    let start = start.trim().parse().ok()?;
    let end = match end.trim() {
        "" => None,
        end => Some(end.parse().ok()?),
    };
    Some((start, end))
}

/// The range (start, end behind the last byte) of a blob of `length` bytes that a header names.
pub(super) fn range(header: &str, length: u64) -> Result<(u64, u64), Error> {
    let (start, end) = bounds(header).ok_or_else(|| Error::invalid_header("Range", header))?;
    if start >= length || end.is_some_and(|end| end < start) {
        return Err(Error::invalid_range().header("content-range", format!("bytes */{length}")));
    }
    Ok((start, end.map_or(length, |end| end.saturating_add(1).min(length))))
}

/// Refuses to hold more than fits into one answer.
pub(super) fn check_size(length: u64) -> Result<(), Error> {
    if length <= LARGEST_ANSWER {
        return Ok(());
    }
    let message = "The operation could not be completed within the permitted time.";
    Err(Error::new(500, "OperationTimedOut", message))
}

/// The blob of the call with the version that it names, and whether that is a snapshot.
pub(super) fn find<'a>(world: &'a World, call: &Call<'_>) -> Result<(&'a Blob, &'a Version, bool), Error> {
    let key = call.key()?;
    let blob = write::container(world, call)?.blobs.get(&key).ok_or_else(Error::blob_not_found)?;
    let version = match call.query("snapshot") {
        None => &blob.base,
        Some(moment) => blob.snapshots.get(moment).ok_or_else(Error::blob_not_found)?,
    };
    let is_snapshot = call.query("snapshot").is_some();
    if !is_snapshot {
        blob.lease.check_read(call.lease_id(), Guarded::Blob, call.now)?;
    }
    Ok((blob, version, is_snapshot))
}

/// Get Blob, or Get Blob Properties for HEAD.
pub(super) fn get(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let (blob, version, is_snapshot) = find(world, call)?;
    content(version, Some(&blob.lease).filter(|_| !is_snapshot), call)
}

/// A version as an answer.
pub(super) fn content(version: &Version, lease: Option<&Lease>, call: &Call<'_>) -> Result<Answer, Error> {
    Conditions::of(call)?.check_read(&write::seen(version, call))?;
    let length = version.content.length();
    let header = call.header("x-ms-range").or_else(|| call.header("range"));
    let mut answer = Answer::new(StatusCode::OK);
    describe(&mut answer, version, lease, call);
    if call.method == Method::HEAD {
        answer.set("content-length", length.to_string());
        return Ok(answer);
    }
    let (start, end) = match header {
        Some(header) => {
            let (start, end) = range(header, length)?;
            answer.status = StatusCode::PARTIAL_CONTENT;
            answer.set("content-range", format!("bytes {start}-{}/{length}", end - 1));
            // The whole blob's checksum is not the range's.
            if let Some(whole) = answer.headers.remove("content-md5") {
                answer.headers.insert("x-ms-blob-content-md5", whole);
            }
            (start, end)
        }
        None => (0, length),
    };
    check_size(end - start)?;
    answer.body = version.content.read(start, end);
    let wants = |name: &str| call.header(name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if header.is_some() && end - start <= LARGEST_HASHED_RANGE {
        if wants("x-ms-range-get-content-md5") {
            answer.set("content-md5", write::md5_of(&answer.body));
        } else if wants("x-ms-range-get-content-crc64") {
            answer.set("x-ms-content-crc64", write::crc64_of(&answer.body));
        }
    }
    answer.set("content-length", (end - start).to_string());
    Ok(answer)
}

/// Sets everything that is known of a version.
fn describe(answer: &mut Answer, version: &Version, lease: Option<&Lease>, call: &Call<'_>) {
    let now = call.now;
    answer.set("accept-ranges", "bytes");
    answer.set("etag", version.etag(now));
    answer.set("last-modified", http_date(version.last_modified));
    answer.set("x-ms-creation-time", http_date(version.created));
    answer.set("x-ms-blob-type", version.blob_type());
    answer.set("x-ms-server-encrypted", "true");
    let properties = &version.properties;
    answer.set("content-type", properties.content_type.as_deref().unwrap_or(DEFAULT_TYPE));
    for (name, value) in [
        ("content-encoding", &properties.content_encoding),
        ("content-language", &properties.content_language),
        ("content-disposition", &properties.content_disposition),
        ("cache-control", &properties.cache_control),
        ("content-md5", &properties.content_md5),
    ] {
        if let Some(value) = value {
            answer.set(name, value);
        }
    }
    // A SAS may say what the answer's headers shall be.
    for (parameter, name) in [
        ("rscc", "cache-control"),
        ("rscd", "content-disposition"),
        ("rsce", "content-encoding"),
        ("rscl", "content-language"),
        ("rsct", "content-type"),
    ] {
        if let Some(value) = call.query(parameter) {
            answer.set(name, value);
        }
    }
    match version.kind {
        Kind::Page(sequence) => answer.set("x-ms-blob-sequence-number", sequence.to_string()),
        Kind::Block(_) => {
            answer.set("x-ms-access-tier", "Hot");
            answer.set("x-ms-access-tier-inferred", "true");
        }
    }
    if let Some(lease) = lease {
        set_lease(answer, lease, call);
    }
    set_metadata(answer, &version.metadata);
    if !version.tags.is_empty() {
        answer.set("x-ms-tag-count", version.tags.len().to_string());
    }
    if let Some(copy) = &version.copy {
        answer.set("x-ms-copy-id", copy.id.to_string());
        answer.set("x-ms-copy-source", &copy.source);
        answer.set("x-ms-copy-status", copy.status());
        answer.set("x-ms-copy-progress", format!("{}/{}", copy.copied(now), copy.total));
        if let Some(at) = copy.completed() {
            answer.set("x-ms-copy-completion-time", http_date(at));
        }
        if let Some(description) = copy.description(now) {
            answer.set("x-ms-copy-status-description", description);
        }
    }
}

/// Sets the state of a lease.
pub(super) fn set_lease(answer: &mut Answer, lease: &Lease, call: &Call<'_>) {
    let state = lease.state(call.now);
    answer.set("x-ms-lease-status", state.status());
    answer.set("x-ms-lease-state", state.as_str());
    if let Some(duration) = lease.duration(call.now) {
        answer.set("x-ms-lease-duration", duration);
    }
}

/// Sets `x-ms-meta-*`.
pub(super) fn set_metadata(answer: &mut Answer, metadata: &std::collections::BTreeMap<String, String>) {
    for (name, value) in metadata {
        answer.set(&format!("x-ms-meta-{name}"), value);
    }
}
