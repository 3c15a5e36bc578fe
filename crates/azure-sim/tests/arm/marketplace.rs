use azure_sim::control::{self, MarketplaceSpec};
use serde_json::{Value, json};

use crate::azure::Azure;

/// The image of [`Azure::windows`].
fn versions_path(azure: &Azure, sku: &str, query: &str) -> String {
    let subscription = azure.lab.split('/').nth(2).unwrap();
    format!(
        "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/westeurope/publishers/MicrosoftWindowsServer/artifacttypes/vmimage/offers/WindowsServer/skus/{sku}/versions?{query}"
    )
}

fn names(body: &Value) -> Vec<&str> {
    body.as_array().unwrap().iter().map(|version| version["name"].as_str().unwrap()).collect()
}

fn publish(azure: &Azure, sku: &str, versions: &[&str]) {
    let spec = MarketplaceSpec {
        publisher: "MicrosoftWindowsServer".to_owned(),
        offer: "windowsserver".to_owned(),
        sku: sku.to_owned(),
        versions: versions.iter().map(|version| (*version).to_owned()).collect(),
    };
    control::set_marketplace(&azure.sim, spec);
}

/// The image that the compute VM behind a lab VM says it was made from.
async fn reference(azure: &Azure, name: &str) -> Value {
    let compute = azure.compute_id(name).await;
    azure.get(&compute).await.body["properties"]["storageProfile"]["imageReference"].clone()
}

#[tokio::test(start_paused = true)]
async fn versions_are_a_bare_list_in_the_order_of_their_numbers() {
    let azure = Azure::new();
    publish(&azure, "2022-Datacenter", &["1.9.0", "1.10.0", "1.2.0"]);
    let all = azure.get(&versions_path(&azure, "2022-datacenter", "")).await;
    assert_eq!((all.status, names(&all.body)), (200, vec!["1.2.0", "1.9.0", "1.10.0"]));
    let id = all.body[0]["id"].as_str().unwrap();
    assert!(
        id.starts_with("/Subscriptions/") && id.ends_with("/Skus/2022-datacenter/Versions/1.2.0"),
        "{id}"
    );
    let newest = azure.get(&versions_path(&azure, "2022-datacenter", "$orderby=name%20desc&$top=1")).await;
    assert_eq!(names(&newest.body), ["1.10.0"]);
    let wrong = azure.get(&versions_path(&azure, "2022-datacenter", "$orderby=age")).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_image_is_not_found_and_cannot_be_deployed() {
    let azure = Azure::new();
    let unknown = versions_path(&azure, "x", "").replace("MicrosoftWindowsServer", "Nobody");
    publish(&azure, "withdrawn", &[]);
    for path in [unknown, versions_path(&azure, "withdrawn", "")] {
        let answer = azure.get(&path).await;
        let error = json!({"code": "NotFound", "message": "Artifact: VMImage was not found."});
        assert_eq!((answer.status, &answer.body["error"]), (404, &error), "{path}");
    }
    let mut vm = azure.windows(&[]);
    vm["properties"]["galleryImageReference"]["sku"] = "withdrawn".into();
    let refused = azure.put(&Azure::vm_path("golden"), vm).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (404, &json!("PlatformImageNotFound")));
}

#[tokio::test(start_paused = true)]
async fn latest_is_the_newest_when_the_vm_is_made() {
    let azure = Azure::new();
    let sku = azure.windows(&[])["properties"]["galleryImageReference"]["sku"].as_str().unwrap().to_owned();
    publish(&azure, &sku, &["1.9.0", "1.10.0"]);
    azure.put(&Azure::vm_path("first"), azure.windows(&[])).await;
    publish(&azure, &sku, &["1.9.0", "1.10.0", "1.11.0"]);
    azure.put(&Azure::vm_path("second"), azure.windows(&[])).await;
    let mut pinned = azure.windows(&[]);
    pinned["properties"]["galleryImageReference"]["version"] = "1.9.0".into();
    azure.put(&Azure::vm_path("third"), pinned.clone()).await;
    azure.wait(3600).await;
    for (name, version, exact) in
        [("first", "latest", "1.10.0"), ("second", "latest", "1.11.0"), ("third", "1.9.0", "1.9.0")]
    {
        let reference = reference(&azure, name).await;
        assert_eq!(
            (&reference["version"], &reference["exactVersion"]),
            (&json!(version), &json!(exact)),
            "{name}"
        );
    }
    pinned["properties"]["galleryImageReference"]["version"] = "1.8.0".into();
    let refused = azure.put(&Azure::vm_path("fourth"), pinned).await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (404, &json!("PlatformImageNotFound")));
}
