//! The short form of the fault simulation; `image-factory simulate --seeds N` is the long one.

use std::{collections::BTreeSet, time::Duration};

use image_factory::dev::simulation::{
    exhaustive::{self, Search},
    faults::FaultRates,
    scenario::{Scenario, Size},
    seeds::{self, Seeds},
    story::{self, Telling},
};

/// Random stories that every test run tells; more with `SIMULATION_SEEDS=1000`.
const SEEDS: u64 = 6;

fn assert_lawful(seeds: &Seeds) {
    let summary = seeds::run(seeds, |scenario, ended| eprintln!("{}", seeds::explain(scenario, ended)));
    println!("{summary}");
    assert!(summary.failed.is_empty(), "{:#?}", summary.failed);
}

#[test]
fn nothing_is_lost_when_everything_goes_wrong() {
    let count = std::env::var("SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok());
    assert_lawful(&Seeds {
        first: 1,
        count: count.unwrap_or(SEEDS),
        size: Size::default(),
        rates: FaultRates::all(),
        time_limit: None,
    });
}

#[test]
fn nothing_is_lost_where_each_kind_of_fault_strikes_often() {
    // The kinds that are rare among all others, each alone and often.
    for faults in [
        // Five times as often as usual. Where every sixteenth call is fatal, ten tries are too few for some turn of a dozen calls.
        "crash-before=0.02,crash-after=0.02,host-gone=1",
        "lost-message=0.2,timer-missed=0.5",
        "lab-gone=0.7",
    ] {
        assert_lawful(&Seeds {
            first: 100,
            count: 1,
            size: Size { images: Some(1), labs: Some(2) },
            rates: faults.parse().unwrap(),
            time_limit: None,
        });
    }
}

#[test]
fn a_seed_replays_exactly_event_by_event() {
    let telling = Telling { keep_trace: true, ..Telling::default() };
    // In the second one an instance dies with several invocations in hand: who waits for that must hear of it in one order.
    let [first, _] = [7, 5032].map(|seed| {
        let scenario = Scenario::draw(seed, Size::default(), &FaultRates::all());
        let first = story::tell(&scenario, &telling).unwrap();
        assert!(first.seen.trace.len() > 500, "{} events", first.seen.trace.len());
        for _ in 0..3 {
            let again = story::tell(&scenario, &telling).unwrap();
            for (number, (one, other)) in first.seen.trace.iter().zip(&again.seen.trace).enumerate() {
                assert_eq!(one, other, "event {number} of seed {seed}");
            }
            assert_eq!(first.seen.trace.len(), again.seen.trace.len());
            assert_eq!(first.struck, again.struck);
        }
        first
    });
    let other = story::tell(&Scenario::draw(8, Size::default(), &FaultRates::all()), &telling).unwrap();
    assert_ne!(first.seen.trace, other.seen.trace);
}

#[test]
fn a_crash_at_any_io_point_costs_nothing() {
    // Every hundredth point here; the whole search is `simulate --exhaustive crashes`.
    let found = exhaustive::search(&Scenario::plain(1, 1), Search::Crashes, 101).unwrap();
    assert!(found.told > 5, "{found:?}");
    assert!(found.failed.is_empty(), "{:#?}", found.failed);
}

#[test]
fn a_copy_of_any_message_at_any_time_changes_nothing() {
    let found = exhaustive::search(&Scenario::plain(1, 1), Search::Copies, 67).unwrap();
    assert!(found.told > 5, "{found:?}");
    assert!(found.failed.is_empty(), "{:#?}", found.failed);
}

#[test]
fn the_instance_dies_at_the_point_that_was_asked_for() {
    let scenario = Scenario::plain(1, 1);
    let telling = Telling { crash_at: BTreeSet::from([17, 40]), keep_trace: true, ..Telling::default() };
    let ended = story::tell(&scenario, &telling).unwrap();
    let deaths: Vec<&String> =
        ended.seen.trace.iter().filter(|line| line.contains("dies at point")).collect();
    assert_eq!(deaths.len(), 2, "{deaths:#?}");
    assert!(ended.is_lawful(), "{:#?}", ended.seen.broken);
    assert!(Duration::from_secs_f64(ended.seconds) > Duration::from_secs(600));
}

/// Every seed that ever broke a law.
#[test]
fn seeds_that_once_broke_a_law_keep_it_now() {
    let stories = seeds::parse_file(include_str!("simulation/seeds.txt")).unwrap();
    let summary = seeds::tell(&stories, |scenario, ended| eprintln!("{}", seeds::explain(scenario, ended)));
    assert!(summary.failed.is_empty(), "{:#?}", summary.failed);
}
