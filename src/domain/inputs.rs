//! What a build is made from, part by part, and one hash of it all: an image whose hash is the same need not be built again.
//!
//! Every part is a short text, so that it fits into a tag and people can read what changed. What the factory cannot see is
//! no part: the scripts behind an artifact, and the content of a custom image that was made anew under its old name.

mod artifacts;
mod canonical;

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use super::{Definition, FactorySettings, OsType};

#[cfg(test)]
mod tests;

/// "Tag value: 256 characters" (Microsoft, "Use tags to organize your Azure resources").
const LONGEST_PART: usize = 256;
/// Hex digits of the hash of all parts: 128 bits.
const HASH_DIGITS: usize = 32;
/// Hex digits that stand for something long beside a readable text.
const SHORT_DIGITS: usize = 12;

/// What a VM is made from, as Azure had it when it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BaseImage {
    /// `publisher:offer:sku:version`, or the id of a custom or shared image, that of a shared one with `:version`.
    pub name: String,
    /// Its operating system.
    pub os_type: OsType,
    /// Of an image of the marketplace, and of a shared one where it can be known: the version, never `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl BaseImage {
    /// An image of the marketplace, in a version that Azure has.
    pub fn of_marketplace(publisher: &str, offer: &str, sku: &str, version: &str, os_type: OsType) -> Self {
        Self {
            name: format!("{publisher}:{offer}:{sku}:{version}"),
            os_type,
            version: Some(version.to_owned()),
        }
    }

    /// A custom image, or a shared one with its version where it can be known.
    pub fn of_id(id: &str, version: Option<&str>, os_type: OsType) -> Self {
        let name = version.map_or_else(|| id.to_owned(), |version| format!("{id}:{version}"));
        Self { name, os_type, version: version.map(str::to_owned) }
    }
}

/// A part of what a build is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InputPart {
    /// The template's SHA-256, without what does not matter: formatting, metadata, the order of keys.
    Template,
    /// What installs itself, in this order.
    Artifacts,
    /// The operating system.
    Os,
    /// The size of the VM.
    Size,
    /// The administrator's name.
    UserName,
    /// What the VM is made from: see [`BaseImage::name`].
    BaseImage,
    /// The artifact that generalises, with its source.
    GeneralisedBy,
    /// The `salt` of factory.json.
    Salt,
}

impl InputPart {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Template,
        Self::Artifacts,
        Self::Os,
        Self::Size,
        Self::UserName,
        Self::BaseImage,
        Self::GeneralisedBy,
        Self::Salt,
    ];

    /// The name in documents, such as `baseImage`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::Artifacts => "artifacts",
            Self::Os => "os",
            Self::Size => "size",
            Self::UserName => "userName",
            Self::BaseImage => "baseImage",
            Self::GeneralisedBy => "generalisedBy",
            Self::Salt => "salt",
        }
    }

    /// Reads [`name`](Self::name), ignoring case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for InputPart {
    /// For people: `base image`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Template => "template",
            Self::Artifacts => "artifacts",
            Self::Os => "operating system",
            Self::Size => "VM size",
            Self::UserName => "administrator",
            Self::BaseImage => "base image",
            Self::GeneralisedBy => "generalised by",
            Self::Salt => "salt",
        })
    }
}

/// The hash of all [`Inputs`] of a build, 32 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InputsHash(String);

impl InputsHash {
    /// Reads one; `None` if the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == HASH_DIGITS
            && text.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
        fits.then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InputsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a build is made from: the parts that there are, each of 1 to 256 characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<InputPart, String>);

impl Inputs {
    /// What `definition` would be built from now. `settings` are those with which it was read.
    pub fn of(definition: &Definition, settings: &FactorySettings, base_image: &BaseImage) -> Self {
        let vm = definition.example_vm(settings);
        let os = base_image.os_type;
        let parts = [
            (InputPart::Template, Some(canonical::template_hash(&definition.template()))),
            (InputPart::Artifacts, artifacts::list(&vm.artifacts)),
            (InputPart::Os, Some(os.to_string())),
            (InputPart::Size, vm.size),
            (InputPart::UserName, vm.user_name),
            (InputPart::BaseImage, Some(base_image.name.clone())),
            (InputPart::GeneralisedBy, Some(artifacts::generalising(&vm.artifacts, os, settings))),
            (InputPart::Salt, settings.salt.clone()),
        ];
        parts.into_iter().filter_map(|(part, text)| Some((part, text?))).collect()
    }

    /// One part, if there is such.
    pub fn get(&self, part: InputPart) -> Option<&str> {
        self.0.get(&part).map(String::as_str)
    }

    /// The parts that there are, in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = (InputPart, &str)> {
        self.0.iter().map(|(part, text)| (*part, text.as_str()))
    }

    /// Whether not one part is known, as of images that an older version of the factory made.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash of all parts.
    pub fn hash(&self) -> InputsHash {
        let parts: Vec<_> = self.iter().map(|(part, text)| json!([part.name(), text])).collect();
        InputsHash(canonical::digits(&Value::Array(parts), HASH_DIGITS))
    }

    /// What is other than it was in `older`.
    pub fn changes(&self, older: &Self) -> Vec<InputChange> {
        let differing = InputPart::ALL.into_iter().filter(|part| self.get(*part) != older.get(*part));
        let owned = |inputs: &Self, part| inputs.get(part).map(str::to_owned);
        differing
            .map(|part| InputChange { part, before: owned(older, part), after: owned(self, part) })
            .collect()
    }
}

impl<T: Into<String>> FromIterator<(InputPart, T)> for Inputs {
    /// Parts without text are none; what is too long for a tag is cut, with a hash of it all.
    fn from_iter<I: IntoIterator<Item = (InputPart, T)>>(parts: I) -> Self {
        let parts = parts.into_iter().map(|(part, text)| (part, fit(text.into())));
        Self(parts.filter(|(_, text)| !text.is_empty()).collect())
    }
}

impl<'de> Deserialize<'de> for Inputs {
    /// Parts of other versions of the factory are passed over: a document is read even if a newer version wrote it.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(all.into_iter().filter_map(|(name, text)| Some((InputPart::from_name(&name)?, text))).collect())
    }
}

/// A part that is other than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InputChange {
    /// Which part.
    pub part: InputPart,
    /// What it was; `None` if there was none.
    pub before: Option<String>,
    /// What it is now; `None` if there is none any more.
    pub after: Option<String>,
}

impl fmt::Display for InputChange {
    /// `base image: a:b:c:1.0 → a:b:c:1.1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |text: &Option<String>| match text {
            None => "none".to_owned(),
            // 64 digits tell people no more than these.
            Some(text) if self.part == InputPart::Template => text.chars().take(SHORT_DIGITS).collect(),
            Some(text) => text.clone(),
        };
        write!(f, "{}: {} → {}", self.part, show(&self.before), show(&self.after))
    }
}

/// A text as it fits into a tag: a long one is cut, and ends with a hash of all of it.
fn fit(text: String) -> String {
    if text.chars().count() <= LONGEST_PART {
        return text;
    }
    let end = format!(" #{}", canonical::digits(&Value::String(text.clone()), SHORT_DIGITS));
    text.chars().take(LONGEST_PART - end.len()).chain(end.chars()).collect()
}
