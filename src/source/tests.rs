//! Whatever git hosts answer.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use factory_clock::Clock;
use hostile_bytes::{Attack, Grammar};
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};

use super::*;
use crate::secret::Secret;

const COMMIT: &str = "cf38a2f1b5d94e2c8a6b7d0e1f2a3b4c5d6e7f80";

/// A host that answers everything with the same bytes: as a token where one is asked for, as JSON elsewhere.
#[derive(Debug, Default)]
struct Parrot(Mutex<Vec<u8>>);

#[async_trait]
impl Carrier for Parrot {
    async fn carry(&self, request: reqwest::Request) -> reqwest::Result<reqwest::Response> {
        let status = if request.method() == reqwest::Method::POST { 201 } else { 200 };
        let answer =
            axum::http::Response::builder().status(status).header("content-type", "application/json");
        Ok(answer.body(self.0.lock().unwrap().clone()).unwrap().into())
    }
}

fn github(parrot: &Arc<Parrot>, access: GitHubAccess) -> GitHub {
    let options = GitHubOptions {
        api: PUBLIC_API.parse().unwrap(),
        owner: "octo".to_owned(),
        repository: "images".to_owned(),
        branch: "main".parse().unwrap(),
        folder: Folder::default(),
        access,
    };
    GitHub::new(options, Clock::system()).carried_by(parrot.clone())
}

fn azure_devops(parrot: &Arc<Parrot>) -> AzureDevOps {
    let options = AzureDevOpsOptions {
        organization: "https://dev.azure.com/contoso".parse().unwrap(),
        project: "Image Factory".to_owned(),
        repository: "images".to_owned(),
        branch: "main".parse().unwrap(),
        folder: Folder::default(),
        access: DevOpsAccess::Token(Secret::new("t".to_owned())),
    };
    AzureDevOps::new(options, Clock::system()).carried_by(parrot.clone())
}

#[test]
fn no_answer_of_a_git_host_breaks_its_reader_or_becomes_more_than_a_name_and_an_id() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap().serialize_pem();
    let app = GitHubApp::new("Iv23liTest", "41", &key).unwrap();
    let parrot = Arc::new(Parrot::default());
    let samples = [
        serde_json::json!({"sha": COMMIT, "author": {"name": "Ada Lovelace", "email": "a@b", "date": "2026-01-01T00:00:00Z"}}),
        serde_json::json!({"value": [{"name": "refs/heads/main", "objectId": COMMIT}], "count": 1}),
        serde_json::json!({"token": "ghs_secret", "expires_at": "2126-01-01T00:00:00Z", "permissions": {"contents": "read"}}),
    ];
    let attack = Attack::on("answers of git hosts", Grammar::Json)
        .samples(samples.map(|sample| sample.to_string()))
        .words(["refs/heads/main", COMMIT, "ghs_secret"])
        // A client, headers and futures of several calls.
        .memory(4 << 20, 512);
    attack.run(|bytes| {
        *parrot.0.lock().unwrap() = bytes.to_vec();
        // Tokens are kept: each input is a new app's.
        let sources: [Box<dyn Source>; 3] = [
            Box::new(github(&parrot, GitHubAccess::Public)),
            Box::new(github(&parrot, GitHubAccess::App(app.clone()))),
            Box::new(azure_devops(&parrot)),
        ];
        let mut refusals = Vec::new();
        for source in &sources {
            match runtime.block_on(source.author(COMMIT)) {
                Ok(author) => {
                    let is_name = |name: &String| {
                        !name.is_empty() && name.chars().count() <= 100 && !name.contains(char::is_control)
                    };
                    assert!(author.as_ref().is_none_or(is_name), "{author:?}");
                }
                Err(error) => refusals.push(error.to_string()),
            }
            match runtime.block_on(source.resolve(None)) {
                Ok(commit) => assert!(commit.unwrap().parse::<Revision>().unwrap().is_id()),
                Err(error) => refusals.push(error.to_string()),
            }
        }
        let quoted = refusals.iter().find(|refusal| refusal.is_empty() || refusal.contains("ghs_secret"));
        assert_eq!(quoted, None);
        if serde_json::from_slice::<serde_json::Value>(bytes).is_ok() {
            Ok(())
        } else {
            Err(refusals.join("; "))
        }
    });
}
