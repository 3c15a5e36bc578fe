//! A run that was cancelled: it calls off what is not done, and ends once that has ended.

use super::{FOR_EACH_ITEM, Standing, WATCHED};
use crate::{
    azure::AzureError,
    ledger::{CalledOff, Failure, RunRecord, StepState},
    steps::{
        Factory, call_off,
        pace::{self, Bounds},
        turn::Next,
    },
};

/// Between two looks at how the builds and copies end: what was called off takes minutes.
const BOUNDS: Bounds = Bounds::seconds(15, 60).of_elapsed(10);

/// A turn of such a run. At each look it calls off what has come to be since the last: a copy may just have been begun.
pub(super) async fn advance(
    factory: &Factory,
    record: &RunRecord,
    called_off: &CalledOff,
    state: &mut StepState,
) -> Result<Next, AzureError> {
    if record.asked.is_some() {
        return Ok(Next::Failed(called_off.failure()));
    }
    call_off::items(factory, record, called_off).await?;
    // Builds are begun no more; those that are written down end by their own messages.
    state.facts.begun = WATCHED;
    let standing = Standing::read(factory, record).await?;
    if !standing.is_over_but_for_missing() {
        let after = pace::growing(called_off.at, factory.clock.now(), BOUNDS);
        let waiting_for = format!("{called_off}; {standing}");
        return Ok(Next::wait(after + FOR_EACH_ITEM * standing.items(), waiting_for));
    }
    state.ended_at = standing.last_end;
    let failed = standing.failed_builds + standing.failed_copies + standing.missing();
    Ok(match failed {
        // It came too late for everything.
        0 => Next::Succeeded,
        _ => Next::Failed(Failure { message: format!("{called_off}; {standing}"), ..called_off.failure() }),
    })
}
