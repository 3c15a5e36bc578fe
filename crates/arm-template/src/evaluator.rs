//! Gives an expression its value.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
};

use serde_json::{Map, Value, json};

use crate::{
    error::{Stop, TemplateError, wrong},
    expression::{Expression, Meaning, meaning},
    functions,
    parameters::{self, Declarations},
};

/// JSON levels, calls and variables inside each other that are followed before giving up; keeps hostile input off the
/// stack's end.
const DEEPEST: usize = 128;
/// "You're limited to 800 resources", which also bounds every copy loop
/// (<https://learn.microsoft.com/azure/azure-resource-manager/templates/best-practices#template-limits>).
pub(crate) const LONGEST_COPY: i64 = 800;
/// What one call may return, in characters plus 16 per value; the template with everything expanded may have 4 MiB.
pub(crate) const LARGEST_VALUE: usize = 4 * 1024 * 1024;
/// What all calls of one evaluation may return together.
const LARGEST_SUM: usize = 16 * LARGEST_VALUE;

/// Where the template is deployed to: what `subscription()`, `resourceGroup()`, `deployment()` and `resourceId()` see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The subscription's GUID.
    pub subscription_id: String,
    /// The resource group's name.
    pub resource_group: String,
    /// The resource group's region, e.g. `westeurope`.
    pub resource_group_location: String,
    /// The deployment's name.
    pub deployment_name: String,
    /// The tenant's GUID.
    pub tenant_id: String,
}

/// The deployed world as `reference()` sees it.
pub trait References {
    /// The whole resource, as a GET answers it (`reference()` itself takes its `properties` unless `'Full'` is asked
    /// for); `None` where there is none. `id_or_name` is a resource id, or the name of a resource of the same template.
    fn reference(&self, id_or_name: &str, api_version: Option<&str>) -> Option<Value>;
}

/// One turn of a copy loop.
#[derive(Clone, Debug)]
pub(crate) struct Turn {
    pub(crate) name: String,
    pub(crate) index: i64,
    /// `copyIndex()` without a name means the loop over resources (or outputs).
    pub(crate) unnamed: bool,
}

/// The place in which expressions are evaluated.
pub(crate) struct Context<'a> {
    pub(crate) references: Option<&'a dyn References>,
    pub(crate) turns: RefCell<Vec<Turn>>,
    /// Keep strings that need a deployed resource as they are instead of failing.
    pub(crate) may_defer: bool,
    /// Something was kept.
    pub(crate) deferred: Cell<bool>,
    /// What `reference()` was asked for: an implicit dependency.
    pub(crate) referenced: RefCell<Vec<String>>,
    variables: bool,
}

impl<'a> Context<'a> {
    /// A place where everything must have its value at once.
    pub(crate) fn strict() -> Self {
        Self {
            references: None,
            turns: RefCell::default(),
            may_defer: false,
            deferred: Cell::new(false),
            referenced: RefCell::default(),
            variables: true,
        }
    }

    /// A place inside copy loops where everything must have its value at once.
    pub(crate) fn strict_in(turns: Vec<Turn>) -> Self {
        Self {
            turns: RefCell::new(turns),
            ..Self::strict()
        }
    }

    /// A place that waits for deployed resources.
    pub(crate) fn deferring(turns: Vec<Turn>) -> Self {
        Self {
            may_defer: true,
            turns: RefCell::new(turns),
            ..Self::strict()
        }
    }

    /// A place where the deployed resources are known.
    pub(crate) fn deployed(turns: Vec<Turn>, references: &'a dyn References) -> Self {
        Self {
            references: Some(references),
            turns: RefCell::new(turns),
            ..Self::strict()
        }
    }

    /// The default value of a parameter, which sees no variables.
    fn parameter_default() -> Self {
        Self {
            variables: false,
            ..Self::strict()
        }
    }
}

enum Slot {
    Busy,
    Done(Value),
}

/// Gives the expressions of one template their values.
///
/// Variables and defaults are evaluated when they are first asked for, and once.
pub struct Evaluator {
    template: Value,
    scope: Scope,
    declarations: Declarations,
    given: BTreeMap<String, Value>,
    slots: RefCell<BTreeMap<String, Slot>>,
    depth: Cell<usize>,
    spent: Cell<usize>,
}

impl fmt::Debug for Evaluator {
    /// Leaves the parameters' values out: some are passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluator")
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl Evaluator {
    /// Takes a template and the values of its parameters (already unwrapped from `{"value": …}`; literal, never
    /// evaluated).
    ///
    /// # Errors
    /// `InvalidTemplate` if a parameter has no value and no default, is not declared, or breaks its declaration.
    pub fn new(
        template: &Value,
        parameters: &BTreeMap<String, Value>,
        scope: &Scope,
    ) -> Result<Self, TemplateError> {
        let declarations = Declarations::read(template)?;
        let given = declarations.accept(parameters)?;
        let evaluator = Self {
            template: template.clone(),
            scope: scope.clone(),
            declarations,
            given,
            slots: RefCell::default(),
            depth: Cell::new(0),
            spent: Cell::new(0),
        };
        for name in evaluator.declarations.names() {
            evaluator
                .parameter(name)
                .map_err(|stop| stop.at(&format!("$.parameters.{name}")))?;
        }
        Ok(evaluator)
    }

    /// The value of any JSON value of the template: expressions in it are evaluated, everything else stays.
    ///
    /// # Errors
    /// `InvalidTemplate` if an expression is wrong, or needs a deployed resource.
    pub fn value(&self, value: &Value) -> Result<Value, TemplateError> {
        self.spent.set(0);
        self.resolve(value, &mut "$".to_owned(), &Context::strict())
    }

    /// The names of the parameters whose values are secrets.
    pub(crate) fn secure_parameters(&self) -> impl Iterator<Item = &str> {
        self.declarations.secure()
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    fn deeper(&self) -> Result<Deeper<'_>, Stop> {
        if self.depth.get() >= DEEPEST {
            return wrong(format!("The template is nested deeper than '{DEEPEST}' levels."));
        }
        self.depth.set(self.depth.get() + 1);
        Ok(Deeper(&self.depth))
    }

    /// Counts a call's result against the template's limits.
    fn charge(&self, function: &str, value: &Value) -> Result<(), Stop> {
        let size = functions::size(value);
        let sum = self.spent.get().saturating_add(size);
        self.spent.set(sum);
        if size > LARGEST_VALUE || sum > LARGEST_SUM {
            return wrong(format!(
                "The result of the template function '{function}' is larger than the limit of 4 MB."
            ));
        }
        Ok(())
    }

    /// Evaluates everything in a JSON value; `path` is where it stands.
    pub(crate) fn resolve(
        &self,
        value: &Value,
        path: &mut String,
        context: &Context<'_>,
    ) -> Result<Value, TemplateError> {
        let _deeper = self.deeper().map_err(|stop| stop.at(path))?;
        match value {
            Value::String(text) => self.resolve_text(text, path, context),
            Value::Array(items) => {
                let mut result = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    result.push(within(path, &format!("[{index}]"), |path| {
                        self.resolve(item, path, context)
                    })?);
                }
                Ok(Value::Array(result))
            }
            Value::Object(entries) => self.resolve_object(entries, path, context),
            other => Ok(other.clone()),
        }
    }

    fn resolve_text(&self, text: &str, path: &str, context: &Context<'_>) -> Result<Value, TemplateError> {
        match meaning(text).map_err(|reason| TemplateError::expression(path, &reason))? {
            Meaning::Literal(text) => Ok(Value::String(text)),
            Meaning::Expression(expression) => match self.evaluate(&expression, context) {
                Err(Stop::Deferred) if context.may_defer => {
                    context.deferred.set(true);
                    Ok(Value::String(text.to_owned()))
                }
                result => result.map_err(|stop| stop.at(path)),
            },
        }
    }

    fn resolve_object(
        &self,
        entries: &Map<String, Value>,
        path: &mut String,
        context: &Context<'_>,
    ) -> Result<Value, TemplateError> {
        let mut result = Map::new();
        for (key, value) in entries {
            if key.eq_ignore_ascii_case("copy") && is_property_copy(value) {
                for (index, copy) in value.as_array().into_iter().flatten().enumerate() {
                    let (name, items) = within(path, &format!(".copy[{index}]"), |path| {
                        self.property_copy(copy, path, context)
                    })?;
                    result.insert(name, items);
                }
                continue;
            }
            within(path, &member(key), |path| {
                // Keys can be expressions as well, such as tags of the form `[concat('hidden-related:', …)]`.
                let key = match self.resolve_text(key, path, context)? {
                    Value::String(key) => key,
                    _ => {
                        return Err(TemplateError::expression(
                            path,
                            "A property name must be a string.",
                        ));
                    }
                };
                result.insert(key, self.resolve(value, path, context)?);
                Ok(())
            })?;
        }
        Ok(Value::Object(result))
    }

    /// One entry of a `copy` array: the property's name and its items.
    fn property_copy(
        &self,
        copy: &Value,
        path: &mut String,
        context: &Context<'_>,
    ) -> Result<(String, Value), TemplateError> {
        let name = copy["name"].as_str().unwrap_or_default().to_owned();
        let count = self.copy_count(&copy["count"], path, context)?;
        let mut items = Vec::new();
        for index in 0..count {
            context.turns.borrow_mut().push(Turn {
                name: name.clone(),
                index,
                unnamed: false,
            });
            let item = within(path, ".input", |path| self.resolve(&copy["input"], path, context));
            context.turns.borrow_mut().pop();
            let item = item?;
            self.charge("copy", &item).map_err(|stop| stop.at(path))?;
            items.push(item);
        }
        Ok((name, Value::Array(items)))
    }

    /// The `count` of a copy loop.
    pub(crate) fn copy_count(
        &self,
        count: &Value,
        path: &str,
        context: &Context<'_>,
    ) -> Result<i64, TemplateError> {
        let strict = Context::strict_in(context.turns.borrow().clone());
        let count = self.resolve(count, &mut format!("{path}.count"), &strict)?;
        match count.as_i64() {
            Some(count) if (0..=LONGEST_COPY).contains(&count) => Ok(count),
            _ => Err(TemplateError::validation(
                &format!("{path}.count"),
                &format!(
                    "The template 'copy' definition has an invalid count '{}': it must be an integer from 0 to {LONGEST_COPY}.",
                    short(&count)
                ),
            )),
        }
    }

    fn evaluate(&self, expression: &Expression, context: &Context<'_>) -> Result<Value, Stop> {
        let _deeper = self.deeper()?;
        match expression {
            Expression::Text(text) => Ok(Value::String(text.clone())),
            Expression::Integer(number) => Ok(Value::from(*number)),
            Expression::Member { of, name } => {
                select(self.evaluate(of, context)?, &Value::String(name.clone()))
            }
            Expression::Index { of, index } => {
                let of = self.evaluate(of, context)?;
                select(of, &self.evaluate(index, context)?)
            }
            Expression::Call { name, arguments } => {
                let value = self.call(name, arguments, context)?;
                self.charge(name, &value)?;
                Ok(value)
            }
        }
    }

    fn call(&self, name: &str, arguments: &[Expression], context: &Context<'_>) -> Result<Value, Stop> {
        let function = name.to_ascii_lowercase();
        // Only the chosen branch of `if` is evaluated.
        if function == "if" {
            let [condition, yes, no] = arguments else {
                return wrong("The template function 'if' expects three parameters.");
            };
            return match self.evaluate(condition, context)? {
                Value::Bool(true) => self.evaluate(yes, context),
                Value::Bool(false) => self.evaluate(no, context),
                other => wrong(format!(
                    "The template function 'if' expects its first parameter to be of type 'Boolean'. The provided value is of type '{}'.",
                    functions::kind(&other)
                )),
            };
        }
        if !functions::is_known(&function) {
            return Err(functions::unknown(name));
        }
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.evaluate(argument, context)?);
        }
        match (function.as_str(), values.as_slice()) {
            ("parameters", [Value::String(name)]) => self.parameter(name),
            ("variables", [Value::String(_)]) if !context.variables => {
                wrong("The template function 'variables' is not expected at this location.")
            }
            ("variables", [Value::String(name)]) => self.variable(name),
            ("parameters" | "variables", _) => wrong(format!(
                "The template function '{name}' expects one parameter, a name."
            )),
            ("copyindex", values) => copy_index(values, &context.turns.borrow()),
            ("reference", values) => reference(values, context),
            (function, values) => functions::call(function, values, &self.scope),
        }
    }

    fn parameter(&self, name: &str) -> Result<Value, Stop> {
        let key = name.to_lowercase();
        if let Some(value) = self.given.get(&key) {
            return Ok(value.clone());
        }
        let Some(declaration) = self.declarations.get(&key) else {
            return wrong(format!(
                "The template parameter '{name}' is not found. Please see https://aka.ms/arm-template/#parameters for usage details."
            ));
        };
        let Some(default) = &declaration.default else {
            return Err(Stop::Placed(parameters::missing(&declaration.name)));
        };
        let path = format!("$.parameters{}.defaultValue", member(&declaration.name));
        self.once(&format!("parameter {key}"), &declaration.name, || {
            let value = self
                .resolve(default, &mut path.clone(), &Context::parameter_default())
                .map_err(Stop::Placed)?;
            declaration
                .check(&value)
                .map_err(|reason| Stop::Placed(TemplateError::validation(&path, &reason)))?;
            Ok(value)
        })
    }

    fn variable(&self, name: &str) -> Result<Value, Stop> {
        let not_found = || {
            Stop::Wrong(format!(
                "The template variable '{name}' is not found. Please see https://aka.ms/arm-template/#variables for usage details."
            ))
        };
        let variables = self.template["variables"].as_object().ok_or_else(not_found)?;
        let found = variables
            .iter()
            .find(|(key, value)| same(key, name) && !(same(key, "copy") && is_property_copy(value)));
        if let Some((key, value)) = found {
            return self.once(&format!("variable {}", key.to_lowercase()), key, || {
                let path = format!("$.variables{}", member(key));
                self.resolve(value, &mut path.clone(), &Context::strict())
                    .map_err(Stop::Placed)
            });
        }
        let copies = variables
            .get("copy")
            .and_then(Value::as_array)
            .ok_or_else(not_found)?;
        let (index, copy) = copies
            .iter()
            .enumerate()
            .find(|(_, copy)| copy["name"].as_str().is_some_and(|key| same(key, name)))
            .ok_or_else(not_found)?;
        self.once(&format!("variable {}", name.to_lowercase()), name, || {
            let mut path = format!("$.variables.copy[{index}]");
            let (_, items) = self
                .property_copy(copy, &mut path, &Context::strict())
                .map_err(Stop::Placed)?;
            Ok(items)
        })
    }

    /// Evaluates what has not been yet, and notices if that needs itself.
    fn once(
        &self,
        key: &str,
        name: &str,
        evaluate: impl FnOnce() -> Result<Value, Stop>,
    ) -> Result<Value, Stop> {
        match self.slots.borrow().get(key) {
            Some(Slot::Done(value)) => return Ok(value.clone()),
            Some(Slot::Busy) => {
                return wrong(format!(
                    "The template {} is not valid: a circular dependency was detected on '{name}'.",
                    key.split(' ').next().unwrap_or_default()
                ));
            }
            None => {}
        }
        self.slots.borrow_mut().insert(key.to_owned(), Slot::Busy);
        let result = evaluate();
        match &result {
            Ok(value) => self
                .slots
                .borrow_mut()
                .insert(key.to_owned(), Slot::Done(value.clone())),
            Err(_) => self.slots.borrow_mut().remove(key),
        };
        result
    }
}

struct Deeper<'a>(&'a Cell<usize>);

impl Drop for Deeper<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Runs `step` with `part` added to the path.
pub(crate) fn within<T>(path: &mut String, part: &str, step: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(part);
    let result = step(path);
    path.truncate(length);
    result
}

/// A property's part of a JSON path: `.name`, or `['name']` where that would not read back.
pub(crate) fn member(key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    if plain {
        format!(".{key}")
    } else {
        format!("['{}']", key.replace('\'', "\\'"))
    }
}

/// Names in templates ignore case.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}

/// A value in an error message.
fn short(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

/// `copy` means a loop only where it looks like one; a resource may have a property of that name.
fn is_property_copy(value: &Value) -> bool {
    value.as_array().is_some_and(|copies| {
        !copies.is_empty()
            && copies.iter().all(|copy| {
                copy["name"].is_string() && copy.get("count").is_some() && copy.get("input").is_some()
            })
    })
}

/// `value.key`, `value[0]`, `value['key']`.
fn select(value: Value, key: &Value) -> Result<Value, Stop> {
    match (value, key) {
        (Value::Object(mut entries), Value::String(key)) => {
            let found = match entries.contains_key(key) {
                true => Some(key.clone()),
                false => entries.keys().find(|name| same(name, key)).cloned(),
            };
            match found.and_then(|name| entries.swap_remove(&name)) {
                Some(value) => Ok(value),
                None => {
                    let names: Vec<_> = entries.keys().map(String::as_str).collect();
                    wrong(format!(
                        "The language expression property '{key}' doesn't exist, available properties are '{}'.",
                        names.join(", ")
                    ))
                }
            }
        }
        (Value::Array(mut items), Value::Number(index)) => {
            let length = items.len();
            match index.as_u64().and_then(|index| usize::try_from(index).ok()) {
                Some(index) if index < length => Ok(items.swap_remove(index)),
                _ => wrong(format!(
                    "The language expression property array index '{index}' is out of bounds: the array has '{length}' items."
                )),
            }
        }
        (value, key) => wrong(format!(
            "The language expression property '{}' can't be evaluated: the value is of type '{}'.",
            short(key),
            functions::kind(&value)
        )),
    }
}

/// `copyIndex()`, `copyIndex(offset)`, `copyIndex('loop')`, `copyIndex('loop', offset)`.
fn copy_index(arguments: &[Value], turns: &[Turn]) -> Result<Value, Stop> {
    let (name, offset) = match arguments {
        [] => (None, 0),
        [Value::Number(offset)] => (None, offset.as_i64().unwrap_or(0)),
        [Value::String(name)] => (Some(name), 0),
        [Value::String(name), Value::Number(offset)] => (Some(name), offset.as_i64().unwrap_or(0)),
        _ => {
            return wrong(
                "The template function 'copyIndex' expects a loop's name, an integer offset, or both.",
            );
        }
    };
    let turn = turns.iter().rev().find(|turn| match name {
        Some(name) => same(&turn.name, name),
        None => turn.unnamed,
    });
    match (turn, name) {
        (Some(turn), _) => Ok(Value::from(turn.index.saturating_add(offset))),
        (None, Some(name)) => wrong(format!(
            "The template function 'copyIndex' has an invalid argument: the copy loop '{name}' is not defined here."
        )),
        (None, None) => wrong(
            "The template function 'copyIndex' is not expected at this location. The function can only be used in a resource with copy specified.",
        ),
    }
}

fn reference(arguments: &[Value], context: &Context<'_>) -> Result<Value, Stop> {
    let (of, version, full) = match arguments {
        [Value::String(of)] => (of, None, false),
        [Value::String(of), Value::String(version)] => (of, Some(version.as_str()), false),
        [Value::String(of), Value::String(version), Value::String(full)] if same(full, "Full") => {
            (of, Some(version.as_str()), true)
        }
        _ => {
            return wrong(
                "The template function 'reference' expects a resource, and optionally an API version and 'Full'.",
            );
        }
    };
    context.referenced.borrow_mut().push(of.clone());
    let Some(references) = context.references else {
        return Err(Stop::Deferred);
    };
    let resource = references
        .reference(of, version)
        .ok_or_else(|| Stop::Wrong(format!("The Resource '{of}' is not found.")))?;
    if full {
        return Ok(resource);
    }
    Ok(resource.get("properties").cloned().unwrap_or_else(|| json!({})))
}
