//! A group's history: at most 800 deployments; Resource Manager prunes it, people delete from it.

use std::time::Duration;

use http::Method;
use uuid::Uuid;

use super::{DELETING, Deployment, group, run};
use crate::{
    World,
    arm::{
        Event, authorization,
        call::{Answer, Call},
        error::ArmError,
        locks,
        operations::{self, Provider},
        resource_groups,
    },
    chaos::Lasts,
    work::WorkKind,
    world,
};

/// "You're limited to 800 deployments per resource group in the deployment history" (Microsoft, "Automatic deletions from
/// deployment history").
const MOST: usize = 800;
/// "Deletions are triggered when you exceed 775 deployments."
const PRUNE_ABOVE: usize = 775;
/// "Azure Resource Manager deletes deployments until the history is down to 750."
const PRUNE_TO: usize = 750;
/// How long after that a pruning happens.
const UNTIL_PRUNING: Duration = Duration::from_secs(30);

/// The next step of a deployment or a history.
#[derive(Clone, Debug)]
pub struct Step(What);

#[derive(Clone)]
enum What {
    Starts { group: String, name: String, unique: Uuid },
    Prunes { group: String, deployer: Box<Call> },
    Deleted { group: String, name: String, unique: Uuid, subject: String, asked: time::OffsetDateTime },
}

impl std::fmt::Debug for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Starts { name, .. } => write!(f, "Starts({name})"),
            Self::Prunes { group, .. } => write!(f, "Prunes({group})"),
            Self::Deleted { name, .. } => write!(f, "Deleted({name})"),
        }
    }
}

fn schedule(world: &mut World, after: Duration, what: What) {
    world.schedule(after, world::Event::Arm(Event::Deployment(Step(what))));
}

pub(super) fn schedule_start(world: &mut World, call: &Call, name: &str, unique: Uuid, after: Duration) {
    let what = What::Starts {
        group: resource_groups::key(&call.lower[1], &call.lower[3]),
        name: name.to_lowercase(),
        unique,
    };
    schedule(world, after, what);
}

/// Lets a step happen.
pub(crate) fn step(world: &mut World, step: Step) {
    match step.0 {
        What::Starts { group, name, unique } => run::go_on(world, &group, &name, unique),
        What::Prunes { group, deployer } => prune(world, &group, &deployer),
        What::Deleted { group, name, unique, subject, asked } => {
            let stored = world.arm.groups.get_mut(&group).map(|group| &mut group.deployments);
            let Some(deployments) = stored else { return };
            if deployments.get(&name).is_some_and(|deployment| deployment.unique == unique) {
                let deployment = deployments.remove(&name);
                world.worked(WorkKind::DeploymentDeletion, &subject, asked, true);
                if let Some(operation) = deployment.and_then(|deployment| deployment.deletion) {
                    operations::end(world, &operation, Ok(None));
                }
            }
        }
    }
}

/// # Errors
/// 409 `DeploymentQuotaExceeded` if the history is full; pruning then begins, so that a later try finds room.
pub(super) fn make_room(world: &mut World, call: &Call, existed: bool) -> Result<(), ArmError> {
    let group = group(world, call)?;
    let count = group.deployments.len() + usize::from(!existed);
    let begins = count > PRUNE_ABOVE && !group.pruning;
    group.pruning |= begins;
    let name = group.name.clone();
    if begins {
        let what = What::Prunes {
            group: resource_groups::key(&call.lower[1], &call.lower[3]),
            deployer: Box::new(call.inner(Method::DELETE, &call.path(), "", &serde_json::Value::Null)),
        };
        schedule(world, UNTIL_PRUNING, what);
    }
    if count > MOST {
        return Err(ArmError::new(
            409,
            "DeploymentQuotaExceeded",
            format!(
                "Creating the deployment '{}' would exceed the quota of '{MOST}'. The current deployment count is '{}', please delete some deployments before creating a new one in resource group '{name}'. Please see https://aka.ms/arm-deploy for usage details.",
                call.name(),
                count - 1
            ),
        ));
    }
    Ok(())
}

/// Deletes the oldest, in the deployer's name: who may not delete, or finds a lock, does not prune.
fn prune(world: &mut World, group: &str, deployer: &Call) {
    let Some(stored) = world.arm.groups.get_mut(group) else {
        return;
    };
    stored.pruning = false;
    let scope =
        format!("/subscriptions/{}/resourcegroups/{}", stored.subscription, stored.name.to_lowercase());
    let allowed =
        authorization::check_action(world, deployer, "Microsoft.Resources/deployments/delete", &scope)
            .is_ok();
    if !allowed || locks::forbidding(world, &scope, true).is_some() {
        return;
    }
    let Some(stored) = world.arm.groups.get_mut(group) else {
        return;
    };
    let surplus = stored.deployments.len().saturating_sub(PRUNE_TO);
    let is_final = |deployment: &Deployment| !deployment.is_active() && deployment.state != DELETING;
    let mut finals: Vec<_> = stored
        .deployments
        .iter()
        .filter(|(_, deployment)| is_final(deployment))
        .map(|(key, deployment)| (deployment.timestamp, key.clone()))
        .collect();
    finals.sort();
    for (_, key) in finals.into_iter().take(surplus) {
        stored.deployments.remove(&key);
    }
}

/// `DELETE …/deployments/{name}`: 202 and a location; 204 if it is not there. The resources stay.
pub(super) fn delete(world: &mut World, call: &Call, key: &str) -> Result<Answer, ArmError> {
    let location = group(world, call)?.location.clone();
    let Some(deployment) = group(world, call)?.deployments.get(key) else {
        return Ok(Answer::empty(204));
    };
    let unique = deployment.unique;
    if let Some(operation) = deployment.deletion.clone() {
        if world.unstick(&operation) {
            schedule_deletion(world, call, key, unique, Lasts::For(deletion(world, call)), &operation);
        }
        return Ok(operations::accepted(world, &operation, Answer::empty(202)));
    }
    if deployment.is_active() {
        return Err(ArmError::new(
            409,
            "DeploymentBeingUsed",
            format!("The deployment '{}' is active and cannot be deleted.", deployment.name),
        ));
    }
    let operation = operations::begin(world, Provider::Resources, call.subscription(), &location);
    if let Some(deployment) = group(world, call)?.deployments.get_mut(key) {
        deployment.state = DELETING;
        deployment.deletion = Some(operation.clone());
    }
    let takes = deletion(world, call);
    let lasts = world.lasts(&call.path(), takes);
    schedule_deletion(world, call, key, unique, lasts, &operation);
    Ok(operations::accepted(world, &operation, Answer::empty(202)))
}

/// How long the deletion usually takes.
fn deletion(world: &World, call: &Call) -> Duration {
    world.latencies.draw(world.latencies.profile.deployment_deletion, &call.path())
}

fn schedule_deletion(world: &mut World, call: &Call, key: &str, unique: Uuid, lasts: Lasts, operation: &str) {
    let Lasts::For(takes) = lasts else {
        world.stick(operation);
        return;
    };
    let what = What::Deleted {
        group: resource_groups::key(&call.lower[1], &call.lower[3]),
        name: key.to_owned(),
        unique,
        subject: call.path(),
        asked: world.now(),
    };
    schedule(world, takes, what);
}
