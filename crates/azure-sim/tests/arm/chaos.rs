//! Every kind of chance that Resource Manager meets.

use std::collections::BTreeSet;

use azure_sim::{
    Request, Sim,
    chaos::{Chance, Chances, Struck},
    control::{self, FaultsSpec},
    identity,
};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::{
    azure::{Answer, Azure, BASE},
    custom_images::{MIB, image, vhd},
};

const DAY: u64 = 24 * 3600;

fn take(azure: &Azure, seed: u64, rates: &[(Chance, f64)]) {
    azure.sim.world().chances = Chances { seed, rates: rates.iter().copied().collect(), until: None };
}

fn always(azure: &Azure, seed: u64, chance: Chance) {
    take(azure, seed, &[(chance, 1.0)]);
}

fn struck(azure: &Azure) -> Vec<Struck> {
    azure.sim.world().struck.clone()
}

/// How often something struck, all of this kind.
fn strikes(azure: &Azure, chance: Chance) -> usize {
    let struck = struck(azure);
    assert!(struck.iter().all(|one| one.chance == chance), "{struck:?}");
    struck.len()
}

fn request(azure: &Azure, method: Method, path: &str, body: Option<Value>) -> Request {
    http::Request::builder()
        .method(method)
        .uri(format!("{BASE}{path}?api-version=2018-09-15"))
        .header("authorization", format!("Bearer {}", azure.token))
        .body(Bytes::from(body.map(|body| body.to_string()).unwrap_or_default()))
        .unwrap()
}

/// Lets days pass, and takes a new token.
async fn days(azure: &mut Azure, days: u64) {
    azure.wait(days * DAY).await;
    let world = azure.sim.world();
    let day = std::time::Duration::from_secs(DAY);
    let token = identity::issue(&world, &world.identity.managed_identity, identity::RESOURCE_MANAGER, day);
    drop(world);
    azure.token = token;
}

async fn state(azure: &Azure, path: &str) -> Value {
    azure.get(path).await.body["properties"]["provisioningState"].clone()
}

async fn status(azure: &Azure, accepted: &Answer) -> Value {
    let url = accepted.header("azure-asyncoperation").unwrap();
    azure.follow(url).await.body["status"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_throttled_request_is_told_when_to_come_back_unless_it_is_not() {
    for (chance, says_when) in [(Chance::Throttled, true), (Chance::ThrottledSilently, false)] {
        let azure = Azure::new();
        always(&azure, 1, chance);
        let mut codes = BTreeSet::new();
        for _ in 0..40 {
            let answer = azure.put(&Azure::vm_path("vm"), azure.windows(&[])).await;
            assert_eq!(answer.status, 429);
            codes.insert(answer.code().to_owned());
            let wait: Option<u64> = answer.header("retry-after").map(|text| text.parse().unwrap());
            assert_eq!(wait.is_some(), says_when);
            assert!(wait.is_none_or(|seconds| (1..=60).contains(&seconds)), "{wait:?}");
            assert!(answer.header("x-ms-request-id").is_some());
        }
        assert!(codes.contains("TooManyRequests"), "{codes:?}");
        assert_eq!(codes.contains("SubscriptionRequestsThrottled"), says_when, "{codes:?}");
        assert_eq!(azure.sim.world().counts.throttled, 40);
        assert_eq!(strikes(&azure, chance), 40);
        let subject = format!("PUT {BASE}{}", Azure::vm_path("vm"));
        assert_eq!(struck(&azure)[0].subject, subject, "without query");
        take(&azure, 1, &[]);
        assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 404, "nothing had an effect");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_error_comes_in_every_envelope() {
    let azure = Azure::new();
    always(&azure, 1, Chance::ServerError);
    let (mut statuses, mut envelopes) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..100 {
        let put = request(&azure, Method::PUT, &Azure::vm_path("vm"), Some(azure.windows(&[])));
        let answer = azure.sim.call(put).await.unwrap();
        statuses.insert(answer.status().as_u16());
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap();
        envelopes.insert(match serde_json::from_str::<Value>(&text) {
            Err(_) => {
                assert!(kind == "text/html" && text.starts_with("<html>"), "{kind} {text}");
                "html"
            }
            Ok(Value::String(inner)) => {
                assert!(serde_json::from_str::<Value>(&inner).unwrap()["error"]["code"].is_string());
                "text"
            }
            Ok(body) if body["error"]["code"].is_string() => "nested",
            Ok(body) => {
                assert!(body["code"].is_string() && body["message"].is_string(), "{body}");
                "bare"
            }
        });
    }
    assert_eq!(statuses, BTreeSet::from([500, 502, 503, 504]));
    assert_eq!(envelopes, BTreeSet::from(["html", "text", "nested", "bare"]));
    let head = request(&azure, Method::HEAD, &Azure::deployment_path("d"), None);
    assert!(azure.sim.call(head).await.unwrap().body().is_empty());
    take(&azure, 1, &[]);
    assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 404, "nothing had an effect");
}

#[tokio::test(start_paused = true)]
async fn a_connection_breaks_before_or_after_the_effect() {
    for (chance, found) in [(Chance::ResetBefore, 404), (Chance::ResetAfter, 200)] {
        let azure = Azure::new();
        always(&azure, 1, chance);
        let put = request(&azure, Method::PUT, &Azure::vm_path("vm"), Some(azure.windows(&[])));
        assert!(azure.sim.call(put).await.is_err());
        assert_eq!(strikes(&azure, chance), 1);
        take(&azure, 1, &[]);
        assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, found, "{chance:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_are_handed_out_whatever_strikes() {
    let azure = Azure::new();
    take(&azure, 1, &Chance::ALL.map(|chance| (chance, 1.0)));
    let url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F";
    let get = http::Request::builder().uri(url).header("metadata", "true").body(Bytes::new()).unwrap();
    assert_eq!(azure.sim.call(get).await.unwrap().status(), 200);
    assert_eq!(struck(&azure), []);
}

#[tokio::test(start_paused = true)]
async fn slow_operations_take_two_to_six_times_as_long() {
    let azure = Azure::new();
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    always(&azure, 1, Chance::SlowOperation);
    azure.put(&Azure::vm_path("vm"), azure.windows(&["windows-sysprep"])).await;
    azure.put(&Azure::image_path("image"), image(&url)).await;
    azure.wait(30_000).await;
    azure.delete(&Azure::image_path("image")).await;
    let disk = azure.disk_id(&azure.compute_id("vm").await).await;
    let body = json!({"access": "Read", "durationInSeconds": 36000});
    azure.call(Method::POST, &format!("{disk}/beginGetAccess"), Some(body)).await;
    azure.wait(100).await;
    azure.post(&format!("{disk}/endGetAccess")).await;
    azure.wait(1000).await;
    azure.delete(&Azure::vm_path("vm")).await;
    azure.wait(1000).await;
    use azure_sim::work::WorkKind as W;
    // Artifacts and deallocation take their usual 300 s.
    for (kind, usual, besides) in [
        (W::VirtualMachine, 600.0, 300.0),
        (W::CustomImage, 180.0, 0.0),
        (W::CustomImageDeletion, 60.0, 0.0),
        (W::DiskAccess, 10.0, 0.0),
        (W::DiskAccessRevocation, 10.0, 0.0),
        (W::VirtualMachineDeletion, 120.0, 0.0),
    ] {
        let work = azure.sim.world().work.iter().find(|work| work.kind == kind).cloned().unwrap();
        let factor = (work.seconds() - besides) / usual;
        assert!(work.succeeded && (2.0..6.0).contains(&factor), "{kind:?}: {factor}");
    }
    assert_eq!(strikes(&azure, Chance::SlowOperation), 6);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_hangs_can_be_deleted_and_a_deletion_that_hangs_goes_on_when_asked_again() {
    let mut with_compute = BTreeSet::new();
    for seed in 0..8 {
        let mut azure = Azure::new();
        always(&azure, seed, Chance::StuckOperation);
        let put = azure.put(&Azure::vm_path("vm"), azure.windows(&["windows-sysprep"])).await;
        azure.wait(DAY - 60).await;
        assert_eq!(status(&azure, &put).await, "Running");
        days(&mut azure, 2).await;
        let body = azure.get(&Azure::vm_path("vm")).await.body;
        assert_eq!(body["properties"]["provisioningState"], "Creating");
        with_compute.insert(body["properties"]["computeId"].is_string());
        let deletion = azure.delete(&Azure::vm_path("vm")).await;
        assert_eq!(deletion.status, 202);
        azure.wait(10_000).await;
        assert_eq!(state(&azure, &Azure::vm_path("vm")).await, "Deleting");
        assert_eq!(azure.delete(&Azure::vm_path("vm")).await.status, 202);
        azure.wait(121).await;
        assert_eq!(status(&azure, &deletion).await, "Succeeded");
        assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 404);
        assert_eq!(strikes(&azure, Chance::StuckOperation), 2);
    }
    assert_eq!(with_compute.len(), 2, "some hang before their compute VM is made, some after");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_hangs_can_be_deleted() {
    let mut azure = Azure::new();
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    always(&azure, 1, Chance::StuckOperation);
    let put = azure.put(&Azure::image_path("image"), image(&url)).await;
    azure.wait(DAY - 60).await;
    assert_eq!(state(&azure, &Azure::image_path("image")).await, "Creating");
    assert_eq!(azure.delete(&Azure::image_path("image")).await.status, 202);
    assert_eq!(status(&azure, &put).await, "Canceled");
    days(&mut azure, 1).await;
    assert_eq!(azure.get(&Azure::image_path("image")).await.status, 200, "that hangs, too");
    azure.delete(&Azure::image_path("image")).await;
    azure.wait(61).await;
    assert_eq!(azure.get(&Azure::image_path("image")).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn access_to_a_disk_that_hangs_can_be_called_off() {
    let azure = Azure::new();
    azure.put(&Azure::vm_path("vm"), azure.windows(&["windows-sysprep"])).await;
    azure.wait(1000).await;
    let disk = azure.disk_id(&azure.compute_id("vm").await).await;
    let grant = async || {
        let body = json!({"access": "Read", "durationInSeconds": 36000});
        azure.call(Method::POST, &format!("{disk}/beginGetAccess"), Some(body)).await
    };
    let revoke = async || azure.post(&format!("{disk}/endGetAccess")).await;
    always(&azure, 1, Chance::StuckOperation);
    let granted = grant().await;
    azure.wait(10_000).await;
    assert_eq!(status(&azure, &granted).await, "InProgress");
    assert_eq!(grant().await.code(), "AnotherOperationInProgress");
    assert_eq!(revoke().await.status, 200);
    assert_eq!(status(&azure, &granted).await, "Canceled");
    take(&azure, 1, &[]);
    grant().await;
    azure.wait(11).await;
    always(&azure, 1, Chance::StuckOperation);
    let revoked = revoke().await;
    azure.wait(10_000).await;
    assert_eq!(status(&azure, &revoked).await, "InProgress");
    revoke().await;
    azure.wait(11).await;
    assert_eq!(status(&azure, &revoked).await, "Succeeded");
    assert_eq!(control::state(&azure.sim).disks_with_sas().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_deployment_that_hangs_can_be_cancelled_and_deleted() {
    let mut with_vm = BTreeSet::new();
    for seed in 0..8 {
        let mut azure = Azure::new();
        let path = Azure::deployment_path("d");
        always(&azure, seed, Chance::StuckOperation);
        let put = azure.put(&path, azure.template("vm", &[])).await;
        take(&azure, seed, &[]);
        days(&mut azure, 2).await;
        let state_now = status(&azure, &put).await;
        assert!(["Accepted", "Running"].iter().any(|state| state_now == *state), "{state_now}");
        with_vm.insert(azure.get(&Azure::vm_path("vm")).await.status == 200);
        assert_eq!(azure.delete(&path).await.status, 409);
        assert_eq!(azure.post(&format!("{path}/cancel")).await.status, 204);
        assert_eq!(status(&azure, &put).await, "Canceled");
        always(&azure, seed, Chance::StuckOperation);
        assert_eq!(azure.delete(&path).await.status, 202);
        azure.wait(1000).await;
        assert_eq!(state(&azure, &path).await, "Deleting");
        azure.delete(&path).await;
        azure.wait(11).await;
        assert_eq!(azure.get(&path).await.status, 404);
    }
    assert_eq!(with_vm.len(), 2, "some hang before their resources, some after");
}

#[tokio::test(start_paused = true)]
async fn an_operation_is_not_found_once_or_for_good_and_goes_on() {
    let mut times = BTreeSet::new();
    for seed in 0..8 {
        let azure = Azure::new();
        always(&azure, seed, Chance::MissingOperation);
        let put = azure.put(&Azure::vm_path("vm"), azure.windows(&[])).await;
        let url = put.header("azure-asyncoperation").unwrap();
        let mut missing = 0;
        for _ in 0..20 {
            let polled = azure.follow(url).await;
            missing += usize::from(polled.status == 404);
            assert!(polled.status == 200 || polled.code() == "OperationNotFound");
            azure.wait(60).await;
        }
        assert_eq!(state(&azure, &Azure::vm_path("vm")).await, "Succeeded");
        assert_eq!(strikes(&azure, Chance::MissingOperation), 1);
        times.insert(missing == 1);
        assert!(missing == 1 || missing >= 18, "{missing}");

        let deployed = azure.put(&Azure::deployment_path("d"), azure.template("other", &[])).await;
        let url = deployed.header("azure-asyncoperation").unwrap();
        let mut found = Vec::new();
        for _ in 0..3 {
            found.push(azure.follow(url).await.status);
        }
        assert!(found.contains(&404), "{found:?}");
    }
    assert_eq!(times.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_just_made_is_not_seen_for_a_while_but_can_be_written_and_deleted() {
    let azure = Azure::new();
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    always(&azure, 1, Chance::Invisible);
    let (vm, deployment) = (Azure::vm_path("vm"), Azure::deployment_path("d"));
    let deployed = azure.put(&deployment, azure.template("vm", &[])).await;
    let shown = azure.put(&Azure::image_path("image"), image(&url)).await;
    azure.wait(3).await;
    let lists = async |paths: &[&str]| {
        let mut names = Vec::new();
        for path in paths {
            let listed = azure.get(path).await.body;
            names.extend(listed["value"].as_array().unwrap().iter().map(|item| item["name"].clone()));
        }
        names
    };
    let machines = format!("{}/virtualmachines", Azure::lab_path());
    let images = format!("{}/customimages", Azure::lab_path());
    let deployments = format!("{}/providers/Microsoft.Resources/deployments", Azure::group());
    let collections = [machines.as_str(), images.as_str(), deployments.as_str()];
    for path in [&vm, &deployment, &Azure::image_path("image")] {
        assert_eq!(azure.get(path).await.status, 404, "{path}");
    }
    let head = azure.call(Method::HEAD, &deployment, None).await;
    assert_eq!(head.status, 404);
    assert_eq!(lists(&collections).await, Vec::<Value>::new());
    // Writers know better.
    assert_eq!(status(&azure, &deployed).await, "Running");
    assert_eq!(azure.put(&Azure::image_path("image"), image(&url)).await.status, 409);
    assert_eq!(shown.body["name"], "image");
    azure.wait(176).await;
    assert_eq!(lists(&collections).await, ["vm", "image", "d"]);

    // The VM began after 2 s, and its compute VM appears after 240 of 600 s.
    azure.wait(243 - 179).await;
    let compute = azure.compute_id("vm").await;
    assert_eq!(azure.get(&compute).await.status, 404);
    assert_eq!(azure.get(&format!("{compute}/instanceView")).await.status, 404);
    let group = compute.rsplit_once('/').unwrap().0.to_owned();
    assert_eq!(lists(&[&group]).await, Vec::<Value>::new());
    azure.wait(180).await;
    assert_eq!(azure.get(&compute).await.status, 200);
    // They vanish once more when they are finished.
    azure.wait(602 - 423).await;
    assert_eq!((azure.get(&vm).await.status, azure.get(&deployment).await.status), (404, 404));
    assert_eq!(azure.delete(&vm).await.status, 202);
    take(&azure, 1, &[]);
    azure.wait(181).await;
    assert_eq!((azure.get(&vm).await.status, azure.get(&deployment).await.status), (404, 200));
    assert_eq!(status(&azure, &deployed).await, "Succeeded");
    let subjects: Vec<String> = struck(&azure).into_iter().map(|one| one.subject).collect();
    assert_eq!(subjects.iter().filter(|subject| subject.eq_ignore_ascii_case(&vm)).count(), 2);
    assert!(subjects.contains(&compute) && subjects.contains(&deployment), "{subjects:?}");
}

#[tokio::test(start_paused = true)]
async fn a_vm_is_refused_for_quota_in_both_forms_and_then_granted() {
    let mut forms = BTreeSet::new();
    for seed in 0..8 {
        let azure = Azure::new();
        always(&azure, seed, Chance::QuotaRefused);
        let path = Azure::deployment_path("d");
        let put = azure.put(&path, azure.template("vm", &[])).await;
        if put.status == 400 {
            forms.insert("pre-flight");
            assert_eq!(put.code(), "InvalidTemplateDeployment");
            assert_eq!(put.body["error"]["details"][0]["code"], "QuotaExceeded");
        } else {
            forms.insert("later");
            azure.wait(1000).await;
            let text = azure.get(&path).await.body["properties"]["error"]["details"][0]["message"].clone();
            let inner: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
            let error = &inner["error"]["details"][0];
            assert_eq!(error["code"], "OperationNotAllowed");
            assert!(error["message"].as_str().unwrap().contains("Total Regional Cores quota"));
            assert_eq!(state(&azure, &Azure::vm_path("vm")).await, "Failed");
            azure.delete(&Azure::vm_path("vm")).await;
            azure.wait(121).await;
        }
        assert_eq!(strikes(&azure, Chance::QuotaRefused), 1);
        assert_eq!(azure.put(&path, azure.template("vm", &[])).await.status / 100, 2);
        azure.wait(1000).await;
        assert_eq!(state(&azure, &path).await, "Succeeded", "seed {seed}");
        assert_eq!(azure.put(&path, azure.template("vm", &[])).await.status, 200, "an update needs no cores");
        assert_eq!(strikes(&azure, Chance::QuotaRefused), 1);
    }
    assert_eq!(forms.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_is_put_is_refused_for_quota_when_its_operation_ends() {
    let mut codes = BTreeSet::new();
    for seed in 0..8 {
        let azure = Azure::new();
        always(&azure, seed, Chance::QuotaRefused);
        let put = azure.put(&Azure::vm_path("vm"), azure.windows(&[])).await;
        assert_eq!(put.status, 201);
        azure.wait(1000).await;
        let polled = azure.follow(put.header("azure-asyncoperation").unwrap()).await.body;
        assert_eq!(polled["status"], "Failed");
        codes.insert(polled["error"]["code"].as_str().unwrap().to_owned());
    }
    let expected = ["InvalidTemplateDeployment", "OperationNotAllowed"];
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn an_artifact_fails_or_never_ends() {
    let mut azure = Azure::new();
    let artifacts = async |azure: &Azure| {
        let expanded = format!("{}?$expand=Properties($expand=Artifacts)", Azure::vm_path("vm"));
        let body = azure.get(&expanded).await.body;
        let artifacts = body["properties"]["artifacts"].as_array().unwrap().clone();
        let statuses: Vec<Value> = artifacts.iter().map(|one| one["status"].clone()).collect();
        (statuses, artifacts[0]["deploymentStatusMessage"].as_str().unwrap().to_owned())
    };
    always(&azure, 1, Chance::ArtifactFails);
    azure.put(&Azure::vm_path("vm"), azure.windows(&["windows-git", "windows-sysprep"])).await;
    azure.wait(2000).await;
    let (statuses, message) = artifacts(&azure).await;
    assert_eq!(statuses, ["Failed", "Skipped"]);
    assert!(message.contains("CustomScriptExtension"), "{message}");
    assert_eq!(struck(&azure)[0].subject, Azure::vm_path("vm"));
    azure.delete(&Azure::vm_path("vm")).await;
    azure.wait(121).await;
    always(&azure, 1, Chance::ArtifactNeverEnds);
    azure.put(&Azure::vm_path("vm"), azure.windows(&["windows-git", "windows-sysprep"])).await;
    days(&mut azure, 3).await;
    assert_eq!(artifacts(&azure).await.0, ["Installing", "Pending"]);
    let kinds: Vec<Chance> = struck(&azure).into_iter().map(|one| one.chance).collect();
    assert_eq!(kinds, [Chance::ArtifactFails, Chance::ArtifactNeverEnds]);
    assert_eq!(azure.delete(&Azure::vm_path("vm")).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn somebody_deletes_a_vm_though_its_disk_is_being_read() {
    let azure = Azure::new();
    always(&azure, 3, Chance::VmGone);
    azure.put(&Azure::vm_path("vm"), azure.windows(&["windows-sysprep"])).await;
    azure.wait(1000).await;
    assert_eq!(struck(&azure), [], "this seed gives it some time");
    let disk = azure.disk_id(&azure.compute_id("vm").await).await;
    let body = json!({"access": "Read", "durationInSeconds": 360_000});
    azure.call(Method::POST, &format!("{disk}/beginGetAccess"), Some(body)).await;
    azure.wait(11).await;
    assert_eq!(azure.delete(&Azure::vm_path("vm")).await.status, 409);
    azure.wait(3 * 3600).await;
    assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 404);
    assert_eq!(azure.get(&disk).await.status, 404);
    assert_eq!(strikes(&azure, Chance::VmGone), 1);
    assert_eq!(struck(&azure)[0].subject, Azure::vm_path("vm"));
}

#[tokio::test(start_paused = true)]
async fn a_vm_that_goes_while_it_is_made_takes_its_deployment_with_it() {
    // Of these seeds some strike in the ten minutes.
    let mut failed = 0;
    for seed in 0..60 {
        let azure = Azure::new();
        always(&azure, seed, Chance::VmGone);
        azure.put(&Azure::deployment_path("d"), azure.template("vm", &[])).await;
        azure.wait(601).await;
        failed += usize::from(state(&azure, &Azure::deployment_path("d")).await == "Failed");
        azure.wait(3 * 3600).await;
        assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 404);
        assert_ne!(state(&azure, &Azure::deployment_path("d")).await, "Running");
    }
    assert!((1..30).contains(&failed), "{failed}");
}

#[tokio::test(start_paused = true)]
async fn somebody_deletes_an_image_and_not_its_successor() {
    let azure = Azure::new();
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    always(&azure, 1, Chance::ImageGone);
    azure.put(&Azure::image_path("image"), image(&url)).await;
    azure.wait(3 * 3600 + 61).await;
    assert_eq!(azure.get(&Azure::image_path("image")).await.status, 404);
    assert_eq!(strikes(&azure, Chance::ImageGone), 1);

    azure.put(&Azure::image_path("image"), image(&url)).await;
    azure.wait(181).await;
    azure.delete(&Azure::image_path("image")).await;
    azure.wait(61).await;
    take(&azure, 1, &[]);
    azure.put(&Azure::image_path("image"), image(&url)).await;
    azure.wait(4 * 3600).await;
    assert_eq!(state(&azure, &Azure::image_path("image")).await, "Succeeded");
    assert_eq!(struck(&azure).len(), 1, "what is not there any more cannot be taken away");
}

#[tokio::test(start_paused = true)]
async fn a_lab_goes_with_its_storage_account_or_without() {
    let mut with_account = BTreeSet::new();
    for seed in 0..8 {
        let azure = Azure::new();
        let account = azure.sim.world().lab(&azure.lab).unwrap().storage_account().to_owned();
        always(&azure, seed, Chance::LabGone);
        azure.wait(7 * 3600).await;
        assert_eq!(struck(&azure), [], "nobody asked for it");
        let put = azure.put(&Azure::deployment_path("d"), azure.template("vm", &[])).await;
        assert_eq!(put.status, 201);
        azure.wait(6 * 3600 + 60).await;
        assert_eq!(azure.get(&Azure::lab_path()).await.status, 404);
        assert_eq!(azure.get(&Azure::vm_path("vm")).await.code(), "ResourceNotFound");
        assert_eq!(
            azure.put(&Azure::vm_path("vm"), azure.windows(&[])).await.code(),
            "ParentResourceNotFound"
        );
        assert_ne!(state(&azure, &Azure::deployment_path("d")).await, "Running");
        assert_eq!(strikes(&azure, Chance::LabGone), 1);
        assert_eq!(struck(&azure)[0].subject, azure.lab);
        with_account.insert(azure.sim.world().storage.accounts.contains_key(&account));
    }
    assert_eq!(with_account.len(), 2);
}

/// Some requests in a fixed order, whatever they are answered, and all that struck.
async fn script(seed: u64, rates: &[(Chance, f64)]) -> Vec<Struck> {
    let azure = Azure::new();
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    take(&azure, seed, rates);
    let call = async |sim: &Sim, method: Method, path: &str, body: Option<Value>| {
        let _ = sim.call(request(&azure, method, path, body)).await;
    };
    for round in 0..20 {
        let vm = Azure::vm_path(&format!("vm{round}"));
        let sysprep = azure.windows(&["windows-git", "windows-sysprep"]);
        call(&azure.sim, Method::PUT, &vm, Some(sysprep)).await;
        let path = Azure::image_path(&format!("image{round}"));
        call(&azure.sim, Method::PUT, &path, Some(image(&url))).await;
        for _ in 0..5 {
            azure.wait(300).await;
            call(&azure.sim, Method::GET, &vm, None).await;
            call(&azure.sim, Method::GET, &path, None).await;
        }
        call(&azure.sim, Method::DELETE, &vm, None).await;
    }
    struck(&azure)
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_strikes_the_same_and_another_seed_others() {
    let rates = Chance::ALL.map(|chance| (chance, 0.1));
    let one = script(1, &rates).await;
    assert!(one.len() > 20, "{}", one.len());
    assert_eq!(script(1, &rates).await, one);
    assert_ne!(script(2, &rates).await, one);
    assert_eq!(script(1, &Chance::ALL.map(|chance| (chance, 0.0))).await, []);
    assert_eq!(script(1, &[]).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_kind_that_is_turned_off_leaves_the_strikes_of_the_others_where_they_were() {
    // These do not hinder one another in the script.
    let kinds = [Chance::Throttled, Chance::ThrottledSilently, Chance::ResetAfter, Chance::ServerError]
        .map(|k| (k, 0.1));
    let gone = [(Chance::SlowOperation, 0.3), (Chance::VmGone, 0.3)];
    let all: Vec<(Chance, f64)> = kinds.into_iter().chain(gone).collect();
    let one = script(5, &all).await;
    for (off, _) in gone {
        let rates: Vec<(Chance, f64)> = all.iter().copied().filter(|(kind, _)| *kind != off).collect();
        let others: Vec<Struck> = one.iter().filter(|one| one.chance != off).cloned().collect();
        assert!(others.len() < one.len(), "{off:?} struck");
        if off == Chance::VmGone {
            assert_eq!(script(5, &rates).await, others);
        } else {
            let rest = script(5, &rates).await;
            let on_requests = |list: &[Struck]| -> Vec<Struck> {
                list.iter().filter(|one| kinds.iter().any(|(kind, _)| *kind == one.chance)).cloned().collect()
            };
            assert_eq!(on_requests(&rest), on_requests(&others));
        }
    }
    // A request that one kind spares may meet another that it hid.
    for (off, _) in kinds {
        let rates: Vec<(Chance, f64)> = kinds.into_iter().filter(|(kind, _)| *kind != off).collect();
        let (one, rest) = (script(5, &kinds).await, script(5, &rates).await);
        let others: Vec<&Struck> = one.iter().filter(|one| one.chance != off).collect();
        assert!(others.iter().all(|one| rest.contains(one)), "{off:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_while_nothing_strikes_any_more() {
    let azure = Azure::new();
    let until = azure.sim.clock().now() + std::time::Duration::from_secs(60);
    let rates = [(Chance::Throttled, 1.0), (Chance::VmGone, 1.0)].into_iter().collect();
    azure.sim.world().chances =
        Chances { seed: 1, rates: [(Chance::VmGone, 1.0)].into(), until: Some(until) };
    azure.put(&Azure::vm_path("vm"), azure.windows(&[])).await;
    azure.sim.world().chances = Chances { seed: 1, rates, until: Some(until) };
    azure.wait(60).await;
    assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 429);
    azure.wait(1).await;
    assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 200);
    azure.wait(4 * 3600).await;
    assert_eq!(azure.get(&Azure::vm_path("vm")).await.status, 200, "it was to go later");
    assert_eq!(strikes(&azure, Chance::Throttled), 1);
}

#[test]
fn chances_are_set_as_json_and_unknown_kinds_are_refused() {
    let sim = |text: &str| serde_json::from_str::<FaultsSpec>(text);
    let spec =
        sim(r#"{"chances": {"seed": 1, "rates": {"reset-after": 0.02}, "until": "2026-11-22T20:00:00Z"}}"#);
    let chances = spec.unwrap().chances.to_chances();
    assert_eq!((chances.seed, chances.rates), (1, [(Chance::ResetAfter, 0.02)].into()));
    assert!(chances.until.is_some());
    assert!(sim("{}").unwrap().chances.to_chances().rates.is_empty());
    let error = sim(r#"{"chances": {"rates": {"reset-afterwards": 0.02}}}"#).unwrap_err();
    assert!(error.to_string().contains("reset-afterwards"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn only_what_takes_effect_is_written_down() {
    let azure = Azure::new();
    take(&azure, 1, &[(Chance::QuotaRefused, 1.0), (Chance::StuckOperation, 1.0), (Chance::VmGone, 1.0)]);
    azure.put(&Azure::vm_path("vm"), azure.windows(&[])).await;
    azure.sim.world().delete_lab(&azure.lab);
    azure.wait(4 * 3600).await;
    assert_eq!(strikes(&azure, Chance::QuotaRefused), 1);
}
