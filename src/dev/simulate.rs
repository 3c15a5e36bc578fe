//! `image-factory simulate`: whole runs in one process under virtual time.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::Ordering,
};

use anyhow::{Context as _, bail};
use azure_sim::{control, latency::Profile};
use clap::Args;
use time::{OffsetDateTime, macros::datetime};

use super::{
    configuration,
    in_process::{InProcess, InProcessOptions},
    outcome::{Outcome, RunCounts},
};
use crate::{
    domain::{Configuration, ConfigurationFiles, RunId},
    report::RunReport,
};

/// Every simulation begins at this moment: results depend on the seed alone.
const ORIGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// What to simulate.
#[derive(Debug, Args)]
pub struct SimulateArguments {
    /// A configuration of so many golden images.
    #[arg(long, conflicts_with = "config", default_value_t = 20)]
    images: usize,
    /// A configuration with so many labs, which all receive all images.
    #[arg(long, conflicts_with = "config", default_value_t = 10)]
    labs: usize,
    /// The configuration in this folder.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Where all latencies come from; the same seed is the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

impl SimulateArguments {
    /// Runs the simulation and prints its result.
    ///
    /// # Errors
    /// If the configuration cannot be used, or the factory did not settle.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let files = match &self.config {
            Some(directory) => configuration::read(Some(directory))?,
            None => configuration::generate(self.images, self.labs),
        };
        let configuration = configuration::check(&files)?;
        let started = std::time::Instant::now();
        let outcome = simulate(self.seed, files, &configuration)?;
        if let Some(file) = &self.report {
            write_report(file, &outcome)?;
        }
        if !outcome.succeeded() {
            println!("{}", outcome.run.table(ORIGIN));
            println!("left behind: {}", serde_json::to_string(&outcome.leftovers)?);
        }
        let copies: usize = outcome.run.images.iter().map(|image| image.labs.len()).sum();
        println!(
            "seed {}: {} images, {copies} copies: {} in {:.1} h of virtual time, {:.3} of the critical path; {} messages; {:.1} s here",
            self.seed,
            outcome.run.images.len(),
            outcome.run.run.status.word(),
            outcome.virtual_seconds / 3600.0,
            outcome.virtual_seconds / outcome.critical_path_seconds,
            outcome.counts.messages,
            started.elapsed().as_secs_f64(),
        );
        Ok(if outcome.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Writes the report of `dev` and `simulate`.
pub(super) fn write_report(file: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(outcome)? + "\n";
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn simulate(seed: u64, files: ConfigurationFiles, configuration: &Configuration) -> anyhow::Result<Outcome> {
    // One thread and a paused clock: the order of everything follows from the seed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let options = InProcessOptions { seed, profile: Profile::default(), files, origin: ORIGIN };
        let factory = InProcess::new(options, configuration).await?;
        let run = RunId::manual(ORIGIN, &format!("seed{seed}"))?;
        factory.start_run(&run).await?;
        if !factory.run_until_settled().await {
            bail!("the factory did not settle within three virtual days");
        }
        let counts = RunCounts {
            messages: factory.messages(),
            invocations: factory.invocations.load(Ordering::Relaxed),
            azure: control::counts(&factory.sim),
        };
        let report =
            RunReport::read(&factory.factory.ledger, &run).await?.context("the run is not in the ledger")?;
        Ok(Outcome::new(report, &control::state(&factory.sim), &control::work(&factory.sim).work, counts))
    })
}
