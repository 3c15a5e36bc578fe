//! `image-factory handler`: serves the Functions host until it kills this process.

use std::{collections::BTreeMap, net::Ipv4Addr, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::{
    handler::{Settings, Webhooks, logging, router_with, settings::telemetry},
    telemetry::Export,
};

/// Where the host expects the handler (`HttpWorkerConstants.cs`).
const PORT_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// As if SIGTERM had ended the process; after a 0 the host would not start it again (`WorkerProcess.cs`).
const TERMINATED: u8 = 128 + 15;

/// Serves until the process is killed: the host sends no signal before (`WorkerProcess.cs`).
pub fn run() -> anyhow::Result<ExitCode> {
    logging::start();
    let port: u16 =
        std::env::var(PORT_VARIABLE).ok().and_then(|text| text.parse().ok()).with_context(|| {
            format!("{PORT_VARIABLE} holds no port: this command is started by the Functions host")
        })?;
    let variables = std::env::vars().collect();
    let factory = Arc::new(Settings::read(&variables)?.factory()?);
    let webhooks = Webhooks::read(&variables);
    let export = export(&variables);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // The host connects to 127.0.0.1 and nothing else.
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        info!(port, version = env!("CARGO_PKG_VERSION"), "ready");
        let serving = axum::serve(listener, router_with(factory, webhooks));
        let Some(export) = export else {
            serving.await?;
            return Ok(ExitCode::SUCCESS);
        };
        // Azure's platform may send it before it stops an instance, although the host does not.
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            served = serving => served?,
            _ = terminate.recv() => {}
        }
        tokio::task::spawn_blocking(move || export.flush()).await?;
        Ok(ExitCode::from(TERMINATED))
    })
}

/// Starts telemetry if it goes anywhere. The factory works without it, too.
fn export(variables: &BTreeMap<String, String>) -> Option<Export> {
    let endpoint =
        telemetry::endpoint(variables).inspect_err(|reason| warn!(reason, "telemetry goes nowhere")).ok()?;
    Export::start(endpoint, variables).inspect_err(|error| warn!("{error}")).ok()?
}
