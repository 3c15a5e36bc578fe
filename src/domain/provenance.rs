//! Where an image comes from, as others can read it: an in-toto Statement v1 with SLSA's provenance v1 as its predicate
//! (<https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>, <https://slsa.dev/spec/v1.0/provenance>).
//!
//! What its parts mean here stands in `docs/provenance.md`.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{ImagePath, Inputs, RunId, RunReason};

#[cfg(test)]
mod tests;

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// Leads people to what the parameters mean.
const BUILD_TYPE: &str =
    "https://github.com/image-factory/image-factory/blob/main/docs/provenance.md#build-type-v1";
/// Before the id of a resource, it makes a URI of it.
const RESOURCE_MANAGER: &str = "https://management.azure.com";
/// Before `publisher:offer:sku:version`, which Azure itself calls a URN.
const MARKETPLACE: &str = "urn:azure-marketplace:";
/// What Azure says instead of a digest: the id of the copy that wrote all bytes of the VHD. It is there until somebody else
/// writes into the VHD (Microsoft, "Get Blob Properties": `x-ms-copy-id`).
const COPY_ID: &str = "azureBlobCopyId";
/// In-toto's name for the id of a commit.
const GIT_COMMIT: &str = "gitCommit";
/// Digits of a whole commit's id, SHA-1 or SHA-256.
const COMMIT_DIGITS: [usize; 2] = [40, 64];
/// What a URI's path cannot hold.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// What is known of a build once its VHD is complete.
#[derive(Clone, Copy, Debug)]
pub struct CapturedBuild<'a> {
    /// The run.
    pub run: &'a RunId,
    /// What started it, if known.
    pub reason: Option<RunReason>,
    /// The commit that it is pinned to.
    pub commit: Option<&'a str>,
    /// Who wrote that commit, if known.
    pub author: Option<&'a str>,
    /// The definition.
    pub image_path: &'a ImagePath,
    /// The factory lab's resource id.
    pub factory_lab: &'a str,
    /// What the VM was made from: see [`BaseImage::name`](super::BaseImage::name).
    pub base_image: Option<&'a str>,
    /// The ids of the artifacts that ran in it, in their order.
    pub artifacts: &'a [String],
    /// What it is made from, if that was planned.
    pub inputs: Option<&'a Inputs>,
    /// When its VM was begun.
    pub started_at: Option<OffsetDateTime>,
    /// When its VHD was complete.
    pub finished_at: Option<OffsetDateTime>,
    /// The name of its VHD.
    pub vhd: &'a str,
    /// The VHD's URL, without SAS.
    pub vhd_url: &'a str,
    /// The id of the copy that wrote it.
    pub copy_id: &'a str,
    /// Its length in bytes.
    pub length: u64,
    /// The URL of the VHD's companion.
    pub companion_url: &'a str,
}

/// An in-toto statement about one VHD.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    #[serde(rename = "_type")]
    statement_type: &'static str,
    subject: Vec<ResourceDescriptor>,
    predicate_type: &'static str,
    predicate: Predicate,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate {
    build_definition: BuildDefinition,
    run_details: RunDetails,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition {
    build_type: &'static str,
    external_parameters: Value,
    internal_parameters: Value,
    resolved_dependencies: Vec<ResourceDescriptor>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct RunDetails {
    builder: Builder,
    metadata: Metadata,
    byproducts: Vec<ResourceDescriptor>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Builder {
    id: String,
    version: BTreeMap<&'static str, &'static str>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    invocation_id: String,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    started_on: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    finished_on: Option<OffsetDateTime>,
}

/// In-toto's word for anything that can be named.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct ResourceDescriptor {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    digest: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, Value>,
}

impl CapturedBuild<'_> {
    /// The statement about it: the same whenever it is asked.
    pub fn statement(&self) -> Statement {
        Statement {
            statement_type: STATEMENT,
            subject: vec![ResourceDescriptor {
                name: self.vhd.to_owned(),
                uri: Some(self.vhd_url.to_owned()),
                digest: BTreeMap::from([(COPY_ID, self.copy_id.replace('-', "").to_ascii_lowercase())]),
                annotations: BTreeMap::from([("length", self.length.into())]),
            }],
            predicate_type: PREDICATE,
            predicate: Predicate {
                build_definition: BuildDefinition {
                    build_type: BUILD_TYPE,
                    external_parameters: without_nulls(json!({
                        "definition": self.image_path,
                        "commit": self.commit,
                        "author": self.author,
                        "reason": self.reason,
                    })),
                    internal_parameters: without_nulls(json!({
                        "run": self.run,
                        "inputs": self.inputs,
                        "inputsHash": self.inputs.map(Inputs::hash),
                    })),
                    resolved_dependencies: self.dependencies(),
                },
                run_details: RunDetails {
                    builder: Builder {
                        id: uri_of(self.factory_lab),
                        version: BTreeMap::from([("image-factory", env!("CARGO_PKG_VERSION"))]),
                    },
                    metadata: Metadata {
                        invocation_id: format!("{}/{}", self.run, self.image_path),
                        started_on: self.started_at,
                        finished_on: self.finished_at,
                    },
                    byproducts: vec![ResourceDescriptor {
                        name: "companion".to_owned(),
                        uri: Some(self.companion_url.to_owned()),
                        ..ResourceDescriptor::default()
                    }],
                },
            },
        }
    }

    /// The configuration's commit, the base image, and the artifacts.
    fn dependencies(&self) -> Vec<ResourceDescriptor> {
        let whole = |commit: &&str| COMMIT_DIGITS.contains(&commit.len());
        let configuration = self.commit.filter(whole).map(|commit| ResourceDescriptor {
            name: "configuration".to_owned(),
            digest: BTreeMap::from([(GIT_COMMIT, commit.to_ascii_lowercase())]),
            ..ResourceDescriptor::default()
        });
        let named = |name: &str, uri| ResourceDescriptor {
            name: name.to_owned(),
            uri: Some(uri),
            ..ResourceDescriptor::default()
        };
        let base_image = self.base_image.map(|base_image| named("baseImage", uri_of(base_image)));
        let artifact = |id: &String| named(id.rsplit('/').next().unwrap_or(id), uri_of(id));
        configuration.into_iter().chain(base_image).chain(self.artifacts.iter().map(artifact)).collect()
    }
}

/// The URI of a resource's id, or of an image of the Marketplace.
fn uri_of(id: &str) -> String {
    let start = if id.starts_with('/') { RESOURCE_MANAGER } else { MARKETPLACE };
    format!("{start}{}", utf8_percent_encode(id, PATH))
}

/// What is not known is left out.
fn without_nulls(mut value: Value) -> Value {
    if let Some(entries) = value.as_object_mut() {
        entries.retain(|_, value| !value.is_null());
    }
    value
}
