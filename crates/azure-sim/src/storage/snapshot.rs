//! Snapshots, and deleting blobs with and without them.

use http::StatusCode;

use super::{
    answer::Answer,
    conditions::Conditions,
    error::Error,
    lease::Guarded,
    request::{Call, http_date, ticks},
    write,
};
use crate::World;

/// Snapshot Blob.
pub(super) fn create(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let key = call.key()?;
    let sent = call.metadata()?;
    let etag = world.storage.new_etag(call.now);
    let blob = write::container_mut(world, call)?.blobs.get_mut(&key).ok_or_else(Error::blob_not_found)?;
    Conditions::of(call)?.check_write(Some(&write::seen(&blob.base, call)))?;
    write::check_no_pending_copy(&blob.base)?;
    blob.lease.check_read(call.lease_id(), Guarded::Blob, call.now)?;
    let mut snapshot = blob.base.clone();
    if !sent.is_empty() {
        snapshot.metadata = sent;
        snapshot.etag = etag;
    }
    let mut moment = call.now;
    while blob.snapshots.contains_key(&ticks(moment)) {
        moment += time::Duration::nanoseconds(100);
    }
    let name = ticks(moment);
    let answer = Answer::new(StatusCode::CREATED)
        .header("etag", snapshot.etag(call.now))
        .header("last-modified", http_date(snapshot.last_modified))
        .header("x-ms-snapshot", &name)
        .header("x-ms-request-server-encrypted", "false");
    blob.snapshots.insert(name, snapshot);
    Ok(answer)
}

/// Delete Blob: one snapshot, all snapshots, or the blob.
pub(super) fn delete(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let key = call.key()?;
    let contents = write::container_mut(world, call)?;
    let blob = contents.blobs.get_mut(&key).ok_or_else(Error::blob_not_found)?;
    let header = call.header("x-ms-delete-snapshots").map(str::to_ascii_lowercase);
    if let Some(moment) = call.query("snapshot") {
        if header.is_some() {
            return Err(Error::invalid_header("x-ms-delete-snapshots", "not allowed with a snapshot"));
        }
        let snapshot = blob.snapshots.get(moment).ok_or_else(Error::blob_not_found)?;
        Conditions::of(call)?.check_write(Some(&write::seen(snapshot, call)))?;
        blob.snapshots.remove(moment);
        return Ok(deleted());
    }
    Conditions::of(call)?.check_write(Some(&write::seen(&blob.base, call)))?;
    write::check_no_pending_copy(&blob.base)?;
    match header.as_deref() {
        Some("only") => {
            blob.snapshots.clear();
            return Ok(deleted());
        }
        None if !blob.snapshots.is_empty() => {
            let message = "This operation is not permitted because the blob has snapshots.";
            return Err(Error::new(409, "SnapshotsPresent", message));
        }
        None | Some("include") => {}
        Some(other) => return Err(Error::invalid_header("x-ms-delete-snapshots", other)),
    }
    blob.lease.check_write(call.lease_id(), Guarded::Blob, call.now)?;
    contents.blobs.remove(&key);
    contents.uncommitted.remove(&key);
    Ok(deleted())
}

fn deleted() -> Answer {
    Answer::new(StatusCode::ACCEPTED).header("x-ms-delete-type-permanent", "true")
}
