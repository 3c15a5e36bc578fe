use azure_sim::{arm::Denial, fault::VirtualMachineFault};
use http::Method;
use serde_json::{Value, json};

use crate::azure::{Azure, SUBSCRIPTION};

#[tokio::test(start_paused = true)]
async fn a_deployment_makes_its_vm_and_ends_with_it() {
    let azure = Azure::new();
    let path = Azure::deployment_path("Deploy-1");
    let put = azure.put(&path, azure.template("golden", &["windows-sysprep"])).await;
    assert_eq!((put.status, &put.body["properties"]["provisioningState"]), (201, &json!("Accepted")));
    let url = put.header("azure-asyncoperation").unwrap().to_owned();
    azure.wait(3).await;
    assert_eq!(azure.follow(&url).await.body["status"], "Running");
    assert_eq!(azure.get(&Azure::vm_path("golden")).await.status, 200);
    let again = azure.put(&path, azure.template("golden", &[])).await;
    assert_eq!((again.status, again.code()), (409, "DeploymentActive"));
    let delete = azure.delete(&path).await;
    assert_eq!(delete.status, 409, "an active deployment stays");
    azure.wait(800).await;
    assert_eq!(azure.follow(&url).await.body, json!({"status": "Succeeded"}));
    let body = azure.get(&path).await.body;
    let properties = &body["properties"];
    assert_eq!(properties["provisioningState"], "Succeeded");
    assert_eq!(properties["parameters"]["password"], json!({"type": "SecureString"}));
    assert!(!body.to_string().contains("ququ"));
    assert_eq!(properties["outputs"]["labVMId"]["type"], "String");
    let vm = properties["outputResources"][0]["id"].as_str().unwrap();
    assert!(vm.eq_ignore_ascii_case(&Azure::vm_path("golden")), "{vm}");
    assert_eq!(azure.put(&path, azure.template("golden", &[])).await.status, 200, "the same name again");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_provider_is_a_document_in_a_string() {
    let azure = Azure::new();
    let path = Azure::deployment_path("Deploy-1");
    let mut body = azure.template("golden", &[]);
    body["properties"]["parameters"]["password"]["value"] = json!("weak");
    assert_eq!(azure.put(&path, body).await.status, 201, "only the provider knows its rules");
    azure.wait(3).await;
    let error = azure.get(&path).await.body["properties"]["error"].clone();
    assert_eq!(error["code"], "DeploymentFailed");
    assert_eq!(error["details"][0]["code"], "BadRequest");
    let inner: Value = serde_json::from_str(error["details"][0]["message"].as_str().unwrap()).unwrap();
    assert_eq!(inner["error"]["code"], "InvalidParameter");
    let operations = format!("{}/deployments/Deploy-1/operations", Azure::group());
    let operations = azure.get(&operations).await.body;
    assert_eq!(operations["value"][0]["properties"]["provisioningState"], "Failed");
}

#[tokio::test(start_paused = true)]
async fn a_failed_operation_is_nested_twice() {
    let azure = Azure::new();
    azure.sim.world().faults.virtual_machines = vec![VirtualMachineFault {
        vm_part: "golden".into(),
        code: "AllocationFailed".into(),
        message: "No room.".into(),
    }];
    let path = Azure::deployment_path("Deploy-1");
    azure.put(&path, azure.template("golden", &[])).await;
    azure.wait(3600).await;
    let body = azure.get(&path).await.body;
    assert_eq!(body["properties"]["provisioningState"], "Failed");
    let text = body["properties"]["error"]["details"][0]["message"].as_str().unwrap();
    let inner: Value = serde_json::from_str(text).unwrap();
    assert_eq!(inner["status"], "Failed");
    assert_eq!(inner["error"]["code"], "ResourceDeploymentFailure");
    assert_eq!(inner["error"]["details"][0]["code"], "AllocationFailed");
}

#[tokio::test(start_paused = true)]
async fn bad_templates_are_refused_at_once() {
    let azure = Azure::new();
    let path = Azure::deployment_path("Deploy-1");
    let mut extra = azure.template("golden", &[]);
    extra["properties"]["parameters"]["surplus"] = json!({"value": 1});
    let mut missing = azure.template("golden", &[]);
    missing["properties"]["parameters"] = json!({});
    let mut unknown = azure.template("golden", &[]);
    unknown["properties"]["template"]["resources"][0]["location"] = json!("[nonsense()]");
    for body in [extra, missing, unknown] {
        let put = azure.put(&path, body.clone()).await;
        assert_eq!((put.status, put.code()), (400, "InvalidTemplate"), "{}", put.body);
        let validated = azure.call(Method::POST, &format!("{path}/validate"), Some(body)).await;
        assert_eq!(validated.status, 400);
    }
    assert_eq!(azure.get(&path).await.status, 404);
    let good = azure.template("golden", &[]);
    let validated = azure.call(Method::POST, &format!("{path}/validate"), Some(good)).await;
    assert_eq!(validated.status, 200);
    let mut complete = azure.template("golden", &[]);
    complete["properties"]["mode"] = json!("Complete");
    assert_eq!(azure.put(&path, complete).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn more_cores_than_there_ever_are_fail_in_preflight() {
    let azure = Azure::new();
    azure.sim.world().set_quota(SUBSCRIPTION, Some(1));
    let put = azure.put(&Azure::deployment_path("Deploy-1"), azure.template("golden", &[])).await;
    assert_eq!((put.status, put.code()), (400, "InvalidTemplateDeployment"));
    let inner = &put.body["error"]["details"][0];
    assert_eq!(inner["code"], "QuotaExceeded");
    let message = inner["message"].as_str().unwrap();
    assert!(message.contains("Maximum allowed: 1, Current in use: 0, Additional requested: 2"), "{message}");
}

fn empty() -> Value {
    json!({"properties": {"mode": "Incremental", "template": {
        "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json",
        "contentVersion": "1.0.0.0", "resources": [],
    }}})
}

async fn fill(azure: &Azure, from: usize, to: usize) {
    for number in from..to {
        let answer = azure.put(&Azure::deployment_path(&format!("d{number:03}")), empty()).await;
        assert_eq!(answer.status, 201, "{number}: {}", answer.body);
        // Slow enough for the write limit, and for every deployment to end.
        azure.sim.clock().sleep(std::time::Duration::from_millis(120)).await;
    }
}

async fn count(azure: &Azure) -> usize {
    let url = format!("{}/providers/Microsoft.Resources/deployments/", Azure::group());
    let mut next = Some(format!("{}{url}?api-version=2021-04-01", crate::azure::BASE));
    let mut count = 0;
    while let Some(url) = next {
        let page = azure.follow(&url).await.body;
        count += page["value"].as_array().unwrap().len();
        next = page["nextLink"].as_str().map(str::to_owned);
    }
    count
}

#[tokio::test(start_paused = true)]
async fn a_long_history_is_pruned_to_750_oldest_first() {
    let azure = Azure::new();
    fill(&azure, 0, 775).await;
    azure.wait(60).await;
    assert_eq!(count(&azure).await, 775);
    fill(&azure, 775, 776).await;
    azure.wait(31).await;
    assert_eq!(count(&azure).await, 750);
    assert_eq!(azure.get(&Azure::deployment_path("d025")).await.status, 404);
    assert_eq!(azure.get(&Azure::deployment_path("d026")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn without_the_right_to_delete_the_history_fills_up() {
    let azure = Azure::new();
    azure.sim.world().arm.denials =
        vec![Denial { action_part: "deployments/delete".to_owned(), ..Denial::default() }];
    fill(&azure, 0, 800).await;
    let full = azure.put(&Azure::deployment_path("more"), empty()).await;
    assert_eq!((full.status, full.code()), (409, "DeploymentQuotaExceeded"));
    assert_eq!(
        azure.put(&Azure::deployment_path("d000"), empty()).await.status,
        200,
        "a name again needs no room"
    );
    azure.wait(60).await;
    azure.sim.world().arm.denials.clear();
    assert_eq!(azure.put(&Azure::deployment_path("more"), empty()).await.status, 409, "pruning begins");
    azure.wait(31).await;
    assert_eq!(azure.put(&Azure::deployment_path("more"), empty()).await.status, 201);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_leaves_the_history_and_its_vm_stays() {
    let azure = Azure::new();
    let path = Azure::deployment_path("Deploy-1");
    azure.put(&path, azure.template("golden", &[])).await;
    azure.wait(700).await;
    assert_eq!(azure.call(Method::HEAD, &path, None).await.status, 204);
    let filter = format!(
        "{}/providers/Microsoft.Resources/deployments/?$filter=provisioningState%20eq%20'Succeeded'",
        Azure::group()
    );
    assert_eq!(azure.get(&filter).await.body["value"].as_array().unwrap().len(), 1);
    let delete = azure.delete(&path).await;
    assert_eq!(delete.status, 202);
    assert!(delete.header("retry-after").is_some() && delete.header("azure-asyncoperation").is_none());
    let location = delete.header("location").unwrap();
    assert_eq!(azure.follow(location).await.status, 202);
    azure.wait(11).await;
    assert_eq!(azure.follow(location).await.status, 204);
    assert_eq!(azure.get(&path).await.status, 404);
    assert_eq!(azure.get(&Azure::vm_path("golden")).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_deployment_is_final() {
    let azure = Azure::new();
    let path = Azure::deployment_path("Deploy-1");
    azure.put(&path, azure.template("golden", &[])).await;
    azure.wait(10).await;
    assert_eq!(azure.post(&format!("{path}/cancel")).await.status, 204);
    assert_eq!(azure.post(&format!("{path}/cancel")).await.status, 409);
    azure.wait(3600).await;
    assert_eq!(azure.get(&path).await.body["properties"]["provisioningState"], "Canceled");
}

#[tokio::test(start_paused = true)]
async fn dependent_resources_wait_and_references_see_what_stands() {
    let azure = Azure::new();
    let mut body = azure.template("golden", &[]);
    let template = &mut body["properties"]["template"];
    let image = json!({
        "apiVersion": "2018-09-15",
        "type": "Microsoft.DevTestLab/labs/customimages",
        "name": "Factory/captured",
        "dependsOn": ["[resourceId('Microsoft.DevTestLab/labs/virtualmachines', 'Factory', 'golden')]"],
        "properties": {"vm": {
            "sourceVmId": "[resourceId('Microsoft.DevTestLab/labs/virtualmachines', 'Factory', 'golden')]",
            "windowsOsInfo": {"windowsOsState": "NonSysprepped"},
        }},
    });
    template["resources"].as_array_mut().unwrap().insert(0, image);
    template["outputs"]["os"] = json!({
        "type": "string",
        "value": "[reference(resourceId('Microsoft.DevTestLab/labs/virtualmachines', 'Factory', 'golden')).osType]",
    });
    let path = Azure::deployment_path("Deploy-1");
    azure.put(&path, body).await;
    azure.wait(300).await;
    assert_eq!(azure.get(&Azure::image_path("captured")).await.status, 404);
    azure.wait(600).await;
    let image = azure.get(&Azure::image_path("captured")).await.body;
    assert_eq!(image["properties"]["provisioningState"], "Succeeded");
    assert!(image["properties"].get("managedSnapshotId").is_some(), "it was not generalised");
    let done = azure.get(&path).await.body;
    assert_eq!(done["properties"]["outputs"]["os"]["value"], "Windows", "{done}");
}
