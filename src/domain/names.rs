//! Names that follow from (run, image path, lab), so that doing a step again makes the same thing.
//!
//! Azure's rules: <https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules>.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::{OffsetDateTime, UtcOffset};

use super::{ImagePath, LabId, RunId};

#[cfg(test)]
mod tests;

/// A Windows VM's name: "1-15, alphanumerics and hyphens". Linux allows 64, but the OS is not always known yet.
const LONGEST_VM_NAME: usize = 15;
/// A custom image's name: "1-80, alphanumerics, underscores, hyphens and parentheses".
pub(crate) const LONGEST_IMAGE_NAME: usize = 80;
/// The day in a custom image's name: `20261122`.
const DAY_LENGTH: usize = 8;
/// What of a custom image's name is left for the path, beside the day, the hash and two hyphens.
const IMAGE_PATH_ROOM: usize = LONGEST_IMAGE_NAME - 2 - DAY_LENGTH - HASH_LENGTH;
/// Characters of a hash in a name: 32^6 is a thousand million.
const HASH_LENGTH: usize = 6;
/// How the names of the statements about captured disks end.
pub const PROVENANCE_SUFFIX: &str = ".provenance.json";
/// 32 characters that people do not mistake for each other.
const HASH_ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// The factory VM of a build, e.g. `Datacent-x7k2pq`.
    VmName
}
name! {
    /// The custom image of a build in every lab, e.g. `Win2016-Datacenter-20261122-x7k2pq`.
    ImageName
}
name! {
    /// The deployment that makes the factory VM, e.g. `commit-abcdef0123456789-Datacent-x7k2pq`.
    DeploymentName
}

impl VmName {
    /// 1 to 15 letters, digits and hyphens; begins and ends with a letter or digit, and is not all digits.
    pub fn derive(run: &RunId, path: &ImagePath) -> Self {
        let hash = hash(&[run.as_str(), path.folded()]);
        let stem = readable([path.stem()], LONGEST_VM_NAME - 1 - HASH_LENGTH);
        // Not all digits, because of the hyphen.
        Self(format!("{}-{hash}", stem.as_deref().unwrap_or("vm")))
    }
}

impl ImageName {
    /// Reads a name that stands in Azure; `None` if no image of the factory can be called so.
    pub fn read(text: &str) -> Option<Self> {
        let fits = (1..=LONGEST_IMAGE_NAME).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        fits.then(|| Self(text.to_owned()))
    }

    /// 1 to 80 letters, digits and hyphens: the path, the day on which the run started (UTC), and a hash.
    pub fn derive(run: &RunId, path: &ImagePath, started_at: OffsetDateTime) -> Self {
        let day = started_at.to_offset(UtcOffset::UTC).date();
        let day = format!("{:04}{:02}{:02}", day.year().rem_euclid(10_000), u8::from(day.month()), day.day());
        let hash = hash(&[run.as_str(), path.folded()]);
        Self(format!("{}{day}-{hash}", Self::prefix(path)))
    }

    /// What the names of all images of a path begin with. It keeps the path's case, as blob names do.
    pub fn prefix(path: &ImagePath) -> String {
        let stem = readable(path.readable_segments(), IMAGE_PATH_ROOM);
        format!("{}-", stem.as_deref().unwrap_or("image"))
    }

    /// A word that the name of every image of a path holds, those of the PowerShell sample too, whose names hold the
    /// file's stem: the stem's longest run of ASCII letters and digits. `None` where the name might be cut before it.
    pub fn word(path: &ImagePath) -> Option<&str> {
        let kept = readable(path.readable_segments(), IMAGE_PATH_ROOM)?;
        let words = path.stem().split(|letter: char| !letter.is_ascii_alphanumeric());
        let word = words.max_by_key(|word| word.len()).filter(|word| !word.is_empty());
        // Asked of what the cut has left: it comes before two hyphens become one, so that lengths do not tell.
        word.filter(|word| kept.contains(word))
    }

    /// The captured disk in the factory lab's storage.
    pub fn factory_vhd_blob(&self) -> String {
        format!("{self}.vhd")
    }

    /// The companion of the captured disk: written after the disk is complete, so a disk without it is debris.
    pub fn companion_blob(&self) -> String {
        format!("{self}.json")
    }

    /// The statement about where the captured disk comes from: written before the companion, removed with it.
    pub fn provenance_blob(&self) -> String {
        format!("{self}{PROVENANCE_SUFFIX}")
    }

    /// The copy of the disk in a target lab's storage; named after the lab, because labs may share an account.
    pub fn target_vhd_blob(&self, lab: &LabId) -> String {
        format!("{self}-{}.vhd", lab_hash(lab))
    }
}

impl DeploymentName {
    /// At most 64 letters, digits and hyphens: the run and the VM.
    pub fn derive(run: &RunId, path: &ImagePath) -> Self {
        Self(format!("{run}-{}", VmName::derive(run, path)))
    }
}

/// Six characters that stand for a lab.
pub fn lab_hash(lab: &LabId) -> String {
    hash(&[&lab.folded()])
}

/// Six lower-case letters and digits that stand for the parts, in their order.
fn hash(parts: &[&str]) -> String {
    let digest = digest(parts);
    digest.iter().take(HASH_LENGTH).map(|byte| char::from(HASH_ALPHABET[usize::from(byte % 32)])).collect()
}

/// SHA-256 over the parts with their lengths, so that no two lists of parts read the same.
pub(crate) fn digest(parts: &[&str]) -> [u8; 32] {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update((part.len() as u64).to_be_bytes());
        sha.update(part.as_bytes());
    }
    sha.finalize().into()
}

/// Letters and digits of the parts, everything else as single hyphens inside; `None` if nothing is left.
fn readable<'a>(parts: impl IntoIterator<Item = &'a str>, room: usize) -> Option<String> {
    let mut text = String::new();
    for part in parts {
        text.push('-');
        for letter in part.chars() {
            match letter {
                letter if letter.is_ascii_alphanumeric() => text.push(letter),
                _ if text.ends_with('-') => {}
                _ => text.push('-'),
            }
        }
    }
    let text: String = text.trim_start_matches('-').chars().take(room).collect();
    let mut text = text.trim_end_matches('-').to_owned();
    while text.contains("--") {
        text = text.replace("--", "-");
    }
    (!text.is_empty()).then_some(text)
}
