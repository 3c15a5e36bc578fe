//! Blob index tags.

use std::collections::BTreeMap;

use http::StatusCode;

use super::{answer::Answer, error::Error, read::find, request::Call, write, xml};
use crate::World;

/// A blob has at most so many tags (Microsoft, "Set Blob Tags").
const MOST_TAGS: usize = 10;

fn check(tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    let is_good = |(key, value): (&String, &String)| (1..=128).contains(&key.len()) && value.len() <= 256;
    if tags.len() <= MOST_TAGS && tags.iter().all(is_good) {
        Ok(tags)
    } else {
        Err(Error::new(400, "InvalidTag", "The tags specified are invalid."))
    }
}

/// `x-ms-tags`.
pub(super) fn of_header(call: &Call<'_>) -> Result<BTreeMap<String, String>, Error> {
    let sent = call.header("x-ms-tags").unwrap_or_default();
    let pairs = url::form_urlencoded::parse(sent.as_bytes()).into_owned();
    check(pairs.collect())
}

/// Get Blob Tags.
pub(super) fn get(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let (_, version, _) = find(world, call)?;
    let mut document = xml::Document::new("Tags");
    document.open("TagSet");
    for (key, value) in &version.tags {
        document.open("Tag");
        document.text("Key", key);
        document.text("Value", value);
        document.close();
    }
    Ok(Answer::new(StatusCode::OK).xml(document.finish()))
}

/// Set Blob Tags; neither the ETag nor the time of the blob changes.
pub(super) fn set(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let mut tags = BTreeMap::new();
    let mut key = None;
    for (name, text) in xml::leaves(call.body)? {
        match name.as_str() {
            "TagSet/Tag/Key" => key = Some(text),
            "TagSet/Tag/Value" => {
                let key = key.take().ok_or_else(Error::invalid_xml)?;
                tags.insert(key, text);
            }
            _ => {}
        }
    }
    let tags = check(tags)?;
    write::blob(world, call)?.base.tags = tags;
    Ok(Answer::new(StatusCode::NO_CONTENT))
}
