//! What a factory's spans and metrics say, as a collector gets them.
//!
//! Whatever exports is one for a whole process: a test that looks at it has a process of its own.

#[path = "../../telemetry/loopback.rs"]
mod loopback;

use std::{
    collections::BTreeMap,
    process::Command,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Uri},
    routing::post,
};
use image_factory::telemetry::Export;

use super::Corpus;

/// Runs one test of this target, which the usual command leaves out, in a process of its own. No span is lost there, however many wait.
pub fn run_alone(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env("OTEL_BSP_MAX_QUEUE_SIZE", "1000000")
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{test}: {said}");
}

/// A collector of this process's spans and metrics.
pub struct Exported {
    export: Export,
    received: Arc<Mutex<Corpus>>,
}

impl Exported {
    pub fn start() -> Self {
        let received: Arc<Mutex<Corpus>> = Arc::default();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .route("/v1/metrics", post(take))
            .with_state(received.clone());
        let endpoint = loopback::serve(router);
        let export = Export::start(Some(&endpoint), &BTreeMap::new()).unwrap().unwrap();
        Self { export, received }
    }

    /// All that came in so far: texts stand in protobuf as they are.
    pub fn received(&self) -> Corpus {
        // Each waits for a few seconds only, which a busy machine may not do with.
        (0..4).for_each(|_| self.export.flush());
        self.received.lock().unwrap().clone()
    }

    /// Begins anew.
    pub fn forget(&self) {
        self.received.lock().unwrap().clear();
    }
}

async fn take(State(received): State<Arc<Mutex<Corpus>>>, uri: Uri, headers: HeaderMap, body: Bytes) {
    let headers = format!("{headers:?}").into_bytes();
    received
        .lock()
        .unwrap()
        .extend([("headers of an export".to_owned(), headers), (uri.path().to_owned(), body.to_vec())]);
}
