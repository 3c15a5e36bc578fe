//! How long to wait before the next look.

use std::time::Duration;

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// The bounds of a wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Never shorter.
    pub least: Duration,
    /// Never longer.
    pub most: Duration,
}

impl Bounds {
    /// From `least` to `most` seconds.
    pub const fn seconds(least: u64, most: u64) -> Self {
        Self { least: Duration::from_secs(least), most: Duration::from_secs(most) }
    }
}

/// What has taken long may take long again: a wait is this part of the time so far, so that few looks cost little lateness.
const PART_OF_ELAPSED: u32 = 30;
/// The first wait after trouble; it doubles with each trouble in a row.
const AFTER_TROUBLE: Bounds = Bounds::seconds(10, 300);
/// Azure asks for minutes, rarely for an hour; what asks for more is looked at again after this all the same.
const MOST_ASKED: Duration = Duration::from_secs(6 * 3600);
/// Doubling ends here, well before the longest wait could overflow.
const MOST_DOUBLINGS: u32 = 6;
/// Waits vary by up to this part of themselves, so that what began together does not stay together.
const JITTER: f64 = 0.1;
/// An estimate may be a little short: look this much after it.
const AFTER_ESTIMATE: Duration = Duration::from_secs(2);

/// The wait for work that gives no sign of how far it is.
pub fn growing(begun: OffsetDateTime, now: OffsetDateTime, bounds: Bounds) -> Duration {
    let elapsed = (now - begun).try_into().unwrap_or(Duration::ZERO);
    (elapsed / PART_OF_ELAPSED).clamp(bounds.least, bounds.most)
}

/// The wait for work that is `done` of `total` after the time since `begun`: until it should be over.
pub fn estimated(
    begun: OffsetDateTime,
    now: OffsetDateTime,
    done: u64,
    total: u64,
    bounds: Bounds,
) -> Duration {
    let elapsed: Duration = (now - begun).try_into().unwrap_or(Duration::ZERO);
    if done == 0 || total == 0 {
        return growing(begun, now, bounds);
    }
    let left = elapsed.as_secs_f64() * total.saturating_sub(done) as f64 / done as f64;
    let left = Duration::try_from_secs_f64(left).unwrap_or(bounds.most);
    (left + AFTER_ESTIMATE).clamp(bounds.least, bounds.most)
}

/// The wait after the `troubles`-th transient failure in a row: what Azure asks for, and never less than our own back-off.
pub fn after_trouble(troubles: u32, asked: Option<Duration>) -> Duration {
    let own = AFTER_TROUBLE.least * 2_u32.pow(troubles.min(MOST_DOUBLINGS));
    own.min(AFTER_TROUBLE.most).max(bounded(asked))
}

/// What Azure asks for, if it does, within reason.
pub fn bounded(asked: Option<Duration>) -> Duration {
    asked.unwrap_or_default().min(MOST_ASKED)
}

/// `wait`, longer by up to a tenth, the same for the same `subject`: replays stay exact, and Retry-After is never undercut.
pub fn spread(wait: Duration, subject: &str) -> Duration {
    let digest = Sha256::digest(subject);
    let drawn = f64::from(u16::from_le_bytes([digest[0], digest[1]])) / f64::from(u16::MAX);
    wait.mul_f64(1.0 + JITTER * drawn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const BEGUN: OffsetDateTime = datetime!(2026-11-22 13:00 UTC);
    const BOUNDS: Bounds = Bounds::seconds(5, 60);

    #[test]
    fn waits_grow_with_the_time_so_far_between_their_bounds() {
        let wait = |minutes| growing(BEGUN, BEGUN + time::Duration::minutes(minutes), BOUNDS).as_secs();
        assert_eq!([wait(-1), wait(0), wait(10), wait(60)], [5, 5, 20, 60]);
    }

    #[test]
    fn a_copy_is_looked_at_when_it_should_be_over() {
        let now = BEGUN + time::Duration::seconds(100);
        let wait = |done, total| estimated(BEGUN, now, done, total, Bounds::seconds(5, 600)).as_secs();
        assert_eq!(wait(50, 100), 102);
        assert_eq!(wait(1, 100), 600);
        assert_eq!(wait(100, 100), 5);
        assert_eq!(wait(0, 100), 5);
    }

    #[test]
    fn trouble_backs_off_and_never_undercuts_what_azure_asks_for() {
        let wait =
            |troubles, asked: Option<u64>| after_trouble(troubles, asked.map(Duration::from_secs)).as_secs();
        assert_eq!([wait(0, None), wait(1, None), wait(3, None), wait(99, None)], [10, 20, 80, 300]);
        assert_eq!([wait(0, Some(120)), wait(3, Some(7))], [120, 80]);
        assert_eq!(wait(0, Some(u64::MAX)), 6 * 3600, "a senseless wait would overflow the calendar");
    }

    #[test]
    fn jitter_only_adds_and_repeats_for_the_same_subject() {
        let wait = Duration::from_secs(100);
        for subject in ["a", "b", "c", "d"] {
            let spread_once = spread(wait, subject);
            assert!(spread_once >= wait && spread_once <= wait.mul_f64(1.0 + JITTER));
            assert_eq!(spread_once, spread(wait, subject));
        }
        assert_ne!(spread(wait, "a"), spread(wait, "b"));
    }
}
