//! What a run does about each golden image, and why: from what it is made of, what stands, and what other runs do.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{BaseImage, ImageName, InputChange, Inputs, InputsHash, OsType, RunId};

#[cfg(test)]
mod tests;

/// The newest captured image of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedImage {
    /// Its name, the same in every lab.
    pub image_name: ImageName,
    /// The run that made it.
    pub run: RunId,
    /// When that run started: the image's age counts from here.
    pub started_at: OffsetDateTime,
    /// What it was made from; empty if an older version of the factory made it.
    pub inputs: Inputs,
}

/// A build of an earlier run that goes on and is not captured yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenBuild {
    /// The run.
    pub run: RunId,
    /// When it started.
    pub started_at: OffsetDateTime,
    /// The image that it will be.
    pub image_name: ImageName,
    /// What it is made from, as far as it is known.
    pub hash: Option<InputsHash>,
}

/// What is done about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// It is built anew.
    Build,
    /// An earlier run is building the same: its image is taken once it is captured.
    Await,
    /// The newest captured image is still right.
    Keep,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Build => "build",
            Self::Await => "await",
            Self::Keep => "skip",
        })
    }
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Reason {
    /// Nothing was captured of it.
    NoImage,
    /// It is not made from the same any more.
    Changed {
        /// What is other.
        changes: Vec<InputChange>,
    },
    /// Nobody knows what the newest image was made from: an older version of the factory made it.
    UnknownInputs,
    /// The newest image is older than `rebuildAfter`.
    TooOld {
        /// How old, in whole days.
        days: i64,
        /// The most that the settings allow, in whole days.
        most: i64,
    },
    /// Whoever started the run wants it.
    Forced,
    /// What it would be made from cannot be told; the build will say why.
    Unresolved {
        /// What Azure or the definition said.
        message: String,
    },
    /// An earlier run is building the same.
    BuiltBy {
        /// That run.
        run: RunId,
    },
    /// It is made from the same as the newest image.
    Unchanged {
        /// The run that made that image.
        run: RunId,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoImage => f.write_str("there is no image of it yet"),
            Self::Changed { changes } => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                f.write_str(&changes.join("; "))
            }
            Self::UnknownInputs => f.write_str("it is not known what the newest image was made from"),
            Self::TooOld { days, most } => {
                write!(f, "the newest image is {days} days old, rebuildAfter allows {most}")
            }
            Self::Forced => f.write_str("asked for, changed or not"),
            Self::Unresolved { message } => f.write_str(message),
            Self::BuiltBy { run } => write!(f, "run {run} is building the same"),
            Self::Unchanged { run } => write!(f, "unchanged since run {run}"),
        }
    }
}

/// An image of another run that this run brings to labs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReusedImage {
    /// The run that makes or made it.
    pub run: RunId,
    /// When that run started: the image's age counts from here, whoever brings it.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// Its operating system.
    pub os_type: OsType,
}

/// A decision about one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is done.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The image of another run that is to be in the labs, and its name; `None` if this run builds one.
    pub reused: Option<(ReusedImage, ImageName)>,
    /// The earlier runs whose builds of this path are of no more use.
    pub supersedes: Vec<RunId>,
}

/// What is known about an image, besides what it would be made from.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The newest captured image.
    pub newest: Option<&'a CapturedImage>,
    /// The builds of earlier runs that go on, in the order in which those were planned.
    pub open: &'a [OpenBuild],
    /// Whether whoever started the run wants it built in any case.
    pub forced: bool,
    /// How old the newest image may be.
    pub rebuild_after: Duration,
    /// When this run started.
    pub now: OffsetDateTime,
}

/// Decides about one image. `made_from` is what it would be made from now; where that cannot be told, the message.
///
/// The same is never built twice: neither while an earlier run is building it, nor once it is captured, unless it is too old
/// or asked for. What an earlier run is building and would be wrong when it is done is superseded.
pub fn decide(made_from: Result<(&Inputs, &BaseImage), &str>, known: Known<'_>) -> Decision {
    let build = |reason| Decision { action: Action::Build, reason, reused: None, supersedes: Vec::new() };
    let others = |except: Option<&OpenBuild>| {
        let of_no_use = known.open.iter().filter(|open| Some(*open) != except);
        of_no_use.map(|open| open.run.clone()).collect()
    };
    let (inputs, base_image) = match made_from {
        Ok(made_from) => made_from,
        // Nothing is known to be wrong with what goes on.
        Err(message) => return build(Reason::Unresolved { message: message.to_owned() }),
    };
    let os_type = base_image.os_type;
    let hash = inputs.hash();
    if let Some(open) = known.open.iter().rev().find(|open| open.hash.as_ref() == Some(&hash)) {
        let reused = ReusedImage { run: open.run.clone(), started_at: open.started_at, os_type };
        return Decision {
            action: Action::Await,
            reason: Reason::BuiltBy { run: open.run.clone() },
            reused: Some((reused, open.image_name.clone())),
            supersedes: others(Some(open)),
        };
    }
    let why = match known.newest {
        _ if known.forced => Some(Reason::Forced),
        None => Some(Reason::NoImage),
        Some(newest) => why_anew(inputs, newest, &known),
    };
    let decision = match (why, known.newest) {
        (None, Some(newest)) => Decision {
            action: Action::Keep,
            reason: Reason::Unchanged { run: newest.run.clone() },
            reused: Some((
                ReusedImage { run: newest.run.clone(), started_at: newest.started_at, os_type },
                newest.image_name.clone(),
            )),
            supersedes: Vec::new(),
        },
        (why, _) => build(why.unwrap_or(Reason::NoImage)),
    };
    Decision { supersedes: others(None), ..decision }
}

fn why_anew(inputs: &Inputs, newest: &CapturedImage, known: &Known<'_>) -> Option<Reason> {
    if newest.inputs.is_empty() {
        return Some(Reason::UnknownInputs);
    }
    let changes = inputs.changes(&newest.inputs);
    if !changes.is_empty() {
        return Some(Reason::Changed { changes });
    }
    let age = known.now - newest.started_at;
    (age > known.rebuild_after)
        .then(|| Reason::TooOld { days: age.whole_days(), most: known.rebuild_after.whole_days() })
}
