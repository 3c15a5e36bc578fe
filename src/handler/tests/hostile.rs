//! Invocations from nobody who means well.

use hostile_bytes::{Attack, Grammar};

use super::*;

/// The contract's requests of this app's own functions, with the functions.
fn own_requests() -> Vec<(String, String)> {
    let usable = |request: &host_contract::Request| {
        request.own && request.refused.as_ref().is_none_or(|(status, _)| *status == 500)
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
        let results =
            Queue::ALL.iter().map(|queue| queue.name()).chain([CLEANUP, "nowhere"]).map(|function| {
                Invocation::parse(function, bytes)
                    .map(|invocation| drop(invocation.span()))
                    .map_err(|error| error.to_string())
            });
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
