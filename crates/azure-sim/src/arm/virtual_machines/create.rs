//! What DevTest Labs checks before it makes a VM, and the VM's beginning.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{
    LabMachine,
    life::{self, What},
    request,
};
use crate::{
    World,
    arm::{
        artifacts,
        call::{Answer, Call},
        error::ArmError,
        labs::{self, Lab},
        marketplace::{self, OsType},
        operations::{self, Provider},
        policies::{self, Wish},
        quota, tags,
    },
    chaos::{self, Lasts, Loss, Quota},
};

/// Of the time that a VM takes to be made, this part passes before its compute VM exists.
const UNTIL_COMPUTE: f64 = 0.4;
/// The api-version from which on images of shared galleries are known.
const SHARED_IMAGES_SINCE: &str = "2018-10-15";

/// Where a VM's disk comes from.
struct Source {
    os: OsType,
    bytes: u64,
    text: &'static str,
    /// What the compute VM says about it.
    reference: Option<Value>,
}

/// `POST {lab}/createEnvironment`: a PUT whose name stands in the body.
pub(crate) fn create_environment(world: &mut World, call: &Call, lab_key: &str) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let name = body["name"]
        .as_str()
        .filter(|name| !name.is_empty())
        .ok_or_else(|| ArmError::bad_request("The property 'name' is required."))?;
    let lab = labs::get(world, lab_key, call)?;
    if lab.machines.contains_key(&name.to_lowercase()) {
        return Err(ArmError::conflict(format!(
            "A virtual machine named '{name}' already exists in lab '{}'.",
            lab.name
        )));
    }
    let parent = call.segments[..8].join("/");
    let id = format!("/{parent}/virtualmachines/{name}");
    let operation = create(world, call, lab_key, name, &id, &body)?;
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

/// Checks a new VM and lets it begin; answers its operation.
pub(super) fn create(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    name: &str,
    id: &str,
    body: &Value,
) -> Result<String, ArmError> {
    let lab = labs::get(world, lab_key, call)?;
    let properties = &body["properties"];
    if !properties.is_object() {
        return Err(ArmError::bad_request("The virtual machine has no 'properties'."));
    }
    let tags = tags::read(body)?.unwrap_or_default();
    let source = source(world, lab, properties, call.api_version())?;
    request::check_name(name, source.os)?;
    request::check_login(properties, source.os)?;
    let size = properties["size"].as_str().unwrap_or_default();
    if quota::cores(size).is_none() {
        return Err(ArmError::new(
            400,
            "InvalidParameter",
            format!(
                "The value {size} provided for the VM size is not valid. The valid sizes in the current region are listed by the Compute resource provider."
            ),
        ));
    }
    check_location(lab, body)?;
    check_network(lab, properties)?;
    check_expiration(world, properties)?;
    let artifacts = artifacts::read(lab, &properties["artifacts"])?;
    check_policies(lab, call, properties, size)?;

    let (location, subscription) = (lab.location.clone(), lab.subscription.clone());
    let now = world.now();
    let operation = operations::begin(world, Provider::DevTestLab, &subscription, &location);
    let takes = world.latencies.draw(world.latencies.profile.vm_creation, id);
    let (takes, fate) = fate(world, call, &location, size, id, takes);
    let machine = LabMachine {
        name: name.to_owned(),
        location,
        tags,
        properties: shown(properties, call),
        unique: world.new_guid(),
        created: now,
        created_by: call.principal.object_id.clone(),
        request_id: id.to_owned(),
        os: source.os,
        disk_bytes: source.bytes,
        source: source.text,
        image_reference: source.reference,
        state: "Creating",
        artifacts,
        compute: None,
        known_power: None,
        operation: Some(operation.clone()),
        making_since: Some(now),
        unseen_until: world.unseen_until(id),
    };
    let unique = machine.unique;
    if let Some(lab) = world.arm.labs.get_mut(lab_key) {
        lab.machines.insert(name.to_lowercase(), machine);
    }
    let first = takes.mul_f64(UNTIL_COMPUTE);
    match fate {
        Fate::NeverAppears => world.stick(&operation),
        Fate::NeverReady => {
            world.stick(&operation);
            let what = What::ComputeAppears { rest: takes - first, is_ready: false };
            life::schedule(world, first, lab_key, name, unique, what);
        }
        Fate::Refused(error) => life::schedule(world, first, lab_key, name, unique, What::Refused(error)),
        Fate::Made => {
            let what = What::ComputeAppears { rest: takes - first, is_ready: true };
            life::schedule(world, first, lab_key, name, unique, what);
        }
    }
    let loss = Loss::Machine { lab: lab_key.to_owned(), name: name.to_lowercase(), unique };
    chaos::consider_resource(world, id, loss);
    Ok(operation)
}

/// What becomes of a VM that was accepted.
enum Fate {
    Made,
    /// Its compute VM is never made.
    NeverAppears,
    /// Its compute VM never gets ready.
    NeverReady,
    Refused(Box<ArmError>),
}

/// What becomes of a VM by chance that would take `takes`, and how long that takes.
fn fate(
    world: &mut World,
    call: &Call,
    location: &str,
    size: &str,
    id: &str,
    takes: Duration,
) -> (Duration, Fate) {
    let subscription = call.subscription();
    let quota = world.quota_of(id);
    let fortune = world.fortune(id);
    let refused = match quota {
        Quota::Granted => None,
        Quota::Refused { at_once: false } => Some(quota::refusal(world, subscription, location, size)),
        Quota::Refused { at_once: true } => {
            let inner = quota::preflight_refusal(world, subscription, location, size);
            Some(quota::invalid_deployment(id.rsplit('/').next().unwrap_or(id), &call.correlation_id, inner))
        }
    };
    if let Some(error) = refused {
        return (takes, Fate::Refused(Box::new(error)));
    }
    match world.met(id, fortune, takes) {
        Lasts::For(takes) => (takes, Fate::Made),
        Lasts::Forever(mut draw) => (takes, if draw.coin() { Fate::NeverAppears } else { Fate::NeverReady }),
    }
}

/// The properties as GET shows them: no secrets, and nothing that the service computes.
fn shown(properties: &Value, call: &Call) -> Map<String, Value> {
    let hidden = ["password", "sshKey", "artifacts", "provisioningState", "computeId", "osType"];
    let mut shown: Map<String, Value> = properties
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, _)| !hidden.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let claimable = shown.get("allowClaim").and_then(Value::as_bool).unwrap_or(false);
    shown.insert("allowClaim".to_owned(), json!(claimable));
    // A claimable VM has no owner.
    let owner = match shown.get("ownerObjectId").and_then(Value::as_str) {
        _ if claimable => String::new(),
        Some(owner) if !owner.is_empty() => owner.to_owned(),
        _ => call.principal.object_id.clone(),
    };
    shown.insert("ownerObjectId".to_owned(), json!(owner));
    shown
}

/// The one image source of a body.
fn source(world: &World, lab: &Lab, properties: &Value, api_version: &str) -> Result<Source, ArmError> {
    let gallery = properties.get("galleryImageReference").filter(|v| !v.is_null());
    let text = |name: &str| properties[name].as_str().filter(|id| !id.is_empty());
    match (gallery, text("customImageId"), text("sharedImageId")) {
        (Some(reference), None, None) => {
            let marketplace::Platform { os, reference } = marketplace::find(world, reference)?;
            let bytes = os.marketplace_disk();
            Ok(Source { os, bytes, text: "FromGalleryImage", reference: Some(reference) })
        }
        (None, Some(id), None) => custom_image(lab, id),
        (None, None, Some(id)) => {
            if api_version < SHARED_IMAGES_SINCE {
                return Err(ArmError::bad_request(format!(
                    "Could not find member 'sharedImageId' in api-version {api_version}."
                )));
            }
            shared_image(world, lab, id, text("sharedImageVersion"))
        }
        _ => Err(ArmError::bad_request(
            "Exactly one of 'galleryImageReference', 'customImageId' and 'sharedImageId' must be given.",
        )),
    }
}

/// The part of an id below the lab, in lower case; ids may be given relative to the lab.
fn below(lab: &Lab, id: &str) -> String {
    let lower = id.to_lowercase();
    lower.strip_prefix(&lab.key()).unwrap_or(&lower).to_owned()
}

fn custom_image(lab: &Lab, id: &str) -> Result<Source, ArmError> {
    let missing = || {
        ArmError::new(
            404,
            "CustomImageNotFound",
            format!("The custom image '{id}' was not found in lab '{}'.", lab.name),
        )
    };
    let below = below(lab, id);
    let name = below.strip_prefix("/customimages/").ok_or_else(missing)?;
    let image = lab.images.get(name).ok_or_else(missing)?;
    if image.state != "Succeeded" {
        return Err(ArmError::conflict(format!(
            "The custom image '{}' is in state '{}' and cannot be used.",
            image.name, image.state
        )));
    }
    Ok(Source { os: image.os, bytes: image.bytes, text: "FromCustomImage", reference: None })
}

fn shared_image(world: &World, lab: &Lab, id: &str, version: Option<&str>) -> Result<Source, ArmError> {
    let missing = || {
        ArmError::new(
            404,
            "SharedImageNotFound",
            format!("The shared image '{id}' was not found or is not enabled in lab '{}'.", lab.name),
        )
    };
    let below = below(lab, id);
    let segments: Vec<&str> = below.split('/').filter(|s| !s.is_empty()).collect();
    let ["sharedgalleries", gallery, "sharedimages", definition] = segments.as_slice() else {
        return Err(missing());
    };
    let gallery = lab.shared_galleries.get(*gallery).ok_or_else(missing)?;
    let image = world
        .arm
        .gallery_images
        .get(&gallery.gallery_id.to_lowercase())
        .and_then(|images| images.get(*definition))
        .filter(|_| gallery.allows(definition))
        .ok_or_else(missing)?;
    if image.versions.is_empty() || version.is_some_and(|v| !image.versions.iter().any(|known| known == v)) {
        return Err(missing());
    }
    Ok(Source { os: image.os, bytes: image.bytes, text: "FromSharedGalleryImage", reference: None })
}

fn check_location(lab: &Lab, body: &Value) -> Result<(), ArmError> {
    let plain = |region: &str| region.replace(' ', "").to_lowercase();
    match body["location"].as_str() {
        Some(location) if plain(location) != plain(&lab.location) => Err(ArmError::new(
            400,
            "InvalidResourceLocation",
            format!(
                "The location '{location}' of the virtual machine differs from the location '{}' of lab '{}'.",
                lab.location, lab.name
            ),
        )),
        _ => Ok(()),
    }
}

fn check_network(lab: &Lab, properties: &Value) -> Result<(), ArmError> {
    let Some(id) = properties["labVirtualNetworkId"].as_str().filter(|id| !id.is_empty()) else {
        return Ok(());
    };
    let network = lab.children.get(below(lab, id).trim_start_matches('/'));
    let Some(network) = network.filter(|_| below(lab, id).starts_with("/virtualnetworks/")) else {
        return Err(ArmError::new(
            404,
            "VirtualNetworkNotFound",
            format!("The virtual network '{id}' was not found in lab '{}'.", lab.name),
        ));
    };
    let Some(subnet) = properties["labSubnetName"].as_str() else {
        return Ok(());
    };
    let known = network["properties"]["allowedSubnets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|allowed| allowed["labSubnetName"].as_str());
    if known.into_iter().any(|name| name.eq_ignore_ascii_case(subnet)) {
        Ok(())
    } else {
        Err(ArmError::bad_request(format!(
            "The subnet '{subnet}' is not an allowed subnet of the virtual network '{id}'."
        )))
    }
}

fn check_expiration(world: &World, properties: &Value) -> Result<(), ArmError> {
    let Some(text) = properties["expirationDate"].as_str() else {
        return Ok(());
    };
    let format = &time::format_description::well_known::Rfc3339;
    match time::OffsetDateTime::parse(text, format) {
        Ok(moment) if moment > world.now() => Ok(()),
        _ => Err(ArmError::bad_request(format!(
            "The expiration date '{text}' must be a moment in the future."
        ))),
    }
}

fn check_policies(lab: &Lab, call: &Call, properties: &Value, size: &str) -> Result<(), ArmError> {
    if lab.policies.is_empty() {
        return Ok(());
    }
    let user = call.principal.object_id.as_str();
    let more = |fact| Wish { fact, offset: 1, data: "", user };
    let mut wishes = vec![more("LabVmCount"), Wish { fact: "LabVmSize", offset: 0, data: size, user }];
    let premium = properties["storageType"].as_str().is_some_and(|t| t.eq_ignore_ascii_case("Premium"));
    if premium {
        wishes.push(more("LabPremiumVmCount"));
    }
    if properties["allowClaim"].as_bool() != Some(true) {
        wishes.push(more("UserOwnedLabVmCount"));
        if premium {
            wishes.push(more("UserOwnedLabPremiumVmCount"));
        }
    }
    let image = properties["galleryImageReference"].to_string();
    if properties["galleryImageReference"].is_object() {
        wishes.push(Wish { fact: "GalleryImage", offset: 0, data: &image, user });
    }
    policies::check(lab, &wishes)
}

/// # Errors
/// If a policy forbids the caller another VM of their own.
pub(crate) fn claimed_machine(lab: &Lab, user: &str) -> Result<(), ArmError> {
    policies::check(lab, &[Wish { fact: "UserOwnedLabVmCount", offset: 1, data: "", user }])
}

/// The cores that a resource of a template wants, if it is a lab VM.
pub(crate) fn preflight_cores(resource_type: &str, properties: &Value) -> u32 {
    if resource_type.eq_ignore_ascii_case("Microsoft.DevTestLab/labs/virtualmachines") {
        properties["size"].as_str().and_then(quota::cores).unwrap_or(0)
    } else {
        0
    }
}
