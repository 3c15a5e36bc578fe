//! Resources of all kinds in one list (Microsoft, "Resources - List", "Resources - List By Resource Group"): those that
//! Resource Manager keeps track of, each by its id, name, type, place and tags alone.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
    listing,
};
use crate::World;

/// What other properties than those of an item a filter may name.
const FILTERED: [&str; 2] = ["resourceType", "resourceGroup"];
/// What the filters of tags begin with; they are not simulated.
const TAG_FILTERS: [&str; 2] = ["tagname", "tagvalue"];

/// `{subscription}/resources` or `{group}/resources`.
pub(crate) fn list(world: &World, call: &Call) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let filter = call.query.get("$filter").map(|filter| filter.to_ascii_lowercase()).unwrap_or_default();
    if TAG_FILTERS.iter().any(|word| filter.contains(word)) {
        return Err(ArmError::new(400, "InvalidFilter", format!("The filter '{filter}' is not supported.")));
    }
    let scope = call.scope();
    let all: BTreeMap<String, Value> = tracked(world).filter(|(key, _)| key.starts_with(&scope)).collect();
    let mut answer =
        listing::page(world, call, |token| listing::after(&all, token), |item: &Value| item.clone())?;
    let items = answer.body.as_mut().and_then(|body| body["value"].as_array_mut());
    for item in items.into_iter().flatten().filter_map(Value::as_object_mut) {
        for name in FILTERED {
            item.remove(name);
        }
    }
    Ok(answer)
}

/// All resources by their ids in lower case, with what filters may name.
fn tracked(world: &World) -> impl Iterator<Item = (String, Value)> {
    let labs = world.arm.labs.values().flat_map(|lab| {
        let own = item(lab.key(), &lab.name, "Microsoft.DevTestLab/labs", &lab.location, &lab.tags);
        let machines = lab.machines.values().map(|machine| {
            let id = format!("{}/virtualmachines/{}", lab.key(), machine.name.to_lowercase());
            let name = format!("{}/{}", lab.name, machine.name);
            item(id, &name, "Microsoft.DevTestLab/labs/virtualMachines", &machine.location, &machine.tags)
        });
        std::iter::once(own).chain(machines)
    });
    let none = Map::new();
    let machines = world.arm.machines.values().map({
        let none = none.clone();
        move |m| item(m.id.clone(), &m.name, "Microsoft.Compute/virtualMachines", &m.location, &none)
    });
    let disks = world.arm.disks.values().map({
        let none = none.clone();
        move |disk| item(disk.id.clone(), &disk.name, "Microsoft.Compute/disks", &disk.location, &none)
    });
    let accounts = world.storage.accounts.values().map(move |account| {
        let kind = "Microsoft.Storage/storageAccounts";
        item(account.id.clone(), &account.name, kind, &account.location, &none)
    });
    labs.chain(machines).chain(disks).chain(accounts)
}

fn item(id: String, name: &str, kind: &str, location: &str, tags: &Map<String, Value>) -> (String, Value) {
    let key = id.to_lowercase();
    let group = id.split('/').nth(4).unwrap_or_default();
    let mut item = json!({
        "resourceType": kind,
        "resourceGroup": group,
        "id": id,
        "name": name,
        "type": kind,
        "location": location,
    });
    if !tags.is_empty() {
        item["tags"] = json!(tags);
    }
    (key, item)
}
