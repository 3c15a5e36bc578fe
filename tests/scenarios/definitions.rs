//! Which artifact generalises which VM.

use azure_sim::arm::{CustomImageSpec, OsType};
use serde_json::{Value, json};

use crate::factory::{
    Factory, Files, LINUX, ORIGIN, WINDOWS, definition, linux, scenario, vm_property, windows,
};

/// The names of the artifacts of each VM that ever had some, by the VM's name, and the OS that Azure found in it.
async fn artifacts_of_a_run(factory: &Factory) -> Vec<(String, Vec<String>, String)> {
    let seen: std::sync::Arc<std::sync::Mutex<std::collections::BTreeMap<String, Value>>> =
        Default::default();
    let (watcher, notes) = (factory.clone(), seen.clone());
    tokio::spawn(async move {
        loop {
            let lab = watcher.factory_lab();
            let list = watcher
                .get(&format!(
                    "{lab}/virtualmachines?api-version=2018-09-15&$expand=properties($expand=artifacts)"
                ))
                .await;
            for vm in list["value"].as_array().into_iter().flatten() {
                let name = vm["name"].as_str().unwrap().to_owned();
                notes.lock().unwrap().insert(name, vm["properties"].clone());
            }
            watcher.host.clock().sleep(std::time::Duration::from_secs(60)).await;
        }
    });
    let outcome = factory.run().await;
    factory.assert_succeeded(&outcome);
    let seen = seen.lock().unwrap();
    seen.iter()
        .map(|(name, properties)| {
            let artifacts = properties["artifacts"].as_array().unwrap();
            let last = |artifact: &Value| {
                let id = artifact["artifactId"].as_str().unwrap();
                id.rsplit('/').next().unwrap().to_owned()
            };
            let os = properties["osType"].as_str().unwrap_or_default().to_owned();
            (name.clone(), artifacts.iter().map(last).collect(), os)
        })
        .collect()
}

/// As [`artifacts_of_a_run`] of these two definitions: Linux first, then Windows.
async fn artifacts(files: &Files, prepare: impl FnOnce(&Factory)) -> [Vec<String>; 2] {
    let factory = Factory::new(files).await;
    prepare(&factory);
    let seen = artifacts_of_a_run(&factory).await;
    ["Docker-", "Server-"].map(|part| {
        let vm = seen.iter().find(|(name, _, _)| name.starts_with(part));
        vm.unwrap_or_else(|| panic!("{part}: {seen:?}")).1.clone()
    })
}

#[test]
fn the_artifact_that_generalises_the_os_comes_last() {
    scenario(async {
        let [linux, windows] = artifacts(&Files::new(), |_| {}).await;
        assert_eq!(linux, ["linux-install-docker", "linux-deprovision"]);
        assert_eq!(windows, ["windows-git", "windows-sysprep"]);
    });
}

#[test]
fn a_definition_that_generalises_by_itself_is_not_generalised_twice() {
    scenario(async {
        let mut files = Files::new();
        files
            .definitions
            .insert(WINDOWS.to_owned(), definition(&windows(), &["windows-git", "windows-sysprep"]));
        files.definitions.insert(LINUX.to_owned(), definition(&linux(), &["linux-deprovision"]));
        let [linux, windows] = artifacts(&files, |_| {}).await;
        assert_eq!(linux, ["linux-deprovision"]);
        assert_eq!(windows, ["windows-git", "windows-sysprep"]);
    });
}

#[test]
fn a_vm_from_a_custom_image_is_generalised_as_the_os_in_that_image_demands() {
    scenario(async {
        let custom = |name: &str| {
            json!({"customImageId":
                format!("[resourceId('Microsoft.DevTestLab/labs/customimages', parameters('labName'), '{name}')]")})
        };
        let mut files = Files::new();
        // The folders' names say nothing.
        files.definitions.insert(WINDOWS.to_owned(), definition(&custom("base-one"), &[]));
        files.definitions.insert(LINUX.to_owned(), definition(&custom("base-two"), &[]));
        let [docker, server] = artifacts(&files, |factory| {
            for (name, os) in [("base-one", OsType::Linux), ("base-two", OsType::Windows)] {
                let image = CustomImageSpec {
                    name: name.to_owned(),
                    tags: Default::default(),
                    created: ORIGIN,
                    os,
                    failed: false,
                };
                let lab = factory.factory_lab();
                assert!(factory.host.sim.world().add_custom_image(&lab, image).is_some());
            }
        })
        .await;
        assert_eq!(docker, ["windows-sysprep"]);
        assert_eq!(server, ["linux-deprovision"]);
    });
}

#[test]
fn a_custom_image_that_is_not_there_fails_its_definition_before_anything_is_made() {
    scenario(async {
        let mut files = Files::new();
        let lost = files.definitions.get_mut(WINDOWS).unwrap();
        vm_property(lost, "galleryImageReference").take();
        let properties = lost["resources"][0]["properties"].as_object_mut().unwrap();
        properties.remove("galleryImageReference");
        properties.insert(
            "customImageId".to_owned(),
            json!("[resourceId('Microsoft.DevTestLab/labs/customimages', parameters('labName'), 'gone')]"),
        );
        let factory = Factory::new(&files).await;
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert!(reasons[0].message.contains("gone"), "{}", reasons[0]);
        assert!(factory.work(azure_sim::work::WorkKind::VirtualMachine, "Server-").is_empty());
    });
}
