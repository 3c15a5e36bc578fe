//! `Labs.json`: which labs receive which images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ConfigurationFiles, LABS_FILE,
    fields::{Fields, is_placeholder},
    file,
    json::{Parsed, parse},
    problem::Problems,
};
use crate::domain::{
    ImagePathSelector, LabId,
    lab::{check_lab_name, check_resource_group, check_subscription},
    subscriptions::SubscribedLab,
};

/// The labs that receive images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[schemars(title = "Labs.json of the image factory")]
pub struct LabsFile {
    /// Where editors find this schema; the factory does not look at it.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The labs that receive images.
    #[schemars(length(min = 1))]
    pub labs: Vec<LabEntry>,
}

/// One lab that receives images.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct LabEntry {
    /// The lab's resource group. Without it the lab is looked up by its name in the subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[\w.()-]{0,89}[\w()-]$"))]
    pub resource_group: Option<String>,
    /// The id of the lab's subscription, a GUID.
    #[schemars(regex(pattern = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"))]
    pub subscription_id: String,
    /// The lab's name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]{1,50}$"))]
    pub lab_name: String,
    /// What the lab receives: files under GoldenImages such as "Win2016/Datacenter.json", or whole folders such as
    /// "Win2016". "*" stands for all images. Upper and lower case are the same.
    pub image_paths: Vec<String>,
}

/// Reads Labs.json; `None` if it has an error.
pub(super) fn read(files: &ConfigurationFiles, problems: &mut Problems) -> Option<Vec<SubscribedLab>> {
    let Some((file, content)) = file(files, LABS_FILE) else {
        let message = "the file is missing: it lists the labs that receive images, {\"Labs\": […]}";
        problems.error(LABS_FILE, "$", message);
        return None;
    };
    let Parsed { value, duplicates } = parse(file, content, problems)?;
    let mut complete = duplicates.is_empty();
    for place in duplicates {
        problems.error(file, &place, "this key is there twice; remove one of the two");
    }
    let mut own = Problems::default();
    let labs = read_labs(file, &value, &mut own);
    complete &= !own.has_errors();
    problems.extend(own);
    labs.filter(|_| complete)
}

fn read_labs(file: &str, value: &Value, problems: &mut Problems) -> Option<Vec<SubscribedLab>> {
    let fields = Fields::of(file, "$", value, &["Labs", "$schema"], problems)?;
    let Some(Value::Array(entries)) = fields.get("Labs") else {
        problems.error(
            file,
            &fields.path("Labs"),
            "'Labs' must be a list of labs, each with SubscriptionId, LabName and ImagePaths",
        );
        return None;
    };
    if entries.is_empty() {
        problems.error(file, &fields.path("Labs"), "there is no lab: add those that are to receive images");
    }
    let mut labs: Vec<(String, SubscribedLab)> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("{}[{index}]", fields.path("Labs"));
        let Some(lab) = read_lab(file, &path, entry, problems) else {
            continue;
        };
        if let Some((other, _)) = labs.iter().find(|(_, other)| other.lab.may_be(&lab.lab)) {
            let message = format!(
                "the lab '{}' is there twice, here and at {other}: put its ImagePaths into one entry",
                lab.lab.lab_name()
            );
            problems.error(file, &path, message);
        }
        labs.push((path, lab));
    }
    Some(labs.into_iter().map(|(_, lab)| lab).collect())
}

fn read_lab(file: &str, path: &str, entry: &Value, problems: &mut Problems) -> Option<SubscribedLab> {
    const KEYS: [&str; 4] = ["ResourceGroup", "SubscriptionId", "LabName", "ImagePaths"];
    let fields = Fields::of(file, path, entry, &KEYS, problems)?;
    let group = fields.text("ResourceGroup", check_resource_group, problems);
    let subscription = fields.required("SubscriptionId", check_subscription, problems);
    let name = fields.required("LabName", check_lab_name, problems);
    let selectors = read_selectors(file, &fields, problems);
    let lab = LabId::new(subscription.ok()?, group.ok()?, name.ok()?).ok()?;
    Some(SubscribedLab { lab, selectors: selectors? })
}

fn read_selectors(
    file: &str,
    fields: &Fields<'_>,
    problems: &mut Problems,
) -> Option<Vec<ImagePathSelector>> {
    let path = fields.path("ImagePaths");
    let Some(value) = fields.get("ImagePaths") else {
        let lab = path.trim_end_matches(".ImagePaths");
        problems.error(file, lab, "'ImagePaths' is missing here: add the images that this lab receives");
        return None;
    };
    let Value::Array(entries) = value else {
        problems.error(
            file,
            &path,
            "'ImagePaths' must be a list of texts in brackets, such as [\"Win2016\"]",
        );
        return None;
    };
    if entries.is_empty() {
        problems.warning(file, &path, "this lab receives no image: add image paths, or remove the lab");
    }
    let mut selectors = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let place = format!("{path}[{index}]");
        match entry {
            Value::String(text) if is_placeholder(text) => {
                problems.error(
                    file,
                    &place,
                    format!("the placeholder '{text}' is still there: put your own value in its place"),
                );
            }
            Value::String(text) => match ImagePathSelector::parse(text) {
                Ok(selector) => selectors.push(selector),
                Err(error) => problems.error(file, &place, error.to_string()),
            },
            _ => problems.error(file, &place, "an image path must be a text in double quotes"),
        }
    }
    Some(selectors)
}
