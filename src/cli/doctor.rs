//! `image-factory doctor`: whether an installation can do its work, and what mends it if not.

use std::{collections::BTreeMap, process::ExitCode, sync::Arc};

use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::json;

use super::reach::Reach;
use crate::{
    doctor::{Diagnosis, Finding, Installation, Reached, Verdict, examine, resolved, unresolved},
    handler::Settings,
};

/// What to look at.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Look at the roles of this identity, such as the factory's, by the object id of its principal; at your own where it is
    /// not given.
    #[arg(long, value_name = "OBJECT_ID")]
    identity: Option<uuid::Uuid>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Arguments {
    /// Looks, and prints what it found; the exit code is 1 if anything failed.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.reach.with_variables(|variables| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let diagnosis = runtime.block_on(self.examine(variables))?;
            match self.json {
                true => println!("{}", as_json(&diagnosis)),
                false => print(&diagnosis),
            }
            Ok(if diagnosis.is_healthy() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }

    async fn examine(&self, variables: BTreeMap<String, String>) -> anyhow::Result<Diagnosis> {
        // What is wrong with the settings is a finding like any other.
        let Ok(settings) = Settings::read(&resolved(&variables)) else {
            return Ok(examine(&Installation { variables, reached: None }).await);
        };
        let namespace = settings.service_bus_namespace().map(str::to_owned);
        let (factory, client) = settings.for_person()?;
        let reached = Reached {
            factory,
            queues: Arc::new(client.clone()),
            identity: self.identity.map(|identity| identity.to_string()),
            unresolved: unresolved(&variables),
            namespace,
        };
        let diagnosis = examine(&Installation { variables, reached: Some(reached) }).await;
        client.close().await;
        Ok(diagnosis)
    }
}

fn as_json(diagnosis: &Diagnosis) -> String {
    format!("{:#}", json!({ "healthy": diagnosis.is_healthy(), "findings": diagnosis.findings }))
}

/// Where no terminal says how wide it is.
const WIDTH: u16 = 140;
/// What all fixes that give a role begin with.
const ROLE: &str = "az role assignment create";

fn print(diagnosis: &Diagnosis) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(["Check", "Of", "Result", "Found"]);
    for Finding { check, subject, verdict, found, .. } in &diagnosis.findings {
        table.add_row([check, subject.as_str(), verdict.word(), found]);
    }
    println!("{table}");
    // Commands must be copied: no table breaks their lines. What mends several things is told once.
    let mut fixes: Vec<(&str, Vec<String>)> = Vec::new();
    for Finding { check, subject, fix, .. } in &diagnosis.findings {
        let Some(fix) = fix else { continue };
        let about = format!("{check} {subject}").trim_end().to_owned();
        match fixes.iter_mut().find(|(known, _)| known == fix) {
            Some((_, all)) => all.push(about),
            None => fixes.push((fix, vec![about])),
        }
    }
    for (fix, about) in &fixes {
        println!("{}:\n    {fix}", about.join(", "));
    }
    if fixes.iter().any(|(fix, _)| fix.starts_with(ROLE)) {
        println!("'azd provision' with the newest Labs.json gives the factory all its roles at once.");
    }
    let counts = [Verdict::Ok, Verdict::Warning, Verdict::Failed, Verdict::Skipped];
    let counts = counts.map(|verdict| format!("{} {}", diagnosis.count(verdict), verdict.word()));
    println!("{}", counts.join(", "));
}
