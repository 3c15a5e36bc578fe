//! String functions. Positions and lengths count UTF-16 units, as .NET does.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

use super::{Call, kind, size};
use crate::{
    error::{Stop, wrong},
    evaluator::LARGEST_VALUE,
    unique_string,
};

pub(super) fn call(call: &Call<'_>) -> Option<Result<Value, Stop>> {
    Some(match call.name {
        "base64" => one(call).map(|text| STANDARD.encode(text).into()),
        "base64tostring" => decoded(call).map(Value::String),
        "base64tojson" => decoded(call).and_then(|text| parsed(call, &text)),
        "json" => one(call).and_then(|text| parsed(call, text)),
        "string" => call.count(1, 1).map(|()| as_text(&call.arguments[0]).into()),
        "tolower" => one(call).map(|text| text.to_lowercase().into()),
        "toupper" => one(call).map(|text| text.to_uppercase().into()),
        "trim" => one(call).map(|text| text.trim().into()),
        "startswith" => {
            two(call).map(|(text, part)| text.to_lowercase().starts_with(&part.to_lowercase()).into())
        }
        "endswith" => {
            two(call).map(|(text, part)| text.to_lowercase().ends_with(&part.to_lowercase()).into())
        }
        "replace" => replace(call),
        "split" => split(call),
        "substring" => substring(call),
        "padleft" => pad_left(call),
        "format" => format(call),
        "guid" => at_least_one(call).map(|texts| unique_string::guid(&texts).into()),
        "uniquestring" => at_least_one(call).map(|texts| unique_string::unique_string(&texts).into()),
        _ => return None,
    })
}

fn one<'a>(call: &Call<'a>) -> Result<&'a str, Stop> {
    call.count(1, 1)?;
    call.text(0)
}

fn two<'a>(call: &Call<'a>) -> Result<(&'a str, &'a str), Stop> {
    call.count(2, 2)?;
    Ok((call.text(0)?, call.text(1)?))
}

fn at_least_one(call: &Call<'_>) -> Result<Vec<String>, Stop> {
    call.count(1, usize::MAX)?;
    call.texts()
}

fn decoded(call: &Call<'_>) -> Result<String, Stop> {
    match STANDARD.decode(one(call)?).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(text) => Ok(text),
        None => call.expected(0, "base64 of UTF-8 text"),
    }
}

fn parsed(call: &Call<'_>, text: &str) -> Result<Value, Stop> {
    serde_json::from_str(text).or_else(|error| call.refuse(&format!("the text is not valid JSON: {error}.")))
}

/// What `string()` makes of a value; .NET writes Booleans with a capital.
pub(super) fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Refuses a result before it is built when it would be too large to hold.
fn affordable(units: usize) -> Result<(), Stop> {
    if units > LARGEST_VALUE {
        return wrong("The result of a template function is larger than the limit of 4 MB.");
    }
    Ok(())
}

fn replace(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(3, 3)?;
    let (text, old, new) = (call.text(0)?, call.text(1)?, call.text(2)?);
    if old.is_empty() {
        return call.expected(1, "a string that is not empty");
    }
    affordable(text.len().saturating_add(text.matches(old).count().saturating_mul(new.len())))?;
    Ok(text.replace(old, new).into())
}

fn split(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(2, 2)?;
    let text = call.text(0)?;
    let delimiters: Vec<&str> = match call.value(1)? {
        Value::String(delimiter) => vec![delimiter],
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect()
        }
        _ => return call.expected(1, "a string or an array of strings"),
    };
    let delimiters: Vec<_> = delimiters.into_iter().filter(|delimiter| !delimiter.is_empty()).collect();
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    while at < text.len() {
        if let Some(found) = delimiters.iter().find(|delimiter| text[at..].starts_with(**delimiter)) {
            parts.push(Value::from(&text[start..at]));
            at += found.len();
            start = at;
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    parts.push(Value::from(&text[start..]));
    Ok(Value::Array(parts))
}

/// A part of a text by UTF-16 units; both ends must lie inside.
pub(super) fn units(text: &str, start: usize, end: usize) -> Option<String> {
    let all: Vec<u16> = text.encode_utf16().collect();
    all.get(start..end).map(String::from_utf16_lossy)
}

fn substring(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(2, 3)?;
    let text = call.text(0)?;
    let length = text.encode_utf16().count() as i64;
    let start = call.integer(1)?;
    let count = if call.arguments.len() == 3 { call.integer(2)? } else { length.saturating_sub(start) };
    let part = usize::try_from(start)
        .ok()
        .zip(usize::try_from(start.saturating_add(count)).ok())
        .and_then(|(start, end)| units(text, start, end));
    match part {
        Some(part) => Ok(part.into()),
        None => call.refuse("the index and length parameters must refer to a location within the string."),
    }
}

fn pad_left(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(2, 3)?;
    let text = match call.value(0)? {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return call.expected(0, "a string or an integer"),
    };
    let with = if call.arguments.len() == 3 { call.text(2)? } else { " " };
    let mut letters = with.chars();
    let (Some(letter), None) = (letters.next(), letters.next()) else {
        return call.expected(2, "a single character");
    };
    let Ok(total) = usize::try_from(call.integer(1)?) else {
        return call.expected(1, "a length of 0 or more");
    };
    let missing = total.saturating_sub(text.encode_utf16().count());
    affordable(missing)?;
    let padding: String = std::iter::repeat_n(letter, missing).collect();
    Ok(format!("{padding}{text}").into())
}

/// .NET's composite formatting: `{0}`, `{0,10}`, and for integers `{0:D4}`, `{0:X2}` and `{0:000}`.
fn format(call: &Call<'_>) -> Result<Value, Stop> {
    call.count(1, usize::MAX)?;
    let mut rest = call.text(0)?;
    let mut result = String::new();
    while let Some(at) = rest.find(['{', '}']) {
        result.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            result.push_str(brace);
            rest = after;
            continue;
        }
        let Some(end) = rest.find('}').filter(|_| brace == "{") else {
            return call.refuse("the format string has a brace without its counterpart.");
        };
        result.push_str(&item(call, &rest[..end])?);
        affordable(result.len())?;
        rest = &rest[end + 1..];
    }
    result.push_str(rest);
    Ok(result.into())
}

fn item(call: &Call<'_>, text: &str) -> Result<String, Stop> {
    let (place, shape) = text.split_once(':').map_or((text, None), |(place, shape)| (place, Some(shape)));
    let (index, width) = place.split_once(',').map_or((place, "0"), |(index, width)| (index, width));
    let value =
        index.trim().parse::<usize>().ok().and_then(|index| call.arguments.get(index.checked_add(1)?));
    let (Some(value), Ok(width)) = (value, width.trim().parse::<i16>()) else {
        return call.refuse(&format!("the format item '{{{text}}}' names no argument."));
    };
    let written = match (shape, value) {
        (None | Some(""), value) => as_text(value),
        (Some(shape), Value::Number(number)) => {
            match number.as_i64().and_then(|number| shaped(number, shape)) {
                Some(written) => written,
                None => {
                    return call
                        .refuse(&format!("the format '{shape}' is not supported for the value '{number}'."));
                }
            }
        }
        (Some(_), Value::String(text)) => text.clone(),
        (Some(shape), other) => {
            return call
                .refuse(&format!("the format '{shape}' does not fit a value of type '{}'.", kind(other)));
        }
    };
    affordable(size(&Value::Null) + written.len())?;
    let wide = usize::from(width.unsigned_abs());
    Ok(if width < 0 { format!("{written:<wide$}") } else { format!("{written:>wide$}") })
}

fn shaped(number: i64, shape: &str) -> Option<String> {
    let digits = |text: &str| {
        if text.is_empty() { Some(0) } else { text.parse::<usize>().ok().filter(|n| *n <= 99) }
    };
    let padded = |width: usize| {
        let sign = if number < 0 { "-" } else { "" };
        format!("{sign}{:0>width$}", number.unsigned_abs())
    };
    match shape.chars().next()? {
        'D' | 'd' => digits(&shape[1..]).map(padded),
        'X' => digits(&shape[1..]).map(|width| format!("{number:0width$X}")),
        'x' => digits(&shape[1..]).map(|width| format!("{number:0width$x}")),
        '0' if shape.len() <= 99 && shape.bytes().all(|b| b == b'0') => Some(padded(shape.len())),
        _ => None,
    }
}
