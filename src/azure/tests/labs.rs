//! Labs and what is in them, compute VMs and storage accounts.

use serde_json::json;
use time::macros::datetime;

use super::{LAB, Reply, azure, lab};
use crate::azure::{Formula, VmArtifact};
use crate::domain::OsType;

const LABS: &str = "GET /subscriptions/S/providers/Microsoft.DevTestLab/labs";

fn lab_body(group: &str, name: &str) -> serde_json::Value {
    json!({
        "id": format!("/subscriptions/S/resourcegroups/{group}/providers/microsoft.devtestlab/labs/{}", name.to_lowercase()),
        "name": name, "location": "westus",
        "properties": {
            "defaultStorageAccount": "/subscriptions/S/resourcegroups/other/providers/microsoft.storage/storageaccounts/a1",
            "artifactsStorageAccount": "/a2",
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_lab_is_found_in_its_group_or_anywhere_in_its_subscription() {
    let (azure, script) = azure();
    script.on(&format!("GET {LAB}"), Reply::json(200, lab_body("rg", "Web")));
    let found = azure.find_lab("S", Some("rg"), "Web").await.unwrap().unwrap();
    assert_eq!((found.address, found.location.as_str()), (lab(), "westus"));
    assert!(found.storage_account_id.ends_with("/storageaccounts/a1"));

    let labs = json!({"value": [lab_body("g1", "Other"), lab_body("g2", "Web")]});
    script.on(LABS, Reply::json(200, labs));
    let found = azure.find_lab("S", None, "wEB").await.unwrap().unwrap();
    assert_eq!((found.address.resource_group.as_str(), found.address.lab_name.as_str()), ("g2", "Web"));
    assert_eq!(azure.find_lab("S", None, "Webs").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn two_labs_of_one_name_are_an_error_that_names_both() {
    let (azure, script) = azure();
    script.on(LABS, Reply::json(200, json!({"value": [lab_body("g1", "Web"), lab_body("g2", "WEB")]})));
    let error = azure.find_lab("S", None, "web").await.unwrap_err();
    assert_eq!(error.code, "AmbiguousLab");
    assert!(
        error.message.contains("/resourcegroups/g1/") && error.message.contains("/resourcegroups/g2/"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lab_without_a_default_account_uses_its_artifacts_account() {
    let (azure, script) = azure();
    let mut body = lab_body("rg", "Web");
    body["properties"].as_object_mut().unwrap().remove("defaultStorageAccount");
    script.on(&format!("GET {LAB}"), Reply::json(200, body));
    assert_eq!(azure.find_lab("S", Some("rg"), "Web").await.unwrap().unwrap().storage_account_id, "/a2");
}

#[tokio::test(start_paused = true)]
async fn a_lab_vm_tells_its_artifacts_and_what_is_behind_it() {
    let (azure, script) = azure();
    let body = json!({
        "name": "vm", "tags": {"ImagePath": "Win2016\\Datacenter.json"},
        "properties": {
            "computeId": "/c", "osType": "windows", "provisioningState": "Succeeded", "allowClaim": false,
            "createdDate": "2024-08-28T09:37:50.2853801+00:00", "customImageId": "/i",
            "artifactDeploymentStatus": {"deploymentStatus": "Failed", "artifactsApplied": 1, "totalArtifacts": 2},
            "artifacts": [
                {"artifactId": "/a1", "status": "Succeeded", "deploymentStatusMessage": "", "vmExtensionStatusMessage": ""},
                {"artifactId": "/a2", "status": "Failed", "deploymentStatusMessage": "",
                 "vmExtensionStatusMessage": "got https://x/y?sig=SECRET wrong"},
            ],
        },
    });
    script.on(&format!("GET {LAB}/virtualmachines/vm"), Reply::json(200, body));
    let vm = azure.lab_vm(&lab(), "vm").await.unwrap().unwrap();
    let expand = script.last().query("$expand");
    assert_eq!(expand.as_deref(), Some("Properties($expand=ComputeVm,Artifacts,NetworkInterface)"));
    assert_eq!((vm.compute_id.as_deref(), vm.os_type), (Some("/c"), Some(OsType::Windows)));
    assert_eq!(
        (vm.artifacts_applied, vm.artifact_deployment_status.as_deref()),
        (Some((1, 2)), Some("Failed"))
    );
    assert_eq!(vm.created_date, Some(datetime!(2024-08-28 09:37:50.2853801 UTC)));
    assert_eq!(vm.tags["ImagePath"], "Win2016\\Datacenter.json");
    let failed = VmArtifact {
        artifact_id: "/a2".to_owned(),
        status: "Failed".to_owned(),
        message: Some("got https://x/y wrong".to_owned()),
    };
    assert_eq!((vm.artifacts[0].message.as_deref(), &vm.artifacts[1]), (None, &failed));
}

#[tokio::test(start_paused = true)]
async fn what_a_provider_leaves_out_is_absent() {
    let (azure, script) = azure();
    let status = json!({"artifactsApplied": 0, "totalArtifacts": 0});
    let body = json!({"name": "vm", "properties": {"artifactDeploymentStatus": status, "computeId": ""}});
    script.on(
        &format!("GET {LAB}/virtualmachines"),
        Reply::json(200, json!({"value": [body, {"id": "/x/y"}]})),
    );
    let vms = azure.lab_vms(&lab()).await.unwrap();
    assert_eq!(
        (vms[0].artifact_deployment_status.as_deref(), vms[0].artifacts_applied),
        (None, Some((0, 0)))
    );
    assert_eq!((vms[0].compute_id.as_deref(), vms[0].os_type, vms[0].created_date), (None, None, None));
    assert_eq!((vms[1].name.as_str(), vms[1].tags.len(), vms[1].artifacts_applied), ("y", 0, None));
}

#[tokio::test(start_paused = true)]
async fn an_image_with_a_key_twice_is_read_and_the_last_one_counts() {
    let (azure, script) = azure();
    let body = r#"{"name": "x", "properties": {"author": "a", "description": "old", "author": "b", "description": "new",
        "provisioningState": "Failed", "creationDate": "2024-09-09T08:00:00", "managedImageId": "/m",
        "vhd": {"imageName": "https://a/v.vhd", "osType": "Linux"}}}"#;
    script.on(&format!("GET {LAB}/customimages/x"), Reply::bytes(200, body));
    let image = azure.custom_image(&lab(), "x").await.unwrap().unwrap();
    assert_eq!(image.description.as_deref(), Some("new"));
    assert_eq!((image.provisioning_state.as_str(), image.os_type), ("Failed", Some(OsType::Linux)));
    assert_eq!(image.creation_date, Some(datetime!(2024-09-09 08:00 UTC)));
    assert_eq!(
        (image.managed_image_id.as_deref(), image.vhd_url.as_deref()),
        (Some("/m"), Some("https://a/v.vhd"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_word_narrows_the_list_of_images_down() {
    let (azure, script) = azure();
    let images = format!("GET {LAB}/customimages");
    script.on(&images, Reply::json(200, json!({"value": [{"name": "Win-Datacenter-1"}]})));
    script.on(&images, Reply::json(200, json!({"value": []})));
    let found = azure.custom_images(&lab(), Some("Datacenter")).await.unwrap();
    assert_eq!(found[0].name, "Win-Datacenter-1");
    assert_eq!(script.last().query("$filter").as_deref(), Some("contains(name,'Datacenter')"));
    azure.custom_images(&lab(), None).await.unwrap();
    assert_eq!(script.last().query("$filter"), None);
}

#[tokio::test(start_paused = true)]
async fn an_image_made_from_a_vm_has_the_vms_system() {
    let (azure, script) = azure();
    let body =
        json!({"name": "x", "properties": {"vm": {"windowsOsInfo": {"windowsOsState": "SysprepApplied"}}}});
    script.on(&format!("GET {LAB}/customimages/x"), Reply::json(200, body));
    assert_eq!(azure.custom_image(&lab(), "x").await.unwrap().unwrap().os_type, Some(OsType::Windows));
    let id = format!("{LAB}/sharedgalleries/g/sharedimages/d");
    script.on(&format!("GET {id}"), Reply::json(200, json!({"properties": {"osType": "Linux"}})));
    assert_eq!(azure.shared_image(&id).await.unwrap().unwrap().os_type, Some(OsType::Linux));
    assert_eq!(script.last().query("api-version").as_deref(), Some("2018-10-15-preview"));
}

#[tokio::test(start_paused = true)]
async fn a_formula_names_its_image_by_id_or_relative_to_the_lab() {
    let (azure, script) = azure();
    let formula = |id: &str| json!({"name": "f", "properties": {"formulaContent": {"properties": {"customImageId": id}}}});
    let full = format!("{}/CustomImages/win-1", LAB.to_lowercase());
    let value = json!([formula(&full), formula("/customimages/win-1"), {"name": "gallery"}]);
    script.on(&format!("GET {LAB}/formulas"), Reply::json(200, json!({ "value": value })));
    let formulas = azure.formulas(&lab()).await.unwrap();
    let uses = |image: &str| -> Vec<bool> {
        let id = format!("{LAB}/customimages/{image}");
        formulas.iter().map(|formula: &Formula| formula.uses_custom_image(&id)).collect()
    };
    assert_eq!(uses("Win-1"), [true, true, false]);
    assert_eq!(uses("other-win-1"), [false; 3]);
}

#[tokio::test(start_paused = true)]
async fn a_compute_vm_tells_its_power_state_wherever_it_stands() {
    let (azure, script) = azure();
    let id = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm";
    let vm = |statuses: serde_json::Value| {
        Reply::json(
            200,
            json!({"id": id, "properties": {
                "provisioningState": "Succeeded", "instanceView": {"statuses": statuses},
                "storageProfile": {"osDisk": {"osType": "Linux", "managedDisk": {"id": "/d"}}, "dataDisks": [{}, {}]},
            }}),
        )
    };
    script.on(
        &format!("GET {id}"),
        vm(json!([{"code": "PowerState/deallocated"}, {"code": "ProvisioningState/succeeded"}])),
    );
    script.on(&format!("GET {id}"), vm(json!([{"code": "ProvisioningState/updating"}])));
    let first = azure.compute_vm(id).await.unwrap().unwrap();
    assert_eq!(script.last().query("$expand").as_deref(), Some("instanceView"));
    assert_eq!((first.power_state.as_deref(), first.data_disks), (Some("deallocated"), 2));
    assert_eq!((first.os_disk_id.as_deref(), first.os_type), (Some("/d"), Some(OsType::Linux)));
    assert_eq!(azure.compute_vm(id).await.unwrap().unwrap().power_state, None);
}

#[tokio::test(start_paused = true)]
async fn a_storage_account_names_its_endpoint_and_hides_its_key() {
    let (azure, script) = azure();
    let id = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct";
    let body = json!({"name": "acct", "location": "westus", "properties": {
        "primaryEndpoints": {"blob": "https://acct.z1.blob.storage.azure.net/"}, "allowSharedKeyAccess": false,
    }});
    script.on(&format!("GET {id}"), Reply::json(200, body));
    let keys = json!({"keys": [
        {"keyName": "key1", "value": "cmVhZA==", "permissions": "READ"},
        {"keyName": "key2", "value": "ZnVsbA==", "permissions": "FULL"},
    ]});
    script.on(&format!("POST {id}/listKeys"), Reply::json(200, keys));
    let account = azure.storage_account(id).await.unwrap().unwrap();
    assert_eq!(account.blob_endpoint.as_str(), "https://acct.z1.blob.storage.azure.net/");
    assert!(!account.allow_shared_key);
    let key = azure.storage_key(id).await.unwrap();
    assert_eq!((key.expose().as_str(), format!("{key:?}").as_str()), ("ZnVsbA==", "***"));
}
