//! `image-factory azure-sim`: simulated Azure as a process of its own.

use std::{net::Ipv4Addr, process::ExitCode, time::Duration};

use azure_sim::{
    Sim, SimOptions,
    broker::amqp::{self, Authorization},
    latency::Profile,
    server::{Listeners, serve},
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
/// their own clock, which a sped-up simulator would overtake.
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
}

/// How the simulator is started.
#[derive(Debug, Args)]
pub struct AzureSimArguments {
    /// Where all latencies come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
            let listeners = Listeners::bind().await?;
            let sim = Sim::new(SimOptions {
                seed: self.seed,
                clock: clock.clone(),
                profile: Profile::default(),
                endpoints: listeners.endpoints()?,
            });
            sim.world().identity.managed_identity_lifetime = TOKEN_LIFETIME.mul_f64(clock.speed().max(1.0));
            for queue in Queue::ALL {
                sim.broker().create_queue(queue.name(), queue_settings())?;
            }
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let authorization = Authorization::default().with_key(KEY_NAME, KEY);
            let service_bus = amqp::serve(listener, sim.broker().clone(), authorization)?;
            let addresses = {
                let world = sim.world();
                SimAddresses {
                    resource_manager: world.endpoints.resource_manager(),
                    blob: world.endpoints.blob("").trim_end_matches('/').to_owned(),
                    identity: world.endpoints.identity(),
                    control: format!("http://{}", listeners.control()?),
                    service_bus: format!(
                        "Endpoint=sb://{};SharedAccessKeyName={KEY_NAME};SharedAccessKey={KEY};UseDevelopmentEmulator=true;",
                        service_bus.local_address()
                    ),
                }
            };
            println!("{}", serde_json::to_string(&addresses)?);
            serve(listeners, sim, parent_gone()).await?;
            service_bus.shutdown().await;
            Ok(ExitCode::SUCCESS)
        })
    }
}
