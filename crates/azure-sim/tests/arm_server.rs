//! The simulator over real sockets.

use std::{net::SocketAddr, time::Duration};

use azure_sim::{
    Endpoints, Sim, SimOptions,
    arm::LabSpec,
    control::{self, LabAdded, State},
    latency::Profile,
    server::{Listeners, serve},
};
use factory_clock::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

struct Running {
    sim: Sim,
    resource_manager: SocketAddr,
    identity: SocketAddr,
    control: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

async fn start() -> Running {
    let listeners = Listeners::bind().await.unwrap();
    let endpoints = listeners.endpoints().unwrap();
    let Endpoints::Loopback { resource_manager, identity, .. } = endpoints else {
        panic!("listeners are on the loopback interface")
    };
    let control = listeners.control().unwrap();
    let sim = Sim::new(SimOptions {
        seed: 1,
        clock: Clock::scaled(1000.0).unwrap(),
        profile: Profile::default(),
        endpoints,
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let served = tokio::spawn(serve(listeners, sim.clone(), shutdown));
    Running { sim, resource_manager, identity, control, stop, served }
}

/// Sends one request on a new connection; answers everything that came before the other side closed.
async fn exchange(address: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "{head}\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is what some tests ask for.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn body<T: serde::de::DeserializeOwned>(answer: &str) -> T {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(body).unwrap()
}

async fn add_lab(running: &Running) -> LabAdded {
    let spec = LabSpec {
        subscription_id: "2f0a4f0e-6c1d-4a53-9d1f-0b7c5c3f1a01".to_owned(),
        resource_group: "rg".to_owned(),
        name: "factory".to_owned(),
        location: "westeurope".to_owned(),
    };
    let spec = serde_json::to_string(&spec).unwrap();
    body(&exchange(running.control, "POST /labs HTTP/1.1", &spec).await)
}

async fn token(running: &Running) -> String {
    let identity = control::managed_identity(&running.sim);
    assert_eq!(identity.endpoint, format!("http://{}/msi/token", running.identity));
    let head = format!(
        "GET /msi/token?resource=https://management.azure.com&api-version=2019-08-01 HTTP/1.1\r\nX-IDENTITY-HEADER: {}",
        identity.header
    );
    let answer: serde_json::Value = body(&exchange(running.identity, &head, "").await);
    answer["access_token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_lab_added_over_http_is_found_with_a_token_from_the_endpoint() {
    let running = start().await;
    let lab = add_lab(&running).await;
    let head = format!(
        "GET {}?api-version=2018-09-15 HTTP/1.1\r\nAuthorization: Bearer {}",
        lab.id,
        token(&running).await
    );
    let found: serde_json::Value = body(&exchange(running.resource_manager, &head, "").await);
    assert_eq!(found["name"], "factory");
    let state: State = body(&exchange(running.control, "GET /state HTTP/1.1", "").await);
    assert_eq!(state.lab(&lab.id).unwrap().storage_account, lab.storage_account);
    let _ = running.stop.send(());
    let ended = tokio::time::timeout(Duration::from_secs(5), running.served).await;
    ended.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_chunked_body_is_read_and_a_broken_connection_gives_no_answer() {
    let running = start().await;
    let mut stream = TcpStream::connect(running.control).await.unwrap();
    let faults = r#"{"http":[{"urlPart":"/labs","reset":"before"}]}"#;
    let request = format!(
        "PUT /faults HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{faults}\r\n0\r\n\r\n",
        faults.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let head = "GET /subscriptions/s/providers/Microsoft.DevTestLab/labs?api-version=2018-09-15 HTTP/1.1";
    assert_eq!(exchange(running.resource_manager, head, "").await, "");
    let answer = exchange(running.resource_manager, head, "").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn denials_limits_and_quotas_are_set_over_http() {
    let running = start().await;
    let lab = add_lab(&running).await;
    let head = format!(
        "GET {}?api-version=2018-09-15 HTTP/1.1\r\nAuthorization: Bearer {}",
        lab.id,
        token(&running).await
    );
    let get = async || exchange(running.resource_manager, &head, "").await;
    let put = async |path: &str, body: &str| {
        let answer = exchange(running.control, &format!("PUT {path} HTTP/1.1"), body).await;
        assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    };
    put("/denials", r#"[{"actionPart":"labs/read"}]"#).await;
    assert!(get().await.starts_with("HTTP/1.1 403"));
    put("/denials", "[]").await;
    assert!(get().await.starts_with("HTTP/1.1 200"));
    put("/limits", r#"{"reads":{"bucket":0,"perSecond":0.001}}"#).await;
    let throttled = get().await;
    assert!(throttled.starts_with("HTTP/1.1 429") && throttled.contains("retry-after: "), "{throttled}");
    put("/limits", "{}").await;
    assert!(get().await.starts_with("HTTP/1.1 200"));
    let subscription = "2f0a4f0e-6c1d-4a53-9d1f-0b7c5c3f1a01";
    put("/quotas", &format!(r#"{{"subscriptionId":"{subscription}","cores":4}}"#)).await;
    let answer = exchange(running.control, "PUT /quotas HTTP/1.1", r#"{"cores":4}"#).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("subscriptionId"), "{answer}");
}

#[tokio::test]
async fn versions_of_the_marketplace_are_set_over_http() {
    let running = start().await;
    let lab = add_lab(&running).await;
    let subscription = lab.id.split('/').nth(2).unwrap();
    let head = format!(
        "GET /subscriptions/{subscription}/providers/Microsoft.Compute/locations/westeurope/publishers/Canonical/artifacttypes/vmimage/offers/o/skus/s/versions?api-version=2024-07-01 HTTP/1.1\r\nAuthorization: Bearer {}",
        token(&running).await
    );
    let body = r#"{"publisher":"canonical","offer":"O","sku":"S","versions":["7.0.1"]}"#;
    let answer = exchange(running.control, "PUT /marketplace HTTP/1.1", body).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    let answer = exchange(running.resource_manager, &head, "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"7.0.1\""), "{answer}");
}

#[tokio::test]
async fn nonsense_for_control_is_refused_with_a_reason() {
    let running = start().await;
    let answer = exchange(running.control, "PUT /faults HTTP/1.1", r#"{"htttp":[]}"#).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("htttp"), "{answer}");
    let answer = exchange(running.control, "GET /nowhere HTTP/1.1", "").await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
