//! What definitions would be made from, and that it is asked of Azure no more often than needed.

use azure_sim::{
    arm::{CustomImageSpec, OsType},
    control::{self, MarketplaceSpec},
};
use image_factory::{
    azure::Lab,
    domain::{BaseImage, Configuration, ImagePath, InputPart, Inputs},
    ledger::Failure,
    steps::base_image::BaseImages,
};
use serde_json::json;

use crate::factory::{Factory, Files, LINUX, ORIGIN, WINDOWS, definition, linux, scenario};

fn publish(factory: &Factory, versions: &[&str]) {
    let spec = MarketplaceSpec {
        publisher: "Canonical".to_owned(),
        offer: "ubuntu-24_04-lts".to_owned(),
        sku: "server".to_owned(),
        versions: versions.iter().map(|version| (*version).to_owned()).collect(),
    };
    control::set_marketplace(&factory.host.sim, spec);
}

async fn factory_lab(factory: &Factory) -> Lab {
    let id = factory.factory_lab();
    let parts: Vec<&str> = id.split('/').collect();
    factory.host.factory.azure.find_lab(parts[2], Some(parts[4]), parts[8]).await.unwrap().unwrap()
}

/// What a definition would be made from now.
pub async fn resolve(
    factory: &Factory,
    files: &Files,
    path: &str,
    images: &mut BaseImages,
) -> Result<BaseImage, Failure> {
    let configuration = Configuration::load(&files.to_files()).0.unwrap();
    let definition = &configuration.definitions[&ImagePath::parse(path).unwrap()];
    let lab = factory_lab(factory).await;
    images.resolve(&factory.host.factory, definition, &configuration.settings, &lab).await.unwrap()
}

#[test]
fn a_new_version_in_the_marketplace_alone_changes_what_an_image_is_made_from() {
    scenario(async {
        let files = Files::new();
        let factory = Factory::new(&files).await;
        let inputs = async || {
            let base_image = resolve(&factory, &files, LINUX, &mut BaseImages::default()).await.unwrap();
            let configuration = Configuration::load(&files.to_files()).0.unwrap();
            let definition = &configuration.definitions[&ImagePath::parse(LINUX).unwrap()];
            Inputs::of(definition, &configuration.settings, &base_image)
        };
        publish(&factory, &["24.04.9", "24.04.8"]);
        let before = inputs().await;
        assert_eq!(before.get(InputPart::BaseImage), Some("Canonical:ubuntu-24_04-lts:server:24.04.9"));
        assert_eq!(inputs().await.hash(), before.hash());
        publish(&factory, &["24.04.9", "24.04.10", "24.04.8"]);
        let changes = inputs().await.changes(&before);
        let told: Vec<_> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "base image: Canonical:ubuntu-24_04-lts:server:24.04.9 → Canonical:ubuntu-24_04-lts:server:24.04.10"
            ]
        );
    });
}

#[test]
fn definitions_of_one_sku_cost_one_read() {
    scenario(async {
        let mut files = Files::new();
        files.definitions.insert("Linux/Other.json".to_owned(), definition(&linux(), &[]));
        let factory = Factory::new(&files).await;
        let mut images = BaseImages::default();
        let reads = || control::counts(&factory.host.sim).arm_reads;
        let first = resolve(&factory, &files, LINUX, &mut images).await.unwrap();
        let before = reads();
        let second = resolve(&factory, &files, "Linux/Other.json", &mut images).await.unwrap();
        // The one read is that of the lab, by the test itself.
        assert_eq!((first, reads() - before), (second, 1));
        resolve(&factory, &files, WINDOWS, &mut images).await.unwrap();
        assert_eq!(reads() - before, 3);
    });
}

#[test]
fn a_version_that_the_definition_names_is_asked_of_nobody() {
    scenario(async {
        let mut files = Files::new();
        let mut source = linux();
        source["galleryImageReference"]["version"] = json!("24.04.1");
        files.definitions.insert(LINUX.to_owned(), definition(&source, &[]));
        let factory = Factory::new(&files).await;
        publish(&factory, &[]);
        let image = resolve(&factory, &files, LINUX, &mut BaseImages::default()).await.unwrap();
        assert_eq!(image.name, "Canonical:ubuntu-24_04-lts:server:24.04.1");
    });
}

#[test]
fn an_image_that_the_marketplace_does_not_have_is_a_failure_that_says_what_to_do() {
    scenario(async {
        let files = Files::new();
        let factory = Factory::new(&files).await;
        publish(&factory, &[]);
        let failure = resolve(&factory, &files, LINUX, &mut BaseImages::default()).await.unwrap_err();
        assert_eq!(failure.code, "UnknownBaseImage");
        for part in ["Canonical:ubuntu-24_04-lts:server", "az vm image list-skus", "--publisher Canonical"] {
            assert!(failure.message.contains(part), "{failure}");
        }
    });
}

#[test]
fn a_custom_image_is_known_by_its_id_and_says_its_system() {
    scenario(async {
        let mut files = Files::new();
        let custom = json!({"customImageId":
            "[resourceId('Microsoft.DevTestLab/labs/customimages', parameters('labName'), 'base')]"});
        files.definitions.insert(LINUX.to_owned(), definition(&custom, &[]));
        let factory = Factory::new(&files).await;
        let missing = resolve(&factory, &files, LINUX, &mut BaseImages::default()).await.unwrap_err();
        assert!(missing.code == "UnknownOperatingSystem" && missing.message.contains("base"), "{missing}");
        let image = CustomImageSpec {
            name: "base".to_owned(),
            tags: Default::default(),
            created: ORIGIN,
            os: OsType::Windows,
            failed: false,
        };
        let lab = factory.factory_lab();
        factory.host.sim.world().add_custom_image(&lab, image).unwrap();
        let image = resolve(&factory, &files, LINUX, &mut BaseImages::default()).await.unwrap();
        assert_eq!(image.os_type.as_str(), "Windows");
        assert!(image.name.to_lowercase() == format!("{lab}/customimages/base"), "{}", image.name);
        assert_eq!(image.version, None);
    });
}
