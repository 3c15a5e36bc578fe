//! The whole path of a commit: a repository, the webhook that its host sends, the run that it starts, the images in the labs.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use azure_sim::control;
use functions_host::payload::http;
use image_factory::{
    dev::git_host::{
        Host, Kind,
        app::App,
        served::Served,
        webhook::{Delivery, Push},
    },
    domain::{ConfigurationFiles, RunId, RunReason},
    handler::{
        COMMIT, START, Webhooks,
        settings::{
            source::REPOSITORY,
            webhooks::{AZURE_DEVOPS_WEBHOOK_SECRET, GITHUB_WEBHOOK_SECRET},
        },
    },
    report::Status,
    secret::Secret,
    source::{
        AzureDevOps, AzureDevOpsOptions, Carrier, DevOpsAccess, GitHub, GitHubAccess, GitHubApp,
        GitHubOptions, Source,
    },
};
use serde_json::{Value, json};

use crate::factory::{
    DATA, Factory, Files, LINUX, Unkind, WEB, WINDOWS, definition, image, line, linux, scenario,
};

pub const SECRET: &str = "It's a Secret to Everybody";
const TOKEN: &str = "reads-the-repository";
const FOLDER: &str = "ImageFactoryConfiguration";
const BOTH: [Kind; 2] = [Kind::GitHub, Kind::AzureDevOps];

/// A factory that listens to a git host.
pub struct Story {
    pub factory: Factory,
    pub host: Host,
}

impl Story {
    /// A host without commits, and a factory in a world with the labs of `files`.
    async fn at(kind: Kind, files: &Files) -> Self {
        Self::with(kind, Factory::new(files).await)
    }

    fn with(kind: Kind, factory: Factory) -> Self {
        Self::by(kind, factory, GitHubAccess::Token(Secret::new(TOKEN.to_owned())))
    }

    /// The same, with this access to GitHub.
    fn by(kind: Kind, factory: Factory, access: GitHubAccess) -> Self {
        Self::carried(kind, factory, access, |carrier| carrier)
    }

    /// The same, with a way to the host that `carried` makes of the usual one.
    pub fn carried(
        kind: Kind,
        factory: Factory,
        access: GitHubAccess,
        carried: impl FnOnce(Arc<dyn Carrier>) -> Arc<dyn Carrier>,
    ) -> Self {
        let clock = factory.host.clock().clone();
        let host = Host::in_process(kind, "images", Served::new().unwrap(), clock.clone());
        host.state().token = Some(TOKEN.to_owned());
        let (carrier, token) = (carried(host.carrier().unwrap()), Secret::new(TOKEN.to_owned()));
        let (branch, folder) = ("main".parse().unwrap(), FOLDER.parse().unwrap());
        let repository = "images".to_owned();
        let source: Arc<dyn Source> = match kind {
            Kind::GitHub => {
                let (api, owner) = (host.url.clone(), "octo".to_owned());
                let options = GitHubOptions { api, owner, repository, branch, folder, access };
                Arc::new(GitHub::new(options, clock).carried_by(carrier))
            }
            Kind::AzureDevOps => {
                let organization = host.url.join("contoso").unwrap();
                let (project, access) = ("Image Factory".to_owned(), DevOpsAccess::Token(token));
                let options =
                    AzureDevOpsOptions { organization, project, repository, branch, folder, access };
                Arc::new(AzureDevOps::new(options, clock).carried_by(carrier))
            }
        };
        let secret = match kind {
            Kind::GitHub => GITHUB_WEBHOOK_SECRET,
            Kind::AzureDevOps => AZURE_DEVOPS_WEBHOOK_SECRET,
        };
        let settings = [(REPOSITORY, host.address().as_str()), (secret, SECRET)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { factory: factory.listening(source, Webhooks::read(&settings.into())), host }
    }

    fn commit_to(&self, branch: &str, files: &ConfigurationFiles) -> String {
        let files: Vec<_> =
            files.files.iter().map(|(name, bytes)| (format!("{FOLDER}/{name}"), bytes.as_slice())).collect();
        let mut all: Vec<_> = files.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
        all.push(("README.md", b"What is in the folder is the factory's."));
        self.host.repository().commit_by("Ada Lovelace", branch, &all).unwrap()
    }

    pub fn commit(&self, files: &Files) -> String {
        self.commit_to("main", &files.to_files())
    }

    /// What the host sends about a move of `main`.
    pub fn pushed(&self, before: Option<&str>, after: &str) -> Delivery {
        self.sent(&Push::of("main", before, after))
    }

    fn sent(&self, push: &Push) -> Delivery {
        self.host.pushed(push, &Secret::new(SECRET.to_owned())).unwrap()
    }

    /// Brings a delivery to the function `commit`; the status and body of its answer.
    pub async fn deliver(&self, delivery: &Delivery) -> (u16, Value) {
        let headers = delivery.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        self.call(COMMIT, headers.collect(), &delivery.body).await
    }

    pub async fn call(&self, function: &str, headers: Vec<(String, String)>, body: &[u8]) -> (u16, Value) {
        let request = http::Request {
            url: format!("https://factory.azurewebsites.net/api/{function}"),
            method: "POST".to_owned(),
            headers,
            body: Some(body.to_vec()),
            ..http::Request::default()
        };
        let now = self.factory.host.clock().now();
        self.factory.host.instance.request(function, &request, now).await.unwrap()
    }

    /// Delivers something that starts a run, and answers the run.
    async fn starts(&self, delivery: &Delivery) -> RunId {
        let (status, body) = self.deliver(delivery).await;
        assert_eq!(status, 202, "{body}");
        RunId::parse(body["run"].as_str().unwrap()).unwrap()
    }

    async fn runs(&self) -> usize {
        self.factory.host.factory.ledger.runs().await.unwrap().len()
    }

    /// How many VMs were ever asked for.
    fn vms_made(&self) -> usize {
        self.factory.work(azure_sim::work::WorkKind::VirtualMachine, "").len()
    }
}

/// One Linux image, with so many artifacts: each number is another content.
fn linux_with(artifacts: usize) -> Files {
    let mut files = Files::only_linux();
    let names = ["linux-install-docker", "linux-java", "linux-apt-package"];
    files.definitions.insert(LINUX.to_owned(), definition(&linux(), &names[..artifacts]));
    files
}

#[test]
fn a_commit_stands_as_images_in_every_lab_after_its_webhook() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &Files::new()).await;
            let commit = story.commit(&Files::new());
            let run = story.starts(&story.pushed(None, &commit)).await;
            assert_eq!(run, RunId::of(&image_factory::domain::CommitId::parse(&commit).unwrap()));
            story.factory.settle().await;
            let outcome = story.factory.outcome(&run).await;
            story.factory.assert_succeeded(&outcome);
            let told = &outcome.run.run;
            assert_eq!((told.reason, told.commit.as_ref()), (RunReason::Commit, Some(&commit)), "{kind:?}");
            assert_eq!(told.author.as_deref(), Some("Ada Lovelace"), "{kind:?}");
            for path in [WINDOWS, LINUX] {
                for lab in [WEB, DATA] {
                    assert!(line(&outcome, path, lab).custom_image_id.is_some(), "{kind:?}");
                }
            }
        });
    }
}

#[test]
fn deliveries_that_come_again_and_in_the_wrong_order_are_one_run_a_commit() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &linux_with(1)).await;
            let first = story.commit(&linux_with(1));
            let second = story.commit(&linux_with(2));
            let deliveries = [story.pushed(None, &first), story.pushed(Some(&first), &second)];
            // The later one comes first, and both come twice.
            let mut runs = BTreeSet::new();
            for at in [1, 0, 0, 1] {
                runs.insert(story.starts(&deliveries[at]).await);
            }
            assert_eq!(runs.len(), 2);
            story.factory.settle().await;
            let vms = story.vms_made();
            // And once more when all is over, which duplicate detection has long forgotten.
            for delivery in &deliveries {
                runs.insert(story.starts(delivery).await);
            }
            story.factory.settle().await;
            assert_eq!((runs.len(), story.runs().await, story.vms_made()), (2, 2, vms), "{kind:?}");
            let mut statuses = BTreeMap::new();
            for run in &runs {
                let outcome = story.factory.outcome(run).await;
                story.factory.assert_sound(&outcome);
                statuses.insert(outcome.run.run.commit.unwrap(), outcome.run.run.status);
            }
            // What is older does not undo what is newer, though it came later.
            assert_eq!((statuses[&first], statuses[&second]), (Status::Superseded, Status::Succeeded));
        });
    }
}

#[test]
fn a_forced_push_is_a_run_of_what_came_instead_and_what_was_thrown_away_is_not_built() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &linux_with(1)).await;
            let base = story.commit(&linux_with(1));
            let thrown_away = story.commit(&linux_with(2));
            let first = story.starts(&story.pushed(Some(&base), &thrown_away)).await;
            // Before its run has begun, the commit is on no branch any more.
            let files = linux_with(3).to_files();
            let names: Vec<_> =
                files.files.iter().map(|(name, bytes)| (format!("{FOLDER}/{name}"), bytes)).collect();
            let files: Vec<_> = names.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
            let instead = story.host.repository().amend("main", &files).unwrap();
            let delivery = story.pushed(Some(&thrown_away), &instead);
            if kind == Kind::GitHub {
                let body: Value = serde_json::from_slice(&delivery.body).unwrap();
                assert_eq!(body["forced"], true, "the host tells of a forced push");
            }
            let second = story.starts(&delivery).await;
            story.factory.settle().await;
            let outcome = story.factory.outcome(&first).await;
            assert_eq!(outcome.run.run.commit, Some(thrown_away), "{kind:?}");
            assert_eq!(
                (outcome.run.run.status, outcome.run.images.len()),
                (Status::Superseded, 0),
                "{kind:?}"
            );
            let outcome = story.factory.outcome(&second).await;
            story.factory.assert_succeeded(&outcome);
            assert_eq!(outcome.run.run.commit, Some(instead), "{kind:?}");
            assert!(outcome.run.images.iter().any(|image| image.image_path.to_string() == LINUX));
        });
    }
}

#[test]
fn a_quick_second_commit_does_not_reach_the_run_of_the_first() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &Files::new()).await;
            let first = story.commit(&linux_with(1));
            let run_of_first = story.starts(&story.pushed(None, &first)).await;
            let second = story.commit(&Files::new());
            let run_of_second = story.starts(&story.pushed(Some(&first), &second)).await;
            story.factory.settle().await;
            let paths = |outcome: &image_factory::dev::outcome::Outcome| -> Vec<String> {
                outcome.run.images.iter().map(|image| image.image_path.to_string()).collect()
            };
            let outcome = story.factory.outcome(&run_of_first).await;
            assert_eq!(outcome.run.run.commit.as_ref(), Some(&first), "it keeps its own");
            assert_eq!(outcome.run.run.status, Status::Superseded, "the branch had moved on when it planned");
            let error = outcome.run.run.error.as_ref().unwrap();
            assert!(error.message.contains(&second), "{error}");
            let outcome = story.factory.outcome(&run_of_second).await;
            story.factory.assert_sound(&outcome);
            assert_eq!(outcome.run.run.commit, Some(second));
            assert_eq!(paths(&outcome), [LINUX, WINDOWS]);
            assert_eq!(image(&outcome, WINDOWS).status, Status::Succeeded);
        });
    }
}

#[test]
fn pushes_elsewhere_start_nothing() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &linux_with(1)).await;
            let main = story.commit(&linux_with(1));
            let other = story.commit_to("feature/x", &linux_with(2).to_files());
            let tag = Push { reference: "refs/tags/v1".to_owned(), before: None, after: Some(main.clone()) };
            let gone =
                Push { reference: "refs/heads/main".to_owned(), before: Some(main.clone()), after: None };
            let website = Host::in_process(
                kind,
                "website",
                story.host.repository().clone(),
                story.factory.host.clock().clone(),
            );
            let push = Push::of("main", None, &main);
            for (delivery, reason) in [
                (story.sent(&Push::of("feature/x", None, &other)), "only the branch main counts"),
                (story.sent(&tag), "the tag v1"),
                (story.sent(&gone), "was deleted"),
                (
                    website.pushed(&push, &Secret::new(SECRET.to_owned())).unwrap(),
                    "not the configured repository",
                ),
            ] {
                let (status, body) = story.deliver(&delivery).await;
                assert_eq!(status, 200, "{kind:?}: {body}");
                assert!(body["ignored"].as_str().unwrap().contains(reason), "{kind:?}: {body}");
            }
            if let Some(ping) = story.host.ping(&Secret::new(SECRET.to_owned())) {
                assert_eq!(story.deliver(&ping).await.0, 200);
            }
            story.factory.settle().await;
            assert_eq!((story.runs().await, story.factory.host.messages()), (0, 0), "{kind:?}");
        });
    }
}

#[test]
fn without_the_hosts_proof_nothing_starts() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &linux_with(1)).await;
            let commit = story.commit(&linux_with(1));
            let push = Push::of("main", None, &commit);
            let stranger =
                story.host.pushed(&push, &Secret::new("It's a Secret to Nobody".to_owned())).unwrap();
            let right = story.sent(&push);
            let proofs = ["X-Hub-Signature-256", "Authorization"];
            let mut bare = right.clone();
            bare.headers.retain(|(name, _)| !proofs.contains(name));
            let mut changed = right.clone();
            changed.body.push(b' ');
            let mut refused = vec![stranger, bare];
            // Azure DevOps signs nothing: its password is for any body.
            if kind == Kind::GitHub {
                refused.push(changed);
            }
            for delivery in &refused {
                assert_eq!(story.deliver(delivery).await.0, 401, "{kind:?}");
            }
            story.factory.settle().await;
            assert_eq!((story.runs().await, story.factory.host.messages()), (0, 0), "{kind:?}");
            assert!(story.host.state().asked.is_empty(), "nor is the repository asked for anything");
        });
    }
}

#[test]
fn a_commit_that_breaks_the_configuration_fails_with_every_problem_and_the_labs_keep_what_they_had() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &Files::new()).await;
            let good = story.commit(&Files::new());
            let run = story.starts(&story.pushed(None, &good)).await;
            story.factory.settle().await;
            story.factory.assert_succeeded(&story.factory.outcome(&run).await);
            let images = |story: &Story| -> Vec<(String, Vec<String>)> {
                let labs = story.factory.state().labs;
                let names = |lab: &control::LabState| {
                    lab.custom_images.iter().map(|image| image.name.clone()).collect()
                };
                labs.iter().map(|lab| (lab.name.clone(), names(lab))).collect()
            };
            let (before, counts) = (images(&story), control::counts(&story.factory.host.sim));

            let mut broken = Files::new();
            broken.labs[0]["LabName"] = json!("<Name of the DevTest Lab>");
            broken.labs[1]["ImagePath"] = json!(["Linux"]);
            broken.settings = json!({"imagesToKeep": "two"});
            let bad = story.commit(&broken);
            let run = story.starts(&story.pushed(Some(&good), &bad)).await;
            story.factory.settle().await;
            let outcome = story.factory.outcome(&run).await;
            let told = &outcome.run.run;
            assert_eq!((told.status, told.commit.as_ref()), (Status::Failed, Some(&bad)), "{kind:?}");
            assert_eq!(told.author.as_deref(), Some("Ada Lovelace"));
            let error = told.error.clone().unwrap();
            assert_eq!(error.code, "InvalidConfiguration");
            for part in ["$.Labs[0].LabName", "$.Labs[1]", "ImagePath", "imagesToKeep"] {
                assert!(error.message.contains(part), "{part}: {}", error.message);
            }
            assert_eq!(images(&story), before, "{kind:?}");
            let after = control::counts(&story.factory.host.sim);
            assert_eq!((after.arm_writes, after.arm_deletes), (counts.arm_writes, counts.arm_deletes));
            assert!(outcome.run.images.is_empty() && outcome.leftovers.is_empty(), "{:?}", outcome.leftovers);
        });
    }
}

#[test]
fn who_wrote_a_commit_is_known_also_where_only_its_id_was_named_or_nothing() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &linux_with(1)).await;
            let first = story.commit(&linux_with(1));
            let body = json!({"commit": first}).to_string();
            let (status, answer) = story.call(START, Vec::new(), body.as_bytes()).await;
            assert_eq!(status, 202, "{answer}");
            let run = RunId::parse(answer["run"].as_str().unwrap()).unwrap();
            story.factory.settle().await;
            let told = story.factory.outcome(&run).await.run.run;
            assert_eq!((told.commit.as_ref(), told.author.as_deref()), (Some(&first), Some("Ada Lovelace")));

            let newest = story.commit(&linux_with(2));
            let told = story.factory.run_named("by-hand").await.run.run;
            assert_eq!((told.commit.as_ref(), told.author.as_deref()), (Some(&newest), Some("Ada Lovelace")));
            let report = serde_json::to_value(&told).unwrap();
            assert_eq!((&report["commit"], &report["author"]), (&json!(newest), &json!("Ada Lovelace")));
        });
    }
}

#[test]
fn a_git_host_in_trouble_delays_a_run_and_one_that_never_tells_the_author_does_not() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &linux_with(1)).await;
            let commit = story.commit(&linux_with(1));
            // The question for the author is the first: its trouble is no trouble.
            story.host.state().troubles =
                vec![(500, Vec::new()), (503, vec![("retry-after", "600".to_owned())]), (500, Vec::new())];
            let body = json!({"commit": commit}).to_string();
            let (_, answer) = story.call(START, Vec::new(), body.as_bytes()).await;
            let run = RunId::parse(answer["run"].as_str().unwrap()).unwrap();
            story.factory.settle().await;
            let outcome = story.factory.outcome(&run).await;
            story.factory.assert_succeeded(&outcome);
            assert_eq!(outcome.run.run.author, None, "{kind:?}");
            assert!(story.host.state().troubles.is_empty());
        });
    }
}

#[test]
fn commits_reach_the_labs_however_messages_come_and_invocations_die() {
    for seed in 1..=3 {
        for kind in BOTH {
            scenario(async {
                let unkind = Unkind { repeats: true, shuffles: true, kills: true };
                let factory = Factory::seeded(&linux_with(1), seed).await.unkind(unkind);
                let story = Story::with(kind, factory);
                let commit = story.commit(&linux_with(1));
                let delivery = story.pushed(None, &commit);
                let run = story.starts(&delivery).await;
                assert_eq!(story.starts(&delivery).await, run);
                story.factory.settle().await;
                let outcome = story.factory.outcome(&run).await;
                story.factory.assert_succeeded(&outcome);
                assert!(story.factory.killed() > 0);
                assert_eq!((outcome.run.run.commit, story.runs().await), (Some(commit), 1), "seed {seed}");
            });
        }
    }
}

#[test]
fn no_document_message_report_or_answer_holds_a_secret_of_the_git_host() {
    for kind in BOTH {
        scenario(async {
            let story = Story::at(kind, &linux_with(1)).await;
            let commit = story.commit(&linux_with(1));
            let mut written = Vec::new();
            // What goes wrong is written down, too: a page instead of an archive, and then a refused token.
            story.host.state().archive = Some(b"<html>come back later</html>".to_vec());
            let (_, answer) = story.deliver(&story.pushed(None, &commit)).await;
            written.push(answer.to_string());
            story.factory.settle().await;
            story.host.state().archive = None;
            story.host.state().token = Some("was-changed".to_owned());
            let next = story.commit(&linux_with(2));
            let (_, answer) = story.deliver(&story.pushed(Some(&commit), &next)).await;
            written.push(answer.to_string());
            story.factory.settle().await;
            story.host.state().token = Some(TOKEN.to_owned());
            let last = story.commit(&linux_with(3));
            let run = story.starts(&story.pushed(Some(&next), &last)).await;
            story.factory.settle().await;
            let outcome = story.factory.outcome(&run).await;
            story.factory.assert_succeeded(&outcome);
            written.push(serde_json::to_string(&outcome).unwrap());
            for (name, (bytes, metadata)) in story.factory.ledger().await {
                written.push(format!("{name} {} {metadata:?}", String::from_utf8_lossy(&bytes)));
            }
            for (_, body) in story.factory.received() {
                written.push(String::from_utf8_lossy(&body).into_owned());
            }
            assert!(written.iter().any(|text| text.contains("ConfigurationUnreadable")), "{kind:?}");
            for text in &written {
                for secret in [SECRET, TOKEN, "token=", "sha256=", "Basic ", "<html>"] {
                    assert!(!text.contains(secret), "{kind:?}: {secret} is in {text}");
                }
            }
        });
    }
}

#[test]
fn a_github_app_reads_what_runs_are_made_of_and_its_tokens_are_written_down_nowhere() {
    scenario(async {
        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let app = GitHubApp::new("Iv23liTest", "41", &key.serialize_pem()).unwrap();
        let factory = Factory::new(&linux_with(1)).await;
        let story = Story::by(Kind::GitHub, factory, GitHubAccess::App(app));
        story.host.state().token = None;
        story.host.state().app = Some(App::new("Iv23liTest", 41, &key.public_key_pem()));
        let mut before = None;
        let mut commits = Vec::new();
        for artifacts in 1..=2 {
            let commit = story.commit(&linux_with(artifacts));
            let run = story.starts(&story.pushed(before.as_deref(), &commit)).await;
            story.factory.settle().await;
            let outcome = story.factory.outcome(&run).await;
            story.factory.assert_succeeded(&outcome);
            commits.push(outcome.run.run.commit.unwrap());
            before = Some(commit);
            story.factory.host.clock().sleep(std::time::Duration::from_secs(3600)).await;
        }
        assert_eq!(commits.last(), before.as_ref());
        // The first token had ended when the second run came.
        assert_eq!(story.host.state().app.as_ref().unwrap().tokens(), 2);
        for (name, (bytes, _)) in story.factory.ledger().await {
            let text = String::from_utf8_lossy(&bytes);
            assert!(
                !text.contains("ghs_") && !text.contains("PRIVATE KEY") && !text.contains("eyJ"),
                "{name}: {text}"
            );
        }
    });
}
