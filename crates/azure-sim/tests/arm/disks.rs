use azure_sim::control;
use http::Method;
use serde_json::{Value, json};

use crate::azure::{Answer, Azure};

/// A VM that was generalised, and its disk.
async fn captured(azure: &Azure) -> (String, String) {
    azure.put(&Azure::vm_path("golden"), azure.windows(&["windows-sysprep"])).await;
    azure.wait(1000).await;
    let compute = azure.compute_id("golden").await;
    let disk = azure.disk_id(&compute).await;
    (compute, disk)
}

async fn grant(azure: &Azure, disk: &str) -> Answer {
    let body = json!({"access": "Read", "durationInSeconds": 36000});
    azure.call(Method::POST, &format!("{disk}/beginGetAccess"), Some(body)).await
}

async fn state(azure: &Azure, disk: &str) -> Value {
    azure.get(disk).await.body["properties"]["diskState"].clone()
}

#[tokio::test(start_paused = true)]
async fn access_is_granted_later_and_blocks_start_and_deletion_until_it_is_revoked() {
    let azure = Azure::new();
    let (compute, disk) = captured(&azure).await;
    assert_eq!(state(&azure, &disk).await, "Reserved");
    let granted = grant(&azure, &disk).await;
    assert_eq!((granted.status, granted.header("retry-after")), (202, Some("3")));
    let location = granted.header("location").unwrap().to_owned();
    let status = granted.header("azure-asyncoperation").unwrap().to_owned();
    assert_eq!(azure.follow(&location).await.status, 202);
    assert_eq!(grant(&azure, &disk).await.code(), "AnotherOperationInProgress");
    azure.wait(10).await;
    let done = azure.follow(&location).await;
    let sas = done.body["accessSAS"].as_str().unwrap().to_owned();
    assert!(sas.contains(".blob.storage.azure.net/") && sas.contains("sig="), "{sas}");
    assert_eq!(azure.follow(&status).await.body["properties"]["output"]["accessSAS"], sas);

    assert_eq!(state(&azure, &disk).await, "ActiveSAS");
    assert_eq!(control::state(&azure.sim).disks_with_sas().count(), 1);
    assert_eq!(grant(&azure, &disk).await.status, 409);
    for (method, path) in [
        (Method::DELETE, Azure::vm_path("golden")),
        (Method::POST, format!("{}/start", Azure::vm_path("golden"))),
        (Method::POST, format!("{compute}/start")),
    ] {
        let answer = azure.call(method, &path, None).await;
        assert_eq!(answer.status, 409, "{path}");
        let message = answer.body["error"]["message"].as_str().unwrap();
        assert!(message.contains("active shared access signature outstanding for disk"), "{message}");
    }
    let revoked = azure.post(&format!("{disk}/endGetAccess")).await;
    assert_eq!(revoked.status, 202);
    azure.wait(11).await;
    assert_eq!(azure.follow(revoked.header("location").unwrap()).await.status, 204);
    assert_eq!(state(&azure, &disk).await, "Reserved");
    assert_eq!(azure.post(&format!("{disk}/endGetAccess")).await.status, 200, "nothing is out any more");
    assert_eq!(azure.delete(&Azure::vm_path("golden")).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_sas_runs_out_by_itself() {
    let azure = Azure::new();
    let (_, disk) = captured(&azure).await;
    grant(&azure, &disk).await;
    azure.wait(36_005).await;
    assert_eq!(state(&azure, &disk).await, "ActiveSAS");
    azure.wait(10).await;
    assert_eq!(state(&azure, &disk).await, "Reserved");
}

#[tokio::test(start_paused = true)]
async fn a_running_vms_disk_is_not_exported() {
    let azure = Azure::new();
    azure.put(&Azure::vm_path("golden"), azure.windows(&[])).await;
    azure.wait(700).await;
    let compute = azure.compute_id("golden").await;
    let disk = azure.disk_id(&compute).await;
    assert_eq!(state(&azure, &disk).await, "Attached");
    assert_eq!(grant(&azure, &disk).await.status, 409);
    assert_eq!(azure.post(&format!("{compute}/generalize")).await.status, 409);
    assert_eq!(azure.post(&format!("{compute}/deallocate")).await.status, 202);
    azure.wait(41).await;
    assert_eq!(grant(&azure, &disk).await.status, 202);
    let wrong = json!({"access": "Read", "durationInSeconds": 6_000_000});
    let wrong = azure.call(Method::POST, &format!("{disk}/beginGetAccess"), Some(wrong)).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test(start_paused = true)]
async fn the_exported_disk_is_a_vhd_that_can_be_read_until_it_is_revoked() {
    let azure = Azure::new();
    let (_, disk) = captured(&azure).await;
    let granted = grant(&azure, &disk).await;
    azure.wait(11).await;
    let sas = azure.follow(granted.header("location").unwrap()).await.body["accessSAS"].clone();
    let head = || {
        let mut request = http::Request::new(bytes::Bytes::new());
        *request.method_mut() = Method::HEAD;
        *request.uri_mut() = sas.as_str().unwrap().parse().unwrap();
        azure.sim.call(request)
    };
    let answer = head().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-length"], ((127u64 << 30) + 512).to_string());
    azure.post(&format!("{disk}/endGetAccess")).await;
    azure.wait(11).await;
    assert!(head().await.unwrap().status().is_client_error());
}
