//! `image-factory validate`: all problems of a configuration at once.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use serde_json::json;

use crate::{
    domain::config::{Configuration, Severity},
    source::Directory,
};

/// What to check.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder with Labs.json and GoldenImages.
    directory: PathBuf,
    /// Prints JSON instead of lines.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// Prints the problems; fails if one is an error.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let files = Directory::new(&self.directory).read()?;
        let (configuration, problems) = Configuration::load(&files);
        if self.json {
            let problems: Vec<_> = problems
                .iter()
                .map(|problem| {
                    json!({"severity": problem.severity.to_string(), "file": problem.file,
                        "jsonPath": problem.json_path, "message": problem.message})
                })
                .collect();
            println!("{}", serde_json::to_string_pretty(&json!({ "problems": problems }))?);
        } else {
            for problem in problems.iter() {
                println!("{problem}");
            }
            let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
            let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
            println!("{errors} errors, {warnings} warnings");
            if let Some(configuration) = configuration.filter(|_| errors == 0) {
                for subscription in configuration.subscriptions() {
                    let labs: Vec<&str> = subscription.labs.iter().map(|lab| lab.lab_name()).collect();
                    println!("{} -> {}", subscription.image_path, labs.join(", "));
                }
            }
        }
        Ok(if problems.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
