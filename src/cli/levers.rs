//! `run`, `rerun`, `cancel`, `pin` and `unpin`: each writes a message and sends it; the factory does the rest.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::reach::{Asker, Office, Reach, asking_id, random_letters};
use crate::{
    domain::{
        ImagePath, LabId, Message, RunId, RunReason, VmName,
        messages::{
            CancelRun, CopyImage, ImageStep, PinImage, PinnedName, Rerun, RetireImages, StartRun, Step,
        },
    },
    ledger::{BuildRecord, Key},
    report::RunReport,
};

/// Between two looks at a run that is waited for (real time).
const LOOK: Duration = Duration::from_secs(2);

/// Which run to start.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Only these images, such as `Windows/Server2022.json`; all where none is given.
    #[arg(value_name = "PATH")]
    paths: Vec<ImagePath>,
    /// The commit to take the configuration from; the newest where it is not given.
    #[arg(long, value_name = "ID")]
    commit: Option<String>,
    /// Builds even what has not changed.
    #[arg(long)]
    force: bool,
    /// Retires images even where that makes a lab smaller than `mostRetiredShare` allows.
    #[arg(long)]
    approve_retirement: bool,
    /// Waits until the run has ended; exit code 0 only if every image stands in every lab.
    #[arg(long)]
    wait: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    asker: Asker,
    #[command(flatten)]
    reach: Reach,
}

impl RunArguments {
    /// Starts it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let by = self.asker.person()?;
        self.reach.run(async |office| {
            let now = office.factory.clock.now();
            let run = RunId::manual(now, &random_letters()?)?;
            let start = StartRun {
                commit: self.commit.clone(),
                only: (!self.paths.is_empty()).then(|| self.paths.clone()),
                force: self.force,
                approve_retirement: self.approve_retirement,
                by: Some(by),
                ..StartRun::of_everything(RunReason::Manual)
            };
            office.send(Message::first(run.clone(), Step::StartRun(start))).await?;
            if !self.wait {
                match self.json {
                    true => println!("{}", json!({ "run": run.as_str() })),
                    false => println!("run {run} is asked for; see `image-factory status {run}`"),
                }
                return Ok(ExitCode::SUCCESS);
            }
            eprintln!("run {run}");
            let report = ended(&office, &run).await?;
            match self.json {
                true => println!("{}", serde_json::to_string_pretty(&report)?),
                false => super::status::print(&report, office.factory.clock.now()),
            }
            Ok(if report.succeeded() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        })
    }
}

/// The report of a run, once it has ended.
async fn ended(office: &Office, run: &RunId) -> anyhow::Result<RunReport> {
    loop {
        // Its first message may not have been handled yet.
        if let Some(report) = RunReport::read(&office.factory.ledger, run).await?
            && report.run.status.is_final()
        {
            return Ok(report);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A step that can be run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum RerunStep {
    /// Builds the image once more, if there is none of this run.
    CreateVm,
    /// Brings the image to one lab once more, if it does not stand there.
    CopyImage,
    /// Looks once more what may go in one lab, or without --lab among the captured VHDs of the factory lab.
    RetireImages,
    /// Looks once more whether anything of the build is left in the factory lab.
    DeleteVm,
}

/// Which step to run again.
#[derive(Debug, Args)]
pub struct RerunArguments {
    /// The step.
    step: RerunStep,
    /// The run.
    #[arg(long, value_name = "RUN")]
    run: RunId,
    /// The image.
    #[arg(long, value_name = "PATH")]
    image: ImagePath,
    /// The lab, by its name or resource id: for copy-image and retire-images.
    #[arg(long, value_name = "LAB")]
    lab: Option<String>,
    #[command(flatten)]
    asker: Asker,
    #[command(flatten)]
    reach: Reach,
}

impl RerunArguments {
    /// Asks for it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let by = self.asker.person()?;
        self.reach.run(async |office| {
            // People hear at once what the step would only write into the record.
            office.run_record(&self.run).await?;
            let vm = VmName::derive(&self.run, &self.image);
            let found = office.factory.ledger.read::<BuildRecord>(&Key::build(&self.run, &vm)).await?;
            let (build, _) =
                found.with_context(|| format!("run {} has no image {}", self.run, self.image))?;
            let lab = self.lab.as_deref().map(|text| planned(&build, text)).transpose()?;
            let step = step(self.step, self.image.clone(), lab)?;
            let rerun = Some(Rerun { id: asking_id()?, by });
            let message = Message { rerun, ..Message::first(self.run.clone(), step) };
            let queue = message.queue();
            office.send(message).await?;
            println!("{queue} of {} is asked for; `image-factory audit` tells what comes of it", self.image);
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// The lab that the build goes to, by its name or id.
fn planned(build: &BuildRecord, text: &str) -> anyhow::Result<LabId> {
    let wanted = text.starts_with('/').then(|| crate::handler::settings::lab_of_id(text));
    let wanted = wanted.transpose().map_err(anyhow::Error::msg)?;
    let is_meant = |lab: &&LabId| match &wanted {
        Some(wanted) => lab.may_be(wanted),
        None => lab.lab_name().eq_ignore_ascii_case(text),
    };
    let found: Vec<&LabId> = build.plan.labs.iter().filter(is_meant).collect();
    match found.as_slice() {
        [lab] => Ok((*lab).clone()),
        [] => bail!("{} does not go to a lab '{text}' in this run", build.plan.image_path),
        _ => bail!("several labs are named '{text}': name the one by its resource id"),
    }
}

fn step(step: RerunStep, image_path: ImagePath, lab: Option<LabId>) -> anyhow::Result<Step> {
    Ok(match (step, lab) {
        (RerunStep::CopyImage, Some(lab)) => Step::CopyImage(CopyImage { image_path, lab }),
        (RerunStep::CopyImage, None) => bail!("copy-image needs --lab"),
        (RerunStep::RetireImages, lab) => Step::RetireImages(RetireImages { image_path, lab }),
        (RerunStep::CreateVm | RerunStep::DeleteVm, Some(_)) => bail!("this step knows no --lab"),
        (RerunStep::CreateVm, None) => Step::CreateVm(ImageStep { image_path }),
        (RerunStep::DeleteVm, None) => Step::DeleteVm(ImageStep { image_path }),
    })
}

/// Which run to cancel.
#[derive(Debug, Args)]
pub struct CancelArguments {
    /// The run.
    run: RunId,
    #[command(flatten)]
    asker: Asker,
    #[command(flatten)]
    reach: Reach,
}

impl CancelArguments {
    /// Asks for it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let cancel = CancelRun { by: self.asker.person()?, id: Some(asking_id()?) };
        self.reach.run(async |office| {
            office.send(Message::first(self.run.clone(), Step::CancelRun(cancel))).await?;
            println!("cancelling {0} is asked for; see `image-factory status {0}`", self.run);
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Which image to pin or unpin.
#[derive(Debug, Args)]
pub struct PinArguments {
    /// The image's name in the lab.
    image: String,
    /// The lab, by its name or resource id; the factory lab for a captured VHD.
    #[arg(long, value_name = "LAB")]
    lab: String,
    #[command(flatten)]
    asker: Asker,
    #[command(flatten)]
    reach: Reach,
}

impl PinArguments {
    /// Asks for it.
    pub fn run(self, pin: bool) -> anyhow::Result<ExitCode> {
        let by = self.asker.person()?;
        let image_name = PinnedName::parse(&self.image).with_context(|| format!("'{}'", self.image))?;
        self.reach.run(async |office| {
            let lab = office.lab(&self.lab).await?;
            let wish = PinImage { lab, image_name, pin, by, id: Some(asking_id()?) };
            office.send(Message::pin(wish)).await?;
            println!("it is asked for; `image-factory audit` tells what comes of it");
            Ok(ExitCode::SUCCESS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::fixtures::{build, lab, path};

    #[test]
    fn a_step_is_run_again_where_it_was_planned() {
        assert_eq!(planned(&build(), "ONE").unwrap(), lab("one"));
        assert!(planned(&build(), "three").unwrap_err().to_string().contains("does not go to a lab 'three'"));
        let copy = step(RerunStep::CopyImage, path(), Some(lab("one"))).unwrap();
        assert_eq!(copy, Step::CopyImage(CopyImage { image_path: path(), lab: lab("one") }));
        assert!(step(RerunStep::CopyImage, path(), None).is_err());
        assert!(step(RerunStep::CreateVm, path(), Some(lab("one"))).is_err());
    }
}
