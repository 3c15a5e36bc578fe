//! The statements about where images come from: as the two specifications want them, true, and gone with their VHDs.

use std::{collections::BTreeMap, time::Duration};

use azure_sim::control::{self, MarketplaceSpec};
use image_factory::azure::CopyStatus;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::factory::{Factory, Files, scenario};

/// <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Statement {
    #[serde(rename = "_type")]
    statement_type: String,
    subject: Vec<ResourceDescriptor>,
    predicate_type: String,
    predicate: Provenance,
}

/// <https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ResourceDescriptor {
    name: Option<String>,
    uri: Option<String>,
    #[serde(default)]
    digest: BTreeMap<String, String>,
    content: Option<String>,
    download_location: Option<String>,
    media_type: Option<String>,
    #[serde(default)]
    annotations: BTreeMap<String, Value>,
}

/// <https://slsa.dev/spec/v1.0/provenance#schema>
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provenance {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BuildDefinition {
    build_type: String,
    external_parameters: BTreeMap<String, Value>,
    #[serde(default)]
    internal_parameters: BTreeMap<String, Value>,
    #[serde(default)]
    resolved_dependencies: Vec<ResourceDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RunDetails {
    builder: Builder,
    metadata: Metadata,
    #[serde(default)]
    byproducts: Vec<ResourceDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Builder {
    id: String,
    #[serde(default)]
    version: BTreeMap<String, String>,
    #[serde(default)]
    builder_dependencies: Vec<ResourceDescriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Metadata {
    invocation_id: String,
    #[serde(with = "time::serde::rfc3339")]
    started_on: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    finished_on: OffsetDateTime,
}

fn assert_uri(text: &str) {
    assert!(text.parse::<url::Url>().is_ok() && !text.contains(' '), "{text}");
    assert!(!text.contains("sig="), "a signature: {text}");
}

impl ResourceDescriptor {
    /// "A ResourceDescriptor MUST specify one of uri, digest or content at a minimum."
    fn assert_valid(&self) {
        assert!(self.uri.is_some() || !self.digest.is_empty() || self.content.is_some(), "{:?}", self.name);
        self.uri.iter().chain(&self.download_location).for_each(|uri| assert_uri(uri));
        assert!(self.media_type.as_ref().is_none_or(|kind| kind.contains('/')));
        for (algorithm, value) in &self.digest {
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(!value.is_empty() && value.bytes().all(hex), "{algorithm}: {value}");
        }
    }
}

impl Statement {
    fn read(bytes: &[u8]) -> Self {
        let statement: Self = serde_json::from_slice(bytes).unwrap();
        assert_eq!(statement.statement_type, "https://in-toto.io/Statement/v1");
        assert_eq!(statement.predicate_type, "https://slsa.dev/provenance/v1");
        assert!(!statement.subject.is_empty());
        for subject in &statement.subject {
            assert!(!subject.digest.is_empty(), "\"Each element MUST have `digest` set.\"");
        }
        let BuildDefinition { build_type, resolved_dependencies, .. } = &statement.predicate.build_definition;
        let RunDetails { builder, metadata, byproducts } = &statement.predicate.run_details;
        assert_uri(build_type);
        assert_uri(&builder.id);
        let parts = [&statement.subject, resolved_dependencies, byproducts, &builder.builder_dependencies];
        parts.into_iter().flatten().for_each(ResourceDescriptor::assert_valid);
        assert!(metadata.started_on < metadata.finished_on && !metadata.invocation_id.is_empty());
        statement
    }
}

/// The statements in the factory's storage account, by the name of their blob.
async fn statements(factory: &Factory) -> BTreeMap<String, Statement> {
    let container = factory.vhds(&factory.factory_lab());
    let mut found = BTreeMap::new();
    for blob in container.list("").await.unwrap() {
        if blob.name.ends_with(".provenance.json") {
            let (bytes, _) = container.get(&blob.name).await.unwrap().unwrap();
            found.insert(blob.name, Statement::read(&bytes));
        }
    }
    found
}

#[test]
fn beside_each_vhd_stands_a_statement_of_what_it_was_made_from() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let published = MarketplaceSpec {
            publisher: "Canonical".to_owned(),
            offer: "ubuntu-24_04-lts".to_owned(),
            sku: "server".to_owned(),
            versions: vec!["24.04.9".to_owned(), "24.04.10".to_owned()],
        };
        control::set_marketplace(&factory.host.sim, published);
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let statements = statements(&factory).await;
        assert_eq!(statements.len(), 2);
        let container = factory.vhds(&factory.factory_lab());
        for image in &outcome.run.images {
            let name = image.image_name.to_string();
            let statement = &statements[&format!("{name}.provenance.json")];
            let [subject] = statement.subject.as_slice() else { panic!("one VHD") };
            let vhd = container.properties(&format!("{name}.vhd")).await.unwrap().unwrap();
            let copy = vhd.copy.unwrap();
            assert_eq!(copy.status, CopyStatus::Success);
            assert_eq!(subject.digest["azureBlobCopyId"], copy.id.replace('-', ""));
            assert_eq!(
                (subject.name.clone(), &subject.annotations["length"]),
                (Some(format!("{name}.vhd")), &json!(vhd.length))
            );
            assert_eq!(subject.uri.as_deref(), Some(container.url(&format!("{name}.vhd")).as_str()));
            let details = &statement.predicate.run_details;
            assert_eq!(details.metadata.finished_on, vhd.last_modified.unwrap());
            assert_eq!(details.byproducts[0].uri, Some(container.url(&format!("{name}.json"))));
            assert!(
                details.builder.id.to_lowercase().ends_with(&factory.factory_lab()),
                "{}",
                details.builder.id
            );
            assert!(details.builder.version.contains_key("image-factory"));
            let definition = &statement.predicate.build_definition;
            assert_eq!(definition.external_parameters["definition"], image.image_path.as_str());
            assert_eq!(definition.external_parameters["reason"], "manual");
            assert_eq!(definition.internal_parameters["run"], outcome.run.run.id.as_str());
        }
        let linux = statements.iter().find(|(name, _)| name.starts_with("Linux-Docker")).unwrap().1;
        let dependencies = &linux.predicate.build_definition.resolved_dependencies;
        let uris: Vec<&str> = dependencies.iter().map(|one| one.uri.as_deref().unwrap()).collect();
        assert_eq!(uris[0], "urn:azure-marketplace:Canonical:ubuntu-24_04-lts:server:24.04.10");
        let names: Vec<&str> = dependencies.iter().map(|one| one.name.as_deref().unwrap()).collect();
        assert_eq!(names, ["baseImage", "linux-install-docker", "linux-deprovision"]);
        let artifact = uris[1].to_lowercase();
        assert!(
            artifact.ends_with("/artifactsources/public%20repo/artifacts/linux-install-docker"),
            "{artifact}"
        );
    });
}

#[test]
fn every_custom_image_names_the_statement_of_its_vhd() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        factory.assert_succeeded(&factory.run().await);
        let container = factory.vhds(&factory.factory_lab());
        let statements = statements(&factory).await;
        let (name, _) = statements.first_key_value().unwrap();
        let state = factory.state();
        let images: Vec<_> = state.labs.iter().flat_map(|lab| &lab.custom_images).collect();
        assert_eq!(images.len(), 2);
        for image in images {
            assert_eq!(image.tags["FactoryProvenance"], container.url(name));
            assert_eq!(*name, format!("{}.provenance.json", image.name));
        }
    });
}

#[test]
fn a_statement_goes_with_its_vhd() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1, "mostRetiredShare": 1.0});
        let factory = Factory::new(&files).await;
        factory.assert_succeeded(&factory.run().await);
        let first = statements(&factory).await;
        // So long that it is made anew.
        factory.host.clock().sleep(Duration::from_secs(31 * 86_400)).await;
        factory.assert_succeeded(&factory.run_named("second").await);
        let second = statements(&factory).await;
        assert_eq!((first.len(), second.len()), (1, 1));
        assert!(first.keys().ne(second.keys()), "{:?}", second.keys());
    });
}

#[test]
fn a_statement_whose_vhd_somebody_deleted_is_cleaned_away() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        factory.assert_succeeded(&factory.run().await);
        let container = factory.vhds(&factory.factory_lab());
        let name = statements(&factory).await.into_keys().next().unwrap();
        let stem = name.strip_suffix(".provenance.json").unwrap();
        factory.clean_up_times(1).await;
        assert_eq!(statements(&factory).await.len(), 1, "its VHD is there");
        container.delete(&format!("{stem}.vhd")).await.unwrap();
        factory.clean_up_times(1).await;
        assert_eq!(statements(&factory).await.len(), 1, "its companion is there");
        container.delete(&format!("{stem}.json")).await.unwrap();
        assert_eq!(factory.state().lone_statements.len(), 1);
        factory.clean_up_times(1).await;
        assert_eq!(factory.state().lone_statements, Vec::<String>::new());
        assert!(statements(&factory).await.is_empty());
    });
}
