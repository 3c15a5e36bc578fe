//! Reading Azure's answers leniently: providers leave keys out, and a strict type would refuse the whole answer.
//! Documents with the same key twice are read too; the last one counts.

use std::collections::BTreeMap;

use serde_json::Value;
use time::OffsetDateTime;

/// The text at a JSON pointer; an empty one counts as absent.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    let text = value.pointer(pointer)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The date at a JSON pointer.
pub(super) fn date(value: &Value, pointer: &str) -> Option<OffsetDateTime> {
    super::text::date(value.pointer(pointer)?.as_str()?)
}

/// The items of the list at a JSON pointer; none if there is no list.
pub(super) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// A resource's tags; the key is missing where there are none.
pub(super) fn tags(value: &Value) -> BTreeMap<String, String> {
    let tags = value.get("tags").and_then(Value::as_object).into_iter().flatten();
    tags.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

/// A resource's name: its own field, else the last part of its id.
pub(super) fn name(value: &Value) -> String {
    let from_id = || Some(text(value, "/id")?.rsplit('/').next()?.to_owned());
    text(value, "/name").or_else(from_id).unwrap_or_default()
}
