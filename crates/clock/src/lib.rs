//! One clock for the product and its stand-ins.
//!
//! In Azure the factory reads the system's clock. On a laptop, where a run would take two hours, the simulator,
//! the Functions host and the handler are three processes that must agree on a clock that goes faster; in tests time is
//! tokio's and stands still until nothing is left to do. Everything that measures, waits or stamps asks a [`Clock`].

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use time::OffsetDateTime;

/// The environment variable that hands a sped-up clock to a child process; its value is a clock's `Display` form.
pub const CLOCK_VARIABLE: &str = "IMAGE_FACTORY_CLOCK";

/// Waits longer than this (in the clock's own time) are cut to it, so that adding them to "now" cannot overflow.
const LONGEST_WAIT: Duration = Duration::from_secs(400 * 24 * 3600);

/// A source of "now" and of waiting. Cheap to clone; all clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    System,
    Scaled {
        anchor: SystemTime,
        speed: f64,
    },
    Virtual {
        origin: OffsetDateTime,
        started: tokio::time::Instant,
    },
    Skewed {
        by: time::Duration,
        clock: Clock,
    },
    /// Shows so many milliseconds more than `clock`.
    Adjustable {
        offset: AtomicI64,
        clock: Clock,
    },
}

impl Clock {
    /// The system's clock, in UTC.
    pub fn system() -> Self {
        Self(Arc::new(Kind::System))
    }

    /// A clock that shows the system's time now and goes `speed` times as fast from here on.
    ///
    /// # Errors
    /// If `speed` is not a number above zero.
    pub fn scaled(speed: f64) -> Result<Self, BadClock> {
        Self::anchored(SystemTime::now(), speed)
    }

    fn anchored(anchor: SystemTime, speed: f64) -> Result<Self, BadClock> {
        if !(speed.is_finite() && speed > 0.0) {
            return Err(BadClock(format!("a clock's speed must be a number above 0, not {speed}")));
        }
        Ok(Self(Arc::new(Kind::Scaled { anchor, speed })))
    }

    /// A clock that shows `origin` now and follows tokio's time, which a test or a simulation may pause.
    /// Must be called inside a tokio runtime.
    pub fn virtual_from(origin: OffsetDateTime) -> Self {
        Self(Arc::new(Kind::Virtual { origin, started: tokio::time::Instant::now() }))
    }

    /// A clock that shows `by` more than this one (less, if `by` is negative) and waits alike: a machine whose clock is wrong.
    /// It cannot be handed to another process: its `Display` form is refused when it is parsed.
    pub fn skewed(&self, by: time::Duration) -> Self {
        Self(Arc::new(Kind::Skewed { by, clock: self.clone() }))
    }

    /// This clock, ready to be set by somebody who knows better ([`Clock::set`]).
    pub fn adjustable(&self) -> Self {
        Self(Arc::new(Kind::Adjustable { offset: AtomicI64::new(0), clock: self.clone() }))
    }

    /// Sets an adjustable clock, and all clones of it, to show `moment` now, if it is wrong by more than `tolerance`; answers
    /// by how much it was wrong then (positive: it was fast). Other clocks stay as they are.
    pub fn set(&self, moment: OffsetDateTime, tolerance: time::Duration) -> Option<time::Duration> {
        let Kind::Adjustable { offset, clock } = &*self.0 else {
            return None;
        };
        let wrong = self.now() - moment;
        if wrong.abs() <= tolerance {
            return None;
        }
        let by = (moment - clock.now()).whole_milliseconds();
        offset.store(i64::try_from(by).unwrap_or_default(), Ordering::Relaxed);
        Some(wrong)
    }

    /// By how much this clock shows more than it did before it was set ([`Clock::set`]); nothing of one that cannot be set.
    pub fn correction(&self) -> time::Duration {
        match &*self.0 {
            Kind::Adjustable { offset, clock } => {
                time::Duration::milliseconds(offset.load(Ordering::Relaxed)) + clock.correction()
            }
            Kind::Skewed { clock, .. } => clock.correction(),
            Kind::System | Kind::Scaled { .. } | Kind::Virtual { .. } => time::Duration::ZERO,
        }
    }

    /// The clock that [`CLOCK_VARIABLE`] describes; the system's clock where the variable is not set.
    ///
    /// # Errors
    /// If the variable is set and is no clock.
    pub fn from_environment() -> Result<Self, BadClock> {
        match std::env::var(CLOCK_VARIABLE) {
            Ok(text) => text.parse(),
            Err(_) => Ok(Self::system()),
        }
    }

    /// How much faster than the system's clock this one goes.
    pub fn speed(&self) -> f64 {
        match &*self.0 {
            Kind::Scaled { speed, .. } => *speed,
            Kind::Skewed { clock, .. } | Kind::Adjustable { clock, .. } => clock.speed(),
            Kind::System | Kind::Virtual { .. } => 1.0,
        }
    }

    /// The time that this clock shows, in UTC.
    pub fn now(&self) -> OffsetDateTime {
        match &*self.0 {
            Kind::System => OffsetDateTime::now_utc(),
            Kind::Scaled { anchor, speed } => {
                let real = SystemTime::now().duration_since(*anchor).unwrap_or_default();
                OffsetDateTime::from(*anchor) + real.mul_f64(*speed)
            }
            Kind::Virtual { origin, started } => *origin + started.elapsed(),
            Kind::Skewed { by, clock } => clock.now().saturating_add(*by),
            Kind::Adjustable { offset, clock } => {
                clock.now().saturating_add(time::Duration::milliseconds(offset.load(Ordering::Relaxed)))
            }
        }
    }

    /// Waits for `duration` of this clock's time.
    pub async fn sleep(&self, duration: Duration) {
        let duration = duration.min(LONGEST_WAIT);
        tokio::time::sleep(duration.div_f64(self.speed())).await;
    }

    /// Waits until this clock shows `moment`; returns at once if it already does.
    pub async fn sleep_until(&self, moment: OffsetDateTime) {
        // A sped-up or paused timer may fire up to a tokio tick (1 ms) early: go on until the moment is really there.
        loop {
            let left = moment - self.now();
            if !left.is_positive() {
                return;
            }
            self.sleep(left.unsigned_abs().max(Duration::from_micros(1))).await;
        }
    }
}

impl fmt::Display for Clock {
    /// `system`, or `scaled:<anchor, milliseconds since 1970>:<speed>`. Virtual and skewed clocks cannot leave their process.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::System => f.write_str("system"),
            Kind::Scaled { anchor, speed } => {
                let since = anchor.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
                write!(f, "scaled:{since}:{speed}")
            }
            Kind::Virtual { .. } => f.write_str("virtual"),
            Kind::Skewed { by, clock } => write!(f, "skewed by {by}: {clock}"),
            Kind::Adjustable { clock, .. } => write!(f, "adjustable: {clock}"),
        }
    }
}

impl FromStr for Clock {
    type Err = BadClock;

    fn from_str(text: &str) -> Result<Self, BadClock> {
        if text == "system" {
            return Ok(Self::system());
        }
        let bad = || {
            BadClock(format!("'{text}' is no clock: expected 'system' or 'scaled:<ms since 1970>:<speed>'"))
        };
        let rest = text.strip_prefix("scaled:").ok_or_else(bad)?;
        let (since, speed) = rest.split_once(':').ok_or_else(bad)?;
        let since = Duration::from_millis(since.parse().map_err(|_| bad())?);
        Self::anchored(UNIX_EPOCH + since, speed.parse().map_err(|_| bad())?)
    }
}

/// A clock's description that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadClock(String);

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[tokio::test(start_paused = true)]
    async fn a_virtual_clock_jumps_over_waits() {
        let clock = Clock::virtual_from(datetime!(2026-11-22 13:00 UTC));
        clock.sleep(Duration::from_secs(7200)).await;
        assert_eq!(clock.now(), datetime!(2026-11-22 15:00 UTC));
        clock.sleep_until(datetime!(2026-11-22 15:00:00.0001 UTC)).await;
        assert!(clock.now() >= datetime!(2026-11-22 15:00:00.0001 UTC));
    }

    #[tokio::test(start_paused = true)]
    async fn a_skewed_clock_shows_another_time_and_waits_alike() {
        let clock = Clock::virtual_from(datetime!(2026-11-22 13:00 UTC));
        let fast = clock.skewed(time::Duration::minutes(7));
        let slow = fast.skewed(time::Duration::minutes(-17));
        assert_eq!(fast.now(), datetime!(2026-11-22 13:07 UTC));
        assert_eq!(slow.now(), datetime!(2026-11-22 12:50 UTC));
        fast.sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), datetime!(2026-11-22 13:01 UTC));
        fast.sleep_until(datetime!(2026-11-22 13:10 UTC)).await;
        assert_eq!(clock.now(), datetime!(2026-11-22 13:03 UTC));
        slow.sleep_until(datetime!(2026-11-22 12:54 UTC)).await;
        assert_eq!(clock.now(), datetime!(2026-11-22 13:04 UTC));
        let sped_up = Clock::scaled(300.0).unwrap().skewed(time::Duration::HOUR);
        assert_eq!(sped_up.speed(), 300.0);
        assert!(sped_up.to_string().parse::<Clock>().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_adjustable_clock_is_set_only_where_it_is_wrong() {
        let right = Clock::virtual_from(datetime!(2026-11-22 13:00 UTC));
        let clock = right.skewed(time::Duration::minutes(7)).adjustable();
        let (clone, tolerance) = (clock.clone(), time::Duration::seconds(30));
        assert_eq!(clock.set(right.now(), tolerance), Some(time::Duration::minutes(7)));
        assert_eq!(clone.now(), right.now());
        assert_eq!(clone.correction(), time::Duration::minutes(-7));
        assert_eq!(clock.set(right.now() + tolerance, tolerance), None);
        clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(clock.now(), right.now());
        assert_eq!(right.set(clock.now() - time::Duration::HOUR, tolerance), None, "others cannot be set");
    }

    #[test]
    fn a_scaled_clock_survives_the_way_to_another_process() {
        let clock = Clock::scaled(300.0).unwrap();
        let other: Clock = clock.to_string().parse().unwrap();
        // Two reads, taken a moment apart, at 300 times the speed; the anchor is cut to milliseconds.
        assert!((other.now() - clock.now()).abs() < time::Duration::minutes(2));
        assert_eq!(other.speed(), 300.0);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "fast", "scaled:", "scaled:1:0", "scaled:1:-3", "scaled:x:2", "scaled:1:NaN"] {
            assert!(text.parse::<Clock>().is_err(), "{text}");
        }
    }
}
