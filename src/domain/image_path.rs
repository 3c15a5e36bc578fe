//! The name of a golden image: the path of its definition under `GoldenImages/`.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// An Azure tag's value has at most 256 characters, and the path must fit into one
/// (<https://learn.microsoft.com/azure/azure-resource-manager/management/tag-resources#limitations>).
const LONGEST_PATH: usize = 256;
/// What a definition's file name ends with.
const EXTENSION: &str = ".json";

/// The path of a definition under `GoldenImages/`, such as `Win2016/Datacenter.json`.
///
/// Compared, hashed and ordered by whole segments, ignoring case; shown as it was written, but always with `/` (tags of
/// the PowerShell sample have `\`).
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct ImagePath {
    spelled: String,
    folded: String,
}

/// Why a text is no path of an image, or selects none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no image path: {reason}")]
pub struct BadImagePath {
    text: String,
    reason: &'static str,
}

impl ImagePath {
    /// Reads a path relative to `GoldenImages/`, with `/` or `\`.
    ///
    /// # Errors
    /// If it is absolute, has an empty, `.` or `..` segment or control characters, is longer than 256 characters, or
    /// does not end with `.json`.
    pub fn parse(text: &str) -> Result<Self, BadImagePath> {
        let bad = |reason| Err(BadImagePath { text: text.chars().take(LONGEST_PATH).collect(), reason });
        let spelled = text.replace('\\', "/");
        if let Some(reason) = faulty_segments(&spelled) {
            return bad(reason);
        }
        if spelled.encode_utf16().count() > LONGEST_PATH {
            return bad("it is longer than the 256 characters of an Azure tag");
        }
        let name = spelled.rsplit('/').next().unwrap_or_default();
        let stem = name.len().checked_sub(EXTENSION.len()).and_then(|at| name.split_at_checked(at));
        match stem {
            Some((stem, end)) if !stem.is_empty() && end.eq_ignore_ascii_case(EXTENSION) => {}
            _ => return bad("it must end with '.json' after a name"),
        }
        let folded = fold(&spelled);
        Ok(Self { spelled, folded })
    }

    /// The path as it was written, with `/`.
    pub fn as_str(&self) -> &str {
        &self.spelled
    }

    /// The same text for all spellings of this path.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    /// The segments with the file name's `.json` taken off: what names are made from.
    pub fn readable_segments(&self) -> impl Iterator<Item = &str> {
        self.spelled[..self.spelled.len() - EXTENSION.len()].split('/')
    }

    /// The file name without `.json`.
    pub fn stem(&self) -> &str {
        self.readable_segments().last().unwrap_or_default()
    }
}

/// Case is folded as Unicode's lower case, so that the same file has one path on every system.
fn fold(text: &str) -> String {
    text.to_lowercase()
}

fn faulty_segments(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.starts_with('/') || path.as_bytes().get(1) == Some(&b':') {
        return Some("it must be relative to GoldenImages");
    }
    if path.chars().any(char::is_control) {
        return Some("it has control characters");
    }
    for segment in path.split('/') {
        match segment {
            "" => return Some("it has an empty segment"),
            "." | ".." => return Some("it must not contain '.' or '..'"),
            _ => {}
        }
    }
    None
}

impl PartialEq for ImagePath {
    fn eq(&self, other: &Self) -> bool {
        self.folded == other.folded
    }
}

impl Eq for ImagePath {}

impl Hash for ImagePath {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded.hash(state);
    }
}

impl PartialOrd for ImagePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ImagePath {
    /// By segments: `Win2016/B.json` comes before `Win2016 Core/A.json`.
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded.split('/').cmp(other.folded.split('/'))
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.spelled)
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.spelled, f)
    }
}

impl FromStr for ImagePath {
    type Err = BadImagePath;

    fn from_str(text: &str) -> Result<Self, BadImagePath> {
        Self::parse(text)
    }
}

impl TryFrom<String> for ImagePath {
    type Error = BadImagePath;

    fn try_from(text: String) -> Result<Self, BadImagePath> {
        Self::parse(&text)
    }
}

impl From<ImagePath> for String {
    fn from(path: ImagePath) -> Self {
        path.spelled
    }
}

/// An entry of `ImagePaths` in Labs.json: a definition, a folder of definitions, or everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePathSelector {
    spelled: String,
    /// Folded segments; none selects everything.
    segments: Vec<String>,
}

impl ImagePathSelector {
    /// Reads an entry. Empty, `/` and `*` select everything; slashes at both ends say nothing.
    ///
    /// # Errors
    /// If it has an empty, `.` or `..` segment, control characters or a drive.
    pub fn parse(text: &str) -> Result<Self, BadImagePath> {
        let spelled = text.replace('\\', "/");
        let inner = spelled.trim_matches('/');
        if inner.trim().is_empty() || inner == "*" {
            return Ok(Self { spelled, segments: Vec::new() });
        }
        if let Some(reason) = faulty_segments(inner) {
            return Err(BadImagePath { text: text.chars().take(LONGEST_PATH).collect(), reason });
        }
        let segments = fold(inner).split('/').map(str::to_owned).collect();
        Ok(Self { spelled, segments })
    }

    /// Whether it selects the image. Only whole segments count: `Win2016` does not select `Win2016R2/Core.json`.
    pub fn selects(&self, path: &ImagePath) -> bool {
        let mut segments = path.folded.split('/');
        self.segments.iter().all(|wanted| segments.next() == Some(wanted.as_str()))
    }

    /// The entry as it was written, with `/`.
    pub fn as_str(&self) -> &str {
        &self.spelled
    }
}
