//! The payload of a service hook of Azure DevOps (Microsoft, "Service hooks events", Code pushed).

use serde::Deserialize;

use super::{AfterPush, CommitEvent, Push, PushedRepository, RefUpdate, author_name, shown};

/// The event of a push.
const PUSH: &str = "git.push";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    event_type: String,
}

#[derive(Deserialize)]
struct Payload {
    resource: Resource,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    /// Missing where a branch was deleted or made of a known commit.
    #[serde(default)]
    commits: Option<Vec<Commit>>,
    ref_updates: Vec<Update>,
    repository: PayloadRepository,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Commit {
    commit_id: String,
    #[serde(default)]
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Update {
    name: String,
    new_object_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PayloadRepository {
    id: String,
    name: String,
    #[serde(default)]
    remote_url: Option<String>,
}

pub(super) fn read(body: &[u8]) -> Result<CommitEvent, String> {
    let kind: Kind = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    if kind.event_type != PUSH {
        return Ok(CommitEvent::Other(shown(&kind.event_type)));
    }
    let payload: Payload = serde_json::from_slice(body).map_err(|error| {
        format!("{error}; the service hook must say \"Resource details to send: All\" and \"Resource version: 1.0\"")
    })?;
    let Resource { commits, ref_updates, repository } = payload.resource;
    let commits = commits.unwrap_or_default();
    let update = |update: Update| {
        let after =
            AfterPush::parse(&update.new_object_id).map_err(|error| format!("newObjectId: {error}"))?;
        let commit = commits.iter().find(|one| one.commit_id.eq_ignore_ascii_case(&update.new_object_id));
        let name = commit.and_then(|commit| commit.author.as_ref()).and_then(|author| author.name.as_deref());
        Ok(RefUpdate { name: update.name, after, author: author_name(name) })
    };
    let PayloadRepository { id, name, remote_url } = repository;
    Ok(CommitEvent::Push(Push {
        repository: PushedRepository::AzureDevOps { id, name, remote_url },
        updates: ref_updates.into_iter().map(update).collect::<Result<_, String>>()?,
    }))
}
