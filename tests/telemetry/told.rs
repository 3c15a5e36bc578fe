//! One run with all that telemetry can tell of: under virtual time, in this process, exported to a collector.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, HttpClient, Request};
use azure_sim::{
    broker::BrokerMessage,
    fault::{ArtifactFault, ArtifactOutcome, Faults, HttpEffect, HttpFault},
    latency::Profile,
};
use image_factory::{
    dev::{
        configuration,
        in_process::{InProcess, InProcessOptions, Instance, Surroundings},
        log::Log,
        world,
    },
    domain::{
        Configuration, ConfigurationFiles, Message, Queue, RunId, RunReason,
        messages::{StartRun, Step},
    },
    handler::logging,
    steps::{Envelope, Outbox, OutboxError},
    telemetry::{Export, Traces},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::collector::{Collector, Received};

const ORIGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
/// Ticks of cleanup after the run: the first of them look into its labs.
const LAST_TICKS: u64 = 3;

/// What was told, and what really happened.
pub struct Told {
    /// What the collector got.
    pub received: Received,
    /// The ids of the run's trace and of its own span.
    pub trace: Vec<u8>,
    pub root: Vec<u8>,
    pub run: RunId,
    /// The lines of the log.
    pub lines: Vec<Value>,
    /// Method and URL without query of every call of Azure, sorted.
    pub calls: Vec<String>,
    pub invocations: u64,
}

/// The same run for every test: what exports is one for the whole process.
pub fn told() -> &'static Told {
    static TOLD: OnceLock<Told> = OnceLock::new();
    TOLD.get_or_init(tell)
}

fn tell() -> Told {
    let collector = Collector::start();
    let run = RunId::manual(ORIGIN, "told").unwrap();
    let lines = Log::default();
    let subscriber = tracing_subscriber::registry().with(logging::lines(lines.clone()));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (factory, calls) = runtime.block_on(factory());
    let export = Export::start(Some(&collector.endpoint), &BTreeMap::new()).unwrap().unwrap();
    tracing::subscriber::with_default(subscriber, || {
        runtime.block_on(go(&factory, &run));
    });
    export.flush();
    let root = Traces::new(&world::ledger_url(&factory.sim), factory.clock().clone()).root(&run);
    let text = String::from_utf8(lines.bytes()).unwrap();
    let mut calls = calls.lock().unwrap().clone();
    calls.sort();
    Told {
        received: collector.received(),
        trace: root.trace_id().to_bytes().to_vec(),
        root: root.span_id().to_bytes().to_vec(),
        run,
        lines: text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
        calls,
        invocations: factory.invocations.load(Ordering::Relaxed) + LAST_TICKS,
    }
}

/// Two images that two labs receive, and one of which an artifact fails.
fn files() -> ConfigurationFiles {
    let image = json!({"galleryImageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server",
        "osType": "Linux", "version": "latest"}});
    let template = configuration::lab_vm(&image, &["linux-install-docker"]);
    let lab = |name: &str| {
        json!({"SubscriptionId": "a0000000-0000-4000-8000-000000000000", "ResourceGroup": format!("rg-{name}"),
            "LabName": name, "ImagePaths": ["Linux"]})
    };
    let files = [
        ("Labs.json", json!({"Labs": [lab("web"), lab("data")]})),
        ("GoldenImages/Linux/Docker.json", template.clone()),
        ("GoldenImages/Linux/Broken.json", template),
    ];
    files.map(|(name, value)| (name.to_owned(), value.to_string())).into_iter().collect()
}

fn faults() -> Faults {
    let http = |method: Option<&str>, url_part: &str, skip, times, effect| HttpFault {
        method: method.map(|method| method.parse().unwrap()),
        url_part: url_part.to_owned(),
        skip,
        times,
        effect,
    };
    let answer = |status, headers: &[(&str, &str)], body: &str| HttpEffect::Answer {
        status,
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        body: body.to_owned(),
    };
    let slowly =
        [("Retry-After", "30"), ("x-ms-correlation-request-id", "5d3c0000-0000-4000-8000-000000000429")];
    let slow_down = r#"{"error":{"code":"TooManyRequests","message":"slow down"}}"#;
    let denied = "<Error><Code>AuthorizationPermissionMismatch</Code><Message>no role</Message></Error>";
    Faults {
        artifacts: vec![ArtifactFault {
            vm_part: "Broken".to_owned(),
            artifact_part: "docker".to_owned(),
            outcome: ArtifactOutcome::Fails("exit code 1".to_owned()),
        }],
        http: vec![
            http(Some("PUT"), "/deployments/", 0, 3, answer(429, &slowly, slow_down)),
            http(Some("GET"), "/customimages/", 1, 1, HttpEffect::ResetBefore),
            // The host gives the message back, and delivers it again.
            http(Some("GET"), "/copies/", 2, 1, answer(403, &[], denied)),
        ],
        ..Faults::default()
    }
}

async fn factory() -> (InProcess, Arc<Mutex<Vec<String>>>) {
    let files = files();
    let (configuration, problems) = Configuration::load(&files);
    let configuration = configuration.unwrap_or_else(|| panic!("{problems}"));
    let options = InProcessOptions { seed: 1, profile: Profile::default(), files, origin: ORIGIN };
    let surroundings = Surroundings::new(options, &configuration).unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let transport = Arc::new(Noting { inner: surroundings.transport(), calls: calls.clone() });
    let outbox = Arc::new(Losing { inner: surroundings.outbox(), lost: AtomicBool::new(false) });
    let clock = surroundings.sim.clock().clone();
    let instance = Instance::new(&surroundings, clock, transport, outbox).unwrap();
    instance.factory.ledger.prepare().await.unwrap();
    calls.lock().unwrap().clear();
    (InProcess::of(surroundings, instance), calls)
}

async fn go(factory: &InProcess, run: &RunId) {
    factory.sim.world().faults = faults();
    // As an older version, or a person's portal, sends it: without a context.
    let start = StartRun::of_everything(RunReason::Manual);
    let message = Message::first(run.clone(), Step::StartRun(start));
    let queue = Queue::StartRun.name();
    factory
        .broker
        .send(queue, vec![BrokerMessage::new(message.to_bytes()).with_message_id("first")])
        .unwrap();
    assert!(factory.run_until_settled().await);
    for _ in 0..LAST_TICKS {
        assert!(factory.instance.clean_up(factory.clock().now()).await);
    }
}

/// Notes every call of Azure.
#[derive(Debug)]
struct Noting {
    inner: Arc<dyn HttpClient>,
    calls: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl HttpClient for Noting {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let mut url = request.url().clone();
        url.set_query(None);
        self.calls.lock().unwrap().push(format!("{} {url}", request.method()));
        self.inner.execute_request(request).await
    }
}

/// Loses the first message that would delete a VM.
struct Losing {
    inner: Arc<dyn Outbox>,
    lost: AtomicBool,
}

#[async_trait]
impl Outbox for Losing {
    async fn send(&self, mut envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        let is_lost = |envelope: &Envelope| {
            envelope.message.queue() == Queue::DeleteVm && !self.lost.swap(true, Ordering::Relaxed)
        };
        envelopes.retain(|envelope| !is_lost(envelope));
        self.inner.send(envelopes).await
    }
}
