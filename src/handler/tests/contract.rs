//! The handler's side of the contract in crates/host-contract: it takes the very requests that the local host is held to, and answers
//! with the very answers that the local host judges there.

use std::collections::BTreeSet;

use host_contract::{Request, answers, requests};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;

/// A message of the app's own that can be taken at any time.
const OWN: &str = "own-start-run";

fn stated(name: &str) -> Request {
    requests()
        .into_iter()
        .find(|request| request.name == name)
        .unwrap_or_else(|| panic!("there is no {name}"))
}

#[tokio::test(start_paused = true)]
async fn every_request_of_the_host_is_taken_or_refused_as_stated() {
    let own: BTreeSet<&str> =
        Queue::ALL.iter().map(|queue| queue.name()).chain([CLEANUP, SCHEDULE, COMMIT, START]).collect();
    let mut taken = BTreeSet::new();
    for request in requests().into_iter().filter(|request| request.unbound.is_none()) {
        let router = router(example().await.0.factory);
        let (status, told) = post(&router, &request.function, request.body()).await;
        let about = format!("{}: {} {told}", request.name, request.about);
        match &request.refused {
            Some((expected, reason)) => {
                assert_eq!(status, *expected, "{about}");
                assert!(told.contains(reason), "{about}");
            }
            None if own.contains(request.function.as_str()) => assert_eq!(status, 200, "{about}"),
            None => {
                assert_eq!(status, 404, "{about}");
                assert_eq!(told, format!("there is no function '{}'", request.function), "{about}");
            }
        }
        taken.insert(request.function);
    }
    assert!(own.iter().all(|function| taken.contains(*function)), "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_metadata_comes_with_a_message_it_is_taken() {
    let data: Value = serde_json::from_str(&stated(OWN).body()).unwrap();
    for request in requests().into_iter().filter(|request| request.unbound.is_none()) {
        let mut body: Value = serde_json::from_str(&request.body()).unwrap();
        body["Data"] = data["Data"].clone();
        let router = router(example().await.0.factory);
        let (status, told) = post(&router, "start-run", body.to_string()).await;
        assert_eq!(status, 200, "with the metadata of {}: {told}", request.name);
    }
}

#[tokio::test(start_paused = true)]
async fn the_handlers_own_answers_are_the_stated_ones() {
    let file = answers().into_iter().find(|file| file.name == "own").unwrap();
    for answer in file.answers {
        let (asked, with) = answer.asked.unwrap();
        let (method, path) = asked.split_once(' ').unwrap();
        let router = router(example().await.0.factory);
        let body = with.map_or_else(String::new, |name| stated(&name).body());
        let (status, told) = ask(&router, method.parse().unwrap(), path, body).await;
        assert_eq!(
            answer.content_type.as_deref(),
            Some("application/json"),
            "as `ask` expects of all answers"
        );
        let expected: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((status, told), (answer.status, expected), "{asked}");
    }
}

/// Over a socket, in chunks, with the host's own headers.
#[tokio::test]
async fn a_request_as_it_stands_on_the_wire_is_taken() {
    let request = stated(OWN);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(example().await.0.factory);
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let mut head = format!("POST /{} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n", request.function);
    for (name, stated) in &request.headers {
        let value = stated.value.as_str().unwrap().replace("<guid>", &Uuid::nil().to_string());
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = request.body();
    let (first, second) = body.split_at(body.len() / 2);
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let whole = format!("{head}\r\n{}{}{}", chunk(first), chunk(second), chunk(""));
    stream.write_all(whole.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.to_lowercase().contains("content-type: application/json\r\n"), "{answer}");
    server.abort();
}
