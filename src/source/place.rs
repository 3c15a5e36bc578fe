//! Where in a repository, and in its history, the configuration lies.

use std::{fmt, str::FromStr};

use super::SourceError;

/// Longest name of a revision, in bytes; git hosts keep no longer ones.
const LONGEST_REVISION: usize = 250;
/// Hex digits of a commit's id, for SHA-1 and SHA-256.
const ID_LENGTHS: [usize; 2] = [40, 64];

/// A folder or revision that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is no {what}: {reason}")]
pub struct BadPlace {
    text: String,
    what: &'static str,
    reason: &'static str,
}

/// The configuration's folder, relative to the repository's own; nothing is the repository's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Folder(Vec<String>);

impl Folder {
    /// Its names, from the outermost.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// The part of a path that lies in it.
    pub(super) fn strip<'a>(&self, path: &'a str) -> Option<&'a str> {
        self.0.iter().try_fold(path, |path, name| path.strip_prefix(name.as_str())?.strip_prefix('/'))
    }
}

impl FromStr for Folder {
    type Err = BadPlace;

    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let bad = |reason| BadPlace { text: text.to_owned(), what: "folder of a repository", reason };
        let unified = text.trim().replace('\\', "/");
        let names = unified.split('/').filter(|name| !name.is_empty() && *name != ".");
        let names: Vec<String> = names.map(str::to_owned).collect();
        match names.iter().find_map(|name| unsafe_name(name)) {
            Some(reason) => Err(bad(reason)),
            None => Ok(Self(names)),
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("/"))
    }
}

/// Why this name in a path might lead elsewhere.
pub(super) fn unsafe_name(name: &str) -> Option<&'static str> {
    let drive = |name: &str| {
        name.len() >= 2 && name.as_bytes()[1] == b':' && name.as_bytes()[0].is_ascii_alphabetic()
    };
    match name {
        "" => Some("a name in it is empty"),
        "." | ".." => Some("it leads to another folder"),
        name if name.contains('\\') => Some("it holds a backslash"),
        name if drive(name) => Some("it names a drive"),
        name if name.contains(char::is_control) => Some("it holds control characters"),
        _ => None,
    }
}

/// What git finds a commit by: its id, a branch or a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is asked for of `place`, or this where nothing is.
    pub(super) fn or(&self, asked: Option<&str>, place: &str) -> Result<Self, SourceError> {
        let malformed = |bad: BadPlace| SourceError::malformed(place, bad.to_string());
        asked.map_or_else(|| Ok(self.clone()), |text| text.parse().map_err(malformed))
    }

    /// Whether it is a whole id: the same commit for ever.
    pub fn is_id(&self) -> bool {
        ID_LENGTHS.contains(&self.0.len()) && self.0.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

impl FromStr for Revision {
    type Err = BadPlace;

    /// As `git check-ref-format` has it: what this accepts is no other place in a URL, and none of git's search expressions.
    fn from_str(text: &str) -> Result<Self, BadPlace> {
        let bad = |reason| {
            Err(BadPlace {
                text: text.chars().take(LONGEST_REVISION).collect(),
                what: "commit or branch",
                reason,
            })
        };
        let forbidden = |c: char| c.is_control() || c.is_whitespace() || "~^:?*[\\".contains(c);
        match text {
            "" => bad("it is empty"),
            text if text.len() > LONGEST_REVISION => bad("it is too long"),
            text if text.contains(forbidden) => bad("git allows no spaces, nor any of ~ ^ : ? * [ \\ in it"),
            text if text.contains("..") || text.contains("@{") => {
                bad("git allows neither '..' nor '@{' in it")
            }
            text if text.starts_with('-') => bad("it begins with a dash"),
            text if text.split('/').any(|part| part.is_empty() || part.starts_with('.')) => {
                bad("a part of it is empty or begins with a dot")
            }
            text => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_lies_inside_of_its_repository() {
        let folder = |text: &str| text.parse::<Folder>().map(|folder| folder.to_string());
        for (text, expected) in
            [("", ""), ("/", ""), ("./", ""), ("a\\b/", "a/b"), (" /Image Factory ", "Image Factory")]
        {
            assert_eq!(folder(text).unwrap(), expected);
        }
        for text in ["..", "a/../b", "C:\\images", "a/\0"] {
            assert!(folder(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_folder_strips_whole_names() {
        let folder: Folder = "a/b".parse().unwrap();
        assert_eq!(
            ["a/b/c/d", "a/bc/d", "a/b", "b"].map(|path| folder.strip(path)),
            [Some("c/d"), None, None, None]
        );
        assert_eq!(Folder::default().strip("a/b"), Some("a/b"));
    }

    #[test]
    fn a_revision_is_no_other_place_in_a_url() {
        for good in ["main", "feature/x", "v1.0", "users/ä/b#1", "deadbeef", &"a".repeat(40)] {
            assert!(good.parse::<Revision>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "..",
            "a/../b",
            "/a",
            "a/",
            "a//b",
            "./a",
            "a b",
            "HEAD~1",
            "main:x",
            "-x",
            "a@{1}",
            &"a".repeat(251),
        ] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
    }

    #[test]
    fn only_whole_ids_are_ids() {
        let is_id = |text: &str| text.parse::<Revision>().unwrap().is_id();
        assert!(is_id(&"aB".repeat(20)) && is_id(&"0".repeat(64)));
        assert!(!is_id("deadbeef") && !is_id(&"g".repeat(40)) && !is_id("main"));
    }
}
