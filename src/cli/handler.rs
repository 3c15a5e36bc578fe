//! `image-factory handler`: serves the Functions host until it kills this process.

use std::{net::Ipv4Addr, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use tracing::info;

use crate::handler::{Settings, Webhooks, logging, router_with};

/// Where the host expects the handler (`HttpWorkerConstants.cs`).
const PORT_VARIABLE: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";

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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        // The host connects to 127.0.0.1 and nothing else.
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
        let listener = listener.with_context(|| format!("cannot listen on 127.0.0.1:{port}"))?;
        info!(port, version = env!("CARGO_PKG_VERSION"), "ready");
        axum::serve(listener, router_with(factory, webhooks)).await?;
        Ok(ExitCode::SUCCESS)
    })
}
