//! Simulated Blob Storage judged by `azure-storage-blob` (Python), and our own blob code judged beside Azurite.

use factory_clock::Clock;

use crate::{
    harness::{Azure, Suite},
    storage::{self, Azurite},
};

/// Leases of 15 s and copies of disks end within seconds, and a suite of three minutes stays within the quarter of an hour for
/// which the service takes a signed date.
const SPEED: f64 = 5.0;

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn simulated_storage_serves_the_official_client_for_python() -> anyhow::Result<()> {
    let azure = Azure::start(&Clock::scaled(SPEED)?).await?;
    // Some of these tests wait for the end of a lease or a copy, so that a few run beside each other.
    Suite::pytest("blob").arguments(["--numprocesses", "4"]).azure(&azure).run().await
}

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn simulated_storage_takes_the_tokens_of_the_official_client_for_python() -> anyhow::Result<()> {
    let azure = Azure::start_over_tls(&Clock::system()).await?;
    Suite::pytest("blob_entra").azure(&azure).run().await
}

#[tokio::test]
#[ignore = "needs Node.js and npm; run: cargo test --test clients -- --ignored"]
async fn our_blob_code_meets_the_same_in_simulated_storage_and_in_azurite() -> anyhow::Result<()> {
    let azure = Azure::start(&Clock::system()).await?;
    let azurite = Azurite::start().await?;
    let simulated = storage::transcript(&storage::simulated(&azure).await?).await?;
    let emulated = storage::transcript(&azurite.place()?).await?;
    storage::compare(&simulated, &emulated)
}
