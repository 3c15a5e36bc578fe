//! What is forbidden to whom, how much a subscription gets, and what the Marketplace has.

use serde::{Deserialize, Serialize};

use crate::{
    Sim,
    arm::{Denial, Limits, RoleAssignment},
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

/// The versions of an image of the Marketplace.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketplaceSpec {
    /// Such as `MicrosoftWindowsServer`.
    pub publisher: String,
    /// Such as `WindowsServer`.
    pub offer: String,
    /// Such as `2022-datacenter-g2`.
    pub sku: String,
    /// All that there are, in any order; without any, the SKU is unknown.
    pub versions: Vec<String>,
}

/// Publishes and withdraws versions of an image: from now on it has these.
pub fn set_marketplace(sim: &Sim, spec: MarketplaceSpec) {
    let MarketplaceSpec { publisher, offer, sku, versions } = spec;
    sim.world().arm.marketplace.set(&publisher, &offer, &sku, versions);
}

/// Forbids these from now on, instead of what was forbidden before.
pub fn set_denials(sim: &Sim, denials: Vec<Denial>) {
    sim.world().arm.denials = denials;
}

/// Gives everybody these roles and no others from now on; lets everybody do everything again where `None`.
pub fn set_role_assignments(sim: &Sim, assignments: Option<Vec<RoleAssignment>>) {
    sim.world().arm.role_assignments = assignments;
}

/// Gives a subscription so many cores.
pub fn set_quota(sim: &Sim, spec: &QuotaSpec) {
    sim.world().set_quota(&spec.subscription_id, spec.cores);
}

/// Takes so many requests from now on.
pub fn set_limits(sim: &Sim, limits: Limits) {
    sim.world().arm.throttle.limits = limits;
}
