//! Configuration from a git repository of this machine, at a commit. No work tree is needed, and one that is there is not looked at.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use git2::{Commit, ErrorCode, ObjectType, Repository, Tree};

use super::{
    Folder, Revision, Source, SourceError,
    selection::{Selection, check_depth, check_size, kept_as, leads_on},
};
use crate::domain::{commit_event::author_name, config::ConfigurationFiles};

/// What a tree's entry is if it is a link: its text says where it leads.
const LINK_MODE: i32 = 0o120_000;

/// A repository, bare or not, or a folder inside of one's work tree.
#[derive(Clone, Debug)]
pub struct Git {
    path: PathBuf,
    branch: Revision,
    folder: Folder,
}

impl Git {
    /// The repository at `path`, or the one that this is a folder of. `branch` is what counts where no commit is named;
    /// `folder` has the configuration, seen from `path`.
    pub fn new(path: impl Into<PathBuf>, branch: Revision, folder: Folder) -> Self {
        Self { path: path.into(), branch, folder }
    }

    /// The id of a commit.
    ///
    /// # Errors
    /// If the repository cannot be read or has no such commit.
    pub fn commit_id(&self, asked: Option<&str>) -> Result<String, SourceError> {
        Ok(self.commit(&self.open()?, asked)?.id().to_string())
    }

    /// The files at a commit.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit, or no configuration in it.
    pub fn read(&self, asked: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        let repository = self.open()?;
        let commit = self.commit(&repository, asked)?;
        let folder = self.folder_in(&repository)?;
        let place = format!("{} at commit {}", self.path.display(), commit.id());
        let failed = |error: git2::Error| unreadable(&place, &error);
        let mut tree = Some(commit.tree().map_err(failed)?);
        for name in folder.names() {
            tree = match tree {
                Some(tree) => below(&repository, &tree, name).map_err(failed)?,
                None => None,
            };
        }
        let mut selection = Selection::of(place.as_str());
        if let Some(tree) = &tree {
            Walk { repository: &repository, place: &place }.descend(tree, "", &mut selection)?;
        }
        selection.found(&folder, tree.is_some())
    }

    /// The configuration's folder, seen from the top of the repository.
    ///
    /// # Errors
    /// If there is no repository.
    pub fn folder(&self) -> Result<Folder, SourceError> {
        self.folder_in(&self.open()?)
    }

    /// Whether the repository has no work tree, so that there are no files but at a commit.
    pub(super) fn is_bare(&self) -> bool {
        Repository::open(&self.path).is_ok_and(|repository| repository.is_bare())
    }

    fn open(&self) -> Result<Repository, SourceError> {
        Repository::discover(&self.path).map_err(|error| match error.code() {
            ErrorCode::NotFound if self.path.is_dir() => {
                SourceError::NoCommits(self.path.display().to_string())
            }
            _ => unreadable(&self.path.display().to_string(), &error),
        })
    }

    /// Where in the repository the configuration lies.
    fn folder_in(&self, repository: &Repository) -> Result<Folder, SourceError> {
        let real = |path: &Path| {
            path.canonicalize().map_err(|error| SourceError::Unreadable {
                path: path.display().to_string(),
                reason: error.to_string(),
            })
        };
        let inside = match repository.workdir() {
            Some(top) => {
                real(&self.path)?.strip_prefix(real(top)?).map(Path::to_path_buf).unwrap_or_default()
            }
            None => PathBuf::new(),
        };
        format!("{}/{}", inside.display(), self.folder).parse().map_err(|bad: super::BadPlace| {
            SourceError::Malformed { place: self.path.display().to_string(), reason: bad.to_string() }
        })
    }

    fn commit<'r>(&self, repository: &'r Repository, asked: Option<&str>) -> Result<Commit<'r>, SourceError> {
        let place = self.path.display().to_string();
        let revision = self.branch.or(asked, &place)?;
        // A branch comes before a tag of its name.
        let branch = repository.find_reference(&format!("refs/heads/{revision}"));
        let found = match branch {
            Ok(branch) => branch.peel_to_commit(),
            Err(_) => {
                repository.revparse_single(revision.as_str()).and_then(|object| object.peel_to_commit())
            }
        };
        found.map_err(|error| match error.code() {
            ErrorCode::NotFound | ErrorCode::Ambiguous | ErrorCode::InvalidSpec | ErrorCode::Peel => {
                let what = format!("commit or branch {revision} ({})", error.message());
                let advice = match asked {
                    Some(_) => "fetch it there, or start the run with one that it has",
                    None => "commit to this branch, or set IMAGE_FACTORY_BRANCH to the one that counts",
                };
                SourceError::Missing { place, what, advice: advice.to_owned() }
            }
            _ => unreadable(&place, &error),
        })
    }
}

#[async_trait]
impl Source for Git {
    async fn resolve(&self, asked: Option<&str>) -> Result<Option<String>, SourceError> {
        let asked = asked.map(str::to_owned);
        self.aside(move |git| git.commit_id(asked.as_deref()).map(Some)).await
    }

    async fn author(&self, commit: &str) -> Result<Option<String>, SourceError> {
        let commit = commit.to_owned();
        self.aside(move |git| {
            let repository = git.open()?;
            let commit = git.commit(&repository, Some(&commit))?;
            Ok(author_name(Some(&String::from_utf8_lossy(commit.author().name_bytes()))))
        })
        .await
    }

    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        let commit = commit.map(str::to_owned);
        self.aside(move |git| git.read(commit.as_deref())).await
    }
}

impl Git {
    /// Works where waiting for a disk holds nobody up.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let (git, path) = (self.clone(), self.path.display().to_string());
        let failed =
            |error: tokio::task::JoinError| SourceError::Unreadable { path, reason: error.to_string() };
        tokio::task::spawn_blocking(move || work(&git)).await.map_err(failed)?
    }
}

/// The folder of this name in a folder.
fn below<'r>(
    repository: &'r Repository,
    tree: &Tree<'_>,
    name: &str,
) -> Result<Option<Tree<'r>>, git2::Error> {
    let entry = tree.get_name(name).filter(|entry| entry.kind() == Some(ObjectType::Tree));
    entry.map(|entry| repository.find_tree(entry.id())).transpose()
}

struct Walk<'a> {
    repository: &'a Repository,
    place: &'a str,
}

impl Walk<'_> {
    /// Keeps what is a configuration's in a folder, whose name ends with a slash.
    fn descend(&self, tree: &Tree<'_>, folder: &str, selection: &mut Selection) -> Result<(), SourceError> {
        check_depth(&format!("{folder} in {}", self.place), folder.matches('/').count())?;
        for entry in tree {
            let name = format!("{folder}{}", String::from_utf8_lossy(entry.name_bytes()));
            let failed = |error: git2::Error| unreadable(&format!("{name} in {}", self.place), &error);
            // Links are left alone: they may lead out of the configuration. So are other repositories (submodules).
            if entry.kind() == Some(ObjectType::Tree) && leads_on(&name) {
                let below = self.repository.find_tree(entry.id()).map_err(failed)?;
                self.descend(&below, &format!("{name}/"), selection)?;
            } else if entry.kind() == Some(ObjectType::Blob)
                && entry.filemode() != LINK_MODE
                && let Some(kept) = kept_as(&name)
            {
                // Looked at before it is in memory.
                let (size, _) =
                    self.repository.odb().and_then(|all| all.read_header(entry.id())).map_err(failed)?;
                check_size(&name, size as u64)?;
                let blob = self.repository.find_blob(entry.id()).map_err(failed)?;
                selection.keep(kept, &name, blob.content())?;
            }
        }
        Ok(())
    }
}

fn unreadable(path: &str, error: &git2::Error) -> SourceError {
    SourceError::Unreadable { path: path.to_owned(), reason: error.message().to_owned() }
}

#[cfg(test)]
mod tests;
