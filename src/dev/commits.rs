//! A repository of this machine whose commits start runs, as they do in Azure: a git host serves it and sends webhooks.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use factory_clock::Clock;
use git2::Repository;
use tokio::sync::mpsc;

use super::{
    control::Control,
    git_host::{
        Host, Kind,
        served::{Served, Told},
        webhook::Push,
    },
};
use crate::{
    domain::{Configuration, ConfigurationFiles, RunId},
    handler::{
        COMMIT,
        settings::{source, webhooks},
    },
    secret::Secret,
    source::{Folder, Git, Revision},
};

/// How often it is looked where the branch stands (real time). Looking reads one file: watching the file system would need to
/// know of loose and packed references, work trees and every kind of disk, and gain nothing that a person can notice.
const LOOK: Duration = Duration::from_millis(200);
/// How often a webhook is sent that is not taken, and how long after each time (real time).
const MOST_TRIES: u32 = 6;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);
/// Of an id, as people read it.
const SHORT_ID: usize = 10;
/// Random bytes of a secret.
const SECRET_BYTES: usize = 24;

/// Which repository.
#[derive(Debug, Args)]
pub struct RepositoryArguments {
    /// A git repository of this machine, bare or a folder of a work tree: the newest commit of its branch starts a run, and each
    /// further one does, as a push to a git host does.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "images", "labs"])]
    repo: Option<PathBuf>,
    /// The branch whose commits count; the one that HEAD leads to where it is not given.
    #[arg(long, requires = "repo")]
    branch: Option<Revision>,
    /// The folder with Labs.json and GoldenImages, seen from DIR.
    #[arg(long, requires = "repo", value_name = "FOLDER")]
    folder: Option<Folder>,
    /// Which git host serves it.
    #[arg(long, requires = "repo", value_enum, default_value = "github", value_name = "HOST")]
    git_host: Kind,
}

impl RepositoryArguments {
    /// Opens the repository and serves it; `None` if there is none to be watched.
    ///
    /// # Errors
    /// If it cannot be read, or cannot be served.
    pub async fn open(&self, clock: &Clock) -> anyhow::Result<Option<Commits>> {
        let Some(path) = &self.repo else { return Ok(None) };
        let found = Repository::discover(path)
            .with_context(|| format!("{} is in no git repository", path.display()))?;
        let top = found.workdir().unwrap_or_else(|| found.path()).to_path_buf();
        let served = Served::at(top.clone())?;
        let branch = match &self.branch {
            Some(branch) => branch.clone(),
            None => served.head()?.parse()?,
        };
        let git = Git::new(path, branch.clone(), self.folder.clone().unwrap_or_default());
        let folder = git.folder()?;
        let name = host_name(&top);
        let host = Host::listening(self.git_host, &name, served, clock.clone()).await?;
        let (token, secret) = (random_secret()?, random_secret()?);
        host.state().token = Some(token.expose().clone());
        Ok(Some(Commits { host, git, branch, folder, token, secret }))
    }
}

/// The repository's name at the host: its folder's, of letters that every host takes.
fn host_name(top: &std::path::Path) -> String {
    let name = top.canonicalize().unwrap_or_else(|_| top.to_path_buf());
    let name = name.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' };
    let name: String = name.trim_end_matches(".git").chars().map(kept).collect();
    if name.trim_matches('-').is_empty() { "images".to_owned() } else { name }
}

/// Letters that nobody guesses.
fn random_secret() -> anyhow::Result<Secret<String>> {
    let mut bytes = [0_u8; SECRET_BYTES];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

/// A repository that a git host serves.
pub struct Commits {
    /// The host.
    pub host: Host,
    git: Git,
    branch: Revision,
    folder: Folder,
    token: Secret<String>,
    secret: Secret<String>,
}

/// What came of a look at the branch.
#[derive(Debug)]
pub enum News {
    /// A run was asked for.
    Run {
        /// The commit in words.
        commit: Box<Told>,
        /// The run.
        run: RunId,
    },
    /// The factory, or the way to it, said something else.
    Said(String),
}

impl Commits {
    /// The app settings by which the factory fetches from this host and takes its webhooks.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            (source::REPOSITORY, self.host.address()),
            (source::BRANCH, self.branch.to_string()),
            (source::FOLDER, self.folder.to_string()),
            (source::TOKEN, self.token.expose().clone()),
        ];
        match self.host.kind() {
            Kind::GitHub => {
                settings.push((source::GITHUB_API, self.host.url.to_string()));
                settings.push((webhooks::GITHUB_WEBHOOK_SECRET, self.secret.expose().clone()));
            }
            Kind::AzureDevOps => {
                settings.push((webhooks::AZURE_DEVOPS_WEBHOOK_SECRET, self.secret.expose().clone()));
            }
        }
        settings
    }

    /// The branch whose commits count.
    pub fn branch(&self) -> &Revision {
        &self.branch
    }

    /// The newest commit, if there is one.
    ///
    /// # Errors
    /// If the repository cannot be read.
    pub fn newest(&self) -> anyhow::Result<Option<String>> {
        Ok(self.host.repository().newest(self.branch.as_str())?)
    }

    /// The configuration at a commit, if it is one that can be worked with: whatever is wrong with it is the run's to say.
    pub fn configuration(&self, commit: &str) -> Option<Configuration> {
        let files: ConfigurationFiles = self.git.read(Some(commit)).ok()?;
        let (configuration, problems) = Configuration::load(&files);
        configuration.filter(|_| !problems.has_errors())
    }

    /// Sends the webhook that the host sends for a move of the branch, and answers what the factory makes of it.
    async fn push(&self, before: Option<&str>, after: Option<&str>, functions: &str) -> anyhow::Result<News> {
        let reference = format!("refs/heads/{}", self.branch);
        let push = Push { reference, before: before.map(str::to_owned), after: after.map(str::to_owned) };
        let delivery = self.host.pushed(&push, &self.secret)?;
        let (status, body) = delivery.post(&format!("{functions}/api/{COMMIT}")).await?;
        let told = after.map(|after| self.host.repository().tell(after)).transpose()?.flatten();
        match (told, body["run"].as_str().map(RunId::parse)) {
            (Some(commit), Some(Ok(run))) if status.is_success() => {
                Ok(News::Run { commit: Box::new(commit), run })
            }
            _ if status.is_success() => Ok(News::Said(format!("the factory says {body}"))),
            _ => bail!("the factory refuses the webhook of a push: {status} {body}"),
        }
    }

    /// Proves that the host reaches the factory, as its first delivery does.
    ///
    /// # Errors
    /// If it does not.
    pub async fn ping(&self, functions: &str) -> anyhow::Result<()> {
        let Some(ping) = self.host.ping(&self.secret) else { return Ok(()) };
        let (status, body) = ping.post(&format!("{functions}/api/{COMMIT}")).await?;
        if !status.is_success() {
            bail!("the factory refuses the webhook's ping: {status} {body}");
        }
        Ok(())
    }
}

/// Tells of every move of the branch until nobody listens any more; of the first one alone if `once`.
pub async fn watch(
    commits: Arc<Commits>,
    control: Control,
    functions: String,
    tell: mpsc::UnboundedSender<News>,
    once: bool,
) {
    let mut known: Option<String> = None;
    let mut tries = 0;
    while !tell.is_closed() {
        // A repository that cannot be read at this moment can be at the next one.
        let newest = commits.newest().unwrap_or_else(|_| known.clone());
        if newest != known {
            tries += 1;
            let news = match moved(&commits, &control, known.as_deref(), newest.as_deref(), &functions).await
            {
                Ok(news) => news,
                // As with the button "Redeliver": the handler may just be starting anew.
                Err(_) if tries < MOST_TRIES => {
                    tokio::time::sleep(BETWEEN_TRIES).await;
                    continue;
                }
                Err(error) => News::Said(format!("{error:#}; commit again to try again")),
            };
            // Whoever listened is on the way out.
            let _ = tell.send(news);
            (known, tries) = (newest, 0);
            if once {
                return;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn moved(
    commits: &Commits,
    control: &Control,
    before: Option<&str>,
    after: Option<&str>,
    functions: &str,
) -> anyhow::Result<News> {
    // A lab that somebody added to Labs.json is one that exists.
    if let Some(configuration) = after.and_then(|after| commits.configuration(after)) {
        control.add_labs(&configuration).await?;
    }
    commits.push(before, after, functions).await
}

/// A commit in one line, as `git log --oneline` tells it, with who wrote it.
pub fn one_line(commit: &Told) -> String {
    let subject = commit.message.lines().next().unwrap_or_default();
    format!("{:.SHORT_ID$} by {}: {subject}", commit.id, commit.author.name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::handler::{Webhooks, settings::source::SourceSettings};

    async fn open(path: PathBuf, git_host: Kind) -> anyhow::Result<Commits> {
        let arguments = RepositoryArguments { repo: Some(path), branch: None, folder: None, git_host };
        Ok(arguments.open(&Clock::system()).await?.expect("a repository was named"))
    }

    fn work_tree() -> (tempfile::TempDir, Served, String) {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("golden images");
        Repository::init_opts(&top, git2::RepositoryInitOptions::new().initial_head("trunk")).unwrap();
        std::fs::create_dir(top.join("conf")).unwrap();
        let served = Served::at(top).unwrap();
        let commit = served.commit("trunk", &[("conf/Labs.json", r#"{"Labs": []}"#)]).unwrap();
        (folder, served, commit)
    }

    #[tokio::test]
    async fn the_handler_takes_the_settings_of_a_folder_in_a_work_tree_and_its_branch() {
        for kind in [Kind::GitHub, Kind::AzureDevOps] {
            let (folder, _, commit) = work_tree();
            let commits = open(folder.path().join("golden images/conf"), kind).await.unwrap();
            let settings: BTreeMap<_, _> = commits.settings().into_iter().collect();
            assert_eq!(
                (settings[source::BRANCH].as_str(), settings[source::FOLDER].as_str()),
                ("trunk", "conf")
            );
            assert!(
                settings[source::REPOSITORY].ends_with("golden-images"),
                "{}",
                settings[source::REPOSITORY]
            );
            let mut problems = Vec::new();
            let get = |name: &str| settings.get(name).map(String::as_str);
            let taken = SourceSettings::read(get, &mut problems);
            assert!(taken.is_some(), "{problems:?}");
            let owned = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            assert!(
                matches!(Webhooks::read(&owned), Webhooks::Taken(hook) if hook.watched.branch == "trunk")
            );
            assert_eq!(commits.newest().unwrap(), Some(commit.clone()));
            assert!(commits.configuration(&commit).is_none(), "it has no images");
        }
    }

    #[tokio::test]
    async fn a_head_that_leads_to_no_branch_says_what_to_do() {
        let (folder, served, commit) = work_tree();
        let top = folder.path().join("golden images");
        Repository::open(&top).unwrap().set_head_detached(commit.parse().unwrap()).unwrap();
        let error = open(top, Kind::GitHub).await.err().unwrap().to_string();
        assert!(error.contains("HEAD") && error.contains("--branch"), "{error}");
        assert_eq!(served.newest("trunk").unwrap(), Some(commit));
    }
}
