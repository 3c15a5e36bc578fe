//! The safety brake: a run that would make a lab much smaller retires nothing there, until somebody approves it.
//!
//! It is weighed before the run's first deletion in a lab, from the whole of that lab and the whole of the run's plan. The
//! verdict is a document of the ledger, so it stays the same while the run goes on, and costs all later images one blob.

use std::{collections::BTreeSet, future::Future};

use crate::{
    azure::AzureError,
    domain::{
        ImagePath, LabId, RunId,
        retention::{self, StandingImage},
    },
    ledger::{BuildRecord, Failure, Key, Retirement, RunBuild, RunRecord},
    steps::Factory,
};

/// Why an image stays in a lab where the brake holds.
pub const HELD: &str = "the run's retirement is held in this lab";

/// The images that a run weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stock {
    /// The custom images of a lab: the run renews those of the builds that go there.
    CustomImages,
    /// The captured VHDs of the factory lab: the run renews those of all its builds.
    Vhds,
}

/// The verdict about what `run` does to a `stock` of `lab`, of which `key` is the document. `images` reads all that stand
/// there; it is awaited only by who comes first.
///
/// # Errors
/// If Azure refuses, or the run's document is not there: then nothing tells what else the run retires.
pub async fn weighed(
    factory: &Factory,
    run: &RunId,
    key: &Key,
    lab: &LabId,
    stock: Stock,
    images: impl Future<Output = Result<Vec<StandingImage>, AzureError>> + Send,
) -> Result<Retirement, AzureError> {
    if let Some(known) = factory.ledger.retirement(key).await? {
        return Ok(known);
    }
    let Some((record, _)) = factory.ledger.read::<RunRecord>(&Key::run(run)).await? else {
        let message = "the run's document is not in the ledger";
        return Err(AzureError::permanent("weigh a retirement", "MissingLedger", message));
    };
    let images = images.await?;
    let standing: BTreeSet<ImagePath> = images.iter().filter_map(StandingImage::path).collect();
    let mut paths = BTreeSet::new();
    for build in record.builds.iter().filter(|build| standing.contains(&build.image_path)) {
        if stock == Stock::Vhds || goes_to(factory, &record, build, lab).await? {
            paths.insert(build.image_path.clone());
        }
    }
    let settings = &record.settings;
    let weight = retention::weigh(&images, run, &paths, settings.images_to_keep as usize);
    let weighed = Retirement {
        lab: lab.clone(),
        before: weight.before,
        after: weight.after,
        most_retired_share: settings.most_retired_share,
        approved: record.approve_retirement,
        held: weight.exceeds(settings.most_retired_share) && !record.approve_retirement,
        weighed_at: factory.clock.now(),
    };
    if weighed.held {
        tracing::warn!(%lab, before = weighed.before, after = weighed.after, "retirement is held");
    }
    factory.ledger.keep_retirement(key, &weighed).await
}

/// Whether `build` goes to `lab`: its own document knows, where it does not go to all labs of the run.
async fn goes_to(
    factory: &Factory,
    record: &RunRecord,
    build: &RunBuild,
    lab: &LabId,
) -> Result<bool, AzureError> {
    if build.lab_count == record.labs.len() {
        return Ok(true);
    }
    let build = factory.ledger.read::<BuildRecord>(&Key::build(&record.run, &build.vm_name)).await?;
    Ok(build.is_some_and(|(build, _)| build.plan.labs.contains(lab)))
}

/// What people are told where the brake holds, and what they can do.
pub fn failure(weighed: &Retirement, place: &str) -> Failure {
    let Retirement { before, after, most_retired_share, .. } = weighed;
    let lost = before.saturating_sub(*after);
    let message = format!(
        "this run would retire {lost} of {before} images in {place} without a successor, more than the share of \
         {most_retired_share} that mostRetiredShare allows; it deletes nothing there. If that is meant, raise \
         mostRetiredShare in factory.json by a commit, or start a run again with \"approveRetirement\": true"
    );
    Failure::new("RetirementHeld", message)
}
