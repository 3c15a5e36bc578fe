//! Everything that `dev` starts: simulated Azure, the Functions host with the handler, and the desk of the person before them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use azure_sim::control::ManagedIdentity;
use factory_clock::{CLOCK_VARIABLE, Clock};
use tempfile::TempDir;

use super::{
    app::{self, Program},
    azure_sim::SimAddresses,
    control::Control,
    desk::Desk,
    host_watch::HostWatch,
    outcome::{Outcome, RunCounts},
    processes::{self, Process},
    progress::Progress,
    world,
};
use crate::{
    domain::{Configuration, RunId},
    handler::settings,
    report::{RunReport, Status},
};

/// How often it is looked whether the run has ended, and at most how often how it stands (real time).
const LOOK: Duration = Duration::from_millis(500);
/// Between two looks at least so many times as long as a look takes.
const REST: u32 = 10;
/// How long a run may take (real time): one that hangs shall not hang whoever waits for it.
const LONGEST_RUN: Duration = Duration::from_secs(2 * 3600);
/// Every night at one, UTC, as in the sample settings; where it is asked for, since a night lasts minutes here.
const SCHEDULE: &str = "0 0 1 * * *";
/// Turns a function off (Microsoft, "How to disable functions").
const SCHEDULE_OFF: &str = "AzureWebJobs.schedule.Disabled";
/// Every ten minutes, as in the sample settings.
const CLEANUP_SCHEDULE: &str = "0 */10 * * * *";

/// What to start.
pub struct StageOptions<'a> {
    /// Where all of simulated Azure's latencies come from.
    pub seed: u64,
    /// The clock of all processes.
    pub clock: &'a Clock,
    /// How many times as fast as real time it goes.
    pub speed: f64,
    /// The labs that exist.
    pub configuration: &'a Configuration,
    /// What shall go wrong in simulated Azure.
    pub faults: Option<&'a Path>,
    /// When the timer `schedule` starts runs, as an NCRONTAB expression; never where `None`.
    pub schedule: Option<&'a str>,
    /// The port of the Functions host; any free one where 0.
    pub port: u16,
    /// Where to write what the host and the handler log.
    pub log: Option<&'a Path>,
    /// Where the handler comes from.
    pub program: Program<'a>,
}

/// A factory that is up.
pub struct Stage {
    azure: Process,
    /// Where simulated Azure listens.
    pub addresses: SimAddresses,
    control: Control,
    /// The person's desk.
    pub desk: Desk,
    host: HostWatch,
    /// Where the Functions host listens.
    pub host_address: String,
    clock: Clock,
    folder: TempDir,
}

impl Stage {
    /// Starts everything. `source` answers the app settings that say where the configuration comes from, given a folder to put it into.
    ///
    /// # Errors
    /// If a process does not come up.
    pub async fn start(
        options: StageOptions<'_>,
        source: impl FnOnce(&Path) -> anyhow::Result<Vec<(&'static str, String)>>,
    ) -> anyhow::Result<Self> {
        let StageOptions { seed, clock, speed, configuration, faults, schedule, port, log, program } =
            options;
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let (azure, addresses) = processes::start_azure(seed, clock).await?;
        let control = Control::new(&addresses.control)?;
        let factory_lab = control.set_up(configuration).await?;
        if let Some(file) = faults {
            control.set_faults(file).await?;
        }
        let identity = control.identity().await?;
        let desk = Desk::new(&addresses, identity.clone(), clock)?;
        // In Azure the deployment makes the ledger's container.
        desk.ledger.prepare().await?;

        let app_root = folder.path().join("app");
        std::fs::create_dir(&app_root)?;
        let mut settings = app_settings(&addresses, &identity, &factory_lab, clock, schedule);
        let source = source(&folder.path().join("configuration"))?;
        settings.extend(source.into_iter().map(|(name, value)| (name.to_owned(), value)));
        app::lay_out(&app_root, program, &settings)?;
        let host = processes::start_host(&app_root, folder.path(), port, clock).await?;
        eprintln!("simulated Azure  {} ({speed} times as fast as real time)", addresses.resource_manager);
        eprintln!("Functions host   {} (process {})", host.address, host.process.id());
        eprintln!("handler          process {}", host.handler);
        let host_address = host.address.clone();
        let host = HostWatch::start(host, log)?;
        Ok(Self { azure, addresses, control, desk, host, host_address, clock: clock.clone(), folder })
    }

    /// Where the app is laid out as it is deployed.
    pub fn app_root(&self) -> PathBuf {
        self.folder.path().join("app")
    }

    /// Another client of the simulator's own interface.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub fn control(&self) -> anyhow::Result<Control> {
        Control::new(&self.addresses.control)
    }

    /// Shows how a run goes on until it has ended.
    ///
    /// # Errors
    /// If it does not end, or the Functions host does.
    pub async fn await_run(&mut self, run: &RunId) -> anyhow::Result<RunReport> {
        let (host, clock) = (&mut self.host, &self.clock);
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
            match self.desk.look(run).await {
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
            rest(&self.desk, run, REST * looked.elapsed()).await;
        }
    }

    /// What a run leaves behind, and what it took.
    ///
    /// # Errors
    /// If simulated Azure does not answer.
    pub async fn outcome(&self, report: RunReport) -> anyhow::Result<Outcome> {
        let (control, host) = (&self.control, &self.host);
        let counts = RunCounts {
            messages: control.queues().await?.values().map(|queue| queue.accepted).sum(),
            invocations: host.invocations(),
            azure: control.counts().await?,
            handler_peak_memory_bytes: processes::peak_memory(host.handler()),
        };
        let (state, work, budgets) =
            (control.state().await?, control.work().await?.work, control.budgets().await?);
        Ok(Outcome::new(report, &state, &work, &budgets, counts))
    }

    /// Ends everything.
    ///
    /// # Errors
    /// If a process cannot be waited for.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.desk.close().await;
        self.host.stop().await?;
        self.azure.stop().await
    }
}

/// The app settings of the local factory, in the form in which Azure would have them.
fn app_settings(
    addresses: &SimAddresses,
    identity: &ManagedIdentity,
    factory_lab: &str,
    clock: &Clock,
    schedule: Option<&str>,
) -> BTreeMap<String, String> {
    let ledger = format!("{}/{}/{}", addresses.blob, world::LEDGER_ACCOUNT, world::LEDGER_CONTAINER);
    let settings = [
        ("FUNCTIONS_WORKER_RUNTIME", "custom".to_owned()),
        ("CleanupSchedule", CLEANUP_SCHEDULE.to_owned()),
        ("Schedule", schedule.unwrap_or(SCHEDULE).to_owned()),
        (SCHEDULE_OFF, schedule.is_none().to_string()),
        (settings::SERVICE_BUS, addresses.service_bus.clone()),
        (settings::LEDGER, ledger),
        (settings::FACTORY_LAB, factory_lab.to_owned()),
        (settings::RESOURCE_MANAGER, addresses.resource_manager.clone()),
        ("IDENTITY_ENDPOINT", identity.endpoint.clone()),
        ("IDENTITY_HEADER", identity.header.clone()),
        (CLOCK_VARIABLE, clock.to_string()),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Rests so long, or until the run has ended: one document tells.
async fn rest(desk: &Desk, run: &RunId, most: Duration) {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(LOOK).await;
        if begun.elapsed() >= most || desk.has_ended(run).await {
            return;
        }
    }
}
