//! [`Faults`] as JSON.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use time::OffsetDateTime;

use crate::chaos::{Chance, Chances};
use crate::fault::{
    ArtifactFault, ArtifactOutcome, CopyFault, CustomImageFault, Faults, HttpEffect, HttpFault,
    VirtualMachineFault,
};

/// Everything that shall go wrong. Texts are matched as parts, ignoring case.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct FaultsSpec {
    /// Answers of the HTTP interfaces.
    pub http: Vec<HttpFaultSpec>,
    /// Artifacts on lab VMs.
    pub artifacts: Vec<ArtifactFaultSpec>,
    /// Lab VMs that cannot be made.
    pub virtual_machines: Vec<VirtualMachineFaultSpec>,
    /// Blob copies that end badly.
    pub copies: Vec<CopyFaultSpec>,
    /// Custom images that cannot be registered.
    pub custom_images: Vec<CustomImageFaultSpec>,
    /// What goes wrong by chance.
    pub chances: ChancesSpec,
}

/// [`Chances`]: kinds are written as [`Chance::name`] says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ChancesSpec {
    /// From which everything is drawn.
    pub seed: u64,
    /// How often each kind strikes, 0 to 1.
    pub rates: BTreeMap<Chance, f64>,
    /// Nothing strikes after this moment of the simulator's time.
    #[serde(with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
}

/// [`HttpFault`]: with `status` it is an answer; with `reset` `before` or `after` the connection breaks; with
/// `delaySeconds` the answer comes later.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct HttpFaultSpec {
    /// Only this method; any where absent.
    pub method: Option<String>,
    /// Only URLs that hold this.
    pub url_part: String,
    /// So many matching requests pass first.
    pub skip: u32,
    /// So many then suffer; 1 where absent.
    pub times: Option<u32>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Headers of the answer.
    pub headers: Vec<(String, String)>,
    /// The body of the answer.
    pub body: String,
    /// `before` or `after` the request has its effect.
    pub reset: Option<Reset>,
    /// So much later, in seconds.
    pub delay_seconds: f64,
}

/// When a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Reset {
    /// Before the request has its effect.
    Before,
    /// After that, but before the answer.
    After,
}

/// [`ArtifactFault`]; without a message the artifact never ends.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArtifactFaultSpec {
    /// Only on lab VMs whose name holds this.
    #[serde(default)]
    pub vm_part: String,
    /// Only artifacts whose id holds this.
    #[serde(default)]
    pub artifact_part: String,
    /// With what it fails.
    pub message: Option<String>,
}

/// [`VirtualMachineFault`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualMachineFaultSpec {
    /// Lab VMs whose name holds this.
    pub vm_part: String,
    /// Azure's code.
    pub code: String,
    /// Azure's message.
    pub message: String,
}

/// [`CopyFault`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopyFaultSpec {
    /// Copies whose destination URL holds this.
    pub destination_part: String,
    /// How much is copied before it ends, 0 to 1.
    #[serde(default)]
    pub at_fraction: f64,
    /// So many matching copies suffer.
    #[serde(default = "once")]
    pub times: u32,
    /// `x-ms-copy-status-description`.
    pub description: String,
}

/// [`CustomImageFault`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CustomImageFaultSpec {
    /// Custom images whose id holds this.
    pub id_part: String,
    /// Azure's code.
    pub code: String,
    /// Azure's message.
    pub message: String,
}

fn once() -> u32 {
    1
}

impl FaultsSpec {
    /// The faults that it describes.
    pub fn to_faults(&self) -> Faults {
        Faults {
            http: self.http.iter().map(HttpFaultSpec::to_fault).collect(),
            artifacts: self
                .artifacts
                .iter()
                .map(|spec| ArtifactFault {
                    vm_part: spec.vm_part.clone(),
                    artifact_part: spec.artifact_part.clone(),
                    outcome: match &spec.message {
                        Some(message) => ArtifactOutcome::Fails(message.clone()),
                        None => ArtifactOutcome::NeverEnds,
                    },
                })
                .collect(),
            virtual_machines: self
                .virtual_machines
                .iter()
                .map(|spec| VirtualMachineFault {
                    vm_part: spec.vm_part.clone(),
                    code: spec.code.clone(),
                    message: spec.message.clone(),
                })
                .collect(),
            copies: self
                .copies
                .iter()
                .map(|spec| CopyFault {
                    destination_part: spec.destination_part.clone(),
                    at_fraction: spec.at_fraction,
                    times: spec.times,
                    description: spec.description.clone(),
                })
                .collect(),
            custom_images: self
                .custom_images
                .iter()
                .map(|spec| CustomImageFault {
                    id_part: spec.id_part.clone(),
                    code: spec.code.clone(),
                    message: spec.message.clone(),
                })
                .collect(),
        }
    }
}

impl ChancesSpec {
    /// The chances that it describes.
    pub fn to_chances(&self) -> Chances {
        Chances { seed: self.seed, rates: self.rates.clone(), until: self.until }
    }
}

impl HttpFaultSpec {
    fn to_fault(&self) -> HttpFault {
        let effect = match (self.status, self.reset) {
            (Some(status), _) => {
                HttpEffect::Answer { status, headers: self.headers.clone(), body: self.body.clone() }
            }
            (None, Some(Reset::Before)) => HttpEffect::ResetBefore,
            (None, Some(Reset::After)) => HttpEffect::ResetAfter,
            (None, None) => {
                let later = Duration::try_from_secs_f64(self.delay_seconds).unwrap_or_default();
                HttpEffect::Delay(later)
            }
        };
        HttpFault {
            method: self.method.as_ref().and_then(|method| method.to_ascii_uppercase().parse().ok()),
            url_part: self.url_part.clone(),
            skip: self.skip,
            times: self.times.unwrap_or(1),
            effect,
        }
    }
}
