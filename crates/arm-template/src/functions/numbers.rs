//! Numeric functions. Integers have 64 bits; what does not fit is an error, as in Azure.

use serde_json::Value;

use super::Call;
use crate::error::Stop;

/// "The sum of startIndex and count must be no greater than 2147483647. count must be no greater than 10000."
const LONGEST_RANGE: i64 = 10_000;
const LARGEST_RANGE_VALUE: i64 = 2_147_483_647;

pub(super) fn call(call: &Call<'_>) -> Option<Result<Value, Stop>> {
    Some(match call.name {
        "add" => two(call, i64::checked_add),
        "sub" => two(call, i64::checked_sub),
        "mul" => two(call, i64::checked_mul),
        "div" => two(call, i64::checked_div),
        "mod" => two(call, i64::checked_rem),
        "int" => int(call),
        "min" => several(call).map(|numbers| numbers.into_iter().min().map_or(Value::Null, Value::from)),
        "max" => several(call).map(|numbers| numbers.into_iter().max().map_or(Value::Null, Value::from)),
        "range" => range(call),
        _ => return None,
    })
}

fn two(call: &Call<'_>, operation: fn(i64, i64) -> Option<i64>) -> Result<Value, Stop> {
    call.count(2, 2)?;
    match operation(call.integer(0)?, call.integer(1)?) {
        Some(number) => Ok(Value::from(number)),
        None => call.refuse("the result is no 64-bit integer (a division by zero, or an overflow)."),
    }
}

fn int(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(1, 1)?;
    let number = match &call.arguments[0] {
        Value::String(text) => text.trim().parse::<i64>().ok(),
        other => other.as_i64(),
    };
    match number {
        Some(number) => Ok(Value::from(number)),
        None => call.expected(0, "convertible to an integer"),
    }
}

fn several(call: &Call<'_>) -> Result<Vec<i64>, Stop> {
    if let [Value::Array(items)] = call.arguments {
        let numbers: Option<Vec<i64>> = items.iter().map(Value::as_i64).collect();
        return match numbers {
            Some(numbers) if !numbers.is_empty() => Ok(numbers),
            _ => call.expected(0, "an array of integers that is not empty"),
        };
    }
    call.count(1, usize::MAX)?;
    (0..call.arguments.len()).map(|index| call.integer(index)).collect()
}

fn range(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(2, 2)?;
    let (start, count) = (call.integer(0)?, call.integer(1)?);
    if !(0..=LONGEST_RANGE).contains(&count) || start.saturating_add(count) > LARGEST_RANGE_VALUE {
        return call.refuse("the count must be from 0 to 10000 and start plus count at most 2147483647.");
    }
    Ok((start..start + count).map(Value::from).collect())
}
