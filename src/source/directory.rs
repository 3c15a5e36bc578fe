//! Configuration from a folder of this machine, as it is now.

use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::{
    Source, SourceError,
    selection::{Selection, check_depth, kept_as, leads_on},
};
use crate::domain::config::ConfigurationFiles;

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
        let mut selection = Selection::of(self.root.display().to_string());
        // Reports a missing folder itself, instead of one missing file after the other.
        let entries = std::fs::read_dir(&self.root).map_err(|error| unreadable(&self.root, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(&self.root, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(kept) = kept_as(&name) {
                keep(&entry.path(), kept, &mut selection)?;
            } else if leads_on(&name) {
                descend(&entry.path(), &name, 1, &mut selection)?;
            }
        }
        Ok(selection.into_files())
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

fn descend(folder: &Path, name: &str, depth: usize, selection: &mut Selection) -> Result<(), SourceError> {
    check_depth(&folder.display().to_string(), depth)?;
    for entry in std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let entry = entry.map_err(|error| unreadable(folder, &error))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| unreadable(&path, &error))?;
        let name = format!("{name}/{}", entry.file_name().to_string_lossy());
        // Links are left alone: they may lead out of the configuration.
        if kind.is_dir() {
            descend(&path, &name, depth + 1, selection)?;
        } else if kind.is_file()
            && let Some(kept) = kept_as(&name)
        {
            keep(&path, kept, selection)?;
        }
    }
    Ok(())
}

fn keep(path: &Path, name: String, selection: &mut Selection) -> Result<(), SourceError> {
    let file = std::fs::File::open(path).map_err(|error| unreadable(path, &error))?;
    selection.keep(name, &path.display().to_string(), file)
}

fn unreadable(path: &Path, error: &std::io::Error) -> SourceError {
    SourceError::Unreadable { path: path.display().to_string(), reason: error.to_string() }
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
