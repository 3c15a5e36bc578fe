//! List Blobs and List Containers.

use std::ops::Bound;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::StatusCode;

use super::{
    account::{BlobKey, Contents, PublicAccess},
    answer::Answer,
    blob::{Blob, Kind, Version, quoted},
    error::Error,
    lease::Lease,
    request::{Call, http_date},
    write,
    xml::Document,
};
use crate::World;

/// The longest page, and the usual one (Microsoft, "List Blobs").
const LONGEST_PAGE: usize = 5000;
/// The highest character: what begins with a prefix lies below the prefix and this.
const HIGHEST: char = char::MAX;

/// What a listing shall show besides the blobs as they are.
struct Include<'a>(Vec<&'a str>);

impl Include<'_> {
    fn has(&self, what: &str) -> bool {
        self.0.contains(&what)
    }
}

fn page_length(call: &Call<'_>) -> Result<usize, Error> {
    let Some(text) = call.query("maxresults").filter(|text| !text.is_empty()) else {
        return Ok(LONGEST_PAGE);
    };
    match text.parse::<i64>() {
        Ok(count) if count > 0 => Ok((count as usize).min(LONGEST_PAGE)),
        Ok(_) => Err(Error::out_of_range_query("maxresults", text)),
        Err(_) => Err(Error::invalid_query("maxresults", text)),
    }
}

/// A marker is opaque to clients; it holds the first name of the next page.
fn marker(name: &str) -> String {
    let text = BASE64.encode(name);
    format!("2!{}!{text}", text.len())
}

fn marked(call: &Call<'_>) -> Result<Option<String>, Error> {
    let Some(text) = call.query("marker").filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let name = text.rsplit('!').next().and_then(|text| BASE64.decode(text).ok());
    let name = name.and_then(|bytes| String::from_utf8(bytes).ok());
    name.map(Some).ok_or_else(|| Error::invalid_query("marker", text))
}

/// The head that both listings have.
fn head(world: &World, call: &Call<'_>, container: Option<&str>) -> Document {
    let endpoint = format!("{}/", world.endpoints.blob(call.account));
    let mut attributes = vec![("ServiceEndpoint", endpoint.as_str())];
    attributes.extend(container.map(|name| ("ContainerName", name)));
    let mut document = Document::with_attributes("EnumerationResults", &attributes);
    for (parameter, name) in [("prefix", "Prefix"), ("marker", "Marker"), ("maxresults", "MaxResults")] {
        if let Some(value) = call.query(parameter).filter(|value| !value.is_empty()) {
            document.text(name, value);
        }
    }
    document
}

/// What stands in a listing.
enum Entry<'a> {
    Blob(&'a str, &'a Blob),
    Uncommitted(&'a str),
    Prefix(String),
}

/// The next blob of `container` from `from` on, be it committed or not.
fn next<'a>(
    contents: &'a Contents,
    container: &str,
    from: Bound<&str>,
    uncommitted: bool,
) -> Option<(&'a BlobKey, Option<&'a Blob>)> {
    let key = |name: &str| (container.to_owned(), name.to_owned());
    let range = (from.map(key), Bound::Unbounded);
    let is_here = |(name, _): &BlobKey| name == container;
    let blob = contents.blobs.range::<BlobKey, _>(range.clone()).next().filter(|(key, _)| is_here(key));
    let waiting = if uncommitted {
        let mut waiting = contents.uncommitted.range::<BlobKey, _>(range).take_while(|(key, _)| is_here(key));
        waiting.find(|(key, _)| !contents.blobs.contains_key(*key))
    } else {
        None
    };
    match (blob, waiting) {
        (Some((key, _)), Some((waiting, _))) if waiting < key => Some((waiting, None)),
        (Some((key, blob)), _) => Some((key, Some(blob))),
        (None, waiting) => waiting.map(|(key, _)| (key, None)),
    }
}

/// List Blobs.
pub(super) fn blobs(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let contents = write::container(world, call)?;
    let container = call.container.as_deref().unwrap_or_default();
    let prefix = call.query("prefix").unwrap_or_default();
    let delimiter = call.query("delimiter").unwrap_or_default();
    let most = page_length(call)?;
    let include = Include(call.query("include").unwrap_or_default().split(',').map(str::trim).collect());
    if include.has("snapshots") && !delimiter.is_empty() {
        return Err(Error::invalid_query("include", "snapshots"));
    }
    let marked = marked(call)?;
    let start = marked.filter(|name| name.as_str() > prefix).unwrap_or_else(|| prefix.to_owned());
    let mut from = Bound::Included(start);
    let mut entries = Vec::new();
    let mut next_marker = String::new();
    while let Some((key, blob)) =
        next(contents, container, from.as_ref().map(String::as_str), include.has("uncommittedblobs"))
    {
        let name = key.1.as_str();
        let Some(rest) = name.strip_prefix(prefix) else {
            break;
        };
        if entries.len() == most {
            next_marker = marker(name);
            break;
        }
        match rest.find(delimiter).filter(|_| !delimiter.is_empty()) {
            Some(at) => {
                let common = &name[..prefix.len() + at + delimiter.len()];
                entries.push(Entry::Prefix(common.to_owned()));
                from = Bound::Excluded(format!("{common}{HIGHEST}"));
            }
            None => {
                entries.push(blob.map_or(Entry::Uncommitted(name), |blob| Entry::Blob(name, blob)));
                from = Bound::Excluded(name.to_owned());
            }
        }
    }
    let mut document = head(world, call, Some(container));
    if !delimiter.is_empty() {
        document.text("Delimiter", delimiter);
    }
    document.open("Blobs");
    for entry in &entries {
        match entry {
            Entry::Prefix(common) => {
                document.open("BlobPrefix");
                document.name(common);
                document.close();
            }
            Entry::Uncommitted(name) => {
                document.open("Blob");
                document.name(name);
                document.open("Properties");
                document.text("Content-Length", "0");
                document.text("BlobType", "BlockBlob");
                document.close();
                document.close();
            }
            Entry::Blob(name, blob) => {
                if include.has("snapshots") {
                    for (moment, snapshot) in &blob.snapshots {
                        describe(&mut document, name, snapshot, Err(moment), &include, call);
                    }
                }
                describe(&mut document, name, &blob.base, Ok(&blob.lease), &include, call);
            }
        }
    }
    document.close();
    document.text("NextMarker", &next_marker);
    Ok(Answer::new(StatusCode::OK).xml(document.finish()))
}

/// One blob: with its lease, or the moment of a snapshot.
fn describe(
    document: &mut Document,
    name: &str,
    version: &Version,
    lease: Result<&Lease, &str>,
    include: &Include<'_>,
    call: &Call<'_>,
) {
    let now = call.now;
    document.open("Blob");
    document.name(name);
    if let Err(moment) = lease {
        document.text("Snapshot", moment);
    }
    document.open("Properties");
    document.text("Creation-Time", &http_date(version.created));
    document.text("Last-Modified", &http_date(version.last_modified));
    document.text("Etag", version.etag(now).trim_matches('"'));
    document.text("Content-Length", &version.content.length().to_string());
    let properties = &version.properties;
    let content_type = properties.content_type.as_deref().unwrap_or("application/octet-stream");
    document.text("Content-Type", content_type);
    for (name, value) in [
        ("Content-Encoding", &properties.content_encoding),
        ("Content-Language", &properties.content_language),
        ("Content-CRC64", &None),
        ("Content-MD5", &properties.content_md5),
        ("Cache-Control", &properties.cache_control),
        ("Content-Disposition", &properties.content_disposition),
    ] {
        document.text(name, value.as_deref().unwrap_or_default());
    }
    if let Kind::Page(sequence) = version.kind {
        document.text("x-ms-blob-sequence-number", &sequence.to_string());
    }
    document.text("BlobType", version.blob_type());
    if matches!(version.kind, Kind::Block(_)) {
        document.text("AccessTier", "Hot");
        document.text("AccessTierInferred", "true");
    }
    if let Ok(lease) = lease {
        describe_lease(document, lease, call);
    }
    if let Some(copy) = version.copy.as_ref().filter(|_| include.has("copy")) {
        document.text("CopyId", &copy.id.to_string());
        document.text("CopySource", &copy.source);
        document.text("CopyStatus", copy.status());
        document.text("CopyProgress", &format!("{}/{}", copy.copied(now), copy.total));
        if let Some(at) = copy.completed() {
            document.text("CopyCompletionTime", &http_date(at));
        }
        if let Some(description) = copy.description(now) {
            document.text("CopyStatusDescription", &description);
        }
    }
    document.text("ServerEncrypted", "true");
    if !version.tags.is_empty() {
        document.text("TagCount", &version.tags.len().to_string());
    }
    document.close();
    if include.has("metadata") {
        document.open("Metadata");
        for (name, value) in &version.metadata {
            document.text(name, value);
        }
        document.close();
    }
    if include.has("tags") && !version.tags.is_empty() {
        document.open("Tags");
        document.open("TagSet");
        for (key, value) in &version.tags {
            document.open("Tag");
            document.text("Key", key);
            document.text("Value", value);
            document.close();
        }
        document.close();
        document.close();
    }
    document.text("OrMetadata", "");
    document.close();
}

fn describe_lease(document: &mut Document, lease: &Lease, call: &Call<'_>) {
    let state = lease.state(call.now);
    document.text("LeaseStatus", state.status());
    document.text("LeaseState", state.as_str());
    if let Some(duration) = lease.duration(call.now) {
        document.text("LeaseDuration", duration);
    }
}

/// List Containers.
pub(super) fn containers(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let contents = world.storage.contents.get(call.account).ok_or_else(Error::resource_not_found)?;
    let prefix = call.query("prefix").unwrap_or_default();
    let most = page_length(call)?;
    let include = Include(call.query("include").unwrap_or_default().split(',').map(str::trim).collect());
    let start = marked(call)?.filter(|name| name.as_str() > prefix).unwrap_or_else(|| prefix.to_owned());
    let mut document = head(world, call, None);
    document.open("Containers");
    let listed = contents.containers.range(start..).take_while(|(name, _)| name.starts_with(prefix));
    let mut next_marker = String::new();
    for (index, (name, container)) in listed.enumerate() {
        if index == most {
            next_marker = marker(name);
            break;
        }
        document.open("Container");
        document.text("Name", name);
        document.open("Properties");
        document.text("Last-Modified", &http_date(container.last_modified));
        document.text("Etag", &quoted(container.etag));
        describe_lease(&mut document, &container.lease, call);
        match container.public_access {
            PublicAccess::None => {}
            PublicAccess::Blob => document.text("PublicAccess", "blob"),
            PublicAccess::Container => document.text("PublicAccess", "container"),
        }
        document.text("DefaultEncryptionScope", "$account-encryption-key");
        document.text("DenyEncryptionScopeOverride", "false");
        document.text("HasImmutabilityPolicy", "false");
        document.text("HasLegalHold", "false");
        document.close();
        if include.has("metadata") {
            document.open("Metadata");
            for (name, value) in &container.metadata {
                document.text(name, value);
            }
            document.close();
        }
        document.close();
    }
    document.close();
    document.text("NextMarker", &next_marker);
    Ok(Answer::new(StatusCode::OK).xml(document.finish()))
}
