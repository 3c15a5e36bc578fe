//! What the factory is about, as values: configuration, names, runs, messages, retention.
//!
//! Pure and synchronous: nothing here knows an Azure client, a clock or a file system. Decisions are functions from
//! values to values, so that they can be tested with values.

pub mod commit_event;
pub mod config;
pub mod definition;
pub mod image_path;
pub mod inputs;
pub mod lab;
pub mod messages;
pub mod names;
pub mod plan;
pub mod provenance;
pub mod repository;
pub mod retention;
pub mod run;
pub mod subscriptions;

pub use commit_event::CommitId;
pub use config::{Configuration, ConfigurationFiles, FactorySettings, Problem, Problems, Severity};
pub use definition::{Definition, ImageSource, OsSource, OsType};
pub use image_path::{ImagePath, ImagePathSelector};
pub use inputs::{BaseImage, InputChange, InputPart, Inputs, InputsHash};
pub use lab::LabId;
pub use messages::{Message, Queue};
pub use names::{DeploymentName, ImageName, VmName};
pub use repository::{BadRepository, GITHUB_HOST, Repository};
pub use run::{RunId, RunReason};

/// The tag that says which definition a VM or an image was made from; the PowerShell sample sets the same one.
pub const IMAGE_PATH_TAG: &str = "ImagePath";
/// The tag that says which run made something: what does not carry it is not the factory's and is never deleted.
pub const RUN_TAG: &str = "FactoryRun";
/// The tag that says when that run started, RFC 3339: of two runs that overlap, the later one's image is the newer one.
pub const RUN_STARTED_TAG: &str = "FactoryRunStartedAt";
/// The tag that has the hash of everything that an image was made from; the parts stand beside it, each in a tag that begins
/// with [`INPUT_TAG`].
pub const INPUTS_TAG: &str = "FactoryInputs";
/// What the tags of an image's [`InputPart`]s begin with: `FactoryInput.BaseImage`.
pub const INPUT_TAG: &str = "FactoryInput.";
/// The tag that has the URL of the statement about where an image comes from, without SAS.
pub const PROVENANCE_TAG: &str = "FactoryProvenance";
/// The tag by which people keep an image for good.
pub const KEEP_TAG: &str = "FactoryKeep";
/// The tag by which people keep the factory away from a VM; the PowerShell sample reads the same one.
pub const IGNORE_TAG: &str = "FactoryIgnore";
