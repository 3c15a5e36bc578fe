//! An image that this run does not build: another run captured it, or is about to.

use std::time::Duration;

use crate::{
    azure::AzureError,
    domain::{VmName, plan::ReusedImage},
    ledger::{BuildRecord, Failure, ItemStatus, Key, Record as _, StepState},
    steps::{
        Factory,
        pace::{self, Bounds},
        turn::Next,
    },
};

/// The other run may have begun as much later as its planning took.
pub(super) const BEYOND_DEADLINES: Duration = Duration::from_secs(2 * 3600);
/// Between two looks at a build of another run.
const BOUNDS: Bounds = Bounds::seconds(60, 300).of_elapsed(10);
/// The code where nobody makes the image any more.
const GONE: &str = "ReusedImageGone";

/// Looks whether the captured image stands.
pub(super) async fn advance(
    factory: &Factory,
    record: &BuildRecord,
    reused: &ReusedImage,
    state: &mut StepState,
) -> Result<Next, AzureError> {
    let storage = factory.storages.get(&record.factory_lab).await?;
    let name = &record.plan.image_name;
    if storage.container.properties(&name.companion_blob()).await?.is_some() {
        state.facts.vhd_url = Some(storage.container.url(&name.factory_vhd_blob()));
        // An older version of the factory wrote none.
        let statement = name.provenance_blob();
        if storage.container.properties(&statement).await?.is_some() {
            state.facts.provenance_url = Some(storage.container.url(&statement));
        }
        return Ok(Next::Succeeded);
    }
    let run = &reused.run;
    let key = Key::build(run, &VmName::derive(run, &record.plan.image_path));
    let build = factory.ledger.read::<BuildRecord>(&key).await?.map(|(build, _)| build);
    let wait = || {
        let wait = pace::growing(state.started_at, factory.clock.now(), BOUNDS);
        Ok(Next::wait(wait, format!("run {run}, which is building it")))
    };
    let fail = |code: &str, message: String| Ok(Next::Failed(Failure::new(code, message)));
    match build {
        Some(build) if build.captured().is_none() => match build.failure() {
            Some(failure) => fail(&failure.code, format!("run {run}, which was building it: {failure}")),
            None => wait(),
        },
        // Its document was lost, and the run writes it anew at its next look.
        None if factory.ledger.status(&Key::run(run)).await? == Some(ItemStatus::Open) => wait(),
        _ => fail(GONE, format!("the VHD that run {run} captured is not there any more: start another run")),
    }
}
