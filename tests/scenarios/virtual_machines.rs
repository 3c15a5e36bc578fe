//! VMs that do not come to be.

use azure_sim::fault::{ArtifactFault, ArtifactOutcome, Faults, VirtualMachineFault};
use serde_json::json;

use crate::factory::{
    Factory, Files, LINUX, WINDOWS, answer, definition, http_fault, image, scenario, vm_property, windows,
};

/// The Windows VM's artifacts.
fn artifact(part: &str, outcome: ArtifactOutcome) -> Faults {
    Faults {
        artifacts: vec![ArtifactFault {
            vm_part: "Server-".to_owned(),
            artifact_part: part.to_owned(),
            outcome,
        }],
        ..Faults::default()
    }
}

#[test]
fn a_failed_artifact_fails_its_image_alone() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.faults(artifact("windows-git", ArtifactOutcome::Fails("exit code 17".to_owned())));
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert_eq!(reasons[0].code, "ArtifactFailed");
        assert!(reasons[0].message.contains("windows-git"), "{}", reasons[0]);
        assert!(reasons[0].message.contains("exit code 17"), "{}", reasons[0]);
    });
}

#[test]
fn a_failed_generalising_artifact_makes_no_image() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.faults(artifact("windows-sysprep", ArtifactOutcome::Fails("sysprep says no".to_owned())));
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert!(reasons[0].message.contains("sysprep says no"), "{}", reasons[0]);
    });
}

#[test]
fn an_artifact_that_never_ends_meets_the_deadline() {
    scenario(async {
        let settings = json!({"deadlines": {"createVm": "PT1H"}});
        let factory = Factory::new(&Files::with_settings(settings)).await;
        factory.faults(artifact("windows-git", ArtifactOutcome::NeverEnds));
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert_eq!(reasons[0].code, "DeadlineExceeded");
        assert!(reasons[0].message.contains("1.0 h"), "{}", reasons[0]);
        let times = image(&outcome, WINDOWS).times;
        let taken = times.ended_at.unwrap() - times.started_at.unwrap();
        assert!(taken.whole_minutes() >= 60 && taken.whole_minutes() < 75, "{taken}");
    });
}

#[test]
fn a_vm_without_capacity_fails_with_azures_words() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.faults(Faults {
            virtual_machines: vec![VirtualMachineFault {
                vm_part: "Docker-".to_owned(),
                code: "AllocationFailed".to_owned(),
                message: "We do not have sufficient capacity for the requested VM size in this region."
                    .to_owned(),
            }],
            ..Faults::default()
        });
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[LINUX]);
        assert_eq!(reasons[0].code, "AllocationFailed");
        assert!(reasons[0].message.contains("sufficient capacity"), "{}", reasons[0]);
        assert!(reasons[0].correlation_id.is_some(), "Azure's support asks for it");
    });
}

#[test]
fn a_quota_that_preflight_sees_fails_the_image_that_is_too_large() {
    scenario(async {
        let mut files = Files::new();
        let large = files.definitions.get_mut(WINDOWS).unwrap();
        *vm_property(large, "size") = json!("Standard_D16s_v3");
        let factory = Factory::new(&files).await;
        let subscription = image_factory::dev::world::FACTORY_SUBSCRIPTION;
        factory.host.sim.world().set_quota(subscription, Some(8));
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert_eq!(reasons[0].code, "QuotaExceeded", "{}", reasons[0]);
        assert!(reasons[0].message.contains("Maximum allowed: 8"), "{}", reasons[0]);
    });
}

#[test]
fn a_quota_that_is_used_up_meanwhile_fails_the_image_that_came_too_late() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        // Each of the two has two cores.
        let subscription = image_factory::dev::world::FACTORY_SUBSCRIPTION;
        factory.host.sim.world().set_quota(subscription, Some(3));
        let outcome = factory.run().await;
        let failed = if image(&outcome, WINDOWS).error.is_some() { WINDOWS } else { LINUX };
        let reasons = factory.assert_failed(&outcome, &[failed]);
        assert_eq!(reasons[0].code, "OperationNotAllowed", "{}", reasons[0]);
        assert!(reasons[0].message.contains("Total Regional Cores quota"), "{}", reasons[0]);
    });
}

#[test]
fn a_lab_policy_that_forbids_the_size_fails_the_image_with_its_words() {
    scenario(async {
        let mut files = Files::new();
        let large = files.definitions.get_mut(WINDOWS).unwrap();
        *vm_property(large, "size") = json!("Standard_D16s_v3");
        let factory = Factory::new(&files).await;
        let lab = factory.factory_lab();
        let allowed = r#"["Standard_D2s_v3"]"#;
        assert!(factory.host.sim.world().set_policy(&lab, "LabVmSize", "AllowedValuesPolicy", allowed));
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert!(reasons[0].message.to_lowercase().contains("polic"), "{}", reasons[0]);
    });
}

#[test]
fn a_template_that_names_an_unknown_network_fails_with_azures_words() {
    scenario(async {
        let mut files = Files::new();
        let lost = files.definitions.get_mut(WINDOWS).unwrap();
        *vm_property(lost, "labVirtualNetworkId") = json!(
            "[resourceId('Microsoft.DevTestLab/labs/virtualnetworks', parameters('labName'), 'nowhere')]"
        );
        let factory = Factory::new(&files).await;
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert_eq!(reasons[0].code, "VirtualNetworkNotFound", "{}", reasons[0]);
        assert!(reasons[0].message.contains("nowhere"), "{}", reasons[0]);
    });
}

#[test]
fn a_template_that_resource_manager_refuses_at_once_fails_its_image_alone() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let refusal = json!({"error": {"code": "InvalidTemplateDeployment",
            "message": "The template deployment failed with multiple errors. See inner errors for details.",
            "details": [{"code": "RequestDisallowedByPolicy", "message": "Resource was disallowed by policy 'no-vms'."}]}});
        factory.http_faults([http_fault(Some("PUT"), "first-Server-", 0, 100, answer(403, refusal))]);
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert_eq!(reasons[0].code, "RequestDisallowedByPolicy");
        assert!(reasons[0].message.contains("'no-vms'"), "{}", reasons[0]);
    });
}

#[test]
fn an_artifact_that_the_lab_does_not_know_fails_with_azures_words() {
    scenario(async {
        let mut files = Files::new();
        files.definitions.insert(WINDOWS.to_owned(), definition(&windows(), &["windows-no-such-thing"]));
        let factory = Factory::new(&files).await;
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert!(reasons[0].message.contains("windows-no-such-thing"), "{}", reasons[0]);
    });
}
