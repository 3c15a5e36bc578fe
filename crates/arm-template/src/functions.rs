//! The template functions: one file per page of "ARM template functions".

mod collections;
mod logic;
mod numbers;
mod resources;
mod text;

use serde_json::Value;

use crate::{
    context::Scope,
    error::{Stop, wrong},
};

/// Every function that this evaluator knows, in lower case and sorted.
const NAMES: &[&str] = &[
    "add",
    "and",
    "array",
    "base64",
    "base64tojson",
    "base64tostring",
    "bool",
    "coalesce",
    "concat",
    "contains",
    "copyindex",
    "createarray",
    "createobject",
    "deployment",
    "div",
    "empty",
    "endswith",
    "equals",
    "false",
    "first",
    "format",
    "greater",
    "greaterorequals",
    "guid",
    "if",
    "indexof",
    "int",
    "intersection",
    "join",
    "json",
    "last",
    "lastindexof",
    "length",
    "less",
    "lessorequals",
    "max",
    "min",
    "mod",
    "mul",
    "not",
    "null",
    "or",
    "padleft",
    "parameters",
    "range",
    "reference",
    "replace",
    "resourcegroup",
    "resourceid",
    "skip",
    "split",
    "startswith",
    "string",
    "sub",
    "subscription",
    "subscriptionresourceid",
    "substring",
    "take",
    "tenant",
    "tolower",
    "toupper",
    "trim",
    "true",
    "union",
    "uniquestring",
    "variables",
];

/// Whether there is a function of this lower-case name.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.binary_search(&name).is_ok()
}

/// Azure's refusal of a function.
pub(crate) fn unknown(name: &str) -> Stop {
    Stop::Wrong(unknown_text(name))
}

/// The text of that refusal.
pub(crate) fn unknown_text(name: &str) -> String {
    format!(
        "The template function '{name}' is not valid. Please see https://aka.ms/arm-functions for usage details."
    )
}

/// Calls a function that depends on its arguments and the scope only. `name` is in lower case.
pub(crate) fn call(name: &str, arguments: &[Value], scope: &Scope) -> Result<Value, Stop> {
    let call = Call { name, arguments };
    text::call(&call)
        .or_else(|| collections::call(&call))
        .or_else(|| logic::call(&call))
        .or_else(|| numbers::call(&call))
        .or_else(|| resources::call(&call, scope))
        .unwrap_or_else(|| Err(unknown(name)))
}

/// A type's name in Azure's error texts.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "Null",
        Value::Bool(_) => "Boolean",
        Value::Number(number) if number.is_f64() => "Float",
        Value::Number(_) => "Integer",
        Value::String(_) => "String",
        Value::Array(_) => "Array",
        Value::Object(_) => "Object",
    }
}

/// How large a value is: its characters, and 16 for every value in it.
pub(crate) fn size(value: &Value) -> usize {
    const EACH: usize = 16;
    match value {
        Value::String(text) => EACH + text.len(),
        Value::Array(items) => items.iter().map(size).fold(EACH, usize::saturating_add),
        Value::Object(entries) => entries
            .iter()
            .map(|(key, value)| key.len().saturating_add(size(value)))
            .fold(EACH, usize::saturating_add),
        _ => EACH,
    }
}

/// A function with its arguments.
struct Call<'a> {
    name: &'a str,
    arguments: &'a [Value],
}

impl<'a> Call<'a> {
    fn refuse<T>(&self, reason: &str) -> Result<T, Stop> {
        wrong(format!("The template function '{}' is used wrongly: {reason}", self.name))
    }

    /// Checks the number of arguments.
    fn count(&self, least: usize, most: usize) -> Result<(), Stop> {
        let count = self.arguments.len();
        if (least..=most).contains(&count) {
            return Ok(());
        }
        if least == most {
            return self.refuse(&format!("it expects {least} parameter(s), {count} are given."));
        }
        self.refuse(&format!("it expects {least} or more parameter(s), {count} are given."))
    }

    fn expected<T>(&self, index: usize, what: &str) -> Result<T, Stop> {
        let found = self.arguments.get(index).map_or("nothing", kind);
        self.refuse(&format!(
            "parameter {} must be {what}, the provided value is of type '{found}'.",
            index + 1
        ))
    }

    fn text(&self, index: usize) -> Result<&'a str, Stop> {
        match self.arguments.get(index) {
            Some(Value::String(text)) => Ok(text),
            _ => self.expected(index, "a string"),
        }
    }

    fn integer(&self, index: usize) -> Result<i64, Stop> {
        match self.arguments.get(index).and_then(Value::as_i64) {
            Some(number) => Ok(number),
            None => self.expected(index, "an integer"),
        }
    }

    fn boolean(&self, index: usize) -> Result<bool, Stop> {
        match self.arguments.get(index) {
            Some(Value::Bool(value)) => Ok(*value),
            _ => self.expected(index, "a Boolean"),
        }
    }

    fn value(&self, index: usize) -> Result<&'a Value, Stop> {
        match self.arguments.get(index) {
            Some(value) => Ok(value),
            None => self.expected(index, "given"),
        }
    }

    fn texts(&self) -> Result<Vec<String>, Stop> {
        (0..self.arguments.len()).map(|index| self.text(index).map(str::to_owned)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_a_function() {
        assert!(NAMES.is_sorted());
        // The evaluator itself does these.
        let own = ["copyindex", "if", "parameters", "reference", "variables"];
        for name in NAMES.iter().filter(|name| !own.contains(name)) {
            if let Err(Stop::Wrong(reason)) = call(name, &[], &Scope::default()) {
                assert!(!reason.contains("is not valid. Please see"), "{name}");
            }
        }
    }
}
