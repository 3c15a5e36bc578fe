use azure_sim::arm::{CustomImageSpec, FormulaSpec, GalleryImageSpec, LabSpec, OsType, VirtualMachineSpec};
use http::Method;
use serde_json::json;

use crate::azure::{Azure, SUBSCRIPTION};

#[tokio::test(start_paused = true)]
async fn a_lab_looks_as_it_was_recorded() {
    let azure = Azure::new();
    let body = azure.get(&Azure::lab_path()).await.body;
    assert_eq!(body["id"], azure.lab);
    assert_eq!((&body["name"], &body["type"]), (&json!("Factory"), &json!("Microsoft.DevTestLab/labs")));
    let properties = &body["properties"];
    let account = properties["defaultStorageAccount"].as_str().unwrap();
    assert_eq!(account, account.to_lowercase());
    assert!(account.contains("/storageaccounts/afactory"), "{account}");
    assert_eq!(properties["artifactsStorageAccount"], account);
    assert_eq!(properties["createdDate"], "2026-11-22T13:00:00.0000000+00:00");
}

#[tokio::test(start_paused = true)]
async fn labs_are_listed_by_group_and_by_subscription() {
    let azure = Azure::new();
    azure.sim.world().add_lab(&LabSpec {
        subscription_id: SUBSCRIPTION.to_owned(),
        resource_group: "rg-team".to_owned(),
        name: "team".to_owned(),
        location: "northeurope".to_owned(),
    });
    let names = |body: serde_json::Value| -> Vec<String> {
        let items = body["value"].as_array().unwrap().clone();
        items.iter().map(|lab| lab["name"].as_str().unwrap().to_owned()).collect()
    };
    let all = format!("/subscriptions/{SUBSCRIPTION}/providers/Microsoft.DevTestLab/labs");
    assert_eq!(names(azure.get(&all).await.body), ["Factory", "team"]);
    let group = format!("{}/providers/microsoft.devtestlab/LABS", Azure::group());
    assert_eq!(names(azure.get(&group).await.body), ["Factory"]);
}

#[tokio::test(start_paused = true)]
async fn keys_of_the_labs_account_are_found_by_its_id() {
    let azure = Azure::new();
    let lab = azure.get(&Azure::lab_path()).await.body;
    let account = lab["properties"]["defaultStorageAccount"].as_str().unwrap();
    let keys = azure.post(&format!("{account}/listKeys")).await.body;
    assert_eq!(keys["keys"][0]["keyName"], "key1");
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    let body = azure.get(account).await.body;
    let name = account.rsplit('/').next().unwrap();
    let endpoint = format!("https://{name}.blob.core.windows.net/");
    assert_eq!(body["properties"]["primaryEndpoints"]["blob"], endpoint);
}

#[tokio::test(start_paused = true)]
async fn networks_and_artifacts_stand_from_the_beginning() {
    let azure = Azure::new();
    let body = azure.get(&format!("{}/virtualnetworks?$top=1", Azure::lab_path())).await.body;
    let subnet = &body["value"][0]["properties"]["allowedSubnets"][0]["labSubnetName"];
    assert_eq!(subnet, "DtlFactorySubnet");
    assert_eq!(body["value"].as_array().unwrap().len(), 1);
    let artifact = format!("{}/artifactSources/public repo/artifacts/windows-sysprep", Azure::lab_path());
    assert_eq!(azure.get(&artifact).await.body["properties"]["targetOsType"], "Windows");
}

#[tokio::test(start_paused = true)]
async fn a_formula_is_made_listed_and_deleted() {
    let azure = Azure::new();
    let path = format!("{}/formulas/dev", Azure::lab_path());
    let content = json!({"customImageId": "/customimages/x", "password": "Lx7-ququ.kkt"});
    let body = json!({"properties": {"formulaContent": {"properties": content}}});
    let put = azure.put(&path, body).await;
    assert_eq!(put.status, 201);
    assert!(put.header("azure-asyncoperation").is_some());
    assert!(!put.body.to_string().contains("ququ"), "no secret comes back");
    azure.sim.world().add_formula(&azure.lab, FormulaSpec { name: "seeded".into(), content: json!({}) });
    let list = azure.get(&format!("{}/formulas", Azure::lab_path())).await.body;
    assert_eq!(list["value"].as_array().unwrap().len(), 2);
    assert!(list.get("nextLink").is_none());
    assert_eq!(azure.delete(&path).await.status, 200);
    assert_eq!(azure.delete(&path).await.status, 204);
}

#[tokio::test(start_paused = true)]
async fn a_lab_shows_one_gallery_and_makes_vms_from_it() {
    let azure = Azure::new();
    let gallery = "/subscriptions/S/resourceGroups/g/providers/Microsoft.Compute/galleries/golden";
    azure.sim.world().add_gallery_image(
        gallery,
        GalleryImageSpec {
            definition: "Ubuntu".into(),
            os: OsType::Linux,
            versions: vec!["1.0.0".into()],
            bytes: 30 << 30,
        },
    );
    let galleries = format!("{}/sharedgalleries", Azure::lab_path());
    let body = json!({"properties": {"galleryId": gallery, "allowAllImages": "Enabled"}});
    assert_eq!(azure.put(&format!("{galleries}/one"), body.clone()).await.status, 201);
    assert_eq!(azure.put(&format!("{galleries}/two"), body).await.status, 409, "one gallery per lab");
    let images = azure.get(&format!("{galleries}/one/sharedimages")).await.body;
    let image = images["value"][0]["id"].as_str().unwrap().to_owned();
    let mut vm = azure.windows(&[]);
    let properties = vm["properties"].as_object_mut().unwrap();
    properties.remove("galleryImageReference");
    properties.insert("sharedImageId".into(), json!(image));
    assert_eq!(azure.put(&Azure::vm_path("old"), vm.clone()).await.status, 400, "not in the stable version");
    let url = format!(
        "{}{}?api-version=2018-10-15-preview",
        crate::azure::BASE,
        Azure::vm_path("ubuntu-server-01")
    );
    let answer = azure.send(Method::PUT, &url, Some(vm)).await;
    assert_eq!((answer.status, &answer.body["properties"]["osType"]), (201, &json!("Linux")));
}

#[tokio::test(start_paused = true)]
async fn a_lab_can_go_behind_everybodys_back() {
    let azure = Azure::new();
    azure.put(&Azure::vm_path("golden"), azure.windows(&["windows-sysprep"])).await;
    azure.wait(650).await;
    assert!(azure.sim.world().delete_lab(&azure.lab));
    azure.wait(3600).await;
    assert_eq!(azure.get(&Azure::lab_path()).await.code(), "ResourceNotFound");
    assert_eq!(azure.delete(&Azure::vm_path("golden")).await.code(), "ParentResourceNotFound");
}

#[tokio::test(start_paused = true)]
async fn collections_are_filtered_by_a_part_of_the_name_in_any_case_and_cut() {
    let azure = Azure::new();
    for name in ["Win2016-1", "Win2016-2", "Ubuntu-1"] {
        let mut world = azure.sim.world();
        let created = world.now();
        let (tags, os) = (serde_json::Map::new(), OsType::Windows);
        let image = CustomImageSpec { name: name.to_owned(), tags: tags.clone(), created, os, failed: false };
        world.add_custom_image(&azure.lab, image);
        world.add_formula(&azure.lab, FormulaSpec { name: name.to_owned(), content: json!({}) });
        let properties = serde_json::Map::new();
        let machine =
            VirtualMachineSpec { name: name.to_owned(), tags, created, os, properties, failed: false };
        world.add_virtual_machine(&azure.lab, machine);
    }
    for collection in ["customimages", "virtualmachines", "formulas"] {
        let names = async |query: &str| {
            let path = format!("{}/{collection}?{query}", Azure::lab_path());
            let body = azure.get(&path).await.body;
            let items = body["value"].as_array().unwrap().iter();
            items.map(|item| item["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names("$filter=contains(name,'WIN2016')").await, ["Win2016-1", "Win2016-2"]);
        assert_eq!(names("$filter=contains(tolower(name),'-1')").await, ["Ubuntu-1", "Win2016-1"]);
        assert_eq!(names("$filter=contains(name,'win2016')&$top=1").await, ["Win2016-1"]);
        assert_eq!(names("$top=2").await, ["Ubuntu-1", "Win2016-1"]);
        assert_eq!(names("$filter=contains(name,'none')").await, Vec::<String>::new());
        assert_eq!(names("$orderby=name desc&$top=1").await, ["Win2016-2"]);
    }
}
