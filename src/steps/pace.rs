//! How long to wait before the next look.
//!
//! Azure takes 25 reads and 10 writes a second of one principal in one subscription (Microsoft, "Understand how Azure Resource
//! Manager throttles requests"). What a run does at once in one subscription shares them: builds begin spread out ([`slot`]),
//! images are registered in a row ([`place`]), and the looks at what goes on are as rare as there are many of them ([`shared`]).

use std::{ops::Range, time::Duration};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// What so many reads take of a row: nearly all of the 25 a second that Azure allows, of which each has its turn.
const fn reads(count: u64) -> Duration {
    Duration::from_micros(40_650 * count)
}

/// The bounds of a wait.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Never shorter.
    pub least: Duration,
    /// Never longer.
    pub most: Duration,
    /// In between, this part of the time so far: what has taken long may take long again.
    pub part: u32,
}

impl Bounds {
    /// From `least` to `most` seconds.
    pub const fn seconds(least: u64, most: u64) -> Self {
        let part = PART_OF_ELAPSED;
        Self { least: Duration::from_secs(least), most: Duration::from_secs(most), part }
    }

    /// With waits of one `part`-th of the time so far.
    pub const fn of_elapsed(self, part: u32) -> Self {
        Self { part, ..self }
    }
}

/// A wait is this part of the time so far, so that few looks cost little lateness.
const PART_OF_ELAPSED: u32 = 30;
/// All looks of a run in one subscription together take this many reads a second at most: half of what Azure allows, since
/// the other half is for what is not waiting.
const LOOKS_PER_SECOND: f64 = 12.5;
/// So many builds begin in one subscription each second. Each costs one write or more, of which there are 10 a second, and
/// three reads or more, of which there are 25.
const BUILDS_PER_SECOND: f64 = 7.0;
/// So much of its row a copy takes after which nothing retires: 8.2 have room in one subscription each second. Three reads and a write:
/// the image is looked at before it is registered and when it should stand; then the lab's images are listed.
const COPY: Duration = reads(3);
/// So much more it takes where an older image is to go: the lab's formulas, its VMs and, when that should be gone, its images again.
const WITH_RETIREMENT: Duration = reads(3);
/// And for each image that goes, the last look at it.
const RETIRED: Duration = reads(1);
/// The same for its deletion, of which Azure allows 10 a second.
const DELETION: Duration = Duration::from_millis(102);
/// So much the second attempt at a retirement takes, which begins anew with the list.
pub const RETIREMENT: Duration = reads(5);
/// So many may begin at once: Azure's buckets hold 200 writes and 250 reads.
const AT_ONCE: usize = 100;
/// The first wait after trouble; it doubles with each trouble in a row.
const AFTER_TROUBLE: Bounds = Bounds::seconds(10, 300);
/// Azure asks for minutes, rarely for an hour; what asks for more is looked at again after this all the same.
const MOST_ASKED: Duration = Duration::from_secs(6 * 3600);
/// A deletion that takes longer than this makes no progress.
const STALLED_AFTER: time::Duration = time::Duration::minutes(15);
/// Doubling ends here, well before the longest wait could overflow.
const MOST_DOUBLINGS: u32 = 6;
/// Waits vary by up to this part of themselves, so that what began together does not stay together.
const JITTER: f64 = 0.1;
/// Where the wait was reckoned, more than this would only be lateness.
const MOST_JITTER: Duration = Duration::from_secs(10);
/// An estimate may be a little short: look this much after it.
const AFTER_ESTIMATE: Duration = Duration::from_secs(2);

/// The wait for work that gives no sign of how far it is.
pub fn growing(begun: OffsetDateTime, now: OffsetDateTime, bounds: Bounds) -> Duration {
    let elapsed = (now - begun).try_into().unwrap_or(Duration::ZERO);
    (elapsed / bounds.part).clamp(bounds.least, bounds.most)
}

/// The wait for work of which `left` is to be done when `done` took `time`: until it should be over. `None` if nothing was
/// done, so that there is no rate.
pub fn estimated(done: u64, time: Duration, left: u64, bounds: Bounds) -> Option<Duration> {
    if done == 0 {
        return None;
    }
    let wait = time.as_secs_f64() * left as f64 / done as f64;
    let wait = Duration::try_from_secs_f64(wait).unwrap_or(bounds.most);
    Some((wait + AFTER_ESTIMATE).clamp(bounds.least, bounds.most))
}

/// `wait`, or longer if `siblings` that all look like this, at `reads` a look, would take too many reads together.
pub fn shared(wait: Duration, siblings: usize, reads: u32) -> Duration {
    wait.max(Duration::from_secs_f64(siblings as f64 * f64::from(reads) / LOOKS_PER_SECOND))
}

/// After what time the build among `siblings` with this `subject` begins: each has one of these places in a row that Azure can serve.
/// The same for the same subject.
pub fn slot(siblings: usize, places: Range<usize>, subject: &str) -> Duration {
    let place = places.start as f64 + drawn(subject) * places.len() as f64;
    row(siblings, BUILDS_PER_SECOND).mul_f64(place / siblings.max(1) as f64)
}

/// Whether `siblings` are so many that they have to begin in a row.
pub fn is_crowd(siblings: usize) -> bool {
    siblings > AT_ONCE
}

/// So much of its row each of `copies` takes, if so many images retire after them all together.
pub fn of_copy(copies: usize, retired: usize) -> Duration {
    let of_each = retired as f64 / copies.max(1) as f64;
    let reads = COPY + WITH_RETIREMENT.mul_f64(of_each.min(1.0)) + RETIRED.mul_f64(of_each);
    reads.max(DELETION.mul_f64(of_each))
}

/// The place of what comes `now` into a row whose first free place is `free` and `takes` so much of it, and which place is free then. The
/// first ones go at once, as many as Azure's bucket holds (the generic cell rate algorithm: ITU-T I.371, "virtual scheduling").
pub fn place(
    free: Option<OffsetDateTime>,
    now: OffsetDateTime,
    takes: Duration,
) -> (OffsetDateTime, OffsetDateTime) {
    let free = free.map_or(now, |free| free.max(now));
    ((free - COPY * AT_ONCE as u32).max(now), free + takes)
}

/// How long a row is at most in which each of `siblings` `takes` so much, and its retirement is attempted once more.
pub fn longest_row(siblings: usize, takes: Duration) -> Duration {
    row(siblings, 1.0 / (takes + RETIREMENT).as_secs_f64())
}

fn row(siblings: usize, per_second: f64) -> Duration {
    match is_crowd(siblings) {
        true => Duration::from_secs_f64(siblings as f64 / per_second),
        false => Duration::ZERO,
    }
}

/// How many of `siblings` that are registered in a row go on at once, if each takes `time`.
pub fn going_on(siblings: usize, time: Duration) -> usize {
    siblings.min(AT_ONCE.max(time.div_duration_f64(COPY) as usize))
}

/// Whether a deletion that goes on since `asked` is to be asked for again; notes when it was. Deletions take minutes, and one
/// that Azure has lost goes on when it is asked for again (a DELETE may be repeated).
pub fn stalls(asked: &mut Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
    let stalls = asked.is_some_and(|asked| now - asked > STALLED_AFTER);
    if stalls || asked.is_none() {
        *asked = Some(now);
    }
    stalls
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
    wait.mul_f64(1.0 + JITTER * drawn(subject))
}

/// As [`spread`], and not longer by more than some seconds: for waits that were reckoned.
pub fn spread_little(wait: Duration, subject: &str) -> Duration {
    wait + wait.mul_f64(JITTER).min(MOST_JITTER).mul_f64(drawn(subject))
}

/// A number from 0 to 1, the same for the same subject.
fn drawn(subject: &str) -> f64 {
    let digest = Sha256::digest(subject);
    f64::from(u16::from_le_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
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
    fn work_with_a_rate_is_looked_at_when_it_should_be_over() {
        let time = Duration::from_secs(100);
        let wait = |done, left| {
            estimated(done, time, left, Bounds::seconds(5, 600)).map(|wait| wait.as_secs_f64().round() as u64)
        };
        assert_eq!(wait(50, 50), Some(102));
        assert_eq!(wait(1, 99), Some(600));
        assert_eq!(wait(100, 0), Some(5));
        assert_eq!(wait(0, 100), None);
    }

    #[test]
    fn the_looks_of_many_siblings_leave_half_of_azures_reads_to_others() {
        let wait = |siblings, reads| shared(Duration::from_secs(30), siblings, reads).as_secs();
        assert_eq!([wait(1, 1), wait(375, 1), wait(1000, 1), wait(1000, 2)], [30, 30, 80, 160]);
    }

    #[test]
    fn few_begin_at_once_and_many_in_a_row_that_azure_can_serve() {
        assert_eq!(slot(100, 0..100, "a"), Duration::ZERO);
        let slots: Vec<f64> = (0..7000).map(|n| slot(7000, 0..7000, &n.to_string()).as_secs_f64()).collect();
        let in_any_minute = (0..16).map(|minute| {
            let minute = f64::from(minute) * 60.0;
            slots.iter().filter(|slot| (minute..minute + 60.0).contains(slot)).count()
        });
        for count in in_any_minute {
            assert!((330..510).contains(&count), "{count} in a minute, of which Azure takes 600");
        }
        assert!(slots.iter().all(|slot| *slot <= 1000.0));
        let again = slot(7000, 0..7000, "a");
        assert_eq!(slot(7000, 0..7000, "a"), again, "a message that is sent again keeps its place");
        let last = (0..100).map(|n| slot(7000, 6300..7000, &n.to_string()).as_secs());
        assert!(last.into_iter().all(|seconds| (900..=1000).contains(&seconds)));
    }

    #[test]
    fn in_a_row_a_bucketful_goes_at_once_and_the_others_as_fast_as_azure_takes_them() {
        let mut free = None;
        let mut places = (0..800).map(|_| {
            let (place, then) = place(free, BEGUN, of_copy(800, 0));
            free = Some(then);
            (place - BEGUN).as_seconds_f64()
        });
        assert!(places.by_ref().take(101).all(|seconds| seconds == 0.0));
        let last = places.last().unwrap();
        assert!((84.0..86.0).contains(&last), "{last} s for 699 at 8.2 a second");
        let later = free.unwrap() + time::Duration::hours(1);
        assert_eq!(place(free, later, COPY).0, later, "a row that everybody has left is no row");
    }

    #[test]
    fn what_costs_more_reads_takes_more_of_a_row() {
        // Three reads for each, and after so many of 1,000 an image retires, which costs four more.
        for (retired, reads) in [(0, 3.0), (500, 5.0), (1000, 7.0)] {
            let takes = of_copy(1000, retired);
            let mut free = None;
            let mut last = BEGUN;
            for _ in 0..1000 {
                let (place, then) = place(free, BEGUN, takes);
                (free, last) = (Some(then), place);
            }
            let seconds = (last - BEGUN).as_seconds_f64();
            // The first ones are in the bucket.
            let reads = (1000.0 * reads - AT_ONCE as f64 * 3.0) / seconds;
            assert!((24.0..25.0).contains(&reads), "{reads} reads a second, of which Azure takes 25");
            assert!(longest_row(1000, takes).as_secs_f64() >= seconds);
        }
        let many = of_copy(1000, 20_000).as_secs_f64();
        assert!(20.0 / many <= 10.0, "{many} s for 20 deletions, of which Azure takes 10 a second");
    }

    #[test]
    fn of_many_that_begin_in_a_row_few_go_on_at_once() {
        let five_minutes = Duration::from_secs(300);
        assert_eq!([50, 1000, 25_000].map(|siblings| going_on(siblings, five_minutes)), [50, 1000, 2460]);
        assert_eq!(going_on(1000, Duration::from_secs(1)), 100);
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
    fn a_deletion_is_asked_for_again_after_a_quarter_of_an_hour() {
        let mut asked = None;
        let at = |minutes| BEGUN + time::Duration::minutes(minutes);
        assert_eq!(
            [0, 10, 16, 20, 32].map(|minute| stalls(&mut asked, at(minute))),
            [false, false, true, false, true]
        );
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
        let hour = Duration::from_secs(3600);
        assert!(["a", "b", "c"].iter().all(|subject| spread_little(hour, subject) <= hour + MOST_JITTER));
        assert_eq!(spread_little(wait, "a"), spread(wait, "a"), "short waits vary as ever");
    }
}
