//! Changes to JSON that stays JSON, and so gets past the syntax.

use proptest::{
    collection::vec,
    prelude::*,
    sample::{Index, select},
};
use serde_json::{Map, Value, json};

/// Most changes of one document.
const MOST_EDITS: usize = 6;

#[derive(Clone, Debug)]
enum Edit {
    Replace(Index, Value),
    Remove(Index, Index),
    Rename(Index, Index, String),
    Copy(Index, Index),
    Wrap(Index, bool, usize),
    Repeat(Index, usize),
}

/// Samples with some of their values changed, moved, removed, renamed or doubled.
pub(crate) fn mutated(samples: &[Vec<u8>]) -> BoxedStrategy<Vec<u8>> {
    let documents: Vec<Value> =
        samples.iter().filter_map(|sample| serde_json::from_slice(sample).ok()).collect();
    assert!(!documents.is_empty(), "no sample is JSON");
    (select(documents), vec(edit(), 1..MOST_EDITS))
        .prop_map(|(mut document, edits)| {
            for edit in &edits {
                change(&mut document, edit);
            }
            document.to_string().into_bytes()
        })
        .boxed()
}

/// The document once for each giant in the place of one of its values; about so many places are chosen, evenly.
pub(crate) fn with_values_replaced(document: &Value, places: usize, giants: &[Vec<u8>]) -> Vec<Vec<u8>> {
    const HERE: &str = "\u{1}here";
    let mut all = Vec::new();
    let values = count(document);
    for at in (0..values).step_by(values.div_ceil(places)) {
        let mut marked = document.clone();
        if let Some(value) = find(&mut marked, &mut { at }) {
            *value = HERE.into();
        }
        let text = marked.to_string();
        let Some((start, end)) = text.split_once("\"\\u0001here\"") else { continue };
        all.extend(giants.iter().map(|giant| [start.as_bytes(), giant, end.as_bytes()].concat()));
    }
    all
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        6 => (at(), odd()).prop_map(|(at, value)| Edit::Replace(at, value)),
        2 => (at(), at()).prop_map(|(at, entry)| Edit::Remove(at, entry)),
        2 => (at(), at(), "[a-zA-Z$.]{0,6}|\\PC{0,4}").prop_map(|(at, entry, name)| Edit::Rename(at, entry, name)),
        3 => (at(), at()).prop_map(|(from, to)| Edit::Copy(from, to)),
        1 => (at(), any::<bool>(), 1..140_usize).prop_map(|(at, list, depth)| Edit::Wrap(at, list, depth)),
        1 => (at(), 1..100_usize).prop_map(|(at, times)| Edit::Repeat(at, times)),
    ]
}

/// Values that parsers stumble over.
fn odd() -> impl Strategy<Value = Value> {
    let fixed = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(-1),
        json!(1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(i32::MAX),
        json!(1e308),
        json!(-0.0),
        json!(5e-324),
        json!(""),
        json!(" "),
        json!("\0"),
        json!("\u{feff}"),
        json!("\u{2028}é😀"),
        json!("../.."),
        json!("/"),
        json!("a/b"),
        json!("\\"),
        json!("*"),
        json!("[]"),
        json!("[["),
        json!("[[x]"),
        json!("[null()]"),
        json!("[parameters('x')]"),
        json!("{}"),
        json!("0"),
        json!("-1"),
        json!("99999999999999999999"),
        json!("2026-11-22T13:00:00Z"),
        json!("9999-12-31T23:59:59.9999999Z"),
        json!("-0001-01-01T00:00:00Z"),
        json!("PT1S"),
        json!("P99999999999999999D"),
        json!("<x>"),
        json!("%"),
        json!("x".repeat(300)),
        json!([]),
        json!({}),
        json!([[]]),
        json!({"": null}),
        json!([null]),
        json!(["a", 1, {}]),
    ];
    prop_oneof![
        4 => select(fixed.to_vec()),
        1 => "\\PC{0,20}".prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ]
}

/// How many values there are in a value, itself counted.
fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(entries) => entries.values().map(count).sum(),
        _ => 0,
    }
}

/// The value number `left`, counted as in [`count`].
fn find<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| find(item, left)),
        Value::Object(entries) => entries.values_mut().find_map(|item| find(item, left)),
        _ => None,
    }
}

fn change(document: &mut Value, edit: &Edit) {
    let all = count(document);
    let at = |index: &Index| index.index(all);
    match edit {
        Edit::Replace(index, value) => set(document, at(index), value.clone()),
        Edit::Copy(from, to) => {
            if let Some(value) = find(document, &mut at(from)).cloned() {
                set(document, at(to), value);
            }
        }
        Edit::Wrap(index, list, depth) => {
            if let Some(value) = find(document, &mut at(index)) {
                for _ in 0..*depth {
                    let inner = value.take();
                    *value = if *list { json!([inner]) } else { json!({"a": inner}) };
                }
            }
        }
        Edit::Repeat(index, times) => {
            if let Some(value) = find(document, &mut at(index)) {
                let inner = value.take();
                *value = match inner {
                    Value::Array(items) if items.len() < 1000 => {
                        items.iter().cycle().take(items.len() * times).cloned().collect()
                    }
                    Value::String(text) if text.len() < 1000 => text.repeat(*times).into(),
                    other => other,
                };
            }
        }
        Edit::Remove(index, entry) => match find(document, &mut at(index)) {
            Some(Value::Array(items)) if !items.is_empty() => drop(items.remove(entry.index(items.len()))),
            Some(Value::Object(entries)) if !entries.is_empty() => {
                if let Some(key) = entries.keys().nth(entry.index(entries.len())).cloned() {
                    entries.shift_remove(&key);
                }
            }
            _ => {}
        },
        Edit::Rename(index, entry, name) => {
            if let Some(Value::Object(entries)) = find(document, &mut at(index))
                && !entries.is_empty()
            {
                let renamed = entry.index(entries.len());
                let old: Map<_, _> = std::mem::take(entries);
                *entries = old
                    .into_iter()
                    .enumerate()
                    .map(|(place, (key, value))| (if place == renamed { name.clone() } else { key }, value))
                    .collect();
            }
        }
    }
}

fn set(document: &mut Value, at: usize, value: Value) {
    if let Some(place) = find(document, &mut { at }) {
        *place = value;
    }
}
