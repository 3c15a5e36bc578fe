//! start-run: the run is planned from its pinned configuration, its builds are under way, and in the end it says how it went.

mod builds;
mod cancelled;
mod decisions;
mod foresight;
mod lab_plans;
mod pinned;
mod planning;
mod standing;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;

use builds::prepare_builds;
pub use foresight::{Foresight, foresee};
use planning::{Planned, plan};
pub(crate) use planning::{factory_lab, wanted};
use standing::Standing;

use super::{
    Factory, StepError, Told,
    pace::{self, Bounds},
    turn::{self, ItemStep, Next},
};
use crate::{
    azure::AzureError,
    domain::{
        RunId,
        config::FactorySettings,
        messages::{ImageStep, Message, Queue, StartRun, Step},
    },
    ledger::{CallOffKind, Failure, Key, RunBuild, RunRecord, StepState},
};

/// Between two looks at how the run stands. The lateness of the last look delays nobody: images do not wait for the run.
const BOUNDS: Bounds = Bounds::seconds(15, 180).of_elapsed(10);
/// A look lists all builds and copies, 1,000 a call. It waits this much longer for each that is listed, so that the looks at
/// a large run cost each of its copies as little as those at a small one.
const FOR_EACH_ITEM: Duration = Duration::from_millis(3);
/// Between two turns of planning, each of a few calls: it is the turns that may die.
const AT_ONCE: Duration = Duration::from_secs(1);
/// Between two looks at whether the run before has planned.
const PLANNING: Bounds = Bounds::seconds(5, 60).of_elapsed(5);
/// A run that is open for longer than all its steps' deadlines and this is ended: room for taking back and for a bad day.
/// It must not end before its steps do, since cleanup takes away what belongs to no open run.
const BEYOND_DEADLINES: Duration = Duration::from_secs(18 * 3600);

/// Handles a message of the queue `start-run`: the first that reaches the ledger makes the run's document. It comes before the
/// plan: a run that is known can be taken up again, whatever is lost while it is being planned.
pub async fn handle(factory: &Factory, message: &Message, start: &StartRun) -> Result<Told, StepError> {
    // Who asked is on record before anything is done.
    if let Err(error) = factory.ledger.note_asked(message, factory.clock.now()).await {
        return turn::later(factory, message, &error).await;
    }
    let key = Key::run(&message.run);
    match turn::take(factory, &Run, &key, message).await {
        Err(StepError::UnknownItem { .. }) => {}
        other => return other,
    }
    let record = asked_for(&message.run, start, factory.clock.now());
    match factory.ledger.create(&key, &record).await {
        Ok(_) => turn::take(factory, &Run, &key, message).await,
        Err(error) => turn::later(factory, message, &error).await,
    }
}

/// Writes down that a run is asked for, so that cleanup sends its message; one that is known stays as it is.
pub(super) async fn note(factory: &Factory, run: &RunId, start: &StartRun) -> Result<(), AzureError> {
    let record = asked_for(run, start, factory.clock.now());
    factory.ledger.create(&Key::run(run), &record).await?;
    Ok(())
}

/// A run that is known and nothing more.
fn asked_for(run: &RunId, start: &StartRun, now: OffsetDateTime) -> RunRecord {
    RunRecord {
        run: run.clone(),
        reason: start.reason,
        commit: start.commit.clone(),
        author: start.author.clone(),
        started_at: now,
        asked: Some(start.clone()),
        factory_lab: None,
        settings: FactorySettings::default(),
        approve_retirement: start.approve_retirement,
        warnings: Vec::new(),
        builds: Vec::new(),
        unchanged: Vec::new(),
        labs: Vec::new(),
        retired: BTreeMap::new(),
        called_off: None,
        steps: BTreeMap::new(),
    }
}

/// The run itself, as a step. Its fact `begun` tells which of these it has done.
struct Run;

/// The run's own document stands, its builds' do not yet.
const PLANNED: u32 = 0;
/// The last turn wrote the builds' documents: their first messages go out with it.
const FANNED_OUT: u32 = 1;
/// The first messages are out; the run only looks.
pub(super) const WATCHED: u32 = 2;

/// Whether the run is planned and its builds are written down: from here on other runs can see what it does.
fn has_fanned_out(record: &RunRecord) -> bool {
    let begun = record.steps.get(&Queue::StartRun).map_or(PLANNED, |state| state.facts.begun);
    record.asked.is_none() && begun != PLANNED
}

#[async_trait]
impl ItemStep for Run {
    type Record = RunRecord;
    const STEP: Queue = Queue::StartRun;

    fn deadline(&self, record: &RunRecord) -> Duration {
        let own = &record.settings.deadlines;
        let steps = [own.create_vm, own.capture_image, own.copy_image, own.delete_vm, own.retire_images];
        steps.iter().sum::<Duration>() + BEYOND_DEADLINES
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &RunRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        if let Some(called_off) = &record.called_off {
            return cancelled::advance(factory, record, called_off, state).await;
        }
        if let Some(start) = &record.asked {
            return Ok(match plan(factory, record, start).await? {
                // The next turn writes the builds down.
                Planned::Whole | Planned::Partly => Next::wait(AT_ONCE, "its plan"),
                Planned::Failed(failure) => Next::Failed(failure),
                Planned::After(run) => {
                    let waiting_for = format!("run {run}, which was asked for earlier, to plan");
                    let wait = pace::growing(record.started_at, factory.clock.now(), PLANNING);
                    Next::wait(wait, waiting_for)
                }
            });
        }
        if state.facts.begun == PLANNED {
            return Ok(match prepare_builds(factory, record).await? {
                Ok(()) => {
                    state.facts.begun = FANNED_OUT;
                    Next::wait(BOUNDS.least, "the images")
                }
                Err(failure) => Next::Failed(failure),
            });
        }
        state.facts.begun = WATCHED;
        let standing = Standing::read(factory, record).await?;
        if standing.missing() > 0 {
            match prepare_builds(factory, record).await? {
                Ok(()) => {
                    state.facts.begun = FANNED_OUT;
                    return Ok(Next::wait(BOUNDS.least, "images whose documents were missing"));
                }
                // The others are not left alone for it.
                Err(failure) if standing.is_over_but_for_missing() => return Ok(Next::Failed(failure)),
                Err(_) => {}
            }
        }
        if !standing.is_over() {
            let after = pace::growing(record.started_at, factory.clock.now(), BOUNDS);
            return Ok(Next::wait(after + FOR_EACH_ITEM * standing.items(), standing.to_string()));
        }
        // The run took as long as its last item, not as long as until somebody looked.
        state.ended_at = standing.last_end;
        let (failed, superseded) = (standing.failed_builds + standing.failed_copies, standing.superseded);
        Ok(match failed {
            0 => Next::Succeeded,
            _ if failed == superseded => {
                Next::Failed(Failure::new(CallOffKind::Superseded.code(), standing.to_string()))
            }
            _ => Next::Failed(Failure::new("ItemsFailed", standing.to_string())),
        })
    }

    /// What travels long begins first: a run is as long as its longest chain, and Azure takes 800 deployments at a time in a
    /// resource group, so the last of a thousand wait until the first are made.
    fn slot(&self, record: &RunRecord, follow_up: &Message) -> Duration {
        let (Step::CreateVm(ImageStep { image_path }) | Step::CaptureImage(ImageStep { image_path })) =
            &follow_up.step
        else {
            return Duration::ZERO;
        };
        let all = record.builds.len();
        let large = record.builds.iter().filter(|build| !build.is_small).count();
        let is_small = record.builds.iter().any(|build| build.image_path == *image_path && build.is_small);
        let places = if is_small { large..all } else { 0..large };
        pace::slot(all, places, &follow_up.message_id())
    }

    fn follow_ups(&self, record: &RunRecord, state: &StepState, _attempt: u32) -> Vec<Message> {
        // Not by the message's number: the first ones may have met trouble.
        if state.facts.begun != FANNED_OUT || state.ending.is_some() {
            return Vec::new();
        }
        let first = |build: &RunBuild| {
            let image = ImageStep { image_path: build.image_path.clone() };
            let step = match build.reuses {
                Some(_) => Step::CaptureImage(image),
                None => Step::CreateVm(image),
            };
            Message::first(record.run.clone(), step)
        };
        record.builds.iter().map(first).collect()
    }
}

#[cfg(test)]
mod tests;
