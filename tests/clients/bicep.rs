//! `infra/` as a parser of Bicep reads it that has nothing to do with the one of `tests/infrastructure`.

use crate::harness::Suite;

#[tokio::test]
#[ignore = "needs python3 and PyPI; run: cargo test --test clients -- --ignored"]
async fn an_independent_parser_of_bicep_reads_the_infrastructure() -> anyhow::Result<()> {
    Suite::pytest("bicep").env("INFRA", concat!(env!("CARGO_MANIFEST_DIR"), "/infra")).run().await
}
