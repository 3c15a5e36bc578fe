//! `image-factory plan`: what a run would do, and why; nothing is changed.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};

use super::reach::{Office, Reach, random_letters};
use crate::{
    domain::{Configuration, ImagePath, RunId, RunReason, messages::StartRun},
    ledger::{Key, LabPlan, RunPlan},
    source::Directory,
    steps::start_run::{self, Foresight},
};

/// What to foresee.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder with Labs.json and GoldenImages.
    #[arg(required_unless_present = "run", conflicts_with = "run")]
    directory: Option<PathBuf>,
    /// What this run decided when it began, instead.
    #[arg(long, value_name = "RUN")]
    run: Option<RunId>,
    /// Only these images.
    #[arg(long, value_name = "PATH", conflicts_with = "run")]
    only: Vec<ImagePath>,
    /// As if everything were to be built, changed or not.
    #[arg(long, conflicts_with = "run")]
    force: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Arguments {
    /// Prints the plan.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.reach.run(async |office| {
            let foresight = match (&self.run, &self.directory) {
                (Some(run), _) => decided(&office, run).await?,
                (None, Some(directory)) => self.foresee(&office, directory).await?,
                (None, None) => bail!("name a folder with a configuration, or a run with --run"),
            };
            match self.json {
                true => println!("{}", serde_json::to_string_pretty(&foresight)?),
                false => print(&foresight),
            }
            Ok(ExitCode::SUCCESS)
        })
    }

    async fn foresee(&self, office: &Office, directory: &std::path::Path) -> anyhow::Result<Foresight> {
        let (configuration, problems) = Configuration::load(&Directory::new(directory).read()?);
        let Some(configuration) = configuration.filter(|_| !problems.has_errors()) else {
            bail!("a run of this configuration would fail before it touched Azure:\n{problems}");
        };
        let now = office.factory.clock.now();
        let run = RunId::manual(now, &random_letters()?)?;
        let only = (!self.only.is_empty()).then(|| self.only.clone());
        let start = StartRun { only, force: self.force, ..StartRun::of_everything(RunReason::Manual) };
        let foresight = start_run::foresee(&office.factory, &run, &start, &configuration).await?;
        foresight.map_err(|failure| anyhow::anyhow!("a run would fail: {failure}"))
    }
}

/// What a run decided.
async fn decided(office: &Office, run: &RunId) -> anyhow::Result<Foresight> {
    let ledger = &office.factory.ledger;
    let record = office.run_record(run).await?;
    let plan: RunPlan = ledger.run_plan(run).await?.with_context(|| match record.asked {
        Some(_) => format!("run {run} has not planned yet"),
        None => format!("run {run} wrote no plan: it failed before, or an older version planned it"),
    })?;
    if let Some(later) = &plan.passed_by {
        anyhow::bail!("run {run} decided nothing: run {later}, which was asked for later, passed it by");
    }
    let (mut labs, mut of_factory) = (Vec::new(), None);
    let files = ledger.pinned_configuration(run).await?.unwrap_or_default();
    let known = Configuration::load(&files).0.map(|configuration| configuration.labs).unwrap_or_default();
    for lab in known {
        labs.extend(ledger.lab_plan(&Key::lab_plan(run, &lab.lab)).await?);
    }
    if let Some(lab) = &record.factory_lab {
        of_factory = ledger.lab_plan(&Key::vhd_plan(run, lab)).await?;
    }
    let factory_lab = of_factory.with_context(|| format!("run {run} has not planned yet"))?;
    Ok(Foresight { plan, labs, factory_lab })
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

fn print(foresight: &Foresight) {
    let mut images = table(&["Image", "What", "Why", "Name"]);
    for image in &foresight.plan.images {
        let supersedes = image.supersedes.iter().map(|run| format!("; supersedes run {run}"));
        let why: String = std::iter::once(image.reason.to_string()).chain(supersedes).collect();
        images.add_row([
            image.image_path.to_string(),
            image.action.to_string(),
            why,
            image.image_name.to_string(),
        ]);
    }
    println!("{images}");
    let mut labs = table(&["Lab", "Image", "What", "Why"]);
    for lab in &foresight.labs {
        print_lab(&mut labs, lab, lab.lab.lab_name());
    }
    print_lab(&mut labs, &foresight.factory_lab, "(factory)");
    println!("{labs}");
}

fn print_lab(table: &mut Table, plan: &LabPlan, name: &str) {
    let mut row = |image: &str, what: &str, why: &str| {
        table.add_row([name, image, what, why]);
    };
    if let Some(unknown) = &plan.unknown {
        row("", "unknown", unknown);
    }
    for image in &plan.images {
        row(image.image_path.as_str(), if image.copies { "copy" } else { "skip" }, &image.reason);
    }
    if let Some(weight) = &plan.held {
        let why = format!(
            "{} of {} images would be left, fewer than mostRetiredShare allows: nothing retires",
            weight.after, weight.before
        );
        row("", "held", &why);
    }
    for image in &plan.retires {
        row(image, "retire", "newer ones stand");
    }
    for image in &plan.kept {
        row(&image.name, "keep", &image.reason);
    }
}
