//! Custom images of a lab (Microsoft.DevTestLab/labs/customImages).
//!
//! A PUT is accepted with 201 and goes on for minutes, during which its VHD must stay; a failed image stays in the list and
//! keeps its name.

mod source;

use std::time::Duration;

use http::Method;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Event,
    call::{Answer, Call},
    error::ArmError,
    labs::{self, Lab},
    listing,
    marketplace::OsType,
    operations::{self, Provider},
    tags::{self, Tags},
};
use crate::{
    World,
    chaos::{self, Lasts, Loss, is_seen},
    fault::holds,
    work::WorkKind,
    world,
};
use source::{Vhd, read, vhd_problem};

/// How long an update of an existing image takes.
const UPDATE: Duration = Duration::from_secs(5);

/// A custom image.
#[derive(Clone, Debug)]
pub struct CustomImage {
    /// Its name.
    pub name: String,
    pub(crate) tags: Tags,
    /// `description`, `vhd`, `vm`, `customImagePlan`, … as asked for.
    pub(crate) properties: Map<String, Value>,
    pub(crate) author: String,
    /// When it was asked for.
    pub created: OffsetDateTime,
    pub(crate) unique: Uuid,
    pub(crate) state: &'static str,
    /// The OS in it.
    pub os: OsType,
    /// The size of its OS disk, in bytes.
    pub bytes: u64,
    /// A managed image, or else a snapshot.
    pub(crate) generalized: bool,
    pub(crate) operation: Option<String>,
    pub(crate) request_id: String,
    pub(crate) since: OffsetDateTime,
    /// It is not shown before.
    pub(crate) unseen_until: Option<OffsetDateTime>,
}

impl CustomImage {
    /// `provisioningState`.
    pub fn provisioning_state(&self) -> &'static str {
        self.state
    }
}

/// The next step of a custom image.
#[derive(Clone, Debug)]
pub struct Step {
    lab: String,
    name: String,
    unique: Uuid,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Registered { vhd: Option<Vhd> },
    Deleted,
}

pub(crate) fn view(lab: &Lab, image: &CustomImage) -> Value {
    let mut properties = image.properties.clone();
    let mut set = |name: &str, value: Value| {
        properties.insert(name.to_owned(), value);
    };
    set("author", json!(image.author));
    set("creationDate", json!(super::stamp(image.created)));
    if image.state == "Succeeded" {
        let group =
            format!("/subscriptions/{}/resourcegroups/{}", lab.subscription, lab.group.to_lowercase());
        let name = image.name.to_lowercase();
        if image.generalized {
            let id = format!("{group}/providers/microsoft.compute/images/{name}");
            set("managedImageId", json!(id));
        } else {
            let id = format!("{group}/providers/microsoft.compute/snapshots/{name}");
            set("managedSnapshotId", json!(id));
        }
        set("dataDiskStorageInfo", json!([]));
        set("isPlanAuthorized", json!(true));
    }
    set("provisioningState", json!(image.state));
    set("uniqueIdentifier", json!(image.unique));
    let mut body = json!({
        "properties": properties,
        "id": format!("{}/customimages/{}", lab.key(), image.name.to_lowercase()),
        "name": image.name,
        "type": "Microsoft.DevTestLab/labs/customImages",
    });
    if !image.tags.is_empty() {
        body["tags"] = json!(image.tags);
    }
    body
}

/// `{lab}/customimages[/{name}]`.
pub(crate) fn route(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let lab = labs::get(world, lab_key, call)?;
            let now = world.now();
            let seen = |token: Option<&str>| {
                listing::after(&lab.images, token).filter(move |(_, image)| is_seen(image.unseen_until, now))
            };
            listing::page(world, call, seen, |image| view(lab, image))
        }
        ([name], &Method::GET) => {
            let lab = labs::get(world, lab_key, call)?;
            let image = lab.images.get(*name);
            match image.filter(|image| is_seen(image.unseen_until, world.now())) {
                Some(image) => Ok(Answer::json(200, view(lab, image))),
                None => Err(ArmError::not_found(&call.path())),
            }
        }
        ([name], &Method::PUT) => put(world, call, lab_key, name),
        ([name], &Method::PATCH) => {
            let body = call.json()?;
            let new = tags::read(&body)?;
            let lab = labs::get_mut(world, lab_key, call)?;
            let Some(image) = lab.images.get_mut(*name) else {
                return Err(ArmError::not_found(&call.path()));
            };
            if let Some(new) = new {
                image.tags = new;
            }
            let lab = labs::get(world, lab_key, call)?;
            Ok(Answer::json(200, view(lab, &lab.images[*name])))
        }
        ([name], &Method::DELETE) => delete(world, call, lab_key, name),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

fn put(world: &mut World, call: &Call, lab_key: &str, name: &str) -> Result<Answer, ArmError> {
    let body = call.json()?;
    labs::check_name(call.name(), "custom image")?;
    let tags = tags::read(&body)?;
    let lab = labs::get(world, lab_key, call)?;
    if let Some(old) = lab.images.get(name) {
        if old.operation.is_some() {
            return Err(busy(old));
        }
        return update(world, call, lab_key, name, &body, tags);
    }
    let asked = read(world, lab, &body["properties"])?;
    let (subscription, location) = (lab.subscription.clone(), lab.location.clone());
    let operation = operations::begin(world, Provider::DevTestLab, &subscription, &location);
    let now = world.now();
    let unique = world.new_guid();
    let properties = &body["properties"];
    let author = properties["author"].as_str().filter(|author| !author.is_empty());
    let computed = ["managedImageId", "managedSnapshotId", "provisioningState", "creationDate"];
    let image = CustomImage {
        name: call.name().to_owned(),
        tags: tags.unwrap_or_default(),
        properties: properties
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| !computed.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        author: author.unwrap_or(&call.principal.object_id).to_owned(),
        created: now,
        unique,
        state: "Creating",
        os: asked.os,
        bytes: asked.bytes,
        generalized: asked.generalized,
        operation: Some(operation.clone()),
        request_id: call.path(),
        since: now,
        unseen_until: world.unseen_until(&call.path()),
    };
    let takes = world.latencies.draw(world.latencies.profile.custom_image, &image.request_id);
    match world.lasts(&image.request_id, takes) {
        Lasts::For(takes) => {
            schedule(world, takes, lab_key, name, unique, What::Registered { vhd: asked.vhd });
        }
        Lasts::Forever(_) => world.stick(&operation),
    }
    let loss = Loss::Image { lab: lab_key.to_owned(), name: name.to_owned(), unique };
    chaos::consider_resource(world, &image.request_id, loss);
    let lab = labs::get_mut(world, lab_key, call)?;
    let answer = Answer::json(201, view(lab, &image));
    lab.images.insert(name.to_owned(), image);
    Ok(operations::accepted(world, &operation, answer))
}

fn update(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    name: &str,
    body: &Value,
    tags: Option<Tags>,
) -> Result<Answer, ArmError> {
    let lab = labs::get_mut(world, lab_key, call)?;
    let location = lab.location.clone();
    if let Some(image) = lab.images.get_mut(name) {
        if let Some(tags) = tags {
            image.tags = tags;
        }
        // Where it came from stays as it was.
        if let Some(description) = body["properties"].get("description") {
            image.properties.insert("description".to_owned(), description.clone());
        }
    }
    let operation = operations::begin(world, Provider::DevTestLab, call.subscription(), &location);
    world.schedule(UPDATE, world::Event::Arm(Event::OperationEnds(operation.clone())));
    let lab = labs::get(world, lab_key, call)?;
    let answer = Answer::json(200, view(lab, &lab.images[name]));
    Ok(operations::accepted(world, &operation, answer))
}

fn schedule(world: &mut World, after: Duration, lab: &str, name: &str, unique: Uuid, what: What) {
    let step = Step { lab: lab.to_owned(), name: name.to_owned(), unique, what };
    world.schedule(after, world::Event::Arm(Event::CustomImage(step)));
}

/// Lets a step happen.
pub(crate) fn step(world: &mut World, step: Step) {
    let image = world.arm.labs.get(&step.lab).and_then(|lab| lab.images.get(&step.name));
    let Some(image) = image.filter(|image| image.unique == step.unique).cloned() else {
        return;
    };
    let (kind, result) = match step.what.clone() {
        What::Registered { .. } if image.state != "Creating" => return,
        What::Registered { vhd } => {
            let fault = world
                .faults
                .custom_images
                .iter()
                .find(|fault| holds(&image.request_id, &fault.id_part))
                .map(|fault| ArmError::new(409, &fault.code, fault.message.clone()));
            let problem = fault.or_else(|| vhd.and_then(|vhd| vhd_problem(world, &vhd)));
            if let Some(stored) = stored(world, &step) {
                stored.state = if problem.is_some() { "Failed" } else { "Succeeded" };
                stored.operation = None;
            }
            (WorkKind::CustomImage, problem.map_or(Ok(None), Err))
        }
        What::Deleted => {
            if let Some(lab) = world.arm.labs.get_mut(&step.lab) {
                lab.images.remove(&step.name);
            }
            (WorkKind::CustomImageDeletion, Ok(None))
        }
    };
    world.worked(kind, &image.request_id, image.since, result.is_ok());
    if let Some(operation) = image.operation {
        operations::end(world, &operation, result);
    }
    if kind == WorkKind::CustomImage {
        let until = world.unseen_until(&image.request_id);
        if let Some(stored) = stored(world, &step).filter(|_| until.is_some()) {
            stored.unseen_until = until;
        }
    }
}

fn stored<'a>(world: &'a mut World, step: &Step) -> Option<&'a mut CustomImage> {
    world.arm.labs.get_mut(&step.lab)?.images.get_mut(&step.name)
}

fn delete(world: &mut World, call: &Call, lab_key: &str, name: &str) -> Result<Answer, ArmError> {
    let lab = labs::get(world, lab_key, call)?;
    let Some(image) = lab.images.get(name).cloned() else {
        return Ok(Answer::empty(204));
    };
    if image.state == "Deleting" {
        let operation = image.operation.clone().unwrap_or_default();
        if world.unstick(&operation) {
            let takes = deletion(world, &image);
            schedule(world, takes, lab_key, name, image.unique, What::Deleted);
        }
        return Ok(operations::accepted(world, &operation, Answer::empty(202)));
    }
    // What hangs may be deleted.
    if image.operation.as_ref().is_some_and(|operation| !world.unstick(operation)) {
        return Err(busy(&image));
    }
    let operation = begin_deletion(world, lab_key, &image);
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

/// How long the deletion of an image usually takes.
fn deletion(world: &World, image: &CustomImage) -> Duration {
    let span = world.latencies.profile.custom_image_deletion;
    world.latencies.draw(span, &format!("{}/delete", image.request_id))
}

/// Lets an image's deletion begin, whatever went on before; answers its operation.
fn begin_deletion(world: &mut World, lab_key: &str, image: &CustomImage) -> String {
    let lab = world.arm.labs.get(lab_key).map(|lab| (lab.subscription.clone(), lab.location.clone()));
    let (subscription, location) = lab.unwrap_or_default();
    let operation = operations::begin(world, Provider::DevTestLab, &subscription, &location);
    let since = world.now();
    let name = image.name.to_lowercase();
    let stored = world.arm.labs.get_mut(lab_key).and_then(|lab| lab.images.get_mut(&name));
    if let Some(image) = stored {
        image.state = "Deleting";
        image.since = since;
        if let Some(before) = image.operation.replace(operation.clone()) {
            operations::cancel(world, &before);
        }
    }
    let takes = deletion(world, image);
    match world.lasts(&image.request_id, takes) {
        Lasts::For(takes) => schedule(world, takes, lab_key, &name, image.unique, What::Deleted),
        Lasts::Forever(_) => world.stick(&operation),
    }
    operation
}

/// Somebody deletes an image; answers its id if it was there.
pub(crate) fn lose(world: &mut World, lab_key: &str, name: &str, unique: Uuid) -> Option<String> {
    let image = world.arm.labs.get(lab_key)?.images.get(name)?.clone();
    if image.unique != unique || image.state == "Deleting" {
        return None;
    }
    begin_deletion(world, lab_key, &image);
    Some(image.request_id)
}

fn busy(image: &CustomImage) -> ArmError {
    ArmError::conflict(format!(
        "Another operation is in progress on the custom image '{}' (provisioning state '{}'). Please try again later.",
        image.name, image.state
    ))
}
