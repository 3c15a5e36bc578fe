//! Cores: how many a size has, how many are in use, and Azure's two ways of refusing more.

use super::error::ArmError;
use crate::World;

/// The cores of a VM size such as `Standard_D2s_v3`; `None` if it is no size.
pub(crate) fn cores(size: &str) -> Option<u32> {
    let (tier, rest) = size.split_once('_')?;
    if !tier.eq_ignore_ascii_case("standard") && !tier.eq_ignore_ascii_case("basic") {
        return None;
    }
    let lower = rest.to_ascii_lowercase();
    let start = lower.find(|c: char| c.is_ascii_digit())?;
    let family = &lower[..start];
    if family.is_empty() || !family.chars().all(|c| c.is_ascii_alphabetic()) {
        return None;
    }
    let digits: String = lower[start..].chars().take_while(char::is_ascii_digit).collect();
    let number: u32 = digits.parse().ok()?;
    let rest = &lower[start + digits.len()..];
    // The first generations are numbered, not counted (Microsoft, "Sizes - previous generations").
    let numbered = matches!(family, "d" | "ds" | "g" | "gs") && matches!(rest, "" | "_v2" | "_v2_promo");
    Some(match (numbered, family, number) {
        (true, _, 1) => 1,
        (true, _, 2 | 11) => 2,
        (true, _, 3 | 12) => 4,
        (true, _, 4 | 13) => 8,
        (true, _, 5 | 14) => 16,
        (true, _, 15) => 20,
        (_, "a", 0) => 1,
        (_, "a", 5) if rest.is_empty() => 2,
        (_, "a", 6) if rest.is_empty() => 4,
        (_, "a", 7) if rest.is_empty() => 8,
        (_, "a", 3) if rest.is_empty() => 4,
        (_, "a", 4) if rest.is_empty() => 8,
        (_, _, 0) => return None,
        (_, _, count) => count,
    })
}

/// Cores in use: "both allocated and deallocated" VMs count (Microsoft, "Check vCPU quotas").
pub(crate) fn in_use(world: &World, subscription: &str, location: &str) -> u32 {
    let prefix = format!("/subscriptions/{subscription}/");
    world
        .arm
        .machines
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .filter(|(_, machine)| machine.location.eq_ignore_ascii_case(location))
        .filter_map(|(_, machine)| cores(&machine.size))
        .sum()
}

/// # Errors
/// 409 `OperationNotAllowed` if a VM of this size finds no cores: the form in which Compute refuses while making a VM.
pub(crate) fn check(world: &World, subscription: &str, location: &str, size: &str) -> Result<(), ArmError> {
    let Some(limit) = limit(world, subscription) else {
        return Ok(());
    };
    let wanted = cores(size).unwrap_or(0);
    let used = in_use(world, subscription, location);
    if used + wanted <= limit {
        return Ok(());
    }
    Err(regional_cores(location, limit, used, wanted))
}

/// The form in which Compute refuses while making a VM.
fn regional_cores(location: &str, limit: u32, used: u32, wanted: u32) -> ArmError {
    ArmError::new(
        409,
        "OperationNotAllowed",
        format!(
            "Operation could not be completed as it results in exceeding approved Total Regional Cores quota. Additional details - Deployment Model: Resource Manager, Location: {location}, Current Limit: {limit}, Current Usage: {used}, Additional Required: {wanted}, (Minimum) New Limit Required: {}. Setup Alerts when Quota reaches threshold. Learn more at https://aka.ms/quotamonitoringalerting . Submit a request for Quota increase at https://aka.ms/ProdportalCRP/ by specifying parameters listed in the 'Details' section for deployment to succeed.",
            used + wanted
        ),
    )
}

/// The form of pre-flight.
fn core_limit(limit: u32, used: u32, wanted: u32) -> ArmError {
    ArmError::new(
        400,
        "QuotaExceeded",
        format!(
            "Operation could not be completed as it results in exceeding quota limits of Core. Maximum allowed: {limit}, Current in use: {used}, Additional requested: {wanted}. Please read more about quota increase at https://aka.ms/corequotaincrease."
        ),
    )
}

/// What Compute says when others have just taken the cores that a VM of this size wants.
pub(crate) fn refusal(world: &World, subscription: &str, location: &str, size: &str) -> ArmError {
    let (limit, used, wanted) = taken(world, subscription, location, size);
    regional_cores(location, limit, used, wanted)
}

/// What pre-flight says then.
pub(crate) fn preflight_refusal(world: &World, subscription: &str, location: &str, size: &str) -> ArmError {
    let (limit, used, wanted) = taken(world, subscription, location, size);
    core_limit(limit, used, wanted)
}

fn taken(world: &World, subscription: &str, location: &str, size: &str) -> (u32, u32, u32) {
    let wanted = cores(size).unwrap_or(1);
    let limit = limit(world, subscription).unwrap_or(0).max(in_use(world, subscription, location) + wanted);
    (limit, limit, wanted)
}

/// A refusal of pre-flight as a deployment answers it.
pub(crate) fn invalid_deployment(name: &str, tracking_id: &str, inner: ArmError) -> ArmError {
    let mut error = ArmError::new(
        400,
        "InvalidTemplateDeployment",
        format!(
            "The template deployment '{name}' is not valid according to the validation procedure. The tracking id is '{tracking_id}'. See inner errors for details."
        ),
    );
    error.details.push(inner);
    error
}

/// # Errors
/// `QuotaExceeded`, to be wrapped in `InvalidTemplateDeployment`, if these sizes together are more than the subscription may
/// ever have: what pre-flight sees without looking at time.
pub(crate) fn preflight(
    world: &World,
    subscription: &str,
    location: &str,
    wanted: u32,
) -> Result<(), ArmError> {
    match limit(world, subscription) {
        Some(limit) if wanted > limit => {
            Err(core_limit(limit, in_use(world, subscription, location), wanted))
        }
        _ => Ok(()),
    }
}

/// How many cores a subscription may have in each region; no limit where `None`.
pub(crate) fn limit(world: &World, subscription: &str) -> Option<u32> {
    world.arm.subscriptions.get(subscription)?.cores
}

#[cfg(test)]
mod tests {
    use super::cores;

    #[test]
    fn sizes_have_the_cores_that_azure_lists() {
        for (size, expected) in [
            ("Standard_D2s_v3", Some(2)),
            ("standard_ds3_v2", Some(4)),
            ("Standard_DS1_v2", Some(1)),
            ("Standard_B2ms", Some(2)),
            ("Standard_E16-8s_v5", Some(16)),
            ("Standard_A4_v2", Some(4)),
            ("Standard_NC24ads_A100_v4", Some(24)),
            ("Standard_D4ds_v5", Some(4)),
            ("Basic_A0", Some(1)),
            ("Standard_D", None),
            ("Large", None),
            ("D2s_v3", None),
            ("", None),
        ] {
            assert_eq!(cores(size), expected, "{size}");
        }
    }
}
