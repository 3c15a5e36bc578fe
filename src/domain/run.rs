//! Runs: what identifies one, and why it started.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use super::CommitId;

/// Names derived from a run's id must fit Azure's limits, of which a deployment's 64 characters are the tightest.
pub(crate) const LONGEST_RUN_ID: usize = 40;
/// How much of a commit's hash a run's id shows: no repository has two commits that share 64 bits by accident.
const COMMIT_DIGITS: usize = 16;
/// Fewer would not be a commit's hash; Git itself shortens to no fewer than 7.
const LEAST_COMMIT_DIGITS: usize = 7;

/// The id of a run, derived from its trigger, so that the same trigger twice is the same run.
///
/// 1 to 40 lower-case letters, digits and hyphens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

/// Why a text is no id of a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no id of a run: it has 1 to 40 lower-case letters, digits and '-'")]
pub struct BadRunId(String);

impl RunId {
    /// Reads an id.
    ///
    /// # Errors
    /// If it has other than 1 to 40 characters, or others than lower-case letters, digits and hyphens.
    pub fn parse(text: &str) -> Result<Self, BadRunId> {
        let fits = (1..=LONGEST_RUN_ID).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(text.to_owned())) } else { Err(BadRunId(text.chars().take(80).collect())) }
    }

    /// Stands for the run of what belongs to none.
    pub fn none() -> Self {
        Self("none".to_owned())
    }

    /// The run that a person starts at `now`; `random` tells two of one second apart.
    ///
    /// # Errors
    /// If `random` has characters that an id must not have, or is too long.
    pub fn manual(now: OffsetDateTime, random: &str) -> Result<Self, BadRunId> {
        Self::parse(&format!("manual-{}-{random}", stamp(now)))
    }

    /// The run of a timer's tick.
    pub fn timer(tick: OffsetDateTime) -> Self {
        Self(format!("timer-{}", stamp(tick)))
    }

    /// The run of a commit, given by its hash.
    ///
    /// # Errors
    /// If `sha` has fewer than 7 characters or others than hexadecimal digits.
    pub fn commit(sha: &str) -> Result<Self, BadRunId> {
        if sha.len() < LEAST_COMMIT_DIGITS || !sha.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(BadRunId(sha.chars().take(80).collect()));
        }
        let digits = &sha[..sha.len().min(COMMIT_DIGITS)];
        Ok(Self(format!("commit-{}", digits.to_ascii_lowercase())))
    }

    /// The run of a commit: the same commit twice is the same run.
    pub fn of(commit: &CommitId) -> Self {
        Self(format!("commit-{}", &commit.as_str()[..COMMIT_DIGITS]))
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `20261122t170500`, in UTC.
fn stamp(moment: OffsetDateTime) -> String {
    // Years beyond 9999 do not occur: the format would write them with a sign, which an id must not have.
    let moment = moment.to_offset(UtcOffset::UTC);
    let format = format_description!("[year repr:last_two][month][day]t[hour][minute][second]");
    let century = moment.year().rem_euclid(10_000) / 100;
    moment.format(&format).map_or_else(|_| "0".to_owned(), |rest| format!("{century:02}{rest}"))
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = BadRunId;

    fn from_str(text: &str) -> Result<Self, BadRunId> {
        Self::parse(text)
    }
}

impl TryFrom<String> for RunId {
    type Error = BadRunId;

    fn try_from(text: String) -> Result<Self, BadRunId> {
        Self::parse(&text)
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

/// Why a run started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RunReason {
    /// A person asked for it.
    Manual,
    /// The timer ticked.
    Schedule,
    /// The configuration changed in source control.
    Commit,
}

impl fmt::Display for RunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manual => "manual",
            Self::Schedule => "schedule",
            Self::Commit => "commit",
        })
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_id_comes_from_its_trigger() {
        let moment = datetime!(2026-11-22 18:05:09 +1);
        assert_eq!(RunId::manual(moment, "k3x").unwrap().as_str(), "manual-20261122t170509-k3x");
        assert_eq!(RunId::timer(moment).as_str(), "timer-20261122t170509");
        let sha = "ABCDEF0123456789abcdef0123456789abcdef01";
        assert_eq!(RunId::commit(sha).unwrap().as_str(), "commit-abcdef0123456789");
        assert_eq!(RunId::commit(sha), RunId::commit(&sha.to_lowercase()));
        assert_eq!(RunId::commit(sha).unwrap(), RunId::of(&CommitId::parse(sha).unwrap()));
    }

    #[test]
    fn every_moment_makes_an_id() {
        for moment in [
            datetime!(0000-01-01 0:00 UTC),
            datetime!(9999-12-31 23:59:59 UTC),
            datetime!(-0044-03-15 12:00 UTC),
        ] {
            let id = RunId::timer(moment);
            assert_eq!(RunId::parse(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "Run", "a_b", "a b", "é", &"x".repeat(41)] {
            assert!(RunId::parse(text).is_err(), "{text}");
        }
        assert!(RunId::commit("abc").is_err());
        assert!(RunId::commit("not a commit").is_err());
        assert!(RunId::manual(OffsetDateTime::UNIX_EPOCH, "A B").is_err());
        assert!(serde_json::from_str::<RunId>("\"Run\"").is_err());
    }

    #[test]
    fn reasons_are_words() {
        assert_eq!(serde_json::to_string(&RunReason::Schedule).unwrap(), "\"schedule\"");
        assert_eq!(RunReason::Commit.to_string(), "commit");
    }
}
