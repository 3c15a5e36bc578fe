//! How much of Compute a subscription may have and has (`locations/{location}/usages`), and which VM sizes there are (`skus`).

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
    quota,
};
use crate::World;

/// Sizes with the family whose quota they use, as Compute lists them. Others that look like sizes can be deployed, too.
const SIZES: [(&str, &str); 20] = [
    ("Standard_B2ms", "standardBSFamily"),
    ("Standard_B2s", "standardBSFamily"),
    ("Standard_B4ms", "standardBSFamily"),
    ("Standard_D2ds_v5", "standardDDSv5Family"),
    ("Standard_D4ds_v5", "standardDDSv5Family"),
    ("Standard_D2s_v3", "standardDSv3Family"),
    ("Standard_D4s_v3", "standardDSv3Family"),
    ("Standard_D8s_v3", "standardDSv3Family"),
    ("Standard_D16s_v3", "standardDSv3Family"),
    ("Standard_D2s_v5", "standardDSv5Family"),
    ("Standard_D4s_v5", "standardDSv5Family"),
    ("Standard_D8s_v5", "standardDSv5Family"),
    ("Standard_DS1_v2", "standardDSv2Family"),
    ("Standard_DS2_v2", "standardDSv2Family"),
    ("Standard_DS3_v2", "standardDSv2Family"),
    ("Standard_E2s_v3", "standardESv3Family"),
    ("Standard_E4s_v3", "standardESv3Family"),
    ("Standard_E4s_v5", "standardESv5Family"),
    ("Standard_F2s_v2", "standardFSv2Family"),
    ("Standard_F4s_v2", "standardFSv2Family"),
];
/// What a subscription without a limit of its own shows: so much that nobody meets it.
const PLENTY: u32 = 100_000;
/// VMs of a subscription in a region: "25,000" (Microsoft, "Azure subscription and service limits").
const MOST_MACHINES: u32 = 25_000;

/// `{subscription}/providers/Microsoft.Compute/locations/{location}/usages`.
pub(crate) fn usages(world: &World, call: &Call, location: &str) -> Result<Answer, ArmError> {
    only_get(call)?;
    let prefix = format!("/subscriptions/{}/", call.subscription());
    let machines: Vec<_> = world
        .arm
        .machines
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .map(|(_, machine)| machine)
        .filter(|machine| machine.location.eq_ignore_ascii_case(location))
        .collect();
    let limit = quota::limit(world, call.subscription()).unwrap_or(PLENTY);
    let mut families: BTreeMap<&str, u32> = SIZES.iter().map(|(_, family)| (*family, 0)).collect();
    for machine in &machines {
        let known = SIZES.iter().find(|(size, _)| size.eq_ignore_ascii_case(&machine.size));
        if let Some((_, family)) = known {
            *families.entry(family).or_default() += quota::cores(&machine.size).unwrap_or(0);
        }
    }
    let count = u32::try_from(machines.len()).unwrap_or(u32::MAX);
    let mut value = vec![
        usage("virtualMachines", "Virtual Machines", count, MOST_MACHINES),
        usage("cores", "Total Regional vCPUs", quota::in_use(world, call.subscription(), location), limit),
    ];
    value.extend(families.into_iter().map(|(family, used)| usage(family, family, used, limit)));
    Ok(Answer::json(200, json!({"value": value})))
}

fn usage(name: &str, localized: &str, used: u32, limit: u32) -> Value {
    let name = json!({"value": name, "localizedValue": localized});
    json!({"limit": limit, "unit": "Count", "currentValue": used, "name": name})
}

/// `{subscription}/providers/Microsoft.Compute/skus`; `$filter` knows `location eq '…'` and nothing else, as in Azure.
pub(crate) fn skus(call: &Call) -> Result<Answer, ArmError> {
    only_get(call)?;
    let filter = call.query.get("$filter").map_or("", String::as_str);
    let location = filter.strip_prefix("location eq '").and_then(|rest| rest.strip_suffix('\''));
    let Some(location) = location else {
        let message = format!("The filter '{filter}' is not supported: only 'location eq' is.");
        return Err(ArmError::new(400, "BadRequest", message));
    };
    let view = |(size, family): &(&str, &str)| {
        let cores = quota::cores(size).unwrap_or_default().to_string();
        json!({
            "resourceType": "virtualMachines",
            "name": size,
            "tier": "Standard",
            "size": size.trim_start_matches("Standard_"),
            "family": family,
            "locations": [location],
            "capabilities": [{"name": "vCPUs", "value": cores}],
            "restrictions": [],
        })
    };
    let disks =
        json!({"resourceType": "disks", "name": "Premium_LRS", "locations": [location], "restrictions": []});
    let value: Vec<Value> = std::iter::once(disks).chain(SIZES.iter().map(view)).collect();
    Ok(Answer::json(200, json!({"value": value})))
}

fn only_get(call: &Call) -> Result<(), ArmError> {
    match call.method {
        Method::GET => Ok(()),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}
