//! Resource Manager judged by the official management clients for Python, and by the az command line.

use factory_clock::Clock;

use crate::harness::{Azure, Suite};

/// The clients wait by the simulator's clock: what takes an hour takes six seconds.
const SPEED: f64 = 600.0;
/// az waits by ours, 30 seconds at a time, and not at all for what is done when it asks: an hour a second.
const SPEED_FOR_AZ: f64 = 3600.0;

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn the_official_clients_for_python_live_through_a_day_of_a_lab() -> anyhow::Result<()> {
    let azure = Azure::start_over_tls(&Clock::scaled(SPEED)?).await?;
    Suite::pytest("resource_manager").env("AZURE_SIM_SPEED", SPEED.to_string()).azure(&azure).run().await
}

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn the_az_command_line_in_python_logs_in_and_works_in_a_lab() -> anyhow::Result<()> {
    let azure = Azure::start_over_tls(&Clock::scaled(SPEED_FOR_AZ)?).await?;
    Suite::pytest("azure_cli").requirements("azure_cli_requirements.txt").azure(&azure).run().await
}
