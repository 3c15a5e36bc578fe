//! Which custom images of one path in one lab retire, and how much smaller that makes the lab.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{IMAGE_PATH_TAG, ImagePath, KEEP_TAG, RUN_STARTED_TAG, RUN_TAG, RunId};

#[cfg(test)]
mod tests;

/// A custom image's `provisioningState`, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageState {
    /// It can be used.
    Succeeded,
    /// It never can.
    Failed,
    /// Azure is still working on it (`Creating`, `Updating`, `Deleting`, …).
    InProgress,
}

impl ImageState {
    /// Reads Azure's word, ignoring case; an unknown one means that Azure is working on it, so that nothing is deleted.
    pub fn from_provisioning_state(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "succeeded" => Self::Succeeded,
            "failed" | "canceled" => Self::Failed,
            _ => Self::InProgress,
        }
    }
}

/// A custom image of a lab.
#[derive(Clone, Debug)]
pub struct StandingImage {
    /// Its name.
    pub name: String,
    /// When Azure made it.
    pub created: OffsetDateTime,
    /// Whether it can be used.
    pub state: ImageState,
    /// All its tags.
    pub tags: BTreeMap<String, String>,
    /// The formulas and VMs that name it.
    pub used_by: Vec<String>,
}

impl StandingImage {
    /// What tells the newer of two images: when its run started, since an image of an earlier run may be made later. An
    /// image that does not say so counts from when Azure made it.
    pub fn born(&self) -> OffsetDateTime {
        let started = tag(self, RUN_STARTED_TAG).and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
        started.unwrap_or(self.created)
    }

    /// The golden image that it says it is of.
    pub fn path(&self) -> Option<ImagePath> {
        ImagePath::parse(tag(self, IMAGE_PATH_TAG)?).ok()
    }
}

/// What becomes of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The image's name.
    pub name: String,
    /// The decision.
    pub decision: Decision,
}

/// Whether an image goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is deleted.
    Retire,
    /// It stays.
    Keep(KeepReason),
}

/// Why an image stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// It does not carry the factory's tags.
    NotOurs,
    /// It is of another image path.
    OtherPath,
    /// It is one of the newest good ones.
    Newest,
    /// Somebody pinned it with the tag `FactoryKeep`.
    Pinned,
    /// These use it.
    UsedBy(Vec<String>),
    /// Azure is still working on it.
    InProgress,
}

impl fmt::Display for KeepReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOurs => f.write_str("the factory did not make it"),
            Self::OtherPath => f.write_str("it is of another image path"),
            Self::Newest => f.write_str("it is one of the newest"),
            Self::Pinned => write!(f, "it carries the tag {KEEP_TAG}"),
            Self::UsedBy(users) => write!(f, "used by {}", users.join(", ")),
            Self::InProgress => f.write_str("Azure is still working on it"),
        }
    }
}

/// Decides about every image: the newest `keep` good ones (at least one) stay, as does whatever is pinned, in use, in
/// progress, or not the factory's; failed ones of ours go, and do not count among those kept.
///
/// The verdicts are in the order of the images.
pub fn decide(path: &ImagePath, images: &[StandingImage], keep: usize) -> Vec<Verdict> {
    let good = images.iter().filter(|image| is_good(image) && foreign(path, image).is_none());
    let newest: Vec<&str> =
        newest_first(good).into_iter().take(keep.max(1)).map(|image| image.name.as_str()).collect();
    images
        .iter()
        .map(|image| Verdict { name: image.name.clone(), decision: about(path, image, &newest) })
        .collect()
}

fn is_good(image: &StandingImage) -> bool {
    image.state == ImageState::Succeeded
}

fn newest_first<'a>(images: impl Iterator<Item = &'a StandingImage>) -> Vec<&'a StandingImage> {
    let mut images: Vec<_> = images.collect();
    // Names end with the day and a hash: they settle what was made at the same moment.
    images.sort_by_cached_key(|image| std::cmp::Reverse((image.born(), image.created, &image.name)));
    images
}

fn about(path: &ImagePath, image: &StandingImage, newest: &[&str]) -> Decision {
    if let Some(reason) = protection(path, image) {
        return Decision::Keep(reason);
    }
    match image.state {
        ImageState::Succeeded if newest.contains(&image.name.as_str()) => Decision::Keep(KeepReason::Newest),
        _ => Decision::Retire,
    }
}

/// Why an image stays however many newer ones there are; `None` where nothing protects it.
pub fn protection(path: &ImagePath, image: &StandingImage) -> Option<KeepReason> {
    if let Some(reason) = foreign(path, image) {
        return Some(reason);
    }
    if tag(image, KEEP_TAG).is_some() {
        return Some(KeepReason::Pinned);
    }
    if !image.used_by.is_empty() {
        return Some(KeepReason::UsedBy(image.used_by.clone()));
    }
    (image.state == ImageState::InProgress).then_some(KeepReason::InProgress)
}

/// How many good images of the factory a lab has before a run, and how many it has after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weight {
    /// Before the run, without what it made itself.
    pub before: usize,
    /// After it, with the image that it makes of each path that stood already.
    pub after: usize,
}

impl Weight {
    /// Whether the lab gets smaller by more than `share` of what it had.
    pub fn exceeds(self, share: f64) -> bool {
        let lost = self.before.saturating_sub(self.after);
        // Both are numbers of images in one lab, far below what a double holds exactly.
        lost > 0 && lost as f64 / self.before as f64 > share
    }
}

/// Weighs what `run` does to a lab with these `images`, if it brings a new image of each of `paths`. What a person pinned and
/// what is in use stays. Paths that are new in the lab do not count: they replace nothing.
pub fn weigh(images: &[StandingImage], run: &RunId, paths: &BTreeSet<ImagePath>, keep: usize) -> Weight {
    let mut by_path: BTreeMap<ImagePath, Vec<&StandingImage>> = BTreeMap::new();
    for image in images.iter().filter(|image| is_good(image)) {
        let (Some(of), Some(path)) = (tag(image, RUN_TAG), image.path()) else { continue };
        if of != run.as_str() {
            by_path.entry(path).or_default().push(image);
        }
    }
    let before = by_path.values().map(Vec::len).sum();
    // The run's own image takes the place of one of those that are kept.
    let older = keep.max(1) - 1;
    let after = |(path, images): (&ImagePath, &Vec<&StandingImage>)| {
        if !paths.contains(path) {
            return images.len();
        }
        let images = newest_first(images.iter().copied());
        let stays = |image: &StandingImage| protection(path, image).is_some();
        let stay = images.iter().enumerate().filter(|(at, image)| *at < older || stays(image));
        1 + stay.count()
    };
    Weight { before, after: by_path.iter().map(after).sum() }
}

fn foreign(path: &ImagePath, image: &StandingImage) -> Option<KeepReason> {
    let (Some(_), Some(tagged)) = (tag(image, RUN_TAG), tag(image, IMAGE_PATH_TAG)) else {
        return Some(KeepReason::NotOurs);
    };
    match ImagePath::parse(tagged) {
        Err(_) => Some(KeepReason::NotOurs),
        Ok(tagged) if tagged != *path => Some(KeepReason::OtherPath),
        Ok(_) => None,
    }
}

/// A tag's value; the names of tags ignore case.
fn tag<'a>(image: &'a StandingImage, name: &str) -> Option<&'a str> {
    image.tags.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}
