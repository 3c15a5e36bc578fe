//! create-vm: the definition stands as a generalised, deallocated VM in the factory lab.

use std::time::Duration;

use arm_template::Scope;
use async_trait::async_trait;
use time::OffsetDateTime;

use super::{
    Factory, base_image,
    pace::{self, Bounds},
    tags,
    turn::{ItemStep, Next},
};
use crate::{
    azure::{AzureError, ComputeVm, Deployment, ErrorKind, LabVm, ParameterValue},
    domain::{
        Definition, IGNORE_TAG, InputPart, Message, OsSource, OsType, Queue,
        config::GOLDEN_IMAGES,
        definition::{FactoryParameter, ParameterValues, Prepare},
        messages::{ImageStep, Step},
    },
    ledger::{BuildRecord, Failure, StepState},
    secret::Secret,
};

/// A template that Azure refuses late is refused within this; no VM is ready before.
const FIRST_LOOK: Duration = Duration::from_secs(60);
/// Between two looks at a VM that is being made.
const BOUNDS: Bounds = Bounds::seconds(30, 90).of_elapsed(20);
/// Between two looks at a VM that shuts down: that is soon over.
const SHUTDOWN_BOUNDS: Bounds = Bounds::seconds(10, 20);
/// What a look reads as a rule: the deployment, or the VM. At the shutdown it is one more.
const READS: u32 = 1;
/// The factory's own code for a definition that cannot be deployed.
pub(super) const INVALID_DEFINITION: &str = "InvalidDefinition";
/// A deployment that succeeded may take this long to show its VM.
const UNSEEN_FOR: time::Duration = time::Duration::minutes(10);
/// The systems of which a generalising artifact is known.
const SYSTEMS: [OsType; 2] = [OsType::Windows, OsType::Linux];

/// The step.
pub struct CreateVm;

/// What Azure has.
struct Seen {
    deployment: Option<Deployment>,
    vm: Option<LabVm>,
    compute: Option<ComputeVm>,
}

/// What to do about it.
#[derive(Debug, PartialEq)]
enum Action {
    Deploy,
    Wait { bounds: Bounds, waiting_for: String },
    Ready { os_type: OsType, compute_id: String },
    Fail(Failure),
}

impl PartialEq for Bounds {
    fn eq(&self, other: &Self) -> bool {
        (self.least, self.most) == (other.least, other.most)
    }
}

#[async_trait]
impl ItemStep for CreateVm {
    type Record = BuildRecord;
    const STEP: Queue = Queue::CreateVm;
    const CAN_BE_CALLED_OFF: bool = true;

    fn deadline(&self, record: &BuildRecord) -> Duration {
        record.settings.deadlines.create_vm
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &BuildRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        let seen = look(factory, record, state).await?;
        let now = factory.clock.now();
        Ok(match decide(&seen, record, state, now) {
            Action::Deploy => match deploy(factory, record).await? {
                Some(failure) => Next::Failed(failure),
                None => {
                    state.facts.begun += 1;
                    state.facts.begun_at.get_or_insert(now);
                    Next::wait(FIRST_LOOK, "the deployment")
                }
            },
            Action::Wait { bounds, waiting_for } => {
                let begun = state.facts.begun_at.unwrap_or(state.started_at);
                let wait = pace::growing(begun, now, bounds);
                Next::wait(pace::shared(wait, record.builds_beside(), READS), waiting_for)
            }
            Action::Ready { os_type, compute_id } => {
                state.facts.os_type = Some(os_type);
                state.facts.compute_id = Some(compute_id);
                state.facts.base_image = seen.compute.and_then(|compute| compute.image);
                let artifacts = seen.vm.into_iter().flat_map(|vm| vm.artifacts);
                state.facts.artifacts = artifacts.map(|artifact| artifact.artifact_id).collect();
                Next::Succeeded
            }
            Action::Fail(failure) => Next::Failed(failure),
        })
    }

    fn follow_ups(&self, record: &BuildRecord, state: &StepState, _attempt: u32) -> Vec<Message> {
        let image = ImageStep { image_path: record.plan.image_path.clone() };
        let step = match &state.ending {
            None => return Vec::new(),
            Some(_) if state.succeeded() => Step::CaptureImage(image),
            Some(_) => Step::DeleteVm(image),
        };
        vec![Message::first(record.run.clone(), step)]
    }
}

/// Reads what can matter now: a thousand VMs at once share Azure's budget.
async fn look(factory: &Factory, record: &BuildRecord, state: &mut StepState) -> Result<Seen, AzureError> {
    let lab = factory.storages.get(&record.factory_lab).await?.lab.address;
    let deployment_name = record.deployment();
    let deployment =
        factory.azure.deployment(&lab.subscription_id, &lab.resource_group, deployment_name.as_str());
    let vm = || factory.azure.lab_vm(&lab, record.plan.vm_name.as_str());
    let (deployment, vm) = if state.facts.deployed {
        match vm().await? {
            Some(vm) => (None, Some(vm)),
            None => (deployment.await?, None),
        }
    } else {
        match deployment.await? {
            Some(deployment) if !deployment.is_final() => (Some(deployment), None),
            deployment => (deployment, vm().await?),
        }
    };
    let succeeded = deployment.as_ref().is_some_and(Deployment::succeeded);
    state.facts.deployed |= succeeded && vm.is_some();
    let finished = vm.as_ref().filter(|vm| has_all_artifacts(vm));
    let compute = match finished.and_then(|vm| vm.compute_id.as_deref()) {
        Some(id) => factory.azure.compute_vm(id).await?,
        None => None,
    };
    Ok(Seen { deployment, vm, compute })
}

/// Whether nothing but the shutdown can be missing.
fn has_all_artifacts(vm: &LabVm) -> bool {
    vm.artifacts.iter().all(|artifact| artifact.status.eq_ignore_ascii_case("Succeeded"))
}

fn decide(seen: &Seen, record: &BuildRecord, state: &StepState, now: OffsetDateTime) -> Action {
    let wait = |bounds, waiting_for: String| Action::Wait { bounds, waiting_for };
    let fail = |code: &str, message: String| Action::Fail(Failure::new(code, message));
    if let Some(vm) = &seen.vm {
        if tags::ignored(&vm.tags) {
            return fail("FactoryIgnore", format!("VM {} carries the tag {}", vm.name, IGNORE_TAG));
        }
        if !tags::made_by(&vm.tags, &record.run) {
            return fail(
                "NameTaken",
                format!("a VM {} that this run did not make stands in the lab", vm.name),
            );
        }
    }
    match (&seen.deployment, &seen.vm) {
        (Some(deployment), _) if !deployment.is_final() => {
            return wait(BOUNDS, format!("the deployment ({})", deployment.state));
        }
        (Some(deployment), _) if !deployment.succeeded() => {
            let error = deployment.error.clone();
            let unknown =
                || Failure::new("DeploymentFailed", format!("the deployment ended as {}", deployment.state));
            return Action::Fail(error.map_or_else(unknown, Failure::from));
        }
        (None, None) => return Action::Deploy,
        (Some(_), None) => {
            let begun = state.facts.begun_at.unwrap_or(state.started_at);
            let ended = seen.deployment.as_ref().and_then(|deployment| deployment.timestamp).unwrap_or(begun);
            return if now - ended > UNSEEN_FOR {
                fail("VmMissing", "the deployment succeeded, but its VM is not there".to_owned())
            } else {
                wait(BOUNDS, "the VM to be visible".to_owned())
            };
        }
        (_, Some(_)) => {}
    }
    match &seen.vm {
        Some(vm) => judge(vm, seen.compute.as_ref()),
        None => Action::Deploy,
    }
}

/// Judges a VM whose deployment succeeded. That says nothing about its artifacts, and "deallocated" says nothing about the
/// generalising one, since other artifacts deallocate too: so every artifact must have succeeded, the last must be the
/// generalising one, and the VM must be deallocated.
fn judge(vm: &LabVm, compute: Option<&ComputeVm>) -> Action {
    let wait = |bounds, waiting_for: String| Action::Wait { bounds, waiting_for };
    let total = vm.artifacts.len();
    let with_status =
        |status: &str| vm.artifacts.iter().find(|artifact| artifact.status.eq_ignore_ascii_case(status));
    // Azure skips the artifacts after a failed one, and never comes back to them.
    if let Some(failed) = with_status("Failed").or_else(|| with_status("Skipped")) {
        let why = failed.message.as_deref().unwrap_or(&failed.status);
        let message = format!("artifact {}: {why}", artifact_name(&failed.artifact_id));
        return Action::Fail(Failure::new("ArtifactFailed", message));
    }
    if vm.provisioning_state.eq_ignore_ascii_case("Failed") {
        return Action::Fail(Failure::new("VmFailed", format!("VM {} is in the state Failed", vm.name)));
    }
    let succeeded =
        vm.artifacts.iter().filter(|artifact| artifact.status.eq_ignore_ascii_case("Succeeded")).count();
    if succeeded < total {
        return wait(BOUNDS, format!("artifacts, {succeeded} of {total} installed"));
    }
    let last = vm.artifacts.last().map(|artifact| artifact_name(&artifact.artifact_id)).unwrap_or_default();
    let generalizes = |os: &&OsType| last.eq_ignore_ascii_case(os.generalising_artifact());
    let Some(os_type) = SYSTEMS.iter().find(generalizes) else {
        let message = format!("the VM's last artifact is '{last}', not one that generalises it");
        return Action::Fail(Failure::new("NotGeneralized", message));
    };
    match (&vm.compute_id, compute.and_then(|compute| compute.power_state.as_deref())) {
        (Some(id), Some("deallocated")) => Action::Ready { os_type: *os_type, compute_id: id.clone() },
        (_, power) => {
            wait(SHUTDOWN_BOUNDS, format!("the VM to be deallocated (it is {})", power.unwrap_or("unknown")))
        }
    }
}

fn artifact_name(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Starts the deployment; `Some` if the definition cannot be deployed.
async fn deploy(factory: &Factory, record: &BuildRecord) -> Result<Option<Failure>, AzureError> {
    let plan = &record.plan;
    let found = factory.storages.get(&record.factory_lab).await?.lab;
    let lab = &found.address;
    let file = format!("{GOLDEN_IMAGES}/{}", plan.image_path);
    let template = factory.ledger.definition(&record.run, &plan.vm_name).await?;
    let definition = match Definition::parse(&file, &template, &record.settings) {
        Ok(definition) => definition,
        Err(problems) => return Ok(Some(Failure::new(INVALID_DEFINITION, problems.to_string()))),
    };
    // Kept nowhere: nobody signs in to a VM that is about to be generalised.
    let password = random_password()?;
    let values = ParameterValues {
        vm_name: plan.vm_name.as_str(),
        lab_name: &lab.lab_name,
        size: &record.settings.vm_size,
        user_name: &record.settings.user_name,
        password: password.expose(),
    };
    let deployment = record.deployment();
    let scope = Scope {
        subscription_id: lab.subscription_id.clone(),
        resource_group: lab.resource_group.clone(),
        resource_group_location: found.location,
        deployment_name: deployment.to_string(),
        tenant_id: String::new(),
    };
    let os_type = match os_type(factory, &definition, &values, &scope).await? {
        Ok(os_type) => os_type,
        Err(failure) => return Ok(Some(failure)),
    };
    let planned = record.inputs.as_ref().and_then(|inputs| inputs.get(InputPart::BaseImage));
    let prepare = Prepare {
        lab_id: &lab.id(),
        artifact_source: &record.settings.artifact_source,
        version: planned.and_then(|base_image| definition.version_in(base_image)),
        tags: &tags::of(&record.run, &plan.image_path),
        values,
        scope: &scope,
    };
    let template = definition.prepare(os_type, &prepare);
    let parameters = parameters(&definition, &values, &password);
    let (subscription, group) = (&lab.subscription_id, &lab.resource_group);
    factory.azure.put_deployment(subscription, group, deployment.as_str(), &template, &parameters).await?;
    Ok(None)
}

/// The values for the parameters that the template declares, the password as a secret.
fn parameters(
    definition: &Definition,
    values: &ParameterValues<'_>,
    password: &Secret<String>,
) -> Vec<(String, ParameterValue)> {
    let secret = definition.spelling(FactoryParameter::Password);
    let plain = definition.deployment_parameters(values).into_iter().map(|(name, mut value)| {
        let value = if secret == Some(name.as_str()) {
            ParameterValue::Secret(password.clone())
        } else {
            ParameterValue::Plain(value["value"].take())
        };
        (name, value)
    });
    plain.collect()
}

/// The operating system that the image really has: of an image that is not from the marketplace, Azure knows it.
async fn os_type(
    factory: &Factory,
    definition: &Definition,
    values: &ParameterValues<'_>,
    scope: &Scope,
) -> Result<Result<OsType, Failure>, AzureError> {
    let (expression, is_custom) = match definition.os_source() {
        OsSource::Known(os_type) => return Ok(Ok(*os_type)),
        OsSource::CustomImage(expression) => (expression, true),
        OsSource::SharedImage(expression) => (expression, false),
    };
    let id = match base_image::image_id(definition, expression, values, scope) {
        Ok(id) => id,
        Err(failure) => return Ok(Err(failure)),
    };
    let os_type = base_image::system_of(factory, &id, is_custom).await?;
    Ok(os_type.ok_or_else(|| base_image::unknown_system(&id)))
}

/// Letters and digits that are hard to mistake for each other.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghjkmnpqrstuvwxyz23456789";
/// Long enough that nobody guesses it, short enough for every image (Azure: 12 to 72 for Linux, to 123 for Windows).
const PASSWORD_LENGTH: usize = 32;

/// A password with letters of both cases, digits and a sign, as Azure demands three of the four.
fn random_password() -> Result<Secret<String>, AzureError> {
    let mut bytes = [0_u8; PASSWORD_LENGTH];
    getrandom::fill(&mut bytes).map_err(|error| AzureError {
        kind: ErrorKind::Transient { retry_after: None },
        status: None,
        code: "NoRandomness".to_owned(),
        message: error.to_string(),
        correlation_id: None,
        attempted: "make a password".to_owned(),
    })?;
    let letters = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]));
    Ok(Secret::new(letters.chain("aA4-".chars()).collect()))
}

#[cfg(test)]
mod tests;
