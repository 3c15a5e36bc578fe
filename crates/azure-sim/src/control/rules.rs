//! What is forbidden to whom, and how much a subscription gets.

use serde::{Deserialize, Serialize};

use crate::{
    Sim,
    arm::{Denial, Limits},
};

/// The cores of a subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaSpec {
    /// The subscription's id; added if it is new.
    pub subscription_id: String,
    /// So many cores in each region; no limit where absent.
    pub cores: Option<u32>,
}

/// Forbids these from now on, instead of what was forbidden before.
pub fn set_denials(sim: &Sim, denials: Vec<Denial>) {
    sim.world().arm.denials = denials;
}

/// Gives a subscription so many cores.
pub fn set_quota(sim: &Sim, spec: &QuotaSpec) {
    sim.world().set_quota(&spec.subscription_id, spec.cores);
}

/// Takes so many requests from now on.
pub fn set_limits(sim: &Sim, limits: Limits) {
    sim.world().arm.throttle.limits = limits;
}
