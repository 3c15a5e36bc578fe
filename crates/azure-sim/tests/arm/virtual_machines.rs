use azure_sim::fault::{ArtifactFault, ArtifactOutcome, VirtualMachineFault};
use http::Method;
use serde_json::json;

use crate::azure::Azure;

const SYSPREP: &str = "windows-sysprep";

fn fault(outcome: ArtifactOutcome) -> ArtifactFault {
    ArtifactFault { vm_part: "golden".into(), artifact_part: "windows-chrome".into(), outcome }
}

#[tokio::test(start_paused = true)]
async fn a_put_is_accepted_with_a_signed_url_that_leads_to_its_end() {
    let azure = Azure::new();
    let path = Azure::vm_path("Golden");
    let put = azure.put(&path, azure.windows(&[])).await;
    assert_eq!((put.status, &put.body["properties"]["provisioningState"]), (201, &json!("Creating")));
    assert_eq!(put.header("retry-after"), None);
    assert_eq!(put.header("location"), None);
    let url = put.header("azure-asyncoperation").unwrap().to_owned();
    assert!((3000..=4096).contains(&url.len()), "{}", url.len());
    assert!(url.contains("api-version=2018-10-15-preview"), "not the request's version");
    assert_eq!(azure.follow(&url).await.body, json!({"status": "Running"}));
    assert_eq!(azure.follow(&url[..url.len() - 1]).await.status, 403, "a URL that was rebuilt is refused");
    azure.wait(601).await;
    assert_eq!(azure.follow(&url).await.body, json!({"status": "Succeeded"}));
}

#[tokio::test(start_paused = true)]
async fn ids_come_back_in_lower_case_and_secrets_never() {
    let azure = Azure::new();
    let body = azure.put(&Azure::vm_path("Golden"), azure.windows(&[])).await.body;
    assert_eq!(body["id"], format!("{}/virtualmachines/golden", azure.lab));
    assert_eq!(body["name"], "Golden");
    assert_eq!(body["type"], "Microsoft.DevTestLab/labs/virtualMachines");
    assert!(!body.to_string().contains("Lx7-ququ.kkt"));
    let created = body["properties"]["createdDate"].as_str().unwrap();
    assert!(created.ends_with(".0000000+00:00"), "{created}");
}

#[tokio::test(start_paused = true)]
async fn without_artifacts_the_deployment_status_is_missing() {
    let azure = Azure::new();
    azure.put(&Azure::vm_path("golden"), azure.windows(&[])).await;
    azure.put(&Azure::vm_path("other"), azure.windows(&["windows-chrome"])).await;
    azure.wait(3600).await;
    let plain = azure.get(&Azure::vm_path("golden")).await.body;
    let expected = json!({"artifactsApplied": 0, "totalArtifacts": 0});
    assert_eq!(plain["properties"]["artifactDeploymentStatus"], expected);
    let other = azure.get(&Azure::vm_path("other")).await.body;
    assert_eq!(other["properties"]["artifactDeploymentStatus"]["deploymentStatus"], "Succeeded");
    assert!(other["properties"].get("artifacts").is_none(), "only with $expand");
    assert!(other["properties"].get("computeVm").is_none(), "only with $expand");
}

#[tokio::test(start_paused = true)]
async fn sysprep_ends_in_a_deallocated_vm_that_the_lab_notices_late() {
    let azure = Azure::new();
    let path = Azure::vm_path("golden");
    let put = azure.put(&path, azure.windows(&["windows-chrome", SYSPREP])).await;
    let url = put.header("azure-asyncoperation").unwrap().to_owned();
    assert!(azure.get(&path).await.body["properties"].get("computeId").is_none());

    azure.wait(300).await;
    let compute = azure.compute_id("golden").await;
    assert_eq!(azure.power(&compute).await, None, "the power state is missing early");
    azure.wait(200).await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("running"));
    azure.wait(110).await;
    let expanded = format!("{path}?$expand=Properties($expand=ComputeVm,Artifacts,NetworkInterface)");
    let body = azure.get(&expanded).await.body;
    assert_eq!(body["properties"]["provisioningState"], "ApplyingArtifacts");
    assert_eq!(body["properties"]["artifacts"][0]["status"], "Installing");
    assert_eq!(body["properties"]["artifacts"][1]["status"], "Pending");

    // Running after 600 s, chrome until 660 s, sysprep until 860 s.
    azure.wait(255).await;
    assert_eq!(azure.follow(&url).await.body["status"], "Succeeded");
    assert_eq!(azure.power(&compute).await.as_deref(), Some("stopping"));
    azure.wait(50).await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("stopped"));
    azure.wait(50).await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("deallocated"));
    let known = |body: serde_json::Value| body["properties"]["lastKnownPowerState"].clone();
    assert_ne!(known(azure.get(&path).await.body), "Stopped", "the cache lags");
    azure.wait(60).await;
    assert_eq!(known(azure.get(&path).await.body), "Stopped");
    let world = azure.sim.world();
    assert_eq!((world.work.len(), world.work[0].seconds()), (1, 960.0));
}

#[tokio::test(start_paused = true)]
async fn a_vm_succeeds_although_an_artifact_failed() {
    let azure = Azure::new();
    azure.sim.world().faults.artifacts = vec![fault(ArtifactOutcome::Fails("exit code 1603".into()))];
    let path = Azure::vm_path("golden");
    let put = azure.put(&path, azure.windows(&["windows-chrome", SYSPREP])).await;
    azure.wait(3600).await;
    let url = put.header("azure-asyncoperation").unwrap();
    assert_eq!(azure.follow(url).await.body["status"], "Succeeded");
    let body = azure.get(&format!("{path}?$expand=properties($expand=artifacts)")).await.body;
    let properties = &body["properties"];
    assert_eq!(properties["provisioningState"], "Succeeded");
    assert_eq!(properties["artifactDeploymentStatus"]["deploymentStatus"], "Failed");
    assert_eq!(properties["artifacts"][0]["status"], "Failed");
    assert_eq!(properties["artifacts"][0]["deploymentStatusMessage"], "exit code 1603");
    assert_eq!(properties["artifacts"][1]["status"], "Skipped");
    let compute = azure.compute_id("golden").await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("running"), "nothing generalised it");
    assert!(!azure.sim.world().work[0].succeeded);
}

#[tokio::test(start_paused = true)]
async fn an_artifact_may_never_end_and_the_vm_can_still_be_deleted() {
    let azure = Azure::new();
    azure.sim.world().faults.artifacts = vec![fault(ArtifactOutcome::NeverEnds)];
    let path = Azure::vm_path("golden");
    let put = azure.put(&path, azure.windows(&["windows-chrome"])).await;
    azure.wait(20 * 3600).await;
    let url = put.header("azure-asyncoperation").unwrap();
    assert_eq!(azure.follow(url).await.body["status"], "Running");
    assert_eq!(azure.delete(&path).await.status, 202);
    azure.wait(121).await;
    assert_eq!(azure.get(&path).await.status, 404);
    assert_eq!(azure.follow(url).await.body["status"], "Canceled");
}

#[tokio::test(start_paused = true)]
async fn an_artifact_for_the_other_os_fails() {
    let azure = Azure::new();
    let path = Azure::vm_path("golden");
    azure.put(&path, azure.windows(&["linux-deprovision"])).await;
    azure.wait(3600).await;
    let body = azure.get(&format!("{path}?$expand=artifacts")).await.body;
    assert_eq!(body["properties"]["artifacts"][0]["status"], "Failed");
}

#[tokio::test(start_paused = true)]
async fn deletion_takes_the_compute_vm_and_its_group_along() {
    let azure = Azure::new();
    let path = Azure::vm_path("golden");
    azure.put(&path, azure.windows(&[])).await;
    azure.wait(700).await;
    let compute = azure.compute_id("golden").await;
    let delete = azure.delete(&path).await;
    assert_eq!((delete.status, delete.body.is_null()), (202, true));
    let url = delete.header("azure-asyncoperation").unwrap().to_owned();
    let monitor = delete.header("location").unwrap().to_owned();
    assert_eq!(monitor, format!("{url}&monitor=true"));
    assert_eq!(azure.follow(&monitor).await.status, 202);
    assert_eq!(azure.get(&path).await.body["properties"]["provisioningState"], "Deleting");
    azure.wait(121).await;
    assert_eq!(azure.follow(&monitor).await.status, 204);
    assert_eq!(azure.get(&compute).await.code(), "ResourceGroupNotFound");
    assert_eq!(azure.delete(&path).await.status, 204, "deleting what is not there is done");
}

#[tokio::test(start_paused = true)]
async fn a_vm_of_the_same_name_is_not_moved_by_its_predecessor() {
    let azure = Azure::new();
    let path = Azure::vm_path("golden");
    azure.put(&path, azure.windows(&[])).await;
    azure.wait(10).await;
    azure.delete(&path).await;
    azure.wait(121).await;
    azure.put(&path, azure.windows(&[])).await;
    azure.wait(590).await;
    assert_eq!(azure.get(&path).await.body["properties"]["provisioningState"], "Creating");
    azure.wait(15).await;
    assert_eq!(azure.get(&path).await.body["properties"]["provisioningState"], "Succeeded");
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_finds_no_room_is_left_failed() {
    let azure = Azure::new();
    azure.sim.world().faults.virtual_machines = vec![VirtualMachineFault {
        vm_part: "golden".into(),
        code: "AllocationFailed".into(),
        message: "Allocation failed.".into(),
    }];
    let path = Azure::vm_path("golden");
    let put = azure.put(&path, azure.windows(&[])).await;
    azure.wait(3600).await;
    let polled = azure.follow(put.header("azure-asyncoperation").unwrap()).await;
    assert_eq!(polled.status, 200, "a failed operation is a good answer");
    let error = json!({"code": "AllocationFailed", "message": "Allocation failed."});
    assert_eq!(polled.body, json!({"status": "Failed", "error": error}));
    assert_eq!(azure.get(&path).await.body["properties"]["provisioningState"], "Failed");
}

#[tokio::test(start_paused = true)]
async fn cores_in_use_count_against_the_quota() {
    let azure = Azure::new();
    azure.sim.world().set_quota(crate::azure::SUBSCRIPTION, Some(3));
    azure.put(&Azure::vm_path("one"), azure.windows(&[])).await;
    let two = azure.put(&Azure::vm_path("two"), azure.windows(&[])).await;
    azure.wait(3600).await;
    let polled = azure.follow(two.header("azure-asyncoperation").unwrap()).await;
    assert_eq!(polled.body["error"]["code"], "OperationNotAllowed");
    let message = polled.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("Current Limit: 3, Current Usage: 2, Additional Required: 2"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_lab_policy_refuses_at_once() {
    let azure = Azure::new();
    azure.sim.world().set_policy(&azure.lab, "LabVmCount", "MaxValuePolicy", "1");
    assert_eq!(azure.put(&Azure::vm_path("one"), azure.windows(&[])).await.status, 201);
    let two = azure.put(&Azure::vm_path("two"), azure.windows(&[])).await;
    assert_eq!((two.status, two.code()), (409, "MaxValuePolicy"));
    let wish = json!({"policies": [{"factName": "LabVmCount", "valueOffset": "1"}]});
    let evaluate = format!("{}/policysets/default/evaluatePolicies", Azure::lab_path());
    let body = azure.call(Method::POST, &evaluate, Some(wish)).await.body;
    assert_eq!(body["results"][0]["hasError"], true);
}

#[tokio::test(start_paused = true)]
async fn wrong_bodies_are_refused() {
    let azure = Azure::new();
    type Change = fn(&mut serde_json::Value);
    let changes: [(&str, Change, u16); 9] = [
        ("weak", |b| b["properties"]["password"] = json!("weak"), 400),
        ("secret", |b| b["properties"]["password"] = json!("[[adminPassword]]"), 400),
        ("size", |b| b["properties"]["size"] = json!("Huge"), 400),
        ("publisher", |b| b["properties"]["galleryImageReference"]["publisher"] = json!("Nobody"), 404),
        ("network", |b| b["properties"]["labVirtualNetworkId"] = json!("/virtualnetworks/none"), 404),
        ("subnet", |b| b["properties"]["labSubnetName"] = json!("none"), 400),
        ("both", |b| b["properties"]["customImageId"] = json!("/customimages/x"), 400),
        ("region", |b| b["location"] = json!("eastus"), 400),
        (
            "artifact",
            |b| {
                b["properties"]["artifacts"] =
                    json!([{"artifactId": "/artifactsources/public repo/artifacts/none"}])
            },
            404,
        ),
    ];
    for (name, change, status) in changes {
        let mut body = azure.windows(&[]);
        change(&mut body);
        let answer = azure.put(&Azure::vm_path(name), body).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
    }
    let long = azure.put(&Azure::vm_path("sixteen-letters-"), azure.windows(&[])).await;
    assert_eq!(long.status, 400);
    let lab = "none";
    let path = format!("{}/providers/Microsoft.DevTestLab/labs/{lab}/virtualmachines/x", Azure::group());
    assert_eq!(azure.put(&path, azure.windows(&[])).await.code(), "ParentResourceNotFound");
}

#[tokio::test(start_paused = true)]
async fn create_environment_answers_empty_and_refuses_a_taken_name() {
    let azure = Azure::new();
    let mut body = azure.windows(&[]);
    body["name"] = json!("golden");
    let path = format!("{}/createEnvironment", Azure::lab_path());
    let answer = azure.call(Method::POST, &path, Some(body.clone())).await;
    assert_eq!((answer.status, answer.body.is_null()), (202, true));
    assert!(answer.header("location").is_some() && answer.header("azure-asyncoperation").is_some());
    assert_eq!(azure.call(Method::POST, &path, Some(body)).await.status, 409);
    assert_eq!(azure.get(&Azure::vm_path("GOLDEN")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_claimable_vm_waits_deallocated_and_starts_for_its_owner() {
    let azure = Azure::new();
    let path = Azure::vm_path("golden");
    let mut body = azure.windows(&[]);
    body["properties"]["allowClaim"] = json!(true);
    azure.put(&path, body).await;
    azure.wait(700).await;
    let compute = azure.compute_id("golden").await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("deallocated"));
    assert_eq!(azure.post(&format!("{path}/claim")).await.status, 202);
    assert_eq!(azure.post(&format!("{path}/stop")).await.status, 409, "one action at a time");
    azure.wait(41).await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("running"));
    assert_eq!(azure.get(&path).await.body["properties"]["allowClaim"], false);
    assert_eq!(azure.post(&format!("{path}/unClaim")).await.status, 202);
    azure.wait(41).await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("deallocated"));
    assert_eq!(azure.get(&path).await.body["properties"]["allowClaim"], true);
}

#[tokio::test(start_paused = true)]
async fn a_second_put_updates_and_a_patch_changes_tags_only() {
    let azure = Azure::new();
    let path = Azure::vm_path("golden");
    azure.put(&path, azure.windows(&[])).await;
    assert_eq!(azure.put(&path, azure.windows(&[])).await.status, 409, "still being made");
    azure.wait(700).await;
    assert_eq!(azure.put(&path, azure.windows(&[])).await.status, 200);
    let tags = json!({"tags": {"FactoryIgnore": "true"}});
    let patched = azure.call(Method::PATCH, &path, Some(tags)).await;
    assert_eq!((patched.status, &patched.body["tags"]), (200, &json!({"FactoryIgnore": "true"})));
    let notes = json!({"properties": {"notes": "x"}});
    assert_eq!(azure.call(Method::PATCH, &path, Some(notes)).await.status, 400);
    let merge = json!({"operation": "Merge", "properties": {"tags": {"a": "1"}}});
    let tags = format!("{path}/providers/Microsoft.Resources/tags/default");
    let merged = azure.call(Method::PATCH, &tags, Some(merge)).await;
    assert_eq!(merged.body["properties"]["tags"], json!({"FactoryIgnore": "true", "a": "1"}));
}

#[tokio::test(start_paused = true)]
async fn artifacts_can_be_applied_to_a_running_vm() {
    let azure = Azure::new();
    let path = Azure::vm_path("golden");
    azure.put(&path, azure.windows(&[])).await;
    azure.wait(700).await;
    let body = json!({"artifacts": [azure.artifact("windows-domain-join"), azure.artifact(SYSPREP)]});
    let answer = azure.call(Method::POST, &format!("{path}/applyArtifacts"), Some(body)).await;
    assert_eq!(answer.status, 202);
    azure.wait(60 + 40 + 200 + 101).await;
    let status = azure.get(&path).await.body["properties"]["artifactDeploymentStatus"].clone();
    assert_eq!(status, json!({"artifactsApplied": 2, "totalArtifacts": 2, "deploymentStatus": "Succeeded"}));
    let compute = azure.compute_id("golden").await;
    assert_eq!(azure.power(&compute).await.as_deref(), Some("deallocated"));
}
