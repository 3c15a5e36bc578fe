//! What a run decided before it did anything: about each image, and about each lab.
//!
//! Whoever plans first decides for all who plan the same run: a plan that is there stays.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{Condition, Kept, Key, Ledger};
use crate::{
    azure::{AzureError, ErrorKind},
    domain::{
        ImageName, ImagePath, Inputs, LabId, RunId,
        plan::{Action, Reason, ReusedImage},
        retention::Weight,
    },
};

/// What a run does about its images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunPlan {
    /// The run.
    pub run: RunId,
    /// When this was decided.
    #[serde(with = "time::serde::rfc3339")]
    pub decided_at: OffsetDateTime,
    /// Each image that a lab receives, in order of image path.
    pub images: Vec<ImagePlan>,
    /// The later run that lost patience and planned without this one, which decides nothing any more. It stands here because whichever
    /// of the two is written first holds: no run is passed by that has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_by: Option<RunId>,
}

impl RunPlan {
    /// That of a run that `later` passes by.
    pub fn passed_by(run: RunId, later: RunId, at: OffsetDateTime) -> Self {
        Self { run, decided_at: at, images: Vec::new(), passed_by: Some(later) }
    }
}

/// What is done about one image, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImagePlan {
    /// The definition.
    pub image_path: ImagePath,
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The image that is to be in the labs.
    pub image_name: ImageName,
    /// What it would be made from now; unknown where Azure could not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Inputs>,
    /// The image of another run that is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reuses: Option<ReusedImage>,
    /// The earlier runs whose builds of it are called off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<RunId>,
}

/// What a run does in one lab. Of the factory lab the same stands for its captured VHDs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabPlan {
    /// The lab.
    pub lab: LabId,
    /// The run's images that the lab receives.
    pub images: Vec<LabImagePlan>,
    /// Older images that retire once the new ones stand.
    pub retires: Vec<String>,
    /// Older images that stay, each with what blocks it.
    pub kept: Vec<Kept>,
    /// The lab's images before and after the run, where it would get smaller by more than the settings allow: then nothing retires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Weight>,
    /// Why nothing could be learnt about the lab: what it receives is brought all the same, and will say why it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

impl LabPlan {
    /// Nothing is done in this lab.
    pub fn of(lab: LabId) -> Self {
        Self { lab, images: Vec::new(), retires: Vec::new(), kept: Vec::new(), held: None, unknown: None }
    }
}

/// Whether an image is brought to a lab, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabImagePlan {
    /// The definition.
    pub image_path: ImagePath,
    /// The image.
    pub image_name: ImageName,
    /// Whether this run copies it.
    pub copies: bool,
    /// Why.
    pub reason: String,
}

/// The runs in the order in which they plan: each knows what those before it do, so nothing is built twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The runs, first come first.
    pub runs: Vec<InLine>,
}

/// A run in the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InLine {
    /// The run.
    pub run: RunId,
}

impl Line {
    /// The runs before `run`.
    pub fn ahead_of(&self, run: &RunId) -> impl Iterator<Item = &RunId> {
        self.runs().take_while(move |other| *other != run)
    }

    /// Whether `run` stands in it.
    pub fn holds(&self, run: &RunId) -> bool {
        self.runs().any(|other| other == run)
    }

    fn runs(&self) -> impl Iterator<Item = &RunId> {
        self.runs.iter().map(|place| &place.run)
    }
}

impl Ledger {
    /// What a run decided about its images; `None` before it has.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn run_plan(&self, run: &RunId) -> Result<Option<RunPlan>, AzureError> {
        Ok(self.document(&Key::plan(run)).await?.map(|(plan, _)| plan))
    }

    /// Keeps what a run decided; answers what was kept first, whoever did it.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn keep_run_plan(&self, plan: RunPlan) -> Result<RunPlan, AzureError> {
        self.keep(&Key::plan(&plan.run.clone()), plan).await
    }

    /// The labs about which a run has decided.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn planned_labs(&self, run: &RunId) -> Result<BTreeSet<Key>, AzureError> {
        let entries = self.list(&format!("plans/{run}/")).all().await?;
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    /// What a run decided about a lab; `None` before it has.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn lab_plan(&self, key: &Key) -> Result<Option<LabPlan>, AzureError> {
        Ok(self.document(key).await?.map(|(plan, _)| plan))
    }

    /// Keeps what a run decided about a lab; answers what was kept first, whoever did it.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn keep_lab_plan(&self, key: &Key, plan: LabPlan) -> Result<LabPlan, AzureError> {
        self.keep(key, plan).await
    }

    /// The line as it stands after `change`, which answers whether there is something to write.
    ///
    /// # Errors
    /// If Blob Storage refuses; transient also if somebody else wrote it meanwhile.
    pub async fn change_line(
        &self,
        change: impl FnOnce(&mut Line) -> bool + Send,
    ) -> Result<Line, AzureError> {
        let key = Key::line();
        let (mut line, etag) = match self.document::<Line>(&key).await? {
            Some((line, etag)) => (line, Some(etag)),
            None => (Line::default(), None),
        };
        if change(&mut line) {
            let condition = etag.map_or(Condition::IfMissing, Condition::IfMatch);
            let written = self.put(&key, &line, condition).await;
            written.map_err(|error| match error.is_precondition() {
                true => AzureError { kind: ErrorKind::Transient { retry_after: None }, ..error },
                false => error,
            })?;
        }
        Ok(line)
    }
}
