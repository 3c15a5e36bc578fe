//! Reads JSON as people's editors write it: any UTF with a byte order mark, and keys that are there twice.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::problem::Problems;

/// So much of a key is shown in a JSON path, in characters.
const LONGEST_KEY: usize = 100;
/// So many keys that are there twice are shown. Each has the whole path to it: without a bound, few bytes would ask for many.
const MOST_DUPLICATES: usize = 100;

/// A JSON file's content.
pub(super) struct Parsed {
    /// The value; of keys that are there twice, the last.
    pub(super) value: Value,
    /// The JSON paths of keys that are there twice.
    pub(super) duplicates: Vec<String>,
}

/// Reads a file; broken JSON is reported with line and column.
pub(super) fn parse(file: &str, content: &[u8], problems: &mut Problems) -> Option<Parsed> {
    let Some(text) = decode(content) else {
        problems.error(
            file,
            "$",
            "the file is no UTF-8 text (nor UTF-16 with a byte order mark): save it as UTF-8",
        );
        return None;
    };
    let duplicates = RefCell::default();
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let seed = Strict { path: "$".to_owned(), duplicates: &duplicates };
    let value = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    match value {
        Ok(value) => Some(Parsed { value, duplicates: duplicates.into_inner() }),
        Err(error) => {
            problems.error(file, "$", format!("the file is no valid JSON: {error}"));
            None
        }
    }
}

/// UTF-8 with or without a byte order mark, or UTF-16 with one (Windows PowerShell's `Out-File` writes that).
fn decode(content: &[u8]) -> Option<String> {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let units = pairs.iter().map(|pair| unit(*pair));
        let text: Option<String> = char::decode_utf16(units).collect::<Result<_, _>>().ok();
        text.filter(|_| rest.is_empty())
    };
    match content {
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8(rest.to_vec()).ok(),
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        _ => String::from_utf8(content.to_vec()).ok(),
    }
}

/// Builds a [`Value`] and notes every key that is there twice.
struct Strict<'a> {
    path: String,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut result = Vec::new();
        loop {
            let path = format!("{}[{}]", self.path, result.len());
            match items.next_element_seed(Strict { path, duplicates: self.duplicates })? {
                Some(item) => result.push(item),
                None => return Ok(Value::Array(result)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut result = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = match key.char_indices().nth(LONGEST_KEY) {
                None => format!("{}.{key}", self.path),
                Some((end, _)) => format!("{}.{}…", self.path, &key[..end]),
            };
            let value =
                entries.next_value_seed(Strict { path: path.clone(), duplicates: self.duplicates })?;
            let mut duplicates = self.duplicates.borrow_mut();
            if result.insert(key, value).is_some() && duplicates.len() < MOST_DUPLICATES {
                duplicates.push(path);
            }
        }
        Ok(Value::Object(result))
    }
}
