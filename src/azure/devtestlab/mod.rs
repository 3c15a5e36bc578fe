//! Microsoft.DevTestLab: <https://learn.microsoft.com/rest/api/dtl/>.

mod artifact_source;
mod custom_image;
mod formula;
mod lab;
mod shared_image;
mod virtual_machine;

use serde_json::Value;

use super::json::text;
use crate::domain::OsType;

pub use custom_image::{CustomImage, CustomImageSpec};
pub use formula::Formula;
pub use lab::{Lab, LabAddress};
pub use shared_image::SharedImage;
pub use virtual_machine::{LabVm, VmArtifact};

/// The provider's only stable version.
const API_VERSION: &str = "2018-09-15";

/// The operating system at a JSON pointer, in any case; `None` also for DevTest Labs' third value, `None`.
pub(super) fn os_type(value: &Value, pointer: &str) -> Option<OsType> {
    OsType::from_azure(&text(value, pointer)?)
}
