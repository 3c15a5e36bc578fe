//! A configuration that cannot be used.

use image_factory::{domain::Configuration, report::Status};
use serde_json::json;

use crate::factory::{Factory, Files, LINUX, WINDOWS, definition, linux, scenario};

#[test]
fn a_configuration_with_errors_touches_nothing_and_names_them_all() {
    scenario(async {
        let (world, _) = Configuration::load(&Files::new().to_files());
        let mut files = Files::new();
        files.labs[0]["ImagePath"] = json!(["typo"]);
        files.labs[1]["SubscriptionId"] = json!("not a guid");
        files.settings = json!({"imagesToKeep": 0, "vmSise": "Standard_D2s_v3"});
        let mut configuration = files.to_files();
        let broken = format!("GoldenImages/{LINUX}");
        configuration.files.insert(broken, b"{\"resources\": [".to_vec());
        let factory = Factory::in_world_of(&world.unwrap(), configuration, 1).await;
        let outcome = factory.run().await;
        assert_eq!(outcome.run.run.status, Status::Failed);
        let reason = outcome.run.run.error.unwrap();
        assert_eq!(reason.code, "InvalidConfiguration");
        for part in ["Labs.json", "ImagePath", "not a guid", "imagesToKeep", "vmSise", LINUX] {
            assert!(reason.message.contains(part), "{part} is missing: {reason}");
        }
        let calls = outcome.counts.azure;
        assert_eq!((calls.arm_reads, calls.arm_writes, calls.arm_deletes), (0, 0, 0));
        assert!(outcome.run.images.is_empty());
        assert!(factory.dead_letters().is_empty());
    });
}

#[test]
fn a_run_keeps_to_the_configuration_that_it_began_with() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let first = factory.run_named("first").await;
        factory.assert_succeeded(&first);
        // What the source says later is of no matter to a run that is there: its documents hold all it needs.
        let ledger = factory.ledger().await;
        let pinned = ledger.keys().filter(|name| name.starts_with("configurations/")).count();
        let templates = ledger.keys().filter(|name| name.starts_with("definitions/")).count();
        assert_eq!((pinned, templates), (1, 2));
    });
}

#[test]
fn a_definition_that_no_lab_receives_is_not_built() {
    scenario(async {
        let mut files = Files::new();
        files.definitions.insert("Unused/Lonely.json".to_owned(), definition(&linux(), &[]));
        let factory = Factory::new(&files).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let paths: Vec<String> =
            outcome.run.images.iter().map(|image| image.image_path.to_string()).collect();
        assert_eq!(paths, [LINUX, WINDOWS]);
    });
}
