//! The git repository that a host serves.

use std::{
    collections::BTreeSet,
    io::{Cursor, Write as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use anyhow::Context as _;
use git2::{
    Commit, ErrorCode, Index, IndexEntry, IndexTime, ObjectType, Oid, Repository, Signature, Time, Tree,
};
use tempfile::TempDir;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use zip::{ZipWriter, write::SimpleFileOptions};

/// What a tree's entry is if it is a link.
const LINK_MODE: i32 = 0o120_000;
const FILE_MODE: u32 = 0o100_644;
/// When the first commit of a repository of [`Served::new`] was made, and each following one a second later: the same commits
/// have the same ids whenever they are made. 2026-01-01.
const FIRST_COMMIT: i64 = 1_767_225_600;
/// A part of an id that git hosts take for the whole.
const SHORTEST_ID: usize = 7;
/// Of a push no more commits are told of (GitHub, "Webhook events and payloads": 2,048).
const MOST_TOLD: usize = 2048;

/// A repository, bare or with a work tree, which is not looked at.
#[derive(Clone)]
pub struct Served {
    path: PathBuf,
    _own: Option<Arc<TempDir>>,
    commits: Arc<AtomicI64>,
}

/// A commit in words.
#[derive(Clone, Debug)]
pub struct Told {
    /// Its id.
    pub id: String,
    /// Its files' id.
    pub tree: String,
    /// Its whole message.
    pub message: String,
    /// Who wrote it.
    pub author: Person,
    /// Who committed it.
    pub committer: Person,
    /// What it follows.
    pub parents: Vec<String>,
}

/// Who, and when.
#[derive(Clone, Debug)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
    /// When, as RFC 3339 writes it.
    pub date: String,
}

impl Served {
    /// The repository at this path.
    ///
    /// # Errors
    /// If there is none.
    pub fn at(path: PathBuf) -> anyhow::Result<Self> {
        Repository::open(&path).with_context(|| format!("{} is no git repository", path.display()))?;
        Ok(Self { path, _own: None, commits: Arc::default() })
    }

    /// A new bare one, which goes with the last of its copies.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn new() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        Repository::init_bare(folder.path())?;
        let path = folder.path().to_path_buf();
        Ok(Self { path, _own: Some(Arc::new(folder)), commits: Arc::default() })
    }

    fn open(&self) -> Result<Repository, git2::Error> {
        Repository::open(&self.path)
    }

    /// Commits exactly these files to a branch, by Ada Lovelace, and answers the commit's id.
    ///
    /// # Errors
    /// If the repository cannot be written.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> Result<String, git2::Error> {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, text.as_bytes())).collect();
        self.commit_by("Ada Lovelace", branch, &files)
    }

    /// The same, by somebody else.
    ///
    /// # Errors
    /// If the repository cannot be written.
    pub fn commit_by(
        &self,
        author: &str,
        branch: &str,
        files: &[(&str, &[u8])],
    ) -> Result<String, git2::Error> {
        let repository = self.open()?;
        let reference = format!("refs/heads/{branch}");
        let parent =
            repository.find_reference(&reference).ok().and_then(|reference| reference.peel_to_commit().ok());
        let id = self.commit_onto(&repository, author, parent.as_ref(), files)?;
        repository.reference(&reference, id, true, "commit")?;
        Ok(id.to_string())
    }

    /// Puts a commit of these files in the place of the branch's newest one, as `git commit --amend` does, and answers its id.
    ///
    /// # Errors
    /// If the repository cannot be written, or the branch is not there.
    pub fn amend(&self, branch: &str, files: &[(&str, &[u8])]) -> Result<String, git2::Error> {
        let repository = self.open()?;
        let reference = format!("refs/heads/{branch}");
        let newest = repository.find_reference(&reference)?.peel_to_commit()?;
        let id = self.commit_onto(&repository, "Ada Lovelace", newest.parent(0).ok().as_ref(), files)?;
        repository.reference(&reference, id, true, "amend")?;
        Ok(id.to_string())
    }

    fn commit_onto(
        &self,
        repository: &Repository,
        author: &str,
        parent: Option<&Commit<'_>>,
        files: &[(&str, &[u8])],
    ) -> Result<Oid, git2::Error> {
        let mut index = Index::new()?;
        for (path, content) in files {
            let (id, time) = (repository.blob(content)?, IndexTime::new(0, 0));
            let path = path.as_bytes().to_vec();
            #[rustfmt::skip]
            index.add(&IndexEntry {
                ctime: time, mtime: time, dev: 0, ino: 0, mode: FILE_MODE, uid: 0, gid: 0, file_size: 0, id, flags: 0,
                flags_extended: 0, path,
            })?;
        }
        let tree = repository.find_tree(index.write_tree_to(repository)?)?;
        let when = FIRST_COMMIT + self.commits.fetch_add(1, Ordering::Relaxed);
        let who = Signature::new(author, "ada@example.org", &Time::new(when, 0))?;
        let parents: Vec<&Commit<'_>> = parent.into_iter().collect();
        repository.commit(None, &who, &who, "Change images", &tree, &parents)
    }

    /// Moves a branch to a commit, or takes it away.
    ///
    /// # Errors
    /// If the repository cannot be written.
    pub fn move_branch(&self, branch: &str, to: Option<&str>) -> Result<(), git2::Error> {
        let repository = self.open()?;
        let name = format!("refs/heads/{branch}");
        match to {
            Some(commit) => repository.reference(&name, Oid::from_str(commit)?, true, "reset").map(drop),
            None => repository.find_reference(&name)?.delete(),
        }
    }

    /// The branch that `HEAD` leads to, whether it has commits or not.
    ///
    /// # Errors
    /// If the repository cannot be read, or `HEAD` leads to no branch.
    pub fn head(&self) -> anyhow::Result<String> {
        let repository = self.open()?;
        let head = repository.find_reference("HEAD")?;
        let target = head.symbolic_target().ok().flatten();
        let branch = target.and_then(|target| target.strip_prefix("refs/heads/")).map(str::to_owned);
        branch.with_context(|| {
            format!("HEAD of {} leads to no branch; name one with --branch", self.path.display())
        })
    }

    /// All branches with their newest commits.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn branches(&self) -> Result<Vec<(String, String)>, git2::Error> {
        let repository = self.open()?;
        let mut found = Vec::new();
        for reference in repository.references_glob("refs/heads/*")? {
            let reference = reference?;
            let commit = reference.peel_to_commit()?.id().to_string();
            let name = String::from_utf8_lossy(reference.name_bytes()).into_owned();
            found.push((name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned(), commit));
        }
        Ok(found)
    }

    /// The newest commit of a branch; `None` where there is no such branch.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn newest(&self, branch: &str) -> Result<Option<String>, git2::Error> {
        let repository = self.open()?;
        match repository.find_reference(&format!("refs/heads/{branch}")) {
            Ok(reference) => Ok(Some(reference.peel_to_commit()?.id().to_string())),
            // What is no branch's name is no branch.
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The commit that this names: a branch, an id, or the beginning of one.
    pub(super) fn named(&self, revision: &str) -> Result<Option<String>, git2::Error> {
        if let Some(commit) = self.newest(revision)? {
            return Ok(Some(commit));
        }
        let is_id = revision.len() >= SHORTEST_ID && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
        let repository = self.open()?;
        let commit = is_id.then(|| repository.find_commit_by_prefix(revision).ok()).flatten();
        Ok(commit.map(|commit| commit.id().to_string()))
    }

    /// What a commit says; `None` where there is no such commit.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn tell(&self, commit: &str) -> Result<Option<Told>, git2::Error> {
        let repository = self.open()?;
        let Ok(id) = Oid::from_str(commit) else { return Ok(None) };
        match repository.find_commit(id) {
            Ok(commit) => Ok(Some(told(&commit))),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The commits that a move of a branch added, oldest first, and whether it left some behind (a forced push).
    ///
    /// # Errors
    /// If the repository cannot be read or has no such commit.
    pub fn between(&self, before: Option<&str>, after: &str) -> Result<(Vec<Told>, bool), git2::Error> {
        let repository = self.open()?;
        let after = Oid::from_str(after)?;
        let mut walk = repository.revwalk()?;
        walk.set_sorting(git2::Sort::TOPOLOGICAL)?;
        walk.push(after)?;
        let before = before.map(Oid::from_str).transpose()?;
        let mut is_forced = false;
        if let Some(before) = before {
            // A commit that was thrown away meanwhile hides nothing.
            if repository.find_commit(before).is_ok() {
                walk.hide(before)?;
                is_forced = before != after && !repository.graph_descendant_of(after, before)?;
            }
        }
        let mut added = Vec::new();
        for id in walk.take(MOST_TOLD) {
            added.push(told(&repository.find_commit(id?)?));
        }
        added.reverse();
        Ok((added, is_forced))
    }

    /// An archive of a commit's files, each below `top`, with an entry for every folder as git makes them.
    pub(super) fn zipped(&self, commit: &str, top: &str) -> anyhow::Result<Vec<u8>> {
        let repository = self.open()?;
        let tree = repository.find_commit(Oid::from_str(commit)?)?.tree()?;
        let mut archive =
            Archive { writer: ZipWriter::new(Cursor::new(Vec::new())), folders: BTreeSet::new() };
        for (at, _) in top.match_indices('/') {
            archive.folder(&top[..at])?;
        }
        archive.add(&repository, &tree, top)?;
        Ok(archive.writer.finish()?.into_inner())
    }
}

fn told(commit: &Commit<'_>) -> Told {
    Told {
        id: commit.id().to_string(),
        tree: commit.tree_id().to_string(),
        message: String::from_utf8_lossy(commit.message_bytes()).into_owned(),
        author: person(&commit.author()),
        committer: person(&commit.committer()),
        parents: commit.parent_ids().map(|id| id.to_string()).collect(),
    }
}

fn person(signature: &Signature<'_>) -> Person {
    let when = signature.when();
    let offset = UtcOffset::from_whole_seconds(when.offset_minutes() * 60).unwrap_or(UtcOffset::UTC);
    let date = OffsetDateTime::from_unix_timestamp(when.seconds()).map(|date| date.to_offset(offset));
    Person {
        name: String::from_utf8_lossy(signature.name_bytes()).into_owned(),
        email: String::from_utf8_lossy(signature.email_bytes()).into_owned(),
        date: date.ok().and_then(|date| date.format(&Rfc3339).ok()).unwrap_or_default(),
    }
}

struct Archive {
    writer: ZipWriter<Cursor<Vec<u8>>>,
    folders: BTreeSet<String>,
}

impl Archive {
    fn folder(&mut self, name: &str) -> anyhow::Result<()> {
        if self.folders.insert(name.to_owned()) {
            self.writer.add_directory(name, SimpleFileOptions::default())?;
        }
        Ok(())
    }

    fn add(&mut self, repository: &Repository, tree: &Tree<'_>, top: &str) -> anyhow::Result<()> {
        for entry in tree {
            let name = format!("{top}{}", String::from_utf8_lossy(entry.name_bytes()));
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    self.folder(&name)?;
                    self.add(repository, &repository.find_tree(entry.id())?, &format!("{name}/"))?;
                }
                Some(ObjectType::Blob) => {
                    let blob = repository.find_blob(entry.id())?;
                    let options = SimpleFileOptions::default();
                    if entry.filemode() == LINK_MODE {
                        self.writer.add_symlink(name, String::from_utf8_lossy(blob.content()), options)?;
                    } else {
                        self.writer.start_file(name, options)?;
                        self.writer.write_all(blob.content())?;
                    }
                }
                // Another repository (submodule): neither host puts it in.
                _ => self.folder(&name)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use zip::ZipArchive;

    use super::*;

    #[test]
    fn the_same_commits_have_the_same_ids_whenever_they_are_made() {
        let ids = || {
            let served = Served::new().unwrap();
            [served.commit("main", &[("a", "1")]).unwrap(), served.commit("main", &[("a", "2")]).unwrap()]
        };
        assert_eq!(ids(), ids());
    }

    #[test]
    fn what_a_push_added_is_told_from_what_it_threw_away() {
        let served = Served::new().unwrap();
        let first = served.commit("main", &[("a", "1")]).unwrap();
        let second = served.commit("main", &[("a", "2")]).unwrap();
        let third = served.commit("main", &[("a", "3")]).unwrap();
        let between = |before: Option<&str>, after: &str| {
            let (added, is_forced) = served.between(before, after).unwrap();
            (added.into_iter().map(|told| told.id).collect::<Vec<_>>(), is_forced)
        };
        assert_eq!(between(Some(&first), &third), (vec![second.clone(), third.clone()], false));
        assert_eq!(between(Some(&third), &first), (Vec::new(), true));
        let instead = served.amend("main", &[("a", b"4")]).unwrap();
        assert_eq!(between(Some(&third), &instead), (vec![instead.clone()], true));
        assert_eq!(between(None, &instead), (vec![first, second, instead.clone()], false));
        assert_eq!(between(Some(&"1".repeat(40)), &instead).0.len(), 3, "a commit that nobody has any more");
    }

    #[test]
    fn commits_are_found_by_branch_and_id_and_by_no_expression() {
        let served = Served::new().unwrap();
        let first = served.commit("main", &[("a", "1")]).unwrap();
        let newest = served.commit("main", &[("a", "2")]).unwrap();
        let named = |revision: &str| served.named(revision).unwrap();
        assert_eq!(named("main"), Some(newest));
        assert_eq!([named(&first), named(&first[..7])], [Some(first.clone()), Some(first.clone())]);
        for nothing in [&first[..6], "HEAD~1", "main^", "refs/heads/main", "", &"0".repeat(40)] {
            assert_eq!(named(nothing), None, "{nothing}");
        }
        served.move_branch("main", None).unwrap();
        assert_eq!((named("main"), served.head().is_ok()), (None, true), "HEAD still leads there");
    }

    #[test]
    fn an_archive_has_links_as_links_and_of_submodules_a_folder() {
        let served = Served::new().unwrap();
        let repository = served.open().unwrap();
        let mut index = Index::new().unwrap();
        let text = repository.blob(b"../other").unwrap();
        let modes =
            [("conf/link", 0o120_000, text), ("conf/file", FILE_MODE, text), ("module", 0o160_000, text)];
        for (path, mode, id) in modes {
            let (time, path) = (IndexTime::new(0, 0), path.as_bytes().to_vec());
            #[rustfmt::skip]
            index.add(&IndexEntry {
                ctime: time, mtime: time, dev: 0, ino: 0, mode, uid: 0, gid: 0, file_size: 0, id, flags: 0, flags_extended: 0, path,
            }).unwrap();
        }
        let tree = repository.find_tree(index.write_tree_to(&repository).unwrap()).unwrap();
        let who = Signature::now("Ada", "ada@example.org").unwrap();
        let commit = repository.commit(Some("refs/heads/main"), &who, &who, "links", &tree, &[]).unwrap();
        let zip = served.zipped(&commit.to_string(), "top/").unwrap();
        let mut archive = ZipArchive::new(Cursor::new(zip)).unwrap();
        let mut found = Vec::new();
        for at in 0..archive.len() {
            let entry = archive.by_index(at).unwrap();
            found.push((entry.name().unwrap().into_owned(), entry.is_symlink()));
        }
        let expected = [
            ("top/", false),
            ("top/conf/", false),
            ("top/conf/file", false),
            ("top/conf/link", true),
            ("top/module/", false),
        ];
        assert_eq!(found, expected.map(|(name, is_link)| (name.to_owned(), is_link)));
    }
}
