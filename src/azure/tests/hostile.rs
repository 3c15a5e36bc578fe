//! Answers that Azure never gives, and a broken gateway or an impostor might.

use std::future::Future;

use azure_core::http::headers::Headers;
use hostile_bytes::{Attack, Grammar};

use super::*;
use crate::{
    azure::{AzureError, BlobAuthorization, ErrorKind, MarketplaceSku, OperationUrl, Progress},
    secret::Secret,
};

const VM: &str = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm";
const DISK: &str = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Compute/disks/d";
const ACCOUNT: &str = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/acct";
const DEPLOYMENTS: &str = "/subscriptions/S/resourcegroups/rg/providers/Microsoft.Resources/deployments";
const VERSIONS: &str = "GET /subscriptions/S/providers/Microsoft.Compute/locations/westus/publishers/P/artifacttypes/vmimage/offers/O/skus/K/versions";
const OPERATION: &str = "/subscriptions/S/providers/Microsoft.DevTestLab/locations/westus/operations/o";

/// What the client says of an answer with this body; an error must say what was tried, and why it failed.
fn answered<T, F: Future<Output = Result<T, AzureError>>>(
    call: &str,
    status: u16,
    bytes: &[u8],
    ask: impl FnOnce(Azure) -> F,
) -> Result<T, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let (azure, script) = azure();
        script.on(call, Reply::bytes(status, bytes));
        ask(azure).await.map_err(|error| {
            let AzureError { code, message, attempted, .. } = &error;
            assert!(!code.is_empty() && !message.is_empty() && !attempted.is_empty(), "{error:?}");
            assert!(message.chars().count() <= 2001, "{} characters", message.len());
            error.to_string()
        })
    })
}

fn attack(name: &'static str, samples: impl IntoIterator<Item = Value>) -> Attack {
    // A client with its pipeline is made for every input.
    let samples = samples.into_iter().map(|sample| sample.to_string());
    Attack::on(name, Grammar::Json).samples(samples).memory(4 << 20, 1024)
}

#[test]
fn no_answer_breaks_the_clients_of_labs() {
    let body = json!({"id": LAB, "name": "Web", "location": "westus", "properties": {
        "defaultStorageAccount": ACCOUNT, "vmCreationResourceGroup": "/subscriptions/S/resourceGroups/vms"}});
    attack("labs", [body]).run(|bytes| {
        let found = answered(&format!("GET {LAB}"), 200, bytes, async |azure| {
            azure.find_lab("S", Some("rg"), "Web").await
        });
        let page = [b"{\"value\":[", bytes, b"]}"].concat();
        let call = "GET /subscriptions/S/providers/Microsoft.DevTestLab/labs";
        let listed = answered(call, 200, &page, async |azure| azure.find_lab("S", None, "Web").await);
        found.and(listed).map(drop)
    });
}

#[test]
fn no_answer_breaks_the_clients_of_lab_vms_images_and_formulas() {
    let vm = json!({"name": "vm", "tags": {"ImagePath": "Win2016\\Datacenter.json"}, "properties": {
        "computeId": VM, "osType": "windows", "provisioningState": "Succeeded", "allowClaim": false,
        "createdDate": "2024-08-28T09:37:50.2853801+00:00",
        "artifactDeploymentStatus": {"deploymentStatus": "Failed", "artifactsApplied": 1, "totalArtifacts": 2},
        "artifacts": [{"artifactId": "/a", "status": "Failed", "vmExtensionStatusMessage": "https://x/y?sig=SECRET wrong"}]}});
    let image = json!({"name": "x", "properties": {"description": "d", "provisioningState": "Failed",
        "creationDate": "2024-09-09T08:00:00", "managedImageId": "/m", "vhd": {"imageName": "https://a/v.vhd", "osType": "Linux"},
        "vm": {"windowsOsInfo": {"windowsOsState": "SysprepApplied"}}}});
    let formula = json!({"name": "f", "properties": {"formulaContent": {"properties": {"customImageId": "/customimages/w"}}}});
    attack("lab resources", [vm, image, formula]).run(|bytes| {
        let page = [b"{\"value\":[", bytes, b"]}"].concat();
        let on = |kind: &str| format!("GET {LAB}/{kind}");
        answered(&on("virtualmachines/vm"), 200, bytes, async |azure| azure.lab_vm(&lab(), "vm").await)?;
        answered(&on("virtualmachines"), 200, &page, async |azure| azure.lab_vms(&lab()).await)?;
        answered(&on("customimages/x"), 200, bytes, async |azure| azure.custom_image(&lab(), "x").await)?;
        answered(&on("customimages"), 200, &page, async |azure| azure.custom_images(&lab(), None).await)?;
        let formulas = answered(&on("formulas"), 200, &page, async |azure| azure.formulas(&lab()).await)?;
        let used =
            formulas.iter().filter(|formula| formula.uses_custom_image(&format!("{LAB}/customimages/w")));
        assert!(used.count() <= formulas.len());
        Ok(())
    });
}

#[test]
fn no_answer_breaks_the_client_of_the_marketplace() {
    let version =
        json!({"name": "20348.1006.251014", "location": "westus", "id": "/Subscriptions/S/Versions/1.0.0"});
    let sku = MarketplaceSku { publisher: "P".to_owned(), offer: "O".to_owned(), sku: "K".to_owned() };
    attack("versions", [version]).run(|bytes| {
        let newest = |bytes: &[u8]| {
            answered(VERSIONS, 200, bytes, async |azure| azure.newest_version("S", "westus", &sku).await)
        };
        // No list: only that it does not break.
        let _ = newest(bytes);
        newest(&[b"[", bytes, b"]"].concat()).map(drop)
    });
}

#[test]
fn no_answer_breaks_the_clients_of_what_is_behind_a_lab() {
    let vm = json!({"id": VM, "properties": {"provisioningState": "Succeeded",
        "instanceView": {"statuses": [{"code": "PowerState/deallocated"}]},
        "storageProfile": {"osDisk": {"osType": "Linux", "managedDisk": {"id": DISK}}, "dataDisks": [{}],
            "imageReference": {"publisher": "P", "offer": "O", "sku": "K", "version": "latest", "exactVersion": "1.0.0"}}}});
    let disk = json!({"id": DISK, "properties": {"diskState": "ActiveSAS", "diskSizeBytes": 136365211648_u64, "osType": "Windows"}});
    let account = json!({"name": "acct", "location": "westus", "properties": {
        "primaryEndpoints": {"blob": "https://acct.blob.core.windows.net/"}, "allowSharedKeyAccess": true}});
    let keys = json!({"keys": [{"keyName": "key1", "value": "ZnVsbA==", "permissions": "FULL"}]});
    let deployment = json!({"name": "d", "properties": {"provisioningState": "Failed", "correlationId": "c",
        "timestamp": "2026-11-22T13:00:00.123Z", "error": {"code": "DeploymentFailed", "details": [{"code": "Q", "message": "m"}]}}});
    attack("resources", [vm, disk, account, keys, deployment]).run(|bytes| {
        let page = [b"{\"value\":[", bytes, b"]}"].concat();
        let get = |id: &str| format!("GET {id}");
        // Not all of them can use an answer that says nothing of theirs.
        let _ = answered(&get(ACCOUNT), 200, bytes, async |azure| azure.storage_account(ACCOUNT).await);
        let keys = format!("POST {ACCOUNT}/listKeys");
        let _ = answered(&keys, 200, bytes, async |azure| azure.storage_key(ACCOUNT).await);
        answered(&get(VM), 200, bytes, async |azure| azure.compute_vm(VM).await)?;
        answered(&get(DISK), 200, bytes, async |azure| azure.disk(DISK).await)?;
        let one = format!("{DEPLOYMENTS}/d");
        answered(&get(&one), 200, bytes, async |azure| azure.deployment("S", "rg", "d").await)?;
        answered(&get(DEPLOYMENTS), 200, &page, async |azure| azure.deployments("S", "rg").await).map(drop)
    });
}

#[test]
fn no_answer_breaks_the_watcher_of_operations() {
    let samples = [
        json!({"status": "Running", "percentComplete": 1}),
        json!({"status": "Succeeded", "properties": {"output": {"accessSAS": "https://x?sig=SECRET"}}}),
        json!({"status": "Failed", "error": {"code": "InvalidVhd", "message": "bad", "details": [{"code": "x"}]}}),
        json!({"properties": {"provisioningState": "Succeeded"}}),
    ];
    attack("operations", samples).run(|bytes| {
        let url = format!("{ARM}{OPERATION}?api-version=1&s=s");
        let on = format!("GET {OPERATION}");
        let checked = |operation: OperationUrl| {
            let progress = answered(&on, 200, bytes, async |azure| azure.check(&operation).await);
            if let Ok(Progress::Succeeded(body)) = &progress {
                // Wherever it stands, a SAS is masked.
                assert!(!body.to_string().contains("accessSAS\":\"https"), "{body}");
            }
            progress.map(drop)
        };
        let monitored = checked(OperationUrl::monitor(url.clone()));
        checked(OperationUrl::location(url.clone())).and(monitored)
    });
}

#[test]
fn no_error_breaks_the_reader_of_errors() {
    let samples = [
        json!({"error": {"code": "Conflict", "message": "another operation", "details": [{"code": "Inner", "message": "{\"error\":{\"code\":\"Deep\"}}"}]}}).to_string(),
        json!({"Code": "BadRequest", "Message": "m"}).to_string(),
        json!("{\"error\":{\"code\":\"X\",\"message\":\"Y\"}}").to_string(),
        json!({"error": "invalid_client", "error_description": "AADSTS7000215: no"}).to_string(),
    ];
    let markup = [
        "\u{feff}<?xml version=\"1.0\"?><Error><Code>BlobNotFound</Code><Message>not there &amp; gone\nRequestId:1</Message></Error>",
        "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
    ];
    let clock = Clock::virtual_from(datetime!(2026-11-22 13:00 UTC));
    let read = |bytes: &[u8]| {
        for status in [400, 404, 409, 429, 503] {
            let error = AzureError::from_answer("GET x", status, &Headers::new(), bytes, &clock);
            assert!(!error.code.is_empty() && !error.message.is_empty(), "{error:?}");
            assert!(error.message.chars().count() <= 2001, "{} characters", error.message.len());
            assert_eq!(matches!(error.kind, ErrorKind::NotFound), status == 404);
        }
        Ok(())
    };
    Attack::on("errors", Grammar::Json).samples(samples).words(["\\\"error\\\":", "\"details\":["]).run(read);
    Attack::on("errors in markup", Grammar::Xml)
        .samples(markup)
        .words(["<Code>", "<Message>", "<title>"])
        .run(read);
}

#[test]
fn no_list_of_blobs_breaks_its_reader() {
    let page = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"https://x/\" \
        ContainerName=\"vhds\"><Prefix>runs/</Prefix><Blobs><Blob><Name>runs/a &amp; b.json</Name><Properties>\
        <Last-Modified>Sun, 22 Nov 2026 12:00:00 GMT</Last-Modified><Etag>0x1</Etag><Content-Length>42</Content-Length>\
        <BlobType>BlockBlob</BlobType></Properties><Metadata><Run>r1</Run></Metadata></Blob><Blob><Name>runs/c</Name>\
        <Properties><Etag>0x2</Etag></Properties><Metadata /></Blob></Blobs><NextMarker></NextMarker></EnumerationResults>";
    let attack = Attack::on("lists of blobs", Grammar::Xml)
        .sample(page)
        .words([
            "<Blob>",
            "</Blob>",
            "<Name>",
            "<Metadata>",
            "<NextMarker>m</NextMarker>",
            "<Name Encoded=\"true\">%2</Name>",
        ])
        .memory(4 << 20, 1024);
    let endpoint = Url::parse("https://acct.blob.core.windows.net/").unwrap();
    attack.run(|bytes| {
        answered("GET /vhds", 200, bytes, async |azure| {
            let key = Secret::new("a2V5".to_owned());
            let authorization = BlobAuthorization::SharedKey { account: "acct".to_owned(), key };
            // One page: a list that never ends is refused by whoever asks for all of it.
            azure.container(&endpoint, "vhds", authorization)?.pages("runs/").next().await
        })
        .map(drop)
    });
}
