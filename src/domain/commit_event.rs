//! What a Git host tells about commits, and whether a run follows from it.
//!
//! The host's words are read once into [`CommitEvent`]; [`decide`] says what it means. Nothing here proves who sent it.

mod azure_devops;
mod github;
mod repository;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::Deserialize;

pub use repository::PushedRepository;

use super::Repository;

/// Digits of a commit's SHA-1 hash.
const COMMIT_DIGITS: usize = 40;
/// Of a name that somebody outside chose, no more than this is kept or repeated, in characters.
const LONGEST_NAME: usize = 100;
/// What the full name of a branch begins with.
const BRANCHES: &str = "refs/heads/";
/// What the full name of a tag begins with.
const TAGS: &str = "refs/tags/";

/// A commit's whole hash: 40 hexadecimal digits, in lower case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CommitId(String);

/// Why a text is no commit's hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a commit is named by its whole hash of {COMMIT_DIGITS} hexadecimal digits that are not all zero")]
pub struct BadCommitId;

impl CommitId {
    /// Reads a hash.
    ///
    /// # Errors
    /// If it has other than 40 hexadecimal digits, or is Git's null hash.
    pub fn parse(text: &str) -> Result<Self, BadCommitId> {
        match AfterPush::parse(text)? {
            AfterPush::At(commit) => Ok(commit),
            AfterPush::Gone => Err(BadCommitId),
        }
    }

    /// The hash's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a branch or tag stands after a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AfterPush {
    /// At this commit.
    At(CommitId),
    /// It was deleted: both hosts write a hash of zeros.
    Gone,
}

impl AfterPush {
    fn parse(text: &str) -> Result<Self, BadCommitId> {
        if text.len() != COMMIT_DIGITS || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(BadCommitId);
        }
        let is_gone = text.bytes().all(|digit| digit == b'0');
        Ok(if is_gone { Self::Gone } else { Self::At(CommitId(text.to_ascii_lowercase())) })
    }
}

/// What a host tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitEvent {
    /// Branches or tags were moved.
    Push(Push),
    /// GitHub's first delivery of a new webhook.
    Ping,
    /// Something that no run follows from, by the host's word for it.
    Other(String),
}

/// Branches or tags that were moved by one push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Push {
    /// Where.
    pub repository: PushedRepository,
    /// Which: GitHub tells of one, Azure DevOps of all that were pushed at once.
    pub updates: Vec<RefUpdate>,
}

/// One branch or tag that was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefUpdate {
    /// Its full name, such as `refs/heads/main`.
    pub name: String,
    /// Where it stands now.
    pub after: AfterPush,
    /// Who wrote that commit, if the host tells.
    pub author: Option<String>,
}

/// Why a body is no event.
#[derive(Debug, thiserror::Error)]
#[error("the body is no event of {host}: {reason}")]
pub struct MalformedEvent {
    host: &'static str,
    reason: String,
}

impl CommitEvent {
    /// Reads what GitHub sent under the header `X-GitHub-Event`
    /// (GitHub, "Webhook events and payloads").
    ///
    /// # Errors
    /// If a push's body is none.
    pub fn of_github(event: &str, body: &[u8]) -> Result<Self, MalformedEvent> {
        github::read(event, body).map_err(|reason| MalformedEvent { host: "GitHub", reason })
    }

    /// Reads what a service hook of Azure DevOps sent (Microsoft, "Service hooks events", Code pushed).
    ///
    /// # Errors
    /// If the body is no event, or a push without its details.
    pub fn of_azure_devops(body: &[u8]) -> Result<Self, MalformedEvent> {
        azure_devops::read(body).map_err(|reason| MalformedEvent { host: "Azure DevOps", reason })
    }
}

/// The branch whose commits start runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The repository.
    pub repository: Repository,
    /// The branch's name without `refs/heads/`; case matters.
    pub branch: String,
}

/// A commit that a run is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCommit {
    /// The commit.
    pub commit: CommitId,
    /// Who wrote it, if known.
    pub author: Option<String>,
}

/// What follows from an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A run of this commit.
    Start(NewCommit),
    /// Nothing, and why.
    Ignore(Ignored),
}

/// Why nothing follows from an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ignored {
    /// GitHub asks whether anybody is there.
    #[error("a ping: the webhook works")]
    Ping,
    /// Not a push.
    #[error("'{0}' is no push")]
    NoPush(String),
    /// A push elsewhere. Also what the button "Test" of Azure DevOps sends.
    #[error("a push to {0}, which is not the configured repository")]
    OtherRepository(String),
    /// A push to a tag alone.
    #[error("a push of the tag {0}: only the branch {1} counts")]
    Tag(String, String),
    /// A push to other branches.
    #[error("a push to {0}: only the branch {1} counts")]
    OtherBranch(String, String),
    /// The branch is gone.
    #[error("the branch {0} was deleted")]
    Deleted(String),
}

/// Says what follows from `event`. A forced push is a push: the run is of the commit after it.
pub fn decide(event: CommitEvent, watched: &Watched) -> Decision {
    let push = match event {
        CommitEvent::Push(push) => push,
        CommitEvent::Ping => return Decision::Ignore(Ignored::Ping),
        CommitEvent::Other(name) => return Decision::Ignore(Ignored::NoPush(name)),
    };
    if !push.repository.is(&watched.repository) {
        return Decision::Ignore(Ignored::OtherRepository(push.repository.to_string()));
    }
    let is_watched =
        |update: &&RefUpdate| update.name.strip_prefix(BRANCHES).is_some_and(|name| name == watched.branch);
    match push.updates.iter().find(is_watched) {
        Some(RefUpdate { after: AfterPush::At(commit), author, .. }) => {
            Decision::Start(NewCommit { commit: commit.clone(), author: author.clone() })
        }
        Some(RefUpdate { after: AfterPush::Gone, .. }) => {
            Decision::Ignore(Ignored::Deleted(watched.branch.clone()))
        }
        None => Decision::Ignore(elsewhere(&push.updates, &watched.branch)),
    }
}

fn elsewhere(updates: &[RefUpdate], branch: &str) -> Ignored {
    let branch = branch.to_owned();
    match updates {
        [] => Ignored::OtherBranch("nothing".to_owned(), branch),
        [one, rest @ ..] => match one.name.strip_prefix(TAGS) {
            Some(tag) if rest.is_empty() => Ignored::Tag(shown(tag), branch),
            _ => Ignored::OtherBranch(shown(one.name.strip_prefix(BRANCHES).unwrap_or(&one.name)), branch),
        },
    }
}

/// What a caller with a key of the function asks for: `{"commit": "…"}`, with `"author"` where it is known.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    commit: String,
    #[serde(default)]
    author: Option<String>,
}

impl NewCommit {
    /// Reads what a build server or a person asks for.
    ///
    /// # Errors
    /// With what is wrong with the body.
    pub fn asked_for(body: &[u8]) -> Result<Self, String> {
        let wanted = |error: &dyn fmt::Display| {
            format!("the body must be {{\"commit\": \"<40 hexadecimal digits>\"}}: {error}")
        };
        let asked: Asked = serde_json::from_slice(body).map_err(|error| wanted(&error))?;
        let commit = CommitId::parse(&asked.commit).map_err(|error| wanted(&error))?;
        Ok(Self { commit, author: author_name(asked.author.as_deref()) })
    }
}

/// A person's name as it is kept: on one line, not empty, not longer than names are.
pub fn author_name(name: Option<&str>) -> Option<String> {
    let words: Vec<&str> = name?.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    (!name.is_empty()).then(|| shown(&name))
}

/// A name from outside, as it is repeated in answers and logs.
fn shown(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}
