use azure_sim::{
    arm::{CustomImageSpec, OsType},
    fault::CustomImageFault,
    identity,
};
use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use crate::azure::Azure;

pub const MIB: u64 = 1 << 20;

/// Makes a page blob of this length in the lab's account; answers its URL.
pub async fn vhd(azure: &Azure, name: &str, length: u64) -> String {
    let (account, token) = {
        let world = azure.sim.world();
        let caller = world.identity.managed_identity.clone();
        let day = std::time::Duration::from_secs(24 * 3600);
        let token = identity::issue(&world, &caller, identity::STORAGE, day);
        (world.lab(&azure.lab).unwrap().storage_account().to_owned(), token)
    };
    let base = format!("https://{account}.blob.core.windows.net/imagefactoryvhds");
    let put = |url: String, blob_type: Option<(&'static str, String)>| {
        let mut request = http::Request::builder()
            .method(Method::PUT)
            .uri(url)
            .header("authorization", format!("Bearer {token}"))
            .header("content-length", "0")
            .header("x-ms-version", "2023-11-03");
        if let Some((blob_type, length)) = blob_type {
            request = request.header("x-ms-blob-type", blob_type).header("x-ms-blob-content-length", length);
        }
        azure.sim.call(request.body(Bytes::new()).unwrap())
    };
    let _ = put(format!("{base}?restype=container"), None).await.unwrap();
    let url = format!("{base}/{name}");
    let answer = put(url.clone(), Some(("PageBlob", length.to_string()))).await.unwrap();
    assert_eq!(answer.status(), 201, "{:?}", answer.body());
    url
}

async fn remove(azure: &Azure, url: &str) {
    let token = {
        let world = azure.sim.world();
        let caller = world.identity.managed_identity.clone();
        identity::issue(&world, &caller, identity::STORAGE, std::time::Duration::from_secs(3600))
    };
    let request = http::Request::builder()
        .method(Method::DELETE)
        .uri(url)
        .header("authorization", format!("Bearer {token}"))
        .header("x-ms-version", "2023-11-03")
        .body(Bytes::new())
        .unwrap();
    assert_eq!(azure.sim.call(request).await.unwrap().status(), 202);
}

pub fn image(url: &str) -> Value {
    json!({
        "tags": {"ImagePath": "Win2016/Datacenter.json"},
        "properties": {
            "author": "Image Factory",
            "vhd": {"imageName": url, "sysPrep": true, "osType": "Windows"},
        },
    })
}

#[tokio::test(start_paused = true)]
async fn a_vhd_becomes_an_image_after_some_minutes() {
    let azure = Azure::new();
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    let path = Azure::image_path("Win2016-2026");
    let put = azure.put(&path, image(&url)).await;
    assert_eq!((put.status, &put.body["properties"]["provisioningState"]), (201, &json!("Creating")));
    assert!(put.body.get("location").is_none() && put.header("location").is_none());
    let operation = put.header("azure-asyncoperation").unwrap().to_owned();
    assert_eq!(azure.put(&path, image(&url)).await.status, 409, "still being made");
    assert_eq!(azure.delete(&path).await.status, 409);
    azure.wait(181).await;
    assert_eq!(azure.follow(&operation).await.body, json!({"status": "Succeeded"}));
    let body = azure.get(&path).await.body;
    assert_eq!(body["id"], format!("{}/customimages/win2016-2026", azure.lab));
    assert!(body["properties"]["managedImageId"].as_str().unwrap().ends_with("/images/win2016-2026"));
    assert_eq!(body["properties"]["author"], "Image Factory");
    remove(&azure, &url).await;
    assert_eq!(azure.get(&path).await.body["properties"]["provisioningState"], "Succeeded");

    let delete = azure.delete(&path).await;
    assert_eq!(delete.status, 202);
    assert!(delete.header("location").is_some() && delete.header("azure-asyncoperation").is_some());
    azure.wait(61).await;
    assert_eq!(azure.get(&path).await.status, 404);
    assert_eq!(azure.delete(&path).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_vhd_in_a_foreign_account_is_refused() {
    let azure = Azure::new();
    let mine = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    for url in [
        "https://elsewhere.blob.core.windows.net/vhds/a.vhd".to_owned(),
        format!("{mine}?sv=2023-11-03&sig=x"),
        "a.vhd".to_owned(),
    ] {
        let put = azure.put(&Azure::image_path("x"), image(&url)).await;
        assert_eq!((put.status, put.code()), (400, "InvalidStorageAccountForLab"), "{url}");
    }
    let mut no_os = image(&mine);
    no_os["properties"]["vhd"].as_object_mut().unwrap().remove("osType");
    assert_eq!(azure.put(&Azure::image_path("x"), no_os).await.status, 400);
    assert_eq!(azure.put(&Azure::image_path("dotted.name"), image(&mine)).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn an_image_fails_when_its_vhd_vanishes_or_is_none() {
    let azure = Azure::new();
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    let odd = vhd(&azure, "odd.vhd", 40 * MIB).await;
    let none = url.replace("a.vhd", "none.vhd");
    let first = azure.put(&Azure::image_path("vanished"), image(&url)).await;
    azure.put(&Azure::image_path("odd"), image(&odd)).await;
    azure.put(&Azure::image_path("none"), image(&none)).await;
    azure.wait(60).await;
    remove(&azure, &url).await;
    azure.wait(130).await;
    let polled = azure.follow(first.header("azure-asyncoperation").unwrap()).await.body;
    assert_eq!((&polled["status"], &polled["error"]["code"]), (&json!("Failed"), &json!("BlobNotFound")));
    for name in ["vanished", "odd", "none"] {
        let body = azure.get(&Azure::image_path(name)).await.body;
        assert_eq!(body["properties"]["provisioningState"], "Failed", "{name}");
    }
    // A failed image keeps its name until it is deleted.
    let again = azure.put(&Azure::image_path("odd"), image(&odd)).await;
    assert_eq!((again.status, &again.body["properties"]["provisioningState"]), (200, &json!("Failed")));
    assert_eq!(azure.delete(&Azure::image_path("odd")).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_fault_fails_the_image_with_its_code() {
    let azure = Azure::new();
    azure.sim.world().faults.custom_images = vec![CustomImageFault {
        id_part: "unlucky".into(),
        code: "InternalServerError".into(),
        message: "Try again.".into(),
    }];
    let url = vhd(&azure, "a.vhd", 40 * MIB + 512).await;
    let put = azure.put(&Azure::image_path("unlucky"), image(&url)).await;
    azure.wait(181).await;
    let polled = azure.follow(put.header("azure-asyncoperation").unwrap()).await.body;
    assert_eq!(polled["error"]["code"], "InternalServerError");
    let work = azure.sim.world().work.back().cloned().unwrap();
    assert_eq!(
        (work.subject.clone(), work.succeeded, work.seconds()),
        (Azure::image_path("unlucky"), false, 180.0)
    );
}

#[tokio::test(start_paused = true)]
async fn many_images_come_in_pages_and_without_empty_tags() {
    let azure = Azure::new();
    {
        let mut world = azure.sim.world();
        let created = world.now();
        for number in 0..100_000 {
            let spec = CustomImageSpec {
                name: format!("image-{number:06}"),
                tags: Default::default(),
                created,
                os: OsType::Linux,
                failed: false,
            };
            world.add_custom_image(&azure.lab, spec).unwrap();
        }
    }
    let path = format!("{}/customimages", Azure::lab_path());
    let first = azure.get(&path).await.body;
    assert_eq!(first["value"].as_array().unwrap().len(), 100);
    assert!(first["value"][0].get("tags").is_none());
    let second = azure.follow(first["nextLink"].as_str().unwrap()).await.body;
    assert_eq!(second["value"][0]["name"], "image-000100");
    let filter = azure.get(&format!("{path}?$filter=contains(name,'-09999')")).await.body;
    assert_eq!(filter["value"].as_array().unwrap().len(), 10);
    assert!(filter.get("nextLink").is_none());
    let top = azure.get(&format!("{path}?$top=2&$orderby=name%20desc")).await.body;
    assert_eq!(top["value"][0]["name"], "image-099999");
    assert_eq!(top["value"].as_array().unwrap().len(), 2);
    assert_eq!(azure.get(&format!("{path}?$filter=nonsense")).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_vm_is_made_from_an_image_of_its_lab() {
    let azure = Azure::new();
    let created = azure.sim.world().now();
    for (name, failed) in [("good", false), ("bad", true)] {
        let tags = Default::default();
        let spec = CustomImageSpec { name: name.into(), tags, created, os: OsType::Windows, failed };
        azure.sim.world().add_custom_image(&azure.lab, spec);
    }
    let from = |name: &str| {
        let mut body = azure.windows(&[]);
        let properties = body["properties"].as_object_mut().unwrap();
        properties.remove("galleryImageReference");
        properties.insert("customImageId".into(), json!(Azure::image_path(name)));
        body
    };
    let put = azure.put(&Azure::vm_path("golden"), from("good")).await;
    assert_eq!(put.body["properties"]["virtualMachineCreationSource"], "FromCustomImage");
    assert_eq!(put.body["properties"]["osType"], "Windows");
    assert_eq!(azure.put(&Azure::vm_path("other"), from("bad")).await.status, 409);
    assert_eq!(azure.put(&Azure::vm_path("other"), from("none")).await.status, 404);
}
