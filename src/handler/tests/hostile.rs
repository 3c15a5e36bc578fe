//! Invocations from nobody who means well.

use hostile_bytes::{Attack, Grammar};

use super::*;
use crate::domain::{
    Repository,
    commit_event::{CommitEvent, CommitId, Decision, NewCommit, Watched, decide},
};

/// Functions that callers reach over HTTP.
fn is_called(function: &str) -> bool {
    [COMMIT, START].contains(&function)
}

/// The contract's requests of this app's own functions, with the functions.
fn own_requests() -> Vec<(String, String)> {
    let usable = |request: &host_contract::Request| {
        request.own
            && !is_called(&request.function)
            && request.refused.as_ref().is_none_or(|(status, _)| *status == 500)
    };
    let requests = host_contract::requests().into_iter().filter(usable);
    requests.map(|request| (request.function.clone(), request.body())).collect()
}

#[test]
fn no_request_breaks_the_reader_of_invocations() {
    let requests = own_requests();
    let attack = Attack::on("invocations", Grammar::Json).samples(requests.iter().map(|(_, body)| body));
    attack.run(|bytes| {
        // Whatever it is, every function may get it; a sample is taken by its own one.
        let results = Queue::ALL.iter().map(|queue| queue.name()).chain([CLEANUP, SCHEDULE, "nowhere"]).map(
            |function| {
                Invocation::parse(function, bytes)
                    .map(|invocation| drop(invocation.span()))
                    .map_err(|error| error.to_string())
            },
        );
        let mut refusals = Vec::new();
        for result in results {
            match result {
                Ok(()) => return Ok(()),
                Err(refusal) => refusals.push(refusal),
            }
        }
        assert!(refusals.iter().all(|refusal| !refusal.is_empty()), "{refusals:?}");
        Err(refusals.join("; "))
    });
}

#[test]
fn no_message_breaks_the_reader_of_messages() {
    let lab = json!({"subscriptionId": "8d9f1e4a-1111-4222-8333-444455556666", "resourceGroup": "rg", "labName": "web"});
    let samples = [
        start_run().to_json(),
        json!({"version": 1, "run": "r-1", "imagePath": "Windows/Server2022.json", "attempt": 3}),
        json!({"version": 1, "run": "r-1", "imagePath": "a.json", "lab": lab}),
    ];
    let attack = Attack::on("messages", Grammar::Json).samples(samples.map(|sample| sample.to_string()));
    attack.run(|bytes| {
        let read = Queue::ALL.map(|queue| Message::parse(queue, bytes).map_err(|error| error.to_string()));
        let mut refusals = Vec::new();
        for result in read {
            match result {
                // What was read is written again, and read as the same.
                Ok(message) => {
                    let again = Message::parse(message.queue(), &message.to_bytes());
                    assert_eq!(again.as_ref().ok(), Some(&message), "{again:?}");
                    return Ok(());
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        assert!(refusals.iter().all(|refusal| !refusal.is_empty()), "{refusals:?}");
        Err(refusals.join("; "))
    });
}

#[test]
fn no_body_breaks_the_reader_of_commit_events() {
    let commit = "cf38a2f1b5d94e2c8a6b7d0e1f2a3b4c5d6e7f80";
    let author = json!({"name": "Mona Lisa", "email": "mona@github.com"});
    let samples = [
        json!({"ref": "refs/heads/main", "after": commit, "forced": true, "head_commit": {"id": commit, "author": author},
               "repository": {"full_name": "octo-org/images"}}),
        json!({"ref": "refs/tags/v1", "after": "0".repeat(40), "head_commit": null, "repository": {"full_name": "a/b"}}),
        json!({"eventType": "git.push", "resource": {
            "commits": [{"commitId": commit, "author": author}], "refUpdates": [{"name": "refs/heads/main", "newObjectId": commit}],
            "repository": {"id": "278d5cd2-584d-4b63-824a-2ba458937249", "name": "images", "remoteUrl": "https://dev.azure.com/o/p/_git/images"}}}),
        json!({"commit": commit, "author": "Mona Lisa"}),
    ];
    let watched = ["https://github.com/octo-org/images", "https://dev.azure.com/o/p/_git/images"]
        .map(|url| Watched { repository: Repository::parse(url).unwrap(), branch: "main".to_owned() });
    let attack = Attack::on("commit events", Grammar::Json).samples(samples.map(|sample| sample.to_string()));
    attack.run(|bytes| {
        let text = |error: &dyn ToString| error.to_string();
        let read = [
            CommitEvent::of_github("push", bytes).map_err(|error| text(&error)),
            CommitEvent::of_azure_devops(bytes).map_err(|error| text(&error)),
        ];
        let mut refusals = Vec::new();
        let mut is_taken = false;
        for event in read {
            match event {
                Ok(event) => {
                    is_taken = true;
                    for watched in &watched {
                        match decide(event.clone(), watched) {
                            Decision::Start(new) => {
                                assert_eq!(CommitId::parse(new.commit.as_str()), Ok(new.commit))
                            }
                            Decision::Ignore(reason) => assert!(!reason.to_string().is_empty()),
                        }
                    }
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        match NewCommit::asked_for(bytes) {
            Ok(new) => {
                is_taken = true;
                let short = |name: &String| !name.is_empty() && name.chars().count() <= 100;
                assert!(new.author.as_ref().is_none_or(short), "{new:?}");
            }
            Err(refusal) => refusals.push(refusal),
        }
        assert!(refusals.iter().all(|refusal| !refusal.is_empty()), "{refusals:?}");
        if is_taken { Ok(()) } else { Err(refusals.join("; ")) }
    });
}

/// Whatever the host hands over, and whatever stands in a webhook's body: nobody without the secret starts anything.
#[test]
fn no_invocation_breaks_the_functions_for_callers() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let routers = runtime.block_on(async {
        let factory = example().await.0.factory;
        [commits::github(), commits::azure_devops()].map(|webhooks| router_with(factory.clone(), webhooks))
    });
    let requests = host_contract::requests().into_iter().filter(|request| is_called(&request.function));
    let mut samples: Vec<Value> =
        requests.map(|request| serde_json::from_str(&request.body()).unwrap()).collect();
    for sample in &mut samples {
        // The right signature of another body.
        sample["Data"]["req"]["Body"] = json!("{}");
    }
    let attack = Attack::on("calls", Grammar::Json).samples(samples.iter().map(Value::to_string));
    attack.run(|bytes| {
        runtime.block_on(async {
            let mut result = Ok(());
            for router in &routers {
                let (status, value) = ask(router, Method::POST, "/commit", bytes.to_vec()).await;
                let answer = &value["Outputs"]["res"]["statusCode"];
                match status {
                    200 => assert!(*answer == 401 || *answer == 413, "{value}"),
                    400 => result = Err(value["error"].to_string()),
                    other => panic!("{other}: {value}"),
                }
            }
            result
        })
    });
}
