//! One run, with a crash at every I/O point, at every pair of them, and with a copy of every message at many moments.

use std::{collections::BTreeSet, sync::Mutex, sync::PoisonError, time::Duration};

use super::{
    host::Doubled,
    law::{self, Broken, Law},
    laws,
    scenario::Scenario,
    seeds::in_parallel,
    story::{self, Ended, Telling},
};

/// How much later the copy of a message comes: at once, while the first one is handled, after it, beyond its lock, beyond
/// duplicate detection.
const COPIES_LATER: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_secs(2),
    Duration::from_secs(40),
    Duration::from_secs(360),
    Duration::from_secs(1500),
];

/// What is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Search {
    /// A crash at every I/O point.
    Crashes,
    /// Two crashes, at every pair of I/O points.
    Pairs,
    /// Every message twice, the second one at many moments.
    Copies,
}

/// What a search found.
#[derive(Debug, Default)]
pub struct Found {
    /// How many stories were told.
    pub told: u64,
    /// Where a law was broken, and which.
    pub failed: Vec<(String, Vec<Broken>)>,
    /// I/O points that the run has if nothing happens.
    pub points: u64,
    /// Deliveries of messages that it has then.
    pub deliveries: u64,
}

/// Goes through all of `search` for `scenario`, taking every `step`-th story (1: all).
///
/// # Errors
/// If the story cannot be told, or breaks a law by itself.
pub fn search(scenario: &Scenario, search: Search, step: u64) -> anyhow::Result<Found> {
    let twin = story::tell(scenario, &Telling::default())?;
    anyhow::ensure!(twin.is_lawful(), "it breaks laws by itself: {}", law::list(&twin.seen.broken));
    let points = twin.seen.points;
    let deliveries = twin.seen.messages.len() as u64;
    let tellings = tellings(search, points, deliveries);
    let found = Mutex::new(Found { points, deliveries, ..Found::default() });
    let chosen: Vec<&Telling> = tellings.iter().step_by(step.max(1) as usize).collect();
    in_parallel(chosen.len() as u64, |index| {
        let telling = chosen[index as usize];
        let broken = match story::tell(scenario, telling) {
            Ok(mut ended) => {
                laws::judge_against_twin(scenario, &mut ended, &twin);
                everything_succeeded(&mut ended);
                ended.seen.broken
            }
            Err(error) => vec![Broken { law: Law::Tellable, what: format!("{error:#}") }],
        };
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        found.told += 1;
        if !broken.is_empty() {
            found.failed.push((name(telling), broken));
        }
        true
    });
    Ok(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// Crashes and copies are no reason for an image to fail.
fn everything_succeeded(ended: &mut Ended) {
    for report in &ended.reports {
        if !report.succeeded() {
            let error = report.run.error.as_ref().map(ToString::to_string).unwrap_or_default();
            let what = format!("{}: {error}", report.run.id);
            ended.seen.broken.push(Broken { law: Law::NeedlessFailure, what });
        }
    }
}

fn tellings(search: Search, points: u64, deliveries: u64) -> Vec<Telling> {
    let crash =
        |at: &[u64]| Telling { crash_at: BTreeSet::from_iter(at.iter().copied()), ..Telling::default() };
    let copy = |delivery, later| Telling { doubled: Some(Doubled { delivery, later }), ..Telling::default() };
    match search {
        Search::Crashes => (1..=points).map(|point| crash(&[point])).collect(),
        Search::Pairs => (1..=points)
            .flat_map(|first| (first + 1..=points).map(move |second| crash(&[first, second])))
            .collect(),
        Search::Copies => COPIES_LATER
            .into_iter()
            .flat_map(|later| {
                let each = (1..=deliveries).map(move |delivery| copy(Some(delivery), later));
                std::iter::once(copy(None, later)).chain(each)
            })
            .collect(),
    }
}

fn name(telling: &Telling) -> String {
    match telling.doubled {
        Some(Doubled { delivery: Some(delivery), later }) => {
            format!("a copy of delivery {delivery}, {} s later", later.as_secs_f64())
        }
        Some(Doubled { delivery: None, later }) => {
            format!("copies of all messages, {} s later", later.as_secs_f64())
        }
        None => format!("crashes at I/O points {:?}", telling.crash_at),
    }
}
