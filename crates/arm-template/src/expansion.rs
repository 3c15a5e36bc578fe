//! The `resources` of a template, with copy loops expanded, children flattened, and in an order in which they can be made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{
    context::{Context, Scope, Turn},
    deployment::Resource,
    error::TemplateError,
    evaluator::{Evaluator, LONGEST_COPY},
    paths::{member, same, within},
};

/// "800 resources" in one template, copies counted.
const MOST_RESOURCES: usize = LONGEST_COPY as usize;

/// Resource properties that belong to the deployment and are not sent to the resource provider.
const DEPLOYMENT_KEYS: [&str; 4] = ["copy", "condition", "dependsOn", "resources"];

/// All resources of a template's `resources` array.
pub(crate) fn expand(evaluator: &Evaluator, elements: &[Value]) -> Result<Vec<Resource>, TemplateError> {
    let mut expansion =
        Expansion { evaluator, resources: Vec::new(), loops: BTreeMap::new(), dropped: Vec::new() };
    for (index, element) in elements.iter().enumerate() {
        expansion.element(element, &mut format!("$.resources[{index}]"), None)?;
    }
    expansion.finish()
}

/// A resource with what it waits for, before that is resolved.
struct Pending {
    resource: Resource,
    wanted: Vec<String>,
    referenced: Vec<String>,
}

struct Expansion<'a> {
    evaluator: &'a Evaluator,
    resources: Vec<Pending>,
    /// The ids of a copy loop's resources, by the loop's name in lower case.
    loops: BTreeMap<String, Vec<String>>,
    /// The ids and names of resources whose condition is false.
    dropped: Vec<(String, String)>,
}

struct Parent<'a> {
    resource_type: &'a str,
    name: &'a str,
    turns: &'a [Turn],
}

impl Expansion<'_> {
    /// One element of a `resources` array with all its copies and children.
    fn element(
        &mut self,
        element: &Value,
        path: &mut String,
        parent: Option<&Parent<'_>>,
    ) -> Result<(), TemplateError> {
        let Some(entries) = element.as_object() else {
            return Err(TemplateError::validation(path, "The template resource must be an object."));
        };
        let turns = parent.map(|parent| parent.turns.to_vec()).unwrap_or_default();
        let Some(copy) = entries.get("copy").filter(|copy| copy.is_object()) else {
            return self.one(entries, path, parent, turns, None);
        };
        let Some(name) = copy["name"].as_str().map(str::to_owned) else {
            return Err(TemplateError::validation(
                &format!("{path}.copy"),
                "The template 'copy' definition has no name.",
            ));
        };
        let count = self.evaluator.copy_count(&copy["count"], &format!("{path}.copy"), &Context::strict())?;
        self.loops.entry(name.to_lowercase()).or_default();
        for index in 0..count {
            let mut turns = turns.clone();
            turns.push(Turn { name: name.clone(), index, unnamed: true });
            self.one(entries, path, parent, turns, Some(&name))?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        entries: &Map<String, Value>,
        path: &mut String,
        parent: Option<&Parent<'_>>,
        turns: Vec<Turn>,
        in_loop: Option<&str>,
    ) -> Result<(), TemplateError> {
        let strict = Context::strict_in(turns.clone());
        let text = |key: &str, path: &mut String| -> Result<Option<String>, TemplateError> {
            let Some(value) = entries.get(key) else {
                return Ok(None);
            };
            within(path, &member(key), |path| match self.evaluator.resolve(value, path, &strict)? {
                Value::String(text) => Ok(Some(text)),
                Value::Null => Ok(None),
                _ => Err(TemplateError::validation(
                    path,
                    &format!("The template resource's '{key}' must be a string."),
                )),
            })
        };
        let required = |key: &str, path: &mut String| match text(key, path)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => Err(TemplateError::validation(path, &format!("The template resource has no '{key}'."))),
        };
        let own_type = required("type", path)?;
        let own_name = required("name", path)?;
        let api_version = required("apiVersion", path)?;
        let location = text("location", path)?;
        let (resource_type, name) = full_name(parent, own_type, own_name);
        let type_segments = resource_type.split('/').count();
        let name_segments = name.split('/').count();
        if type_segments != name_segments + 1
            || resource_type.split('/').chain(name.split('/')).any(str::is_empty)
        {
            return Err(TemplateError::validation(
                path,
                &format!(
                    "The template resource '{name}' for type '{resource_type}' has incorrect segment lengths. A nested resource type must have identical number of segments as its resource name. A root resource type must have segment length one greater than its resource name. Please see https://aka.ms/arm-syntax-resources for usage details."
                ),
            ));
        }
        let id = resource_id(self.evaluator.scope(), &resource_type, &name);

        let condition = match entries.get("condition") {
            None => true,
            Some(condition) => within(path, ".condition", |path| {
                match self.evaluator.resolve(condition, path, &strict)? {
                    Value::Bool(condition) => Ok(condition),
                    _ => Err(TemplateError::validation(
                        path,
                        "The template resource's 'condition' must be a Boolean.",
                    )),
                }
            })?,
        };
        if condition {
            let wanted = within(path, ".dependsOn", |path| match entries.get("dependsOn") {
                None | Some(Value::Null) => Ok(Vec::new()),
                Some(list) => match self.evaluator.resolve(list, path, &strict)? {
                    Value::Array(items) => {
                        Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                    }
                    _ => Err(TemplateError::validation(path, "'dependsOn' must be an array of strings.")),
                },
            })?;
            let source: Map<_, _> = entries
                .iter()
                .filter(|(key, value)| {
                    !(DEPLOYMENT_KEYS.contains(&key.as_str())
                        && !(key.as_str() == "copy" && value.is_array()))
                })
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            let source = Value::Object(source);
            let context = Context::deferring(turns.clone());
            let mut body = self.evaluator.resolve(&source, path, &context)?;
            body["type"] = resource_type.clone().into();
            body["name"] = name.clone().into();
            if let Some(in_loop) = in_loop {
                self.loops.entry(in_loop.to_lowercase()).or_default().push(id.clone());
            }
            let resource = Resource {
                id,
                resource_type: resource_type.clone(),
                name: name.clone(),
                api_version,
                location,
                depends_on: Vec::new(),
                body,
                deferred: context.deferred.get(),
                path: path.clone(),
                source,
                turns: turns.clone(),
            };
            self.resources.push(Pending { resource, wanted, referenced: context.referenced.into_inner() });
            if self.resources.len() > MOST_RESOURCES {
                return Err(TemplateError::validation(
                    path,
                    &format!("The template has more than the limit of '{MOST_RESOURCES}' resources."),
                ));
            }
        } else {
            self.dropped.push((id, name.clone()));
        }
        // "Conditional deployment doesn't cascade to child resources."
        let Some(children) = entries.get("resources") else {
            return Ok(());
        };
        let Some(children) = children.as_array() else {
            return Err(TemplateError::validation(
                &format!("{path}.resources"),
                "'resources' must be an array.",
            ));
        };
        let parent = Parent { resource_type: &resource_type, name: &name, turns: &turns };
        for (index, child) in children.iter().enumerate() {
            within(path, &format!(".resources[{index}]"), |path| self.element(child, path, Some(&parent)))?;
        }
        Ok(())
    }

    /// Resolves the dependencies and brings the resources into an order.
    fn finish(self) -> Result<Vec<Resource>, TemplateError> {
        let known: Vec<(String, String)> =
            self.resources.iter().map(|p| (p.resource.id.clone(), p.resource.name.clone())).collect();
        let mut seen = BTreeSet::new();
        for pending in &self.resources {
            if !seen.insert(pending.resource.id.to_lowercase()) {
                return Err(TemplateError::validation(
                    &pending.resource.path,
                    &format!(
                        "The resource '{}' is defined multiple times in a template. Please see https://aka.ms/arm-syntax-resources for usage details.",
                        pending.resource.id
                    ),
                ));
            }
        }
        let mut waiting = Vec::new();
        for mut pending in self.resources {
            let mut depends_on = Vec::new();
            for wanted in &pending.wanted {
                let found = find(wanted, &known);
                if let Some(found) = found {
                    depends_on.push(found.to_owned());
                } else if let Some(ids) = self.loops.get(&wanted.to_lowercase()) {
                    depends_on.extend(ids.iter().cloned());
                } else if find(wanted, &self.dropped).is_none() {
                    return Err(TemplateError::validation(
                        &pending.resource.path,
                        &format!(
                            "The resource '{wanted}' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details."
                        ),
                    ));
                }
            }
            depends_on.extend(
                pending.referenced.iter().filter_map(|wanted| find(wanted, &known)).map(str::to_owned),
            );
            let mut once = BTreeSet::new();
            depends_on.retain(|id| once.insert(id.to_lowercase()));
            pending.resource.depends_on = depends_on;
            waiting.push(pending.resource);
        }
        in_order(waiting)
    }
}

/// The first resource that can be made, again and again.
fn in_order(mut waiting: Vec<Resource>) -> Result<Vec<Resource>, TemplateError> {
    let mut done = BTreeSet::new();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting
            .iter()
            .position(|resource| resource.depends_on.iter().all(|id| done.contains(&id.to_lowercase())));
        let Some(ready) = ready else {
            let names: Vec<_> = waiting.iter().map(|resource| resource.name.as_str()).collect();
            return Err(TemplateError::validation(
                &waiting[0].path,
                &format!(
                    "Circular dependency detected on resource: '{}'. The resources are '{}'. Please see https://aka.ms/arm-syntax-resources for usage details.",
                    waiting[0].id,
                    names.join(", ")
                ),
            ));
        };
        let resource = waiting.remove(ready);
        done.insert(resource.id.to_lowercase());
        ordered.push(resource);
    }
    Ok(ordered)
}

/// A dependency is given as an id, as `Type/name` in the form of an id's end, or as a name.
fn find<'a>(wanted: &str, known: &'a [(String, String)]) -> Option<&'a str> {
    let suffix = format!("/providers/{}", wanted.trim_start_matches('/'));
    known
        .iter()
        .find(|(id, name)| {
            same(id, wanted) || same(name, wanted) || id.to_lowercase().ends_with(&suffix.to_lowercase())
        })
        .map(|(id, _)| id.as_str())
}

/// A child inside its parent has the last segments only; one that is written in full stays as it is.
fn full_name(parent: Option<&Parent<'_>>, own_type: String, own_name: String) -> (String, String) {
    match parent {
        Some(parent) if !own_type.split('/').next().is_some_and(|provider| provider.contains('.')) => {
            (format!("{}/{own_type}", parent.resource_type), format!("{}/{own_name}", parent.name))
        }
        _ => (own_type, own_name),
    }
}

fn resource_id(scope: &Scope, resource_type: &str, name: &str) -> String {
    let mut segments = resource_type.split('/');
    let mut id = format!(
        "/subscriptions/{}/resourceGroups/{}/providers/{}",
        scope.subscription_id,
        scope.resource_group,
        segments.next().unwrap_or_default()
    );
    for (kind, name) in segments.zip(name.split('/')) {
        id.push_str(&format!("/{kind}/{name}"));
    }
    id
}
