use factory_clock::Clock;

use super::*;
use crate::{
    dev::git_host::served::Served,
    domain::{
        Repository,
        commit_event::{CommitEvent, Decision, Watched, decide},
    },
};

fn secret() -> Secret<String> {
    Secret::new("It's a Secret to Everybody".to_owned())
}

fn host(kind: Kind) -> Host {
    Host::in_process(kind, "images", Served::new().unwrap(), Clock::system())
}

fn body(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.body).unwrap()
}

/// GitHub, "Validating webhook deliveries", "Testing the webhook payload validation".
#[test]
fn the_signature_is_the_one_that_github_publishes_for_tests() {
    let published = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(signature(b"Hello, World!", &secret()), published);
}

#[test]
fn github_tells_of_every_kind_of_move_in_its_own_way() {
    let host = host(Kind::GitHub);
    let first = host.commit("main", &[("a", "1")]);
    let second = host.commit("main", &[("a", "2")]);
    let pushed = |before: Option<&str>, after: Option<&str>| {
        let (before, after) = (before.map(str::to_owned), after.map(str::to_owned));
        let push = Push { reference: "refs/heads/main".to_owned(), before, after };
        body(&host.pushed(&push, &secret()).unwrap())
    };
    let flags = |body: &Value| ["created", "deleted", "forced"].map(|name| body[name].as_bool().unwrap());
    let made = pushed(None, Some(&second));
    assert_eq!((flags(&made), made["before"].as_str()), ([true, false, false], Some(NO_COMMIT)));
    assert_eq!(made["commits"].as_array().unwrap().len(), 2);
    let moved = pushed(Some(&first), Some(&second));
    assert_eq!(flags(&moved), [false, false, false]);
    assert_eq!((&moved["commits"][0]["id"], &moved["head_commit"]["id"]), (&json!(second), &json!(second)));
    assert_eq!(moved["head_commit"]["author"]["name"], "Ada Lovelace");
    assert_eq!(moved["head_commit"]["timestamp"], "2026-01-01T00:00:01Z");
    let back = pushed(Some(&second), Some(&first));
    assert_eq!((flags(&back), &back["head_commit"]["id"]), ([false, false, true], &json!(first)));
    let gone = pushed(Some(&second), None);
    assert_eq!((flags(&gone), gone["after"].as_str()), ([false, true, false], Some(NO_COMMIT)));
    assert!(gone["head_commit"].is_null() && gone["commits"] == json!([]));
}

#[test]
fn azure_devops_tells_newest_first_and_of_no_commits_where_none_came() {
    let host = host(Kind::AzureDevOps);
    let first = host.commit("main", &[("a", "1")]);
    let second = host.commit("main", &[("a", "2")]);
    let made = body(&host.pushed(&Push::of("main", None, &second), &secret()).unwrap());
    let ids = [&made["resource"]["commits"][0]["commitId"], &made["resource"]["commits"][1]["commitId"]];
    assert_eq!(ids, [&json!(second), &json!(first)]);
    assert_eq!(made["resource"]["refUpdates"][0]["oldObjectId"], NO_COMMIT);
    let address = "https://contoso@dev.azure.com/contoso/Image%20Factory/_git/images";
    assert_eq!(made["resource"]["repository"]["remoteUrl"], address);
    let back = body(&host.pushed(&Push::of("main", Some(&second), &first), &secret()).unwrap());
    assert_eq!(back["resource"].get("commits"), None);
}

#[test]
fn what_is_sent_is_read_as_the_push_that_it_is() {
    for kind in [Kind::GitHub, Kind::AzureDevOps] {
        let host = host(kind);
        let commit = host.commit("main", &[("a", "1")]);
        let delivery = host.pushed(&Push::of("main", None, &commit), &secret()).unwrap();
        let event = match kind {
            Kind::GitHub => CommitEvent::of_github("push", &delivery.body),
            Kind::AzureDevOps => CommitEvent::of_azure_devops(&delivery.body),
        };
        let repository = Repository::parse(&host.address()).unwrap();
        let watched = Watched { repository, branch: "main".to_owned() };
        let Decision::Start(new) = decide(event.unwrap(), &watched) else { panic!("{kind:?}") };
        assert_eq!((new.commit.as_str(), new.author.as_deref()), (commit.as_str(), Some("Ada Lovelace")));
    }
}

#[test]
fn a_delivery_of_the_same_push_has_the_same_id_and_shows_no_secret() {
    let host = host(Kind::GitHub);
    let first = host.commit("main", &[("a", "1")]);
    let second = host.commit("main", &[("a", "2")]);
    let sent = |push: &Push| {
        let delivery = host.pushed(push, &secret()).unwrap();
        assert!(!String::from_utf8_lossy(&delivery.body).contains(secret().expose()));
        let header = delivery.headers.into_iter().find(|(name, _)| *name == "X-GitHub-Delivery");
        header.unwrap().1
    };
    let (one, other) = (Push::of("main", None, &first), Push::of("main", Some(&first), &second));
    assert_eq!(sent(&one), sent(&one));
    assert_ne!(sent(&one), sent(&other));
}
