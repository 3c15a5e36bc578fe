//! `image-factory dev`: the whole factory on this machine, as real processes over real sockets.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use clap::Args;
use factory_clock::Clock;
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{
    app::Program,
    commits::{self, Commits, News, RepositoryArguments},
    configuration::{self, Shape},
    outcome::Outcome,
    simulate::write_report,
    stage::{Stage, StageOptions},
};
use crate::{
    domain::{Configuration, ConfigurationFiles, RunId},
    handler::settings,
};

/// Random letters of a run's id: enough that two runs do not meet.
const RANDOM_LETTERS: usize = 4;

/// What to run.
#[derive(Debug, Args)]
pub struct DevArguments {
    /// The folder with Labs.json and GoldenImages; the shipped example where it is not given.
    #[arg(long, value_name = "DIR")]
    config: Option<PathBuf>,
    /// A configuration of so many golden images instead; all labs receive all of them.
    #[arg(long, conflicts_with = "config", requires = "labs")]
    images: Option<usize>,
    /// And so many labs.
    #[arg(long, conflicts_with = "config", requires = "images")]
    labs: Option<usize>,
    #[command(flatten)]
    repository: RepositoryArguments,
    /// Ends after the run: exit code 0 only if every image stands in every lab and nothing is left behind.
    #[arg(long)]
    once: bool,
    /// How many times as fast as real time simulated Azure goes.
    #[arg(long, default_value_t = 600.0, value_name = "N")]
    speed: f64,
    /// Where all of simulated Azure's latencies come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Starts a run of everything at these times as well, of simulated Azure's clock: an NCRONTAB expression with seconds, in UTC,
    /// such as "0 0 1 * * *" for every night at one. Off where it is not given.
    #[arg(long, value_name = "NCRONTAB", conflicts_with = "once")]
    schedule: Option<String>,
    /// The port of the Functions host; any free one where it is not given.
    #[arg(long, default_value_t = 0, value_name = "P")]
    port: u16,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Writes what the Functions host and the handler log.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Runs the handler of this package, as `package` makes it, in place of this very program.
    #[arg(long, value_name = "FILE")]
    package: Option<PathBuf>,
    /// What shall go wrong in simulated Azure: a JSON file, see docs/simulator.md.
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,
}

impl DevArguments {
    /// Runs the factory.
    ///
    /// # Errors
    /// If the configuration cannot be used, or a process does not come up.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let clock = Clock::scaled(self.speed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.repository.open(&clock).await? {
                Some(commits) => self.run_commits(Arc::new(commits), &clock).await,
                None => self.run_files(&clock).await,
            }
        })
    }

    /// One run of a configuration as it is.
    async fn run_files(self, clock: &Clock) -> anyhow::Result<ExitCode> {
        let files = match (self.images, self.labs) {
            (Some(images), Some(labs)) => configuration::generate(Shape::new(images, labs)),
            _ => configuration::read(self.config.as_deref())?,
        };
        let configuration = configuration::check(&files)?;
        let mut stage = Stage::start(self.stage(clock, &configuration), |folder| {
            write_files(&files, folder)?;
            Ok(vec![(settings::source::CONFIGURATION, folder.display().to_string())])
        })
        .await?;
        let run = RunId::manual(clock.now(), &random_letters()?)?;
        eprintln!("run              {run}");
        stage.desk.start_run(&run).await?;
        let succeeded = self.show_run(&mut stage, &run, clock, true).await?;
        if !self.once {
            print_endpoints(&stage);
            tokio::signal::ctrl_c().await?;
        }
        stage.stop().await?;
        Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// A run of each commit, the newest one's first.
    async fn run_commits(self, commits: Arc<Commits>, clock: &Clock) -> anyhow::Result<ExitCode> {
        let newest = commits.newest()?;
        if self.once && newest.is_none() {
            bail!(
                "the branch {} has no commits: commit to it, or name another one with --branch",
                commits.branch()
            );
        }
        // What is wrong with the commit's configuration is its run's to say, not this command's.
        let configuration = newest.and_then(|commit| commits.configuration(&commit));
        let configuration = configuration.unwrap_or_else(configuration::empty);
        let source = commits.settings();
        let mut stage = Stage::start(self.stage(clock, &configuration), |_| Ok(source)).await?;
        eprintln!("git host         {} (branch {})", commits.host.address(), commits.branch());
        commits.ping(&stage.host_address).await?;
        if !self.once {
            print_endpoints(&stage);
        }
        let (tell, mut news) = mpsc::unbounded_channel();
        let (control, functions) = (stage.control()?, stage.host_address.clone());
        tokio::spawn(commits::watch(commits.clone(), control, functions, tell, self.once));
        let (mut shown, mut succeeded) = (BTreeSet::new(), false);
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        let show = async {
            while let Some(told) = news.recv().await {
                let (commit, run) = match told {
                    News::Run { commit, run } => (commit, run),
                    News::Said(words) if self.once => bail!(words),
                    News::Said(words) => {
                        println!("{words}");
                        continue;
                    }
                };
                println!("\ncommit {}", commits::one_line(&commit));
                if !shown.insert(run.to_string()) {
                    println!("run {run} of this commit has been: a commit is one run");
                    continue;
                }
                eprintln!("run              {run}");
                succeeded = self.show_run(&mut stage, &run, clock, news.is_empty()).await?;
                if self.once {
                    break;
                }
                println!("waiting for the next commit to {}; Ctrl+C ends", commits.branch());
            }
            anyhow::Ok(())
        };
        tokio::select! {
            shown = show => shown?,
            _ = &mut interrupted => {}
        }
        stage.stop().await?;
        Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn stage<'a>(&'a self, clock: &'a Clock, configuration: &'a Configuration) -> StageOptions<'a> {
        let Self { seed, speed, port, .. } = *self;
        let (faults, log, schedule) = (self.faults.as_deref(), self.log.as_deref(), self.schedule.as_deref());
        let program = self.package.as_deref().map_or(Program::This, Program::Packed);
        StageOptions { seed, clock, speed, configuration, faults, schedule, port, log, program }
    }

    /// Shows how a run goes on and what came of it. What is left behind cannot be told from what another run is about to take
    /// away, so it is told only of the `last` one. Answers whether everything succeeded.
    async fn show_run(
        &self,
        stage: &mut Stage,
        run: &RunId,
        clock: &Clock,
        last: bool,
    ) -> anyhow::Result<bool> {
        let report = stage.await_run(run).await?;
        let outcome = stage.outcome(report).await?;
        if let Some(file) = &self.report {
            write_report(file, &outcome)?;
        }
        print_outcome(&outcome, clock.now(), self.speed, last)?;
        Ok(if last { outcome.succeeded() } else { outcome.run.succeeded() })
    }
}

/// The handler reads its configuration from a folder; the shipped example has none of its own.
fn write_files(files: &ConfigurationFiles, folder: &Path) -> anyhow::Result<()> {
    for (name, contents) in &files.files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn random_letters() -> anyhow::Result<String> {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; RANDOM_LETTERS];
    getrandom::fill(&mut bytes).context("the system gives no random numbers")?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}

fn print_outcome(outcome: &Outcome, now: OffsetDateTime, speed: f64, is_last: bool) -> anyhow::Result<()> {
    println!("{}", outcome.run.table(now));
    for remark in outcome.run.remarks() {
        println!("{remark}");
    }
    let run = &outcome.run.run;
    for warning in &run.warnings {
        println!("{warning}");
    }
    if let Some(error) = &run.error {
        println!("{error}");
    }
    if !is_last {
        println!("another run is under way");
    } else if outcome.leftovers.is_empty() {
        println!("nothing is left behind");
    } else {
        println!("left behind: {}", serde_json::to_string_pretty(&outcome.leftovers)?);
    }
    // A run that made nothing has no critical path.
    let ratio = outcome.virtual_seconds / outcome.critical_path_seconds;
    let ratio = if ratio.is_finite() { format!(", {ratio:.2} of the critical path") } else { String::new() };
    println!(
        "run {} {} in {:.0} minutes of Azure's time ({:.0} s here){ratio}",
        run.id,
        run.status.word(),
        outcome.virtual_seconds / 60.0,
        outcome.virtual_seconds / speed,
    );
    if let Some(bytes) = outcome.counts.handler_peak_memory_bytes {
        println!("the handler took at most {:.1} MiB of memory", bytes as f64 / f64::from(1 << 20));
    }
    Ok(())
}

fn print_endpoints(stage: &Stage) {
    let addresses = &stage.addresses;
    println!("\nEverything stays up until Ctrl+C.");
    println!("  Resource Manager   {}", addresses.resource_manager);
    println!("  Blob Storage       {}/<account>", addresses.blob);
    println!("  tokens             {}", addresses.identity);
    println!("  Service Bus        {}", addresses.service_bus);
    println!("  simulator control  {}", addresses.control);
    println!("  Functions host     {}/admin/functions", stage.host_address);
    println!("  the deployed app   {}", stage.app_root().display());
    let settings = stage.app_root().join("local.settings.json");
    println!("  people's commands  image-factory status --settings {}", settings.display());
}
