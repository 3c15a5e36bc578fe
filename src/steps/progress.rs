//! How far a VHD copy is: the part that capturing and copying share.

use std::time::Duration;

use time::OffsetDateTime;

use super::pace::{self, Bounds};
use crate::{
    azure::{BlobProperties, CopyStatus},
    ledger::{Copied, Failure, StepState},
};

/// How often a copy is begun before its failure counts.
const MOST_BEGINNINGS: u32 = 3;
/// Between two looks at a copy that tells how far it is.
const COPY_BOUNDS: Bounds = Bounds::seconds(5, 2 * 3600);
/// Between two looks at a copy that has not moved.
const STILL_BOUNDS: Bounds = Bounds::seconds(15, 300);
/// A copy that was not seen to move for so long never ends: it is given up and begun again. One that cannot read its source for
/// a while goes on by itself within minutes.
const STALLED_AFTER: time::Duration = time::Duration::minutes(30);
/// A wait is at most this many times as long as what the rate was seen over: a rate of a few seconds tells little.
const TRUST: u32 = 10;
/// After beginning a copy: soon, since its first progress tells its rate.
pub const AFTER_BEGINNING: Duration = Duration::from_secs(20);

/// Where a copy stands.
#[derive(Debug, PartialEq, Eq)]
pub enum CopyStands {
    /// There is no blob: begin.
    Absent,
    /// It goes on: look again after this.
    Goes {
        /// The time until it should be over.
        after: Duration,
        /// How far it is, in words.
        progress: String,
    },
    /// The whole content is there.
    Complete,
    /// It ended badly or makes no progress, and the blob is worth nothing: discard it and begin again.
    Broken,
    /// It ended badly too often.
    Failed(Failure),
}

/// Whether a destination blob has its whole content.
pub fn is_complete(blob: &BlobProperties) -> bool {
    blob.copy.as_ref().is_some_and(|copy| copy.status == CopyStatus::Success)
}

/// Judges a destination blob. That it exists at full length proves nothing: a page blob has that from the start, so only
/// `x-ms-copy-status: success` counts (Microsoft, "Copy Blob").
///
/// Notes in `state` how far it is.
pub fn judge(blob: Option<&BlobProperties>, state: &mut StepState, now: OffsetDateTime) -> CopyStands {
    let Some(blob) = blob else {
        return if state.facts.begun >= MOST_BEGINNINGS {
            CopyStands::Failed(Failure::new(
                "CopyFailed",
                format!("the copy vanished {MOST_BEGINNINGS} times"),
            ))
        } else {
            CopyStands::Absent
        };
    };
    let begun = state.facts.begun;
    let broken = |description: &str| {
        if begun >= MOST_BEGINNINGS {
            let message =
                format!("the copy was begun {MOST_BEGINNINGS} times and failed each time: {description}");
            CopyStands::Failed(Failure::new("CopyFailed", message))
        } else {
            CopyStands::Broken
        }
    };
    let Some(copy) = &blob.copy else {
        return broken("the blob was written by someone else");
    };
    let description = copy.description.as_deref().unwrap_or("no reason was given");
    match copy.status {
        CopyStatus::Success => CopyStands::Complete,
        CopyStatus::Failed => broken(description),
        CopyStatus::Aborted => broken("it was aborted"),
        CopyStatus::Pending => {
            let (done, total) = copy.copied.unwrap_or_default();
            if stands_still(state, now, done) {
                return broken(&format!("it stood still at {done} of {total} bytes"));
            }
            let after = until_over(state, now, done, total);
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
            CopyStands::Goes { after, progress: format!("VHD copy, {percent} % done") }
        }
    }
}

/// Whether a copy with so many bytes `done` has not moved for too long; notes when it was seen to move.
fn stands_still(state: &mut StepState, now: OffsetDateTime, done: u64) -> bool {
    let begun = state.facts.begun_at.unwrap_or(state.started_at);
    let before = state.facts.copied.filter(|last| last.at > begun).map_or(0, |last| last.bytes);
    let moved_at = state.facts.moved_at.filter(|moved| *moved > begun && done <= before).unwrap_or(now);
    let since = if done == 0 { begun } else { moved_at };
    state.facts.moved_at = Some(moved_at);
    now - since > STALLED_AFTER
}

/// The time until the copy should be over, by its rate since the last look: it may have stood still before that.
fn until_over(state: &mut StepState, now: OffsetDateTime, done: u64, total: u64) -> Duration {
    let begun = state.facts.begun_at.unwrap_or(state.started_at);
    let last = state.facts.copied.filter(|last| last.at > begun && last.bytes <= done);
    let (since, before) = last.map_or((begun, 0), |last| (last.at, last.bytes));
    state.facts.copied = Some(Copied { at: now, bytes: done });
    let time: Duration = (now - since).try_into().unwrap_or_default();
    let most = COPY_BOUNDS.most.min(time * TRUST).max(COPY_BOUNDS.least);
    let bounds = Bounds { most, ..COPY_BOUNDS };
    let estimated = pace::estimated(done - before, time, total.saturating_sub(done), bounds);
    estimated.unwrap_or_else(|| pace::growing(since, now, STILL_BOUNDS))
}

/// Notes that a copy was begun.
pub fn begun(state: &mut StepState, now: OffsetDateTime) {
    state.facts.begun += 1;
    state.facts.begun_at = Some(now);
    state.facts.copied = None;
    state.facts.moved_at = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::Copy;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-22 13:00 UTC);

    fn blob(copy: Option<(CopyStatus, Option<(u64, u64)>)>) -> BlobProperties {
        let copy = copy.map(|(status, copied)| Copy {
            id: "1".into(),
            status,
            copied,
            source: None,
            description: Some("404 ResourceNotFound".into()),
        });
        BlobProperties {
            etag: "e".to_owned().into(),
            length: 100,
            last_modified: None,
            metadata: Default::default(),
            copy,
        }
    }

    fn stands(blob: Option<BlobProperties>, begun: u32) -> CopyStands {
        let mut state = StepState::begin(NOW - time::Duration::seconds(100));
        state.facts.begun = begun;
        judge(blob.as_ref(), &mut state, NOW)
    }

    #[test]
    fn a_blob_counts_only_once_its_copy_reports_success() {
        assert_eq!(stands(None, 0), CopyStands::Absent);
        assert_eq!(stands(Some(blob(None)), 1), CopyStands::Broken);
        assert_eq!(
            stands(Some(blob(Some((CopyStatus::Success, Some((100, 100)))))), 1),
            CopyStands::Complete
        );
    }

    #[test]
    fn a_pending_copy_is_looked_at_when_it_should_be_over() {
        let CopyStands::Goes { after, progress } =
            stands(Some(blob(Some((CopyStatus::Pending, Some((25, 100)))))), 1)
        else {
            panic!("it goes on");
        };
        assert_eq!(after.as_secs(), 302);
        assert_eq!(progress, "VHD copy, 25 % done");
    }

    /// The seconds until the next look at a copy of 1,000 bytes that was seen at these moments with so many bytes.
    fn waits<const N: usize>(seen: [(i64, u64); N]) -> [u64; N] {
        let mut state = StepState::begin(NOW);
        begun(&mut state, NOW);
        seen.map(|(second, bytes)| {
            let now = NOW + time::Duration::seconds(second);
            let pending = blob(Some((CopyStatus::Pending, Some((bytes, 1000)))));
            match judge(Some(&pending), &mut state, now) {
                CopyStands::Goes { after, .. } => after.as_secs_f64().round() as u64,
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_long_copy_takes_few_looks() {
        // 1,000 s in all: the first seconds tell the rate roughly, the next look exactly.
        assert_eq!(waits([(20, 20), (220, 220)]), [200, 782]);
    }

    #[test]
    fn a_copy_that_stood_still_is_judged_by_its_rate_since_then() {
        // Still for 100 s, then 1 byte a second.
        assert_eq!(waits([(20, 0), (110, 10), (210, 110)]), [15, 900, 892]);
        assert_eq!(waits([(20, 20), (220, 20), (250, 50)]), [200, 15, 300]);
    }

    #[test]
    fn a_copy_that_does_not_move_for_half_an_hour_is_given_up() {
        let minutes = |seen: &[(i64, u64)]| {
            let mut state = StepState::begin(NOW);
            begun(&mut state, NOW);
            let broken = seen.iter().position(|(minute, bytes)| {
                let now = NOW + time::Duration::minutes(*minute);
                let pending = blob(Some((CopyStatus::Pending, Some((*bytes, 1000)))));
                judge(Some(&pending), &mut state, now) == CopyStands::Broken
            });
            broken.map(|index| seen[index].0)
        };
        assert_eq!(minutes(&[(1, 0), (29, 0), (31, 0)]), Some(31), "it never moved");
        assert_eq!(minutes(&[(1, 100), (90, 700), (119, 700), (121, 700)]), Some(121), "seen to move at 90");
        assert_eq!(minutes(&[(1, 100), (90, 700), (119, 701), (121, 701), (150, 900)]), None);
    }

    #[test]
    fn a_failed_copy_is_begun_again_a_few_times_and_then_reported_with_its_reason() {
        let failed = || Some(blob(Some((CopyStatus::Failed, None))));
        assert_eq!(stands(failed(), 2), CopyStands::Broken);
        let CopyStands::Failed(failure) = stands(failed(), 3) else { panic!("it failed") };
        assert!(failure.message.contains("404 ResourceNotFound"), "{failure}");
        assert!(matches!(stands(None, 3), CopyStands::Failed(_)));
    }
}
