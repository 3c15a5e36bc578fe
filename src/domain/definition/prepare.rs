//! The template that is really deployed: the definition's, with the generalising artifact at its end, the factory's tags on
//! the VM, and the version that `latest` stands for.

use std::collections::BTreeMap;

use arm_template::{Evaluator, Scope, is_expression};
use serde_json::{Map, Value, json};

use super::{
    Definition, ImageSource, OsType, ParameterValues, get,
    source::{GALLERY, LATEST},
};
use crate::domain::{BaseImage, config::Problems};

/// The artifact that generalises Windows; Azure shuts the VM down and deallocates it afterwards.
pub const GENERALISE_WINDOWS: &str = "windows-sysprep";
/// The artifact that generalises Linux; Azure shuts the VM down and deallocates it afterwards.
pub const GENERALISE_LINUX: &str = "linux-deprovision";

const ARTIFACTS: &str = "artifacts";

/// What a deployment adds to a definition.
#[derive(Clone, Copy)]
pub struct Prepare<'a> {
    /// The factory lab's full resource id.
    pub lab_id: &'a str,
    /// The artifact source that has the generalising artifacts, e.g. `public repo`.
    pub artifact_source: &'a str,
    /// The version of the marketplace's image that stands in the place of `latest`, so that what is made is what was planned.
    pub version: Option<&'a str>,
    /// The tags of the VM: what it belongs to.
    pub tags: &'a BTreeMap<String, String>,
    /// The values that the deployment gets, to see what the artifacts are where they are expressions.
    pub values: ParameterValues<'a>,
    /// Where the deployment goes to.
    pub scope: &'a Scope,
}

impl OsType {
    /// The name of the artifact that generalises this operating system.
    pub fn generalising_artifact(self) -> &'static str {
        match self {
            Self::Windows => GENERALISE_WINDOWS,
            Self::Linux => GENERALISE_LINUX,
        }
    }

    /// Whether the artifact of this id generalises this operating system, from whichever source it is.
    pub fn is_generalised_by(self, artifact_id: &str) -> bool {
        let name = artifact_id.rsplit('/').next().unwrap_or_default();
        name.eq_ignore_ascii_case(self.generalising_artifact())
    }
}

impl Definition {
    /// The template to deploy: the definition's own, with the artifact that generalises `os` as the last one (unless it
    /// is already), the tags, and the version in the place of `latest`. Everything else is as it was written.
    pub fn prepare(&self, os: OsType, with: &Prepare<'_>) -> Value {
        let mut template = self.template();
        if !self.generalises_itself(&template, os, with) {
            move_artifact_loop(&mut template, &self.vm);
            let id = format!(
                "{}/artifactSources/{}/artifacts/{}",
                with.lab_id.trim_end_matches('/'),
                with.artifact_source,
                os.generalising_artifact()
            );
            if let Some(properties) = self.entries(&mut template).and_then(|vm| child(vm, "properties")) {
                append_artifact(properties, &id);
            }
        }
        if let (Some(version), Some(vm)) = (with.version, self.entries(&mut template)) {
            self.pin(vm, version);
        }
        if let Some(vm) = self.entries(&mut template) {
            add_tags(vm, with.tags);
        }
        template
    }

    /// The version in the name of a base image (see [`BaseImage::name`]), if it is one that this definition is made from.
    pub fn version_in<'a>(&self, base_image: &'a str) -> Option<&'a str> {
        let ImageSource::Gallery { publisher, offer, sku, os_type, .. } = &self.image_source else {
            return None;
        };
        let prefix = BaseImage::of_marketplace(publisher, offer, sku, "", *os_type).name;
        base_image.strip_prefix(&prefix).filter(|version| !version.is_empty())
    }

    /// Writes a version in the place of `latest`; DevTest Labs takes either (Microsoft.DevTestLab, GalleryImageReference:
    /// "The version of the gallery image").
    fn pin(&self, vm: &mut Map<String, Value>, version: &str) {
        let ImageSource::Gallery { publisher, offer, sku, version: written, os_type } = &self.image_source
        else {
            return;
        };
        let Some(properties) = child(vm, "properties").filter(|_| written.eq_ignore_ascii_case(LATEST))
        else {
            return;
        };
        if let Some(reference) = child(properties, GALLERY) {
            let key = get(reference, "version").map_or_else(|| "version".to_owned(), |(key, _)| key.clone());
            reference.insert(key, literal(version).into());
        } else if let Some((key, _)) = get(properties, GALLERY) {
            // An expression: what it gives is known.
            let [publisher, offer, sku, version] = [publisher, offer, sku, version].map(literal);
            let reference = json!({
                "publisher": publisher,
                "offer": offer,
                "sku": sku,
                "osType": os_type.as_str(),
                "version": version,
            });
            properties.insert(key.clone(), reference);
        }
    }

    fn entries<'a>(&self, template: &'a mut Value) -> Option<&'a mut Map<String, Value>> {
        template.pointer_mut(&self.vm)?.as_object_mut()
    }

    /// Whether the last artifact generalises. Only its own id is evaluated, or the list where that is an expression.
    fn generalises_itself(&self, template: &Value, os: OsType, with: &Prepare<'_>) -> bool {
        let properties = self
            .vm(template)
            .as_object()
            .and_then(|vm| get(vm, "properties"))
            .and_then(|(_, p)| p.as_object());
        let Some((_, artifacts)) = properties.and_then(|properties| get(properties, ARTIFACTS)) else {
            return false;
        };
        let Ok(evaluator) = Evaluator::new(template, &self.literals(&with.values), with.scope) else {
            return false;
        };
        let last = match artifacts {
            Value::Array(items) => items.last().and_then(|item| evaluator.value(item).ok()),
            expression => {
                evaluator.value(expression).ok().and_then(|value| value.as_array()?.last().cloned())
            }
        };
        let id = last.as_ref().and_then(Value::as_object).and_then(|last| get(last, "artifactId"));
        id.and_then(|(_, id)| id.as_str()).is_some_and(|id| os.is_generalised_by(id))
    }
}

/// An object inside an object, ignoring the case of its name.
fn child<'a>(entries: &'a mut Map<String, Value>, name: &str) -> Option<&'a mut Map<String, Value>> {
    let key = get(entries, name)?.0.clone();
    entries.get_mut(&key)?.as_object_mut()
}

fn append_artifact(properties: &mut Map<String, Value>, id: &str) {
    let key = get(properties, ARTIFACTS).map_or_else(|| ARTIFACTS.to_owned(), |(key, _)| key.clone());
    let artifact = json!({"artifactId": id});
    let artifacts = properties.get(&key).cloned().unwrap_or(Value::Null);
    let artifacts = match artifacts {
        Value::Array(mut items) => {
            items.push(artifact);
            Value::Array(items)
        }
        Value::String(text) if is_expression(&text) => format!(
            "[concat({}, createArray(createObject('artifactId', {})))]",
            &text[1..text.len() - 1],
            quoted(id)
        )
        .into(),
        _ => json!([artifact]),
    };
    properties.insert(key, artifacts);
}

/// Adds the tags, in the place of tags of the same name.
fn add_tags(vm: &mut Map<String, Value>, tags: &BTreeMap<String, String>) {
    let key = get(vm, "tags").map_or_else(|| "tags".to_owned(), |(key, _)| key.clone());
    let old = vm.get(&key).cloned().unwrap_or(Value::Null);
    let new = match old {
        Value::String(text) if is_expression(&text) => {
            let arguments: Vec<_> =
                tags.iter().flat_map(|(name, value)| [quoted(name), quoted(value)]).collect();
            format!("[union({}, createObject({}))]", &text[1..text.len() - 1], arguments.join(", ")).into()
        }
        other => {
            let mut entries = match other {
                Value::Object(entries) => entries,
                _ => Map::new(),
            };
            entries.retain(|name, _| !tags.keys().any(|own| own.eq_ignore_ascii_case(name)));
            entries.extend(tags.iter().map(|(name, value)| (literal(name), literal(value).into())));
            Value::Object(entries)
        }
    };
    vm.insert(key, new);
}

/// A string of an expression.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A JSON string that Resource Manager takes literally.
fn literal(text: &str) -> String {
    if text.starts_with('[') && text.ends_with(']') { format!("[{text}") } else { text.to_owned() }
}

/// The place of a copy loop that makes the artifacts: the `copy` array's key and the entry's index.
fn artifact_loop(properties: &Map<String, Value>) -> Option<(String, usize)> {
    let (key, copies) = get(properties, "copy")?;
    let is_it = |copy: &Value| copy["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(ARTIFACTS));
    Some((key.clone(), copies.as_array()?.iter().position(is_it)?))
}

/// An array that a copy loop makes cannot be appended to where it stands: makes it a variable of the same name (so that
/// `copyIndex('artifacts')` goes on to mean it), and the property an expression of that.
fn move_artifact_loop(template: &mut Value, vm: &str) {
    let properties =
        template.pointer_mut(vm).and_then(Value::as_object_mut).and_then(|vm| child(vm, "properties"));
    let Some(properties) = properties else { return };
    let Some((key, index)) = artifact_loop(properties) else {
        return;
    };
    let Some(copies) = properties.get_mut(&key).and_then(Value::as_array_mut) else {
        return;
    };
    let copy = copies.remove(index);
    if copies.is_empty() {
        properties.shift_remove(&key);
    }
    let name = copy["name"].as_str().unwrap_or(ARTIFACTS).to_owned();
    properties.insert(ARTIFACTS.to_owned(), format!("[variables('{name}')]").into());
    if !template["variables"].is_object() {
        template["variables"] = json!({});
    }
    match template["variables"]["copy"].as_array_mut() {
        Some(copies) => copies.push(copy),
        None => template["variables"]["copy"] = json!([copy]),
    }
}

/// Reports artifacts to which the generalising one could not be added.
pub(super) fn check_artifacts(
    template: &Value,
    properties: &Map<String, Value>,
    path: &str,
    file: &str,
    problems: &mut Problems,
) {
    if let Some((key, artifacts)) = get(properties, ARTIFACTS)
        && !artifacts.is_array()
        && !artifacts.as_str().is_some_and(is_expression)
    {
        problems.error(
            file,
            &format!("{path}.{key}"),
            "'artifacts' must be a list, or an expression that gives one",
        );
    }
    let taken = |name: &str| {
        template["variables"].as_object().is_some_and(|variables| get(variables, name).is_some())
    };
    if let Some((key, index)) = artifact_loop(properties)
        && (taken(ARTIFACTS) || get(properties, ARTIFACTS).is_some())
    {
        let message = "the artifacts are made by a copy loop, and there is something else of the name 'artifacts': rename that variable, or remove that property";
        problems.error(file, &format!("{path}.{key}[{index}]"), message);
    }
}
