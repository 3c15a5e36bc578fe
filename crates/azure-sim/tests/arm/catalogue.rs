//! What clients such as the az command line and the official SDKs ask before and beside the labs themselves.

use azure_sim::arm::{OsType, VirtualMachineSpec};
use http::Method;
use serde_json::{Map, Value, json};

use crate::azure::{Azure, BASE, SUBSCRIPTION};

/// The texts of a property of each item in a list.
fn each(body: &Value, property: &str) -> Vec<String> {
    let items = body["value"].as_array().unwrap();
    items.iter().map(|item| item[property].as_str().unwrap().to_owned()).collect()
}

fn machine(name: &str, properties: Map<String, Value>) -> VirtualMachineSpec {
    let created = time::macros::datetime!(2026-11-01 08:00 UTC);
    let (tags, os, name) = (Map::new(), OsType::Windows, name.to_owned());
    VirtualMachineSpec { name, tags, created, os, properties, failed: false }
}

#[tokio::test(start_paused = true)]
async fn nobody_needs_a_token_to_learn_where_the_cloud_is() {
    let azure = Azure::new();
    let request = http::Request::get(format!("{BASE}/metadata/endpoints?api-version=2022-09-01"));
    let response = azure.sim.call(request.body(bytes::Bytes::new()).unwrap()).await.unwrap();
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["authentication"]["loginEndpoint"], "https://login.microsoftonline.com");
    assert_eq!(body["resourceManager"], "https://management.azure.com/");
    let elsewhere = http::Request::get(format!("{BASE}/metadata/other?api-version=2022-09-01"));
    let response = azure.sim.call(elsewhere.body(bytes::Bytes::new()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_a_token_is_told_where_tokens_come_from() {
    let mut azure = Azure::new();
    azure.token = "forged".to_owned();
    let refused = azure.get(&Azure::lab_path()).await;
    let challenge = refused.header("www-authenticate").unwrap();
    let begin = "Bearer authorization_uri=\"https://login.microsoftonline.com/";
    assert!(refused.status == 401 && challenge.starts_with(begin), "{challenge}");
}

#[tokio::test(start_paused = true)]
async fn the_tenant_of_the_caller_is_listed() {
    let azure = Azure::new();
    let tenant = azure.sim.world().identity.managed_identity.tenant_id.clone();
    assert_eq!(each(&azure.get("/tenants").await.body, "tenantId"), [tenant]);
}

#[tokio::test(start_paused = true)]
async fn vms_disks_and_accounts_are_listed_across_a_subscription() {
    let azure = Azure::new();
    azure.sim.world().add_virtual_machine(&azure.lab, machine("golden", Map::new()));
    let list = |kind: &str| format!("/subscriptions/{SUBSCRIPTION}/providers/{kind}");
    let vms = azure.get(&list("Microsoft.Compute/virtualMachines")).await.body;
    assert_eq!(each(&vms, "name"), ["golden"]);
    assert_eq!(azure.get(&list("Microsoft.Compute/disks")).await.body["value"].as_array().unwrap().len(), 1);
    let account = azure.sim.world().lab(&azure.lab).unwrap().storage_account().to_owned();
    let accounts = azure.get(&list("Microsoft.Storage/storageAccounts")).await.body;
    assert_eq!(each(&accounts, "name"), [account]);
    let other = "/subscriptions/2f0a4f0e-6c1d-4a53-9d1f-0b7c5c3f1a02/providers/Microsoft.Compute/disks";
    assert_eq!(azure.get(other).await.code(), "SubscriptionNotFound");
}

#[tokio::test(start_paused = true)]
async fn resources_of_all_kinds_are_listed_and_filtered_by_their_type() {
    let azure = Azure::new();
    azure.sim.world().add_virtual_machine(&azure.lab, machine("golden", Map::new()));
    let all = format!("/subscriptions/{SUBSCRIPTION}/resources");
    let kinds = each(&azure.get(&all).await.body, "type");
    for kind in [
        "Microsoft.DevTestLab/labs",
        "Microsoft.DevTestLab/labs/virtualMachines",
        "Microsoft.Compute/virtualMachines",
        "Microsoft.Compute/disks",
        "Microsoft.Storage/storageAccounts",
    ] {
        assert!(kinds.iter().any(|listed| listed == kind), "{kind} in {kinds:?}");
    }
    let labs = format!("{all}?$filter=resourceType%20eq%20'microsoft.devtestlab/LABS'");
    let labs = azure.get(&labs).await.body;
    assert_eq!(each(&labs, "id"), std::slice::from_ref(&azure.lab));
    assert!(labs["value"][0].get("resourceType").is_none(), "a filter's word is no property");
    let in_group = azure.get(&format!("{}/resources", Azure::group())).await.body;
    assert!(each(&in_group, "name").contains(&"Factory/golden".to_owned()));
    assert!(!each(&in_group, "type").contains(&"Microsoft.Compute/virtualMachines".to_owned()));
    let tags = azure.get(&format!("{all}?$filter=tagName%20eq%20'x'")).await;
    assert_eq!((tags.status, tags.code()), (400, "InvalidFilter"));
}

#[tokio::test(start_paused = true)]
async fn providers_tell_their_types_and_versions() {
    let azure = Azure::new();
    let provider = |name: &str| format!("/subscriptions/{SUBSCRIPTION}/providers/{name}");
    let labs = azure.get(&provider("microsoft.devtestlab")).await.body;
    assert_eq!(labs["registrationState"], "Registered");
    let kind = &labs["resourceTypes"][0];
    assert_eq!((&kind["resourceType"], &kind["apiVersions"]), (&json!("labs"), &json!(["2018-09-15"])));
    let unknown = azure.get(&provider("Microsoft.Imagined")).await;
    assert_eq!((unknown.status, unknown.code()), (404, "InvalidResourceNamespace"));
}

#[tokio::test(start_paused = true)]
async fn slashes_that_are_encoded_in_a_scope_are_slashes() {
    let azure = Azure::new();
    azure.put(&Azure::vm_path("golden"), azure.windows(&[])).await;
    let scope = Azure::vm_path("golden").trim_start_matches('/').replace('/', "%2F");
    let lock = format!("/%2F{scope}/providers/Microsoft.Authorization/locks/keep");
    let made = azure.put(&lock, json!({"properties": {"level": "CanNotDelete"}})).await;
    assert_eq!(made.status, 201);
    let refused = azure.delete(&Azure::vm_path("golden")).await;
    assert_eq!((refused.status, refused.code()), (409, "ScopeLocked"));
}

#[tokio::test(start_paused = true)]
async fn locks_are_listed_with_those_above_unless_only_the_scope_is_asked_for() {
    let azure = Azure::new();
    let lock = |scope: &str, rest: &str| format!("{scope}/providers/Microsoft.Authorization/locks{rest}");
    let level = json!({"properties": {"level": "CanNotDelete"}});
    azure.put(&lock(&Azure::group(), "/of-group"), level.clone()).await;
    azure.put(&lock(&Azure::lab_path(), "/of-lab"), level).await;
    let names = async |path: String| each(&azure.get(&path).await.body, "name");
    assert_eq!(names(lock(&Azure::lab_path(), "")).await, ["of-group", "of-lab"]);
    assert_eq!(names(lock(&Azure::lab_path(), "?$filter=atScope()")).await, ["of-lab"]);
    assert_eq!(names(lock(&Azure::group(), "")).await, ["of-group"]);
}

#[tokio::test(start_paused = true)]
async fn a_template_is_read_as_az_sends_it() {
    let azure = Azure::new();
    let mut body = azure.template("golden", &[]);
    let template = body["properties"].as_object_mut().unwrap().remove("template").unwrap();
    // As azure-cli's JsonCTemplatePolicy splices it: the name without quotes, the file with its comments.
    let begin = body.to_string();
    let begin = begin.strip_suffix("}}").unwrap();
    let text = format!("{begin}, template:/* one VM */ {template} // that is all\n}}}}");
    let send = async |name: &str, text: String| {
        let path = Azure::deployment_path(name);
        let request = http::Request::put(format!("{BASE}{path}?api-version=2025-04-01"))
            .header("authorization", format!("Bearer {}", azure.token))
            .body(bytes::Bytes::from(text));
        azure.sim.call(request.unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(send("as-az-does", text.clone()).await, 201);
    for (written, wrong) in [("template:", "template "), (", template", " template"), ("}}", "}")] {
        assert_eq!(send("wrong", text.replace(written, wrong)).await, 400, "{wrong}");
    }
    for levels in [130, 100_000] {
        let deep = format!("{{a:{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(send("deep", deep).await, 400, "{levels} levels");
    }
}

#[tokio::test(start_paused = true)]
async fn vms_that_can_be_claimed_are_filtered_by_that_property_alone() {
    let azure = Azure::new();
    let claimable = Map::from_iter([("allowClaim".to_owned(), json!(true))]);
    azure.sim.world().add_virtual_machine(&azure.lab, machine("pool", claimable));
    azure.sim.world().add_virtual_machine(&azure.lab, machine("own", Map::new()));
    let list = |filter: &str| format!("{}/virtualmachines?$filter={filter}", Azure::lab_path());
    let found = azure.get(&list("properties/allowClaim")).await.body;
    assert_eq!(each(&found, "name"), ["pool"]);
    let found = azure.get(&list("properties/allowClaim%20and%20name%20eq%20'own'")).await.body;
    assert!(each(&found, "name").is_empty());
    assert_eq!(azure.get(&list("nonsense(")).await.code(), "InvalidFilter");
}

#[tokio::test(start_paused = true)]
async fn a_lab_offers_images_of_the_marketplace_by_name() {
    let azure = Azure::new();
    let path = format!("{}/galleryimages", Azure::lab_path());
    let found =
        azure.get(&format!("{path}?$filter=name%20eq%20'Windows%20Server%202016%20Datacenter'")).await.body;
    let reference = found["value"][0]["properties"]["imageReference"].clone();
    assert_eq!(reference["sku"], "2016-Datacenter");
    let mut vm = azure.windows(&[]);
    vm["properties"]["galleryImageReference"] = reference;
    assert_eq!(azure.put(&Azure::vm_path("golden"), vm).await.status, 201);
    assert_eq!(azure.call(Method::PUT, &format!("{path}/x"), Some(json!({}))).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_vm_is_not_captured_with_the_state_of_another_os() {
    let azure = Azure::new();
    azure.sim.world().add_virtual_machine(&azure.lab, machine("golden", Map::new()));
    let of = |os: Value| {
        let mut vm = json!({"sourceVmId": Azure::vm_path("golden")});
        vm.as_object_mut().unwrap().extend(os.as_object().unwrap().clone());
        json!({"properties": {"vm": vm}})
    };
    let linux = of(json!({"linuxOsInfo": {"linuxOsState": "NonDeprovisioned"}}));
    let refused = azure.put(&Azure::image_path("wrong"), linux).await;
    assert_eq!((refused.status, refused.code()), (400, "BadRequest"));
    let windows = of(json!({"windowsOsInfo": {"windowsOsState": "NonSysprepped"}}));
    assert_eq!(azure.put(&Azure::image_path("right"), windows).await.status, 201);
}
