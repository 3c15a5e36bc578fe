//! The simulator over TLS: those who trust its authority are served, nobody else.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use azure_sim::{
    Endpoints, Sim, SimOptions,
    broker::amqp::{Authorization, serve_over},
    latency::Profile,
    server::{Listeners, serve},
    tls::Certificates,
};
use factory_clock::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

/// A tenant; any will do.
const TENANT: &str = "9ea1f9ac-7e1f-4d53-a1b0-3f4a6c3d2b10";
/// What a peer that wants SASL says first, and is told first.
const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";

struct Running {
    sim: Sim,
    endpoints: Endpoints,
    certificates: Certificates,
    stop: oneshot::Sender<()>,
    served: JoinHandle<std::io::Result<()>>,
}

async fn start() -> Running {
    let certificates = Certificates::fresh().unwrap();
    let listeners = Listeners::bind().await.unwrap().over(certificates.transport());
    let endpoints = listeners.endpoints().unwrap();
    let sim = Sim::new(SimOptions {
        seed: 1,
        clock: Clock::scaled(1000.0).unwrap(),
        profile: Profile::default(),
        endpoints: endpoints.clone(),
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    let served = tokio::spawn(serve(listeners, sim.clone(), shutdown));
    Running { sim, endpoints, certificates, stop, served }
}

impl Running {
    /// A client that trusts this simulator's authority and no other.
    fn trusting(&self) -> reqwest::Client {
        let authority = reqwest::Certificate::from_pem(self.certificates.authority().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([authority]).build().unwrap()
    }

    fn discovery(&self, host: &str) -> String {
        let base = self.endpoints.identity().replace("127.0.0.1", host);
        format!("{base}/{TENANT}/v2.0/.well-known/openid-configuration")
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_authority_is_served_and_told_https_urls() {
    let running = start().await;
    for host in ["127.0.0.1", "localhost"] {
        let answer = running.trusting().get(running.discovery(host)).send().await.unwrap();
        let document: serde_json::Value = answer.json().await.unwrap();
        let token_endpoint = document["token_endpoint"].as_str().unwrap();
        assert_eq!(token_endpoint, format!("{}/{TENANT}/oauth2/v2.0/token", running.endpoints.identity()));
        assert!(token_endpoint.starts_with("https://127.0.0.1:"), "{token_endpoint}");
    }
    for base in [running.endpoints.resource_manager(), running.endpoints.blob("account")] {
        assert!(base.starts_with("https://127.0.0.1:"), "{base}");
        let answer = running.trusting().get(base).send().await.unwrap();
        assert!(answer.status().is_client_error(), "nobody says who calls: {}", answer.status());
    }
}

#[tokio::test]
async fn a_client_without_the_authority_and_one_without_tls_are_refused() {
    let running = start().await;
    let stranger = Certificates::fresh().unwrap();
    let stranger = reqwest::Certificate::from_pem(stranger.authority().as_bytes()).unwrap();
    let distrusting = reqwest::Client::builder().tls_certs_only([stranger]).build().unwrap();
    let error = distrusting.get(running.discovery("127.0.0.1")).send().await.unwrap_err();
    assert!(error.is_connect() && format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
    let other_name = running.discovery("127.0.0.2");
    assert!(running.trusting().get(other_name).send().await.is_err());
    let plain = running.discovery("127.0.0.1").replace("https://", "http://");
    assert!(running.trusting().get(plain).send().await.is_err());
}

#[tokio::test]
async fn a_peer_that_never_shakes_hands_does_not_keep_the_server_from_ending() {
    let running = start().await;
    let address = running.endpoints.identity().replace("https://", "");
    let silent = TcpStream::connect(address).await.unwrap();
    // Served after the silent one was accepted.
    running.trusting().get(running.discovery("127.0.0.1")).send().await.unwrap();
    running.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), running.served).await.unwrap().unwrap().unwrap();
    drop(silent);
}

#[tokio::test]
async fn service_bus_speaks_tls_from_the_first_byte() {
    let running = start().await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let broker = running.sim.broker().clone();
    let transport = running.certificates.transport();
    let server = serve_over(transport, listener, broker, Authorization::default()).unwrap();
    let connect = async |roots| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(server.local_address()).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    };
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(running.certificates.authority().as_bytes()).unwrap()).unwrap();
    let mut stream = connect(roots).await.unwrap();
    stream.write_all(&SASL_HEADER).await.unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, SASL_HEADER);
    assert!(connect(RootCertStore::empty()).await.is_err(), "the authority is not trusted");

    let mut plain = TcpStream::connect(server.local_address()).await.unwrap();
    plain.write_all(&SASL_HEADER).await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"AMQP"), "{answer:?}");
    server.shutdown().await;
}
