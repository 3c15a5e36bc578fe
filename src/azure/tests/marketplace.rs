//! Versions of the Marketplace's images.

use serde_json::{Value, json};

use super::{Reply, azure};
use crate::azure::{ErrorKind, MarketplaceSku};

const VERSIONS: &str = "GET /subscriptions/S/providers/Microsoft.Compute/locations/westeurope/publishers/Canonical/artifacttypes/vmimage/offers/ubuntu/skus/server/versions";

async fn newest(reply: Reply) -> Result<Option<String>, crate::azure::AzureError> {
    let (azure, script) = azure();
    script.on(VERSIONS, reply);
    let sku = MarketplaceSku {
        publisher: "Canonical".to_owned(),
        offer: "ubuntu".to_owned(),
        sku: "server".to_owned(),
    };
    let newest = azure.newest_version("S", "westeurope", &sku).await;
    assert_eq!(script.seen().len(), 1);
    assert_eq!(script.last().query("api-version").as_deref(), Some("2024-07-01"));
    newest
}

fn versions(names: &[&str]) -> Reply {
    Reply::json(200, names.iter().map(|name| json!({"name": name, "location": "westeurope"})).collect())
}

#[tokio::test(start_paused = true)]
async fn the_newest_version_is_that_of_the_largest_numbers() {
    for (names, expected) in [
        (["24.04.9", "24.04.10", "24.04.1"], "24.04.10"),
        (["20348.887.250910", "20348.1006.251014", "20348.1006.250101"], "20348.1006.251014"),
        (["1.0", "1.0.1", "beta"], "1.0.1"),
        (["24.04.202511180", "24.04.99999999999999999999", "24.04.202511190"], "24.04.202511190"),
    ] {
        assert_eq!(newest(versions(&names)).await.unwrap().as_deref(), Some(expected));
    }
    let only_id = Reply::json(200, json!([{"id": "/Subscriptions/S/Skus/server/Versions/1.2.3"}]));
    assert_eq!(newest(only_id).await.unwrap().as_deref(), Some("1.2.3"));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_there_or_has_no_version_has_no_newest_one() {
    let error = json!({"error": {"code": "NotFound", "message": "Artifact: VMImage was not found."}});
    assert_eq!(newest(Reply::json(404, error)).await.unwrap(), None);
    assert_eq!(newest(versions(&[])).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn other_answers_are_errors() {
    let refused =
        newest(Reply::json(403, json!({"error": {"code": "AuthorizationFailed", "message": "no"}}))).await;
    assert_eq!(refused.unwrap_err().code, "AuthorizationFailed");
    let odd = newest(Reply::json(200, json!({"value": []}))).await.unwrap_err();
    assert_eq!(odd.code, "UnexpectedAnswer");
    let busy = newest(Reply::json(429, Value::Null).with("retry-after", "7")).await.unwrap_err();
    assert!(matches!(busy.kind, ErrorKind::Transient { retry_after: Some(_) }));
}
