use super::*;
use crate::steps::fixtures::{build, deployment, tags_of_run, vm, with_ignore};

fn decided(vm: Option<LabVm>, deployment: Option<Deployment>) -> Action {
    decide(vm.as_ref(), deployment.as_ref(), &build())
}

fn in_state(state: &str) -> Option<LabVm> {
    Some(LabVm { provisioning_state: state.to_owned(), ..vm() })
}

#[test]
fn it_is_done_only_when_neither_the_vm_nor_its_deployment_is_there() {
    assert_eq!(decided(None, None), Action::Done);
    assert_eq!(decided(None, Some(deployment("Succeeded"))), Action::DeleteDeployment);
    assert_eq!(decided(Some(vm()), None), Action::GiveSasBackThenDelete);
}

#[test]
fn a_deployment_that_goes_on_is_cancelled_before_its_vm_is_deleted() {
    for state in ["Running", "Accepted"] {
        for vm in [None, Some(vm())] {
            assert_eq!(decided(vm, Some(deployment(state))), Action::CancelDeployment);
        }
    }
}

#[test]
fn the_vm_goes_before_the_entry_of_its_deployment() {
    for state in ["Succeeded", "Failed", "Canceled"] {
        assert_eq!(decided(Some(vm()), Some(deployment(state))), Action::GiveSasBackThenDelete);
        assert_eq!(decided(None, Some(deployment(state))), Action::DeleteDeployment);
    }
}

#[test]
fn what_is_being_deleted_is_waited_for_and_not_cancelled_or_deleted_again() {
    assert_eq!(decided(in_state("deleting"), None), Action::AwaitVm);
    assert_eq!(decided(in_state("Deleting"), Some(deployment("Succeeded"))), Action::AwaitVm);
    assert_eq!(decided(None, Some(deployment("Deleting"))), Action::AwaitDeployment);
}

#[test]
fn a_vm_of_another_run_or_of_nobody_stays() {
    for tags in [tags_of_run("run-2"), Default::default()] {
        let foreign = LabVm { tags, ..vm() };
        assert_eq!(decided(Some(foreign.clone()), None), Action::Done);
        assert_eq!(decided(Some(foreign), Some(deployment("Failed"))), Action::DeleteDeployment);
    }
}

#[test]
fn a_vm_with_factory_ignore_stays_and_its_deployment_is_not_stopped() {
    let ignored = || Some(LabVm { tags: with_ignore(tags_of_run("run-1"), ""), ..vm() });
    assert_eq!(decided(ignored(), None), Action::Done);
    assert_eq!(decided(ignored(), Some(deployment("Running"))), Action::Done);
    assert_eq!(decided(ignored(), Some(deployment("Succeeded"))), Action::DeleteDeployment);
}
