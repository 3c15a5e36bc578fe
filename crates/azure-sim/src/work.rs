//! What simulated Azure worked on, and how long: the log from which a run's critical path is computed.

use time::OffsetDateTime;

/// A kind of work that takes Azure time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkKind {
    /// From the accepted PUT of a lab VM until its artifacts are through and it is deallocated (or it failed).
    VirtualMachine,
    /// Deleting a lab VM.
    VirtualMachineDeletion,
    /// Granting read access to a managed disk.
    DiskAccess,
    /// Taking that access back.
    DiskAccessRevocation,
    /// Copying a blob; the subject is the destination's URL without query.
    BlobCopy,
    /// Registering a custom image.
    CustomImage,
    /// Deleting a custom image.
    CustomImageDeletion,
    /// Deleting a deployment from the history.
    DeploymentDeletion,
}

/// One piece of work that ended.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// What was done.
    pub kind: WorkKind,
    /// To what: a resource id or a URL, in the spelling of the request.
    pub subject: String,
    /// When it was accepted.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// When it ended, well or not.
    #[serde(with = "time::serde::rfc3339")]
    pub ended: OffsetDateTime,
    /// Whether it ended well.
    pub succeeded: bool,
}

impl Work {
    /// How long it took, in seconds.
    pub fn seconds(&self) -> f64 {
        (self.ended - self.started).as_seconds_f64()
    }
}
