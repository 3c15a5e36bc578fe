//! The messages that chain the steps: one queue per step, one kind of message per queue.
//!
//! Bodies are JSON with camelCase keys. A message holds no secret.

use std::{fmt, str::FromStr};

use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{ImagePath, LabId, RunId, RunReason, commit_event::NewCommit, names::digest};

mod levers;
#[cfg(test)]
mod tests;

pub use levers::{
    AskingId, BadAskingId, BadImageName, BadPerson, CancelRun, Person, PinImage, PinnedName, Rerun,
};

/// The version that this program writes, and the only one that it reads.
pub const MESSAGE_VERSION: u64 = 1;
/// The number of a step's first message; every time a step has to wait, it sends itself the next.
pub const FIRST_ATTEMPT: u32 = 1;
/// Service Bus: "maximum message ID size: 128".
pub const LONGEST_MESSAGE_ID: usize = 128;

/// A queue; its name is the step's and the function's name as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// Plans a run and fans out.
    StartRun,
    /// Makes the factory VM.
    CreateVm,
    /// Copies its disk to a VHD.
    CaptureImage,
    /// Brings the VHD to one lab and registers it there.
    CopyImage,
    /// Removes a lab's old images of one path.
    RetireImages,
    /// Removes the factory VM.
    DeleteVm,
    /// Calls off a run.
    CancelRun,
    /// Keeps an image for good, or no longer.
    PinImage,
}

impl Queue {
    /// All queues, in the order in which an image passes them; then those that only people send to.
    pub const ALL: [Self; 8] = [
        Self::StartRun,
        Self::CreateVm,
        Self::CaptureImage,
        Self::CopyImage,
        Self::RetireImages,
        Self::DeleteVm,
        Self::CancelRun,
        Self::PinImage,
    ];

    /// The name in Service Bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::StartRun => "start-run",
            Self::CreateVm => "create-vm",
            Self::CaptureImage => "capture-image",
            Self::CopyImage => "copy-image",
            Self::RetireImages => "retire-images",
            Self::DeleteVm => "delete-vm",
            Self::CancelRun => "cancel-run",
            Self::PinImage => "pin-image",
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Queue {
    type Err = UnknownQueue;

    fn from_str(text: &str) -> Result<Self, UnknownQueue> {
        Self::ALL.into_iter().find(|queue| queue.name() == text).ok_or_else(|| UnknownQueue(text.to_owned()))
    }
}

/// A name that no queue has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no queue '{0}': the queues are start-run, create-vm, capture-image, copy-image, retire-images, delete-vm, cancel-run and pin-image"
)]
pub struct UnknownQueue(String);

/// A message to a step: what shall be true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The run that it belongs to; `pin-image` belongs to none, and has [`RunId::none`] here.
    pub run: RunId,
    /// 1 for a step's first message; the next number each time the step waits.
    pub attempt: u32,
    /// What the step is to do.
    pub step: Step,
    /// Set where a person asks for a step that may have ended to begin anew.
    pub rerun: Option<Rerun>,
}

/// What a step is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Queue `start-run`: the run is planned, and a VM is asked for each definition.
    StartRun(StartRun),
    /// Queue `create-vm`: the image's VM stands, generalised and deallocated.
    CreateVm(ImageStep),
    /// Queue `capture-image`: the VM's disk is a VHD with its companion.
    CaptureImage(ImageStep),
    /// Queue `copy-image`: the lab has the custom image.
    CopyImage(CopyImage),
    /// Queue `retire-images`: the lab has no images of that path but those to be kept.
    RetireImages(RetireImages),
    /// Queue `delete-vm`: the image's VM is gone.
    DeleteVm(ImageStep),
    /// Queue `cancel-run`: the run is called off.
    CancelRun(CancelRun),
    /// Queue `pin-image`: the image carries the tag `FactoryKeep`, or does not.
    PinImage(PinImage),
}

/// The body of `start-run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartRun {
    /// Why the run starts.
    pub reason: RunReason,
    /// The commit to take the configuration from; the newest where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Who wrote that commit, if known: for the record alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// Only these definitions; all where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<Vec<ImagePath>>,
    /// Builds even what has not changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub force: bool,
    /// Retires images even where the run makes a lab smaller than `mostRetiredShare` allows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approve_retirement: bool,
    /// Who asks, where a person does: for the record alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Person>,
    /// Does nothing if the branch has a newer commit when the run plans: that one has its own run. Events of pushes say so,
    /// since they may come in the wrong order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub only_newest: bool,
}

impl StartRun {
    /// A run of a commit that was pushed.
    pub fn of_push(new: NewCommit) -> Self {
        Self { only_newest: true, ..Self::of_commit(new) }
    }

    /// A run of a commit that somebody names.
    pub fn of_commit(new: NewCommit) -> Self {
        let commit = Some(new.commit.as_str().to_owned());
        Self { commit, author: new.author, ..Self::of_everything(RunReason::Commit) }
    }

    /// A run of everything, from the newest commit.
    pub fn of_everything(reason: RunReason) -> Self {
        Self {
            reason,
            commit: None,
            author: None,
            only: None,
            force: false,
            approve_retirement: false,
            by: None,
            only_newest: false,
        }
    }
}

/// The body of `create-vm`, `capture-image` and `delete-vm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageStep {
    /// The definition.
    pub image_path: ImagePath,
}

/// The body of `copy-image`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CopyImage {
    /// The definition.
    pub image_path: ImagePath,
    /// The target lab.
    pub lab: LabId,
}

/// The body of `retire-images`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetireImages {
    /// The definition.
    pub image_path: ImagePath,
    /// The lab whose custom images retire; `None` for the factory lab's captured VHDs.
    pub lab: Option<LabId>,
}

/// Why a body is no message of its queue. It ends in the dead-letter queue with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The body is no JSON object.
    #[error("the {queue} message is no JSON object: {reason}")]
    NotJson {
        /// The queue it came from.
        queue: Queue,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// It was written by another generation of this program.
    #[error(
        "the {queue} message has version {found} at $.version; this program reads version {MESSAGE_VERSION}"
    )]
    Version {
        /// The queue it came from.
        queue: Queue,
        /// What stands there.
        found: String,
    },
    /// A field is missing or wrong.
    #[error("the {queue} message is wrong at $.{field}: {reason}")]
    Field {
        /// The queue it came from.
        queue: Queue,
        /// The field's name.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Message {
    /// A person's wish to pin or unpin an image.
    pub fn pin(wish: PinImage) -> Self {
        Self::first(RunId::none(), Step::PinImage(wish))
    }

    /// A step's first message.
    pub fn first(run: RunId, step: Step) -> Self {
        Self { run, attempt: FIRST_ATTEMPT, step, rerun: None }
    }

    /// The same message with another number.
    pub fn numbered(&self, attempt: u32) -> Self {
        Self { attempt, ..self.clone() }
    }

    /// The person who asks, where one does.
    pub fn by(&self) -> Option<&Person> {
        match &self.step {
            Step::StartRun(start) => start.by.as_ref(),
            Step::CancelRun(cancel) => Some(&cancel.by),
            Step::PinImage(pin) => Some(&pin.by),
            _ => self.rerun.as_ref().map(|rerun| &rerun.by),
        }
    }

    /// Reads a message's body. Fields that this program does not know are ignored: a newer one of the same version may
    /// add some while both run.
    ///
    /// # Errors
    /// If it is no JSON object, has another version, or a field is missing or wrong.
    pub fn parse(queue: Queue, body: &[u8]) -> Result<Self, MessageError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| MessageError::NotJson { queue, reason: error.to_string() })?;
        let Value::Object(fields) = value else {
            return Err(MessageError::NotJson { queue, reason: "it is another JSON value".to_owned() });
        };
        match fields.get("version") {
            Some(version) if version.as_u64() == Some(MESSAGE_VERSION) => {}
            None => {
                return Err(MessageError::Field {
                    queue,
                    field: "version",
                    reason: "it is missing".to_owned(),
                });
            }
            Some(found) => {
                return Err(MessageError::Version {
                    queue,
                    found: found.to_string().chars().take(20).collect(),
                });
            }
        }
        let body = Body { queue, fields: &fields };
        let image_step = || Ok(ImageStep { image_path: body.required("imagePath")? });
        let step = match queue {
            Queue::StartRun => Step::StartRun(StartRun {
                reason: body.required("reason")?,
                commit: body.optional("commit")?,
                author: body.optional("author")?,
                only: body.optional("only")?,
                force: body.optional("force")?.unwrap_or(false),
                approve_retirement: body.optional("approveRetirement")?.unwrap_or(false),
                by: body.optional("by")?,
                only_newest: body.optional("onlyNewest")?.unwrap_or(false),
            }),
            Queue::CreateVm => Step::CreateVm(image_step()?),
            Queue::CaptureImage => Step::CaptureImage(image_step()?),
            Queue::DeleteVm => Step::DeleteVm(image_step()?),
            Queue::CopyImage => Step::CopyImage(CopyImage {
                image_path: body.required("imagePath")?,
                lab: body.required("lab")?,
            }),
            Queue::RetireImages => Step::RetireImages(RetireImages {
                image_path: body.required("imagePath")?,
                lab: body.optional("lab")?,
            }),
            Queue::CancelRun => {
                Step::CancelRun(CancelRun { by: body.required("by")?, id: body.optional("id")? })
            }
            Queue::PinImage => Step::PinImage(PinImage {
                lab: body.required("lab")?,
                image_name: body.required("imageName")?,
                pin: body.required("pin")?,
                by: body.required("by")?,
                id: body.optional("id")?,
            }),
        };
        let run = match queue {
            Queue::PinImage => RunId::none(),
            _ => body.required("run")?,
        };
        Ok(Self {
            run,
            attempt: body.optional("attempt")?.unwrap_or(FIRST_ATTEMPT),
            step,
            rerun: body.optional("rerun")?,
        })
    }

    /// The queue that it goes to.
    pub fn queue(&self) -> Queue {
        match self.step {
            Step::StartRun(_) => Queue::StartRun,
            Step::CreateVm(_) => Queue::CreateVm,
            Step::CaptureImage(_) => Queue::CaptureImage,
            Step::CopyImage(_) => Queue::CopyImage,
            Step::RetireImages(_) => Queue::RetireImages,
            Step::DeleteVm(_) => Queue::DeleteVm,
            Step::CancelRun(_) => Queue::CancelRun,
            Step::PinImage(_) => Queue::PinImage,
        }
    }

    /// The body.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_json().to_string().into_bytes()
    }

    /// The body as JSON.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("version".to_owned(), MESSAGE_VERSION.into());
        if self.queue() != Queue::PinImage {
            fields.insert("run".to_owned(), self.run.as_str().into());
        }
        fields.insert("attempt".to_owned(), self.attempt.into());
        let step = match &self.step {
            Step::StartRun(step) => serde_json::to_value(step),
            Step::CreateVm(step) | Step::CaptureImage(step) | Step::DeleteVm(step) => {
                serde_json::to_value(step)
            }
            Step::CopyImage(step) => serde_json::to_value(step),
            Step::RetireImages(step) => serde_json::to_value(step),
            Step::CancelRun(step) => serde_json::to_value(step),
            Step::PinImage(step) => serde_json::to_value(step),
        };
        if let Some(rerun) = &self.rerun
            && let Ok(rerun) = serde_json::to_value(rerun)
        {
            fields.insert("rerun".to_owned(), rerun);
        }
        // Nothing in a step can fail to become JSON: it is all text, lists of text and Booleans.
        if let Ok(Value::Object(step)) = step {
            fields.extend(step);
        }
        Value::Object(fields)
    }

    /// The MessageId: the same for the same content, so that Service Bus drops what was sent twice. At most 128
    /// characters.
    pub fn message_id(&self) -> String {
        format!("{}:{}:{}:{}", self.queue(), self.run, self.content_hash(), self.attempt)
    }

    /// The same for the same content, whatever the message's number: 20 hexadecimal digits.
    pub fn content_hash(&self) -> String {
        let mut content = self.to_json();
        if let Some(fields) = content.as_object_mut() {
            fields.remove("attempt");
        }
        // Spellings of one path or lab are one message; a commit's hash and a run's id are in lower case anyway.
        let digest = digest(&[&content.to_string().to_lowercase()]);
        digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The body of a message, as its JSON Schema describes it.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "only its schema is used")]
struct Described<T> {
    /// The version of the format: 1.
    #[schemars(range(min = 1, max = 1))]
    version: u64,
    /// The run that it belongs to. Of `start-run` the run that shall start: a new id of lower-case letters, digits and hyphens;
    /// the same id twice is the same run.
    run: RunId,
    /// The number of the message; leave it out.
    #[serde(default)]
    attempt: Option<u32>,
    /// Set where a step that has ended shall begin anew.
    #[serde(default)]
    rerun: Option<Rerun>,
    #[serde(flatten)]
    step: T,
}

/// The same of a message that belongs to no run.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "only its schema is used")]
struct DescribedAlone<T> {
    /// The version of the format: 1.
    #[schemars(range(min = 1, max = 1))]
    version: u64,
    /// The number of the message; leave it out.
    #[serde(default)]
    attempt: Option<u32>,
    #[serde(flatten)]
    step: T,
}

/// The JSON Schema of a queue's messages, for whoever sends one without this program.
pub fn schema(queue: Queue) -> Schema {
    let mut schema = match queue {
        Queue::StartRun => schemars::schema_for!(Described<StartRun>),
        Queue::CreateVm | Queue::CaptureImage | Queue::DeleteVm => {
            schemars::schema_for!(Described<ImageStep>)
        }
        Queue::CopyImage => schemars::schema_for!(Described<CopyImage>),
        Queue::RetireImages => schemars::schema_for!(Described<RetireImages>),
        Queue::CancelRun => schemars::schema_for!(Described<CancelRun>),
        Queue::PinImage => schemars::schema_for!(DescribedAlone<PinImage>),
    };
    schema.insert("title".to_owned(), format!("A message of the queue {queue}").into());
    schema
}

struct Body<'a> {
    queue: Queue,
    fields: &'a Map<String, Value>,
}

impl Body<'_> {
    fn optional<T: DeserializeOwned>(&self, field: &'static str) -> Result<Option<T>, MessageError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value).map(Some).map_err(|error| MessageError::Field {
                queue: self.queue,
                field,
                reason: error.to_string(),
            }),
        }
    }

    fn required<T: DeserializeOwned>(&self, field: &'static str) -> Result<T, MessageError> {
        let missing = || MessageError::Field { queue: self.queue, field, reason: "it is missing".to_owned() };
        self.optional(field)?.ok_or_else(missing)
    }
}
