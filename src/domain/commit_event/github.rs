//! GitHub's webhook payloads (GitHub, "Webhook events and payloads", push and ping).

use serde::Deserialize;

use super::{AfterPush, CommitEvent, Push, PushedRepository, RefUpdate, author_name, shown};

/// The event of a push.
const PUSH: &str = "push";
/// The event that follows the making of a webhook.
const PING: &str = "ping";

/// What a run needs of a push. Its file lists are not among it: they are cut off at 3,000 names, and incomplete for merges.
#[derive(Deserialize)]
struct Payload {
    #[serde(rename = "ref")]
    reference: String,
    after: String,
    #[serde(default)]
    head_commit: Option<HeadCommit>,
    repository: PayloadRepository,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: String,
    #[serde(default)]
    author: Option<Author>,
}

#[derive(Deserialize)]
struct Author {
    #[serde(default)]
    name: Option<String>,
}

#[derive(Deserialize)]
struct PayloadRepository {
    full_name: String,
}

pub(super) fn read(event: &str, body: &[u8]) -> Result<CommitEvent, String> {
    match event {
        PUSH => push(body).map(CommitEvent::Push),
        PING => Ok(CommitEvent::Ping),
        other => Ok(CommitEvent::Other(shown(other))),
    }
}

fn push(body: &[u8]) -> Result<Push, String> {
    let payload: Payload = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let after = AfterPush::parse(&payload.after).map_err(|error| format!("after: {error}"))?;
    // Of a tag that has a text of its own, `after` is the tag's hash and the head commit is another.
    let head = payload.head_commit.filter(|head| head.id.eq_ignore_ascii_case(&payload.after));
    let author = author_name(head.and_then(|head| head.author).and_then(|author| author.name).as_deref());
    Ok(Push {
        repository: PushedRepository::GitHub { full_name: payload.repository.full_name },
        updates: vec![RefUpdate { name: payload.reference, after, author }],
    })
}
