//! What a person sees while a run goes on: on a terminal a line for each image that changes in place, elsewhere a line for
//! each change.

use std::{collections::BTreeMap, io::IsTerminal as _, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use time::{OffsetDateTime, UtcOffset};

use crate::report::{ImageLine, RunReport, Status};

/// Redraws of the spinners.
const TICK: Duration = Duration::from_millis(120);

/// Shows a run's progress on stderr.
pub struct Progress {
    terminal: Option<(MultiProgress, BTreeMap<String, ProgressBar>)>,
    shown: BTreeMap<String, String>,
    started: OffsetDateTime,
}

impl Progress {
    /// Progress of something that started at `started`.
    pub fn new(started: OffsetDateTime) -> Self {
        let terminal = std::io::stderr().is_terminal().then(|| (MultiProgress::new(), BTreeMap::new()));
        Self { terminal, shown: BTreeMap::new(), started }
    }

    /// Shows how the run stands now.
    pub fn show(&mut self, report: &RunReport, now: OffsetDateTime) {
        for image in &report.images {
            let path = image.image_path.to_string();
            match &mut self.terminal {
                Some((all, bars)) => {
                    let bar = bars.entry(path.clone()).or_insert_with(|| {
                        let bar = all.add(ProgressBar::new_spinner());
                        // A template that indicatif cannot read would be this file's mistake; its default does as well.
                        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:32} {wide_msg}") {
                            bar.set_style(style);
                        }
                        bar.set_prefix(path.clone());
                        bar.enable_steady_tick(TICK);
                        bar
                    });
                    bar.set_message(line(image));
                }
                None => {
                    let phase = phase(image);
                    if self.shown.get(&path) != Some(&phase) {
                        eprintln!("{} {path:32} {}", self.clock(now), line(image));
                        self.shown.insert(path, phase);
                    }
                }
            }
        }
    }

    /// Says something besides.
    pub fn say(&self, text: &str) {
        match &self.terminal {
            // A terminal that went away needs no lines.
            Some((all, _)) => drop(all.println(text)),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the lines away, before the table comes.
    pub fn finish(&mut self) {
        if let Some((all, bars)) = &mut self.terminal {
            bars.values().for_each(ProgressBar::finish_and_clear);
            let _ = all.clear();
        }
    }

    fn clock(&self, now: OffsetDateTime) -> String {
        let minutes = (now - self.started).whole_minutes();
        let now = now.to_offset(UtcOffset::UTC);
        format!("{:02}:{:02} (+{minutes:>3} min)", now.hour(), now.minute())
    }
}

fn copied(image: &ImageLine) -> usize {
    image.labs.iter().filter(|lab| lab.status.is_final()).count()
}

/// What changes seldom enough for a line of its own.
fn phase(image: &ImageLine) -> String {
    let progress = image.progress.as_deref().unwrap_or_default();
    let kind: String = progress.chars().take_while(|letter| !letter.is_ascii_digit()).collect();
    format!("{:?} {kind} {}", image.status, copied(image))
}

fn line(image: &ImageLine) -> String {
    let labs = image.labs.len();
    match image.status {
        Status::Failed | Status::Cancelled | Status::Superseded => {
            format!(
                "{}: {}",
                image.status.word(),
                image.error.as_ref().map(ToString::to_string).unwrap_or_default()
            )
        }
        Status::Succeeded if copied(image) == labs => {
            let failed: Vec<&str> = image
                .labs
                .iter()
                .filter(|lab| lab.status.is_missing())
                .map(|lab| lab.lab_name.as_str())
                .collect();
            match failed.as_slice() {
                [] => format!("in all {labs} labs"),
                failed => format!("failed in {}", failed.join(", ")),
            }
        }
        Status::Succeeded => {
            let waits = image.labs.iter().find_map(|lab| {
                let progress = lab.progress.as_deref()?;
                Some(format!("; {}: {progress}", lab.lab_name))
            });
            format!("captured, in {} of {labs} labs{}", copied(image), waits.unwrap_or_default())
        }
        Status::Waiting => "waits for its turn".to_owned(),
        Status::Running | Status::Skipped => image.progress.clone().unwrap_or_else(|| "begins".to_owned()),
    }
}
