//! A deployment at work: its resources are made by the same routes as everybody's, each after those on which it depends.

use std::cell::RefCell;

use arm_template::{Evaluated, References, Resource};
use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Deployment, FAILED, RUNNING, SUCCEEDED};
use crate::{
    World,
    arm::{call::Call, error::ArmError, operations, router},
};

/// What is to be made, and who asked for it.
#[derive(Clone)]
pub(crate) struct Plan {
    evaluated: Evaluated,
    caller: Call,
    /// The deployment's id.
    deployment: String,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").finish_non_exhaustive()
    }
}

impl Plan {
    pub(super) fn new(evaluated: Evaluated, call: &Call) -> Self {
        // The body holds secrets and is not needed any more.
        let caller = call.inner(Method::PUT, "", "", &Value::Null);
        Self { evaluated, caller, deployment: call.path() }
    }
}

/// How far one resource of a deployment is.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    pub(crate) id: String,
    resource_type: String,
    name: String,
    depends_on: Vec<String>,
    state: State,
    changed: Option<OffsetDateTime>,
}

#[derive(Clone, Debug)]
enum State {
    Waiting,
    Running,
    Succeeded,
    /// With the error as the deployment shows it.
    Failed(ArmError),
}

impl Progress {
    pub(super) fn new(resource: &Resource) -> Self {
        Self {
            id: resource.id.clone(),
            resource_type: resource.resource_type.clone(),
            name: resource.name.clone(),
            depends_on: resource.depends_on.clone(),
            state: State::Waiting,
            changed: None,
        }
    }

    /// The properties of its deployment operation, once it was begun.
    pub(super) fn view(&self) -> Option<Value> {
        let (state, code) = match &self.state {
            State::Waiting => return None,
            State::Running => ("Running", "Accepted"),
            State::Succeeded => ("Succeeded", "OK"),
            State::Failed(error) => ("Failed", error.status_name()),
        };
        let mut properties = json!({
            "provisioningOperation": "Create",
            "provisioningState": state,
            "timestamp": self.changed.map(crate::arm::stamp_z),
            "statusCode": code,
            "targetResource": {
                "id": self.id,
                "resourceType": self.resource_type,
                "resourceName": self.name,
            },
        });
        if let State::Failed(error) = &self.state {
            properties["statusMessage"] = error.body();
        }
        Some(properties)
    }
}

/// The resource of a deployment that waits for an operation.
#[derive(Clone, Debug)]
pub(crate) struct Waiter {
    group: String,
    deployment: String,
    unique: Uuid,
    resource: usize,
}

/// The deployment as long as it is active.
fn active<'a>(world: &'a mut World, group: &str, name: &str, unique: Uuid) -> Option<&'a mut Deployment> {
    let deployment = world.arm.groups.get_mut(group)?.deployments.get_mut(name)?;
    (deployment.unique == unique && deployment.is_active()).then_some(deployment)
}

/// A resource's operation ended.
pub(crate) fn resource_ended(world: &mut World, waiter: &Waiter, failure: Option<ArmError>) {
    let now = world.now();
    let Some(deployment) = active(world, &waiter.group, &waiter.deployment, waiter.unique) else {
        return;
    };
    let Some(progress) = deployment.resources.get_mut(waiter.resource) else {
        return;
    };
    progress.changed = Some(now);
    progress.state = match failure {
        None => State::Succeeded,
        // The form in which Resource Manager hands on what an operation's status said.
        Some(error) => State::Failed(ArmError {
            details: vec![error.clone()],
            ..ArmError::new(
                error.status,
                "ResourceDeploymentFailure",
                "The resource operation completed with terminal provisioning state 'Failed'.",
            )
        }),
    };
    go_on(world, &waiter.group, &waiter.deployment, waiter.unique);
}

/// Begins what can be begun; ends the deployment when nothing is left.
pub(super) fn go_on(world: &mut World, group: &str, name: &str, unique: Uuid) {
    loop {
        let Some(deployment) = active(world, group, name, unique) else {
            return;
        };
        deployment.state = RUNNING;
        let resources = &deployment.resources;
        let done = |id: &String| {
            resources
                .iter()
                .any(|other| other.id.eq_ignore_ascii_case(id) && matches!(other.state, State::Succeeded))
        };
        let ready = resources.iter().position(|progress| {
            matches!(progress.state, State::Waiting) && progress.depends_on.iter().all(done)
        });
        match ready {
            Some(index) => begin(world, group, name, unique, index),
            None if resources.iter().any(|progress| matches!(progress.state, State::Running)) => {
                return;
            }
            None if deployment.never_ends => return,
            None => {
                end(world, group, name, unique);
                return;
            }
        }
    }
}

fn begin(world: &mut World, group: &str, name: &str, unique: Uuid, index: usize) {
    let Some(plan) = active(world, group, name, unique).and_then(|deployment| deployment.plan.clone()) else {
        return;
    };
    let resource = &plan.evaluated.resources[index];
    let body = if resource.deferred {
        plan.evaluated
            .finish(resource, &Deployed::new(world, &plan))
            .map_err(|error| ArmError::new(400, error.code, error.message))
    } else {
        Ok(resource.body.clone())
    };
    let result = body.and_then(|body| {
        let call = plan.caller.inner(Method::PUT, &resource.id, &resource.api_version, &body);
        router::dispatch(world, &call)
    });
    let waiter = Waiter { group: group.to_owned(), deployment: name.to_owned(), unique, resource: index };
    let state = match result {
        Err(error) => State::Failed(error),
        Ok(answer) => match answer.operation {
            Some(operation) if operations::wait(world, &operation, waiter) => State::Running,
            _ => State::Succeeded,
        },
    };
    let now = world.now();
    if let Some(deployment) = active(world, group, name, unique) {
        deployment.resources[index].state = state;
        deployment.resources[index].changed = Some(now);
    }
}

fn end(world: &mut World, group: &str, name: &str, unique: Uuid) {
    let Some(plan) = active(world, group, name, unique).and_then(|deployment| deployment.plan.take()) else {
        return;
    };
    let outputs = plan.evaluated.outputs(&Deployed::new(world, &plan));
    let now = world.now();
    let id = plan.deployment.clone();
    let unseen_until = world.unseen_until(&id);
    let Some(deployment) = active(world, group, name, unique) else {
        return;
    };
    deployment.timestamp = now;
    deployment.unseen_until = unseen_until.or(deployment.unseen_until);
    let failures: Vec<ArmError> = deployment
        .resources
        .iter()
        .filter_map(|progress| match &progress.state {
            State::Failed(error) => Some(nested(error)),
            _ => None,
        })
        .collect();
    match outputs {
        _ if !failures.is_empty() => {
            deployment.state = FAILED;
            deployment.error = Some(ArmError {
                details: failures,
                ..ArmError::new(
                    409,
                    "DeploymentFailed",
                    "At least one resource deployment operation failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details.",
                )
            });
        }
        Err(error) => {
            deployment.state = FAILED;
            deployment.error = Some(ArmError::new(400, "DeploymentOutputEvaluationFailed", error.message));
        }
        Ok(outputs) => {
            deployment.state = SUCCEEDED;
            for (name, output) in outputs {
                let mut entry = json!({"type": super::request::type_name(&output.output_type)});
                if let Some(value) = output.value {
                    entry["value"] = value;
                }
                deployment.outputs.insert(name, entry);
            }
        }
    }
}

/// A resource's error inside a deployment's: the status' name as its code, and the provider's JSON document as a string.
fn nested(error: &ArmError) -> ArmError {
    let document = if error.code == "ResourceDeploymentFailure" {
        json!({"status": "Failed", "error": error.inner()})
    } else {
        error.body()
    };
    let text = serde_json::to_string_pretty(&document).unwrap_or_default();
    ArmError::new(error.status, error.status_name(), text.replace('\n', "\r\n"))
}

/// The deployed resources, for `reference()`.
struct Deployed<'a> {
    world: RefCell<&'a mut World>,
    plan: &'a Plan,
}

impl<'a> Deployed<'a> {
    fn new(world: &'a mut World, plan: &'a Plan) -> Self {
        Self { world: RefCell::new(world), plan }
    }
}

impl References for Deployed<'_> {
    fn reference(&self, id_or_name: &str, api_version: Option<&str>) -> Option<Value> {
        let own = self.plan.evaluated.resources.iter().find(|resource| {
            resource.id.eq_ignore_ascii_case(id_or_name)
                || resource.name.eq_ignore_ascii_case(id_or_name)
                || resource.id.to_lowercase().ends_with(&format!("/{}", id_or_name.to_lowercase()))
        });
        let (id, version) = match own {
            Some(resource) => (resource.id.as_str(), api_version.unwrap_or(&resource.api_version)),
            None => (id_or_name, api_version?),
        };
        let call = self.plan.caller.inner(Method::GET, id, version, &Value::Null);
        router::dispatch(&mut self.world.borrow_mut(), &call).ok()?.body
    }
}
