//! Which files make a configuration, and how much of them there may be, wherever they come from.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::Read,
};

use super::{Folder, SourceError};
use crate::domain::config::{ConfigurationFiles, GOLDEN_IMAGES, LABS_FILE, SETTINGS_FILE};

/// A golden image is text that people write; ARM itself takes templates of at most 4 MiB.
pub(super) const LARGEST_FILE: u64 = 4 << 20;
/// Ten times the largest installation that the factory is measured with.
pub(super) const MOST_FILES: usize = 10_000;
/// All files together, in bytes; a template of the largest installations has a few KiB. A run holds them in memory.
pub(super) const MOST_BYTES: u64 = 128 << 20;
/// Deeper folders are a mistake, such as a link to an outer folder.
pub(super) const DEEPEST: usize = 16;

/// The files beside the folder of golden images.
const TOP_FILES: [&str; 2] = [LABS_FILE, SETTINGS_FILE];

/// The name under which a file is kept, if it is one of a configuration's; `path` is relative to the configuration's folder. Git
/// keeps the case of names and Windows does not care, so the known ones are kept in their own spelling.
pub(super) fn kept_as(path: &str) -> Option<String> {
    let Some((top, rest)) = path.split_once('/') else {
        return TOP_FILES
            .iter()
            .find(|known| known.eq_ignore_ascii_case(path))
            .map(|known| (*known).to_owned());
    };
    let (stem, ending) = rest.rsplit('/').next()?.rsplit_once('.')?;
    let kept = leads_on(top) && !stem.is_empty() && ending.eq_ignore_ascii_case("json");
    kept.then(|| format!("{GOLDEN_IMAGES}/{rest}"))
}

/// Whether files of a configuration can lie below this folder of it.
pub(super) fn leads_on(folder: &str) -> bool {
    folder.split('/').next().is_some_and(|top| top.eq_ignore_ascii_case(GOLDEN_IMAGES))
}

/// The files that were found so far.
pub(super) struct Selection {
    place: String,
    files: BTreeMap<String, Vec<u8>>,
    bytes: u64,
}

impl Selection {
    /// None yet of `place`.
    pub fn of(place: impl Into<String>) -> Self {
        Self { place: place.into(), files: BTreeMap::new(), bytes: 0 }
    }

    /// Keeps a file as `name`, which is [`kept_as`]'s. `path` is what people find it by. Bytes are counted while they are read:
    /// what an archive says of its sizes may be a lie.
    pub fn keep(&mut self, name: String, path: &str, content: impl Read) -> Result<(), SourceError> {
        let too_large = |path: &str, reason| Err(SourceError::TooLarge { path: path.to_owned(), reason });
        check_depth(path, name.matches('/').count())?;
        if self.files.len() >= MOST_FILES {
            return too_large(&self.place, format!("it holds more than {MOST_FILES} files"));
        }
        let Entry::Vacant(place) = self.files.entry(name) else {
            let reason = format!("the file {path} is there twice, in this spelling or another; remove one");
            return Err(SourceError::Malformed { place: self.place.clone(), reason });
        };
        let mut bytes = Vec::new();
        content
            .take(LARGEST_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| SourceError::Unreadable { path: path.to_owned(), reason: error.to_string() })?;
        let size = bytes.len() as u64;
        check_size(path, size)?;
        self.bytes += size;
        if self.bytes > MOST_BYTES {
            return too_large(&self.place, format!("its files have more than {MOST_BYTES} bytes together"));
        }
        place.insert(bytes);
        Ok(())
    }

    /// What was found.
    pub fn into_files(self) -> ConfigurationFiles {
        ConfigurationFiles { files: self.files }
    }

    /// The files, unless there is no configuration at all in this folder of a repository.
    pub fn found(self, folder: &Folder, is_folder_there: bool) -> Result<ConfigurationFiles, SourceError> {
        let what = match (is_folder_there, self.files.is_empty()) {
            (true, false) => return Ok(self.into_files()),
            (true, true) if folder.names().is_empty() => "Labs.json or GoldenImages at its top".to_owned(),
            (true, true) => format!("Labs.json or GoldenImages in its folder {folder}"),
            (false, _) => format!("folder {folder}"),
        };
        let advice = "set IMAGE_FACTORY_FOLDER to the folder that holds them there, in its exact spelling, or commit them";
        Err(SourceError::Missing { place: self.place, what, advice: advice.to_owned() })
    }
}

/// Refuses a file of more bytes than any golden image has.
pub(super) fn check_size(path: &str, size: u64) -> Result<(), SourceError> {
    let reason = || format!("it has more than {LARGEST_FILE} bytes");
    match size > LARGEST_FILE {
        true => Err(SourceError::TooLarge { path: path.to_owned(), reason: reason() }),
        false => Ok(()),
    }
}

/// Refuses what lies below too many folders.
pub(super) fn check_depth(path: &str, folders: usize) -> Result<(), SourceError> {
    match folders > DEEPEST {
        true => Err(SourceError::TooLarge {
            path: path.to_owned(),
            reason: format!("folders are nested deeper than {DEEPEST}"),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_kept_in_their_own_spelling_and_others_not_at_all() {
        for (path, kept) in [
            ("labs.json", Some("Labs.json")),
            ("FACTORY.JSON", Some("factory.json")),
            ("goldenimages/Win/A b.JSON", Some("GoldenImages/Win/A b.JSON")),
            ("GoldenImages/notes.txt", None),
            ("GoldenImages/.json", None),
            ("GoldenImages/Win.json/readme", None),
            ("GoldenImages", None),
            ("README.md", None),
            ("docs/Labs.json", None),
            ("GoldenImagesOld/a.json", None),
        ] {
            assert_eq!(kept_as(path).as_deref(), kept, "{path}");
        }
    }

    #[test]
    fn limits_are_on_a_file_on_all_files_and_on_their_number() {
        let mut selection = Selection::of("repository");
        let mut keep = |index: usize, size: u64| {
            let name = format!("GoldenImages/{index}.json");
            selection
                .keep(name.clone(), &name, std::io::repeat(b' ').take(size))
                .map_err(|error| error.to_string())
        };
        let refused = keep(0, LARGEST_FILE + 1).unwrap_err();
        assert!(refused.contains("GoldenImages/0.json is too large"), "{refused}");
        let fitting = usize::try_from(MOST_BYTES / LARGEST_FILE).unwrap();
        (0..fitting).for_each(|index| keep(index, LARGEST_FILE).unwrap());
        let refused = keep(fitting, 1).unwrap_err();
        assert!(refused.contains("repository is too large"), "{refused}");

        let mut selection = Selection::of("repository");
        let mut keep = |name: String| selection.keep(name, "path", std::io::empty());
        (0..MOST_FILES).for_each(|index| keep(format!("GoldenImages/{index}.json")).unwrap());
        assert!(keep("Labs.json".to_owned()).unwrap_err().to_string().contains("more than 10000 files"));
    }

    #[test]
    fn two_spellings_of_one_name_and_very_deep_folders_are_refused() {
        let mut selection = Selection::of("repository");
        selection.keep(kept_as("Labs.json").unwrap(), "Labs.json", std::io::empty()).unwrap();
        let twice = selection.keep(kept_as("labs.json").unwrap(), "labs.json", std::io::empty()).unwrap_err();
        assert!(twice.to_string().contains("labs.json is there twice"), "{twice}");
        let deep = |folders: usize| format!("GoldenImages/{}x.json", "d/".repeat(folders - 1));
        selection.keep(deep(DEEPEST), "x", std::io::empty()).unwrap();
        assert!(selection.keep(deep(DEEPEST + 1), "x", std::io::empty()).is_err());
    }
}
