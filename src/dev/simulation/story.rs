//! One story from its beginning to its judgement.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use azure_sim::{
    broker::BrokerMessage,
    chaos::{Chances, Struck},
    control::{self, State},
    latency::{Profile, Span},
};
use time::OffsetDateTime;

use super::{
    faults::{Fault, FaultRates},
    host::{Doubled, Host},
    law::Law,
    laws,
    scenario::{Deed, FAULTS_LAST, ORIGIN, Scenario},
    watch::{Seen, Watch},
};
use crate::{
    azure::AzureError,
    dev::{
        in_process::{InProcessOptions, Instance, Surroundings},
        log::Log,
    },
    domain::{
        ImagePath, Message, Queue, RunId, RunReason,
        messages::{
            AskingId, CancelRun, CopyImage, ImageStep, Person, PinImage, PinnedName, Rerun, StartRun, Step,
        },
    },
    ledger::ItemStatus,
    report::RunReport,
    steps::Envelope,
};

/// How often it is looked whether the story is over.
const LOOK: Duration = Duration::from_secs(60);
/// A run that is still open after this never ends: all deadlines and the run's own, with room.
const EVERY_RUN_ENDS: time::Duration = time::Duration::hours(56);
/// What is left behind must be gone this long after the last run ended.
const LEFTOVERS_GO: time::Duration = time::Duration::hours(14);

/// How a story is told.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// At these I/O points the instance that reaches them dies.
    pub crash_at: BTreeSet<u64>,
    /// Messages that come twice.
    pub doubled: Option<Doubled>,
    /// Whether the trace is kept, not only its hash.
    pub keep_trace: bool,
}

/// How a story ended.
#[derive(Clone, Debug, Default)]
pub struct Ended {
    /// What was seen from the inside, with the laws that were broken.
    pub seen: Seen,
    /// What struck in Azure.
    pub struck: Vec<Struck>,
    /// The runs' reports, in order.
    pub reports: Vec<RunReport>,
    /// When each run decided what it does, of those that did.
    pub decided: BTreeMap<RunId, OffsetDateTime>,
    /// The state of Azure in the end.
    pub state: Option<State>,
    /// Virtual seconds that it took.
    pub seconds: f64,
}

impl Ended {
    /// Whether no law was broken.
    pub fn is_lawful(&self) -> bool {
        self.seen.broken.is_empty()
    }

    /// How often each kind of fault struck.
    pub fn strikes(&self) -> BTreeMap<Fault, u64> {
        let mut strikes: BTreeMap<Fault, u64> =
            self.seen.struck.iter().map(|(fault, times)| (Fault::Host(*fault), *times)).collect();
        for struck in &self.struck {
            *strikes.entry(Fault::Azure(struck.chance)).or_default() += 1;
        }
        strikes
    }
}

/// Tells a story, and beside it the same one in which nothing fails; judges the first by the laws and by the second.
///
/// # Errors
/// If the story cannot be told at all.
pub fn judge(scenario: &Scenario, telling: &Telling) -> anyhow::Result<Ended> {
    let mut ended = tell(scenario, telling)?;
    if scenario.rates != FaultRates::none() || telling.doubled.is_some() || !telling.crash_at.is_empty() {
        let kind = Scenario { rates: FaultRates::none(), ..scenario.clone() };
        let twin = tell(&kind, &Telling::default())?;
        laws::judge_against_twin(scenario, &mut ended, &twin);
    }
    Ok(ended)
}

/// Tells a story and judges it by the laws.
///
/// # Errors
/// If the story cannot be told at all.
pub fn tell(scenario: &Scenario, telling: &Telling) -> anyhow::Result<Ended> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::INFO)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        // One thread and a paused clock: the order of everything follows from the seed.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(tell_here(scenario, telling, &log))
    })
}

async fn tell_here(scenario: &Scenario, telling: &Telling, log: &Log) -> anyhow::Result<Ended> {
    let options =
        InProcessOptions { seed: scenario.seed, profile: profile(), files: scenario.files(), origin: ORIGIN };
    let surroundings = Surroundings::new(options, &scenario.configuration()?)?;
    let sim = surroundings.sim.clone();
    let outside =
        Instance::new(&surroundings, sim.clock().clone(), surroundings.transport(), surroundings.outbox())?;
    outside.factory.ledger.prepare().await?;
    let until = ORIGIN + FAULTS_LAST;
    {
        let mut world = sim.world();
        scenario.prepare(&mut world);
        world.chances = Chances { seed: scenario.seed, rates: scenario.rates.azure(), until: Some(until) };
    }
    let watch = Arc::new(Watch::new(
        sim.clone(),
        scenario.seed,
        scenario.rates.clone(),
        until,
        telling.crash_at.clone(),
        telling.keep_trace,
    ));
    let host = Host::new(surroundings.clone(), watch.clone(), scenario.instances, telling.doubled)?;
    let tasks = host.start();
    for (index, run) in scenario.runs.iter().enumerate() {
        let (outside, id, clock) = (outside.clone(), scenario.run_id(index), sim.clock().clone());
        let (after, times) = (run.after, if run.twice { 2 } else { 1 });
        let commit = scenario.commit_of(index);
        surroundings.folder.commit(&commit, scenario.files_of(index));
        let everything = StartRun::of_everything(RunReason::Commit);
        let start = StartRun { commit: Some(commit), force: run.force, ..everything };
        tokio::spawn(async move {
            clock.sleep(after).await;
            for _ in 0..times {
                let message = Message::first(id.clone(), Step::StartRun(start.clone()));
                // The person's own program tries again until Service Bus has it; here it has it at once.
                let _ = outside.factory.outbox.send(vec![Envelope::now(message)]).await;
            }
        });
    }
    for act in scenario.people.clone() {
        let (scenario, sim, watch) = (scenario.clone(), sim.clone(), watch.clone());
        let outside = outside.clone();
        tokio::spawn(async move {
            sim.clock().sleep(act.after).await;
            if let Some(wish) = wish(&scenario, &act.deed) {
                watch.note(|| format!("somebody asks: {}", wish.message_id()));
                let _ = outside.factory.outbox.send(vec![Envelope::now(wish)]).await;
                return;
            }
            if !scenario.is_possible(&act.deed, &sim) {
                return;
            }
            if let Some(id) = held_by(&scenario, &act.deed) {
                watch.held(id);
            }
            watch.note(|| format!("somebody does {:?}", act.deed));
            scenario.act(&act.deed, &mut sim.world());
        });
    }
    // A run that has ended may be run again by what people do after that.
    let (runs, people) =
        (scenario.runs.iter().map(|run| run.after), scenario.people.iter().map(|act| act.after));
    let last = runs.chain(people).max().unwrap_or_default();
    sim.clock().sleep(last + LOOK).await;
    settle(scenario, &outside, &watch, ORIGIN + last + EVERY_RUN_ENDS).await;
    let settled = sim.clock().now();
    watch.end_faults();
    replay(&surroundings, &outside, &watch).await;
    drop(tasks);

    let (ledger, mut reports, mut decided) = (&outside.factory.ledger, Vec::new(), BTreeMap::new());
    let unreadable = |error| watch.broken(Law::Tellable, format!("the ledger cannot be read: {error}"));
    for index in 0..scenario.runs.len() {
        let run = scenario.run_id(index);
        match RunReport::read(ledger, &run).await {
            Ok(Some(report)) => reports.push(report),
            Ok(None) => watch.broken(Law::LostImage, format!("{run} is not in the ledger")),
            Err(error) => unreadable(error),
        }
        match ledger.run_plan(&run).await {
            Ok(plan) => {
                let own = plan.filter(|plan| plan.passed_by.is_none());
                decided.extend(own.map(|plan| (plan.run, plan.decided_at)));
            }
            Err(error) => unreadable(error),
        }
    }
    laws::no_secrets(&surroundings, &watch, &outside, &log.text()).await;
    let ended = Ended {
        struck: watch.struck(),
        reports,
        decided,
        state: Some(control::state(&sim)),
        seconds: (settled - ORIGIN).as_seconds_f64(),
        seen: Seen::default(),
    };
    laws::judge_end(scenario, &ended, &watch, &surroundings);
    Ok(Ended { seen: watch.seen(), ..ended })
}

/// The message by which a deed is asked of the factory, if it is.
fn wish(scenario: &Scenario, deed: &Deed) -> Option<Message> {
    let by = Person::parse("somebody").ok()?;
    let id = AskingId::parse("once").ok()?;
    Some(match deed {
        Deed::Cancel(run) => {
            Message::first(scenario.run_id(*run), Step::CancelRun(CancelRun { by, id: Some(id) }))
        }
        Deed::AskToPin(old) => {
            let (lab, name) = scenario.old_image(*old)?;
            let image_name = PinnedName::parse(&name).ok()?;
            let pin = PinImage { lab, image_name, pin: true, by, id: Some(id) };
            Message::first(scenario.run_id(0), Step::PinImage(pin))
        }
        Deed::Rerun { run, image, lab } => {
            let image_path = ImagePath::parse(&scenario.images.get(*image)?.path).ok()?;
            let step = match lab {
                None => Step::CreateVm(ImageStep { image_path }),
                Some(lab) => Step::CopyImage(CopyImage { image_path, lab: scenario.lab_id(*lab)? }),
            };
            let rerun = Some(Rerun { id, by });
            Message { rerun, ..Message::first(scenario.run_id(*run), step) }
        }
        _ => return None,
    })
}

/// What a deed takes hold of.
fn held_by(scenario: &Scenario, deed: &Deed) -> Option<String> {
    match deed {
        Deed::Pin(old) | Deed::MakeFormula(old) | Deed::MakeVm(old) => {
            let (lab, name) = scenario.old(*old)?;
            Some(format!("{lab}/customimages/{}", name.to_lowercase()))
        }
        Deed::Ignore { run, image } => scenario.factory_vm(*run, *image),
        Deed::AskToPin(_) | Deed::Cancel(_) | Deed::Rerun { .. } => None,
    }
}

/// Waits until every run has ended, no message is left and nothing is left behind, or until that takes too long.
async fn settle(scenario: &Scenario, outside: &Instance, watch: &Watch, deadline: OffsetDateTime) {
    loop {
        let open = unfinished(outside).await.unwrap_or_else(|error| vec![error.to_string()]);
        if open.is_empty() && is_quiet(watch) {
            break;
        }
        if watch.now() > deadline {
            return watch.broken(Law::EveryRunEnds, format!("still open after days: {open:?}"));
        }
        watch.sleep(LOOK).await;
    }
    let deadline = watch.now() + LEFTOVERS_GO;
    while !laws::leftovers(scenario, &watch.azure(), &watch.struck()).is_empty() && watch.now() < deadline {
        watch.sleep(5 * LOOK).await;
    }
}

/// The runs that go on, and the wishes that nobody has answered.
async fn unfinished(outside: &Instance) -> Result<Vec<String>, AzureError> {
    let ledger = &outside.factory.ledger;
    let runs = ledger.runs().await?.into_iter().filter(|entry| entry.status == ItemStatus::Open);
    let runs = runs.map(|entry| entry.key);
    Ok(runs.chain(ledger.wishes().await?).map(|key| key.to_string()).collect())
}

fn is_quiet(watch: &Watch) -> bool {
    let queues = watch.queues();
    queues.values().all(|queue| queue.counts.active + queue.counts.scheduled + queue.counts.locked == 0)
}

/// Law: the same step run twice changes nothing. Every message that was ever sent comes once more, and nothing happens.
async fn replay(surroundings: &Surroundings, outside: &Instance, watch: &Arc<Watch>) {
    let seen = watch.seen();
    if !seen.broken.is_empty() {
        return;
    }
    let before = (laws::standing(&watch.azure()), laws::ledger_hash(surroundings, outside).await);
    let again: BTreeSet<(Queue, Vec<u8>)> = seen.messages.into_iter().collect();
    watch.note(|| format!("{} messages come once more", again.len()));
    watch.judged(Law::Idempotence, again.len());
    for (number, (queue, body)) in again.into_iter().enumerate() {
        let message = BrokerMessage::new(body).with_message_id(format!("copy-again-{number}"));
        if let Err(error) = surroundings.broker.send(queue.name(), vec![message]) {
            watch.broken(Law::Tellable, format!("the broker refuses a message: {error}"));
        }
    }
    for _ in 0..240 {
        watch.sleep(LOOK).await;
        if is_quiet(watch) {
            break;
        }
    }
    let after = (laws::standing(&watch.azure()), laws::ledger_hash(surroundings, outside).await);
    if before != after {
        watch.broken(Law::Idempotence, "a message that came once more, long after, changed something");
    }
}

/// Realistic, but a story shall be few messages: VMs and copies are quick.
fn profile() -> Profile {
    Profile {
        vm_creation: Span::seconds(200.0, 900.0),
        copy_mib_per_second: Span::seconds(200.0, 600.0),
        cross_region_copy_mib_per_second: Span::seconds(100.0, 300.0),
        ..Profile::default()
    }
}
