//! How long things take in simulated Azure.
//!
//! Every duration is drawn from the seed and the *name* of what takes it, never from a running generator: the same VM takes
//! the same time whatever else happens, so runs with and without faults can be compared.

use std::time::Duration;

use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A span of time, in seconds, from which durations are drawn evenly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// The shortest, in seconds.
    pub least: f64,
    /// The longest, in seconds.
    pub most: f64,
}

impl Span {
    /// From `least` to `most` seconds.
    pub const fn seconds(least: f64, most: f64) -> Self {
        Self { least, most }
    }
}

/// The spans of everything that takes time. [`Profile::default`] is realistic; tests set what they need.
#[derive(Clone, Debug)]
pub struct Profile {
    /// From a deployment's PUT until it makes its first resource.
    pub deployment_start: Span,
    /// One Resource Manager request. Typical of the public endpoint; no promise is published.
    pub arm_call: Span,
    /// One Blob Storage request (Microsoft, "Latency in Blob storage": low tens of milliseconds end to end).
    pub blob_call: Span,
    /// From the deployment's start until the lab VM runs and its artifacts begin. With the artifacts, the generalising one and
    /// the shutdown a VM takes 10 to 25 minutes (recorded: a plain lab VM was still creating after 6 minutes,
    /// Azure/azure-cli, test_lab_vm.yaml).
    pub vm_creation: Span,
    /// One ordinary artifact.
    pub artifact: Span,
    /// The generalising artifact: sysprep or waagent deprovision.
    pub generalizing_artifact: Span,
    /// From the end of the generalising artifact until the VM is deallocated (`waitForShutdown`, `deallocate`).
    pub deallocation: Span,
    /// Starting, stopping or restarting a VM.
    pub power_action: Span,
    /// Deleting a lab VM with its compute resources.
    pub vm_deletion: Span,
    /// `beginGetAccess` and `endGetAccess` of a managed disk.
    pub disk_access: Span,
    /// Copy Blob, in MiB per second: the target throughput of one page blob is up to 60 MiB/s (Microsoft,
    /// "Scalability and performance targets for Blob storage").
    pub copy_mib_per_second: Span,
    /// Copy Blob between regions, in MiB per second. No figure is published (best effort, without a service level): the
    /// source is read over the backbone, and people see a quarter to a half of what one region gives.
    pub cross_region_copy_mib_per_second: Span,
    /// The share of copies, 0 to 1, that cannot read their source for a while and then go on by themselves (Microsoft, "Get
    /// Blob Properties": `x-ms-copy-status-description` of a pending copy). No figure is published; rare.
    pub copy_stall_share: f64,
    /// How long such a copy waits.
    pub copy_stall: Span,
    /// Registering a custom image from a VHD: 2 to 5 minutes.
    pub custom_image: Span,
    /// Deleting a custom image: about 60 s (recorded: Azure/azure-cli, test_lab_custom_image.yaml).
    pub custom_image_deletion: Span,
    /// Deleting a deployment from the history.
    pub deployment_deletion: Span,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            deployment_start: Span::seconds(1.0, 4.0),
            arm_call: Span::seconds(0.08, 0.4),
            blob_call: Span::seconds(0.008, 0.04),
            vm_creation: Span::seconds(300.0, 720.0),
            artifact: Span::seconds(30.0, 180.0),
            generalizing_artifact: Span::seconds(120.0, 300.0),
            deallocation: Span::seconds(60.0, 150.0),
            power_action: Span::seconds(30.0, 90.0),
            vm_deletion: Span::seconds(60.0, 240.0),
            disk_access: Span::seconds(3.0, 15.0),
            copy_mib_per_second: Span::seconds(54.0, 60.0),
            cross_region_copy_mib_per_second: Span::seconds(15.0, 30.0),
            copy_stall_share: 0.03,
            copy_stall: Span::seconds(20.0, 120.0),
            custom_image: Span::seconds(120.0, 300.0),
            custom_image_deletion: Span::seconds(45.0, 75.0),
            deployment_deletion: Span::seconds(5.0, 20.0),
        }
    }
}

/// Draws from the spans.
#[derive(Clone, Debug)]
pub struct Latencies {
    seed: u64,
    /// The spans in force.
    pub profile: Profile,
}

impl Latencies {
    /// Draws that depend on `seed`.
    pub fn new(seed: u64, profile: Profile) -> Self {
        Self { seed, profile }
    }

    /// A number from `span` for `subject` (case ignored, as resource ids are).
    pub fn number(&self, span: Span, subject: &str) -> f64 {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_le_bytes());
        hash.update(subject.to_ascii_lowercase());
        let mut generator = ChaCha8Rng::from_seed(hash.finalize().into());
        if span.most <= span.least { span.least } else { generator.random_range(span.least..span.most) }
    }

    /// A duration from `span` for `subject`, in whole milliseconds.
    pub fn draw(&self, span: Span, subject: &str) -> Duration {
        Duration::from_millis((self.number(span, subject) * 1000.0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_takes_the_same_time_whatever_was_drawn_before() {
        let span = Span::seconds(10.0, 20.0);
        let one = Latencies::new(7, Profile::default());
        let alone = one.draw(span, "/subscriptions/S/vm");
        let _ = one.draw(span, "other");
        assert_eq!(one.draw(span, "/subscriptions/s/VM"), alone);
        assert_ne!(Latencies::new(8, Profile::default()).draw(span, "/subscriptions/S/vm"), alone);
        assert!(alone >= Duration::from_secs(10) && alone < Duration::from_secs(20));
    }
}
