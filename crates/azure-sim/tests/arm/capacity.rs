//! How many cores there are, and which sizes of VMs.

use azure_sim::control::{self, QuotaSpec};
use serde_json::{Value, json};

use crate::azure::{Azure, SUBSCRIPTION};

fn usage<'a>(body: &'a Value, name: &str) -> &'a Value {
    let items = body["value"].as_array().unwrap();
    items.iter().find(|item| item["name"]["value"] == name).unwrap_or_else(|| panic!("no {name}: {body}"))
}

async fn usages(azure: &Azure, location: &str) -> Value {
    let path =
        format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/locations/{location}/usages");
    azure.get(&path).await.body
}

#[tokio::test(start_paused = true)]
async fn usages_count_what_vms_have_and_show_the_limit_by_which_they_are_refused() {
    let azure = Azure::new();
    let quota = QuotaSpec { subscription_id: SUBSCRIPTION.to_owned(), cores: Some(3) };
    control::set_quota(&azure.sim, &quota);
    let before = usages(&azure, "westeurope").await;
    assert_eq!(
        (&usage(&before, "cores")["currentValue"], &usage(&before, "cores")["limit"]),
        (&json!(0), &json!(3))
    );
    azure.put(&Azure::vm_path("one"), azure.windows(&[])).await;
    azure.wait(3600).await;
    let after = usages(&azure, "WestEurope").await;
    for (name, used) in
        [("cores", 2), ("standardDSv3Family", 2), ("standardESv3Family", 0), ("virtualMachines", 1)]
    {
        assert_eq!(usage(&after, name)["currentValue"], used, "{name}");
    }
    assert_eq!(usage(&usages(&azure, "northeurope").await, "cores")["currentValue"], 0);
}

#[tokio::test(start_paused = true)]
async fn sizes_are_listed_with_their_cores_and_families_by_region_alone() {
    let azure = Azure::new();
    let skus = |filter: &str| {
        format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Compute/skus?$filter={filter}")
    };
    let all = azure.get(&skus("location eq 'westeurope'")).await.body;
    let sizes = all["value"].as_array().unwrap();
    let size = sizes.iter().find(|size| size["name"] == "Standard_D4s_v5").unwrap();
    assert_eq!(
        (&size["family"], &size["resourceType"]),
        (&json!("standardDSv5Family"), &json!("virtualMachines"))
    );
    assert_eq!(size["capabilities"], json!([{"name": "vCPUs", "value": "4"}]));
    assert!(sizes.iter().any(|sku| sku["resourceType"] == "disks"), "not all of them are VMs");
    assert_eq!(azure.get(&skus("name eq 'x'")).await.status, 400);
}
