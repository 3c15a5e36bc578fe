//! Page blobs: Put Blob, Put Page, Get Page Ranges.

use http::StatusCode;

use super::{
    answer::Answer,
    authorization::Caller,
    blob::{Kind, Version},
    conditions::Conditions,
    content::Content,
    error::Error,
    read,
    request::{Call, http_date},
    tags, write, xml,
};
use crate::World;

/// In bytes.
pub(super) const PAGE: u64 = 512;
/// One Put Page carries at most so many bytes (Microsoft, "Put Page": 4 MiB).
const LARGEST_WRITE: u64 = 4 << 20;
/// A page of page ranges holds at most so many (Microsoft, "Get Page Ranges").
const MOST_RANGES: usize = 10_000;
/// 8 TiB.
const LARGEST_BLOB: u64 = 8 << 40;

/// A page blob's length, from a header.
pub(super) fn length_of(call: &Call<'_>) -> Result<Option<u64>, Error> {
    const NAME: &str = "x-ms-blob-content-length";
    let length = call.number(NAME)?;
    match length {
        Some(length) if !length.is_multiple_of(PAGE) || length > LARGEST_BLOB => {
            Err(Error::invalid_header(NAME, &length.to_string()))
        }
        length => Ok(length),
    }
}

/// Put Blob of a page blob: all zero.
pub(super) fn put(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    write::check_replaceable(world, call)?;
    let length = length_of(call)?.ok_or_else(|| Error::missing_header("x-ms-blob-content-length"))?;
    if !call.body.is_empty() {
        return Err(Error::invalid_header("Content-Length", &call.body.len().to_string()));
    }
    let sequence = call.number("x-ms-blob-sequence-number")?.unwrap_or_default();
    let version = Version {
        kind: Kind::Page(sequence),
        content: Content::zero(length),
        properties: write::properties_of(call),
        metadata: call.metadata()?,
        tags: tags::of_header(call)?,
        created: call.now,
        last_modified: call.now,
        etag: world.storage.new_etag(call.now),
        copy: None,
    };
    let answer = write::written(Answer::new(StatusCode::CREATED), &version, call);
    write::replace(world, call, version)?;
    Ok(answer)
}

/// The whole pages that `Range` or `x-ms-range` names: start, and end behind the last byte.
fn pages(call: &Call<'_>, length: u64) -> Result<(u64, u64), Error> {
    let header = call.header("x-ms-range").or_else(|| call.header("range"));
    let header = header.ok_or_else(|| Error::missing_header("Range"))?;
    let (start, end) = read::bounds(header).ok_or_else(|| Error::invalid_header("Range", header))?;
    let end = end.and_then(|end| end.checked_add(1)).ok_or_else(|| Error::invalid_header("Range", header))?;
    if !start.is_multiple_of(PAGE) || !end.is_multiple_of(PAGE) || start >= end || end > length {
        let message = "The page range specified is invalid.";
        return Err(Error::new(416, "InvalidPageRange", message));
    }
    Ok((start, end))
}

/// `x-ms-if-sequence-number-*`.
fn check_sequence(call: &Call<'_>, sequence: u64) -> Result<(), Error> {
    let limit = |name: &str| call.number(&format!("x-ms-if-sequence-number-{name}"));
    let is_met = limit("le")?.is_none_or(|limit| sequence <= limit)
        && limit("lt")?.is_none_or(|limit| sequence < limit)
        && limit("eq")?.is_none_or(|limit| sequence == limit);
    if is_met {
        return Ok(());
    }
    let message = "The sequence number condition specified was not met.";
    Err(Error::new(412, "SequenceNumberConditionNotMet", message))
}

/// Changes pages, if the blob has pages and the sequence number is as the call wants.
fn change(world: &mut World, call: &Call<'_>, with: impl FnOnce(&mut Content)) -> Result<Answer, Error> {
    let etag = world.storage.new_etag(call.now);
    let blob = write::blob(world, call)?;
    let Kind::Page(sequence) = blob.base.kind else {
        return Err(Error::invalid_blob_type());
    };
    check_sequence(call, sequence)?;
    with(&mut blob.base.content);
    blob.base.etag = etag;
    blob.base.last_modified = call.now;
    let answer = write::written(Answer::new(StatusCode::CREATED), &blob.base, call);
    Ok(answer.header("x-ms-blob-sequence-number", sequence.to_string()))
}

/// The length of the page blob that the call changes.
fn length(world: &World, call: &Call<'_>) -> Result<u64, Error> {
    let blob = write::container(world, call)?.blobs.get(&call.key()?);
    let version = &blob.ok_or_else(Error::blob_not_found)?.base;
    match version.kind {
        Kind::Page(_) => Ok(version.content.length()),
        Kind::Block(_) => Err(Error::invalid_blob_type()),
    }
}

/// Put Page.
pub(super) fn put_page(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let (start, end) = pages(call, length(world, call)?)?;
    match call.required_header("x-ms-page-write")?.to_ascii_lowercase().as_str() {
        "clear" if call.body.is_empty() => change(world, call, |content| content.clear(start, end - start)),
        "update" if end - start > LARGEST_WRITE => {
            let message = "The request body is too large and exceeds the maximum permissible limit.";
            let error = Error::new(413, "RequestBodyTooLarge", message);
            Err(error.detail("MaxLimit", LARGEST_WRITE.to_string()))
        }
        "update" if call.body.len() as u64 == end - start => {
            let checksums = write::checksums(call)?;
            let body = call.body.clone();
            let answer = change(world, call, |content| content.write(start, body))?;
            Ok(checksums.describe(answer))
        }
        "clear" | "update" => Err(Error::invalid_header("Content-Length", &call.body.len().to_string())),
        other => Err(Error::invalid_header("x-ms-page-write", other)),
    }
}

/// Put Page From URL.
pub(super) fn put_page_from_url(
    world: &mut World,
    call: &Call<'_>,
    caller: &Caller,
) -> Result<Answer, Error> {
    let (start, end) = pages(call, length(world, call)?)?;
    let url = call.required_header("x-ms-copy-source")?;
    let source = write::read_source(world, call, caller, url)?;
    Conditions::of_source(call)?.check_source(&write::seen(source.version, call))?;
    let range = call.required_header("x-ms-source-range")?;
    let (from, until) = read::range(range, source.version.content.length())?;
    if until - from != end - start || end - start > LARGEST_WRITE {
        return Err(Error::invalid_header("x-ms-source-range", range));
    }
    let content = source.version.content.clone();
    let crc64 = write::crc64_of(&content.read(from, until));
    let answer = change(world, call, |target| target.splice(start, &content, from, until - from))?;
    Ok(answer.header("x-ms-content-crc64", crc64))
}

/// Get Page Ranges.
pub(super) fn get_page_ranges(version: &Version, call: &Call<'_>) -> Result<Answer, Error> {
    if !matches!(version.kind, Kind::Page(_)) {
        return Err(Error::invalid_blob_type());
    }
    let length = version.content.length();
    let (start, end) = match call.header("x-ms-range").or_else(|| call.header("range")) {
        Some(range) => read::range(range, length)?,
        None => (0, length),
    };
    let most = match call.query("maxresults").filter(|text| !text.is_empty()) {
        None => MOST_RANGES,
        Some(text) => match text.parse::<usize>() {
            Ok(count) if count > 0 => count.min(MOST_RANGES),
            _ => return Err(Error::out_of_range_query("maxresults", text)),
        },
    };
    // The marker is opaque to clients; it holds where the next page begins.
    let from = match call.query("marker").filter(|text| !text.is_empty()) {
        None => start,
        Some(text) => text.parse().map_err(|_| Error::invalid_query("marker", text))?,
    };
    let mut document = xml::Document::new("PageList");
    let mut ranges = version.content.ranges(from.max(start), end).into_iter();
    for (first, last) in ranges.by_ref().take(most) {
        // What was uploaded is whole pages; the answer names them in full.
        let (first, last) = (first - first % PAGE, last.next_multiple_of(PAGE));
        document.open("PageRange");
        document.text("Start", &first.to_string());
        document.text("End", &(last - 1).to_string());
        document.close();
    }
    if let Some((next, _)) = ranges.next() {
        document.text("NextMarker", &next.to_string());
    }
    Ok(Answer::new(StatusCode::OK)
        .xml(document.finish())
        .header("etag", version.etag(call.now))
        .header("last-modified", http_date(version.last_modified))
        .header("x-ms-blob-content-length", length.to_string()))
}
