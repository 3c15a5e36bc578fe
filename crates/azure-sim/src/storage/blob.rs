//! A blob with its snapshots.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use time::OffsetDateTime;

use super::{content::Content, copy::CopyRecord, lease::Lease};

/// A blob.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    /// The blob as it is now.
    pub base: Version,
    /// By the time of the snapshot, as the service writes it.
    pub snapshots: BTreeMap<String, Version>,
    pub lease: Lease,
}

/// A blob at one moment.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub kind: Kind,
    pub content: Content,
    pub properties: Properties,
    pub metadata: BTreeMap<String, String>,
    pub tags: BTreeMap<String, String>,
    pub created: OffsetDateTime,
    pub last_modified: OffsetDateTime,
    pub etag: u64,
    pub copy: Option<CopyRecord>,
}

/// Block or page blob. Append blobs cannot be made here.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// With its committed blocks, by base64 id; none after Put Blob.
    Block(Vec<(String, Bytes)>),
    /// With its sequence number.
    Page(u64),
}

/// What HTTP knows of a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub content_disposition: Option<String>,
    pub cache_control: Option<String>,
    /// Base64.
    pub content_md5: Option<String>,
}

impl Blob {
    /// A blob without snapshots or lease.
    pub fn new(base: Version) -> Self {
        Self { base, snapshots: BTreeMap::new(), lease: Lease::default() }
    }
}

impl Version {
    /// `BlockBlob` or `PageBlob`.
    pub fn blob_type(&self) -> &'static str {
        match self.kind {
            Kind::Block(_) => "BlockBlob",
            Kind::Page(_) => "PageBlob",
        }
    }

    /// The ETag, quoted.
    pub fn etag(&self, now: OffsetDateTime) -> String {
        quoted(self.etag_number(now))
    }

    /// The ETag's number. That of a page blob changes for as long as a copy writes into it.
    pub fn etag_number(&self, now: OffsetDateTime) -> u64 {
        let copied = match (&self.kind, &self.copy) {
            (Kind::Page(_), Some(copy)) if copy.is_pending() => (now - copy.started).unsigned_abs(),
            _ => Duration::ZERO,
        };
        self.etag + (copied.as_nanos() / 100) as u64
    }
}

/// An ETag as it is sent.
pub(super) fn quoted(etag: u64) -> String {
    format!("\"0x{etag:X}\"")
}
