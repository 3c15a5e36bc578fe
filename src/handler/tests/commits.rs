//! Commit events, as the host hands them over.

use functions_host::payload::http;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::*;
use crate::{
    domain::{RunReason, messages::Step},
    handler::settings::{
        source::REPOSITORY,
        webhooks::{AZURE_DEVOPS_WEBHOOK_SECRET, GITHUB_WEBHOOK_SECRET},
    },
    ledger::{Key, RunRecord},
};

/// GitHub's published one.
pub(super) const SECRET: &str = "It's a Secret to Everybody";
const COMMIT_ID: &str = "cf38a2f1b5d94e2c8a6b7d0e1f2a3b4c5d6e7f80";
const OTHER_COMMIT: &str = "1111111111111111111111111111111111111111";
const GONE: &str = "0000000000000000000000000000000000000000";
const RUN: &str = "commit-cf38a2f1b5d94e2c";

pub(super) fn github() -> Webhooks {
    let settings = [(REPOSITORY, "https://github.com/octo-org/images"), (GITHUB_WEBHOOK_SECRET, SECRET)];
    Webhooks::read(&settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

pub(super) fn azure_devops() -> Webhooks {
    let settings = [
        (REPOSITORY, "https://dev.azure.com/fabrikam/images/_git/images"),
        (AZURE_DEVOPS_WEBHOOK_SECRET, SECRET),
    ];
    Webhooks::read(&settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
}

/// What was sent, or why nothing can be.
#[derive(Default)]
struct Sent(Mutex<Vec<Envelope>>);

impl Sent {
    fn all(&self) -> Vec<Envelope> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Outbox for Sent {
    async fn send(&self, envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(envelopes);
        Ok(())
    }
}

async fn sending_to(outbox: Arc<dyn Outbox>, webhooks: Webhooks) -> Router {
    let parts = example().await.0.factory;
    let factory = Factory::new(
        parts.azure.clone(),
        parts.ledger.clone(),
        outbox,
        parts.source.clone(),
        parts.clock.clone(),
        parts.factory_lab.clone(),
    );
    router_with(Arc::new(factory), webhooks)
}

async fn listening(webhooks: Webhooks) -> (Router, Arc<Sent>) {
    let sent = Arc::new(Sent::default());
    (sending_to(sent.clone(), webhooks).await, sent)
}

/// A request by its headers and body.
fn request(headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = http::Request {
        url: "https://factory.azurewebsites.net/api/commit".to_owned(),
        method: "POST".to_owned(),
        headers,
        body: (!body.is_empty()).then(|| body.to_vec()),
        ..http::Request::default()
    };
    http::invocation("req", &request, &SYS)
}

fn signature(body: &[u8], secret: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    format!("sha256={:x}", mac.finalize().into_bytes())
}

/// A delivery of GitHub's with the right signature.
fn delivery(event: &str, body: &[u8]) -> Vec<u8> {
    let signature = signature(body, SECRET);
    let headers = [
        ("Content-Type", "application/json"),
        ("X-GitHub-Event", event),
        ("X-Hub-Signature-256", &signature),
    ];
    request(&headers, body)
}

fn push(branch: &str, after: &str) -> String {
    json!({"ref": branch, "before": OTHER_COMMIT, "after": after, "repository": {"full_name": "octo-org/images"},
           "head_commit": {"id": after, "author": {"name": "Mona Lisa"}}})
    .to_string()
}

fn pushed(after: &str) -> Vec<u8> {
    delivery("push", push("refs/heads/main", after).as_bytes())
}

fn azure_push() -> String {
    json!({"eventType": "git.push", "id": "03c164c2-8912-4d5e-8009-3707d5f83734", "resource": {
        "commits": [{"commitId": COMMIT_ID, "author": {"name": "Jamal Hartnett"}}],
        "refUpdates": [{"name": "refs/heads/main", "oldObjectId": OTHER_COMMIT, "newObjectId": COMMIT_ID}],
        "repository": {"id": "278d5cd2-584d-4b63-824a-2ba458937249", "name": "images",
                       "remoteUrl": "https://fabrikam@dev.azure.com/fabrikam/images/_git/images"}}})
    .to_string()
}

/// The caller's answer: status and body, as the host hands them on.
pub(super) async fn call(router: &Router, function: &str, invocation: impl Into<Body>) -> (u16, Value) {
    let (status, value) = ask(router, Method::POST, &format!("/{function}"), invocation).await;
    assert_eq!(status, 200, "{value}");
    let res = &value["Outputs"]["res"];
    (res["statusCode"].as_u64().unwrap().try_into().unwrap(), res["body"].clone())
}

/// What was asked for, of every message.
fn asked(sent: &Sent) -> Vec<(String, Option<String>, Option<String>)> {
    let envelopes = sent.all().into_iter().map(|envelope| match envelope.message.step {
        Step::StartRun(start) => {
            assert_eq!((start.reason, start.only, start.force), (RunReason::Commit, None, false));
            assert!(envelope.at.is_none() && envelope.recovery.is_none());
            (envelope.message.run.to_string(), start.commit, start.author)
        }
        other => panic!("{other:?}"),
    });
    envelopes.collect()
}

fn run_of(commit: &str, author: Option<&str>) -> (String, Option<String>, Option<String>) {
    let run = format!("commit-{}", &commit[..16]);
    (run, Some(commit.to_owned()), author.map(str::to_owned))
}

#[tokio::test(start_paused = true)]
async fn a_signed_push_of_github_asks_for_a_run_of_its_commit() {
    let (router, sent) = listening(github()).await;
    let answer = call(&router, COMMIT, pushed(COMMIT_ID)).await;
    assert_eq!(answer, (202, json!({"run": RUN, "commit": COMMIT_ID})));
    assert_eq!(asked(&sent), [run_of(COMMIT_ID, Some("Mona Lisa"))]);
}

#[tokio::test(start_paused = true)]
async fn the_text_that_the_host_makes_of_a_body_still_has_its_signature() {
    let (router, sent) = listening(github()).await;
    let requests = host_contract::requests();
    let own = requests.iter().find(|request| request.name == "own-commit").unwrap();
    assert_eq!(call(&router, COMMIT, own.body()).await.0, 202);
    assert_eq!(asked(&sent), [run_of(COMMIT_ID, Some("Mona Lisa"))]);
}

#[tokio::test(start_paused = true)]
async fn a_push_of_azure_devops_needs_the_password_or_the_secret_header() {
    let body = azure_push();
    let basic = |text: &str| format!("Basic {}", BASE64.encode(text));
    let of = |headers: &[(&str, &str)]| {
        let mut all = vec![("Content-Type", "application/json; charset=utf-8")];
        all.extend_from_slice(headers);
        request(&all, body.as_bytes())
    };
    let (right, wrong) = (basic(&format!("hook:{SECRET}")), basic("hook:It's no Secret at all"));
    let (router, sent) = listening(azure_devops()).await;
    for invocation in [
        of(&[]),
        of(&[("Authorization", &wrong)]),
        of(&[("Authorization", SECRET)]),
        of(&[("Authorization", &format!("Bearer {SECRET}"))]),
        of(&[("Authorization", &basic(SECRET))]),
        of(&[("Authorization", &wrong), ("X-Image-Factory-Secret", SECRET)]),
        of(&[("X-Image-Factory-Secret", "")]),
        of(&[("X-Image-Factory-Secret", SECRET), ("X-Image-Factory-Secret", SECRET)]),
        of(&[("X-Hub-Signature-256", &signature(body.as_bytes(), SECRET))]),
    ] {
        assert_eq!(call(&router, COMMIT, invocation).await.0, 401);
    }
    assert!(sent.all().is_empty());
    for invocation in [of(&[("Authorization", &right)]), of(&[("x-image-factory-secret", SECRET)])] {
        let answer = call(&router, COMMIT, invocation).await;
        assert_eq!(answer, (202, json!({"run": RUN, "commit": COMMIT_ID})));
    }
    let expected = run_of(COMMIT_ID, Some("Jamal Hartnett"));
    assert_eq!(asked(&sent), [expected.clone(), expected]);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_signature_nothing_starts_and_nothing_is_learnt() {
    let body = push("refs/heads/main", COMMIT_ID);
    let right = signature(body.as_bytes(), SECRET);
    let of = |signature: &str, body: &str| {
        let headers = [
            ("Content-Type", "application/json"),
            ("X-GitHub-Event", "push"),
            ("X-Hub-Signature-256", signature),
        ];
        request(&headers, body.as_bytes())
    };
    let (router, sent) = listening(github()).await;
    let basic = format!("Basic {}", BASE64.encode(format!(":{SECRET}")));
    let mut answers = Vec::new();
    for invocation in [
        of(&signature(body.as_bytes(), "It's a Secret to Nobody"), &body),
        of(&right, &push("refs/heads/main", OTHER_COMMIT)),
        of(&right, &format!("{body} ")),
        of(&right, ""),
        of(&right, "no JSON"),
        of("", &body),
        of("sha256=", &body),
        of(&right.replace("sha256=", "sha1="), &body),
        of(&right[..right.len() - 2], &body),
        request(&[("Content-Type", "application/json"), ("X-GitHub-Event", "ping")], b"{}"),
        request(&[("Content-Type", "application/json"), ("Authorization", &basic)], azure_push().as_bytes()),
        request(&[("X-Hub-Signature-256", &right), ("x-hub-signature-256", "sha256=00")], body.as_bytes()),
        request(
            &[("Content-Type", "application/octet-stream"), ("X-Hub-Signature-256", &right)],
            body.as_bytes(),
        ),
        // What is no UTF-8 was signed, but is not what arrives.
        delivery("push", &[body.as_bytes(), b"\xff"].concat()),
        request(&[], b""),
    ] {
        let (status, value) = ask(&router, Method::POST, "/commit", invocation).await;
        assert_eq!((status, &value["Outputs"]["res"]["statusCode"]), (200, &json!(401)), "{value}");
        answers.push(value);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert!(sent.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_no_run_follows_from_is_acknowledged_with_the_reason() {
    let (router, sent) = listening(github()).await;
    let of = |branch: &str, after: &str| delivery("push", push(branch, after).as_bytes());
    let elsewhere = push("refs/heads/main", COMMIT_ID).replace("octo-org/images", "octo-org/website");
    for (invocation, reason) in [
        (delivery("ping", b"{\"zen\":\"Design for failure.\"}"), "a ping"),
        (delivery("issues", b"{}"), "'issues' is no push"),
        (of("refs/tags/v1", COMMIT_ID), "the tag v1"),
        (of("refs/heads/dev", COMMIT_ID), "a push to dev"),
        (of("refs/heads/main", GONE), "was deleted"),
        (delivery("push", elsewhere.as_bytes()), "octo-org/website"),
    ] {
        let (status, body) = call(&router, COMMIT, invocation).await;
        assert_eq!(status, 200, "{body}");
        assert!(body["ignored"].as_str().unwrap().contains(reason), "{body}");
    }
    assert!(sent.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_signed_body_that_cannot_be_used_is_the_senders_fault() {
    let (router, sent) = listening(github()).await;
    let body = push("refs/heads/main", COMMIT_ID);
    let signed = |headers: &[(&str, &str)], body: &str| {
        let signature = signature(body.as_bytes(), SECRET);
        let mut all = vec![("X-Hub-Signature-256", signature.as_str())];
        all.extend_from_slice(headers);
        request(&all, body.as_bytes())
    };
    let (json_type, is_push) = (("Content-Type", "application/json"), ("X-GitHub-Event", "push"));
    let form = ("Content-Type", "application/x-www-form-urlencoded");
    for (invocation, status, reason) in [
        (signed(&[json_type, is_push], "{"), 400, "no event of GitHub"),
        (signed(&[json_type, is_push], &push("refs/heads/main", "HEAD")), 400, "whole hash"),
        (signed(&[json_type], &body), 400, "X-GitHub-Event"),
        (signed(&[form, is_push], "payload=%7B%7D"), 415, "application/json"),
        (signed(&[is_push], &body), 415, "application/json"),
    ] {
        let answer = call(&router, COMMIT, invocation).await;
        assert_eq!(answer.0, status, "{}", answer.1);
        assert!(answer.1["error"].as_str().unwrap().contains(reason), "{}", answer.1);
    }
    assert!(sent.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn oversized_bodies_are_refused_however_oversized_they_are() {
    let (router, sent) = listening(github()).await;
    let mut body = push("refs/heads/main", COMMIT_ID).into_bytes();
    body.resize(25 << 20, b' ');
    assert_eq!(call(&router, COMMIT, delivery("push", &body)).await.0, 202, "GitHub's largest event");
    body.push(b' ');
    assert_eq!(call(&router, COMMIT, delivery("push", &body)).await.0, 413);
    let chunk = vec![b' '; 1 << 20];
    let chunks = std::iter::repeat_with(move || Ok::<_, io::Error>(chunk.clone())).take(101);
    assert_eq!(call(&router, COMMIT, Body::from_stream(futures::stream::iter(chunks))).await.0, 413);
    let asked_for = json!({"commit": COMMIT_ID, "author": "x".repeat(16 << 10)}).to_string();
    assert_eq!(call(&router, START, request(&[], asked_for.as_bytes())).await.0, 413);
    assert_eq!(sent.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_host_is_told_if_a_request_is_no_invocation() {
    let (router, _) = listening(github()).await;
    let broken = vec![Ok(pushed(COMMIT_ID)), Err(io::Error::from(io::ErrorKind::ConnectionReset))];
    let broken = Body::from_stream(futures::stream::iter(broken));
    assert_eq!(post(&router, COMMIT, broken).await.0, 400);
    for body in [
        Vec::new(),
        b"{".to_vec(),
        b"\xff".to_vec(),
        tick(),
        binary(b"{}"),
        json!({"Data": {"req": {}}}).to_string().into_bytes(),
        json!({"Data": {"req": {"Headers": {"A": "b"}}}}).to_string().into_bytes(),
        json!({"Data": {"req": {"Headers": {}, "Body": {}}}}).to_string().into_bytes(),
        // Half of a surrogate pair is no text.
        br#"{"Data":{"req":{"Headers":{},"Body":"\ud83d"}}}"#.to_vec(),
    ] {
        for function in [COMMIT, START] {
            let (status, told) = post(&router, function, body.clone()).await;
            assert_eq!(status, 400, "{told}");
            assert!(told.contains("not an invocation"), "{told}");
        }
    }
    assert_eq!(ask(&router, Method::GET, "/commit", Body::empty()).await.0, 405);
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_a_key_starts_the_run_of_the_commit_that_it_names() {
    // With no webhooks set up: the host has checked the key.
    let (router, sent) = listening(Webhooks::none()).await;
    let of = |body: Value| request(&[("Content-Type", "application/json")], body.to_string().as_bytes());
    let answer =
        call(&router, START, of(json!({"commit": COMMIT_ID.to_uppercase(), "author": "Mona"}))).await;
    assert_eq!(answer, (202, json!({"run": RUN, "commit": COMMIT_ID})));
    for body in [json!({}), json!({"commit": "main"}), json!({"commit": COMMIT_ID, "x": 1}), json!("x")] {
        let (status, told) = call(&router, START, of(body)).await;
        assert_eq!(status, 400);
        assert!(told["error"].as_str().unwrap().contains("\"commit\""), "{told}");
    }
    assert_eq!(call(&router, START, request(&[], b"")).await.0, 400);
    assert_eq!(asked(&sent), [run_of(COMMIT_ID, Some("Mona"))]);
}

#[tokio::test(start_paused = true)]
async fn where_webhooks_are_not_set_up_there_are_none_and_all_else_works() {
    let (router, sent) = listening(Webhooks::none()).await;
    let answer = call(&router, COMMIT, pushed(COMMIT_ID)).await;
    assert_eq!(answer, (404, json!({"error": "commit events are not set up here"})));
    assert!(sent.all().is_empty());
    assert_eq!(post(&router, "cleanup", tick()).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_sender_sees_that_a_run_could_not_be_asked_for() {
    let router = sending_to(Arc::new(Closed), github()).await;
    let (status, body) = call(&router, COMMIT, pushed(COMMIT_ID)).await;
    assert_eq!(status, 503, "{body}");
    let told = body.to_string();
    assert!(told.contains("send this again") && !told.contains("namespace"), "{told}");
}

/// A broker that does not answer.
struct Silent;

#[async_trait]
impl Outbox for Silent {
    async fn send(&self, _envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_does_not_wait_for_a_broker_that_is_silent() {
    let router = sending_to(Arc::new(Silent), github()).await;
    assert_eq!(call(&router, COMMIT, pushed(COMMIT_ID)).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn events_that_come_twice_or_out_of_order_are_one_run_of_each_commit() {
    let (router, sent) = listening(github()).await;
    let by_key = request(&[], json!({"commit": COMMIT_ID}).to_string().as_bytes());
    for after in [COMMIT_ID, OTHER_COMMIT, COMMIT_ID, OTHER_COMMIT, COMMIT_ID] {
        assert_eq!(call(&router, COMMIT, pushed(after)).await.0, 202);
    }
    assert_eq!(call(&router, START, by_key).await.0, 202);
    let ids: std::collections::BTreeSet<String> = sent.all().iter().map(Envelope::message_id).collect();
    assert_eq!(
        (sent.all().len(), ids.len()),
        (6, 3),
        "the broker drops three; the build server knew no author"
    );
    // Even if the broker drops none, in whatever order it delivers: the first makes the run.
    let factory = example().await.0.factory;
    let router = router_with(factory.clone(), github());
    for envelope in sent.all().into_iter().rev() {
        let (status, told) = post(&router, "start-run", binary(&envelope.message.to_bytes())).await;
        assert_eq!(status, 200, "{told}");
    }
    let runs = factory.ledger.runs().await.unwrap();
    assert_eq!(runs.len(), 2, "{runs:?}");
    for (commit, author) in [(COMMIT_ID, None), (OTHER_COMMIT, Some("Mona Lisa"))] {
        let (run, commit, author) = run_of(commit, author);
        let key = Key::run(&RunId::parse(&run).unwrap());
        let (record, _) = factory.ledger.read::<RunRecord>(&key).await.unwrap().unwrap();
        assert_eq!(
            (record.reason, record.commit.clone(), record.author.clone()),
            (RunReason::Commit, commit, author)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn no_log_line_shows_a_secret() {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = tracing_subscriber::registry()
        .with(logging::filter("trace").unwrap())
        .with(logging::lines(move || writer.clone()));
    let (github, _) = listening(github()).await;
    let (azure, _) = listening(azure_devops()).await;
    let basic = format!("Basic {}", BASE64.encode(format!("hook:{SECRET}")));
    let wrong = format!("{basic}=");
    let json_type = ("Content-Type", "application/json");
    let calls = async || {
        call(&github, COMMIT, pushed(COMMIT_ID)).await;
        for authorization in [&basic, &wrong] {
            let headers = [json_type, ("Authorization", authorization.as_str())];
            call(&azure, COMMIT, request(&headers, azure_push().as_bytes())).await;
        }
    };
    // Every place logs once before somebody listens, see `every_log_line_is_one_json_object_with_the_invocations_id`.
    calls().await;
    let guard = tracing::subscriber::set_default(subscriber);
    tracing::callsite::rebuild_interest_cache();
    calls().await;
    drop(guard);
    let text = kept.text();
    assert!(text.contains(RUN), "{text}");
    for secret in [SECRET, &BASE64.encode(SECRET), &basic["Basic ".len()..], "sha256="] {
        assert!(!text.contains(secret), "{text}");
    }
}
