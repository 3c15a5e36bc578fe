//! Whether every artifact of the definitions is in the factory lab's artifact sources, those that generalise included.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use serde_json::Value;

use super::{Check, Finding, Known, Reached, patience::patiently};
use crate::{
    azure::Lab,
    domain::{Definition, FactorySettings, OsSource, OsType},
    steps::start_run::wanted,
};

/// Which images need an artifact, by the source's and the artifact's name in lower case.
type Needed = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The check.
pub struct AllArtifacts;

#[async_trait]
impl Check for AllArtifacts {
    fn name(&self) -> &'static str {
        "artifacts"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let (configuration, lab) = match known.definitions_and_lab() {
            Ok(found) => found,
            Err(skipped) => return vec![skipped],
        };
        let (mut needed, mut findings) = (Needed::new(), Vec::new());
        for subscription in wanted(configuration, None).unwrap_or_default() {
            let path = subscription.image_path.as_str();
            let Some(definition) = configuration.definitions.get(subscription.image_path) else { continue };
            if !collect(&mut needed, path, definition, &configuration.settings) {
                let found = "which artifacts it has is known to its deployment alone";
                findings.push(Finding::warning(
                    path,
                    found,
                    "write the artifacts as a list, without expressions around it",
                ));
            }
        }
        for (source, artifacts) in needed {
            findings.extend(look_at(at, lab, &source, &artifacts).await);
        }
        findings
    }
}

async fn look_at(
    at: &Reached,
    lab: &Lab,
    source: &str,
    needed: &BTreeMap<String, BTreeSet<String>>,
) -> Vec<Finding> {
    let images: BTreeSet<&String> = needed.values().flatten().collect();
    let list = || at.factory.azure.artifacts(&lab.address, source);
    let there: BTreeSet<String> = match patiently(&at.factory.clock, list).await {
        Ok(Some(names)) => names.into_iter().map(|name| name.to_lowercase()).collect(),
        Ok(None) => {
            let found =
                format!("the factory lab has no artifact source '{source}', which {} need", told(&images));
            let fix = format!(
                "add it to the lab {} (portal: Configuration and policies, Repositories, Add), or correct artifactSource in factory.json and the ids in the definitions",
                lab.id
            );
            return vec![Finding::failed(source, found, fix)];
        }
        Err(error) => {
            return vec![Finding::refused(source, &error, "see the role of the factory lab under 'roles'")];
        }
    };
    let missing: Vec<Finding> = needed
        .iter()
        .filter(|(artifact, _)| !there.contains(*artifact))
        .map(|(artifact, images)| {
            let images: BTreeSet<&String> = images.iter().collect();
            let found = format!("there is no artifact '{artifact}', which {} need", told(&images));
            let fix = "correct its name in the definition, or push the artifact to the source's repository";
            Finding::failed(source, found, fix)
        })
        .collect();
    match missing.is_empty() {
        true => vec![Finding::ok(source, format!("it has all {} artifacts", needed.len()))],
        false => missing,
    }
}

fn told(images: &BTreeSet<&String>) -> String {
    images.iter().map(|image| image.as_str()).collect::<Vec<_>>().join(", ")
}

/// Notes a definition's artifacts; `false` if only a deployment knows them.
fn collect(needed: &mut Needed, path: &str, definition: &Definition, settings: &FactorySettings) -> bool {
    let mut note = |source: &str, artifact: &str| {
        let artifacts = needed.entry(source.to_lowercase()).or_default();
        artifacts.entry(artifact.to_lowercase()).or_default().insert(path.to_owned());
    };
    let artifacts = definition.example_vm(settings).artifacts;
    let items = match &artifacts {
        Value::Null => &[][..],
        Value::Array(items) => items,
        _ => return false,
    };
    let mut last = None;
    for item in items {
        let Some(id) = artifact_id(item) else { return false };
        let Some((source, artifact)) = named(id) else { return false };
        note(source, artifact);
        last = Some(id);
    }
    // Of an image of a lab, Azure says which it is; a run then needs the one of its system.
    let systems: &[OsType] = match definition.os_source() {
        OsSource::Known(OsType::Windows) => &[OsType::Windows],
        OsSource::Known(OsType::Linux) => &[OsType::Linux],
        _ => &[],
    };
    for os in systems {
        if !last.is_some_and(|id| os.is_generalised_by(id)) {
            note(&settings.artifact_source, os.generalising_artifact());
        }
    }
    true
}

fn artifact_id(item: &Value) -> Option<&str> {
    let mut entries = item.as_object()?.iter();
    entries.find(|(key, _)| key.eq_ignore_ascii_case("artifactId"))?.1.as_str()
}

/// The source and the name in an artifact's id, whichever lab that names.
fn named(id: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = id.rsplitn(5, '/').collect();
    match parts.as_slice() {
        [artifact, artifacts, source, sources, ..]
            if artifacts.eq_ignore_ascii_case("artifacts")
                && sources.eq_ignore_ascii_case("artifactSources") =>
        {
            Some((source, artifact))
        }
        _ => None,
    }
}
