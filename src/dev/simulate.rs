//! `image-factory simulate`: whole runs in one process under virtual time: one of a given size to measure it, or many in
//! which things go wrong to judge them.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use azure_sim::{arm::Budget, control, latency::Profile};
use clap::Args;
use time::{OffsetDateTime, macros::datetime};

use super::{
    configuration::{self, Shape},
    in_process::{InProcess, InProcessOptions},
    outcome::{Outcome, RunCounts},
    simulation::{
        exhaustive::{self, Search},
        faults::FaultRates,
        law,
        scenario::{Scenario, Size},
        seeds::{self, Seeds},
    },
};
use crate::{
    domain::{Configuration, ConfigurationFiles, RunId, RunReason, messages::StartRun},
    report::RunReport,
};

/// Every simulation begins at this moment: results depend on the seed alone.
const ORIGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// What to simulate.
#[derive(Debug, Args)]
pub struct SimulateArguments {
    /// A configuration of so many golden images [default: 20; drawn with --seeds].
    #[arg(long, conflicts_with = "config")]
    images: Option<usize>,
    /// A configuration with so many labs, which all receive all images [default: 10; drawn with --seeds].
    #[arg(long, conflicts_with = "config")]
    labs: Option<usize>,
    /// The labs are in so many subscriptions, of which each has budgets of its own [default: 4].
    #[arg(long, value_name = "N", conflicts_with_all = ["config", "seeds", "exhaustive", "seed_file"])]
    subscriptions: Option<usize>,
    /// All images are of Linux; otherwise every other one is of Windows, whose disks are larger.
    #[arg(long, conflicts_with_all = ["config", "seeds", "exhaustive", "seed_file"])]
    linux: bool,
    /// So many runs, one after the other, each of which makes all images anew; the last one is measured. Two images of each path stay in a
    /// lab, so that the third run is the first after which something retires.
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["seeds", "exhaustive", "seed_file"])]
    runs: u32,
    /// The configuration in this folder.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// Where all latencies come from; the same seed is the same run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "exhaustive", "seed_file"])]
    report: Option<PathBuf>,
    /// Tells so many random stories, from --seed on, in which things go wrong, and judges each.
    #[arg(long, value_name = "N", conflicts_with = "config")]
    seeds: Option<u64>,
    /// Tells the stories of this file: a seed, its faults and its size in each line.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "config"])]
    seed_file: Option<PathBuf>,
    /// What goes wrong in the stories: none, all, or NAME=RATE,… on top of one of these [default: all].
    #[arg(long, value_name = "FAULTS")]
    faults: Option<FaultRates>,
    /// So many of the stories that broke a law are made as small as they go, and shown with their trace.
    #[arg(long, value_name = "N", default_value_t = 3)]
    explain: usize,
    /// Begins no more stories after so many minutes.
    #[arg(long, value_name = "N")]
    minutes: Option<f64>,
    /// Goes through one small run (--images, --labs; 2 each where not given) exhaustively.
    #[arg(long, value_name = "WHAT", conflicts_with_all = ["seeds", "seed_file", "config"])]
    exhaustive: Option<Search>,
    /// Takes only every so manieth story of an exhaustive search.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "exhaustive")]
    step: u64,
}

impl SimulateArguments {
    /// Runs the simulation and prints its result.
    ///
    /// # Errors
    /// If the configuration cannot be used, or the factory did not settle.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match (self.seeds, self.exhaustive, &self.seed_file) {
            (Some(seeds), ..) => Ok(self.tell(seeds)),
            (_, Some(search), _) => self.search(search),
            (_, _, Some(file)) => self.tell_again(file),
            _ => self.measure(),
        }
    }

    fn size(&self) -> Size {
        Size { images: self.images, labs: self.labs }
    }

    /// Random stories, and their judgement.
    fn tell(&self, count: u64) -> ExitCode {
        let seeds = Seeds {
            first: self.seed,
            count,
            size: self.size(),
            rates: self.faults.clone().unwrap_or_else(FaultRates::all),
            time_limit: self.minutes.map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0)),
        };
        let failed = Mutex::new(Vec::new());
        let summary = seeds::run(&seeds, |scenario, ended| {
            println!("seed {} breaks laws: {}", scenario.seed, law::list(&ended.seen.broken));
            failed.lock().unwrap_or_else(PoisonError::into_inner).push((scenario.clone(), ended.clone()));
        });
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (scenario, ended) in failed.iter().take(self.explain) {
            println!("{}", seeds::explain(scenario, ended));
        }
        println!("{summary}");
        if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The stories of a file.
    fn tell_again(&self, file: &Path) -> anyhow::Result<ExitCode> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let stories = seeds::parse_file(&text).with_context(|| file.display().to_string())?;
        let summary =
            seeds::tell(&stories, |scenario, ended| eprintln!("{}", seeds::explain(scenario, ended)));
        println!("{summary}");
        Ok(if summary.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// One small run, gone through exhaustively.
    fn search(&self, search: Search) -> anyhow::Result<ExitCode> {
        let scenario = Scenario::plain(self.images.unwrap_or(2), self.labs.unwrap_or(2));
        let found = exhaustive::search(&scenario, search, self.step)?;
        for (place, laws) in &found.failed {
            println!("{place}: {}", law::list(laws));
        }
        println!(
            "{} I/O points and {} messages; {} stories ran, {} failed",
            found.points,
            found.deliveries,
            found.told,
            found.failed.len()
        );
        Ok(if found.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// One run of a given size, against its critical path.
    fn measure(self) -> anyhow::Result<ExitCode> {
        let files = match &self.config {
            Some(directory) => configuration::read(Some(directory))?,
            None => {
                let usual = Shape::new(self.images.unwrap_or(20), self.labs.unwrap_or(10));
                let subscriptions = self.subscriptions.unwrap_or(usual.subscriptions);
                configuration::generate(Shape { subscriptions, is_linux: self.linux, ..usual })
            }
        };
        let configuration = configuration::check(&files)?;
        let started = std::time::Instant::now();
        let outcome = simulate(self.seed, files, &configuration, self.runs)?;
        if let Some(file) = &self.report {
            write_report(file, &outcome)?;
        }
        if !outcome.succeeded() {
            println!("{}", outcome.run.table(ORIGIN));
            println!("left behind: {}", serde_json::to_string(&outcome.leftovers)?);
        }
        for remark in outcome.run.remarks() {
            println!("{remark}");
        }
        let copies: usize = outcome.run.images.iter().map(|image| image.labs.len()).sum();
        println!(
            "seed {}: {} images, {copies} copies: {} in {:.1} h of virtual time, {:.3} of {}; {} messages; {:.1} s here",
            self.seed,
            outcome.run.images.len(),
            outcome.run.run.status.word(),
            outcome.virtual_seconds / 3600.0,
            outcome.ratio(),
            if outcome.budget_seconds > outcome.critical_path_seconds {
                "Azure's budgets"
            } else {
                "the critical path"
            },
            outcome.counts.messages,
            started.elapsed().as_secs_f64(),
        );
        let RunCounts { messages, azure, .. } = outcome.counts;
        let of_copy = |number: u64| number as f64 / copies.max(1) as f64;
        println!(
            "for each copy {:.1} messages, {:.1} reads, {:.1} writes and {:.1} deletions of Resource Manager, {:.1} calls of Blob Storage; {} calls were refused with 429",
            of_copy(messages),
            of_copy(azure.arm_reads),
            of_copy(azure.arm_writes),
            of_copy(azure.arm_deletes),
            of_copy(azure.blob_calls),
            azure.throttled,
        );
        Ok(if outcome.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Writes the report of `dev` and `simulate`.
pub(super) fn write_report(file: &Path, outcome: &Outcome) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(outcome)? + "\n";
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn simulate(
    seed: u64,
    files: ConfigurationFiles,
    configuration: &Configuration,
    runs: u32,
) -> anyhow::Result<Outcome> {
    // One thread and a paused clock: the order of everything follows from the seed.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let options = InProcessOptions { seed, profile: Profile::default(), files, origin: ORIGIN };
        let factory = InProcess::new(options, configuration).await?;
        let mut last = make(&factory, seed, ORIGIN, false).await?;
        for _ in 1..runs {
            last = make(&factory, seed, factory.clock().now(), true).await?;
        }
        let Made { run, before, budgets_before } = last;
        let report =
            RunReport::read(&factory.factory.ledger, &run).await?.context("the run is not in the ledger")?;
        let work = control::work(&factory.sim).work;
        let budgets = of_last_run(control::budgets(&factory.sim), &budgets_before, report.run.started_at);
        let counts = counts(&factory).since(&before);
        Ok(Outcome::new(report, &control::state(&factory.sim), &work, &budgets, counts))
    })
}

/// A run that was made, and what had been counted before it.
struct Made {
    run: RunId,
    before: RunCounts,
    budgets_before: Vec<Budget>,
}

async fn make(factory: &InProcess, seed: u64, now: OffsetDateTime, force: bool) -> anyhow::Result<Made> {
    let run = RunId::manual(now, &format!("seed{seed}"))?;
    let (before, budgets_before) = (counts(factory), control::budgets(&factory.sim));
    factory.start(&run, StartRun { force, ..StartRun::of_everything(RunReason::Manual) }).await?;
    if !factory.run_until_settled().await {
        bail!("the factory did not settle within three virtual days");
    }
    Ok(Made { run, before, budgets_before })
}

fn counts(factory: &InProcess) -> RunCounts {
    RunCounts {
        messages: factory.messages(),
        invocations: factory.invocations.load(Ordering::Relaxed),
        azure: control::counts(&factory.sim),
        handler_peak_memory_bytes: None,
    }
}

/// What was used of the budgets since `before`, from when the run began.
fn of_last_run(mut budgets: Vec<Budget>, before: &[Budget], started_at: OffsetDateTime) -> Vec<Budget> {
    for budget in &mut budgets {
        let key =
            |budget: &Budget| (budget.subscription_id.clone(), budget.principal.clone(), budget.kind.clone());
        if let Some(before) = before.iter().find(|before| key(before) == key(budget)) {
            budget.taken -= before.taken;
            budget.refused -= before.refused;
            budget.since = budget.since.max(started_at);
        }
    }
    budgets
}
