//! `status` and `audit`: what is going on, and who asked for what, from the ledger.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use comfy_table::{Table, presets};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::reach::Reach;
use crate::{
    domain::{Queue, RunId},
    ledger::{Record as _, RunRecord},
    report::{RunReport, Status},
};

/// What to show.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The run to show in whole; the newest runs, a line each, where none is given.
    run: Option<RunId>,
    /// How many runs.
    #[arg(long, default_value_t = 20, value_name = "N", conflicts_with = "run")]
    most: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl StatusArguments {
    /// Shows it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.reach.run(async |office| {
            let ledger = &office.factory.ledger;
            if let Some(run) = &self.run {
                office.run_record(run).await?;
                let report = RunReport::read(ledger, run).await?.context("the run was just forgotten")?;
                match self.json {
                    true => println!("{}", serde_json::to_string_pretty(&report)?),
                    false => print(&report, office.factory.clock.now()),
                }
                return Ok(ExitCode::SUCCESS);
            }
            let mut records = Vec::new();
            for entry in ledger.runs().await? {
                records.extend(ledger.read::<RunRecord>(&entry.key).await?.map(|(record, _)| record));
            }
            records.sort_by_key(|record| std::cmp::Reverse(record.started_at));
            records.truncate(self.most);
            match self.json {
                true => println!("{}", serde_json::to_string_pretty(&json!({ "runs": lines(&records) }))?),
                false => println!("{}", runs_table(&records)),
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// A run's report for people.
pub fn print(report: &RunReport, now: OffsetDateTime) {
    let run = &report.run;
    println!("run {} ({}) {}", run.id, run.reason, run.status.word());
    if let Some(error) = &run.error {
        println!("{error}");
    }
    println!("{}", report.table(now));
    for remark in report.remarks() {
        println!("{remark}");
    }
    for image in &report.images {
        let waits = image.labs.iter().filter_map(|lab| Some((lab.lab_name.as_str(), lab.progress.as_ref()?)));
        for (lab, progress) in image.progress.iter().map(|progress| ("(factory)", progress)).chain(waits) {
            println!("{} in {lab} waits for: {progress}", image.image_path);
        }
    }
}

fn moment(at: Option<OffsetDateTime>) -> String {
    at.and_then(|at| at.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()).unwrap_or_default()
}

fn status(record: &RunRecord) -> Status {
    crate::report::run_status(record)
}

fn lines(records: &[RunRecord]) -> Vec<serde_json::Value> {
    let line = |record: &RunRecord| {
        json!({"id": record.run, "reason": record.reason, "commit": record.commit, "status": status(record),
            "images": record.builds.len(), "startedAt": moment(Some(record.started_at)),
            "endedAt": record.ended_at().map(|at| moment(Some(at)))})
    };
    records.iter().map(line).collect()
}

fn runs_table(records: &[RunRecord]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    table.set_header(["Run", "Reason", "State", "Images", "Started", "Ended", "Waits for"]);
    for record in records {
        let waiting_for = record.step(Queue::StartRun).map(|state| state.waiting_for.clone());
        table.add_row([
            record.run.to_string(),
            record.reason.to_string(),
            status(record).word().to_owned(),
            record.builds.len().to_string(),
            moment(Some(record.started_at)),
            moment(record.ended_at()),
            waiting_for.unwrap_or_default(),
        ]);
    }
    table
}

/// What to show of the record.
#[derive(Debug, Args)]
pub struct AuditArguments {
    /// How many lines.
    #[arg(long, default_value_t = 50, value_name = "N")]
    most: usize,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl AuditArguments {
    /// Shows who asked for what, newest first.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.reach.run(async |office| {
            let lines = office.factory.ledger.audit(self.most).await?;
            if self.json {
                println!("{}", serde_json::to_string_pretty(&json!({ "lines": lines }))?);
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new();
            table.load_preset(presets::UTF8_FULL_CONDENSED);
            table.set_header(["When", "Who", "What", "Message", "What came of it"]);
            for line in lines {
                let outcome = line.outcome.unwrap_or_default();
                table.add_row([moment(Some(line.at)), line.by, line.what, line.message.to_string(), outcome]);
            }
            println!("{table}");
            Ok(ExitCode::SUCCESS)
        })
    }
}
