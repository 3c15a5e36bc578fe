//! Logical and comparison functions.

use serde_json::Value;

use super::Call;
use crate::{error::Stop, paths::same};

pub(super) fn call(call: &Call<'_>) -> Option<Result<Value, Stop>> {
    Some(match call.name {
        "and" => all(call).map(|values| Value::Bool(values.iter().all(|value| *value))),
        "or" => all(call).map(|values| Value::Bool(values.iter().any(|value| *value))),
        "not" => call.count(1, 1).and_then(|()| call.boolean(0)).map(|value| Value::Bool(!value)),
        "bool" => bool(call),
        "true" => call.count(0, 0).map(|()| Value::Bool(true)),
        "false" => call.count(0, 0).map(|()| Value::Bool(false)),
        "null" => call.count(0, 0).map(|()| Value::Null),
        "equals" => call.count(2, 2).map(|()| Value::Bool(call.arguments[0] == call.arguments[1])),
        "less" => order(call).map(|order| Value::Bool(order.is_lt())),
        "lessorequals" => order(call).map(|order| Value::Bool(order.is_le())),
        "greater" => order(call).map(|order| Value::Bool(order.is_gt())),
        "greaterorequals" => order(call).map(|order| Value::Bool(order.is_ge())),
        "coalesce" => call
            .count(1, usize::MAX)
            .map(|()| call.arguments.iter().find(|value| !value.is_null()).cloned().unwrap_or(Value::Null)),
        _ => return None,
    })
}

fn all(call: &Call<'_>) -> Result<Vec<bool>, Stop> {
    call.count(2, usize::MAX)?;
    (0..call.arguments.len()).map(|index| call.boolean(index)).collect()
}

fn bool(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(1, 1)?;
    match &call.arguments[0] {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::Number(number) => Ok(Value::Bool(number.as_i64() != Some(0))),
        Value::String(text) if same(text, "true") || text == "1" => Ok(Value::Bool(true)),
        Value::String(text) if same(text, "false") || text == "0" => Ok(Value::Bool(false)),
        _ => call.expected(0, "'true', 'false' or an integer"),
    }
}

fn order(call: &Call<'_>) -> Result<std::cmp::Ordering, Stop> {
    call.count(2, 2)?;
    match (&call.arguments[0], &call.arguments[1]) {
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        _ => Ok(call.integer(0)?.cmp(&call.integer(1)?)),
    }
}
