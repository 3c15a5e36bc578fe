//! How one step of an item stands, what it found, and how it ended.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    azure::{AzureError, OperationUrl},
    domain::{
        OsType,
        messages::{AskingId, FIRST_ATTEMPT},
    },
};

/// Why something failed, as it is shown to people. Holds no secret: Azure's texts arrive here without their URLs' queries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Azure's code, such as `InvalidTemplate`, or one of the factory's own, such as `DeadlineExceeded`.
    pub code: String,
    /// What happened, in Azure's words where Azure refused.
    pub message: String,
    /// Azure's correlation id, which its support asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

impl Failure {
    /// A failure that the factory itself found.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), correlation_id: None }
    }
}

impl From<AzureError> for Failure {
    fn from(error: AzureError) -> Self {
        let message = format!("{}: {}", error.attempted, error.message);
        Self { code: error.code, message, correlation_id: error.correlation_id }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        match &self.correlation_id {
            Some(id) => write!(f, " (correlation id {id})"),
            None => Ok(()),
        }
    }
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "status")]
pub enum Ending {
    /// What the step's message asked for is true.
    Succeeded,
    /// It cannot become true.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// Where one step of one item stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepState {
    /// The number of the message that the step waits for; the message that began it was number 1.
    pub attempt: u32,
    /// When that message becomes visible.
    #[serde(with = "time::serde::rfc3339")]
    pub wake_at: OffsetDateTime,
    /// When the step began.
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: OffsetDateTime,
    /// When it ended.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<OffsetDateTime>,
    /// How it ended; `None` while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// What it waits for, in words for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub waiting_for: String,
    /// How often the step wrote something down in the middle of a turn. Of two invocations for one message, the one that knows
    /// another number was overtaken.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub written_ahead: u32,
    /// Transient failures in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub troubles: u32,
    /// Why it will fail, once what was half made is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<Failure>,
    /// Since when it is taking back.
    #[serde(default, with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<OffsetDateTime>,
    /// The wishes of people because of which it began anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reruns: Vec<AskingId>,
    /// What it found or made.
    #[serde(default)]
    pub facts: Facts,
}

impl StepState {
    /// A step that begins now.
    pub fn begin(now: OffsetDateTime) -> Self {
        Self {
            attempt: FIRST_ATTEMPT,
            wake_at: now,
            started_at: now,
            ended_at: None,
            ending: None,
            waiting_for: String::new(),
            written_ahead: 0,
            troubles: 0,
            failing: None,
            failing_since: None,
            reruns: Vec::new(),
            facts: Facts::default(),
        }
    }

    /// When it ended; while it goes on, when it wants to be woken.
    pub fn end(&self) -> OffsetDateTime {
        self.ended_at.unwrap_or(self.wake_at)
    }

    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.ending == Some(Ending::Succeeded)
    }

    /// Why it failed, if it did.
    pub fn failure(&self) -> Option<&Failure> {
        match &self.ending {
            Some(Ending::Failed { failure }) => Some(failure),
            _ => None,
        }
    }
}

/// What a step found or made; each step fills what it knows. The names in Azure follow from the item, so these are only what
/// does not.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Facts {
    /// The operation in Azure whose end is waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OperationUrl>,
    /// How often the effect was begun; a copy that fails is begun again a few times.
    #[serde(skip_serializing_if = "is_zero")]
    pub begun: u32,
    /// When the effect that is waited for was begun.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<OffsetDateTime>,
    /// How far the VHD copy was at the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied: Option<Copied>,
    /// When it was last seen to have moved.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub moved_at: Option<OffsetDateTime>,
    /// The deployment is known to have succeeded: nobody needs to ask again.
    #[serde(skip_serializing_if = "is_false")]
    pub deployed: bool,
    /// The operating system that the image really has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_type: Option<OsType>,
    /// The compute VM behind the lab VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_id: Option<String>,
    /// The image of the marketplace that it was made from, in the version that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_image: Option<String>,
    /// The ids of the artifacts that ran in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// Its OS disk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<String>,
    /// The VHD is complete and about to get its companion: from now on the build counts as captured, and it is too late to
    /// call it off.
    #[serde(skip_serializing_if = "is_false")]
    pub complete: bool,
    /// Where the VHD stands, without SAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vhd_url: Option<String>,
    /// Where the statement about its provenance stands, without SAS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance_url: Option<String>,
    /// Its place in the row before Resource Manager in its subscription: to be registered, or to let an older image retire.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub registers_at: Option<OffsetDateTime>,
    /// When it was last asked for to be registered as a custom image.
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub registered_at: Option<OffsetDateTime>,
    /// The custom image's resource id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_image_id: Option<String>,
    /// Images that were retired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retired: Vec<String>,
    /// Older images that stay, each with what blocks it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
}

/// How far a VHD copy was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// When that was seen.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// How many bytes were there.
    pub bytes: u64,
}

/// An older image that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The image.
    pub name: String,
    /// What blocks its retirement.
    pub reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}
