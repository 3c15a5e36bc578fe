//! Operations that outlast their call, and disks' SAS.

use std::time::Duration;

use serde_json::{Value, json};

use super::{ARM, LAB, Reply, azure, lab};
use crate::azure::{
    CustomImageSpec, DiskAccess, DiskAccessProgress, ErrorKind, OperationUrl, Progress, Started,
};
use crate::domain::OsType;

const OPERATION: &str =
    "/subscriptions/S/providers/Microsoft.DevTestLab/locations/westus/operations/20261122-abc";

/// Signed, long, and of another version than the call's.
fn operation_url() -> String {
    format!("{ARM}{OPERATION}?api-version=2018-10-15-preview&t=1&c={}&s=s%2Bs&h=h", "MII".repeat(1000))
}

fn spec() -> CustomImageSpec {
    CustomImageSpec {
        vhd_url: "https://acct.blob.core.windows.net/vhds/x.vhd".to_owned(),
        os_type: OsType::Windows,
        author: "Image Factory".to_owned(),
        description: "d".to_owned(),
        tags: [("ImagePath".to_owned(), "a/b.json".to_owned())].into(),
        sys_prep: true,
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_url_survives_a_message_and_is_followed_verbatim_once_per_check() {
    let (azure, script) = azure();
    let creating = json!({"properties": {"provisioningState": "Creating"}});
    let reply = Reply::json(201, creating).with("azure-asyncoperation", &operation_url());
    script.on(&format!("PUT {LAB}/customimages/x"), reply);
    let started = azure.put_custom_image(&lab(), "x", &spec()).await.unwrap();
    let Started::Running { operation: Some(operation), retry_after: None } = started else {
        panic!("{started:?}")
    };
    let sent = script.last().json();
    assert_eq!(sent["properties"]["vhd"]["imageName"], "https://acct.blob.core.windows.net/vhds/x.vhd");
    assert_eq!(
        (&sent["properties"]["vhd"]["osType"], &sent["properties"]["vhd"]["sysPrep"]),
        (&json!("Windows"), &json!(true))
    );
    assert_eq!(sent["tags"]["ImagePath"], "a/b.json");

    let message = serde_json::to_string(&operation).unwrap();
    let operation: OperationUrl = serde_json::from_str(&message).unwrap();
    assert!(operation.is_monitor());
    assert_eq!(format!("{operation:?}"), "Monitor(…/20261122-abc)", "the signature stays out of logs");

    script.on(&format!("GET {OPERATION}"), Reply::json(200, json!({"status": "Running"})));
    script.on(&format!("GET {OPERATION}"), Reply::json(200, json!({"status": "Succeeded"})));
    let before = script.seen().len();
    assert_eq!(azure.check(&operation).await.unwrap(), Progress::Running { retry_after: None });
    assert_eq!(script.seen().len(), before + 1);
    assert_eq!(script.last().url.as_str(), operation_url());
    assert!(matches!(azure.check(&operation).await.unwrap(), Progress::Succeeded(_)));
}

#[tokio::test(start_paused = true)]
async fn a_failed_operation_answers_200_and_is_a_failure_all_the_same() {
    let (azure, script) = azure();
    let error = json!({"code": "InvalidVhd", "message": "The VHD is bad"});
    let failed = Reply::json(200, json!({"status": "Failed", "error": error}));
    script.on(&format!("GET {OPERATION}"), failed.with("x-ms-correlation-request-id", "c-9"));
    script.on(&format!("GET {OPERATION}"), Reply::json(200, json!({"status": "Canceled"})));
    script.on(&format!("GET {OPERATION}"), Reply::json(429, json!({})).with("retry-after", "11"));
    script.on(&format!("GET {OPERATION}"), Reply::json(404, json!({})));
    let operation = OperationUrl::monitor(operation_url());
    let Progress::Failed(error) = azure.check(&operation).await.unwrap() else { panic!() };
    assert_eq!((error.code.as_str(), error.kind.clone()), ("InvalidVhd", ErrorKind::Permanent));
    assert_eq!(
        error.to_string(),
        "GET operation 20261122-abc: InvalidVhd: The VHD is bad (correlation id c-9)"
    );
    let Progress::Failed(error) = azure.check(&operation).await.unwrap() else { panic!() };
    assert_eq!(error.code, "OperationCanceled");
    let error = azure.check(&operation).await.unwrap_err();
    assert_eq!(
        error.retry_after(),
        Some(Duration::from_secs(11)),
        "throttled asking says nothing of the operation"
    );
    assert_eq!(azure.check(&operation).await.unwrap(), Progress::Gone);
}

#[tokio::test(start_paused = true)]
async fn a_location_is_202_while_it_runs_and_then_the_result() {
    let (azure, script) = azure();
    let path = "/subscriptions/S/operationresults/1";
    script.on(
        &format!("DELETE {LAB}/virtualmachines/vm"),
        Reply::empty(202).with("location", &format!("{ARM}{path}?m=true")).with("retry-after", "15"),
    );
    let started = azure.delete_lab_vm(&lab(), "vm").await.unwrap();
    let Started::Running { operation: Some(operation), retry_after: Some(wait) } = started else {
        panic!("{started:?}")
    };
    assert_eq!((wait, operation.is_monitor()), (Duration::from_secs(15), false));
    script.on(&format!("GET {path}"), Reply::empty(202).with("retry-after", "Sun, 22 Nov 2026 13:00:30 GMT"));
    script.on(&format!("GET {path}"), Reply::empty(204));
    script.on(
        &format!("GET {path}"),
        Reply::json(409, json!({"error": {"code": "Conflict", "message": "SAS outstanding"}})),
    );
    script.on(
        &format!("GET {path}"),
        Reply::json(403, json!({"error": {"code": "AuthorizationFailed", "message": "no"}})),
    );
    assert_eq!(
        azure.check(&operation).await.unwrap(),
        Progress::Running { retry_after: Some(Duration::from_secs(30)) }
    );
    assert_eq!(azure.check(&operation).await.unwrap(), Progress::Succeeded(Value::Null));
    assert!(
        matches!(azure.check(&operation).await.unwrap(), Progress::Failed(error) if error.code == "Conflict")
    );
    assert_eq!(azure.check(&operation).await.unwrap_err().code, "AuthorizationFailed");
}

#[tokio::test(start_paused = true)]
async fn azure_asyncoperation_counts_before_location() {
    let (azure, script) = azure();
    let reply = Reply::empty(202)
        .with("location", &format!("{ARM}/l"))
        .with("azure-asyncoperation", &format!("{ARM}/m"));
    script.on(&format!("DELETE {LAB}/customimages/x"), reply);
    let started = azure.delete_custom_image(&lab(), "x").await.unwrap();
    let expected = OperationUrl::monitor(format!("{ARM}/m"));
    assert_eq!(started, Started::Running { operation: Some(expected), retry_after: None });
}

#[tokio::test(start_paused = true)]
async fn what_is_already_so_is_done() {
    let (azure, script) = azure();
    script.on(&format!("DELETE {LAB}/customimages/x"), Reply::empty(204));
    assert_eq!(azure.delete_custom_image(&lab(), "x").await.unwrap(), Started::Done);
    assert_eq!(azure.delete_lab_vm(&lab(), "vm").await.unwrap(), Started::Done, "404");
    let there = json!({"properties": {"provisioningState": "Succeeded"}});
    script.on(&format!("PUT {LAB}/customimages/x"), Reply::json(200, there));
    assert_eq!(azure.put_custom_image(&lab(), "x", &spec()).await.unwrap(), Started::Done);
    script.on(
        &format!("PUT {LAB}/customimages/y"),
        Reply::json(404, json!({"error": {"code": "ParentResourceNotFound"}})),
    );
    assert!(azure.put_custom_image(&lab(), "y", &spec()).await.unwrap_err().is_not_found());
}

#[tokio::test(start_paused = true)]
async fn a_page_of_a_gateway_is_no_success() {
    for (body, operation) in [
        ("<html>welcome</html>", OperationUrl::monitor(operation_url())),
        ("{}", OperationUrl::monitor(operation_url())),
        ("<html>welcome</html>", OperationUrl::location(operation_url())),
    ] {
        let (azure, script) = azure();
        script.on(&format!("GET {OPERATION}"), Reply::bytes(200, body));
        let error = azure.check(&operation).await.unwrap_err();
        assert!(error.is_transient() && error.code == "UnexpectedAnswer", "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_operation_elsewhere_is_not_asked_about() {
    let (azure, script) = azure();
    for url in [
        "https://evil.example/x",
        "http://management.azure.com/x",
        "https://management.azure.com:444/x",
        "https://management.azure.com@evil.example/x",
        "https://me:pw@management.azure.com/x",
        "file:///etc/passwd",
        "not a url",
    ] {
        let error = azure.check(&OperationUrl::monitor(url)).await.unwrap_err();
        assert_eq!((error.code.as_str(), &error.kind), ("ForeignUrl", &ErrorKind::Permanent), "{url}");
    }
    assert!(script.seen().is_empty() && script.credential.scopes.lock().unwrap().is_empty());
}

const DISK: &str = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.Compute/disks/os";
const SAS: &str = "https://md-x.z10.blob.storage.azure.net/abc/abcd?sv=1&sig=SECRET";

#[tokio::test(start_paused = true)]
async fn a_disks_sas_comes_at_once_or_later_and_is_never_shown() {
    let (azure, script) = azure();
    let begin = format!("POST {DISK}/beginGetAccess");
    script.on(&begin, Reply::json(200, json!({ "accessSAS": SAS })));
    script.on(&begin, Reply::empty(202).with("location", &format!("{ARM}/op/1")).with("retry-after", "5"));
    let granted = azure.begin_disk_access(DISK, Duration::from_secs(36_000)).await.unwrap();
    assert_eq!(script.last().json(), json!({"access": "Read", "durationInSeconds": 36000}));
    assert!(!format!("{granted:?}").contains("SECRET"));
    assert!(matches!(granted, DiskAccess::Granted(sas) if sas.expose() == SAS));
    let pending = azure.begin_disk_access(DISK, Duration::from_secs(1)).await.unwrap();
    let DiskAccess::Pending { operation, retry_after } = pending else { panic!() };
    assert_eq!(retry_after, Some(Duration::from_secs(5)));

    script.on("GET /op/1", Reply::empty(202));
    assert!(matches!(azure.disk_access(&operation).await.unwrap(), DiskAccessProgress::Running));
    for body in [
        json!({ "accessSAS": SAS }),
        json!({"status": "Succeeded", "properties": {"output": {"accessSAS": SAS}}}),
    ] {
        let (azure, script) = super::azure();
        script.on("GET /op/1", Reply::json(200, body));
        let progress = azure.disk_access(&operation).await.unwrap();
        assert!(!format!("{progress:?}").contains("SECRET"));
        assert!(matches!(progress, DiskAccessProgress::Granted(sas) if sas.expose() == SAS));
        let general = format!("{:?}", azure.check(&operation).await.unwrap());
        assert!(!general.contains("SECRET") && general.contains("Succeeded"), "{general}");
    }
}

#[tokio::test(start_paused = true)]
async fn giving_a_sas_back_twice_or_for_a_lost_disk_is_done() {
    let (azure, script) = azure();
    assert_eq!(azure.end_disk_access(DISK).await.unwrap(), Started::Done, "404");
    script.on(&format!("POST {DISK}/endGetAccess"), Reply::empty(200));
    assert_eq!(azure.end_disk_access(DISK).await.unwrap(), Started::Done);
    script.on(
        &format!("GET {DISK}"),
        Reply::json(200, json!({"properties": {"diskState": "ActiveSAS", "diskSizeGB": 2}})),
    );
    let disk = azure.disk(DISK).await.unwrap().unwrap();
    assert_eq!((disk.state.as_str(), disk.size_bytes, disk.id.as_str()), ("ActiveSAS", Some(2 << 30), DISK));
}
