//! No secret leaves the call that needs it: a whole factory works through trouble of every kind, with everything that it must keep
//! to itself known to the test, and nothing that it writes, sends or answers holds any of it, in whatever form.

mod export;
mod log;
mod sweep;
mod wiretap;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use axum::{
    body::{Body, to_bytes},
    middleware::{Next, from_fn},
    response::Response,
};
use azure_sim::broker::BrokerMessage;
use image_factory::{
    azure::Condition,
    dev::{
        git_host::{Kind, app::App},
        log::Log,
    },
    domain::{
        Message, Queue, RunId, RunReason,
        messages::{StartRun, Step},
    },
    handler::{COMMIT, START},
    report::RunReport,
    source::{Carrier, GitHubAccess, GitHubApp},
    steps::Envelope,
};
use serde_json::json;

use crate::{
    commits::{SECRET, Story},
    factory::{DATA, Factory, Files, WINDOWS, scenario, vm_property},
};
use export::Exported;
use opentelemetry::{
    KeyValue, global,
    trace::{Span as _, Tracer as _},
};
use sweep::Secrets;
use wiretap::{CALM, ECHO, Wiretap};

/// What the Functions host gets as the key of `start`: in the address or in a header.
const FUNCTION_KEY: &str = "function-key-4tYq0bL9xZw7";
/// Texts that were written, sent or answered, each with its place.
type Corpus = Vec<(String, Vec<u8>)>;

/// A way to GitHub that notes its secrets, and repeats them in refusals.
#[derive(Debug)]
struct GitTap {
    onward: Arc<dyn Carrier>,
    secrets: Secrets,
    /// The statuses with which the next requests are refused; 0 lets one pass.
    refusals: Mutex<Vec<u16>>,
}

#[async_trait]
impl Carrier for GitTap {
    async fn carry(&self, request: reqwest::Request) -> reqwest::Result<reqwest::Response> {
        let authorization = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let authorization = authorization.unwrap_or_default().to_owned();
        if let Some((_, token)) = authorization.split_once(' ') {
            let kind =
                if token.starts_with("eyJ") { "a proof of the GitHub App" } else { "a token of GitHub" };
            self.secrets.add(kind, token);
        }
        let url = request.url().clone();
        let refusal = self.refusals.lock().unwrap().pop().filter(|status| *status > 0);
        if let Some(status) = refusal {
            let message = format!("{ECHO}: {authorization} for {url}");
            let answer =
                axum::http::Response::builder().status(status).header("content-type", "application/json");
            return Ok(answer.body(json!({"message": message}).to_string()).unwrap().into());
        }
        self.onward.carry(request).await
    }
}

/// A factory with everything in it that is secret.
struct Guarded {
    story: Story,
    secrets: Secrets,
    log: Log,
    /// What functions answered to those who called them, and to the host.
    answers: Arc<Mutex<Corpus>>,
    runs: Vec<RunId>,
}

impl Guarded {
    async fn new(seed: u64, log: Log, git_refusals: &[u16]) -> Self {
        let secrets = Secrets::default();
        let settings = json!({"deadlines": {"createVm": "PT4H", "copyImage": "PT6H"}, "imagesToKeep": 1});
        let mut files = Files::with_settings(settings);
        // So that Azure shows the password to whoever may see the VM, which the factory reads.
        let shown = files.definitions.get_mut(WINDOWS).unwrap();
        *vm_property(shown, "notes") = json!("[concat('login ', parameters('password'))]");
        let tap = |onward| Arc::new(Wiretap::new(onward, secrets.clone(), seed)) as Arc<_>;
        let factory = Factory::wired(&files, tap).await.with_keys_of(&[DATA]);
        for account in factory.host.sim.world().storage.accounts.values() {
            for key in &account.keys {
                secrets.add("a key of an account", key);
            }
        }

        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        let pem = key.serialize_pem();
        for line in pem.lines().filter(|line| !line.starts_with("--")) {
            secrets.add("the key of the GitHub App", line);
        }
        let app = GitHubApp::new("Iv23liTest", "41", &pem).unwrap();
        let refusals = Mutex::new(git_refusals.iter().rev().copied().collect());
        let git_secrets = secrets.clone();
        let mut story = Story::carried(Kind::GitHub, factory, GitHubAccess::App(app), move |onward| {
            Arc::new(GitTap { onward, secrets: git_secrets, refusals })
        });
        story.host.state().token = None;
        story.host.state().app = Some(App::new("Iv23liTest", 41, &key.public_key_pem()));
        secrets.add("the secret of the webhook", SECRET);
        secrets.add("a function key", FUNCTION_KEY);

        let answers: Arc<Mutex<Corpus>> = Arc::default();
        let heard = answers.clone();
        let instance = &mut story.factory.host.instance;
        *instance = instance.clone().behind(|handler| {
            handler.layer(from_fn(move |request, next: Next| {
                let heard = heard.clone();
                async move {
                    let (parts, body) = next.run(request).await.into_parts();
                    let body = to_bytes(body, usize::MAX).await.unwrap();
                    heard.lock().unwrap().push(("an answer to the host".to_owned(), body.to_vec()));
                    Response::from_parts(parts, Body::from(body))
                }
            }))
        });
        story.commit(&files);
        Self { story, secrets, log, answers, runs: Vec::new() }
    }

    fn answered(&self, what: &str, (status, body): (u16, serde_json::Value)) -> serde_json::Value {
        self.answers
            .lock()
            .unwrap()
            .push((format!("what {what} got"), format!("{status} {body}").into_bytes()));
        body
    }

    /// Starts runs in every way, and calls functions as nobody should.
    async fn call(&mut self) {
        let commit = self.story.commit(&Files::new());
        let mut forged = self.story.pushed(None, &commit);
        for (name, value) in &mut forged.headers {
            if name.eq_ignore_ascii_case("x-hub-signature-256") {
                *value = format!("sha256={SECRET}");
            }
        }
        self.answered("a forger", self.story.deliver(&forged).await);
        let secret_as_text = vec![("content-type".to_owned(), "text/plain".to_owned())];
        self.answered("a stranger", self.story.call(COMMIT, secret_as_text, SECRET.as_bytes()).await);
        let headers = || {
            vec![
                ("x-functions-key".to_owned(), FUNCTION_KEY.to_owned()),
                ("content-type".to_owned(), "application/json".to_owned()),
            ]
        };
        let bad = json!({"commit": FUNCTION_KEY, "code": FUNCTION_KEY}).to_string();
        self.answered("a confused caller", self.story.call(START, headers(), bad.as_bytes()).await);
        let pushed = self.story.pushed(None, &commit);
        let body = self.answered("the webhook", self.story.deliver(&pushed).await);
        self.runs.extend(body["run"].as_str().and_then(|run| RunId::parse(run).ok()));
        let asked = json!({"commit": commit}).to_string();
        self.answered("a build server", self.story.call(START, headers(), asked.as_bytes()).await);
    }

    async fn run(&mut self) {
        self.call().await;
        CALM.scope((), self.story.factory.settle()).await;
        let run = Factory::run_id("by-hand");
        let start = StartRun { force: true, ..StartRun::of_everything(RunReason::Manual) };
        let message = Message::first(run.clone(), Step::StartRun(start));
        self.story.factory.host.factory.outbox.send(vec![Envelope::now(message)]).await.unwrap();
        CALM.scope((), self.story.factory.settle()).await;
        self.runs.push(run);
    }

    /// All that the factory wrote, sent and answered.
    async fn corpus(&self) -> Corpus {
        let factory = &self.story.factory;
        let mut corpus = vec![("the log".to_owned(), self.log.bytes())];
        corpus.extend(self.answers.lock().unwrap().iter().cloned());
        for (queue, message) in factory.travelled() {
            corpus.push((format!("a message to {queue}"), message));
        }
        for queue in Queue::ALL {
            for entity in [queue.name().to_owned(), format!("{}/$deadletterqueue", queue.name())] {
                for delivery in factory.host.broker.peek(&entity, 0, 1000).unwrap() {
                    corpus.push((format!("a message in {entity}"), delivery.to_amqp()));
                }
            }
        }
        let mut containers = vec![("ledger".to_owned(), factory.ledger_container())];
        let labs = factory.state().labs;
        containers.extend(labs.iter().map(|lab| (lab.name.clone(), factory.vhds(&lab.id))));
        for (name, container) in containers {
            for blob in container.list("").await.unwrap() {
                let place = format!("{name}: {}", blob.name);
                corpus.push((place.clone(), format!("{:?}", blob.metadata).into_bytes()));
                if !blob.name.ends_with(".vhd") {
                    corpus.push((place, container.get(&blob.name).await.unwrap().unwrap().0));
                }
            }
        }
        let ledger = &factory.host.factory.ledger;
        for run in &self.runs {
            let Some(report) = RunReport::read(ledger, run).await.unwrap() else { continue };
            let now = factory.host.clock().now();
            corpus.push(("the report".to_owned(), serde_json::to_vec(&report).unwrap()));
            corpus.push(("the table".to_owned(), report.table(now).to_string().into_bytes()));
            corpus.push(("the remarks".to_owned(), report.remarks().join("\n").into_bytes()));
        }
        for line in ledger.audit(1000).await.unwrap() {
            corpus.push(("the audit".to_owned(), format!("{line:?}").into_bytes()));
        }
        for lab in &labs {
            for image in &lab.custom_images {
                corpus.push((format!("custom image {}", image.name), format!("{image:?}").into_bytes()));
            }
        }
        corpus
    }

    fn search(&self, corpus: &Corpus) -> Vec<sweep::Leak> {
        self.secrets.search(corpus.iter().map(|(place, text)| (place.as_str(), text.as_slice())))
    }
}

/// What must have been there to be kept.
const KINDS: [&str; 12] = [
    "a SAS of a disk",
    "a VM's password",
    "a function key",
    "a key of an account",
    "a key that was lent",
    "a proof of the GitHub App",
    "a signature of a call",
    "a token of GitHub",
    "a token of the identity",
    "a user delegation SAS",
    "the key of the GitHub App",
    "the secret of the webhook",
];

/// A factory that has worked through trouble, and all that it wrote meanwhile.
async fn worked(seed: u64, git_refusals: &[u16]) -> (Guarded, Corpus, tracing::subscriber::DefaultGuard) {
    println!("seed {seed}");
    let (log, guard) = log::taken();
    let mut guarded = Guarded::new(seed, log, git_refusals).await;
    guarded.run().await;
    let corpus = CALM.scope((), guarded.corpus()).await;
    (guarded, corpus, guard)
}

fn holds(text: &[u8], word: &str) -> bool {
    text.windows(word.len()).any(|part| part == word.as_bytes())
}

#[test]
fn nothing_that_a_factory_writes_sends_or_answers_holds_a_secret_whatever_azure_repeats() {
    let mut kinds = BTreeSet::new();
    let mut echoed = BTreeSet::new();
    for (seed, git_refusals) in [(1, [502, 0, 500].as_slice()), (2, &[0, 422]), (3, &[]), (4, &[401])] {
        scenario(async {
            let (guarded, corpus, _guard) = worked(seed, git_refusals).await;
            let leaks = guarded.search(&corpus);
            assert!(
                leaks.is_empty(),
                "seed {seed}: {} leaks: {:#?}",
                leaks.len(),
                &leaks[..leaks.len().min(12)]
            );
            assert!(holds(&corpus[0].1, r#""level":"DEBUG""#), "the log is not at its most verbose");
            kinds.extend(guarded.secrets.kinds());
            let place = |place: &str| place.split([' ', ':']).take(2).collect::<Vec<_>>().join(" ");
            echoed.extend(corpus.iter().filter(|(_, text)| holds(text, ECHO)).map(|(name, _)| place(name)));
        });
    }
    let missing: Vec<_> = KINDS.iter().filter(|kind| !kinds.contains(*kind)).collect();
    assert!(missing.is_empty(), "no such secret came by: {missing:?}");
    // What Azure said did arrive where it could have been seen.
    for place in ["the log", "the report", "the table", "an answer"] {
        assert!(echoed.contains(place), "Azure's words are not in {place}, but in {echoed:?}");
    }
}

#[test]
fn spans_and_metrics_hold_no_secret_whatever_azure_repeats() {
    export::run_alone("secrets::what_a_factory_exports_holds_no_secret");
}

#[test]
#[ignore = "takes what its whole process exports: spans_and_metrics_hold_no_secret_whatever_azure_repeats runs it in one of its own"]
fn what_a_factory_exports_holds_no_secret() {
    let exported = Exported::start();
    for (seed, git_refusals) in [(1, [502, 0, 500].as_slice()), (2, &[0, 422]), (4, &[401])] {
        scenario(async {
            let (guarded, _, _guard) = worked(seed, git_refusals).await;
            let received = exported.received();
            let leaks = guarded.search(&received);
            assert!(leaks.is_empty(), "{} leaks: {:#?}", leaks.len(), &leaks[..leaks.len().min(12)]);
            for signal in ["/v1/traces", "/v1/metrics"] {
                assert!(received.iter().any(|(place, _)| place == signal), "nothing came to {signal}");
            }
            let spans = || received.iter().filter(|(place, _)| place == "/v1/traces");
            // Azure's words did arrive, and what calls are of: neither the address of a SAS nor that of a key is left out.
            for word in [ECHO, "imagefactoryvhds", "/listKeys"] {
                assert!(spans().any(|(_, text)| holds(text, word)), "no span has {word}");
            }

            let secrets = guarded.secrets.one_of_each();
            for (kind, value) in &secrets {
                let mut span = global::tracer("leaky").start("a call");
                span.set_attribute(KeyValue::new("url.full", format!("https://x/?p={value}&{kind}")));
                span.end();
            }
            let leaks = guarded.search(&exported.received());
            for kind in secrets.keys() {
                assert!(leaks.iter().any(|leak| leak.what == *kind), "{kind} is not found in a span");
            }
            exported.forget();
        });
    }
}

#[test]
fn a_secret_that_leaks_is_found_wherever_it_goes() {
    scenario(async {
        let (guarded, corpus, _guard) = worked(5, &[]).await;
        assert_eq!(guarded.search(&corpus), []);
        let factory = &guarded.story.factory;
        let (container, broker) = (factory.ledger_container(), factory.host.broker.clone());
        let planted: Vec<(&str, String, String)> = guarded
            .secrets
            .one_of_each()
            .into_iter()
            .enumerate()
            .map(|(number, (kind, value))| {
                (kind, format!("leak {number}: {value}"), format!("leak {number}: "))
            })
            .collect();
        for (number, (kind, text, _)) in planted.iter().enumerate() {
            match number % 3 {
                0 => tracing::trace!(text, "leaks"),
                1 => {
                    let (name, metadata) = (format!("runs/{number}.json"), BTreeMap::new());
                    let bytes = json!({"error": {"message": text}}).to_string();
                    let put = container.put(&name, bytes, &metadata, Condition::None);
                    CALM.scope((), put).await.unwrap();
                }
                _ => {
                    let message = BrokerMessage::new(text.clone().into_bytes()).with_message_id(*kind);
                    broker.send(Queue::CreateVm.name(), vec![message]).unwrap();
                }
            }
        }
        let leaks = guarded.search(&CALM.scope((), guarded.corpus()).await);
        for (number, (kind, _, mark)) in planted.iter().enumerate() {
            let place = ["the log", "ledger: runs/", "a message in create-vm"][number % 3];
            let is_it = |leak: &&sweep::Leak| leak.place.starts_with(place) && leak.text.contains(mark);
            assert!(leaks.iter().any(|leak| is_it(&leak)), "{kind} is not found in {place}: {leaks:#?}");
        }
    });
}
