//! How far a VHD copy is: the part that capturing and copying share.

use std::time::Duration;

use time::OffsetDateTime;

use super::pace::{self, Bounds};
use crate::{
    azure::{BlobProperties, CopyStatus},
    ledger::{Failure, StepState},
};

/// How often a copy is begun before its failure counts.
const MOST_BEGINNINGS: u32 = 3;
/// Between two looks at a copy that tells how far it is.
const COPY_BOUNDS: Bounds = Bounds::seconds(5, 600);
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
    /// It ended badly, and the blob is worth nothing: delete it and begin again.
    Broken,
    /// It ended badly too often.
    Failed(Failure),
}

/// Judges a destination blob. That it exists at full length proves nothing: a page blob has that from the start, so only
/// `x-ms-copy-status: success` counts (Microsoft, "Copy Blob").
pub fn judge(blob: Option<&BlobProperties>, state: &StepState, now: OffsetDateTime) -> CopyStands {
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
    let broken = |description: &str| {
        if state.facts.begun >= MOST_BEGINNINGS {
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
            let begun = state.facts.begun_at.unwrap_or(state.started_at);
            let (done, total) = copy.copied.unwrap_or_default();
            let after = pace::estimated(begun, now, done, total, COPY_BOUNDS);
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0);
            CopyStands::Goes { after, progress: format!("VHD copy, {percent} % done") }
        }
    }
}

/// Notes that a copy was begun.
pub fn begun(state: &mut StepState, now: OffsetDateTime) {
    state.facts.begun += 1;
    state.facts.begun_at = Some(now);
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
        judge(blob.as_ref(), &state, NOW)
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

    #[test]
    fn a_failed_copy_is_begun_again_a_few_times_and_then_reported_with_its_reason() {
        let failed = || Some(blob(Some((CopyStatus::Failed, None))));
        assert_eq!(stands(failed(), 2), CopyStands::Broken);
        let CopyStands::Failed(failure) = stands(failed(), 3) else { panic!("it failed") };
        assert!(failure.message.contains("404 ResourceNotFound"), "{failure}");
        assert!(matches!(stands(None, 3), CopyStands::Failed(_)));
    }
}
