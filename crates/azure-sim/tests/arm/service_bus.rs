//! Namespaces and queues as Resource Manager shows them.

use std::time::Duration;

use azure_sim::broker::QueueSettings;
use http::Method;
use serde_json::json;

use crate::azure::{Azure, SUBSCRIPTION};

#[tokio::test(start_paused = true)]
async fn a_namespace_shows_the_queues_of_its_broker_as_they_were_made() {
    let azure = Azure::new();
    let id = format!("{}/providers/Microsoft.ServiceBus/namespaces/Factory", Azure::group());
    let broker = azure.sim.broker().clone();
    let settings = QueueSettings {
        duplicate_detection_window: Some(Duration::from_secs(600)),
        default_message_time_to_live: Some(Duration::from_secs(14 * 24 * 3600)),
        ..QueueSettings::default()
    };
    broker.create_queue("copy-image", settings).unwrap();
    broker.create_queue("plain", QueueSettings::default()).unwrap();
    azure.sim.world().add_namespace(&id, "westeurope", broker);

    let all = azure
        .get(&format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.ServiceBus/namespaces"))
        .await
        .body;
    let namespace = &all["value"][0];
    assert_eq!((&namespace["id"], all["value"].as_array().unwrap().len()), (&json!(id), 1));
    assert_eq!(namespace["properties"]["serviceBusEndpoint"], "https://Factory.servicebus.windows.net:443/");

    let queues = azure.get(&format!("{}/queues", id.to_uppercase())).await.body;
    let made = &queues["value"][0]["properties"];
    for (name, value) in [
        ("requiresDuplicateDetection", json!(true)),
        ("duplicateDetectionHistoryTimeWindow", json!("PT10M")),
        ("defaultMessageTimeToLive", json!("P14D")),
        ("maxDeliveryCount", json!(10)),
        ("status", json!("Active")),
    ] {
        assert_eq!(made[name], value, "{name}");
    }
    let plain = azure.get(&format!("{id}/queues/plain")).await.body;
    assert_eq!(plain["properties"]["requiresDuplicateDetection"], false);
    assert_eq!(azure.get(&format!("{id}/queues/none")).await.code(), "ResourceNotFound");
    assert_eq!(azure.get(&id.replace("Factory", "none")).await.status, 404);
    assert_eq!(azure.call(Method::DELETE, &id, None).await.status, 405);
}
