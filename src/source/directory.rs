//! Configuration from a folder of this machine, as it is now.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use async_trait::async_trait;

use super::{Source, SourceError};
use crate::domain::config::ConfigurationFiles;

/// A golden image is text that people write; ARM itself takes templates of at most 4 MiB.
const LARGEST_FILE: u64 = 4 << 20;
/// Ten times the largest installation that the factory is measured with.
const MOST_FILES: usize = 10_000;
/// Deeper folders are a mistake, such as a link to an outer folder.
const DEEPEST: usize = 16;

/// The files beside the folder of golden images.
const TOP_FILES: [&str; 2] = ["Labs.json", "factory.json"];
/// The folder of golden images.
const IMAGES: &str = "GoldenImages";

/// A folder with Labs.json, GoldenImages and perhaps factory.json.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The folder `root`; it is read at each fetch.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Reads the files now.
    ///
    /// # Errors
    /// If the folder or a file in it cannot be read or is too large.
    pub fn read(&self) -> Result<ConfigurationFiles, SourceError> {
        let mut files = BTreeMap::new();
        // Reports a missing folder itself, instead of one missing file after the other.
        let entries = std::fs::read_dir(&self.root).map_err(|error| unreadable(&self.root, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&self.root, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let known = TOP_FILES.iter().find(|known| known.eq_ignore_ascii_case(&name));
            if let Some(known) = known {
                files.insert((*known).to_owned(), contents(&entry.path())?);
            } else if name.eq_ignore_ascii_case(IMAGES) {
                descend(&entry.path(), IMAGES, 1, &mut files)?;
            }
        }
        Ok(ConfigurationFiles { files })
    }
}

#[async_trait]
impl Source for Directory {
    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        if commit.is_some() {
            return Err(SourceError::NoCommits(self.root.display().to_string()));
        }
        let directory = self.clone();
        let path = self.root.display().to_string();
        let failed =
            |error: tokio::task::JoinError| SourceError::Unreadable { path, reason: error.to_string() };
        tokio::task::spawn_blocking(move || directory.read()).await.map_err(failed)?
    }
}

fn descend(
    folder: &Path,
    name: &str,
    depth: usize,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), SourceError> {
    if depth > DEEPEST {
        return Err(too_large(folder, format!("folders are nested deeper than {DEEPEST}")));
    }
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        // Links are left alone: they may lead out of the configuration.
        if kind.is_dir() {
            descend(&path, &name, depth + 1, files)?;
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
        {
            if files.len() >= MOST_FILES {
                return Err(too_large(folder, format!("it holds more than {MOST_FILES} files")));
            }
            files.insert(name, contents(&path)?);
        }
    }
    Ok(())
}

fn contents(path: &Path) -> Result<Vec<u8>, SourceError> {
    let size = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if size > LARGEST_FILE {
        return Err(too_large(path, format!("it has {size} bytes; {LARGEST_FILE} are the most")));
    }
    std::fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError::Unreadable { path: path.display().to_string(), reason: error.to_string() }
}

fn too_large(path: &Path, reason: String) -> SourceError {
    SourceError::TooLarge { path: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_files_of_a_configuration_are_read_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let images = folder.path().join("GoldenImages/Win2022");
        std::fs::create_dir_all(&images).unwrap();
        for (path, text) in
            [("Labs.json", "{}"), ("README.md", "no"), ("GoldenImages/Win2022/A b.json", "[]")]
        {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        std::fs::write(images.join("notes.txt"), "no").unwrap();
        std::os::unix::fs::symlink(folder.path(), images.join("loop")).unwrap();
        let files = Directory::new(folder.path()).read().unwrap().files;
        assert_eq!(files.keys().collect::<Vec<_>>(), ["GoldenImages/Win2022/A b.json", "Labs.json"]);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Directory::new("/no/such/folder").read().unwrap_err();
        assert!(error.to_string().contains("/no/such/folder"), "{error}");
    }
}
