//! What a test wants to go wrong.

use std::time::Duration;

/// Everything that shall go wrong; empty by default. Texts are matched as parts, ignoring case.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Answers of the HTTP interfaces.
    pub http: Vec<HttpFault>,
    /// Artifacts on lab VMs.
    pub artifacts: Vec<ArtifactFault>,
    /// Lab VMs that cannot be made.
    pub virtual_machines: Vec<VirtualMachineFault>,
    /// Blob copies that end badly.
    pub copies: Vec<CopyFault>,
    /// Custom images that cannot be registered.
    pub custom_images: Vec<CustomImageFault>,
}

/// A fault of the HTTP interfaces.
#[derive(Clone, Debug)]
pub struct HttpFault {
    /// Only requests with this method; any where `None`.
    pub method: Option<http::Method>,
    /// Only requests whose URL holds this.
    pub url_part: String,
    /// So many matching requests pass first.
    pub skip: u32,
    /// So many matching requests then suffer.
    pub times: u32,
    /// What they suffer.
    pub effect: HttpEffect,
}

/// What a request suffers.
#[derive(Clone, Debug)]
pub enum HttpEffect {
    /// It is answered like this and has no effect.
    Answer {
        /// The HTTP status.
        status: u16,
        /// Extra headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// The connection breaks before the request has an effect.
    ResetBefore,
    /// The request has its effect, but the connection breaks before the answer.
    ResetAfter,
    /// The answer comes so much later.
    Delay(Duration),
}

/// A fault of an artifact.
#[derive(Clone, Debug)]
pub struct ArtifactFault {
    /// Only on lab VMs whose name holds this.
    pub vm_part: String,
    /// Only artifacts whose id holds this.
    pub artifact_part: String,
    /// What happens.
    pub outcome: ArtifactOutcome,
}

/// How an artifact ends.
#[derive(Clone, Debug)]
pub enum ArtifactOutcome {
    /// It fails with this message; the ones after it are skipped.
    Fails(String),
    /// It never ends.
    NeverEnds,
}

/// A lab VM that cannot be made.
#[derive(Clone, Debug)]
pub struct VirtualMachineFault {
    /// Lab VMs whose name holds this.
    pub vm_part: String,
    /// Azure's error code, such as `AllocationFailed`.
    pub code: String,
    /// Azure's message.
    pub message: String,
}

/// A copy that ends badly.
#[derive(Clone, Debug)]
pub struct CopyFault {
    /// Copies whose destination URL holds this.
    pub destination_part: String,
    /// How much is copied before it ends, 0 to 1.
    pub at_fraction: f64,
    /// So many matching copies suffer.
    pub times: u32,
    /// `x-ms-copy-status-description`, such as `404 ResourceNotFound "Copy failed when reading the source."`.
    pub description: String,
}

/// A custom image that cannot be registered.
#[derive(Clone, Debug)]
pub struct CustomImageFault {
    /// Custom images whose id holds this.
    pub id_part: String,
    /// Azure's error code.
    pub code: String,
    /// Azure's message.
    pub message: String,
}

/// Whether `text` holds `part`, ignoring case.
pub fn holds(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

impl Faults {
    /// The effect that a request suffers, if any; uses up one of its times.
    pub fn strike(&mut self, method: &http::Method, url: &str) -> Option<HttpEffect> {
        let fault = self.http.iter_mut().find(|fault| {
            fault.method.as_ref().is_none_or(|m| m == method)
                && holds(url, &fault.url_part)
                && (fault.skip > 0 || fault.times > 0)
        })?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.effect.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_strikes_after_its_skips_and_for_its_times() {
        let effect = HttpEffect::ResetBefore;
        let fault = HttpFault {
            method: Some(http::Method::PUT),
            url_part: "/VMS/".into(),
            skip: 1,
            times: 2,
            effect,
        };
        let mut faults = Faults { http: vec![fault], ..Faults::default() };
        let mut strike = |method| faults.strike(&method, "https://x/vms/a").is_some();
        assert!(!strike(http::Method::GET));
        let put: Vec<bool> = (0..4).map(|_| strike(http::Method::PUT)).collect();
        assert_eq!(put, [false, true, true, false]);
    }
}
