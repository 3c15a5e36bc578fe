//! `image-factory azure-sim`: simulated Azure as a process of its own.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::Context;
use azure_sim::{
    Sim, SimOptions,
    broker::amqp::{self, Authorization},
    latency::Profile,
    server::{Listeners, serve},
    tls::{Certificates, Transport},
};
use clap::Args;
use factory_clock::Clock;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::{in_process::queue_settings, processes::parent_gone};
use crate::domain::Queue;

/// The key name and key that the Service Bus emulator documents for everybody: no secret.
pub const KEY_NAME: &str = "RootManageSharedAccessKey";
/// See [`KEY_NAME`].
pub const KEY: &str = "SAS_KEY_VALUE";

/// How long the managed identity's tokens are good, in seconds that really pass: Azure's 24 hours. Clients keep a token by
/// their own clock, which a sped-up simulator would overtake; so an application's usual hour really passes, too.
const TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 3600);

/// Where the simulator listens: its first line on stdout.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SimAddresses {
    /// Resource Manager.
    pub resource_manager: String,
    /// Blob Storage; an account is the first segment of a path.
    pub blob: String,
    /// Tokens.
    pub identity: String,
    /// The simulator's own interface.
    pub control: String,
    /// Service Bus over AMQP, as a connection string.
    pub service_bus: String,
    /// The certificate of the authority that clients must trust, if the addresses are those of TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_authority: Option<PathBuf>,
}

/// What the certificate of the authority is called in the folder of `--tls`.
const AUTHORITY_FILE: &str = "ca.pem";

/// How the simulator is started.
#[derive(Debug, Args)]
pub struct AzureSimArguments {
    /// Where all latencies come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Serve HTTPS and AMQPS; the certificate to trust is written to DIR/ca.pem
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
}

impl AzureSimArguments {
    /// Serves until its stdin closes. The clock comes from the environment.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let clock = Clock::from_environment()?;
            let (transport, certificate_authority) = match &self.tls {
                None => (Transport::default(), None),
                Some(folder) => secured(folder).map(|(transport, file)| (transport, Some(file)))?,
            };
            let listeners = Listeners::bind().await?.over(transport.clone());
            let sim = Sim::new(SimOptions {
                seed: self.seed,
                clock: clock.clone(),
                profile: Profile::default(),
                endpoints: listeners.endpoints()?,
            });
            {
                let (mut world, speed) = (sim.world(), clock.speed().max(1.0));
                world.identity.managed_identity_lifetime = TOKEN_LIFETIME.mul_f64(speed);
                let usual = world.identity.client_credentials_lifetime;
                world.identity.client_credentials_lifetime = usual.mul_f64(speed);
            }
            for queue in Queue::ALL {
                sim.broker().create_queue(queue.name(), queue_settings())?;
            }
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let authorization = Authorization::default().with_key(KEY_NAME, KEY);
            let service_bus = amqp::serve_over(transport, listener, sim.broker().clone(), authorization)?;
            // Without TLS it is what clients know as the emulator.
            let plain = if certificate_authority.is_some() { "" } else { "UseDevelopmentEmulator=true;" };
            let addresses = {
                let world = sim.world();
                SimAddresses {
                    resource_manager: world.endpoints.resource_manager(),
                    blob: world.endpoints.blob("").trim_end_matches('/').to_owned(),
                    identity: world.endpoints.identity(),
                    control: format!("http://{}", listeners.control()?),
                    service_bus: format!(
                        "Endpoint=sb://{};SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY};{plain}",
                        service_bus.local_address()
                    ),
                    certificate_authority,
                }
            };
            println!("{}", serde_json::to_string(&addresses)?);
            serve(listeners, sim, parent_gone()).await?;
            service_bus.shutdown().await;
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// TLS with fresh certificates; writes the authority's into `folder`.
fn secured(folder: &Path) -> anyhow::Result<(Transport, PathBuf)> {
    let certificates = Certificates::fresh()?;
    let file = std::path::absolute(folder.join(AUTHORITY_FILE))?;
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, certificates.authority()))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok((certificates.transport(), file))
}
