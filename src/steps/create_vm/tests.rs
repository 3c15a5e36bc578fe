use serde_json::{Value, json};

use super::*;
use crate::{
    azure::VmArtifact,
    steps::fixtures::{
        NOW, ago, build, deployment, failed, refusal, succeeded, tags_of_run, vm, waiting, with_ignore,
    },
};

fn artifact(name: &str, status: &str) -> VmArtifact {
    VmArtifact {
        artifact_id: format!("/artifactSources/public repo/artifacts/{name}"),
        status: status.to_owned(),
        message: None,
    }
}

/// A VM whose artifacts all ran, the generalising one last.
fn finished() -> LabVm {
    LabVm {
        artifacts: vec![artifact("windows-git", "Succeeded"), artifact("windows-sysprep", "Succeeded")],
        ..vm()
    }
}

fn compute(power: Option<&str>) -> ComputeVm {
    ComputeVm {
        id: "/compute/vm".to_owned(),
        power_state: power.map(str::to_owned),
        provisioning_state: "Succeeded".to_owned(),
        os_disk_id: None,
        os_type: None,
        image: None,
        data_disks: 0,
    }
}

fn decided(deployment: Option<Deployment>, vm: Option<LabVm>, compute: Option<ComputeVm>) -> Action {
    let seen = Seen { deployment, vm, compute };
    decide(&seen, &build(), &waiting(1, NOW), NOW)
}

/// An action in few words.
fn told(action: Action) -> String {
    match action {
        Action::Deploy => "deploy".to_owned(),
        Action::Wait { waiting_for, .. } => format!("wait for {waiting_for}"),
        Action::Ready { os_type, compute_id } => format!("ready {os_type} {compute_id}"),
        Action::Fail(failure) => format!("fail {failure}"),
    }
}

fn judged(artifacts: Vec<VmArtifact>, power: Option<&str>) -> String {
    told(judge(&LabVm { artifacts, ..vm() }, Some(&compute(power))))
}

#[test]
fn nothing_there_is_deployed() {
    assert_eq!(decided(None, None, None), Action::Deploy);
}

#[test]
fn a_deployment_that_goes_on_is_waited_for_in_every_state_that_is_not_final() {
    for state in ["Accepted", "Running", "Updating", "Deleting", "a new word"] {
        assert_eq!(
            told(decided(Some(deployment(state)), None, None)),
            format!("wait for the deployment ({state})")
        );
    }
}

#[test]
fn a_deployment_that_ended_badly_fails_with_azures_words_or_its_state() {
    for state in ["Failed", "Canceled", "failed"] {
        assert_eq!(
            told(decided(Some(deployment(state)), None, None)),
            format!("fail DeploymentFailed: the deployment ended as {state}")
        );
    }
    let refused = Deployment {
        error: Some(AzureError { correlation_id: Some("c-1".to_owned()), ..refusal("QuotaExceeded") }),
        ..deployment("Failed")
    };
    assert_eq!(
        told(decided(Some(refused), Some(finished()), None)),
        "fail QuotaExceeded: PUT deployment: refused (correlation id c-1)"
    );
}

#[test]
fn a_vm_that_is_not_visible_yet_has_ten_minutes_of_grace_after_its_deployment() {
    let after = |minutes| {
        let ended = Deployment { timestamp: Some(ago(minutes)), ..deployment("Succeeded") };
        told(decided(Some(ended), None, None))
    };
    assert_eq!(after(0), "wait for the VM to be visible");
    assert_eq!(after(10), "wait for the VM to be visible");
    assert!(after(11).starts_with("fail VmMissing"));
}

#[test]
fn without_the_deployments_time_the_grace_counts_from_when_it_was_begun() {
    let undated = || Some(Deployment { timestamp: None, ..deployment("Succeeded") });
    let begun = |at| {
        let mut state = waiting(1, NOW);
        state.facts.begun_at = at;
        let seen = Seen { deployment: undated(), vm: None, compute: None };
        told(decide(&seen, &build(), &state, NOW))
    };
    assert_eq!(begun(Some(ago(1))), "wait for the VM to be visible");
    assert!(begun(None).starts_with("fail VmMissing"), "the step began an hour ago");
}

#[test]
fn factory_ignore_comes_before_everything_else() {
    let ignored = LabVm {
        tags: with_ignore(tags_of_run("another"), "because"),
        artifacts: vec![artifact("windows-git", "Failed")],
        ..vm()
    };
    for deployment in [None, Some(deployment("Failed")), Some(deployment("Running"))] {
        assert!(told(decided(deployment, Some(ignored.clone()), None)).starts_with("fail FactoryIgnore"));
    }
    let not_ignored = LabVm { tags: with_ignore(tags_of_run("run-1"), "False"), ..finished() };
    assert!(
        told(decided(Some(deployment("Succeeded")), Some(not_ignored), Some(compute(Some("deallocated")))))
            .starts_with("ready")
    );
}

#[test]
fn a_vm_of_another_run_or_of_nobody_is_never_taken_for_ours() {
    for tags in [tags_of_run("run-10"), tags_of_run("RUN-1"), Default::default()] {
        let foreign = LabVm { tags, ..finished() };
        let action =
            decided(Some(deployment("Succeeded")), Some(foreign), Some(compute(Some("deallocated"))));
        assert!(told(action).starts_with("fail NameTaken"));
    }
}

#[test]
fn a_vm_whose_deployment_fell_out_of_the_history_counts_all_the_same() {
    let action = decided(None, Some(finished()), Some(compute(Some("deallocated"))));
    assert_eq!(told(action), "ready Windows /compute/vm");
}

#[test]
fn a_vm_is_ready_only_if_its_last_artifact_generalised_it_and_it_is_deallocated() {
    let sysprep = || artifact("windows-sysprep", "Succeeded");
    let git = || artifact("windows-git", "Succeeded");
    let off = Some("deallocated");
    assert_eq!(judged(vec![git(), sysprep()], off), "ready Windows /compute/vm");
    assert_eq!(judged(vec![artifact("LINUX-deprovision", "succeeded")], off), "ready Linux /compute/vm");
    for (artifacts, last) in
        [(vec![sysprep(), git()], "windows-git"), (vec![git()], "windows-git"), (vec![], "")]
    {
        assert_eq!(
            judged(artifacts, off),
            format!("fail NotGeneralized: the VM's last artifact is '{last}', not one that generalises it")
        );
    }
    for power in ["running", "stopped", "deallocating", "Deallocated?"] {
        assert_eq!(
            judged(vec![sysprep()], Some(power)),
            format!("wait for the VM to be deallocated (it is {power})")
        );
    }
    assert_eq!(judged(vec![sysprep()], None), "wait for the VM to be deallocated (it is unknown)");
}

#[test]
fn a_vm_without_a_compute_vm_is_not_ready() {
    let headless = LabVm { compute_id: None, ..finished() };
    assert!(told(judge(&headless, Some(&compute(Some("deallocated"))))).starts_with("wait"));
    assert!(told(judge(&finished(), None)).starts_with("wait"));
}

#[test]
fn one_failed_artifact_fails_the_build_with_its_name_and_reason() {
    let broken =
        VmArtifact { message: Some("exit code 3".to_owned()), ..artifact("windows-chrome", "failed") };
    let artifacts =
        vec![artifact("windows-git", "Installing"), broken, artifact("windows-sysprep", "Pending")];
    assert_eq!(
        judged(artifacts, Some("running")),
        "fail ArtifactFailed: artifact windows-chrome: exit code 3"
    );
    assert_eq!(
        judged(vec![artifact("windows-git", "Failed")], None),
        "fail ArtifactFailed: artifact windows-git: Failed"
    );
}

#[test]
fn artifacts_that_have_not_ended_are_waited_for_even_if_the_vm_is_deallocated() {
    for status in ["Pending", "Installing", "", "WaitingToConnectToVirtualMachine"] {
        let artifacts = vec![artifact("windows-git", "Succeeded"), artifact("windows-sysprep", status)];
        assert_eq!(judged(artifacts, Some("deallocated")), "wait for artifacts, 1 of 2 installed");
    }
}

#[test]
fn a_skipped_artifact_fails_the_build_instead_of_being_waited_for() {
    let artifacts = vec![artifact("windows-git", "Skipped"), artifact("windows-sysprep", "Succeeded")];
    assert!(judged(artifacts, Some("deallocated")).starts_with("fail ArtifactFailed: artifact windows-git"));
}

#[test]
fn a_vm_that_failed_fails_the_build() {
    let broken = LabVm { provisioning_state: "failed".to_owned(), ..finished() };
    assert!(told(judge(&broken, None)).starts_with("fail VmFailed"));
}

#[test]
fn success_leads_to_capture_and_failure_to_deletion_and_waiting_to_nothing() {
    let queues = |state: &StepState| -> Vec<Queue> {
        let follow_ups = CreateVm.follow_ups(&build(), state, 1);
        assert!(follow_ups.iter().all(|message| message.attempt == 1 && message.run == build().run));
        follow_ups.iter().map(Message::queue).collect()
    };
    assert_eq!(queues(&succeeded(NOW)), [Queue::CaptureImage]);
    assert_eq!(queues(&failed(NOW)), [Queue::DeleteVm]);
    assert_eq!(queues(&waiting(2, NOW)), []);
}

#[test]
fn passwords_have_all_four_classes_a_length_that_azure_takes_and_are_never_the_same() {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let secret = random_password().unwrap();
        let password = secret.expose();
        assert!((12..=72).contains(&password.len()), "{}", password.len());
        for class in [
            char::is_ascii_uppercase as fn(&char) -> bool,
            char::is_ascii_lowercase,
            char::is_ascii_digit,
            char::is_ascii_punctuation,
        ] {
            assert!(password.chars().any(|c| class(&c)));
        }
        assert!(!format!("{secret:?} {secret}").contains(password.as_str()));
        assert!(seen.insert(password.clone()));
    }
}

fn definition(parameters: &Value) -> Definition {
    let template = json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": parameters,
        "resources": [{
            "type": "Microsoft.DevTestLab/labs/virtualmachines",
            "apiVersion": "2018-09-15",
            "name": "[concat('factory/', parameters('newVMName'))]",
            "properties": {"galleryImageReference": {"publisher": "P", "offer": "O", "sku": "S",
                "osType": "Windows", "version": "latest"}},
        }],
    });
    Definition::parse("x.json", template.to_string().as_bytes(), &build().settings).unwrap()
}

#[test]
fn only_declared_parameters_are_given_and_the_password_is_a_secret() {
    let secret = Secret::new("correct horse".to_owned());
    let values = ParameterValues {
        vm_name: "vm",
        lab_name: "factory",
        size: "Standard_D2s_v3",
        user_name: "admin",
        password: secret.expose(),
    };
    let string = json!({"type": "string"});
    let all = json!({"newVMName": string, "SIZE": string, "PassWord": {"type": "securestring"},
        "mine": {"type": "string", "defaultValue": "x"}});
    let given = parameters(&definition(&all), &values, &secret);
    let names: std::collections::BTreeSet<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["PassWord", "SIZE", "newVMName"].into());
    for (name, value) in &given {
        let is_secret = matches!(value, ParameterValue::Secret(_));
        assert_eq!(is_secret, name == "PassWord", "{name}");
    }
    assert!(!format!("{given:?}").contains("correct horse"));
    let few = parameters(&definition(&json!({"newVMName": string})), &values, &secret);
    assert_eq!(few.len(), 1);
}
