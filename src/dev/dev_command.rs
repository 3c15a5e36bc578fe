//! `image-factory dev`: the whole factory on this machine, as real processes over real sockets.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use azure_sim::control::ManagedIdentity;
use clap::Args;
use factory_clock::{CLOCK_VARIABLE, Clock};
use time::OffsetDateTime;

use super::{
    azure_sim::SimAddresses,
    configuration,
    control::Control,
    desk::Desk,
    host_watch::HostWatch,
    outcome::{Outcome, RunCounts},
    processes,
    progress::Progress,
    simulate::write_report,
    world,
};
use crate::{
    domain::{Configuration, ConfigurationFiles, RunId},
    handler::settings,
    report::{RunReport, Status},
};

/// How often it is looked how the run stands (real time).
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at least so many times as long as a look takes.
const REST: u32 = 10;
/// How long a run may take (real time): one that hangs shall not hang whoever waits for it.
const LONGEST_RUN: Duration = Duration::from_secs(2 * 3600);
/// Random letters of a run's id: enough that two runs do not meet.
const RANDOM_LETTERS: usize = 4;
/// Every ten minutes, as in the sample settings.
const CLEANUP_SCHEDULE: &str = "0 */10 * * * *";

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
    /// Ends after the run: exit code 0 only if every image stands in every lab and nothing is left behind.
    #[arg(long)]
    once: bool,
    /// How many times as fast as real time simulated Azure goes.
    #[arg(long, default_value_t = 600.0, value_name = "N")]
    speed: f64,
    /// Where all of simulated Azure's latencies come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The port of the Functions host; any free one where it is not given.
    #[arg(long, default_value_t = 0, value_name = "P")]
    port: u16,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Writes what the Functions host and the handler log.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
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
        let files = match (self.images, self.labs) {
            (Some(images), Some(labs)) => configuration::generate(images, labs),
            _ => configuration::read(self.config.as_deref())?,
        };
        let configuration = configuration::check(&files)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.run_factory(&files, &configuration))
    }

    async fn run_factory(
        self,
        files: &ConfigurationFiles,
        configuration: &Configuration,
    ) -> anyhow::Result<ExitCode> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let clock = Clock::scaled(self.speed)?;
        let (azure, addresses) = processes::start_azure(self.seed, &clock).await?;
        let control = Control::new(&addresses.control)?;
        let factory_lab = control.set_up(configuration).await?;
        if let Some(file) = &self.faults {
            control.set_faults(file).await?;
        }
        let identity = control.identity().await?;
        let desk = Desk::new(&addresses, identity.clone(), &clock)?;
        // In Azure the deployment makes the ledger's container.
        desk.ledger.prepare().await?;

        let app_root = folder.path().join("app");
        let pinned = folder.path().join("configuration");
        write_files(files, &pinned)?;
        std::fs::create_dir(&app_root)?;
        let settings = app_settings(&addresses, &identity, &factory_lab, &pinned, &clock);
        processes::lay_out_app(&app_root, &settings)?;
        let host = processes::start_host(&app_root, folder.path(), self.port, &clock).await?;
        let (host_process, host_address, handler) = (host.process.id(), host.address.clone(), host.handler);
        let mut host = HostWatch::start(host, self.log.as_deref())?;

        let run = RunId::manual(clock.now(), &random_letters()?)?;
        eprintln!(
            "simulated Azure  {} ({} times as fast as real time)",
            addresses.resource_manager, self.speed
        );
        eprintln!("Functions host   {host_address} (process {host_process})");
        eprintln!("handler          process {handler}");
        eprintln!("run              {run}");
        desk.start_run(&run).await?;
        let report = await_run(&desk, &run, &clock, &mut host).await?;

        let messages = control.queues().await?.values().map(|queue| queue.accepted).sum();
        let counts = RunCounts {
            messages,
            invocations: host.invocations(),
            azure: control.counts().await?,
            handler_peak_memory_bytes: processes::peak_memory(host.handler()),
        };
        let (state, work, budgets) =
            (control.state().await?, control.work().await?.work, control.budgets().await?);
        let outcome = Outcome::new(report, &state, &work, &budgets, counts);
        if let Some(file) = &self.report {
            write_report(file, &outcome)?;
        }
        print_outcome(&outcome, clock.now(), self.speed)?;
        if !self.once {
            print_endpoints(&addresses, &host_address, &app_root);
            tokio::signal::ctrl_c().await?;
        }
        desk.close().await;
        host.stop().await?;
        azure.stop().await?;
        Ok(if outcome.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Shows how the run goes on until it has ended.
async fn await_run(
    desk: &Desk,
    run: &RunId,
    clock: &Clock,
    host: &mut HostWatch,
) -> anyhow::Result<RunReport> {
    let mut progress = Progress::new(clock.now());
    let begun = Instant::now();
    loop {
        for event in host.news() {
            progress.say(&event);
        }
        if let Some(reason) = host.ended() {
            bail!("the Functions host ended: {reason}");
        }
        let looked = Instant::now();
        match desk.look(run).await {
            Ok(Some(report)) => {
                progress.show(&report, clock.now());
                if report.run.status != Status::Running {
                    progress.finish();
                    return Ok(report);
                }
            }
            Ok(None) => {}
            // The next look may succeed; a ledger that stays away runs into the limit below.
            Err(error) => progress.say(&format!("cannot look at the run: {error}")),
        }
        if begun.elapsed() > LONGEST_RUN {
            bail!("the run did not end within {} minutes", LONGEST_RUN.as_secs() / 60);
        }
        // A look at a large run reads very many documents: most of the time is for the run itself.
        tokio::time::sleep(LOOK.max(REST * looked.elapsed())).await;
    }
}

/// The app settings of the local factory, in the form in which Azure would have them.
fn app_settings(
    addresses: &SimAddresses,
    identity: &ManagedIdentity,
    factory_lab: &str,
    configuration: &Path,
    clock: &Clock,
) -> BTreeMap<String, String> {
    let ledger = format!("{}/{}/{}", addresses.blob, world::LEDGER_ACCOUNT, world::LEDGER_CONTAINER);
    let settings = [
        ("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned()),
        ("CleanupSchedule", CLEANUP_SCHEDULE.to_owned()),
        (settings::SERVICE_BUS, addresses.service_bus.clone()),
        (settings::LEDGER, ledger),
        (settings::FACTORY_LAB, factory_lab.to_owned()),
        (settings::source::CONFIGURATION, configuration.display().to_string()),
        (settings::RESOURCE_MANAGER, addresses.resource_manager.clone()),
        ("IDENTITY_ENDPOINT", identity.endpoint.clone()),
        ("IDENTITY_HEADER", identity.header.clone()),
        (CLOCK_VARIABLE, clock.to_string()),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
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

fn print_outcome(outcome: &Outcome, now: OffsetDateTime, speed: f64) -> anyhow::Result<()> {
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
    if outcome.leftovers.is_empty() {
        println!("nothing is left behind");
    } else {
        println!("left behind: {}", serde_json::to_string_pretty(&outcome.leftovers)?);
    }
    println!(
        "run {} {} in {:.0} minutes of Azure's time ({:.0} s here), {:.2} of the critical path",
        run.id,
        run.status.word(),
        outcome.virtual_seconds / 60.0,
        outcome.virtual_seconds / speed,
        outcome.virtual_seconds / outcome.critical_path_seconds,
    );
    if let Some(bytes) = outcome.counts.handler_peak_memory_bytes {
        println!("the handler took at most {:.1} MiB of memory", bytes as f64 / f64::from(1 << 20));
    }
    Ok(())
}

fn print_endpoints(addresses: &SimAddresses, host: &str, app_root: &Path) {
    println!("\nEverything stays up until Ctrl+C.");
    println!("  Resource Manager   {}", addresses.resource_manager);
    println!("  Blob Storage       {}/<account>", addresses.blob);
    println!("  tokens             {}", addresses.identity);
    println!("  Service Bus        {}", addresses.service_bus);
    println!("  simulator control  {}", addresses.control);
    println!("  Functions host     {host}/admin/functions");
    println!("  the deployed app   {}", app_root.display());
}
