//! VHD copies and custom images that do not come to be.

use std::time::Duration;

use azure_sim::{
    fault::{CopyFault, CustomImageFault, Faults},
    work::WorkKind,
};

use serde_json::json;

use crate::factory::{DATA, Factory, Files, LINUX, WINDOWS, answer, http_fault, image, scenario};

/// What Azure says when it cannot read on.
const DESCRIPTION: &str = r#"404 ResourceNotFound "Copy failed when reading the source.""#;

fn copy_fault(destination: &str, times: u32) -> CopyFault {
    CopyFault {
        destination_part: destination.to_owned(),
        at_fraction: 0.5,
        times,
        description: DESCRIPTION.to_owned(),
    }
}

/// Copies into the storage of the lab `data`, and of the factory lab; accounts are named after their labs.
const INTO_DATA: &str = "https://adata";
const INTO_FACTORY: &str = "https://aimagefactory";

async fn with_copies(faults: Vec<CopyFault>) -> Factory {
    let factory = Factory::new(&Files::new()).await;
    factory.faults(Faults { copies: faults, ..Faults::default() });
    factory
}

#[test]
fn a_copy_that_fails_midway_is_begun_again() {
    scenario(async {
        let factory = with_copies(vec![copy_fault(INTO_DATA, 1)]).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let copies = factory.work(WorkKind::BlobCopy, INTO_DATA);
        let ended: Vec<bool> = copies.iter().map(|copy| copy.succeeded).collect();
        assert_eq!(ended.iter().filter(|succeeded| !**succeeded).count(), 1);
        assert_eq!(ended.len(), 3, "two images, one of them twice");
    });
}

#[test]
fn a_capture_that_fails_midway_is_begun_again() {
    scenario(async {
        let factory = with_copies(vec![copy_fault(INTO_FACTORY, 1)]).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let copies = factory.work(WorkKind::BlobCopy, INTO_FACTORY);
        assert_eq!(copies.iter().filter(|copy| !copy.succeeded).count(), 1);
    });
}

#[test]
fn a_copy_that_always_fails_fails_its_lab_alone_with_azures_description() {
    scenario(async {
        let factory = with_copies(vec![copy_fault(INTO_DATA, 100)]).await;
        let outcome = factory.run().await;
        let expected = [format!("{LINUX} in {DATA}"), format!("{WINDOWS} in {DATA}")];
        for reason in factory.assert_failed(&outcome, &[&expected[0], &expected[1]]) {
            assert_eq!(reason.code, "CopyFailed");
            assert!(reason.message.contains("Copy failed when reading the source."), "{reason}");
        }
        assert_eq!(factory.work(WorkKind::BlobCopy, INTO_DATA).len(), 6, "three times each");
    });
}

#[test]
fn an_image_that_stands_is_not_taken_back_because_its_vhd_cannot_be_deleted_in_time() {
    scenario(async {
        let deadlines = json!({"deadlines": {"copyImage": "PT2H"}});
        let factory = Factory::new(&Files::with_settings(deadlines)).await;
        let busy = answer(503, json!({"error": {"code": "ServerBusy", "message": "busy"}}));
        factory.http_faults([http_fault(Some("DELETE"), "//adata", 0, u32::MAX, busy)]);
        // Two hours after the copy's deadline taking back would end without having looked.
        factory.after(Duration::from_secs(4 * 3600), |factory| factory.faults(Faults::default()));
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let looked =
            outcome.run.images.iter().flat_map(|image| &image.labs).filter(|lab| lab.lab_name == DATA);
        assert!(looked.clone().all(|lab| lab.custom_image_id.is_some()) && looked.count() == 2);
    });
}

#[test]
fn a_capture_that_always_fails_fails_its_image_alone_with_azures_description() {
    scenario(async {
        let factory = with_copies(vec![copy_fault("imagefactoryvhds/Windows-Server-", 100)]).await;
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert_eq!(reasons[0].code, "CopyFailed");
        assert!(reasons[0].message.contains("404 ResourceNotFound"), "{}", reasons[0]);
    });
}

#[test]
fn a_custom_image_that_cannot_be_registered_fails_its_lab_alone_with_azures_reason() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.faults(Faults {
            custom_images: vec![CustomImageFault {
                id_part: "/labs/data/customimages/Windows-Server-".to_owned(),
                code: "OSProvisioningClientError".to_owned(),
                message: "The VHD is not generalized.".to_owned(),
            }],
            ..Faults::default()
        });
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[&format!("{WINDOWS} in {DATA}")]);
        assert_eq!(reasons[0].code, "OSProvisioningClientError");
        assert!(reasons[0].message.contains("The VHD is not generalized."), "{}", reasons[0]);
    });
}

#[test]
fn a_vhd_that_vanishes_under_its_copies_fails_them_and_not_the_other_image() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let deleted = factory.once(
            |state| {
                state.vhds.iter().any(|vhd| {
                    vhd.url.contains("https://aweb")
                        && vhd.url.contains("Linux-Docker")
                        && vhd.copy_status.as_deref() == Some("pending")
                })
            },
            |factory| {
                // Somebody cleans up by hand.
                let factory = factory.clone();
                tokio::spawn(async move {
                    let labs = &factory.state().labs;
                    let own = labs.iter().find(|lab| lab.name == "image-factory").unwrap();
                    let key = factory.host.sim.world().storage.accounts[&own.storage_account].keys[0].clone();
                    let endpoint = factory.host.sim.world().endpoints.blob(&own.storage_account);
                    let authorization = image_factory::azure::BlobAuthorization::SharedKey {
                        account: own.storage_account.clone(),
                        key: key.into(),
                    };
                    let azure = &factory.host.factory.azure;
                    let container = azure
                        .container(&endpoint.parse().unwrap(), "imagefactoryvhds", authorization)
                        .unwrap();
                    for blob in container.list("Linux-Docker").await.unwrap() {
                        container.delete(&blob.name).await.unwrap();
                    }
                });
            },
        );
        let outcome = factory.run().await;
        assert!(deleted.load(std::sync::atomic::Ordering::Relaxed));
        let (linux, windows) = (image(&outcome, LINUX), image(&outcome, WINDOWS));
        let good = |line: &&image_factory::report::LabLine| line.error.is_none();
        assert_eq!(windows.labs.iter().filter(good).count(), 2);
        assert_eq!(linux.labs.iter().filter(good).count(), 0, "{linux:#?}");
    });
}
