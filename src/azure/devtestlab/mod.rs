//! Microsoft.DevTestLab: <https://learn.microsoft.com/rest/api/dtl/>.

mod custom_image;
mod formula;
mod lab;
mod shared_image;
mod virtual_machine;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json::text;

pub use custom_image::{CustomImage, CustomImageSpec};
pub use formula::Formula;
pub use lab::{Lab, LabAddress};
pub use shared_image::SharedImage;
pub use virtual_machine::{LabVm, VmArtifact};

/// The provider's only stable version.
const API_VERSION: &str = "2018-09-15";

/// An operating system, as Azure tells images apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OsType {
    /// Generalised by sysprep.
    Windows,
    /// Generalised by the Azure Linux agent's deprovisioning.
    Linux,
}

impl OsType {
    /// Azure's own spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Windows => "Windows",
            Self::Linux => "Linux",
        }
    }

    /// The system at a JSON pointer, in any case; `None` also for DevTest Labs' third value, `None`.
    pub(super) fn read(value: &Value, pointer: &str) -> Option<Self> {
        let text = text(value, pointer)?;
        [Self::Windows, Self::Linux].into_iter().find(|os| os.as_str().eq_ignore_ascii_case(&text))
    }
}

impl std::fmt::Display for OsType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
