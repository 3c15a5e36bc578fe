//! A whole template: its resources in full, in an order in which they can be made, and its outputs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

use crate::{
    check::check,
    context::{Context, References, Scope, Turn},
    error::TemplateError,
    evaluator::Evaluator,
    expansion::expand,
    paths::{member, within},
};

/// One resource to be made.
#[derive(Clone)]
pub struct Resource {
    /// The full resource id.
    pub id: String,
    /// The full type, e.g. `Microsoft.DevTestLab/labs/virtualmachines`, as the template spells it.
    pub resource_type: String,
    /// The full name, e.g. `mylab/myvm`.
    pub name: String,
    /// The API version.
    pub api_version: String,
    /// The region, where the template gives one.
    pub location: Option<String>,
    /// The ids of the resources of this template that must stand first.
    pub depends_on: Vec<String>,
    /// The resource as it is sent to its provider: `type`, `name`, `apiVersion`, `location`, `tags`, `properties`, …
    /// with everything evaluated. Where [`deferred`](Self::deferred) is true, strings that call `reference()` are still
    /// as in the template. May hold secrets.
    pub body: Value,
    /// Something in the body needs `reference()`: call [`Evaluated::finish`] when the dependencies stand.
    pub deferred: bool,
    pub(crate) path: String,
    pub(crate) source: Value,
    pub(crate) turns: Vec<Turn>,
}

impl Resource {
    /// The resource's `properties`; null where it has none.
    pub fn properties(&self) -> &Value {
        &self.body["properties"]
    }

    /// The resource's `tags`; null where it has none.
    pub fn tags(&self) -> &Value {
        &self.body["tags"]
    }
}

impl fmt::Debug for Resource {
    /// Leaves the body out: it may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource")
            .field("id", &self.id)
            .field("depends_on", &self.depends_on)
            .finish_non_exhaustive()
    }
}

/// One output.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// The declared type, as the template spells it.
    pub output_type: String,
    /// The value; `None` for secure types, which Resource Manager never shows.
    pub value: Option<Value>,
}

/// A template whose expressions have their values.
#[derive(Clone)]
pub struct Evaluated {
    /// All resources, every one after those that it depends on, otherwise in the template's order.
    pub resources: Vec<Resource>,
    /// The names of the parameters whose values are secrets.
    pub secure_parameters: BTreeSet<String>,
    template: Value,
    parameters: BTreeMap<String, Value>,
    scope: Scope,
}

impl fmt::Debug for Evaluated {
    /// Leaves the parameters out: some are passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluated").field("resources", &self.resources).finish_non_exhaustive()
    }
}

impl Evaluated {
    /// The body of a [deferred](Resource::deferred) resource, now that others stand.
    ///
    /// # Errors
    /// `InvalidTemplate` if `reference()` finds nothing.
    pub fn finish(&self, resource: &Resource, references: &dyn References) -> Result<Value, TemplateError> {
        let evaluator = Evaluator::new(&self.template, &self.parameters, &self.scope)?;
        let context = Context::deployed(resource.turns.clone(), references);
        let mut body = evaluator.resolve(&resource.source, &mut resource.path.clone(), &context)?;
        body["type"] = resource.resource_type.clone().into();
        body["name"] = resource.name.clone().into();
        Ok(body)
    }

    /// The outputs, once everything stands.
    ///
    /// # Errors
    /// `InvalidTemplate` if `reference()` finds nothing.
    pub fn outputs(&self, references: &dyn References) -> Result<BTreeMap<String, Output>, TemplateError> {
        let evaluator = Evaluator::new(&self.template, &self.parameters, &self.scope)?;
        outputs(&evaluator, &self.template, |turns| Context::deployed(turns, references))
    }
}

/// Evaluates a template as Resource Manager does when it accepts a deployment. `parameters` are literal values, already
/// unwrapped from `{"value": …}`.
///
/// # Errors
/// `InvalidTemplate`, with Azure's wording and the JSON path: see [`TemplateError`].
pub fn evaluate(
    template: &Value,
    parameters: &BTreeMap<String, Value>,
    scope: &Scope,
) -> Result<Evaluated, TemplateError> {
    let Some(entries) = template.as_object() else {
        return Err(TemplateError::validation("$", "The template must be a JSON object."));
    };
    for key in ["$schema", "contentVersion", "resources"] {
        if !entries.contains_key(key) {
            return Err(TemplateError::validation(
                "$",
                &format!("Required property '{key}' not found in JSON. Path ''."),
            ));
        }
    }
    let Some(elements) = template["resources"].as_array() else {
        return Err(TemplateError::validation("$.resources", "'resources' must be an array."));
    };
    if let Some(error) = check(template).into_iter().next() {
        return Err(error);
    }
    let evaluator = Evaluator::new(template, parameters, scope)?;
    let resources = expand(&evaluator, elements)?;
    // Outputs are refused now if they are wrong, even if their values are known later only.
    outputs(&evaluator, template, Context::deferring)?;
    Ok(Evaluated {
        resources,
        secure_parameters: evaluator.secure_parameters().map(str::to_owned).collect(),
        template: template.clone(),
        parameters: parameters.clone(),
        scope: scope.clone(),
    })
}

fn outputs<'a>(
    evaluator: &Evaluator,
    template: &Value,
    context: impl Fn(Vec<Turn>) -> Context<'a>,
) -> Result<BTreeMap<String, Output>, TemplateError> {
    let mut result = BTreeMap::new();
    for (name, body) in template["outputs"].as_object().into_iter().flatten() {
        let mut path = format!("$.outputs{}", member(name));
        let output_type = match body["type"].as_str() {
            Some(output_type) => output_type.to_owned(),
            None => {
                return Err(TemplateError::validation(
                    &path,
                    &format!("The template output '{name}' has no 'type'."),
                ));
            }
        };
        let wanted = match body.get("condition") {
            None => Value::Bool(true),
            Some(condition) => within(&mut path, ".condition", |path| {
                evaluator.resolve(condition, path, &context(Vec::new()))
            })?,
        };
        if wanted == Value::Bool(false) {
            continue;
        }
        let value = if let Some(copy) = body.get("copy").filter(|copy| copy.is_object()) {
            let count = evaluator.copy_count(&copy["count"], &format!("{path}.copy"), &Context::strict())?;
            let mut items = Vec::new();
            for index in 0..count {
                let turn = Turn { name: name.clone(), index, unnamed: true };
                items.push(within(&mut path, ".copy.input", |path| {
                    evaluator.resolve(&copy["input"], path, &context(vec![turn]))
                })?);
            }
            Value::Array(items)
        } else {
            let Some(value) = body.get("value") else {
                return Err(TemplateError::validation(
                    &path,
                    &format!("The template output '{name}' has no 'value'."),
                ));
            };
            within(&mut path, ".value", |path| evaluator.resolve(value, path, &context(Vec::new())))?
        };
        let secure = output_type.to_ascii_lowercase().starts_with("secure");
        result.insert(name.clone(), Output { output_type, value: (!secure).then_some(value) });
    }
    Ok(result)
}
