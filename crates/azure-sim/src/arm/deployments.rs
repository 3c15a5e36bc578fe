//! Deployments of templates to a resource group (Microsoft.Resources/deployments 2021-04-01).
//!
//! | room | what |
//! |---|---|
//! | [`request`] | the body: template and parameters; what is refused at once |
//! | [`run`] | the resources, one after those on which they depend |
//! | [`history`] | 800 per group, pruning, deletion |

mod history;
mod request;
mod run;

use http::Method;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

pub use history::Step;
pub(crate) use history::step;
pub(crate) use run::{Waiter, resource_ended};

use super::{
    call::{Answer, Call},
    error::ArmError,
    listing,
    resource_groups::{self, ResourceGroup},
};
use crate::{
    World,
    chaos::{Lasts, Missing, is_seen},
};

/// Nothing was begun yet.
const ACCEPTED: &str = "Accepted";
/// Resources are being made.
const RUNNING: &str = "Running";
/// It is being taken out of the history.
const DELETING: &str = "Deleting";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";
const CANCELED: &str = "Canceled";
/// The api-version in the URLs of operation statuses.
const STATUS_API_VERSION: &str = "2021-04-01";
/// "this deployment's expiration time": an active deployment gives up after a week.
const EXPIRES_AFTER: time::Duration = time::Duration::days(7);
/// Names of deployments: 1 to 64 letters, digits and `-_.()`.
const LONGEST_NAME: usize = 64;

/// One deployment of a group's history.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    pub(crate) state: &'static str,
    /// When its state last changed.
    pub timestamp: OffsetDateTime,
    pub(crate) started: OffsetDateTime,
    /// The caller's correlation id.
    pub correlation_id: String,
    /// One life of this name.
    pub(crate) unique: Uuid,
    /// As they were given, without the values of secrets.
    pub(crate) parameters: Value,
    pub(crate) outputs: Map<String, Value>,
    pub(crate) error: Option<ArmError>,
    pub(crate) resources: Vec<run::Progress>,
    /// What is still to be made; dropped when it ends, because it holds secrets.
    pub(crate) plan: Option<run::Plan>,
    pub(crate) deletion: Option<String>,
    /// It goes on when all its resources are made.
    pub(crate) never_ends: bool,
    /// It is not shown before.
    pub(crate) unseen_until: Option<OffsetDateTime>,
    pub(crate) missing: Missing,
}

impl Deployment {
    /// `provisioningState`.
    pub fn provisioning_state(&self) -> &'static str {
        self.state
    }

    /// Whether it still goes on.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state, ACCEPTED | RUNNING)
    }

    fn view(&self, group: &ResourceGroup) -> Value {
        let providers: Vec<Value> = self
            .resources
            .iter()
            .map(|progress| json!({"namespace": progress.id.split('/').nth(6)}))
            .collect();
        let mut properties = json!({
            "parameters": self.parameters,
            "mode": "Incremental",
            "provisioningState": self.state,
            "timestamp": super::stamp_z(self.timestamp),
            "duration": duration(self.timestamp - self.started),
            "correlationId": self.correlation_id,
            "providers": providers,
            "dependencies": [],
        });
        if self.state == SUCCEEDED {
            properties["outputs"] = json!(self.outputs);
            properties["outputResources"] =
                self.resources.iter().map(|progress| json!({"id": progress.id})).collect();
        }
        if let Some(error) = &self.error {
            properties["error"] = error.inner();
        }
        json!({
            "id": format!(
                "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Resources/deployments/{}",
                group.subscription, group.name, self.name
            ),
            "name": self.name,
            "type": "Microsoft.Resources/deployments",
            "properties": properties,
        })
    }
}

/// An ISO 8601 duration such as `PT1M12.5000000S`.
fn duration(length: time::Duration) -> String {
    let seconds = length.whole_seconds().max(0);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = "PT".to_owned();
    if hours > 0 {
        text.push_str(&format!("{hours}H"));
    }
    if hours > 0 || minutes > 0 {
        text.push_str(&format!("{minutes}M"));
    }
    text.push_str(&format!("{}.{:07}S", seconds % 60, length.subsec_nanoseconds().max(0) / 100));
    text
}

fn missing(name: &str) -> ArmError {
    ArmError::new(404, "DeploymentNotFound", format!("Deployment '{name}' could not be found."))
}

fn group<'a>(world: &'a mut World, call: &Call) -> Result<&'a mut ResourceGroup, ArmError> {
    resource_groups::group(world, &call.lower[1], &call.segments[3])
}

/// `{group}/providers/Microsoft.Resources/deployments[/{name}[/…]]`.
pub(crate) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Answer, ArmError> {
    let name = call.segments.get(7).cloned().unwrap_or_default();
    match (rest, &call.method) {
        ([], &Method::GET) => list(world, call),
        ([_], &Method::PUT) => put(world, call, &name),
        ([key], &Method::GET) => {
            let now = world.now();
            let group = group(world, call)?;
            let deployment = group.deployments.get(*key);
            let deployment = deployment.filter(|deployment| is_seen(deployment.unseen_until, now));
            let deployment = deployment.ok_or_else(|| missing(&name))?;
            Ok(Answer::json(200, deployment.view(group)))
        }
        ([key], &Method::HEAD) => {
            let now = world.now();
            let deployment = group(world, call)?.deployments.get(*key);
            let there = deployment.is_some_and(|deployment| is_seen(deployment.unseen_until, now));
            Ok(Answer::empty(if there { 204 } else { 404 }))
        }
        ([key], &Method::DELETE) => history::delete(world, call, key),
        ([_, "validate"], &Method::POST) => validate(world, call, &name),
        ([key, "cancel"], &Method::POST) => cancel(world, call, key, &name),
        ([key, "operationstatuses", id], &Method::GET) => status(world, call, key, id),
        ([key, "operations"], &Method::GET) => operations(world, call, key),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

fn list(world: &mut World, call: &Call) -> Result<Answer, ArmError> {
    group(world, call)?;
    let key = resource_groups::key(&call.lower[1], &call.lower[3]);
    let group = &world.arm.groups[&key];
    let mut call = call.clone();
    // `provisioningState` stands for the property of that name here.
    if let Some(filter) = call.query.get_mut("$filter") {
        *filter = filter.replace("properties/provisioningState", "provisioningState");
        *filter = filter.replace("provisioningState", "properties/provisioningState");
    }
    let view = |deployment: &Deployment| deployment.view(group);
    let now = world.now();
    let seen = |token: Option<&str>| {
        listing::after(&group.deployments, token)
            .filter(move |(_, deployment)| is_seen(deployment.unseen_until, now))
    };
    listing::page(world, &call, seen, view)
}

fn put(world: &mut World, call: &Call, name: &str) -> Result<Answer, ArmError> {
    check_name(name)?;
    let key = name.to_lowercase();
    let old = group(world, call)?.deployments.get(&key);
    if let Some(old) = old.filter(|old| old.is_active() || old.state == DELETING) {
        let format = |moment| super::stamp_z(moment);
        return Err(ArmError::new(
            409,
            "DeploymentActive",
            format!(
                "Unable to edit or replace deployment '{}': previous deployment from '{}' is still active (expiration time is '{}'). Please see https://aka.ms/arm-deploy for usage details.",
                old.name,
                format(old.started),
                format(old.started + EXPIRES_AFTER)
            ),
        ));
    }
    let existed = old.is_some();
    let request = request::read(world, call, name)?;
    request::check_chance(world, call, name, &request)?;
    history::make_room(world, call, existed)?;
    let now = world.now();
    let unique = world.new_guid();
    let subject = format!("{}/start", call.path());
    let takes = world.latencies.draw(world.latencies.profile.deployment_start, &subject);
    // One that hangs does so before its first resource or after its last.
    let (starts_after, never_ends) = match world.lasts(&call.path(), takes) {
        Lasts::For(takes) => (Some(takes), false),
        Lasts::Forever(mut draw) => (draw.coin().then_some(takes), true),
    };
    let deployment = Deployment {
        name: name.to_owned(),
        state: ACCEPTED,
        timestamp: now,
        started: now,
        correlation_id: call.correlation_id.clone(),
        unique,
        parameters: request.shown,
        outputs: Map::new(),
        error: None,
        resources: request.evaluated.resources.iter().map(run::Progress::new).collect(),
        plan: Some(run::Plan::new(request.evaluated, call)),
        deletion: None,
        never_ends,
        unseen_until: world.unseen_until(&call.path()),
        missing: Missing::default(),
    };
    let group = group(world, call)?;
    let view = deployment.view(group);
    group.deployments.insert(key, deployment);
    if let Some(after) = starts_after {
        history::schedule_start(world, call, name, unique, after);
    }
    let url = format!(
        "{}{}/operationStatuses/{}?api-version={STATUS_API_VERSION}&t={}",
        world.endpoints.resource_manager(),
        percent_encoding::utf8_percent_encode(&call.path(), super::PATH),
        unique.simple(),
        now.unix_timestamp_nanos() / 100,
    );
    let answer = Answer::json(if existed { 200 } else { 201 }, view);
    Ok(answer.header("azure-asyncoperation", url))
}

fn check_name(name: &str) -> Result<(), ArmError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '(' | ')');
    if name.chars().count() > LONGEST_NAME || !name.chars().all(allowed) || name.ends_with('.') {
        return Err(ArmError::new(
            400,
            "InvalidDeploymentName",
            format!(
                "The deployment name '{name}' is invalid: it must have 1 to {LONGEST_NAME} letters, digits and '-_.()', and not end with a period."
            ),
        ));
    }
    Ok(())
}

/// A refusal is a normal answer: 400 with `error`.
fn validate(world: &mut World, call: &Call, name: &str) -> Result<Answer, ArmError> {
    check_name(name)?;
    let request = request::read(world, call, name)?;
    let resources: Vec<Value> = request.evaluated.resources.iter().map(|r| json!({"id": r.id})).collect();
    let body = json!({
        "id": call.path().trim_end_matches("/validate"),
        "name": name,
        "type": "Microsoft.Resources/deployments",
        "properties": {
            "parameters": request.shown,
            "mode": "Incremental",
            "provisioningState": SUCCEEDED,
            "timestamp": super::stamp_z(world.now()),
            "duration": "PT0S",
            "correlationId": call.correlation_id,
            "validatedResources": resources,
        },
    });
    Ok(Answer::json(200, body))
}

/// Stops what was not begun; what was begun goes on.
fn cancel(world: &mut World, call: &Call, key: &str, name: &str) -> Result<Answer, ArmError> {
    let now = world.now();
    let deployment = group(world, call)?.deployments.get_mut(key).ok_or_else(|| missing(name))?;
    if !deployment.is_active() {
        return Err(ArmError::new(
            409,
            "DeploymentCannotBeCancelled",
            format!(
                "The deployment '{name}' cannot be cancelled because it is in state '{}'.",
                deployment.state
            ),
        ));
    }
    deployment.state = CANCELED;
    deployment.timestamp = now;
    deployment.plan = None;
    deployment.error = Some(ArmError::new(409, "DeploymentCanceled", "The deployment was canceled."));
    Ok(Answer::empty(204))
}

/// `…/operationStatuses/{id}`.
fn status(world: &mut World, call: &Call, key: &str, id: &str) -> Result<Answer, ArmError> {
    let deployment = group(world, call)?
        .deployments
        .get(key)
        .filter(|deployment| deployment.unique.simple().to_string() == id)
        .ok_or_else(|| missing(key))?;
    let before = deployment.missing;
    let (is_missing, next) = world.poll(before, &call.path());
    let deployment = group(world, call)?.deployments.get_mut(key).ok_or_else(|| missing(key))?;
    deployment.missing = next;
    if is_missing {
        return Err(missing(key));
    }
    let mut body = json!({"status": deployment.state});
    if let Some(error) = &deployment.error {
        body["error"] = error.inner();
    }
    Ok(Answer::json(200, body))
}

/// `{group}/deployments/{name}/operations`.
pub(crate) fn operations(world: &mut World, call: &Call, key: &str) -> Result<Answer, ArmError> {
    let path = call.path();
    let deployment = group(world, call)?.deployments.get(key).ok_or_else(|| missing(key))?;
    let value: Vec<Value> = deployment
        .resources
        .iter()
        .enumerate()
        .filter_map(|(index, progress)| {
            progress.view().map(|properties| {
                let id = format!("{:X}{index:04X}", deployment.unique.as_u128() >> 64);
                json!({"id": format!("{path}/{id}"), "operationId": id, "properties": properties})
            })
        })
        .collect();
    Ok(Answer::json(200, json!({"value": value})))
}
