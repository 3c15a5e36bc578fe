//! What the factory asks Azure to do is what it says that it must be allowed to do, no more and no less.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request, headers::AUTHORIZATION};
use azure_sim::{
    arm::{CustomImageSpec, GalleryImageSpec, OsType},
    fault::{ArtifactFault, ArtifactOutcome, CustomImageFault, Faults},
};
use image_factory::{
    azure::actions::{ACTIONS, Place},
    dev::world::{FACTORY_GROUP, LEDGER_ACCOUNT},
    report::Status,
    steps::base_image::BaseImages,
};
use serde_json::{Value, json};

use crate::base_images::resolve;
use crate::doctor;
use crate::factory::{DATA, Factory, Files, LINUX, ORIGIN, WEB, WINDOWS, definition, image, line, scenario};

/// How the name of the storage account begins that is reached with a key: that of the lab `data`.
const KEYED: &str = "adata";
/// How the name of the factory lab's begins.
const SOURCE: &str = "aimagefactory";
const FROM_GALLERY: &str = "Linux/Shared.json";
const GALLERY: &str = "/subscriptions/f0000000-0000-4000-8000-000000000000/resourceGroups/rg-images/providers/Microsoft.Compute/galleries/base";

/// A place and an action, in lower case: Azure compares actions ignoring case.
type Needed = (Place, String);

/// Writes down what each request that passes through needs.
#[derive(Debug)]
struct Recorder {
    onward: Arc<dyn HttpClient>,
    needed: Arc<Mutex<BTreeSet<Needed>>>,
}

#[async_trait]
impl HttpClient for Recorder {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        self.needed.lock().unwrap().extend(needed_for(request));
        self.onward.execute_request(request).await
    }
}

/// What a request needs: by the rule of Resource Manager
/// (<https://learn.microsoft.com/azure/role-based-access-control/role-definitions#actions>), or of Blob Storage where it bears a token
/// (<https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory#permissions-for-blob-service-operations>).
fn needed_for(request: &Request) -> Vec<Needed> {
    let url = request.url();
    let path = url.path().trim_matches('/').to_ascii_lowercase();
    let segments: Vec<&str> = path.split('/').collect();
    match url.host_str().unwrap() {
        // Whose tenant it is, and what subscriptions one sees, needs no role.
        "management.azure.com" if path == "tenants" || path == "subscriptions" => Vec::new(),
        // What is allowed is asked everywhere; the role of the subscription counts for all that is in it.
        "management.azure.com" if path.ends_with("/providers/microsoft.authorization/permissions") => {
            vec![(Place::Subscription, "microsoft.authorization/permissions/read".to_owned())]
        }
        "management.azure.com" => {
            let (place, kind, is_collection) = resource(&segments);
            let mut needed = vec![(place, operation(request.method(), &kind, is_collection))];
            needed.extend(deployed(request, place));
            needed
        }
        host => {
            let authorization = request.headers().get_optional_str(&AUTHORIZATION).unwrap_or_default();
            let source = request.headers().get_optional_str(&"x-ms-copy-source".into()).unwrap_or_default();
            // What a SAS allows that the factory signed is no more than what the factory itself is allowed.
            let mut needed: Vec<_> =
                source.contains("skoid=").then(|| (Place::LabStorage, blobs("read"))).into_iter().collect();
            // What is done with an account's key needs no role but the one that hands out the key.
            if !authorization.starts_with("Bearer ") {
                assert!(host.starts_with(KEYED), "no key is to be used here: {url}");
                return needed;
            }
            assert!(!host.starts_with(KEYED), "reached with a token: {url}");
            let place = match host.split('.').next() {
                Some(LEDGER_ACCOUNT) => Place::Ledger,
                _ => Place::LabStorage,
            };
            let query = url.query().unwrap_or_default();
            needed.push(match (request.method(), segments.len()) {
                (Method::Post, _) if query.contains("comp=userdelegationkey") => {
                    assert!(host.starts_with(SOURCE), "a key is lent that nobody needs: {url}");
                    (Place::FactoryStorage, format!("{BLOB_SERVICES}/generateuserdelegationkey/action"))
                }
                (Method::Put, 1) => (place, format!("{BLOB_SERVICES}/containers/write")),
                (Method::Get, 1) if query.contains("comp=list") => (place, blobs("read")),
                (_, 1) => panic!("nothing else is done to a container: {url}"),
                (Method::Get | Method::Head, _) => (place, blobs("read")),
                (Method::Put, _) => (place, blobs("write")),
                (Method::Delete, _) => (place, blobs("delete")),
                (other, _) => panic!("{other} {url}"),
            });
            needed
        }
    }
}

const BLOB_SERVICES: &str = "microsoft.storage/storageaccounts/blobservices";

fn blobs(verb: &str) -> String {
    format!("{BLOB_SERVICES}/containers/blobs/{verb}")
}

/// Where a path of Resource Manager leads, the type that it names, and whether it ends with the type: a collection or an action.
fn resource(segments: &[&str]) -> (Place, String, bool) {
    let (group, rest) = match segments {
        ["subscriptions", _, "resourcegroups", group, "providers", rest @ ..] => (Some(*group), rest),
        ["subscriptions", _, "providers", rest @ ..] => (None, rest),
        other => panic!("{other:?}"),
    };
    let (provider, names) = rest.split_first().unwrap();
    let kinds: Vec<&str> = names.iter().step_by(2).copied().collect();
    let place = match (group, *provider) {
        (None, _) => Place::Subscription,
        (_, "microsoft.storage") if names[1].starts_with(KEYED) => Place::KeyedStorage,
        (_, "microsoft.storage") => Place::LabStorage,
        (_, "microsoft.compute") => Place::Machines,
        (_, "microsoft.servicebus") => Place::ServiceBus,
        (Some(FACTORY_GROUP), _) => Place::FactoryLab,
        (Some(_), _) => Place::TeamLab,
    };
    (place, format!("{provider}/{}", kinds.join("/")), names.len() % 2 == 1)
}

fn operation(method: Method, kind: &str, is_collection: bool) -> String {
    match method {
        Method::Get | Method::Head => format!("{kind}/read"),
        Method::Put | Method::Patch => format!("{kind}/write"),
        Method::Delete => format!("{kind}/delete"),
        Method::Post if is_collection => format!("{kind}/action"),
        other => panic!("{other} {kind}"),
    }
}

/// What Resource Manager asks of whoever deploys a template: to be allowed to write its resources.
fn deployed(request: &Request, place: Place) -> Vec<Needed> {
    let Body::Bytes(body) = request.body() else { return Vec::new() };
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let resources = body["properties"]["template"]["resources"].as_array().cloned().unwrap_or_default();
    let kind = |resource: &Value| resource["type"].as_str().unwrap().to_ascii_lowercase();
    resources.iter().map(|resource| (place, format!("{}/write", kind(resource)))).collect()
}

/// The doctor, and two runs in which the factory does all that it ever does: images of every source, older ones that retire, a VM
/// that comes to nothing, a custom image that fails, a lab whose group is not named, one whose account is reached with a key, and a
/// run that is forgotten.
async fn everything(needed: Arc<Mutex<BTreeSet<Needed>>>) {
    let settings = json!({"imagesToKeep": 1, "mostRetiredShare": 1, "deadlines": {"createVm": "PT2H"}});
    let mut files = Files::with_settings(settings);
    let of_lab = |kind: &str, rest: &str| {
        let lab = "resourceId('Microsoft.DevTestLab/labs', parameters('labName'))";
        definition(&json!({ kind: format!("[concat({lab}, '{rest}')]") }), &[])
    };
    files.definitions.insert("Linux/Own.json".to_owned(), of_lab("customImageId", "/customimages/base"));
    let shared = "/sharedgalleries/gallery/sharedimages/base";
    let mut from_gallery = of_lab("sharedImageId", shared);
    from_gallery["resources"][0]["apiVersion"] = json!("2018-10-15-preview");
    files.definitions.insert(FROM_GALLERY.to_owned(), from_gallery);
    files.labs[0].as_object_mut().unwrap().remove("ResourceGroup");
    let factory = Factory::wired(&files, |onward| Arc::new(Recorder { onward, needed })).await;
    let factory = factory.with_keys_of(&[DATA]);
    {
        let mut world = factory.host.sim.world();
        let (lab, tags) = (factory.factory_lab(), Default::default());
        let base = CustomImageSpec {
            name: "base".to_owned(),
            tags,
            created: ORIGIN,
            os: OsType::Linux,
            failed: false,
        };
        assert!(world.add_custom_image(&lab, base).is_some());
        let definition = GalleryImageSpec {
            definition: "base".to_owned(),
            os: OsType::Linux,
            versions: vec!["1.0.0".to_owned()],
            bytes: 30 << 30,
        };
        world.add_gallery_image(GALLERY, definition);
        assert!(world.attach_gallery(&lab, "gallery", GALLERY));
    }
    factory.faults(Faults {
        artifacts: vec![ArtifactFault {
            vm_part: "Server-".to_owned(),
            artifact_part: "windows-git".to_owned(),
            outcome: ArtifactOutcome::NeverEnds,
        }],
        // Why it failed is told by its operation.
        custom_images: vec![CustomImageFault {
            id_part: "labs/data/customimages/linux-docker".to_owned(),
            code: "InternalServerError".to_owned(),
            message: "try again later".to_owned(),
        }],
        ..Faults::default()
    });
    resolve(&factory, &files, LINUX, &mut BaseImages::default()).await.unwrap();
    doctor::examined(&factory).await;
    let first = factory.run().await;
    assert_eq!(
        line(&first, FROM_GALLERY, WEB).status,
        Status::Succeeded,
        "{:?}",
        image(&first, FROM_GALLERY).error
    );
    factory.assert_failed(&first, &[&format!("{LINUX} in {DATA}"), WINDOWS]);
    factory.faults(Faults::default());
    let second = factory.run_named("second").await;
    factory.assert_succeeded(&second);
    assert!(!second.run.retired.is_empty(), "nothing retired");
    // A season later the first run is forgotten.
    factory.host.clock().sleep(Duration::from_secs(100 * 24 * 3600)).await;
    factory.clean_up_times(1).await;
}

/// What Resource Manager and Blob Storage are asked for: messages travel without a transport here, and `tests/infrastructure` looks
/// after those roles.
fn declared() -> BTreeSet<Needed> {
    let actions = ACTIONS.iter().filter(|action| !action.name.contains("/messages/"));
    actions.map(|action| (action.place, action.name.to_ascii_lowercase())).collect()
}

#[test]
fn the_factory_calls_for_exactly_the_actions_that_it_declares() {
    scenario(async {
        let needed = Arc::new(Mutex::new(BTreeSet::new()));
        everything(needed.clone()).await;
        let (needed, declared) = (needed.lock().unwrap().clone(), declared());
        let undeclared: Vec<_> = needed.difference(&declared).collect();
        assert!(
            undeclared.is_empty(),
            "add to src/azure/actions.rs and infra/modules/roles.bicep: {undeclared:?}"
        );
        let unused: Vec<_> = declared.difference(&needed).collect();
        assert!(unused.is_empty(), "no call of these runs needs: {unused:?}");
    });
}

#[test]
fn no_action_is_declared_twice_for_a_place() {
    let names: BTreeSet<Needed> =
        ACTIONS.iter().map(|action| (action.place, action.name.to_ascii_lowercase())).collect();
    assert_eq!(names.len(), ACTIONS.len());
    for place in Place::ALL {
        assert!(names.iter().any(|(at, _)| *at == place), "{place:?}");
    }
}
