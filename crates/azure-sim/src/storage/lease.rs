//! Leases of blobs and containers (Microsoft, "Lease Blob": the table of outcomes).

use std::time::Duration;

use time::OffsetDateTime;

use super::error::Error;

/// A fixed lease lasts 15 to 60 seconds.
const FIXED: std::ops::RangeInclusive<i64> = 15..=60;
/// The longest break period, in seconds.
const LONGEST_BREAK: u64 = 60;

/// The lease of a blob or a container.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease(Option<Held>);

#[derive(Clone, Debug)]
struct Held {
    id: String,
    /// `None`: infinite.
    duration: Option<Duration>,
    ends: Option<OffsetDateTime>,
    /// When a break takes effect.
    breaks: Option<OffsetDateTime>,
}

/// `x-ms-lease-state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Available,
    Leased,
    Expired,
    Breaking,
    Broken,
}

/// What a lease guards; only the names of errors differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guarded {
    Blob,
    Container,
}

/// A request of `comp=lease`.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Acquire { seconds: i64, proposed: String },
    Renew { id: String },
    Change { id: String, proposed: String },
    Release { id: String },
    Break { period: Option<u64> },
}

/// What a lease operation answers with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 201 with the id.
    Acquired(String),
    /// 200 with the id.
    Held(String),
    /// 200.
    Released,
    /// 202 with the seconds until it is broken.
    Breaking(u64),
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Breaking => "breaking",
            Self::Broken => "broken",
        }
    }

    /// Whether others are kept out.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Leased | Self::Breaking)
    }

    /// `x-ms-lease-status`.
    pub fn status(self) -> &'static str {
        if self.is_active() { "locked" } else { "unlocked" }
    }
}

fn conflict(code: &'static str, message: &str) -> Error {
    Error::new(409, code, message)
}

fn mismatch() -> Error {
    let message = "The lease ID specified did not match the lease ID for the resource with the specified lease operation.";
    conflict("LeaseIdMismatchWithLeaseOperation", message)
}

fn not_present() -> Error {
    conflict("LeaseNotPresentWithLeaseOperation", "There is currently no lease on the resource.")
}

impl Lease {
    pub fn state(&self, now: OffsetDateTime) -> State {
        match &self.0 {
            None => State::Available,
            Some(Held { breaks: Some(at), .. }) if now < *at => State::Breaking,
            Some(Held { breaks: Some(_), .. }) => State::Broken,
            Some(Held { ends: Some(at), .. }) if now >= *at => State::Expired,
            Some(_) => State::Leased,
        }
    }

    /// `x-ms-lease-duration` of a lease in force.
    pub fn duration(&self, now: OffsetDateTime) -> Option<&'static str> {
        let held = self.0.as_ref().filter(|_| self.state(now) == State::Leased)?;
        Some(if held.duration.is_some() { "fixed" } else { "infinite" })
    }

    fn is_held_by(&self, id: &str) -> bool {
        self.0.as_ref().is_some_and(|held| held.id.eq_ignore_ascii_case(id))
    }

    /// Acquires, renews, changes, releases or breaks.
    pub fn apply(&mut self, action: Action, now: OffsetDateTime) -> Result<Outcome, Error> {
        let state = self.state(now);
        match action {
            Action::Acquire { seconds, proposed } => self.acquire(seconds, proposed, state, now),
            Action::Renew { id } => {
                if !self.is_held_by(&id) {
                    return Err(mismatch());
                }
                if matches!(state, State::Breaking | State::Broken) {
                    let message = "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.";
                    return Err(conflict("LeaseIsBrokenAndCannotBeRenewed", message));
                }
                if let Some(held) = &mut self.0 {
                    held.ends = held.duration.map(|duration| now + duration);
                }
                Ok(Outcome::Held(id))
            }
            Action::Change { id, proposed } => self.change(&id, proposed, state),
            Action::Release { id } => {
                if !self.is_held_by(&id) {
                    return Err(mismatch());
                }
                self.0 = None;
                Ok(Outcome::Released)
            }
            Action::Break { period } => self.break_in(period, state, now),
        }
    }

    fn acquire(
        &mut self,
        seconds: i64,
        id: String,
        state: State,
        now: OffsetDateTime,
    ) -> Result<Outcome, Error> {
        if seconds != -1 && !FIXED.contains(&seconds) {
            return Err(Error::invalid_header("x-ms-lease-duration", &seconds.to_string()));
        }
        match state {
            State::Breaking if self.is_held_by(&id) => {
                let message = "The lease ID matched, but the lease is currently in breaking state and cannot be acquired \
                               until it is broken.";
                return Err(conflict("LeaseIsBreakingAndCannotBeAcquired", message));
            }
            State::Leased if self.is_held_by(&id) => {}
            State::Leased | State::Breaking => {
                return Err(conflict("LeaseAlreadyPresent", "There is already a lease present."));
            }
            State::Available | State::Expired | State::Broken => {}
        }
        let duration = u64::try_from(seconds).ok().map(Duration::from_secs);
        self.0 = Some(Held {
            id: id.clone(),
            duration,
            ends: duration.map(|duration| now + duration),
            breaks: None,
        });
        Ok(Outcome::Acquired(id))
    }

    fn change(&mut self, id: &str, proposed: String, state: State) -> Result<Outcome, Error> {
        // Changing to the id that it has already is a repetition and succeeds.
        let is_ours = self.is_held_by(id) || self.is_held_by(&proposed);
        match state {
            State::Available | State::Expired | State::Broken => Err(not_present()),
            _ if !is_ours => Err(mismatch()),
            State::Breaking => {
                let message = "The lease ID matched, but the lease is currently in breaking state and cannot be changed.";
                Err(conflict("LeaseIsBreakingAndCannotBeChanged", message))
            }
            State::Leased => {
                if let Some(held) = &mut self.0 {
                    held.id.clone_from(&proposed);
                }
                Ok(Outcome::Held(proposed))
            }
        }
    }

    fn break_in(&mut self, period: Option<u64>, state: State, now: OffsetDateTime) -> Result<Outcome, Error> {
        if let Some(period) = period.filter(|period| *period > LONGEST_BREAK) {
            return Err(Error::invalid_header("x-ms-lease-break-period", &period.to_string()));
        }
        let Some(held) = &mut self.0 else {
            return Err(not_present());
        };
        let left = |at: OffsetDateTime| (at - now).max(time::Duration::ZERO).unsigned_abs();
        let rest = match state {
            State::Breaking => held.breaks.map(left),
            State::Leased => held.ends.map(left),
            State::Available | State::Expired | State::Broken => Some(Duration::ZERO),
        };
        let asked = period.map(Duration::from_secs);
        // A break can shorten what is left, never lengthen it. Without a period an infinite lease breaks at once.
        let wait = match (rest, asked) {
            (Some(rest), Some(asked)) => rest.min(asked),
            (rest, asked) => rest.or(asked).unwrap_or_default(),
        };
        held.breaks = Some(now + wait);
        Ok(Outcome::Breaking(wait.as_secs_f64().ceil() as u64))
    }

    /// Whether a request with this `x-ms-lease-id` may read.
    pub fn check_read(&self, id: Option<&str>, guarded: Guarded, now: OffsetDateTime) -> Result<(), Error> {
        let Some(id) = id else { return Ok(()) };
        let of = |blob, container| if guarded == Guarded::Blob { blob } else { container };
        match self.state(now) {
            State::Available => {
                let code = of("LeaseNotPresentWithBlobOperation", "LeaseNotPresentWithContainerOperation");
                Err(Error::new(412, code, "There is currently no lease on the resource."))
            }
            State::Expired | State::Broken => {
                let message = "A lease ID was specified, but the lease for the resource has expired.";
                Err(Error::new(412, "LeaseLost", message))
            }
            _ if self.is_held_by(id) => Ok(()),
            _ => {
                let code = of("LeaseIdMismatchWithBlobOperation", "LeaseIdMismatchWithContainerOperation");
                let message = "The lease ID specified did not match the lease ID for the resource.";
                Err(Error::new(412, code, message))
            }
        }
    }

    /// Whether a request with this `x-ms-lease-id` may write or delete.
    pub fn check_write(&self, id: Option<&str>, guarded: Guarded, now: OffsetDateTime) -> Result<(), Error> {
        if id.is_none() && self.state(now).is_active() {
            let message =
                "There is currently a lease on the resource and no lease ID was specified in the request.";
            return Err(Error::new(412, "LeaseIdMissing", message));
        }
        self.check_read(id, guarded, now)
    }

    /// A write went through: a lease that ran out can no longer be renewed.
    pub fn written(&mut self, now: OffsetDateTime) {
        if matches!(self.state(now), State::Expired | State::Broken) {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use time::{ext::NumericalDuration as _, macros::datetime};

    use super::*;

    fn acquire(lease: &mut Lease, id: &str, seconds: i64, now: OffsetDateTime) -> Result<Outcome, Error> {
        let proposed = id.to_owned();
        lease.apply(Action::Acquire { seconds, proposed }, now)
    }

    #[test]
    fn a_fixed_lease_keeps_others_out_until_it_ends() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let mut lease = Lease::default();
        acquire(&mut lease, "a", 15, now).unwrap();
        assert_eq!(acquire(&mut lease, "b", 15, now).unwrap_err().code, "LeaseAlreadyPresent");
        let write =
            |lease: &Lease, id, now| lease.check_write(id, Guarded::Blob, now).map_err(|error| error.code);
        assert_eq!(write(&lease, None, now), Err("LeaseIdMissing"));
        assert_eq!(write(&lease, Some("b"), now), Err("LeaseIdMismatchWithBlobOperation"));
        assert_eq!(write(&lease, Some("A"), now), Ok(()));
        let later = now + 15.seconds();
        assert_eq!((lease.state(later), write(&lease, None, later)), (State::Expired, Ok(())));
        assert_eq!(write(&lease, Some("a"), later), Err("LeaseLost"));
        lease.apply(Action::Renew { id: "a".into() }, later).unwrap();
        assert_eq!(lease.state(later), State::Leased);
    }

    #[test]
    fn a_break_shortens_and_never_lengthens() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let mut lease = Lease::default();
        assert!(lease.apply(Action::Break { period: None }, now).is_err());
        acquire(&mut lease, "a", -1, now).unwrap();
        let mut break_in = |period, now| lease.apply(Action::Break { period }, now).unwrap();
        assert_eq!(break_in(Some(60), now), Outcome::Breaking(60));
        assert_eq!(break_in(Some(10), now + 1.seconds()), Outcome::Breaking(10));
        assert_eq!(break_in(Some(60), now + 2.seconds()), Outcome::Breaking(9));
        let renewed = lease.apply(Action::Renew { id: "a".into() }, now + 2.seconds());
        assert_eq!(renewed.unwrap_err().code, "LeaseIsBrokenAndCannotBeRenewed");
        assert_eq!(lease.state(now + 11.seconds()), State::Broken);
        acquire(&mut lease, "b", 30, now + 11.seconds()).unwrap();
    }

    #[test]
    fn only_15_to_60_seconds_or_no_end() {
        for seconds in [0, 14, 61, -2] {
            let error = acquire(&mut Lease::default(), "a", seconds, OffsetDateTime::UNIX_EPOCH).unwrap_err();
            assert_eq!(error.code, "InvalidHeaderValue");
        }
    }
}
