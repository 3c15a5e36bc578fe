//! What people ask for, as messages: each says who asked.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{LabId, names::LONGEST_IMAGE_NAME};

/// A person's or a program's name, for the record.
const LONGEST_NAME: usize = 200;
/// What tells two askings apart.
const LONGEST_ID: usize = 64;

/// Who asks for something: 1 to 200 characters in one line. For the record alone, nothing is allowed because of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct Person(String);

/// Why a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it names nobody: a name has 1 to 200 characters in one line")]
pub struct BadPerson;

impl Person {
    /// Reads a name.
    ///
    /// # Errors
    /// If it is empty, longer than 200 characters, or has control characters, which would garble the record.
    pub fn parse(text: &str) -> Result<Self, BadPerson> {
        let text = text.trim();
        let fits = (1..=LONGEST_NAME).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        if fits { Ok(Self(text.to_owned())) } else { Err(BadPerson) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Person {
    type Error = BadPerson;

    fn try_from(text: String) -> Result<Self, BadPerson> {
        Self::parse(&text)
    }
}

impl std::str::FromStr for Person {
    type Err = BadPerson;

    fn from_str(text: &str) -> Result<Self, BadPerson> {
        Self::parse(text)
    }
}

impl From<Person> for String {
    fn from(person: Person) -> Self {
        person.0
    }
}

/// What tells two askings for the same thing apart, such as a random word: the same id again is the same asking, once more.
/// 1 to 64 letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct AskingId(String);

/// Why a text is no id of an asking.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 1 to 64 letters, digits and '-'")]
pub struct BadAskingId;

impl AskingId {
    /// Reads an id.
    ///
    /// # Errors
    /// If it has other than 1 to 64 characters, or others than letters, digits and hyphens.
    pub fn parse(text: &str) -> Result<Self, BadAskingId> {
        let fits = (1..=LONGEST_ID).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err(BadAskingId) }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AskingId {
    type Error = BadAskingId;

    fn try_from(text: String) -> Result<Self, BadAskingId> {
        Self::parse(&text)
    }
}

impl From<AskingId> for String {
    fn from(id: AskingId) -> Self {
        id.0
    }
}

/// That a step which has ended shall begin anew. Stands in the step's own message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rerun {
    /// Tells this asking from others.
    pub id: AskingId,
    /// Who asks.
    pub by: Person,
}

/// The body of `cancel-run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelRun {
    /// Who asks.
    pub by: Person,
    /// Tells this asking from others: a run of which something was run again can be cancelled once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<AskingId>,
}

/// The body of `pin-image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PinImage {
    /// The lab in which it stands; the factory lab for a captured VHD.
    pub lab: LabId,
    /// The image.
    pub image_name: PinnedName,
    /// Whether it shall be kept for good, or no longer.
    pub pin: bool,
    /// Who asks.
    pub by: Person,
    /// Tells this asking from others: to pin, unpin and pin again are three.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<AskingId>,
}

/// The name of an image that stands: the factory's own or anybody's, whichever run made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct PinnedName(String);

/// Why a text is no name of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an image's name has 1 to 80 letters, digits, '-', '_', '.', '(' and ')'")]
pub struct BadImageName;

impl PinnedName {
    /// Reads a name. It becomes part of a URL, so nothing else is let through.
    ///
    /// # Errors
    /// If it has other than 1 to 80 characters, or others than DevTest Labs takes.
    pub fn parse(text: &str) -> Result<Self, BadImageName> {
        let fits = (1..=LONGEST_IMAGE_NAME).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.()".contains(&byte));
        if fits { Ok(Self(text.to_owned())) } else { Err(BadImageName) }
    }

    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PinnedName {
    type Error = BadImageName;

    fn try_from(text: String) -> Result<Self, BadImageName> {
        Self::parse(&text)
    }
}

impl From<PinnedName> for String {
    fn from(name: PinnedName) -> Self {
        name.0
    }
}
