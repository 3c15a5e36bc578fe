//! The other children of a lab, which the factory only reads or a template brings along: virtual networks, artifact sources,
//! schedules, costs, service runners. They are kept as they were put.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{
    artifacts::{Artifact, ArtifactSource},
    call::{Answer, Call},
    error::ArmError,
    labs::{self, Lab},
    listing, tags,
};
use crate::World;

/// The kinds of children that DevTest Labs has (Microsoft.DevTestLab 2018-09-15), as it spells them.
const KINDS: [&str; 7] = [
    "artifactSources",
    "costs",
    "notificationChannels",
    "schedules",
    "serviceRunners",
    "users",
    "virtualNetworks",
];

/// `{lab}/{kind}[/{name}]`, and the artifacts of a source.
pub(crate) fn route(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    if let ["artifactsources", source, "artifacts", rest @ ..] = rest {
        return artifacts(world, call, lab_key, source, rest);
    }
    let kind = rest.first().and_then(|kind| KINDS.iter().find(|known| known.eq_ignore_ascii_case(kind)));
    let Some(kind) = kind.filter(|_| rest.len() <= 2) else {
        return Err(ArmError::new(
            404,
            "InvalidResourceType",
            format!(
                "The resource type of '{}' could not be found in the namespace 'Microsoft.DevTestLab'.",
                call.path()
            ),
        ));
    };
    let prefix = format!("{}/", kind.to_lowercase());
    let Some(name) = rest.get(1) else {
        if call.method != Method::GET {
            return Err(ArmError::method_not_allowed(&call.method, &call.path()));
        }
        let lab = labs::get(world, lab_key, call)?;
        return listing::page(
            world,
            call,
            |token| children(lab, &prefix, token),
            |child: &Value| child.clone(),
        );
    };
    let key = format!("{prefix}{name}");
    match call.method {
        Method::GET => match labs::get(world, lab_key, call)?.children.get(&key) {
            Some(child) => Ok(Answer::json(200, child.clone())),
            None => Err(ArmError::not_found(&call.path())),
        },
        Method::PUT => put(world, call, lab_key, kind, &key),
        Method::DELETE => {
            let lab = labs::get_mut(world, lab_key, call)?;
            lab.artifact_sources.remove(*name);
            let status = if lab.children.remove(&key).is_some() { 200 } else { 204 };
            Ok(Answer::empty(status))
        }
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

fn put(world: &mut World, call: &Call, lab_key: &str, kind: &str, key: &str) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let tags = tags::read(&body)?;
    let mut properties = match &body["properties"] {
        Value::Object(_) => body["properties"].clone(),
        Value::Null => json!({}),
        _ => return Err(ArmError::bad_request("'properties' must be a JSON object.")),
    };
    if let Some(properties) = properties.as_object_mut() {
        // The token of a private repository never comes back.
        properties.remove("securityToken");
    }
    properties["provisioningState"] = json!("Succeeded");
    let lab = labs::get_mut(world, lab_key, call)?;
    let mut child = json!({
        "properties": properties,
        "id": format!("{}/{key}", lab.key()),
        "name": call.name(),
        "type": format!("Microsoft.DevTestLab/labs/{kind}"),
    });
    if let Some(location) = body.get("location") {
        child["location"] = location.clone();
    }
    if let Some(tags) = tags {
        child["tags"] = json!(tags);
    }
    let old = lab.children.insert(key.to_owned(), child.clone());
    Ok(Answer::json(if old.is_some() { 200 } else { 201 }, child))
}

fn children<'a>(
    lab: &'a Lab,
    prefix: &str,
    token: Option<&str>,
) -> impl Iterator<Item = (&'a String, &'a Value)> + use<'a> {
    let prefix = prefix.to_owned();
    let start = token.unwrap_or(&prefix).to_owned();
    let skip = token.map(str::to_owned);
    lab.children
        .range(start..)
        .take_while(move |(key, _)| key.starts_with(&prefix))
        .filter(move |(key, _)| skip.as_ref() != Some(key))
}

fn artifacts(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    source: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    let lab = labs::get(world, lab_key, call)?;
    let known: &BTreeMap<String, Artifact> = match lab.artifact_sources.get(source) {
        Some(source) => &source.artifacts,
        None => return Err(ArmError::not_found(&call.path())),
    };
    let id = format!("{}/artifactsources/{source}", lab.key());
    match (rest, &call.method) {
        ([], &Method::GET) => {
            listing::page(world, call, |token| listing::after(known, token), |artifact| artifact.view(&id))
        }
        ([name], &Method::GET) => match known.get(*name) {
            Some(artifact) => Ok(Answer::json(200, artifact.view(&id))),
            None => Err(ArmError::not_found(&call.path())),
        },
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

/// A virtual network with its one subnet, as a new lab has it.
pub(crate) fn add_network(lab: &mut Lab, name: &str) {
    let lower = name.to_lowercase();
    let subnet = format!("{name}Subnet");
    let resource = format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Network/virtualNetworks/{name}",
        lab.subscription, lab.group
    );
    let network = json!({
        "properties": {
            "allowedSubnets": [{
                "resourceId": format!("{resource}/subnets/{subnet}"),
                "labSubnetName": subnet,
                "allowPublicIp": "Allow",
            }],
            "externalProviderResourceId": resource,
            "subnetOverrides": [{
                "resourceId": format!("{resource}/subnets/{subnet}"),
                "labSubnetName": subnet,
                "useInVmCreationPermission": "Allow",
                "usePublicIpAddressPermission": "Allow",
            }],
            "provisioningState": "Succeeded",
        },
        "id": format!("{}/virtualnetworks/{lower}", lab.key()),
        "name": name,
        "type": "Microsoft.DevTestLab/labs/virtualNetworks",
    });
    lab.children.insert(format!("virtualnetworks/{lower}"), network);
}

/// A source with its artifacts.
pub(crate) fn add_source(lab: &mut Lab, source: ArtifactSource) {
    let lower = source.name.to_lowercase();
    let id = format!("{}/artifactsources/{lower}", lab.key());
    lab.children.insert(format!("artifactsources/{lower}"), source.view(&id));
    lab.artifact_sources.insert(lower, source);
}
