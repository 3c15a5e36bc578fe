//! Many stories, on all cores, and what they showed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use comfy_table::{Cell, CellAlignment, Table, presets};

use super::{
    faults::{Fault, FaultRates},
    law::{Broken, Law},
    scenario::{Scenario, Size},
    shrink,
    story::{self, Ended, Telling},
};
use crate::report::Status;

/// Which stories are told.
#[derive(Clone, Debug)]
pub struct Seeds {
    /// The first seed.
    pub first: u64,
    /// How many, one after the other.
    pub count: u64,
    /// How large the stories are.
    pub size: Size,
    /// What goes wrong in them.
    pub rates: FaultRates,
    /// After this no more stories are begun.
    pub time_limit: Option<Duration>,
}

/// What many stories showed.
#[derive(Debug, Default)]
pub struct Summary {
    /// How many were told.
    pub told: u64,
    /// The seeds whose story broke a law, each with what it broke.
    pub failed: BTreeMap<u64, Vec<Broken>>,
    /// How often each kind of fault struck, in how many stories, and how many of these broke each law.
    pub strikes: BTreeMap<Fault, Strikes>,
    /// How much was judged by each law.
    pub judged: BTreeMap<Law, u64>,
    /// Messages sent.
    pub messages: u64,
    /// I/O points reached.
    pub points: u64,
    /// Events seen.
    pub events: u64,
    /// Images that were asked for in labs, and how many of these were reported as failed.
    pub copies: (u64, u64),
    /// For what reasons, by the code that was reported.
    pub reasons: BTreeMap<String, u64>,
    /// Virtual hours.
    pub hours: f64,
}

/// What a kind of fault did.
#[derive(Clone, Debug, Default)]
pub struct Strikes {
    /// How often it struck.
    pub times: u64,
    /// In how many stories.
    pub stories: u64,
    /// How many of these broke a law.
    pub broken: BTreeMap<Law, u64>,
}

impl Summary {
    fn add(&mut self, seed: u64, ended: &Ended) {
        self.told += 1;
        if !ended.is_lawful() {
            self.failed.insert(seed, ended.seen.broken.clone());
        }
        let broken: BTreeSet<Law> = ended.seen.broken.iter().map(|broken| broken.law).collect();
        for (fault, times) in ended.strikes() {
            let strikes = self.strikes.entry(fault).or_default();
            strikes.times += times;
            strikes.stories += 1;
            broken.iter().for_each(|law| *strikes.broken.entry(*law).or_default() += 1);
        }
        for (law, number) in &ended.seen.judged {
            *self.judged.entry(*law).or_default() += number;
        }
        self.messages += ended.seen.messages.len() as u64;
        self.points += ended.seen.points;
        self.events += ended.seen.events;
        self.hours += ended.seconds / 3600.0;
        let images = ended.reports.iter().flat_map(|report| &report.images);
        for (image, line) in images.flat_map(|image| image.labs.iter().map(move |line| (image, line))) {
            self.copies.0 += 1;
            if line.status != Status::Succeeded {
                self.copies.1 += 1;
                let error = line.error.as_ref().or(image.error.as_ref());
                let code = error.map_or_else(|| "none".to_owned(), |error| error.code.clone());
                *self.reasons.entry(code).or_default() += 1;
            }
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |number: u64| Cell::new(number).set_alignment(CellAlignment::Right);
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        let laws: Vec<Law> = self.judged.keys().copied().collect();
        table.set_header(
            ["fault", "struck", "in stories"].into_iter().chain(laws.iter().map(|law| law.name())),
        );
        for (fault, strikes) in &self.strikes {
            let broken = laws.iter().map(|law| strikes.broken.get(law).copied().unwrap_or_default());
            let numbers = [strikes.times, strikes.stories].into_iter().chain(broken).map(number);
            table.add_row(std::iter::once(Cell::new(fault.name())).chain(numbers));
        }
        writeln!(f, "{table}\n")?;
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN).set_header(["law", "judged", "broken in stories"]);
        for (law, judged) in &self.judged {
            let broken = self.failed.values().filter(|broken| broken.iter().any(|broken| broken.law == *law));
            let judged = Cell::new(format!("{judged} {}", law.unit())).set_alignment(CellAlignment::Right);
            table.add_row([Cell::new(law.name()), judged, number(broken.count() as u64)]);
        }
        writeln!(f, "{table}\n")?;
        writeln!(
            f,
            "{} virtual hours, {} messages, {} I/O points, {} events; of {} images in labs {} were reported as failed",
            self.hours.round(),
            self.messages,
            self.points,
            self.events,
            self.copies.0,
            self.copies.1
        )?;
        let mut reasons: Vec<_> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, times)| std::cmp::Reverse(**times));
        let reasons: Vec<String> = reasons.iter().map(|(code, times)| format!("{code} {times}")).collect();
        if !reasons.is_empty() {
            writeln!(f, "reasons: {}", reasons.join(", "))?;
        }
        if !self.failed.is_empty() {
            let seeds: Vec<String> = self.failed.keys().map(u64::to_string).collect();
            writeln!(f, "seeds that broke a law: {}", seeds.join(", "))?;
        }
        write!(f, "{} seeds ran, {} failed", self.told, self.failed.len())
    }
}

/// Reads a file of stories: in each line a seed, its faults as `--faults` takes them, and optionally its images and labs;
/// `#` begins a comment.
///
/// # Errors
/// If a line cannot be used; the error names it.
pub fn parse_file(text: &str) -> anyhow::Result<Vec<Scenario>> {
    let mut stories = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(seed) = words.next() else { continue };
        let mut story = || -> anyhow::Result<Scenario> {
            let seed = seed.parse().with_context(|| format!("'{seed}' is no seed"))?;
            let rates = words.next().unwrap_or("all").parse()?;
            let mut number = || words.next().map(str::parse).transpose();
            let size = Size { images: number()?, labs: number()? };
            Ok(Scenario::draw(seed, size, &rates))
        };
        stories.push(story().with_context(|| format!("line {}", number + 1))?);
    }
    Ok(stories)
}

/// Tells the stories of a file.
pub fn tell(stories: &[Scenario], on_failure: impl Fn(&Scenario, &Ended) + Sync) -> Summary {
    tell_each(stories.len() as u64, |index| stories.get(index as usize).cloned(), on_failure)
}

/// Tells the stories of many seeds. `on_failure` gets each one that breaks a law, as it comes.
pub fn run(seeds: &Seeds, on_failure: impl Fn(&Scenario, &Ended) + Sync) -> Summary {
    let began = Instant::now();
    let story = |index| {
        let over = seeds.time_limit.is_some_and(|limit| began.elapsed() > limit);
        (!over).then(|| Scenario::draw(seeds.first.wrapping_add(index), seeds.size, &seeds.rates))
    };
    tell_each(seeds.count, story, on_failure)
}

/// Tells the stories with the numbers below `count` on all cores, until there is none.
fn tell_each(
    count: u64,
    story: impl Fn(u64) -> Option<Scenario> + Sync,
    on_failure: impl Fn(&Scenario, &Ended) + Sync,
) -> Summary {
    let summary = Mutex::new(Summary::default());
    in_parallel(count, |index| {
        let Some(scenario) = story(index) else { return false };
        let ended = judge_safely(&scenario, &Telling::default());
        if !ended.is_lawful() {
            on_failure(&scenario, &ended);
        }
        summary.lock().unwrap_or_else(PoisonError::into_inner).add(scenario.seed, &ended);
        true
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Judges a story; a panic, or that it cannot be told, is a broken law.
pub fn judge_safely(scenario: &Scenario, telling: &Telling) -> Ended {
    let judged = catch_unwind(AssertUnwindSafe(|| story::judge(scenario, telling)));
    let what = match judged {
        Ok(Ok(ended)) => return ended,
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
            format!("panic: {text}")
        }
    };
    let mut ended = Ended::default();
    ended.seen.broken.push(Broken { law: Law::Tellable, what });
    ended
}

/// What people need of a story that broke a law: the seed, the smallest story that still does, and its trace.
pub fn explain(scenario: &Scenario, ended: &Ended) -> String {
    let smallest = shrink::shrink(scenario, ended);
    let telling = Telling { keep_trace: true, ..Telling::default() };
    let again = judge_safely(&smallest, &telling);
    let mut text = format!("seed {} breaks laws:\n", scenario.seed);
    ended.seen.broken.iter().for_each(|law| text.push_str(&format!("  {law}\n")));
    text.push_str(&format!("the smallest story that still does:\n{smallest}"));
    again.seen.broken.iter().for_each(|law| text.push_str(&format!("  {law}\n")));
    text.push_str("what struck in Azure:\n");
    for struck in &again.struck {
        let after = (struck.at - super::scenario::ORIGIN).as_seconds_f64();
        text.push_str(&format!("  {after:>10.3} {} {}\n", struck.chance.name(), struck.subject));
    }
    text.push_str("its trace:\n");
    again.seen.trace.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    text
}

/// Calls `job` with each number below `count` on all cores, until one answers `false`.
pub(super) fn in_parallel(count: u64, job: impl Fn(u64) -> bool + Sync) {
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        return;
                    }
                    if !job(index) {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
