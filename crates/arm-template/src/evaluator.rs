//! Gives an expression its value.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
};

use serde_json::{Map, Value};

use crate::{
    context::{Context, Scope, Turn},
    error::{Stop, TemplateError, wrong},
    expression::{Expression, Meaning, meaning},
    functions,
    lookups::{copy_index, reference, select, short},
    parameters::{self, Declarations},
    paths::{member, same, within},
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
const LARGEST_SUM: usize = 64 * LARGEST_VALUE;

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
        f.debug_struct("Evaluator").field("scope", &self.scope).finish_non_exhaustive()
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
            evaluator.parameter(name).map_err(|stop| stop.at(&format!("$.parameters.{name}")))?;
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
                    result
                        .push(within(path, &format!("[{index}]"), |path| self.resolve(item, path, context))?);
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
                        return Err(TemplateError::expression(path, "A property name must be a string."));
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
            context.turns.borrow_mut().push(Turn { name: name.clone(), index, unnamed: false });
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
            ("parameters" | "variables", _) => {
                wrong(format!("The template function '{name}' expects one parameter, a name."))
            }
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
                self.resolve(value, &mut path.clone(), &Context::strict()).map_err(Stop::Placed)
            });
        }
        let copies = variables.get("copy").and_then(Value::as_array).ok_or_else(not_found)?;
        let (index, copy) = copies
            .iter()
            .enumerate()
            .find(|(_, copy)| copy["name"].as_str().is_some_and(|key| same(key, name)))
            .ok_or_else(not_found)?;
        self.once(&format!("variable {}", name.to_lowercase()), name, || {
            let mut path = format!("$.variables.copy[{index}]");
            let (_, items) = self.property_copy(copy, &mut path, &Context::strict()).map_err(Stop::Placed)?;
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
            Ok(value) => self.slots.borrow_mut().insert(key.to_owned(), Slot::Done(value.clone())),
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

/// `copy` means a loop only where it looks like one; a resource may have a property of that name.
fn is_property_copy(value: &Value) -> bool {
    value.as_array().is_some_and(|copies| {
        !copies.is_empty()
            && copies.iter().all(|copy| {
                copy["name"].is_string() && copy.get("count").is_some() && copy.get("input").is_some()
            })
    })
}
