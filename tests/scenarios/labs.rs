//! Labs: absent, looked up, of one name, and the factory's own.

use azure_sim::control;
use image_factory::{
    dev::world::{FACTORY_GROUP, FACTORY_LAB, FACTORY_SUBSCRIPTION},
    report::Status,
};
use serde_json::json;

use crate::factory::{
    DATA, Factory, Files, LINUX, OTHER_SUBSCRIPTION, SUBSCRIPTION, WEB, WINDOWS, lab, line, scenario,
    team_lab,
};

#[test]
fn a_lab_that_does_not_exist_fails_alone_and_says_what_to_do() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        assert!(control::delete_lab(&factory.host.sim, &team_lab(SUBSCRIPTION, WEB)));
        let outcome = factory.run().await;
        let expected = [format!("{LINUX} in {WEB}"), format!("{WINDOWS} in {WEB}")];
        let reasons = factory.assert_failed(&outcome, &[&expected[0], &expected[1]]);
        for reason in reasons {
            assert_eq!(reason.code, "ResourceNotFound");
            for part in ["lab web", "rg-web", SUBSCRIPTION, "Labs.json"] {
                assert!(reason.message.contains(part), "{part}: {reason}");
            }
        }
    });
}

#[test]
fn a_lab_that_is_deleted_while_its_copies_go_on_fails_alone() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let copies = |state: &control::State| {
            state
                .vhds
                .iter()
                .any(|vhd| vhd.copy_status.as_deref() == Some("pending") && vhd.account.contains(WEB))
        };
        let deleted = factory.once(copies, |factory| {
            assert!(control::delete_lab(&factory.host.sim, &team_lab(SUBSCRIPTION, WEB)));
        });
        let outcome = factory.run().await;
        assert!(deleted.load(std::sync::atomic::Ordering::Relaxed));
        for path in [WINDOWS, LINUX] {
            assert_eq!(line(&outcome, path, WEB).status, Status::Failed, "seed {}", factory.seed);
            assert_eq!(line(&outcome, path, DATA).status, Status::Succeeded);
        }
        assert_eq!(outcome.run.run.status, Status::Failed);
    });
}

#[test]
fn without_the_factory_lab_nothing_is_begun_and_the_run_says_why() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        assert!(control::delete_lab(&factory.host.sim, &factory.factory_lab()));
        let outcome = factory.run().await;
        assert_eq!(outcome.run.run.status, Status::Failed);
        let reason = outcome.run.run.error.unwrap();
        assert_eq!(reason.code, "ResourceNotFound");
        assert!(reason.message.contains(FACTORY_LAB), "{reason}");
        assert!(outcome.run.images.is_empty());
        assert_eq!(outcome.counts.azure.arm_writes, 0);
    });
}

#[test]
fn a_lab_without_a_resource_group_is_looked_up() {
    scenario(async {
        let mut files = Files::new();
        files.labs[0].as_object_mut().unwrap().remove("ResourceGroup");
        let factory = Factory::new(&files).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let id = line(&outcome, LINUX, WEB).custom_image_id.clone().unwrap();
        assert!(id.to_lowercase().starts_with(&team_lab(SUBSCRIPTION, WEB)), "{id}");
    });
}

#[test]
fn the_factory_lab_can_itself_receive_images() {
    scenario(async {
        let mut files = Files::new();
        files.labs.push(json!({"SubscriptionId": FACTORY_SUBSCRIPTION, "ResourceGroup": FACTORY_GROUP,
            "LabName": FACTORY_LAB, "ImagePaths": ["Linux"]}));
        let factory = Factory::new(&files).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let id = line(&outcome, LINUX, FACTORY_LAB).custom_image_id.clone().unwrap();
        assert!(id.to_lowercase().starts_with(&factory.factory_lab()), "{id}");
    });
}

#[test]
fn labs_of_one_name_in_different_places_do_not_mix_up() {
    scenario(async {
        let mut files = Files::new();
        let mut twin = lab(SUBSCRIPTION, WEB);
        twin["ResourceGroup"] = json!("rg-twin");
        twin["ImagePaths"] = json!(["Windows"]);
        files.labs = vec![lab(SUBSCRIPTION, WEB), twin, lab(OTHER_SUBSCRIPTION, WEB)];
        let factory = Factory::new(&files).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let state = factory.state();
        let images = |group: &str, subscription: &str| {
            let mut labs = state.labs.iter();
            labs.find(|lab| lab.resource_group == group && lab.subscription_id == subscription)
                .unwrap()
                .custom_images
                .len()
        };
        assert_eq!(images("rg-web", SUBSCRIPTION), 2);
        assert_eq!(images("rg-twin", SUBSCRIPTION), 1);
        assert_eq!(images("rg-web", OTHER_SUBSCRIPTION), 2);
    });
}
