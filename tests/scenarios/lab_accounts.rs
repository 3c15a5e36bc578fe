//! How the storage accounts of labs are reached: as the factory's identity, and with a key only where somebody said so.

use std::time::Duration;

use azure_sim::{arm::Denial, work::WorkKind};
use serde_json::json;

use crate::factory::{DATA, Factory, Files, LINUX, WINDOWS, scenario};

/// Copies into the storage of the lab `data`; accounts are named after their labs.
const INTO_DATA: &str = "https://adata";

/// The name of the factory lab's storage account.
fn source(factory: &Factory) -> String {
    let lab = factory.factory_lab();
    factory.state().lab(&lab).unwrap().storage_account.clone()
}

fn deny(factory: &Factory, action: &str, scope: &str) {
    let denial = Denial { action_part: action.to_owned(), scope_part: scope.to_owned(), ..Denial::default() };
    factory.host.sim.world().arm.denials.push(denial);
}

fn refuse_keys(factory: &Factory, accounts: &str) {
    let mut world = factory.host.sim.world();
    let accounts = world.storage.accounts.values_mut().filter(|account| account.name.starts_with(accounts));
    for account in accounts {
        account.allow_shared_key_access = false;
    }
}

#[test]
fn labs_whose_accounts_allow_no_keys_get_their_images_and_nobody_asks_for_a_key() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        refuse_keys(&factory, "a");
        deny(&factory, "listKeys", "");
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(factory.work(WorkKind::BlobCopy, INTO_DATA).len(), 2);
    });
}

#[test]
fn copies_whose_key_is_taken_back_under_them_are_begun_again_with_a_new_one() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let pending = |state: &azure_sim::control::State| {
            let mut vhds = state.vhds.iter().filter(|vhd| vhd.url.starts_with(INTO_DATA));
            vhds.any(|vhd| vhd.copy_status.as_deref() == Some("pending"))
        };
        let revoked = factory.once(pending, |factory| {
            let factory = factory.clone();
            tokio::spawn(async move {
                let lab = factory.get(&format!("{}?api-version=2018-09-15", factory.factory_lab())).await;
                let account = lab["properties"]["defaultStorageAccount"].as_str().unwrap();
                factory.post(&format!("{account}/revokeUserDelegationKeys?api-version=2023-01-01")).await;
            });
        });
        let outcome = factory.run().await;
        assert!(revoked.load(std::sync::atomic::Ordering::Relaxed));
        factory.assert_succeeded(&outcome);
        let copies = factory.work(WorkKind::BlobCopy, INTO_DATA);
        assert!(copies.iter().any(|copy| !copy.succeeded), "{copies:?}");
    });
}

#[test]
fn without_the_right_to_a_key_copies_fail_and_say_so() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        deny(&factory, "generateUserDelegationKey", "");
        let outcome = factory.run().await;
        let labs = ["data", "web"];
        let expected: Vec<String> =
            [LINUX, WINDOWS].iter().flat_map(|image| labs.map(|lab| format!("{image} in {lab}"))).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        for reason in factory.assert_failed(&outcome, &expected) {
            assert_eq!(reason.code, "AuthorizationPermissionMismatch");
            assert!(reason.to_string().contains("user delegation key"), "{reason}");
        }
    });
}

#[test]
fn a_signature_of_the_factory_reads_no_more_than_the_factory_may() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let source = source(&factory);
        // Every image is captured, and copied to one lab, before the role is taken away.
        let begun =
            |state: &azure_sim::control::State| state.vhds.iter().any(|vhd| vhd.url.starts_with(INTO_DATA));
        let denied = factory.once(begun, move |factory| {
            deny(factory, "containers/blobs/read", &source);
            factory.after(Duration::from_secs(1200), |factory| factory.host.sim.world().arm.denials.clear());
        });
        let outcome = factory.run().await;
        assert!(denied.load(std::sync::atomic::Ordering::Relaxed));
        factory.assert_sound(&outcome);
        let copies = factory.work(WorkKind::BlobCopy, INTO_DATA);
        assert!(copies.iter().any(|copy| !copy.succeeded), "a copy read on without the role: {copies:?}");
    });
}

#[test]
fn a_key_is_used_only_of_an_account_that_is_named() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await.with_keys_of(&[DATA, "image-factory"]);
        // As with an account on which no role can be given.
        for account in ["/storageaccounts/adata", "/storageaccounts/aimagefactory"] {
            deny(&factory, "blobServices/containers", account);
            deny(&factory, "generateUserDelegationKey", account);
        }
        deny(&factory, "listKeys", "/storageaccounts/aweb");
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
    });
}

#[test]
fn an_account_that_is_named_and_allows_no_keys_fails_its_lab_alone_and_says_what_to_do() {
    scenario(async {
        let settings = json!({"deadlines": {"copyImage": "PT2H"}});
        let factory = Factory::new(&Files::with_settings(settings)).await.with_keys_of(&[DATA]);
        refuse_keys(&factory, "adata");
        let outcome = factory.run().await;
        let expected = [format!("{LINUX} in {DATA}"), format!("{WINDOWS} in {DATA}")];
        for reason in factory.assert_failed(&outcome, &[&expected[0], &expected[1]]) {
            assert_eq!(reason.code, "KeyBasedAuthenticationNotPermitted");
            assert!(reason.message.contains("IMAGE_FACTORY_KEYED_ACCOUNTS"), "{reason}");
        }
    });
}
