//! What operations suffer.

use std::time::Duration;

use time::OffsetDateTime;

use super::{Chance, Draw};
use crate::World;

/// A slow operation takes so many times as long.
const SLOWNESS: (f64, f64) = (2.0, 6.0);
/// For so many seconds what was just made or finished is not seen.
const INVISIBLE_SECONDS: (f64, f64) = (5.0, 180.0);
/// An operation's URL is lost at one of its first polls.
const FIRST_POLLS: usize = 3;

/// How long an operation takes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lasts {
    For(Duration),
    /// With more numbers, for where it sticks.
    Forever(Draw),
}

/// What was drawn for an operation, and is written down only if nothing worse befalls it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fortune {
    stuck: Option<Draw>,
    slow: Option<Draw>,
}

/// Whether an operation's URL is found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Missing {
    /// Nobody has asked yet.
    #[default]
    Undrawn,
    Never,
    /// After so many polls that find it.
    After {
        polls: usize,
        forever: bool,
    },
    Always,
}

/// What was decided about a lab VM before it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quota {
    /// Its next try finds cores.
    Granted,
    /// Its next try finds none: at once, or while it is made.
    Refused { at_once: bool },
}

impl World {
    /// How long an operation on `subject` lasts that would take `takes`.
    pub(crate) fn lasts(&mut self, subject: &str, takes: Duration) -> Lasts {
        let fortune = self.fortune(subject);
        self.met(subject, fortune, takes)
    }

    /// Draws what may befall an operation on `subject`.
    pub(crate) fn fortune(&mut self, subject: &str) -> Fortune {
        Fortune {
            stuck: self.draw(Chance::StuckOperation, subject),
            slow: self.draw(Chance::SlowOperation, subject),
        }
    }

    /// Lets it befall an operation that would take `takes`.
    pub(crate) fn met(&mut self, subject: &str, fortune: Fortune, takes: Duration) -> Lasts {
        if let Some(draw) = fortune.stuck {
            self.write_down(Chance::StuckOperation, subject);
            return Lasts::Forever(draw);
        }
        let Some(mut draw) = fortune.slow else {
            return Lasts::For(takes);
        };
        self.write_down(Chance::SlowOperation, subject);
        Lasts::For(takes.mul_f64(draw.between(SLOWNESS.0, SLOWNESS.1)))
    }

    /// The same for what may be slow and never sticks.
    pub(crate) fn slowed(&mut self, subject: &str, takes: Duration) -> Duration {
        match self.strike(Chance::SlowOperation, subject) {
            Some(mut draw) => takes.mul_f64(draw.between(SLOWNESS.0, SLOWNESS.1)),
            None => takes,
        }
    }

    /// Remembers that the operation of this name never ends by itself.
    pub(crate) fn stick(&mut self, operation: &str) {
        self.draws.stuck.insert(operation.to_owned());
    }

    /// Whether the operation of this name is stuck; it is taken to be dealt with.
    pub(crate) fn unstick(&mut self, operation: &str) -> bool {
        self.draws.stuck.remove(operation)
    }

    /// Until when `subject`, just made or finished, is not seen; `None` if it is.
    pub(crate) fn unseen_until(&mut self, subject: &str) -> Option<OffsetDateTime> {
        let mut draw = self.strike(Chance::Invisible, subject)?;
        Some(self.now() + draw.seconds(INVISIBLE_SECONDS.0, INVISIBLE_SECONDS.1))
    }

    /// One poll of an operation's URL: whether it answers 404, and what the next one finds.
    pub(crate) fn poll(&mut self, missing: Missing, url: &str) -> (bool, Missing) {
        let missing = match missing {
            Missing::Undrawn if !self.chances.takes(Chance::MissingOperation) => return (false, missing),
            Missing::Undrawn => match self.draw(Chance::MissingOperation, url) {
                Some(mut draw) => Missing::After { polls: draw.choice(FIRST_POLLS), forever: draw.coin() },
                None => Missing::Never,
            },
            known => known,
        };
        match missing {
            Missing::After { polls: 0, forever } => {
                self.write_down(Chance::MissingOperation, url);
                (true, if forever { Missing::Always } else { Missing::Never })
            }
            Missing::After { polls, forever } => (false, Missing::After { polls: polls - 1, forever }),
            Missing::Always => (true, missing),
            Missing::Undrawn | Missing::Never => (false, missing),
        }
    }

    /// Decides in pre-flight whether a lab VM will find cores; `true` if it is refused there.
    pub(crate) fn refused_in_preflight(&mut self, machine: &str) -> bool {
        let key = machine.to_ascii_lowercase();
        if !self.chances.takes(Chance::QuotaRefused) || self.draws.quota.contains_key(&key) {
            return false;
        }
        let refused = self.strike(Chance::QuotaRefused, machine).map(|mut draw| draw.coin());
        let next = match refused {
            Some(false) => Quota::Refused { at_once: false },
            Some(true) | None => Quota::Granted,
        };
        self.draws.quota.insert(key, next);
        refused == Some(true)
    }

    /// Whether a lab VM that is about to be made finds cores. After a refusal the next try does.
    pub(crate) fn quota_of(&mut self, machine: &str) -> Quota {
        let key = machine.to_ascii_lowercase();
        let decided = self.draws.quota.remove(&key);
        let quota = decided.unwrap_or_else(|| match self.strike(Chance::QuotaRefused, machine) {
            Some(mut draw) => Quota::Refused { at_once: draw.coin() },
            None => Quota::Granted,
        });
        if quota != Quota::Granted {
            self.draws.quota.insert(key, Quota::Granted);
        }
        quota
    }
}

/// Whether something is seen at `now` that is hidden `until` then.
pub(crate) fn is_seen(until: Option<OffsetDateTime>, now: OffsetDateTime) -> bool {
    until.is_none_or(|until| now >= until)
}
