//! Array and object functions, and those that take a string or an array.

use serde_json::{Map, Value};

use super::{
    Call,
    text::{as_text, units},
};
use crate::{error::Stop, paths::same};

pub(super) fn call(call: &Call<'_>) -> Option<Result<Value, Stop>> {
    Some(match call.name {
        "array" => call.count(1, 1).map(|()| match &call.arguments[0] {
            Value::Array(items) => Value::Array(items.clone()),
            other => Value::Array(vec![other.clone()]),
        }),
        "concat" => concat(call),
        "contains" => contains(call),
        "createarray" => Ok(Value::Array(call.arguments.to_vec())),
        "createobject" => create_object(call),
        "empty" => empty(call),
        "first" => edge(call, true),
        "last" => edge(call, false),
        "indexof" => index_of(call, true),
        "lastindexof" => index_of(call, false),
        "intersection" => intersection(call),
        "join" => join(call),
        "length" => length(call),
        "skip" => part(call, false),
        "take" => part(call, true),
        "union" => union(call),
        _ => return None,
    })
}

fn concat(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(1, usize::MAX)?;
    if call.arguments.iter().any(Value::is_array) {
        let mut all = Vec::new();
        for (index, argument) in call.arguments.iter().enumerate() {
            match argument {
                Value::Array(items) => all.extend(items.iter().cloned()),
                _ => return call.expected(index, "an array like the others"),
            }
        }
        return Ok(Value::Array(all));
    }
    let mut all = String::new();
    for (index, argument) in call.arguments.iter().enumerate() {
        match argument {
            Value::String(_) | Value::Number(_) | Value::Bool(_) => all.push_str(&as_text(argument)),
            _ => return call.expected(index, "a string, an integer or a Boolean"),
        }
    }
    Ok(all.into())
}

fn contains(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(2, 2)?;
    let item = &call.arguments[1];
    Ok(Value::Bool(match &call.arguments[0] {
        Value::Array(items) => items.contains(item),
        Value::Object(entries) => {
            let name = call.text(1)?;
            entries.keys().any(|key| same(key, name))
        }
        Value::String(text) => text.contains(&as_text(item)),
        _ => return call.expected(0, "an array, an object or a string"),
    }))
}

fn create_object(call: &Call<'_>) -> Result<Value, Stop> {
    if call.arguments.len() % 2 == 1 {
        return call.refuse("it expects an even number of parameters: names and values.");
    }
    let mut result = Map::new();
    for index in (0..call.arguments.len()).step_by(2) {
        result.insert(call.text(index)?.to_owned(), call.arguments[index + 1].clone());
    }
    Ok(Value::Object(result))
}

fn empty(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(1, 1)?;
    Ok(Value::Bool(match &call.arguments[0] {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => return call.expected(0, "an object, an array, or a string"),
    }))
}

fn length(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(1, 1)?;
    Ok(Value::from(match &call.arguments[0] {
        Value::String(text) => text.encode_utf16().count(),
        Value::Array(items) => items.len(),
        Value::Object(entries) => entries.len(),
        _ => return call.expected(0, "an object, an array, or a string"),
    }))
}

/// `first` and `last`.
fn edge(call: &Call<'_>, first: bool) -> Result<Value, Stop> {
    call.count(1, 1)?;
    match &call.arguments[0] {
        Value::Array(items) => {
            let item = if first { items.first() } else { items.last() };
            Ok(item.cloned().unwrap_or(Value::Null))
        }
        Value::String(text) => {
            let letter = if first { text.chars().next() } else { text.chars().next_back() };
            Ok(letter.map(String::from).unwrap_or_default().into())
        }
        _ => call.expected(0, "an array or a string"),
    }
}

/// `indexOf` and `lastIndexOf`: in strings they ignore case.
fn index_of(call: &Call<'_>, first: bool) -> Result<Value, Stop> {
    call.count(2, 2)?;
    let found = match &call.arguments[0] {
        Value::Array(items) => {
            let is_it = |item: &Value| *item == call.arguments[1];
            if first { items.iter().position(is_it) } else { items.iter().rposition(is_it) }
        }
        Value::String(text) => {
            let (text, part) = (text.to_lowercase(), call.text(1)?.to_lowercase());
            let at = if first { text.find(&part) } else { text.rfind(&part) };
            at.map(|at| text[..at].encode_utf16().count())
        }
        _ => return call.expected(0, "an array or a string"),
    };
    Ok(found.map_or(Value::from(-1), Value::from))
}

/// `take` and `skip`; a count that is too large or below zero is cut.
fn part(call: &Call<'_>, take: bool) -> Result<Value, Stop> {
    call.count(2, 2)?;
    let count = usize::try_from(call.integer(1)?.max(0)).unwrap_or(usize::MAX);
    match &call.arguments[0] {
        Value::Array(items) => {
            let at = count.min(items.len());
            Ok(Value::Array(if take { items[..at].to_vec() } else { items[at..].to_vec() }))
        }
        Value::String(text) => {
            let length = text.encode_utf16().count();
            let at = count.min(length);
            let part = if take { units(text, 0, at) } else { units(text, at, length) };
            Ok(part.unwrap_or_default().into())
        }
        _ => call.expected(0, "an array or a string"),
    }
}

fn join(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(2, 2)?;
    let Value::Array(items) = &call.arguments[0] else {
        return call.expected(0, "an array");
    };
    let texts: Vec<_> = items.iter().map(as_text).collect();
    Ok(texts.join(call.text(1)?).into())
}

fn union(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(1, usize::MAX)?;
    let mut arguments = call.arguments.iter().enumerate();
    let Some((_, first)) = arguments.next() else {
        return call.expected(0, "given");
    };
    match first {
        Value::Array(items) => {
            let mut all: Vec<Value> = Vec::new();
            add_new(&mut all, items);
            for (index, argument) in arguments {
                match argument {
                    Value::Array(items) => add_new(&mut all, items),
                    _ => return call.expected(index, "an array like the first"),
                }
            }
            Ok(Value::Array(all))
        }
        Value::Object(entries) => {
            let mut all = entries.clone();
            for (index, argument) in arguments {
                match argument {
                    Value::Object(entries) => merge(&mut all, entries),
                    _ => return call.expected(index, "an object like the first"),
                }
            }
            Ok(Value::Object(all))
        }
        _ => call.expected(0, "an array or an object"),
    }
}

fn add_new(all: &mut Vec<Value>, items: &[Value]) {
    for item in items {
        if !all.contains(item) {
            all.push(item.clone());
        }
    }
}

/// The later object wins; objects inside both are merged as well.
fn merge(all: &mut Map<String, Value>, entries: &Map<String, Value>) {
    for (key, value) in entries {
        match (all.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(value)) => merge(inner, value),
            _ => {
                all.insert(key.clone(), value.clone());
            }
        }
    }
}

fn intersection(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(2, usize::MAX)?;
    let mut result = call.arguments[0].clone();
    for (index, argument) in call.arguments.iter().enumerate().skip(1) {
        match (&mut result, argument) {
            (Value::Array(kept), Value::Array(items)) => kept.retain(|item| items.contains(item)),
            (Value::Object(kept), Value::Object(entries)) => {
                kept.retain(|key, value| entries.get(key) == Some(value))
            }
            _ => return call.expected(index, "an array or an object like the first"),
        }
    }
    Ok(result)
}
