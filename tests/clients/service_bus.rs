//! The broker judged by `azure-servicebus` (Python) and `@azure/service-bus` (JavaScript).
//!
//! The clients reckon with the ends of locks and with expiry by their own clocks, so that the simulator's goes as fast as theirs.

use factory_clock::Clock;

use crate::harness::{Azure, Suite};

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn the_broker_serves_the_official_client_for_python() -> anyhow::Result<()> {
    let azure = Azure::start(&Clock::system()).await?;
    // Most of these tests wait for something, so that many run beside each other.
    Suite::pytest("service_bus")
        .arguments(["--numprocesses", "8", "--dist", "worksteal"])
        .azure(&azure)
        .run()
        .await
}

#[tokio::test]
#[ignore = "needs Node.js and npm; run: cargo test --test clients -- --ignored"]
async fn the_broker_serves_the_official_client_for_javascript() -> anyhow::Result<()> {
    let azure = Azure::start(&Clock::system()).await?;
    Suite::node("service_bus.test.mjs").azure(&azure).run().await
}
