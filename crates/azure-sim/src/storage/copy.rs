//! Copies that go on after their request was answered (Microsoft, "Copy Blob").
//!
//! The state knows only when a copy began, how fast it goes and how it will end; progress is computed when somebody looks.

use std::{fmt, time::Duration};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    account::BlobKey,
    blob::{Kind, Properties},
    content::Content,
    request,
};
use crate::{World, chaos, work::WorkKind};

mod pending;
mod source;
mod start;

pub(super) use pending::PendingCopies;
pub(super) use source::cannot_verify;
pub(super) use source::{Read, read_source};
pub(super) use start::{abort, copy_from_url, put_from_url, start};

/// `x-ms-copy-status-description` of a copy whose source vanished.
pub(super) const SOURCE_NOT_FOUND: &str = "404 ResourceNotFound \"Copy failed when reading the source.\"";
/// … whose SAS ran out or was taken back.
pub(super) const SOURCE_FORBIDDEN: &str = "403 AuthenticationFailed \"Copy failed when reading the source.\"";
/// … whose source was written meanwhile.
const SOURCE_CHANGED: &str = "412 ConditionNotMet \"Copy failed when reading the source.\"";
/// … that did not end within [`LONGEST_COPY`].
const CANCELLED: &str = "500 OperationCancelled \"The copy failed when reading the source.\"";
/// … that goes on after it could not read for a while.
const RETRYING: &str = "502 BadGateway \"Encountered a retryable error when reading the source. Will retry.";

/// A copy that did not end by then fails (Microsoft, "Copy Blob": two weeks).
pub(super) const LONGEST_COPY: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a blob tells of the copy that made it.
#[derive(Clone, Debug)]
pub(super) struct CopyRecord {
    pub id: Uuid,
    /// The source's URL, without the signature of its SAS.
    pub source: String,
    /// In bytes.
    pub total: u64,
    pub started: OffsetDateTime,
    pub state: CopyState,
}

/// How far a copy is.
#[derive(Clone, Debug)]
pub(super) enum CopyState {
    Pending(Progress),
    Ended {
        status: Status,
        at: OffsetDateTime,
        /// In bytes.
        copied: u64,
        description: Option<String>,
    },
}

/// How a pending copy goes on.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub bytes_per_second: f64,
    /// From when until when the source cannot be read, if that happens.
    pub stall: Option<(OffsetDateTime, OffsetDateTime)>,
}

/// How a copy ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success,
    Aborted,
    Failed,
}

impl CopyRecord {
    pub fn is_pending(&self) -> bool {
        matches!(self.state, CopyState::Pending(_))
    }

    /// `x-ms-copy-status`.
    pub fn status(&self) -> &'static str {
        match self.state {
            CopyState::Pending(_) => "pending",
            CopyState::Ended { status, .. } => match status {
                Status::Success => "success",
                Status::Aborted => "aborted",
                Status::Failed => "failed",
            },
        }
    }

    /// The bytes copied so far.
    pub fn copied(&self, now: OffsetDateTime) -> u64 {
        match &self.state {
            CopyState::Ended { copied, .. } => *copied,
            CopyState::Pending(progress) => {
                let mut elapsed = (now - self.started).max(time::Duration::ZERO);
                if let Some((from, until)) = progress.stall {
                    elapsed -= (now.clamp(from, until) - from).max(time::Duration::ZERO);
                }
                let copied = elapsed.as_seconds_f64() * progress.bytes_per_second;
                (copied as u64).min(self.total)
            }
        }
    }

    /// `x-ms-copy-status-description`: why the copy ended badly, or that it cannot read its source now and tries again.
    pub fn description(&self, now: OffsetDateTime) -> Option<String> {
        match &self.state {
            CopyState::Ended { description, .. } => description.clone(),
            CopyState::Pending(progress) => {
                let (from, until) = progress.stall?;
                let is_now = from <= now && now < until;
                is_now.then(|| format!("{RETRYING} Time of failure: {}\"", request::http_date(from)))
            }
        }
    }

    /// `x-ms-copy-completion-time`.
    pub fn completed(&self) -> Option<OffsetDateTime> {
        match self.state {
            CopyState::Ended { at, .. } => Some(at),
            CopyState::Pending(_) => None,
        }
    }
}

/// A copy that has not ended.
pub(super) struct PendingCopy {
    /// The destination.
    pub account: String,
    pub key: BlobKey,
    pub source: Source,
    /// The source's URL with its SAS.
    pub url: String,
    /// Whether the caller may read the destination's account without a SAS.
    pub is_trusted: bool,
    /// The source's ETag when the copy began.
    pub etag: u64,
    pub content: Content,
    pub kind: Kind,
    pub properties: Properties,
    pub planned: Planned,
}

impl fmt::Debug for PendingCopy {
    /// Without the source's SAS.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingCopy({:?} -> {}/{:?})", self.source, self.account, self.key)
    }
}

/// What a copy reads from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Blob { account: String, key: BlobKey, snapshot: Option<String> },
    Export(String),
}

/// How a copy will end if nothing else happens.
#[derive(Clone, Debug)]
pub(super) enum Planned {
    Success,
    Failure(String),
}

/// The copy has come to the end that was planned for it.
pub(super) fn end(world: &mut World, id: Uuid) {
    let Some(pending) = world.storage.copies.get(id) else {
        return; // It was aborted, or its source vanished.
    };
    let failure = match &pending.planned {
        Planned::Failure(description) => Some(description.clone()),
        // Keys may have been changed meanwhile: the last pages are read with the SAS, too.
        Planned::Success => {
            match read_source(world, pending.is_trusted.then_some(&*pending.account), &pending.url) {
                Ok(read) if read.etag == pending.etag => None,
                Ok(_) => Some(SOURCE_CHANGED.to_owned()),
                Err(error) if error.status == http::StatusCode::NOT_FOUND => {
                    Some(SOURCE_NOT_FOUND.to_owned())
                }
                Err(_) => Some(SOURCE_FORBIDDEN.to_owned()),
            }
        }
    };
    match failure {
        None => finish(world, id, Status::Success, None),
        Some(description) => finish(world, id, Status::Failed, Some(description)),
    }
}

/// Ends a pending copy: its destination then holds everything, or nothing.
pub(super) fn finish(world: &mut World, id: Uuid, status: Status, description: Option<String>) {
    let Some(pending) = world.storage.copies.remove(id) else {
        return;
    };
    let now = world.now();
    let etag = world.storage.new_etag(now);
    let contents = world.storage.contents.get_mut(&pending.account);
    let blob = contents.and_then(|contents| contents.blobs.get_mut(&pending.key));
    let Some(version) = blob.map(|blob| &mut blob.base) else {
        return; // The account or the container is gone.
    };
    let shown = version.etag_number(now);
    let Some(record) = version.copy.as_mut().filter(|record| record.id == id) else {
        return;
    };
    let copied = if status == Status::Success { record.total } else { record.copied(now) };
    let started = record.started;
    // Above what was shown while the copy was pending.
    let etag = etag.max(shown + 1);
    record.state = CopyState::Ended { status, at: now, copied, description };
    version.etag = etag;
    version.last_modified = now;
    if status == Status::Success {
        version.content = pending.content;
        version.kind = pending.kind;
        version.properties = pending.properties;
    } else {
        version.content = Content::default();
    }
    let url = request::url_of(&world.endpoints, &pending.account, &pending.key);
    world.worked(WorkKind::BlobCopy, &url, started, status == Status::Success);
    if status == Status::Success {
        chaos::consider_vhd(world, &pending.key.0, &url, id);
    }
}

/// The export `name` cannot be read any more: fails the copies that read from it.
pub(super) fn source_is_gone(world: &mut World, name: &str, description: &str) {
    for id in world.storage.copies.of_export(name) {
        finish(world, id, Status::Failed, Some(description.to_owned()));
    }
}

/// The account `name` is gone: copies into it end with it.
pub(super) fn destination_is_gone(world: &mut World, name: &str) {
    for id in world.storage.copies.writing_to(name) {
        world.storage.copies.remove(id);
    }
}

/// Fails the copies from this blob (without one: from the account) if it was written or deleted since they began. To be called
/// after every change.
pub(super) fn source_changed(world: &mut World, account: &str, key: Option<BlobKey>) {
    for id in world.storage.copies.of_blob(account, key) {
        let Some(copy) = world.storage.copies.get(id) else { continue };
        let Source::Blob { account, key, snapshot } = &copy.source else { continue };
        let description = match source::version(world, account, key, snapshot.as_deref()) {
            Some(version) if version.etag == copy.etag => continue,
            Some(_) => SOURCE_CHANGED,
            None => SOURCE_NOT_FOUND,
        };
        finish(world, id, Status::Failed, Some(description.to_owned()));
    }
}
