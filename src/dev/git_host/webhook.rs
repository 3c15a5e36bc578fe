//! What a host sends when somebody pushes: GitHub's webhooks, and the service hooks of Azure DevOps.
//! <https://docs.github.com/webhooks/webhook-events-and-payloads#push>,
//! <https://learn.microsoft.com/azure/devops/service-hooks/events#git.push>

use anyhow::Context as _;
use axum::http::StatusCode;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    Host, Kind, ORGANIZATION, OWNER, PROJECT,
    served::{Person, Told},
};
use crate::secret::Secret;

/// What both hosts write for a branch that is not there.
const NO_COMMIT: &str = "0000000000000000000000000000000000000000";
/// The user of Azure DevOps' basic authentication; the password alone counts.
const USER: &str = "image-factory";

/// A branch that was moved, made or taken away.
#[derive(Clone, Debug)]
pub struct Push {
    /// The full name of the branch or tag, such as `refs/heads/main`.
    pub reference: String,
    /// Where it stood, if it was there.
    pub before: Option<String>,
    /// Where it stands, if it is there.
    pub after: Option<String>,
}

impl Push {
    /// A branch that was moved from one commit to another.
    pub fn of(branch: &str, before: Option<&str>, after: &str) -> Self {
        let (before, after) = (before.map(str::to_owned), Some(after.to_owned()));
        Self { reference: format!("refs/heads/{branch}"), before, after }
    }

    fn before(&self) -> &str {
        self.before.as_deref().unwrap_or(NO_COMMIT)
    }

    fn after(&self) -> &str {
        self.after.as_deref().unwrap_or(NO_COMMIT)
    }
}

/// A request that is sent, as often and whenever one likes.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its headers.
    pub headers: Vec<(&'static str, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Delivery {
    /// Posts it, and answers what came back.
    ///
    /// # Errors
    /// If no answer comes, or one without JSON.
    pub async fn post(&self, url: &str) -> anyhow::Result<(StatusCode, Value)> {
        // Hosts of this machine send to this machine, whatever proxy the environment names.
        let client = reqwest::Client::builder().no_proxy().build()?;
        let mut request = client.post(url).body(self.body.clone());
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let answer = request.send().await.with_context(|| format!("no answer of {url}"))?;
        let status = answer.status();
        let text = answer.text().await?;
        let body = serde_json::from_str(&text).with_context(|| format!("{url} answered {status}: {text}"))?;
        Ok((status, body))
    }
}

impl Host {
    /// The first delivery of a webhook that was just made. Azure DevOps sends none.
    pub fn ping(&self, secret: &Secret<String>) -> Option<Delivery> {
        let body = json!({
            "zen": "Design for failure.", "hook_id": 1,
            "hook": {"type": "Repository", "id": 1, "name": "web", "active": true, "events": ["push"]},
            "repository": self.github_repository(),
        });
        (self.kind() == Kind::GitHub).then(|| github("ping", &body, secret))
    }

    /// What the host sends about a push.
    ///
    /// # Errors
    /// If the repository cannot be read, or has no such commit.
    pub fn pushed(&self, push: &Push, secret: &Secret<String>) -> anyhow::Result<Delivery> {
        let (commits, is_forced) = match &push.after {
            Some(after) => self.repository().between(push.before.as_deref(), after)?,
            None => (Vec::new(), false),
        };
        Ok(match self.kind() {
            Kind::GitHub => {
                let head = push.after.as_deref().map(|after| self.repository().tell(after)).transpose()?;
                let body = self.github_push(push, &commits, head.flatten().as_ref(), is_forced);
                github("push", &body, secret)
            }
            Kind::AzureDevOps => azure_devops(&self.azure_devops_push(push, &commits), secret),
        })
    }

    fn github_repository(&self) -> Value {
        let (name, address) = (&self.inner.name, self.address());
        json!({
            "id": 1, "name": name, "full_name": format!("{OWNER}/{name}"), "private": true,
            "owner": {"name": OWNER, "login": OWNER}, "html_url": address, "clone_url": format!("{address}.git"),
            "default_branch": "main",
        })
    }

    fn github_push(&self, push: &Push, commits: &[Told], head: Option<&Told>, is_forced: bool) -> Value {
        let address = self.address();
        let told = |commit: &Told| {
            let person = |person: &Person| json!({"name": person.name, "email": person.email});
            json!({
                "id": commit.id, "tree_id": commit.tree, "distinct": true, "message": commit.message,
                "timestamp": commit.committer.date, "url": format!("{address}/commit/{}", commit.id),
                "author": person(&commit.author), "committer": person(&commit.committer),
                "added": [], "removed": [], "modified": [],
            })
        };
        json!({
            "ref": push.reference, "before": push.before(), "after": push.after(),
            "created": push.before.is_none(), "deleted": push.after.is_none(), "forced": is_forced, "base_ref": null,
            "compare": format!("{address}/compare/{:.12}...{:.12}", push.before(), push.after()),
            "commits": commits.iter().map(told).collect::<Vec<_>>(), "head_commit": head.map(told),
            "repository": self.github_repository(),
            "pusher": {"name": OWNER, "email": "octo@example.org"}, "sender": {"login": OWNER, "type": "User"},
        })
    }

    fn azure_devops_push(&self, push: &Push, commits: &[Told]) -> Value {
        let (name, address) = (&self.inner.name, self.address());
        let told = |commit: &Told| {
            let person =
                |person: &Person| json!({"name": person.name, "email": person.email, "date": person.date});
            json!({
                "commitId": commit.id, "author": person(&commit.author), "committer": person(&commit.committer),
                "comment": commit.message, "url": format!("{address}/commit/{}", commit.id),
            })
        };
        // Newest first. Missing where a branch was deleted or made of a known commit.
        let commits: Vec<_> = commits.iter().rev().map(told).collect();
        let mut resource = json!({
            "refUpdates": [{"name": push.reference, "oldObjectId": push.before(), "newObjectId": push.after()}],
            "repository": {
                "id": "278d5cd2-584d-4b63-824a-2ba458937249", "name": name,
                "project": {"id": "6ce954b1-ce1f-45d1-b94d-e6bf2464ba2c", "name": PROJECT, "state": "wellFormed"},
                "defaultBranch": "refs/heads/main",
                "remoteUrl": address.replacen("://", &format!("://{ORGANIZATION}@"), 1),
            },
            "pushedBy": {"displayName": "Ada Lovelace", "uniqueName": "ada@example.org"},
            "pushId": 14, "date": self.now(),
        });
        if !commits.is_empty() {
            resource["commits"] = json!(commits);
        }
        json!({
            "subscriptionId": "f2c1b3a4-0000-4000-8000-000000000000", "notificationId": 1,
            "id": delivery_id(resource.to_string().as_bytes()), "eventType": "git.push", "publisherId": "tfs",
            "message": null, "detailedMessage": null, "resource": resource, "resourceVersion": "1.0",
            "createdDate": self.now(),
        })
    }

    fn now(&self) -> String {
        let now = self.inner.clock.now();
        now.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
    }
}

/// An id that is the same for the same body: a run that is told again is the same.
fn delivery_id(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// <https://docs.github.com/webhooks/webhook-events-and-payloads#delivery-headers>
fn github(event: &str, body: &Value, secret: &Secret<String>) -> Delivery {
    let body = body.to_string().into_bytes();
    let headers = vec![
        ("Accept", "*/*".to_owned()),
        ("Content-Type", "application/json".to_owned()),
        ("User-Agent", "GitHub-Hookshot/044aadd".to_owned()),
        ("X-GitHub-Delivery", delivery_id(&body)),
        ("X-GitHub-Event", event.to_owned()),
        ("X-GitHub-Hook-ID", "1".to_owned()),
        ("X-GitHub-Hook-Installation-Target-ID", "1".to_owned()),
        ("X-GitHub-Hook-Installation-Target-Type", "repository".to_owned()),
        ("X-Hub-Signature-256", signature(&body, secret)),
    ];
    Delivery { headers, body }
}

/// <https://docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries>
fn signature(body: &[u8], secret: &Secret<String>) -> String {
    // A key of any length is one.
    let mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes());
    let digest = mac.map(|mac| mac.chain_update(body).finalize().into_bytes()).unwrap_or_default();
    format!("sha256={digest:x}")
}

/// <https://learn.microsoft.com/azure/devops/service-hooks/services/webhooks>
fn azure_devops(body: &Value, secret: &Secret<String>) -> Delivery {
    let pair = BASE64_STANDARD.encode(format!("{USER}:{}", secret.expose()));
    let headers = vec![
        ("Content-Type", "application/json; charset=utf-8".to_owned()),
        ("User-Agent", "VSServices/20.256.36502.3 (AzureDevOps, ServiceHooks)".to_owned()),
        ("Authorization", format!("Basic {pair}")),
        ("X-VSS-ActivityId", Uuid::nil().to_string()),
    ];
    Delivery { headers, body: body.to_string().into_bytes() }
}

#[cfg(test)]
mod tests;
