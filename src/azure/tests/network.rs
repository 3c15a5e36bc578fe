//! Over real sockets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use azure_core::http::{Context, Method, Request};
use factory_clock::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use url::Url;

use super::FakeCredential;
use crate::azure::{Azure, AzureOptions, BlobAuthorization, Started, identity_transport};
use crate::secret::Secret;

const DISK: &str = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.Compute/disks/os";

fn azure_of(listener: &TcpListener) -> (Azure, Url) {
    let endpoint = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let clock = Clock::system();
    let credential = FakeCredential::default();
    *credential.clock.lock().unwrap() = Some(clock.clone());
    let options = AzureOptions {
        resource_manager: endpoint.clone(),
        credential: Arc::new(credential),
        transport: None,
        clock,
    };
    (Azure::new(options).unwrap(), endpoint)
}

/// Takes one request and answers it; gives the request's head, in lower case.
fn answer_once(listener: TcpListener, answer: &'static str) -> JoinHandle<String> {
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    })
}

/// Azure answers 411 to a PUT or POST that does not say how long its body is.
#[tokio::test]
async fn calls_without_a_body_say_that_its_length_is_zero() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (azure, _) = azure_of(&listener);
    let head = answer_once(listener, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(azure.end_disk_access(DISK).await.unwrap(), Started::Done);
    let head = head.await.unwrap();
    assert!(
        head.contains("\r\ncontent-length: 0\r\n") && head.contains("authorization: bearer token-1"),
        "{head}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (azure, endpoint) = azure_of(&listener);
    let answer = "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 0\r\nx-ms-copy-id: c\r\nx-ms-copy-status: pending\r\n\r\n";
    let head = answer_once(listener, answer);
    let authorization =
        BlobAuthorization::SharedKey { account: "acct".to_owned(), key: Secret::new("a2V5".to_owned()) };
    let container = azure.container(&endpoint.join("acct").unwrap(), "vhds", authorization).unwrap();
    let source = Secret::new("https://a/b?sig=x".to_owned());
    container.start_copy("x.vhd", &source, &BTreeMap::new()).await.unwrap();
    let head = head.await.unwrap();
    assert!(head.starts_with("put /acct/vhds/x.vhd http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-length: 0\r\n") && head.contains("sharedkey acct:"), "{head}");
}

#[tokio::test]
async fn the_managed_identity_is_asked_over_plain_http() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/msi/token", listener.local_addr().unwrap())).unwrap();
    let head = answer_once(listener, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}");
    let transport = identity_transport();
    let answer = transport.send(&Context::new(), &mut Request::new(url, Method::Get)).await.unwrap();
    assert_eq!(u16::from(answer.status()), 200);
    assert!(head.await.unwrap().starts_with("get /msi/token http/1.1\r\n"));
}

#[tokio::test]
async fn a_connection_that_is_refused_or_breaks_off_is_transient() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (azure, _) = azure_of(&listener);
    let broken = answer_once(listener, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":");
    let error = azure.disk(DISK).await.unwrap_err();
    assert!(error.is_transient() && error.code == "ConnectionLost", "{error}");
    broken.await.unwrap();
    // The listener is gone now.
    let error = azure.disk(DISK).await.unwrap_err();
    assert!(error.is_transient() && error.code == "ConnectionFailed", "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (azure, _) = azure_of(&listener);
    let silent = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(101)).await;
        drop(socket);
    });
    let error = azure.disk(DISK).await.unwrap_err();
    assert!(error.is_transient() && error.code == "TimedOut", "{error}");
    silent.abort();
}
