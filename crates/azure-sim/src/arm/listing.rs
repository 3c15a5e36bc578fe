//! `$filter`, `$top`, `$orderby` and paging of collections.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
};
use crate::World;

/// DevTest Labs answers at most so many items at once.
pub(crate) const PAGE: usize = 100;

/// One condition of a `$filter`.
enum Condition {
    Equal(String, String),
    Different(String, String),
    Contains(String, String),
    StartsWith(String, String),
    True(String),
}

impl Condition {
    fn holds(&self, item: &Value) -> bool {
        self.holds_for(&field(item, self.path()).to_lowercase())
    }

    /// Whether an entry with this key can be left out without making its body. Keys end with the item's name, in lower case.
    fn rules_out(&self, key: &str) -> bool {
        let name = key.rsplit('/').next().unwrap_or(key);
        self.path().eq_ignore_ascii_case("name") && !self.holds_for(name)
    }

    fn path(&self) -> &str {
        match self {
            Self::Equal(path, _)
            | Self::Different(path, _)
            | Self::Contains(path, _)
            | Self::StartsWith(path, _)
            | Self::True(path) => path,
        }
    }

    fn holds_for(&self, text: &str) -> bool {
        match self {
            Self::Equal(_, value) => text == value,
            Self::Different(_, value) => text != value,
            Self::Contains(_, value) => text.contains(value),
            Self::StartsWith(_, value) => text.starts_with(value),
            Self::True(_) => text == "true",
        }
    }
}

/// The text of `name` or `properties/x/y` in a resource.
fn field(item: &Value, path: &str) -> String {
    let mut value = item;
    for part in path.split('/') {
        let found = value
            .as_object()
            .and_then(|object| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(part)));
        match found {
            Some((_, inner)) => value = inner,
            None => return String::new(),
        }
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Reads conditions joined by `and`: `name eq 'x'`, `ne`, `contains(name,'x')`, `startswith(name,'x')`,
/// `properties/allowClaim` (it is true); `tolower(x)` is `x`.
fn conditions(filter: &str) -> Result<Vec<Condition>, ArmError> {
    let refuse = || ArmError::new(400, "InvalidFilter", format!("The filter '{filter}' is not supported."));
    let mut result = Vec::new();
    let mut rest = filter.trim();
    while !rest.is_empty() {
        let (condition, after) = condition(rest).ok_or_else(refuse)?;
        result.push(condition);
        let after = after.trim_start();
        rest = match after.get(..4) {
            Some(word) if word.eq_ignore_ascii_case("and ") => after[4..].trim_start(),
            _ if after.is_empty() => after,
            _ => return Err(refuse()),
        };
    }
    Ok(result)
}

fn condition(text: &str) -> Option<(Condition, &str)> {
    let lower = text.to_ascii_lowercase();
    for (function, make) in [
        ("contains(", Condition::Contains as fn(String, String) -> Condition),
        ("startswith(", Condition::StartsWith),
    ] {
        if lower.starts_with(function) {
            let (path, rest) = text[function.len()..].split_once(',')?;
            let (value, rest) = literal(rest.trim_start())?;
            return Some((make(plain(path), value), rest.trim_start().strip_prefix(')')?));
        }
    }
    // A property alone: it is true.
    let path_end = text.find(' ').unwrap_or(text.len());
    let (path, rest) = text.split_at(path_end);
    if rest.trim().is_empty() || rest.trim_start().to_ascii_lowercase().starts_with("and ") {
        let is_property = path.to_ascii_lowercase().starts_with("properties/")
            && path.chars().all(|c| c.is_ascii_alphanumeric() || c == '/');
        return is_property.then(|| (Condition::True(path.to_owned()), rest));
    }
    let (operator, rest) = rest.trim_start().split_once(' ')?;
    let (value, rest) = literal(rest.trim_start())?;
    match operator.to_ascii_lowercase().as_str() {
        "eq" => Some((Condition::Equal(plain(path), value), rest)),
        "ne" => Some((Condition::Different(plain(path), value), rest)),
        _ => None,
    }
}

/// A path without `tolower(…)` around it.
fn plain(path: &str) -> String {
    let path = path.trim();
    let inner = path
        .get(..8)
        .filter(|start| start.eq_ignore_ascii_case("tolower("))
        .and_then(|_| path[8..].strip_suffix(')'));
    inner.unwrap_or(path).to_owned()
}

/// `'text'` with doubled quotes, or a bare word.
fn literal(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find([' ', ')']).unwrap_or(text.len());
        return Some((text[..end].to_lowercase(), &text[end..]));
    };
    let mut value = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('\'')?;
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(after) => {
                value.push('\'');
                rest = after;
            }
            None => return Some((value.to_lowercase(), after)),
        }
    }
}

/// Answers one page of a collection. `entries` are in the order of their keys, and start after the key that a skip token names;
/// `view` makes an item's body.
pub(crate) fn page<'a, T: 'a, I>(
    world: &World,
    call: &Call,
    entries: impl FnOnce(Option<&str>) -> I,
    view: impl Fn(&T) -> Value,
) -> Result<Answer, ArmError>
where
    I: Iterator<Item = (&'a String, &'a T)>,
{
    let filter = conditions(call.query.get("$filter").map_or("", String::as_str))?;
    let top = match call.query.get("$top") {
        Some(text) => text
            .parse::<usize>()
            .map_err(|_| ArmError::bad_request(format!("The value '{text}' of '$top' is no number.")))?,
        None => usize::MAX,
    };
    let size = top.min(PAGE);
    let token = match call.query.get("$skiptoken") {
        Some(token) => Some(read_token(token)?),
        None => None,
    };
    if let Some(order) = call.query.get("$orderby").filter(|order| !order.trim().is_empty()) {
        return ordered(world, call, order, top, token, entries(None).map(|(_, item)| view(item)), &filter);
    }
    let mut items = Vec::new();
    let mut last = None;
    let mut more = false;
    for (key, item) in entries(token.as_deref()) {
        if filter.iter().any(|condition| condition.rules_out(key)) {
            continue;
        }
        let body = view(item);
        if filter.iter().all(|condition| condition.holds(&body)) {
            if items.len() == size {
                more = true;
                break;
            }
            items.push(body);
        }
        last = Some(key);
    }
    // `$top` limits the whole answer when it fits in one page, and the page otherwise.
    let more = more && top > PAGE;
    Ok(answer(world, call, items, last.filter(|_| more).map(String::as_str)))
}

fn ordered(
    world: &World,
    call: &Call,
    order: &str,
    top: usize,
    token: Option<String>,
    items: impl Iterator<Item = Value>,
    filter: &[Condition],
) -> Result<Answer, ArmError> {
    let (path, direction) = order.trim().split_once(' ').unwrap_or((order.trim(), "asc"));
    let mut items: Vec<Value> = items.filter(|item| filter.iter().all(|c| c.holds(item))).collect();
    items.sort_by_cached_key(|item| field(item, path).to_lowercase());
    if direction.trim().eq_ignore_ascii_case("desc") {
        items.reverse();
    }
    items.truncate(top);
    let start: usize = token.and_then(|token| token.parse().ok()).unwrap_or(0).min(items.len());
    let end = (start + PAGE).min(items.len());
    let next = (end < items.len()).then(|| end.to_string());
    Ok(answer(world, call, items[start..end].to_vec(), next.as_deref()))
}

fn answer(world: &World, call: &Call, items: Vec<Value>, next: Option<&str>) -> Answer {
    let mut body = json!({"value": items});
    if let Some(next) = next {
        body["nextLink"] = json!(next_link(world, call, next));
    }
    Answer::json(200, body)
}

fn next_link(world: &World, call: &Call, next: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in &call.query {
        if name != "$skiptoken" {
            query.append_pair(name, value);
        }
    }
    query.append_pair("$skiptoken", &URL_SAFE_NO_PAD.encode(next));
    let path = percent_encoding::utf8_percent_encode(&call.path(), super::PATH).to_string();
    format!("{}{path}?{}", world.endpoints.resource_manager(), query.finish())
}

fn read_token(token: &str) -> Result<String, ArmError> {
    URL_SAFE_NO_PAD
        .decode(token)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| ArmError::bad_request("The skip token is invalid."))
}

/// The entries of a map after a skip token's key.
pub(crate) fn after<'a, T>(
    map: &'a std::collections::BTreeMap<String, T>,
    token: Option<&str>,
) -> impl Iterator<Item = (&'a String, &'a T)> + use<'a, T> {
    let start = match token {
        Some(token) => std::ops::Bound::Excluded(token.to_owned()),
        None => std::ops::Bound::Unbounded,
    };
    map.range((start, std::ops::Bound::Unbounded))
}
