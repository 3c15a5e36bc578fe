//! `infra/` as others read it than `tests/infrastructure`: an independent parser of Bicep, and the language service of KQL.

use crate::harness::Suite;

const INFRA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/infra");

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn an_independent_parser_of_bicep_reads_the_infrastructure() -> anyhow::Result<()> {
    Suite::pytest("bicep").env("INFRA", INFRA).run().await
}

#[tokio::test]
#[ignore = "needs Node.js and npm; run: cargo test --test clients -- --ignored"]
async fn the_language_service_of_kql_understands_the_queries() -> anyhow::Result<()> {
    Suite::node("queries.test.mjs").env("INFRA", INFRA).run().await
}
