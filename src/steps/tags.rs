//! The tags by which the factory knows its own.

use std::collections::BTreeMap;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::domain::{IGNORE_TAG, IMAGE_PATH_TAG, ImagePath, KEEP_TAG, RUN_STARTED_TAG, RUN_TAG, RunId};

/// The tags of something that `run` makes for `image_path`.
pub fn of(run: &RunId, image_path: &ImagePath) -> BTreeMap<String, String> {
    BTreeMap::from([
        (IMAGE_PATH_TAG.to_owned(), image_path.to_string()),
        (RUN_TAG.to_owned(), run.to_string()),
    ])
}

/// The tags of an image: as [`of`], and when the run started, which tells the newer of two.
pub fn of_image(run: &RunId, image_path: &ImagePath, started_at: OffsetDateTime) -> BTreeMap<String, String> {
    let mut tags = of(run, image_path);
    tags.extend(started_at.format(&Rfc3339).ok().map(|text| (RUN_STARTED_TAG.to_owned(), text)));
    tags
}

/// A tag's value; names of tags ignore case (Microsoft, "Use tags to organize your Azure resources").
pub fn get<'a>(tags: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Whether `run` made this.
pub fn made_by(tags: &BTreeMap<String, String>, run: &RunId) -> bool {
    get(tags, RUN_TAG).is_some_and(|value| value == run.as_str())
}

/// Whether a person put `FactoryIgnore` on it; only an explicit `false` counts as not there.
pub fn ignored(tags: &BTreeMap<String, String>) -> bool {
    get(tags, IGNORE_TAG).is_some_and(|value| !value.eq_ignore_ascii_case("false"))
}

/// Blob metadata names, which may hold letters and digits only.
const RUN_METADATA: &str = "factoryrun";
const IMAGE_PATH_METADATA: &str = "imagepath";
const RUN_STARTED_METADATA: &str = "factoryrunstartedat";

/// Everything that HTTP headers cannot hold in an image path is percent-encoded; `/` stays, for people.
const HEADER_SAFE: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%').add(b' ');

/// The same as [`of`], as metadata of a blob.
pub fn metadata(run: &RunId, image_path: &ImagePath) -> BTreeMap<String, String> {
    let path = image_path.to_string();
    let path = percent_encoding::utf8_percent_encode(&path, HEADER_SAFE).to_string();
    BTreeMap::from([(RUN_METADATA.to_owned(), run.to_string()), (IMAGE_PATH_METADATA.to_owned(), path)])
}

/// The same as [`of_image`], as metadata of a captured VHD's companion.
pub fn image_metadata(
    run: &RunId,
    image_path: &ImagePath,
    started_at: OffsetDateTime,
) -> BTreeMap<String, String> {
    let mut metadata = metadata(run, image_path);
    metadata.extend(started_at.format(&Rfc3339).ok().map(|text| (RUN_STARTED_METADATA.to_owned(), text)));
    metadata
}

/// The tags that such metadata stands for, with `FactoryKeep` where a person wrote that beside it.
pub fn of_image_metadata(metadata: &BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    let (run, image_path) = of_metadata(metadata)?;
    let mut tags = of(&run, &image_path);
    for (name, tag) in [(RUN_STARTED_METADATA, RUN_STARTED_TAG), (KEEP_TAG, KEEP_TAG)] {
        tags.extend(get(metadata, name).map(|value| (tag.to_owned(), value.to_owned())));
    }
    Some(tags)
}

/// The run and image path in a blob's metadata, if it is one of ours.
pub fn of_metadata(metadata: &BTreeMap<String, String>) -> Option<(RunId, ImagePath)> {
    let run = RunId::parse(get(metadata, RUN_METADATA)?).ok()?;
    let path =
        percent_encoding::percent_decode_str(get(metadata, IMAGE_PATH_METADATA)?).decode_utf8().ok()?;
    Some((run, ImagePath::parse(&path).ok()?))
}
