use std::time::Duration;

use azure_sim::{arm::Denial, arm::LockLevel, identity};
use http::Method;

use crate::azure::{Azure, BASE, SUBSCRIPTION};

#[tokio::test(start_paused = true)]
async fn every_call_needs_a_version_and_a_good_token() {
    let mut azure = Azure::new();
    let url = format!("{BASE}{}", Azure::lab_path());
    assert_eq!(azure.follow(&url).await.code(), "MissingApiVersionParameter");
    let odd = azure.follow(&format!("{url}?api-version=newest")).await;
    assert_eq!((odd.status, odd.code()), (400, "InvalidApiVersionParameter"));
    for version in ["2016-05-15", "2018-10-15-preview", "2026-06-01"] {
        assert_eq!(azure.follow(&format!("{url}?api-version={version}")).await.status, 200, "{version}");
    }
    azure.wait(24 * 3600).await;
    let old = azure.get(&Azure::lab_path()).await;
    assert_eq!((old.status, old.code()), (401, "ExpiredAuthenticationToken"));
    azure.token = "forged".to_owned();
    let forged = azure.get(&Azure::lab_path()).await;
    assert_eq!((forged.status, forged.code()), (401, "InvalidAuthenticationToken"));
    azure.token = {
        let world = azure.sim.world();
        let caller = world.identity.managed_identity.clone();
        identity::issue(&world, &caller, identity::STORAGE, Duration::from_secs(60))
    };
    assert_eq!(azure.get(&Azure::lab_path()).await.status, 401, "a token for another service");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_named() {
    let azure = Azure::new();
    for (path, code) in [
        ("/subscriptions/none/resourceGroups/x".to_owned(), "SubscriptionNotFound"),
        (format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/none"), "ResourceGroupNotFound"),
        (format!("{}/providers/Microsoft.DevTestLab/labs/none", Azure::group()), "ResourceNotFound"),
        (Azure::vm_path("none"), "ResourceNotFound"),
        (Azure::deployment_path("none"), "DeploymentNotFound"),
        (format!("{}/providers/Microsoft.Sql/servers/x", Azure::group()), "NoRegisteredProviderFound"),
    ] {
        let answer = azure.get(&path).await;
        assert_eq!(answer.code(), code, "{path}");
    }
    assert_eq!(azure.delete(&Azure::image_path("none")).await.status, 204);
    assert_eq!(azure.delete(&Azure::deployment_path("none")).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_throttled_with_retry_after_and_counted() {
    let azure = Azure::new();
    let mut last = None;
    for _ in 0..250 {
        let answer = azure.get(&Azure::lab_path()).await;
        assert_eq!(answer.status, 200);
        last = answer.header("x-ms-ratelimit-remaining-subscription-reads").map(str::to_owned);
    }
    assert_eq!(last.as_deref(), Some("0"));
    let refused = azure.get(&Azure::lab_path()).await;
    assert_eq!((refused.status, refused.code()), (429, "SubscriptionRequestsThrottled"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    azure.wait(1).await;
    assert_eq!(azure.get(&Azure::lab_path()).await.status, 200);
    let counts = azure.sim.world().counts;
    assert_eq!((counts.throttled, counts.arm_reads), (1, 252));
}

#[tokio::test(start_paused = true)]
async fn a_denied_action_is_forbidden_to_that_principal_only() {
    let azure = Azure::new();
    azure.sim.world().arm.denials = vec![Denial {
        principal: Some("someone else".to_owned()),
        action_part: "labs/read".to_owned(),
        scope_part: String::new(),
    }];
    assert_eq!(azure.get(&Azure::lab_path()).await.status, 200);
    azure.sim.world().arm.denials[0].principal = None;
    let answer = azure.get(&Azure::lab_path()).await;
    assert_eq!((answer.status, answer.code()), (403, "AuthorizationFailed"));
    let message = answer.body["error"]["message"].as_str().unwrap();
    assert!(message.contains("'Microsoft.DevTestLab/labs/read'"), "{message}");
    assert_eq!(azure.get(&format!("{}/customimages", Azure::lab_path())).await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn locks_refuse_deletion_or_every_change() {
    let azure = Azure::new();
    azure.put(&Azure::vm_path("golden"), azure.windows(&[])).await;
    azure.sim.world().add_lock(&Azure::group(), "keep", LockLevel::CanNotDelete);
    let delete = azure.delete(&Azure::vm_path("golden")).await;
    assert_eq!((delete.status, delete.code()), (409, "ScopeLocked"));
    assert_eq!(azure.put(&Azure::vm_path("other"), azure.windows(&[])).await.status, 201);
    azure.sim.world().add_lock(&Azure::group(), "keep", LockLevel::ReadOnly);
    let account = azure.sim.world().lab(&azure.lab).unwrap().storage_account_id.clone();
    assert_eq!(azure.post(&format!("{account}/listKeys")).await.code(), "ScopeLocked");
    assert_eq!(azure.put(&Azure::vm_path("third"), azure.windows(&[])).await.code(), "ScopeLocked");
    let lock = format!("{}/providers/Microsoft.Authorization/locks/keep", Azure::group());
    assert_eq!(azure.delete(&lock).await.status, 200);
    assert_eq!(azure.delete(&Azure::vm_path("golden")).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn the_correlation_id_of_the_caller_comes_back() {
    let azure = Azure::new();
    let url = format!("{BASE}{}?api-version=2018-09-15", Azure::lab_path());
    let request = http::Request::builder()
        .method(Method::GET)
        .uri(url)
        .header("authorization", format!("Bearer {}", azure.token))
        .header("x-ms-correlation-request-id", "11111111-2222-3333-4444-555555555555")
        .body(bytes::Bytes::new())
        .unwrap();
    let response = azure.sim.call(request).await.unwrap();
    assert_eq!(response.headers()["x-ms-correlation-request-id"], "11111111-2222-3333-4444-555555555555");
    assert!(response.headers().contains_key("x-ms-request-id"));
}
