//! delete-vm: nothing of a build is left in the factory lab but its captured VHD.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    Factory, capture_image, pace, tags,
    turn::{ItemStep, Next},
};
use crate::{
    azure::{AzureError, Deployment, LabVm, Started},
    domain::{Message, Queue},
    ledger::{BuildRecord, StepState},
};

/// While Azure deletes a VM.
const DELETING_VM: Duration = Duration::from_secs(30);
/// What a look reads: the VM and the deployment.
const READS: u32 = 2;
/// While Azure cancels or deletes a deployment, or gives a disk's SAS back.
const SOON: Duration = Duration::from_secs(10);

/// The step.
pub struct DeleteVm;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    CancelDeployment,
    GiveSasBackThenDelete,
    AwaitVm,
    AwaitDeployment,
    DeleteDeployment,
    Done,
}

#[async_trait]
impl ItemStep for DeleteVm {
    type Record = BuildRecord;
    const STEP: Queue = Queue::DeleteVm;

    fn deadline(&self, record: &BuildRecord) -> Duration {
        record.settings.deadlines.delete_vm
    }

    async fn advance(
        &self,
        factory: &Factory,
        record: &BuildRecord,
        state: &mut StepState,
    ) -> Result<Next, AzureError> {
        let azure = &factory.azure;
        let lab = &factory.storages.get(&record.factory_lab).await?.lab.address;
        let (subscription, group) = (&lab.subscription_id, &lab.resource_group);
        let (vm_name, deployment_name) = (record.plan.vm_name.as_str(), record.deployment());
        let vm = azure.lab_vm(lab, vm_name).await?;
        let deployment = azure.deployment(subscription, group, deployment_name.as_str()).await?;
        let now = factory.clock.now();
        let action = match decide(vm.as_ref(), deployment.as_ref(), record) {
            Action::AwaitVm if pace::stalls(&mut state.facts.begun_at, now) => Action::GiveSasBackThenDelete,
            Action::AwaitDeployment if pace::stalls(&mut state.facts.begun_at, now) => {
                Action::DeleteDeployment
            }
            action => action,
        };
        Ok(match action {
            Action::CancelDeployment => {
                azure.cancel_deployment(subscription, group, deployment_name.as_str()).await?;
                Next::wait(SOON, "the deployment to be cancelled")
            }
            Action::GiveSasBackThenDelete => {
                // A VM whose disk has an open SAS cannot be deleted.
                if capture_image::give_back(factory, record, state).await? {
                    return Ok(Next::wait(SOON, "the disk's SAS to be given back"));
                }
                match azure.delete_lab_vm(lab, vm_name).await {
                    Ok(Started::Done) => Next::wait(Duration::from_secs(1), "the VM to be gone"),
                    Ok(Started::Running { .. }) => Next::wait(deleting(record), "the VM to be deleted"),
                    Err(error) => {
                        // A SAS that Azure never got to hand out holds the VM as well, and shows only in the refusal. So does one
                        // whose disk nobody noted, because the turn that asked for it was overtaken.
                        match capture_image::opened_disk(record, state) {
                            Some(disk_id) if error.is_conflict() => {
                                azure.end_disk_access(&disk_id).await?;
                            }
                            None if error.is_conflict() => {
                                if let Some(disk_id) =
                                    capture_image::unnoted_open_disk(factory, record).await?
                                {
                                    azure.end_disk_access(&disk_id).await?;
                                    state.facts.disk_id = Some(disk_id);
                                    return Ok(Next::wait(SOON, "the disk's SAS to be given back"));
                                }
                            }
                            _ => {}
                        }
                        return Err(error);
                    }
                }
            }
            Action::AwaitVm | Action::AwaitDeployment => Next::wait(deleting(record), "the deletion to end"),
            Action::DeleteDeployment => {
                // Only the entry in the history, which is limited to 800; what it made is not touched by this.
                azure.delete_deployment(subscription, group, deployment_name.as_str()).await?;
                Next::wait(SOON, "the deployment to be deleted")
            }
            Action::Done => Next::Succeeded,
        })
    }

    fn follow_ups(&self, _record: &BuildRecord, _state: &StepState, _attempt: u32) -> Vec<Message> {
        Vec::new()
    }
}

/// Nobody waits for a deletion: where many go on at once, the looks are as rare as that needs.
fn deleting(record: &BuildRecord) -> Duration {
    pace::shared(DELETING_VM, record.builds_beside(), READS)
}

fn decide(vm: Option<&LabVm>, deployment: Option<&Deployment>, record: &BuildRecord) -> Action {
    // FactoryIgnore before anything else, then ownership: what is not ours stays.
    let ignored = vm.is_some_and(|vm| tags::ignored(&vm.tags));
    let vm = vm.filter(|vm| !ignored && tags::made_by(&vm.tags, &record.run));
    match (deployment, vm) {
        (Some(deployment), _) if deployment.is_being_deleted() => Action::AwaitDeployment,
        // To stop it would be to meddle with the VM; cleanup removes the entry once it is old.
        (Some(deployment), _) if !deployment.is_final() && ignored => Action::Done,
        (Some(deployment), _) if !deployment.is_final() => Action::CancelDeployment,
        (_, Some(vm)) if vm.is_being_deleted() => Action::AwaitVm,
        (_, Some(_)) => Action::GiveSasBackThenDelete,
        (Some(_), None) => Action::DeleteDeployment,
        (None, None) => Action::Done,
    }
}

#[cfg(test)]
mod tests;
