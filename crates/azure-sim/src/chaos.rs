//! Faults by chance: how often each kind strikes, drawn from a seed.
//!
//! A draw depends on the seed, the kind, its subject and how often that kind was drawn for that subject before; never on time
//! or on other kinds. So a run can be repeated, and a kind that is turned off leaves the draws of the others as they were.
//!
//! | room | what |
//! |---|---|
//! | `draw` | the numbers behind it |
//! | `answers` | what the HTTP interfaces answer instead |
//! | `operations` | what operations suffer: longer, stuck, out of sight |
//! | `losses` | what somebody takes away |

mod answers;
mod draw;
mod losses;
mod operations;

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::World;

pub(crate) use answers::disturb;
pub(crate) use draw::{Draw, Draws};
pub use losses::Loss;
pub(crate) use losses::{apply, consider_lab, consider_resource, consider_vhd};
pub(crate) use operations::{Lasts, Missing, Quota, is_seen};

/// A kind of fault that strikes by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chance {
    /// 429 (Blob Storage also 503 `ServerBusy`) with `Retry-After`, per request.
    Throttled,
    /// The same without `Retry-After`.
    ThrottledSilently,
    /// 500, 502, 503 or 504 in one of Azure's envelopes, or HTML of a gateway; the request has no effect.
    ServerError,
    /// The connection breaks before the request has an effect.
    ResetBefore,
    /// The request has its effect, but the answer is lost.
    ResetAfter,
    /// Somebody writes the same bytes just before a write with `If-Match`, which is then answered 412.
    EtagConflict,
    /// An operation takes 2 to 6 times as long.
    SlowOperation,
    /// An operation never ends, unless it is cancelled, aborted or asked for again, or its resource is deleted.
    StuckOperation,
    /// An operation's URL answers 404, once or from then on, while the operation goes on.
    MissingOperation,
    /// What was just made or finished is not found and not listed for 5 to 180 s; PUT and DELETE know it.
    Invisible,
    /// A lab VM is refused for want of cores; the next try is granted.
    QuotaRefused,
    /// The SAS through which a copy reads its source is refused part-way.
    SasExpired,
    /// A copy fails part-way.
    CopyFails,
    /// An artifact fails.
    ArtifactFails,
    /// An artifact never ends.
    ArtifactNeverEnds,
    /// Somebody deletes a lab VM with its disk within 3 hours after it was asked for.
    VmGone,
    /// Somebody deletes a VHD, with its companion or without, within 3 hours after its copy succeeded.
    VhdGone,
    /// Somebody deletes a custom image within 3 hours after it was asked for.
    ImageGone,
    /// Somebody deletes a lab within 6 hours after it was first asked for, with its storage account or without.
    LabGone,
}

impl Chance {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::Throttled,
        Self::ThrottledSilently,
        Self::ServerError,
        Self::ResetBefore,
        Self::ResetAfter,
        Self::EtagConflict,
        Self::SlowOperation,
        Self::StuckOperation,
        Self::MissingOperation,
        Self::Invisible,
        Self::QuotaRefused,
        Self::SasExpired,
        Self::CopyFails,
        Self::ArtifactFails,
        Self::ArtifactNeverEnds,
        Self::VmGone,
        Self::VhdGone,
        Self::ImageGone,
        Self::LabGone,
    ];

    /// Its name, as in JSON and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::ThrottledSilently => "throttled-silently",
            Self::ServerError => "server-error",
            Self::ResetBefore => "reset-before",
            Self::ResetAfter => "reset-after",
            Self::EtagConflict => "etag-conflict",
            Self::SlowOperation => "slow-operation",
            Self::StuckOperation => "stuck-operation",
            Self::MissingOperation => "missing-operation",
            Self::Invisible => "invisible",
            Self::QuotaRefused => "quota-refused",
            Self::SasExpired => "sas-expired",
            Self::CopyFails => "copy-fails",
            Self::ArtifactFails => "artifact-fails",
            Self::ArtifactNeverEnds => "artifact-never-ends",
            Self::VmGone => "vm-gone",
            Self::VhdGone => "vhd-gone",
            Self::ImageGone => "image-gone",
            Self::LabGone => "lab-gone",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chance| chance.name() == name)
    }

    /// A rate, 0 to 1, at which a run of a few images suffers some strikes and often comes through: per request, per operation,
    /// or per resource. No such figures are published; real Azure is far kinder.
    pub fn usual_rate(self) -> f64 {
        match self {
            Self::Throttled | Self::ServerError => 0.02,
            Self::ThrottledSilently => 0.01,
            Self::ResetBefore | Self::ResetAfter => 0.015,
            Self::EtagConflict | Self::ArtifactFails => 0.03,
            Self::SlowOperation => 0.1,
            Self::MissingOperation
            | Self::Invisible
            | Self::QuotaRefused
            | Self::SasExpired
            | Self::CopyFails
            // Most of these are gone before somebody comes for them.
            | Self::VmGone
            | Self::VhdGone
            | Self::ImageGone => 0.05,
            Self::StuckOperation | Self::ArtifactNeverEnds | Self::LabGone => 0.02,
        }
    }
}

/// The chances that are taken, and from which seed.
#[derive(Clone, Debug, Default)]
pub struct Chances {
    /// From which everything is drawn.
    pub seed: u64,
    /// How often each kind strikes, 0 (also where absent) to 1.
    pub rates: BTreeMap<Chance, f64>,
    /// Nothing strikes after this; `None`: always.
    pub until: Option<OffsetDateTime>,
}

impl Chances {
    /// Whether this kind can strike at all.
    pub(crate) fn takes(&self, chance: Chance) -> bool {
        self.rates.get(&chance).is_some_and(|rate| *rate > 0.0)
    }

    fn is_over(&self, now: OffsetDateTime) -> bool {
        self.until.is_some_and(|until| now > until)
    }
}

/// One that struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// When.
    pub at: OffsetDateTime,
    /// Which kind.
    pub chance: Chance,
    /// A resource id, a blob's URL without query, or `METHOD url-without-query`.
    pub subject: String,
}

impl World {
    /// Draws whether `chance` strikes `subject` (case ignored); what shall be known of it is drawn from the answer.
    pub(crate) fn draw(&mut self, chance: Chance, subject: &str) -> Option<Draw> {
        let rate = self.chances.rates.get(&chance).copied().filter(|rate| *rate > 0.0)?;
        if self.chances.is_over(self.now()) {
            return None;
        }
        let mut draw = self.draws.next(self.chances.seed, chance, subject);
        (draw.fraction() < rate).then_some(draw)
    }

    /// The same, written down if it strikes.
    pub(crate) fn strike(&mut self, chance: Chance, subject: &str) -> Option<Draw> {
        let draw = self.draw(chance, subject)?;
        self.write_down(chance, subject);
        Some(draw)
    }

    /// Writes down that `chance` struck.
    pub(crate) fn write_down(&mut self, chance: Chance, subject: &str) {
        let at = self.now();
        self.struck.push(Struck { at, chance, subject: subject.to_owned() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_that_leads_back_to_it_also_in_json() {
        for chance in Chance::ALL {
            assert_eq!(Chance::parse(chance.name()), Some(chance));
            assert_eq!(serde_json::to_value(chance).unwrap(), chance.name());
            assert!((0.0..=0.1).contains(&chance.usual_rate()) && chance.usual_rate() > 0.0);
        }
        let names: std::collections::BTreeSet<&str> = Chance::ALL.into_iter().map(Chance::name).collect();
        assert_eq!(names.len(), Chance::ALL.len());
        assert_eq!(Chance::parse("Throttled"), None);
    }
}
