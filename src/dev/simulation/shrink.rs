//! The smallest story that still breaks a law.

use std::time::{Duration, Instant};

use super::{
    faults::Fault,
    law::Law,
    scenario::Scenario,
    story::{self, Ended, Telling},
};

/// Nobody waits for the very smallest story for longer.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Makes a story that breaks a law smaller, as long as it still breaks the same kind of law.
pub fn shrink(scenario: &Scenario, ended: &Ended) -> Scenario {
    let law = kinds(ended);
    let breaks = |candidate: &Scenario| {
        story::judge(candidate, &Telling::default())
            .is_ok_and(|ended| kinds(&ended).iter().any(|kind| law.contains(kind)))
    };
    let mut smallest = scenario.clone();
    let began = Instant::now();
    loop {
        let mut candidates = smaller(&smallest).into_iter();
        let found = candidates.find(|candidate| began.elapsed() < TIME_LIMIT && breaks(candidate));
        match found {
            Some(found) => smallest = found,
            None => return smallest,
        }
    }
}

/// The laws that were broken.
fn kinds(ended: &Ended) -> Vec<Law> {
    ended.seen.broken.iter().map(|broken| broken.law).collect()
}

/// The same story with one thing less, the largest things first.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut smaller = Vec::new();
    let mut push = |change: &dyn Fn(&mut Scenario)| {
        let mut candidate = scenario.clone();
        change(&mut candidate);
        if candidate != *scenario {
            smaller.push(candidate);
        }
    };
    if scenario.runs.len() > 1 {
        push(&|scenario| drop(scenario.runs.pop()));
    }
    for index in (0..scenario.images.len()).filter(|_| scenario.images.len() > 1) {
        push(&|scenario| {
            let image = scenario.images.remove(index);
            scenario.history.retain(|old| old.path != image.path);
            scenario.labs.iter_mut().for_each(|lab| lab.image_paths.retain(|path| *path != image.path));
            scenario.labs.retain(|lab| !lab.image_paths.is_empty());
            scenario.people.clear();
        });
    }
    for index in (0..scenario.labs.len()).filter(|_| scenario.labs.len() > 1) {
        push(&|scenario| {
            let lab = scenario.labs.remove(index);
            scenario.history.retain(|old| old.lab != lab.name);
            scenario.people.clear();
        });
    }
    let active: Vec<Fault> = scenario.rates.active().collect();
    for fault in active {
        push(&|scenario| scenario.rates = scenario.rates.without(fault));
    }
    push(&|scenario| scenario.people.clear());
    push(&|scenario| {
        scenario.history.clear();
        scenario.people.clear();
    });
    push(&|scenario| scenario.instances = 1);
    push(&|scenario| scenario.runs.iter_mut().for_each(|run| run.twice = false));
    push(&|scenario| scenario.images.iter_mut().for_each(|image| image.artifacts = 0));
    smaller.retain(|scenario| !scenario.images.is_empty() && !scenario.labs.is_empty());
    smaller
}
