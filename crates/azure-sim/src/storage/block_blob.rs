//! Block blobs: Put Blob, Put Block, Put Block List, Get Block List.

use std::collections::{BTreeMap, HashSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::StatusCode;

use super::{
    answer::Answer,
    authorization::Caller,
    blob::{Kind, Properties, Version},
    conditions::Conditions,
    content::Content,
    error::Error,
    lease::Guarded,
    read,
    request::{Call, http_date},
    tags, write, xml,
};
use crate::World;

/// A block's id has at most so many bytes (Microsoft, "Put Block").
const LONGEST_ID: usize = 64;
/// A blob has at most so many blocks (Microsoft, "Put Block List").
const MOST_BLOCKS: usize = 50_000;

fn version(
    world: &mut World,
    call: &Call<'_>,
    content: Content,
    properties: Properties,
) -> Result<Version, Error> {
    Ok(Version {
        kind: Kind::Block(Vec::new()),
        content,
        properties,
        metadata: call.metadata()?,
        tags: tags::of_header(call)?,
        created: call.now,
        last_modified: call.now,
        etag: world.storage.new_etag(call.now),
        copy: None,
    })
}

/// Put Blob of a block blob.
pub(super) fn put(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    write::check_replaceable(world, call)?;
    let checksums = write::checksums(call)?;
    let mut properties = write::properties_of(call);
    properties.content_md5.get_or_insert_with(|| checksums.md5.clone());
    if properties.content_type.is_none() {
        properties.content_type = call.header("content-type").map(str::to_owned);
    }
    let version = version(world, call, Content::from(call.body.clone()), properties)?;
    let answer = Answer::new(StatusCode::CREATED)
        .header("content-md5", &checksums.md5)
        .header("x-ms-content-crc64", &checksums.crc64);
    let answer = write::written(answer, &version, call);
    write::replace(world, call, version)?;
    Ok(answer)
}

fn block_id(call: &Call<'_>) -> Result<String, Error> {
    let id = call.query("blockid").ok_or_else(|| Error::missing_query("blockid"))?;
    let length = BASE64.decode(id).map_or(0, |bytes| bytes.len());
    if length == 0 || length > LONGEST_ID {
        return Err(Error::invalid_query("blockid", id));
    }
    Ok(id.to_owned())
}

/// Adds an uncommitted block.
fn add_block(world: &mut World, call: &Call<'_>, id: String, bytes: Bytes) -> Result<(), Error> {
    let key = call.key()?;
    let contents = write::container_mut(world, call)?;
    let blob = contents.blobs.get(&key);
    let mut committed: &[(String, Bytes)] = &[];
    if let Some(blob) = blob {
        write::check_no_pending_copy(&blob.base)?;
        blob.lease.check_write(call.lease_id(), Guarded::Blob, call.now)?;
        let Kind::Block(blocks) = &blob.base.kind else {
            return Err(Error::invalid_blob_type());
        };
        committed = blocks;
    }
    let uncommitted = contents.uncommitted.entry(key).or_default();
    if uncommitted.iter().chain(committed).any(|(other, _)| other.len() != id.len()) {
        let message = "The specified blob or block content is invalid.";
        return Err(Error::new(400, "InvalidBlobOrBlock", message));
    }
    match uncommitted.iter_mut().find(|(other, _)| *other == id) {
        Some(block) => block.1 = bytes,
        None => uncommitted.push((id, bytes)),
    }
    Ok(())
}

/// Put Block.
pub(super) fn put_block(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    write::container(world, call)?;
    let id = block_id(call)?;
    let checksums = write::checksums(call)?;
    add_block(world, call, id, call.body.clone())?;
    let answer = Answer::new(StatusCode::CREATED).header("x-ms-request-server-encrypted", "true");
    Ok(checksums.describe(answer))
}

/// Put Block From URL.
pub(super) fn put_block_from_url(
    world: &mut World,
    call: &Call<'_>,
    caller: &Caller,
) -> Result<Answer, Error> {
    write::container(world, call)?;
    let id = block_id(call)?;
    let url = call.required_header("x-ms-copy-source")?;
    let source = write::read_source(world, call, caller, url)?;
    Conditions::of_source(call)?.check_source(&write::seen(source.version, call))?;
    let content = &source.version.content;
    let (start, end) = match call.header("x-ms-source-range") {
        Some(range) => read::range(range, content.length())?,
        None => (0, content.length()),
    };
    read::check_size(end - start)?;
    let bytes = content.read(start, end);
    let answer = Answer::new(StatusCode::CREATED).header("x-ms-content-crc64", write::crc64_of(&bytes));
    add_block(world, call, id, bytes)?;
    Ok(answer.header("x-ms-request-server-encrypted", "true"))
}

/// Put Block List.
pub(super) fn put_block_list(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let key = call.key()?;
    write::check_replaceable(world, call)?;
    let checksums = write::checksums(call)?;
    let contents = write::container_mut(world, call)?;
    let existing = contents.blobs.get(&key);
    let committed: &[(String, Bytes)] = match existing.map(|blob| &blob.base.kind) {
        None => &[],
        Some(Kind::Block(blocks)) => blocks,
        Some(Kind::Page(_)) => return Err(Error::invalid_blob_type()),
    };
    let by_id = |blocks: &[(String, Bytes)]| blocks.iter().cloned().collect::<BTreeMap<String, Bytes>>();
    let committed = by_id(committed);
    let uncommitted = by_id(contents.uncommitted.get(&key).map_or(&[], Vec::as_slice));
    let mut blocks = Vec::new();
    for (list, id) in xml::leaves(call.body)? {
        let block = match list.as_str() {
            "Committed" => committed.get(&id),
            "Uncommitted" => uncommitted.get(&id),
            "Latest" => uncommitted.get(&id).or_else(|| committed.get(&id)),
            _ => return Err(Error::invalid_xml()),
        };
        let block = block
            .ok_or_else(|| Error::new(400, "InvalidBlockList", "The specified block list is invalid."))?;
        blocks.push((id, block.clone()));
    }
    if blocks.len() > MOST_BLOCKS {
        let message = "The block list may not contain more than 50,000 blocks.";
        return Err(Error::new(400, "BlockListTooLong", message));
    }
    let created = existing.map_or(call.now, |blob| blob.base.created);
    let mut content = Content::default();
    for (_, bytes) in &blocks {
        content.append(bytes.clone());
    }
    let mut version = version(world, call, content, write::properties_of(call))?;
    version.kind = Kind::Block(blocks);
    version.created = created;
    let answer = write::written(Answer::new(StatusCode::CREATED), &version, call);
    write::replace(world, call, version)?;
    Ok(checksums.describe(answer))
}

/// Get Block List.
pub(super) fn get_block_list(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let key = call.key()?;
    let contents = write::container(world, call)?;
    let kind = call.query("blocklisttype").unwrap_or("committed");
    let blob = contents.blobs.get(&key);
    let uncommitted = contents.uncommitted.get(&key);
    if blob.is_none() && uncommitted.is_none() {
        return Err(Error::blob_not_found());
    }
    let mut document = xml::Document::new("BlockList");
    let mut section = |name: &'static str, blocks: &[(String, Bytes)]| {
        document.open(name);
        let mut seen = HashSet::new();
        for (id, bytes) in
            blocks.iter().filter(|(id, _)| name == "CommittedBlocks" || seen.insert(id.as_str()))
        {
            document.open("Block");
            document.text("Name", id);
            document.text("Size", &bytes.len().to_string());
            document.close();
        }
        document.close();
    };
    if kind != "uncommitted" {
        match blob.map(|blob| &blob.base.kind) {
            Some(Kind::Block(blocks)) => section("CommittedBlocks", blocks),
            Some(Kind::Page(_)) => return Err(Error::invalid_blob_type()),
            None => section("CommittedBlocks", &[]),
        }
    }
    if kind != "committed" {
        section("UncommittedBlocks", uncommitted.map_or(&[], Vec::as_slice));
    }
    let mut answer = Answer::new(StatusCode::OK).xml(document.finish());
    if let Some(blob) = blob {
        answer.set("etag", blob.base.etag(call.now));
        answer.set("last-modified", http_date(blob.base.last_modified));
        answer.set("x-ms-blob-content-length", blob.base.content.length().to_string());
    }
    Ok(answer)
}
