//! Which custom images of one path in one lab retire.

use std::{collections::BTreeMap, fmt};

use time::OffsetDateTime;

use super::{IMAGE_PATH_TAG, ImagePath, KEEP_TAG, RUN_TAG};

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
    let mut good: Vec<&StandingImage> = images
        .iter()
        .filter(|image| image.state == ImageState::Succeeded && foreign(path, image).is_none())
        .collect();
    // Names end with the day and a hash: they settle what was made at the same moment.
    good.sort_by(|a, b| (b.created, &b.name).cmp(&(a.created, &a.name)));
    let newest: Vec<&str> = good.iter().take(keep.max(1)).map(|image| image.name.as_str()).collect();
    images
        .iter()
        .map(|image| Verdict { name: image.name.clone(), decision: about(path, image, &newest) })
        .collect()
}

fn about(path: &ImagePath, image: &StandingImage, newest: &[&str]) -> Decision {
    if let Some(reason) = foreign(path, image) {
        return Decision::Keep(reason);
    }
    if tag(image, KEEP_TAG).is_some() {
        return Decision::Keep(KeepReason::Pinned);
    }
    if !image.used_by.is_empty() {
        return Decision::Keep(KeepReason::UsedBy(image.used_by.clone()));
    }
    match image.state {
        ImageState::InProgress => Decision::Keep(KeepReason::InProgress),
        ImageState::Succeeded if newest.contains(&image.name.as_str()) => Decision::Keep(KeepReason::Newest),
        ImageState::Succeeded | ImageState::Failed => Decision::Retire,
    }
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
