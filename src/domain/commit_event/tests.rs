use serde_json::{Value, json};

use super::*;

const BEFORE: &str = "6113728f27ae82c7b1a177c8d03f9e96e0adf246";
const AFTER: &str = "cf38a2f1b5d94e2c8a6b7d0e1f2a3b4c5d6e7f80";
const GONE: &str = "0000000000000000000000000000000000000000";
const REPOSITORY_ID: &str = "278d5cd2-584d-4b63-824a-2ba458937249";

fn github() -> Watched {
    watched("https://github.com/octo-org/images")
}

fn azure_devops() -> Watched {
    watched("https://dev.azure.com/fabrikam/Golden%20Images/_git/images")
}

fn watched(repository: &str) -> Watched {
    Watched { repository: Repository::parse(repository).unwrap(), branch: "main".to_owned() }
}

/// GitHub's payload, as far as it matters here (octokit/webhooks, push).
fn github_push() -> Value {
    json!({
        "ref": "refs/heads/main", "before": BEFORE, "after": AFTER,
        "created": false, "deleted": false, "forced": false, "base_ref": null,
        "compare": "https://github.com/octo-org/images/compare/6113728f27ae...cf38a2f1b5d9",
        "commits": [{"id": AFTER, "message": "Patch Tuesday", "modified": ["GoldenImages/Windows/Server2022.json"]}],
        "head_commit": {"id": AFTER, "message": "Patch Tuesday", "author": {"name": "Mona Lisa", "email": "mona@github.com", "username": "mona"}},
        "repository": {"id": 1, "full_name": "Octo-Org/images", "default_branch": "main", "private": true},
        "pusher": {"name": "mona", "email": "mona@github.com"}, "sender": {"login": "mona"},
    })
}

/// Azure DevOps' payload (Microsoft, "Service hooks events", Code pushed).
fn azure_devops_push() -> Value {
    json!({
        "subscriptionId": "f2c1b3a4-0000-4000-8000-000000000000", "notificationId": 7,
        "id": "03c164c2-8912-4d5e-8009-3707d5f83734", "eventType": "git.push", "publisherId": "tfs",
        "resource": {
            "commits": [{"commitId": AFTER, "author": {"name": "Jamal Hartnett", "email": "jamal@fabrikam.com", "date": "2026-01-01T00:00:00Z"}, "comment": "Patch Tuesday"}],
            "refUpdates": [{"name": "refs/heads/main", "oldObjectId": BEFORE, "newObjectId": AFTER}],
            "repository": {"id": REPOSITORY_ID, "name": "images", "project": {"id": "be9b3917-87e6-42a4-a549-2bc06a7a878f", "name": "Golden Images"},
                           "defaultBranch": "refs/heads/main", "remoteUrl": "https://fabrikam@dev.azure.com/fabrikam/Golden%20Images/_git/images"},
            "pushedBy": {"displayName": "Jamal Hartnett"}, "pushId": 14, "date": "2026-01-01T00:00:00Z",
        },
        "resourceVersion": "1.0", "createdDate": "2026-01-01T00:00:00Z",
    })
}

fn of_github(payload: &Value) -> Decision {
    decide(CommitEvent::of_github("push", payload.to_string().as_bytes()).unwrap(), &github())
}

fn of_azure_devops(payload: &Value) -> Decision {
    decide(CommitEvent::of_azure_devops(payload.to_string().as_bytes()).unwrap(), &azure_devops())
}

/// The payload with another value at this place.
fn with(mut payload: Value, place: &str, value: Value) -> Value {
    *payload.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
    payload
}

fn without(mut payload: Value, place: &str, key: &str) -> Value {
    payload.pointer_mut(place).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    payload
}

fn reason(decision: Decision) -> String {
    match decision {
        Decision::Ignore(ignored) => ignored.to_string(),
        Decision::Start(commit) => panic!("{commit:?}"),
    }
}

fn started(commit: &str, author: Option<&str>) -> Decision {
    let commit = CommitId::parse(commit).unwrap();
    Decision::Start(NewCommit { commit, author: author.map(str::to_owned) })
}

#[test]
fn a_push_to_the_branch_starts_a_run_of_the_commit_after_it() {
    assert_eq!(of_github(&github_push()), started(AFTER, Some("Mona Lisa")));
    assert_eq!(of_azure_devops(&azure_devops_push()), started(AFTER, Some("Jamal Hartnett")));
}

#[test]
fn a_forced_push_is_a_push() {
    assert_eq!(of_github(&with(github_push(), "/forced", json!(true))), started(AFTER, Some("Mona Lisa")));
    let back = with(azure_devops_push(), "/resource/refUpdates/0/newObjectId", json!(BEFORE));
    assert_eq!(of_azure_devops(&back), started(BEFORE, None), "the commits are not of that one");
}

#[test]
fn a_branch_that_was_just_made_starts_a_run() {
    let made = with(with(github_push(), "/before", json!(GONE)), "/created", json!(true));
    assert_eq!(of_github(&made), started(AFTER, Some("Mona Lisa")));
    let made = with(azure_devops_push(), "/resource/refUpdates/0/oldObjectId", json!(GONE));
    assert_eq!(of_azure_devops(&without(made, "/resource", "commits")), started(AFTER, None));
}

#[test]
fn a_deleted_branch_is_ignored() {
    let gone = with(with(github_push(), "/after", json!(GONE)), "/head_commit", json!(null));
    assert_eq!(reason(of_github(&gone)), "the branch main was deleted");
    let gone = with(azure_devops_push(), "/resource/refUpdates/0/newObjectId", json!(GONE));
    assert_eq!(
        reason(of_azure_devops(&without(gone.clone(), "/resource", "commits"))),
        "the branch main was deleted"
    );
    let gone = with(gone, "/resource/commits", json!(null));
    assert_eq!(reason(of_azure_devops(&gone)), "the branch main was deleted");
}

#[test]
fn tags_and_other_branches_are_ignored_with_the_reason() {
    for (name, expected) in [
        ("refs/tags/v1", "a push of the tag v1: only the branch main counts"),
        ("refs/tags/main", "a push of the tag main: only the branch main counts"),
        ("refs/heads/Main", "a push to Main: only the branch main counts"),
        ("refs/heads/feature/main", "a push to feature/main: only the branch main counts"),
        ("refs/heads/main2", "a push to main2: only the branch main counts"),
        ("main", "a push to main: only the branch main counts"),
        ("refs/pull/1/merge", "a push to refs/pull/1/merge: only the branch main counts"),
    ] {
        assert_eq!(reason(of_github(&with(github_push(), "/ref", json!(name)))), expected);
        let update = with(azure_devops_push(), "/resource/refUpdates/0/name", json!(name));
        assert_eq!(reason(of_azure_devops(&update)), expected);
    }
    let nothing = with(azure_devops_push(), "/resource/refUpdates", json!([]));
    assert_eq!(reason(of_azure_devops(&nothing)), "a push to nothing: only the branch main counts");
}

#[test]
fn of_several_branches_pushed_at_once_the_right_one_counts() {
    let update = |name: &str, after: &str| json!({"name": name, "oldObjectId": BEFORE, "newObjectId": after});
    let other = "1111111111111111111111111111111111111111";
    let several = json!([
        update("refs/tags/v2", other),
        update("refs/heads/dev", GONE),
        update("refs/heads/main", AFTER)
    ]);
    let push = with(azure_devops_push(), "/resource/refUpdates", several);
    assert_eq!(of_azure_devops(&push), started(AFTER, Some("Jamal Hartnett")));
}

#[test]
fn pushes_to_other_repositories_are_ignored() {
    for name in ["octo-org/images2", "octo-org2/images", "images", "octo-org/images/x", ""] {
        let push = with(github_push(), "/repository/full_name", json!(name));
        let expected = format!("a push to {name}, which is not the configured repository");
        assert_eq!(reason(of_github(&push)), expected);
    }
    for url in [
        "https://dev.azure.com/fabrikam/Golden%20Images/_git/images2",
        "https://dev.azure.com/fabrikam/Other/_git/images",
        "https://dev.azure.com/contoso/Golden%20Images/_git/images",
        "https://dev.azure.com.evil.example/fabrikam/Golden%20Images/_git/images",
        "http://dev.azure.com/fabrikam/Golden%20Images/_git/images",
        "https://github.com/octo-org/images",
        "",
    ] {
        let push = with(azure_devops_push(), "/resource/repository/remoteUrl", json!(url));
        assert!(reason(of_azure_devops(&push)).contains("not the configured repository"), "{url}");
    }
    let push = CommitEvent::of_azure_devops(azure_devops_push().to_string().as_bytes()).unwrap();
    assert!(reason(decide(push, &github())).contains("not the configured repository"));
}

#[test]
fn the_sample_of_the_button_test_is_ignored() {
    let mut sample = azure_devops_push();
    sample["resource"]["repository"] = json!({
        "id": REPOSITORY_ID, "name": "Fabrikam-Fiber-Git",
        "url": "https://fabrikam-fiber-inc.visualstudio.com/DefaultCollection/_apis/git/repositories/278d5cd2-584d-4b63-824a-2ba458937249",
        "project": {"id": "6ce954b1-ce1f-45d1-b94d-e6bf2464ba2c", "name": "Fabrikam-Fiber-Git"},
        "defaultBranch": "refs/heads/main",
        "remoteUrl": "https://fabrikam-fiber-inc.visualstudio.com/DefaultCollection/_git/Fabrikam-Fiber-Git",
    });
    assert_eq!(
        reason(of_azure_devops(&sample)),
        "a push to Fabrikam-Fiber-Git, which is not the configured repository"
    );
}

#[test]
fn a_repository_of_azure_devops_is_known_by_its_id_or_its_address() {
    let by_id = watched(&format!("https://dev.azure.com/fabrikam/Golden%20Images/_git/{REPOSITORY_ID}"));
    let renamed = with(azure_devops_push(), "/resource/repository/name", json!("renamed"));
    let renamed = without(renamed, "/resource/repository", "remoteUrl");
    let event = |payload: &Value| CommitEvent::of_azure_devops(payload.to_string().as_bytes()).unwrap();
    assert_eq!(decide(event(&renamed), &by_id), started(AFTER, Some("Jamal Hartnett")));
    assert!(
        reason(decide(event(&renamed), &azure_devops())).contains("renamed"),
        "a name alone is anybody's"
    );
    for url in [
        "https://fabrikam.visualstudio.com/Golden%20Images/_git/images",
        "https://fabrikam.visualstudio.com/DefaultCollection/Golden%20Images/_git/images",
        "https://DEV.azure.com/Fabrikam/golden%20images/_git/Images/",
    ] {
        let push = with(azure_devops_push(), "/resource/repository/remoteUrl", json!(url));
        assert_eq!(of_azure_devops(&push), started(AFTER, Some("Jamal Hartnett")), "{url}");
    }
}

#[test]
fn pings_and_what_is_no_push_are_ignored() {
    let event = CommitEvent::of_github("ping", b"{\"zen\": \"Design for failure.\"}").unwrap();
    assert_eq!(reason(decide(event, &github())), "a ping: the webhook works");
    let event = CommitEvent::of_github("issues", b"{}").unwrap();
    assert_eq!(reason(decide(event, &github())), "'issues' is no push");
    let event = CommitEvent::of_azure_devops(b"{\"eventType\": \"build.complete\"}").unwrap();
    assert_eq!(reason(decide(event, &azure_devops())), "'build.complete' is no push");
}

#[test]
fn a_malformed_event_says_what_is_wrong() {
    let refusal = |payload: &Value| {
        CommitEvent::of_github("push", payload.to_string().as_bytes()).unwrap_err().to_string()
    };
    assert!(refusal(&without(github_push(), "", "after")).contains("missing field `after`"));
    assert!(refusal(&without(github_push(), "", "repository")).contains("missing field `repository`"));
    for hash in ["", "cf38a2f", "HEAD", &"g".repeat(40), &"0".repeat(64)] {
        let text = refusal(&with(github_push(), "/after", json!(hash)));
        assert!(text.contains("after: a commit is named by its whole hash"), "{text}");
    }
    assert!(CommitEvent::of_github("push", b"payload=%7B%7D").is_err());

    let refusal = |payload: &Value| {
        CommitEvent::of_azure_devops(payload.to_string().as_bytes()).unwrap_err().to_string()
    };
    assert!(refusal(&json!([])).contains("Azure DevOps"));
    assert!(refusal(&without(azure_devops_push(), "", "eventType")).contains("missing field `eventType`"));
    let minimal = with(azure_devops_push(), "/resource", json!({"pushId": 14, "url": "https://x"}));
    assert!(refusal(&minimal).contains("Resource details to send: All"));
}

#[test]
fn a_commit_is_its_whole_hash_in_lower_case() {
    let commit = CommitId::parse(&AFTER.to_uppercase()).unwrap();
    assert_eq!(commit.as_str(), AFTER);
    for text in ["", GONE, "cf38a2f", &AFTER[1..], &format!("{AFTER}0"), &format!(" {}", &AFTER[1..]), "é"] {
        assert_eq!(CommitId::parse(text), Err(BadCommitId), "{text}");
    }
}

#[test]
fn a_caller_with_a_key_names_a_commit_and_nothing_else() {
    let asked = |body: Value| NewCommit::asked_for(body.to_string().as_bytes());
    let commit = CommitId::parse(AFTER).unwrap();
    assert_eq!(asked(json!({"commit": AFTER})), Ok(NewCommit { commit: commit.clone(), author: None }));
    let author = Some("Mona Lisa".to_owned());
    assert_eq!(
        asked(json!({"commit": AFTER, "author": " Mona\n\tLisa\u{0} "})),
        Ok(NewCommit { commit, author })
    );
    for (body, expected) in [
        (json!({}), "missing field `commit`"),
        (json!({"commit": "main"}), "its whole hash"),
        (json!({"commit": GONE}), "its whole hash"),
        (json!({"commit": AFTER, "branch": "main"}), "unknown field `branch`"),
        (json!([AFTER, null, 1]), "trailing"),
        (json!(AFTER), "invalid type"),
    ] {
        let refusal = asked(body.clone()).unwrap_err();
        assert!(refusal.contains(expected), "{body}: {refusal}");
        assert!(refusal.contains("{\"commit\": \"<40 hexadecimal digits>\"}"), "{refusal}");
    }
}

#[test]
fn names_from_outside_are_cut() {
    let long = "x".repeat(5000);
    let push = with(github_push(), "/head_commit/author/name", json!(long));
    assert_eq!(of_github(&push), started(AFTER, Some(&"x".repeat(100))));
    let push = with(github_push(), "/repository/full_name", json!(long));
    assert!(reason(of_github(&push)).len() < 200);
    let push = with(github_push(), "/ref", json!(long));
    assert!(reason(of_github(&push)).len() < 200);
    for nobody in [json!(""), json!(" \n"), json!(null)] {
        let push = with(github_push(), "/head_commit/author/name", nobody);
        assert_eq!(of_github(&push), started(AFTER, None));
    }
}
