//! The custom handler as the Functions host meets it, beside a Node and a Python handler of the same contract.
//!
//! All are real processes on this machine and are measured in turn, so that whatever else the machine does hits each: compare
//! within one run, never across runs. `cargo bench --bench handler -- --help` lists the options; what is measured, and what
//! came out, is told in `docs/benchmarks.md`.

mod contract;
mod figures;
mod load;
mod machine;
mod process;
mod programs;
mod stand_in;

use std::{path::PathBuf, thread, time::Duration};

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;

use contract::{Contract, Kind};
use figures::{Figure, Goal, median};
use machine::Machine;
use process::Program;

/// A handler that has just answered may still be settling.
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Measures the handler beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Also writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How often each is started.
    #[arg(long, default_value_t = 15)]
    starts: usize,
    /// How often the load goes round.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of load for each handler, kind of request and round.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections that are kept alive; host.json lets so many invocations of one function run at once.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Measures this program as ours, instead of building it.
    #[arg(long, value_name = "FILE")]
    handler: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        // `cargo test --benches` runs this too, and without optimisation there is nothing to be learnt.
        println!("handlers are measured by `cargo bench --bench handler`");
        return Ok(());
    }
    let ours = match arguments.handler.clone() {
        Some(file) => programs::ours_in(file),
        None => programs::ours()?,
    };
    let programs = [ours, programs::node()?, programs::python()?];
    let machine = Machine::look(programs.iter().map(|program| program.version.clone()).collect());
    let contract = Contract::read()?;
    let mut figures = starts(&programs, &contract, arguments.starts)?;
    figures.extend(loads(&programs, &contract, &arguments)?);
    let names: Vec<&str> = programs.iter().map(|program| program.name).collect();
    println!("{}\n{}", machine.line(), figures::table(&names, &figures));
    if let Some(file) = &arguments.json {
        let report = json!({"machine": machine.to_json(), "figures": figures::to_json(&names, &figures)});
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Starts everyone in turn, with settings as in Azure.
fn starts(programs: &[Program], contract: &Contract, times: usize) -> anyhow::Result<Vec<Figure>> {
    let settings = contract.deployed_settings();
    let mut milliseconds = vec![Vec::new(); programs.len()];
    let mut megabytes = milliseconds.clone();
    for time in 0..times {
        eprintln!("start {} of {times} …", time + 1);
        let mut running = Vec::new();
        for (program, milliseconds) in programs.iter().zip(&mut milliseconds) {
            let handler = program.start(&settings)?;
            milliseconds.push(handler.first_answer.as_secs_f64() * 1000.0);
            running.push(handler);
        }
        thread::sleep(IDLE_AFTER);
        for (handler, megabytes) in running.iter().zip(&mut megabytes) {
            megabytes.push(handler.resident_megabytes()?);
        }
    }
    let figure = |key: &str, title: &str, values: Vec<Vec<f64>>, goal| Figure {
        key: key.to_owned(),
        title: title.to_owned(),
        values: values.into_iter().map(median).collect(),
        more_is_better: false,
        goal: Some(Goal::AtMost(goal)),
    };
    Ok(vec![
        figure("firstAnswerMilliseconds", "start to first answer, ms", milliseconds, 10.0),
        figure("idleMegabytes", "memory when idle, MB", megabytes, 9.0),
    ])
}

/// What one handler did under one kind of load, round by round.
#[derive(Clone, Default)]
struct Rounds {
    per_second: Vec<f64>,
    p99_microseconds: Vec<f64>,
    processor_microseconds: Vec<f64>,
}

/// Loads everyone in turn, with Azure's stand-in behind them.
fn loads(programs: &[Program], contract: &Contract, arguments: &Arguments) -> anyhow::Result<Vec<Figure>> {
    let settings = contract.stand_in_settings(stand_in::start(&contract.document)?);
    let handlers =
        programs.iter().map(|program| program.start(&settings)).collect::<anyhow::Result<Vec<_>>>()?;
    let time = Duration::from_secs_f64(arguments.seconds);
    let mut figures = Vec::new();
    for kind in Kind::ALL {
        let mut rounds = vec![Rounds::default(); programs.len()];
        // The first round warms up and does not count.
        for round in 0..=arguments.rounds {
            eprintln!("{}: round {round} of {} …", kind.title(), arguments.rounds);
            for ((handler, program), rounds) in handlers.iter().zip(programs).zip(&mut rounds) {
                let request = contract.request(kind, handler.port);
                let before = handler.processor_seconds()?;
                let load = load::run(handler.port, &request, kind.status(), arguments.connections, time);
                let load = load.with_context(|| format!("{}, {}", program.name, kind.title()))?;
                let taken = handler.processor_seconds()? - before;
                if round > 0 {
                    rounds.per_second.push(load.per_second);
                    rounds.p99_microseconds.push(load.p99_microseconds);
                    rounds.processor_microseconds.push(taken * 1e6 / load.answered as f64);
                }
            }
        }
        figures.extend(of_kind(kind, &rounds));
    }
    let megabytes: anyhow::Result<Vec<f64>> =
        handlers.iter().map(process::Running::resident_megabytes).collect();
    figures.push(Figure {
        key: "loadedMegabytes".to_owned(),
        title: "memory after the load, MB".to_owned(),
        values: megabytes?,
        more_is_better: false,
        goal: None,
    });
    Ok(figures)
}

fn of_kind(kind: Kind, rounds: &[Rounds]) -> Vec<Figure> {
    let figure = |key: &str, what: &str, more_is_better, goal, of: fn(&Rounds) -> &Vec<f64>| Figure {
        key: format!("{kind:?}{key}"),
        title: format!("{}: {what}", kind.title()),
        values: rounds.iter().map(|rounds| median(of(rounds).clone())).collect(),
        more_is_better,
        goal,
    };
    let goal = (kind != Kind::Probe).then_some(Goal::TimesNode(2.0));
    vec![
        figure("PerSecond", "requests/s", true, goal, |rounds| &rounds.per_second),
        figure("P99Microseconds", "99th percentile, µs", false, None, |rounds| &rounds.p99_microseconds),
        figure("ProcessorMicroseconds", "processor time, µs", false, None, |rounds| {
            &rounds.processor_microseconds
        }),
    ]
}
