//! cleanup: a timer that finds what nobody owns any more.
//!
//! Lost messages cost minutes, not images: an item whose next message is overdue gets it again ([`lost`]). What carries the
//! factory's tags but belongs to nothing that goes on is removed, in the factory lab ([`debris`]) and in team labs ([`sweep`]).
//! What the ledger remembers of runs that ended long ago is forgotten.

mod debris;
mod lateness;
pub(super) mod lost;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};

use time::{Duration, OffsetDateTime};
use tracing::{info, warn};

use super::{Factory, OutboxError};
use crate::{
    azure::AzureError,
    domain::{LabId, RunId, VmName},
    ledger::{Entry, ItemStatus, RunRecord},
    telemetry,
};
use lateness::Lateness;

/// What no run of this ledger made may be another factory's, or about to be written down; after this it is debris.
const DEBRIS_AFTER: Duration = Duration::hours(12);
/// Of a run that ended longer ago than this nothing is remembered, so that the listing of the runs stays short. Everything that
/// retirement and people need stands in Azure, at the images themselves.
const REMEMBERED_FOR: Duration = Duration::days(90);
/// The ending of a VHD's name.
const VHD: &str = ".vhd";
/// Documents of the ledger that a tick removes at most.
const MOST_FORGOTTEN: usize = 5000;

/// Why a tick failed; the next one does the rest.
#[derive(Debug, thiserror::Error)]
pub enum CleanupError {
    /// Azure refused.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// A message could not be sent.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
}

/// What a tick did.
#[derive(Debug, Default)]
struct Done {
    repeated: usize,
    removed: Vec<String>,
    /// The first refusal: the tick went on without what it was about, and fails in the end.
    refused: Option<CleanupError>,
    /// How many refusals there were.
    refusals: usize,
    /// The earliest moment for which an item that goes on awaits its message.
    due_since: Option<OffsetDateTime>,
}

impl Done {
    /// What a part answered; a refusal is noted, and nothing else stops for it.
    fn note<T>(&mut self, about: &str, result: Result<T, impl Into<CleanupError>>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                let error = error.into();
                warn!(about, %error, "cleanup goes on without it");
                self.refusals += 1;
                self.refused.get_or_insert(error);
                None
            }
        }
    }

    /// Looks at when items that go on await their messages.
    fn see(&mut self, entries: &[Entry]) {
        let open = entries.iter().filter(|entry| entry.status == ItemStatus::Open);
        self.due_since = open.filter_map(|entry| entry.wake_at).chain(self.due_since).min();
    }
}

/// The runs that the ledger knows, as of this tick.
#[derive(Debug, Default)]
struct Runs {
    open: BTreeMap<RunId, OpenRun>,
    /// Each with the moment at which it ended.
    ended: BTreeMap<RunId, OffsetDateTime>,
}

/// A run that goes on; empty where its document cannot be read, so that nothing of it is taken for debris.
#[derive(Debug, Default)]
struct OpenRun {
    labs: Vec<LabId>,
    /// How its builds stand, by their VMs' names.
    builds: BTreeMap<String, ItemStatus>,
    /// The copies that failed: the part of the document's name that stands for the lab, and the VM's name.
    failed_copies: BTreeSet<(String, String)>,
    /// The labs of copies that failed so lately that nobody looked into them since.
    just_failed: BTreeSet<String>,
}

/// Whether something that bears a run's name is still needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Its item goes on, or may begin any moment.
    Live,
    /// Its item ended: nobody comes back for it.
    Over,
    /// The ledger does not know the run: it may be another factory's.
    Unknown,
}

impl Runs {
    fn of(entries: &[Entry]) -> Self {
        let mut runs = Self::default();
        for entry in entries {
            let Some(run) = entry.key.run_id() else { continue };
            match (entry.status, entry.ended_at) {
                // Without a date it is as if it ended long ago: its document is of no version that wrote none.
                (ItemStatus::Succeeded | ItemStatus::Failed, ended) => {
                    runs.ended.insert(run, ended.unwrap_or(OffsetDateTime::UNIX_EPOCH));
                }
                (ItemStatus::Open, _) => {
                    runs.open.insert(run, OpenRun::default());
                }
            }
        }
        runs
    }

    fn is_known(&self, run: &RunId) -> bool {
        self.open.contains_key(run) || self.ended.contains_key(run)
    }

    /// The life of what stands in the factory lab for one build.
    fn of_build(&self, run: &RunId, vm: &str) -> Life {
        match (self.open.get(run), self.ended.contains_key(run)) {
            // A build that is not listed may be about to be written down.
            (Some(open), _) => match open.builds.get(vm) {
                None | Some(ItemStatus::Open) => Life::Live,
                Some(_) => Life::Over,
            },
            (None, true) => Life::Over,
            (None, false) => Life::Unknown,
        }
    }

    /// The life of what stands in a team lab for one copy. What a copy that succeeded leaves is looked for when its run ended.
    fn of_copy(&self, run: &RunId, vm: &str, lab_part: &str) -> Life {
        match (self.open.get(run), self.ended.contains_key(run)) {
            (Some(open), _) => match open.failed_copies.contains(&(lab_part.to_owned(), vm.to_owned())) {
                true => Life::Over,
                false => Life::Live,
            },
            (None, true) => Life::Over,
            (None, false) => Life::Unknown,
        }
    }
}

/// Whether a VHD is the build's capture: its name ends with the same hash as the VM's. That of a copy ends with the lab's.
fn is_capture(vhd: &str, vm: &VmName) -> bool {
    let hash = vm.as_str().rsplit('-').next().unwrap_or_default();
    vhd.ends_with(&format!("-{hash}{VHD}"))
}

/// One tick of the timer; answers what it did, in a line.
///
/// # Errors
/// The first refusal of Azure or Service Bus; everything else was done all the same, and the next tick tries again. A run whose
/// document cannot be read is such a refusal at every tick, until people mend or remove it.
pub async fn tick(factory: &Factory) -> Result<String, CleanupError> {
    let mut done = Done::default();
    let mut labs: BTreeSet<LabId> = factory.factory_lab.iter().cloned().collect();
    let backlogs = done.note("how far the queues are", factory.ledger.backlogs().await);
    let lateness = Lateness::by(factory.clock.now(), backlogs.unwrap_or_default());
    let entries = factory.ledger.runs().await?;
    let mut runs = Runs::of(&entries);
    done.see(&entries);
    let newest = entries.iter().filter_map(|entry| entry.ended_at).max();
    for entry in &entries {
        let Some(run) = entry.key.run_id() else { continue };
        let is_open = entry.status == ItemStatus::Open;
        // factory.json may name another lab than the app setting: the open runs and the newest ended one know which.
        if is_open || entry.ended_at == newest {
            let read = factory.ledger.read::<RunRecord>(&entry.key).await;
            if let Some(Some((record, _))) = done.note(run.as_str(), read) {
                labs.extend(record.factory_lab.clone());
                if is_open {
                    let result = lost::repeat(factory, record, &lateness, &mut done).await;
                    if let Some(open) = done.note(run.as_str(), result) {
                        runs.open.insert(run, open);
                    }
                }
            }
        }
    }
    let wishes = lost::repeat_wishes(factory, &lateness, &mut done).await;
    done.note("what people asked for", wishes);
    for lab in &labs {
        let storage = factory.storages.get(lab).await;
        if let Some(storage) = done.note(lab.lab_name(), storage) {
            debris::remove(factory, &storage, &runs, &mut done).await;
        }
    }
    let swept = sweep::some_labs(factory, &runs, &mut done).await;
    done.note("the team labs", swept);
    let forgotten = forget_oldest(factory, &runs).await;
    done.note("the oldest run", forgotten);
    for what in &done.removed {
        info!(what, "removed what nobody owns");
    }
    let now = factory.clock.now();
    let longest_due = done.due_since.map_or(Duration::ZERO, |at| now - at);
    let tick = telemetry::Tick {
        open_runs: runs.open.len(),
        longest_due: longest_due.max(Duration::ZERO),
        recovered: done.repeated,
        removed: done.removed.len(),
        leftovers: done.refusals,
    };
    telemetry::cleaned_up(&tick, now);
    if let Some(error) = done.refused {
        return Err(error);
    }
    Ok(format!(
        "{} open runs, {} lost messages sent again, {} leftovers removed",
        runs.open.len(),
        done.repeated,
        done.removed.len()
    ))
}

/// Forgets the run that ended first, if that was long ago. The newest stays in any case: it knows the factory lab.
async fn forget_oldest(factory: &Factory, runs: &Runs) -> Result<(), AzureError> {
    let Some(run) = to_forget(runs, factory.clock.now()) else { return Ok(()) };
    if factory.ledger.forget(run, MOST_FORGOTTEN).await? {
        info!(%run, "forgot a run that ended long ago");
    }
    Ok(())
}

fn to_forget(runs: &Runs, now: OffsetDateTime) -> Option<&RunId> {
    let newest = runs.ended.values().max()?;
    let (run, ended) = runs.ended.iter().min_by_key(|(_, ended)| **ended)?;
    (now - *ended > REMEMBERED_FOR && ended != newest).then_some(run)
}

#[cfg(test)]
mod tests;
