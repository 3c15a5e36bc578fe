//! What holds for every call.

use std::{sync::Arc, time::Duration};

use azure_core::{error::ErrorKind as SdkKind, http::Transport};
use factory_clock::Clock;
use serde_json::json;
use time::macros::datetime;
use url::Url;

use super::{ARM, FakeCredential, LAB, Reply, Script, azure, azure_at, lab};
use crate::azure::{Azure, AzureOptions, ErrorKind, ParameterValue, Started};
use crate::secret::Secret;

const IMAGES: &str =
    "/subscriptions/S/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/Web/customimages";

#[tokio::test(start_paused = true)]
async fn a_call_carries_version_token_and_request_id_and_is_made_once() {
    let (azure, script) = azure();
    script.on(&format!("GET {IMAGES}/x"), Reply::empty(503).with("retry-after", "7"));
    let error = azure.custom_image(&lab(), "x").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Transient { retry_after: Some(Duration::from_secs(7)) });
    assert_eq!(error.attempted, "GET custom image Web/x");
    assert_eq!(script.seen().len(), 1, "waiting is a message, never a retry");
    let seen = script.last();
    assert_eq!(seen.header("authorization"), "Bearer token-1");
    assert_eq!(seen.header("x-ms-client-request-id").len(), 36);
    assert_eq!(seen.query("api-version").as_deref(), Some("2018-09-15"));
    assert_eq!(*script.credential.scopes.lock().unwrap(), ["https://management.azure.com/.default"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_to_its_last_page_even_over_an_empty_one() {
    let (azure, script) = azure();
    let page = |names: &[&str], next: Option<&str>| {
        let value: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        let mut body = json!({ "value": value });
        if let Some(next) = next {
            body["nextLink"] = json!(format!("{ARM}{IMAGES}?{next}"));
        }
        Reply::json(200, body)
    };
    let call = format!("GET {IMAGES}");
    script.on(&call, page(&["a", "b"], Some("api-version=2018-09-15&$skiptoken=1%2B1")));
    script.on(&call, page(&[], Some("$skiptoken=2")));
    script.on(&call, page(&["c"], None));
    let images = azure.custom_images(&lab(), None).await.unwrap();
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let links: Vec<_> = script.seen().iter().map(|seen| seen.url.query().unwrap().to_owned()).collect();
    assert_eq!(
        links[1..],
        ["api-version=2018-09-15&$skiptoken=1%2B1", "$skiptoken=2"],
        "links are followed verbatim"
    );
}

#[tokio::test(start_paused = true)]
async fn a_next_page_elsewhere_and_an_endless_list_are_refused() {
    let (azure, script) = azure();
    let call = format!("GET {IMAGES}");
    script.on(&call, Reply::json(200, json!({"value": [], "nextLink": "https://evil.example/?sig=x"})));
    let error = azure.custom_images(&lab(), None).await.unwrap_err();
    assert_eq!((error.code.as_str(), script.seen().len()), ("ForeignUrl", 1));

    let (azure, script) = super::azure();
    script.on(&call, Reply::json(200, json!({"value": [], "nextLink": format!("{ARM}{IMAGES}")})));
    assert_eq!(azure.custom_images(&lab(), None).await.unwrap_err().code, "EndlessList");
}

#[tokio::test(start_paused = true)]
async fn a_success_that_is_not_json_is_an_error_and_no_absence() {
    let (azure, script) = azure();
    script.on(&format!("GET {IMAGES}/x"), Reply::bytes(200, "<html>proxy</html>"));
    assert_eq!(azure.custom_image(&lab(), "x").await.unwrap_err().code, "UnexpectedAnswer");
    script.on(&format!("GET {IMAGES}"), Reply::bytes(200, "{}"));
    assert_eq!(azure.custom_images(&lab(), None).await.unwrap_err().code, "UnexpectedAnswer");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_transient_and_says_nothing_secret() {
    for kind in [SdkKind::Connection, SdkKind::Io] {
        let (azure, script) = azure();
        script.lose(kind);
        let error = azure.delete_custom_image(&lab(), "x").await.unwrap_err();
        assert!(error.is_transient() && error.status.is_none(), "{error}");
        assert!(error.to_string().starts_with("DELETE custom image Web/x: Connection"), "{error}");
        assert!(
            error.to_string().contains("https://account.blob.core.windows.net/c/b on the way"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_encoded_and_cannot_leave_their_place() {
    let (azure, script) = azure();
    assert_eq!(azure.custom_image(&lab(), "a b/../c?d").await.unwrap(), None);
    assert_eq!(script.last().url.path(), format!("{IMAGES}/a%20b%2F..%2Fc%3Fd"));
    let error = azure.disk("/subscriptions/S/resourceGroups/rg/../../x").await.unwrap_err();
    assert_eq!((error.code.as_str(), script.seen().len()), ("InvalidResourceId", 1));
}

fn options(endpoint: &str) -> AzureOptions {
    AzureOptions {
        resource_manager: Url::parse(endpoint).unwrap(),
        credential: Arc::new(FakeCredential::default()),
        transport: Some(Transport::new(Arc::new(Script::default()))),
        clock: Clock::system(),
    }
}

#[test]
fn a_token_goes_over_http_to_loopback_hosts_only() {
    let good = [
        "http://localhost:1",
        "http://127.0.0.1:1/",
        "http://127.9.9.9",
        "http://[::1]:8080",
        "https://arm.example",
    ];
    for endpoint in good {
        assert!(Azure::new(options(endpoint)).is_ok(), "{endpoint}");
    }
    let bad = [
        "http://arm.example",
        "http://10.0.0.1",
        "http://localhost.example",
        "http://127.0.0.1.example",
        "ftp://localhost",
    ];
    for endpoint in bad {
        let error = Azure::new(options(endpoint)).unwrap_err();
        assert_eq!(error.code, "InsecureEndpoint", "{endpoint}");
    }
}

#[tokio::test(start_paused = true)]
async fn on_a_loopback_host_a_token_is_kept_until_shortly_before_it_expires() {
    let (azure, script) = azure_at("http://127.0.0.1:8080");
    let call = async |expected: &str| {
        azure.custom_image(&lab(), "x").await.unwrap();
        assert_eq!(script.last().header("authorization"), expected);
    };
    call("Bearer token-1").await;
    tokio::time::advance(Duration::from_secs(54 * 60)).await;
    call("Bearer token-1").await;
    tokio::time::advance(Duration::from_secs(2 * 60)).await;
    call("Bearer token-2").await;
    assert_eq!(*script.credential.scopes.lock().unwrap(), ["https://management.azure.com/.default"; 2]);
}

#[tokio::test(start_paused = true)]
async fn on_a_loopback_host_a_refused_token_is_not_used_again() {
    let (azure, script) = azure_at("http://localhost:8080");
    let reply =
        json!({"error": {"code": "ExpiredAuthenticationToken", "message": "The access token expired."}});
    script.on(&format!("GET {IMAGES}/x"), Reply::json(401, reply));
    assert!(azure.custom_image(&lab(), "x").await.unwrap_err().is_transient());
    azure.custom_image(&lab(), "x").await.unwrap_err();
    assert_eq!(script.last().header("authorization"), "Bearer token-2");
}

#[tokio::test(start_paused = true)]
async fn a_deployment_is_incremental_and_its_password_is_sent_but_never_shown() {
    let (azure, script) = azure();
    let path = "/subscriptions/S/resourcegroups/rg/providers/Microsoft.Resources/deployments/d1";
    let accepted = json!({"properties": {"provisioningState": "Accepted"}});
    script.on(&format!("PUT {path}"), Reply::json(201, accepted));
    let parameters = [
        ("vm".to_owned(), ParameterValue::Plain(json!("a"))),
        ("password".to_owned(), ParameterValue::Secret(Secret::new("hunter2".to_owned()))),
    ];
    let started = azure.put_deployment("S", "rg", "d1", &json!({"resources": []}), &parameters).await;
    assert_eq!(started.unwrap(), Started::Running { operation: None, retry_after: None });
    let body = script.last().json();
    assert_eq!(body["properties"]["mode"], "Incremental");
    assert_eq!(
        body["properties"]["parameters"],
        json!({"vm": {"value": "a"}, "password": {"value": "hunter2"}})
    );
    assert!(!format!("{parameters:?}").contains("hunter2"));
}

#[tokio::test(start_paused = true)]
async fn a_failed_deployment_tells_the_reason_at_the_bottom() {
    let (azure, script) = azure();
    let path = "/subscriptions/S/resourcegroups/rg/providers/Microsoft.Resources/deployments/d1";
    let inner = json!({"error": {"code": "InvalidStorageAccountForLab", "message": "Invalid storage account for lab"}});
    let deployment = json!({
        "name": "d1",
        "properties": {
            "provisioningState": "Failed", "correlationId": "corr", "timestamp": "2026-11-22T12:00:00.1234567Z",
            "error": {
                "code": "DeploymentFailed", "message": "At least one resource deployment operation failed.",
                "details": [{"code": "Conflict", "message": inner.to_string()}],
            },
        },
    });
    script.on(&format!("GET {path}"), Reply::json(200, deployment));
    let deployment = azure.deployment("S", "rg", "d1").await.unwrap().unwrap();
    assert_eq!((deployment.state.as_str(), deployment.correlation_id.as_deref()), ("Failed", Some("corr")));
    assert_eq!(deployment.timestamp, Some(datetime!(2026-11-22 12:00:00.1234567 UTC)));
    let error = deployment.error.unwrap();
    assert_eq!(error.kind, ErrorKind::Permanent);
    let expected = "deployment rg/d1: InvalidStorageAccountForLab: Invalid storage account for lab (correlation id corr)";
    assert_eq!(error.to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_runs_is_transient_and_one_that_ended_needs_no_cancelling() {
    let (azure, script) = azure();
    let path = "/subscriptions/S/resourcegroups/rg/providers/Microsoft.Resources/deployments/d1";
    let active =
        json!({"error": {"code": "DeploymentActive", "message": "previous deployment is still active"}});
    script.on(&format!("PUT {path}"), Reply::json(409, active));
    assert!(azure.put_deployment("S", "rg", "d1", &json!({}), &[]).await.unwrap_err().is_transient());
    let ended =
        json!({"error": {"code": "DeploymentCannotBeCancelled", "message": "it is in a terminal state"}});
    script.on(&format!("POST {path}/cancel"), Reply::json(409, ended));
    assert_eq!(azure.cancel_deployment("S", "rg", "d1").await.unwrap(), Started::Done);
    assert_eq!(azure.delete_deployment("S", "rg", "d1").await.unwrap(), Started::Done, "404");
    assert_eq!(azure.deployment("S", "rg", "d1").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_forbidden_lab_is_an_error_and_a_missing_one_is_none() {
    let (azure, script) = azure();
    assert_eq!(azure.find_lab("S", Some("rg"), "Web").await.unwrap(), None);
    let forbidden = json!({"error": {"code": "AuthorizationFailed", "message": "no"}});
    script.on(&format!("GET {LAB}"), Reply::json(403, forbidden).with("x-ms-correlation-request-id", "c-1"));
    let error = azure.find_lab("S", Some("rg"), "Web").await.unwrap_err();
    assert_eq!((error.code.as_str(), error.status), ("AuthorizationFailed", Some(403)));
    assert_eq!(error.correlation_id.as_deref(), Some("c-1"));
}
