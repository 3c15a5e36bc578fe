//! What depends on the place of an expression rather than on its arguments alone.

use serde_json::{Value, json};

use crate::{
    context::{Context, Turn},
    error::{Stop, wrong},
    functions,
    paths::same,
};

/// A value in an error message.
pub(crate) fn short(value: &Value) -> String {
    value.to_string().chars().take(40).collect()
}

/// `value.key`, `value[0]`, `value['key']`.
pub(crate) fn select(value: Value, key: &Value) -> Result<Value, Stop> {
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
pub(crate) fn copy_index(arguments: &[Value], turns: &[Turn]) -> Result<Value, Stop> {
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

/// `reference(resource, [apiVersion], ['Full'])`.
pub(crate) fn reference(arguments: &[Value], context: &Context<'_>) -> Result<Value, Stop> {
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
