//! Properties and metadata of a blob that exists.

use http::StatusCode;

use super::{
    answer::Answer,
    blob::Kind,
    error::Error,
    page_blob,
    read::{find, set_metadata},
    request::{Call, http_date},
    write,
};
use crate::World;

/// Get Blob Metadata.
pub(super) fn get_metadata(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let (_, version, _) = find(world, call)?;
    let mut answer = Answer::new(StatusCode::OK)
        .header("etag", version.etag(call.now))
        .header("last-modified", http_date(version.last_modified));
    set_metadata(&mut answer, &version.metadata);
    Ok(answer)
}

/// Set Blob Metadata: what is not sent is gone.
pub(super) fn set_blob_metadata(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let metadata = call.metadata()?;
    let etag = world.storage.new_etag(call.now);
    let blob = write::blob(world, call)?;
    blob.base.metadata = metadata;
    blob.base.etag = etag;
    blob.base.last_modified = call.now;
    Ok(write::written(Answer::new(StatusCode::OK), &blob.base, call))
}

/// Set Blob Properties: HTTP headers (all or none), a page blob's length, its sequence number.
pub(super) fn set(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let length = page_blob::length_of(call)?;
    let action = call.header("x-ms-sequence-number-action");
    let number = call.number("x-ms-blob-sequence-number")?;
    let properties = write::properties_of(call);
    let etag = world.storage.new_etag(call.now);
    let blob = write::blob(world, call)?;
    let version = &mut blob.base;
    if length.is_some() || action.is_some() {
        let Kind::Page(sequence) = &mut version.kind else {
            return Err(Error::invalid_blob_type());
        };
        let sent = || number.ok_or_else(|| Error::missing_header("x-ms-blob-sequence-number"));
        match action.map(str::to_ascii_lowercase).as_deref() {
            None => {}
            Some("max") => *sequence = (*sequence).max(sent()?),
            Some("update") => *sequence = sent()?,
            Some("increment") => *sequence += 1,
            Some(other) => return Err(Error::invalid_header("x-ms-sequence-number-action", other)),
        }
        if let Some(length) = length {
            version.content.resize(length);
        }
    }
    // Resizing alone leaves the headers as they are.
    let is_only_resized = (length.is_some() || action.is_some()) && properties == Default::default();
    if !is_only_resized {
        version.properties = properties;
    }
    version.etag = etag;
    version.last_modified = call.now;
    let mut answer = write::written(Answer::new(StatusCode::OK), version, call);
    if let Kind::Page(sequence) = version.kind {
        answer.set("x-ms-blob-sequence-number", sequence.to_string());
    }
    Ok(answer)
}
