//! Configuration from a folder of this machine: as it is now, or at a commit if the folder lies in a git repository.

use std::path::PathBuf;

use async_trait::async_trait;

use super::{Directory, Folder, Git, Revision, Source, SourceError};
use crate::domain::config::ConfigurationFiles;

/// A folder, or a repository, bare or not.
#[derive(Clone, Debug)]
pub struct Local {
    directory: Directory,
    git: Git,
}

impl Local {
    /// The configuration in `folder` of `path`. Of a repository without a work tree `branch` counts where no commit is named.
    pub fn new(path: impl Into<PathBuf>, branch: Revision, folder: Folder) -> Self {
        let path = path.into();
        let inside = folder.names().iter().fold(path.clone(), |path, name| path.join(name));
        Self { directory: Directory::new(inside), git: Git::new(path, branch, folder) }
    }
}

#[async_trait]
impl Source for Local {
    async fn resolve(&self, asked: Option<&str>) -> Result<Option<String>, SourceError> {
        match asked.is_some() || self.git.is_bare() {
            true => self.git.resolve(asked).await,
            false => self.directory.resolve(asked).await,
        }
    }

    async fn author(&self, commit: &str) -> Result<Option<String>, SourceError> {
        self.git.author(commit).await
    }

    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        match commit.is_some() || self.git.is_bare() {
            true => self.git.fetch(commit).await,
            false => self.directory.fetch(commit).await,
        }
    }
}
