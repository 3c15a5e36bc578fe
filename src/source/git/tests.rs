use git2::{Oid, Signature};

use super::*;
use crate::source::Local;

const FILE: i32 = 0o100_644;

/// A repository whose commits are made of nothing but objects: it needs no work tree.
struct Commits(Repository);

impl Commits {
    fn bare(path: &Path) -> Self {
        Self(Repository::init_bare(path).unwrap())
    }

    fn with_work_tree(path: &Path) -> Self {
        Self(Repository::init(path).unwrap())
    }

    /// A commit of exactly these files, with their modes, which this branch then leads to.
    fn commit_modes(&self, branch: &str, files: &[(&str, i32, &str)]) -> String {
        let mut index = git2::Index::new().unwrap();
        for (path, mode, content) in files {
            let id = match *mode {
                0o160_000 => Oid::from_str(&"c0ffee".repeat(7)[..40]).unwrap(),
                _ => self.0.blob(content.as_bytes()).unwrap(),
            };
            let time = git2::IndexTime::new(0, 0);
            let mode = u32::try_from(*mode).unwrap();
            let path = path.as_bytes().to_vec();
            #[rustfmt::skip]
            let entry = git2::IndexEntry {
                ctime: time, mtime: time, dev: 0, ino: 0, mode, uid: 0, gid: 0, file_size: 0, id, flags: 0, flags_extended: 0, path,
            };
            index.add(&entry).unwrap();
        }
        let tree = self.0.find_tree(index.write_tree_to(&self.0).unwrap()).unwrap();
        let author = Signature::now("Ada", "ada@example.org").unwrap();
        let reference = format!("refs/heads/{branch}");
        let parent = self.0.find_reference(&reference).ok().map(|parent| parent.peel_to_commit().unwrap());
        let parents: Vec<&Commit<'_>> = parent.iter().collect();
        let id = self.0.commit(Some(&reference), &author, &author, "Change images", &tree, &parents).unwrap();
        id.to_string()
    }

    fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let files: Vec<_> = files.iter().map(|(path, content)| (*path, FILE, *content)).collect();
        self.commit_modes(branch, &files)
    }
}

fn git(path: &Path, folder: &str) -> Git {
    Git::new(path, "main".parse().unwrap(), folder.parse().unwrap())
}

fn labs(files: &ConfigurationFiles) -> &str {
    std::str::from_utf8(&files.files["Labs.json"]).unwrap()
}

#[test]
fn a_bare_repository_has_the_files_of_every_commit_and_branch() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Commits::bare(folder.path());
    let first = commits
        .commit("main", &[("conf/Labs.json", "1"), ("conf/GoldenImages/Win/a.json", "{}"), ("x.json", "")]);
    let second = commits.commit("main", &[("conf/Labs.json", "2")]);
    let other = commits.commit("team/x", &[("conf/Labs.json", "3")]);
    let git = git(folder.path(), "conf");
    for (asked, expected) in [
        (Some(first.as_str()), "1"),
        (Some(&second), "2"),
        (None, "2"),
        (Some("main"), "2"),
        (Some("team/x"), "3"),
    ] {
        assert_eq!(labs(&git.read(asked).unwrap()), expected, "{asked:?}");
    }
    assert_eq!(
        git.read(Some(&first[..10])).unwrap().files.into_keys().collect::<Vec<_>>(),
        ["GoldenImages/Win/a.json", "Labs.json"]
    );
    assert_eq!(
        [None, Some("team/x"), Some(&first[..10])].map(|asked| git.commit_id(asked).unwrap()),
        [second, other, first]
    );
}

#[test]
fn links_and_submodules_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Commits::bare(folder.path());
    commits.commit_modes(
        "main",
        &[
            ("Labs.json", FILE, "{}"),
            ("factory.json", LINK_MODE, "/etc/passwd"),
            ("GoldenImages/a.json", LINK_MODE, "../x.json"),
            ("GoldenImages/b.json", 0o160_000, ""),
            ("GoldenImages/run.json", 0o100_755, "{}"),
        ],
    );
    let files = git(folder.path(), "").read(None).unwrap().files;
    assert_eq!(files.into_keys().collect::<Vec<_>>(), ["GoldenImages/run.json", "Labs.json"]);
}

#[test]
fn what_is_missing_is_named_with_where_it_was_looked_for_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Commits::bare(folder.path());
    let place = folder.path().display().to_string();
    let failure = |asked: Option<&str>, folder_of: &str| {
        let error = git(folder.path(), folder_of).read(asked).unwrap_err().to_string();
        assert!(error.contains(&place), "{error}");
        error
    };
    assert!(failure(None, "").contains("IMAGE_FACTORY_BRANCH"), "an empty repository");
    let commit = commits.commit("main", &[("conf/Labs.json", "{}")]);
    let unknown = "0123456789".repeat(4);
    assert!(failure(Some(&unknown), "conf").contains(&unknown));
    assert!(failure(Some("HEAD~1"), "conf").contains("git allows no"));
    let missing = failure(Some(&commit), "Conf");
    assert!(missing.contains(&format!("at commit {commit} has no folder Conf")), "{missing}");
    assert!(failure(None, "").contains("no Labs.json or GoldenImages at its top"));
    assert!(failure(None, "conf/Labs.json").contains("no folder"), "a file is no folder");
}

#[test]
fn files_of_one_name_in_two_spellings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    Commits::bare(folder.path()).commit("main", &[("Labs.json", "{}"), ("labs.json", "{}")]);
    let refused = git(folder.path(), "").read(None).unwrap_err().to_string();
    assert!(refused.contains("there twice"), "{refused}");
}

#[tokio::test]
async fn a_folder_of_a_work_tree_is_read_as_it_is_and_at_a_commit_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Commits::with_work_tree(folder.path());
    let commit = commits.commit("main", &[("conf/Labs.json", "committed")]);
    std::fs::create_dir(folder.path().join("conf")).unwrap();
    std::fs::write(folder.path().join("conf/Labs.json"), "not yet committed").unwrap();
    let branch = || "main".parse().unwrap();
    let inside = Local::new(folder.path().join("conf"), branch(), Folder::default());
    let from_top = Local::new(folder.path(), branch(), "conf".parse().unwrap());
    for local in [inside, from_top] {
        assert_eq!(labs(&local.fetch(None).await.unwrap()), "not yet committed");
        assert_eq!(local.resolve(None).await.unwrap(), None, "it is pinned by its files");
        assert_eq!(labs(&local.fetch(Some(&commit)).await.unwrap()), "committed");
        assert_eq!(local.resolve(Some("main")).await.unwrap(), Some(commit.clone()));
        assert_eq!(local.author(&commit).await.unwrap().as_deref(), Some("Ada"));
    }
}

#[tokio::test]
async fn a_plain_folder_has_no_commits_and_a_bare_repository_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Labs.json"), "{}").unwrap();
    let local = || Local::new(folder.path(), "main".parse().unwrap(), Folder::default());
    assert_eq!(labs(&local().fetch(None).await.unwrap()), "{}");
    for error in
        [local().fetch(Some("main")).await.unwrap_err(), local().resolve(Some("main")).await.unwrap_err()]
    {
        assert!(matches!(error, SourceError::NoCommits(_)), "{error}");
    }
    let bare = tempfile::tempdir().unwrap();
    let commit = Commits::bare(bare.path()).commit("main", &[("Labs.json", "bare")]);
    let local = Local::new(bare.path(), "main".parse().unwrap(), Folder::default());
    assert_eq!(local.resolve(None).await.unwrap(), Some(commit));
    assert_eq!(labs(&local.fetch(None).await.unwrap()), "bare");
    let gone = Local::new("/no/such/folder", "main".parse().unwrap(), Folder::default());
    assert!(gone.fetch(Some("main")).await.unwrap_err().to_string().contains("/no/such/folder"));
}

#[test]
fn a_file_that_is_too_large_is_refused_and_others_may_be_as_large_as_they_like() {
    let folder = tempfile::tempdir().unwrap();
    let commits = Commits::bare(folder.path());
    let large = " ".repeat((4 << 20) + 1);
    commits.commit("main", &[("Labs.json", "{}"), ("setup.exe", &large), ("GoldenImages/setup.exe", &large)]);
    assert_eq!(git(folder.path(), "").read(None).unwrap().files.len(), 1);
    commits.commit("main", &[("Labs.json", &large)]);
    let refused = git(folder.path(), "").read(None).unwrap_err().to_string();
    assert!(refused.contains("Labs.json is too large"), "{refused}");
}
