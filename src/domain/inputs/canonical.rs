//! One text for all JSON that means the same to Resource Manager.

use std::fmt::Write as _;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Hex digits of a whole SHA-256.
const ALL_DIGITS: usize = 64;
/// "You can add a metadata object almost anywhere in your template. Resource Manager ignores the object"
/// (<https://learn.microsoft.com/azure/azure-resource-manager/templates/syntax#comments-and-metadata>).
const METADATA: &str = "metadata";
/// "Your notes for documenting the resources in your template" (the same page).
const COMMENTS: &str = "comments";
/// "You can provide any value for this element."
const CONTENT_VERSION: &str = "contentVersion";

/// The first hex digits of the SHA-256 of a value, the order of its objects' keys left out of account.
pub(super) fn digits(value: &Value, count: usize) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(sorted(value).to_string()) {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(count);
    text
}

/// The SHA-256 of what Resource Manager takes from a template.
pub(super) fn template_hash(template: &Value) -> String {
    let mut template = template.clone();
    if let Some(entries) = template.as_object_mut() {
        remove(entries, &[METADATA, CONTENT_VERSION]);
        for (_, named) in members(entries, &["parameters", "outputs"]) {
            for one in named.as_object_mut().into_iter().flat_map(|named| named.values_mut()) {
                one.as_object_mut().into_iter().for_each(|one| remove(one, &[METADATA]));
            }
        }
        clean_resources(entries);
    }
    digits(&template, ALL_DIGITS)
}

/// Not inside of `properties`: what stands there is the resource's own, whatever it is called.
fn clean_resources(parent: &mut Map<String, Value>) {
    for (_, resources) in members(parent, &["resources"]) {
        for resource in resources.as_array_mut().into_iter().flatten() {
            if let Some(resource) = resource.as_object_mut() {
                remove(resource, &[METADATA, COMMENTS]);
                clean_resources(resource);
            }
        }
    }
}

/// Resource Manager ignores the case of property names.
fn members<'a>(
    entries: &'a mut Map<String, Value>,
    names: &'a [&str],
) -> impl Iterator<Item = (&'a String, &'a mut Value)> {
    entries.iter_mut().filter(|(key, _)| names.iter().any(|name| key.eq_ignore_ascii_case(name)))
}

fn remove(entries: &mut Map<String, Value>, names: &[&str]) {
    entries.retain(|key, _| !names.iter().any(|name| key.eq_ignore_ascii_case(name)));
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            entries.into_iter().collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
