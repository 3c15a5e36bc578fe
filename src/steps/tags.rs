//! The tags by which the factory knows its own.

use std::collections::BTreeMap;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::domain::{
    IGNORE_TAG, IMAGE_PATH_TAG, INPUT_TAG, INPUTS_TAG, ImagePath, InputPart, Inputs, InputsHash, KEEP_TAG,
    RUN_STARTED_TAG, RUN_TAG, RunId,
};

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

/// What an image was made from: the hash, and each part for people to read.
pub fn of_inputs(inputs: &Inputs) -> BTreeMap<String, String> {
    let part = |(part, text): (InputPart, &str)| (input_tag(part), text.to_owned());
    let hash = (INPUTS_TAG.to_owned(), inputs.hash().to_string());
    inputs.iter().map(part).chain([hash]).collect()
}

/// The hash in an image's tags of everything that it was made from.
pub fn inputs_hash(tags: &BTreeMap<String, String>) -> Option<InputsHash> {
    InputsHash::parse(get(tags, INPUTS_TAG)?)
}

/// The parts in an image's tags of what it was made from. They explain, the hash decides.
pub fn inputs(tags: &BTreeMap<String, String>) -> Inputs {
    InputPart::ALL.into_iter().filter_map(|part| Some((part, get(tags, &input_tag(part))?))).collect()
}

/// `FactoryInput.BaseImage`.
fn input_tag(part: InputPart) -> String {
    let name = part.name();
    format!("{INPUT_TAG}{}{}", name[..1].to_ascii_uppercase(), &name[1..])
}

/// A tag's value; names of tags ignore case (Microsoft, "Use tags to organize your Azure resources").
pub fn get<'a>(tags: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// The run that made this, if it says one.
pub fn run(tags: &BTreeMap<String, String>) -> Option<RunId> {
    RunId::parse(get(tags, RUN_TAG)?).ok()
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
const INPUTS_METADATA: &str = "factoryinputs";
const INPUT_METADATA: &str = "factoryinput";

/// Everything that HTTP headers cannot hold is percent-encoded; `/` stays, for people.
const HEADER_SAFE: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS.add(b'%').add(b' ');

/// The same as [`of`], as metadata of a blob.
pub fn metadata(run: &RunId, image_path: &ImagePath) -> BTreeMap<String, String> {
    let path = encode(image_path.as_str());
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
    let path = decode(get(metadata, IMAGE_PATH_METADATA)?)?;
    Some((run, ImagePath::parse(&path).ok()?))
}

/// The same as [`of_inputs`], as metadata of a captured VHD's companion.
pub fn inputs_metadata(inputs: &Inputs) -> BTreeMap<String, String> {
    let part = |(part, text): (InputPart, &str)| (input_metadata(part), encode(text));
    let hash = (INPUTS_METADATA.to_owned(), inputs.hash().to_string());
    inputs.iter().map(part).chain([hash]).collect()
}

/// The tags that such metadata stands for: those of [`of_inputs`], as far as they are there.
pub fn of_inputs_metadata(metadata: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let hash = get(metadata, INPUTS_METADATA).map(|hash| (INPUTS_TAG.to_owned(), hash.to_owned()));
    let part = |part| Some((input_tag(part), decode(get(metadata, &input_metadata(part))?)?));
    InputPart::ALL.into_iter().filter_map(part).chain(hash).collect()
}

/// `factoryinputbaseimage`.
fn input_metadata(part: InputPart) -> String {
    format!("{INPUT_METADATA}{}", part.name().to_ascii_lowercase())
}

fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, HEADER_SAFE).to_string()
}

fn decode(text: &str) -> Option<String> {
    Some(percent_encoding::percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

#[cfg(test)]
mod tests;
