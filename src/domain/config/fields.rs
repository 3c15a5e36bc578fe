//! Takes an object of a configuration file apart and reports everything that does not belong there.

use serde_json::{Map, Value};

use super::{nearest, problem::Problems};

/// An object whose keys are known. Keys ignore case, as they did in PowerShell.
pub(super) struct Fields<'a> {
    file: &'a str,
    path: String,
    entries: &'a Map<String, Value>,
}

impl<'a> Fields<'a> {
    /// Looks at an object; keys other than the `known` are errors that name the nearest known one.
    pub(super) fn of(
        file: &'a str,
        path: &str,
        value: &'a Value,
        known: &[&str],
        problems: &mut Problems,
    ) -> Option<Self> {
        let Value::Object(entries) = value else {
            problems.error(file, path, format!("this must be an object with {}", list(known)));
            return None;
        };
        let mut seen: Vec<&str> = Vec::new();
        for key in entries.keys() {
            let place = format!("{path}.{key}");
            match known.iter().find(|name| name.eq_ignore_ascii_case(key)) {
                None => {
                    let near = match nearest(key, known.iter().copied()) {
                        Some(near) => format!("did you mean '{near}'?"),
                        None => format!("the keys here are {}", list(known)),
                    };
                    problems.error(file, &place, format!("the key '{key}' is not known; {near}"));
                }
                Some(name) if seen.contains(name) => {
                    problems.error(
                        file,
                        &place,
                        format!("the key '{name}' is there twice; remove one of the two"),
                    );
                }
                Some(name) => seen.push(name),
            }
        }
        Some(Self { file, path: path.to_owned(), entries })
    }

    /// The JSON path of a key, as the file spells it.
    pub(super) fn path(&self, name: &str) -> String {
        let spelled =
            self.entries.keys().find(|key| key.eq_ignore_ascii_case(name)).map_or(name, String::as_str);
        format!("{}.{spelled}", self.path)
    }

    /// The value of a key; null counts as absent.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        let found = self.entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// A text that passes `check`. Absent is fine; anything else is reported, and `Err`.
    pub(super) fn text<E: ToString>(
        &self,
        name: &str,
        check: impl FnOnce(&str) -> Result<(), E>,
        problems: &mut Problems,
    ) -> Result<Option<&'a str>, ()> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let reason = match value {
            Value::String(text) if is_placeholder(text) => {
                format!("the placeholder '{text}' is still there: put your own value in its place")
            }
            Value::String(text) => match check(text) {
                Ok(()) => return Ok(Some(text)),
                Err(reason) => reason.to_string(),
            },
            _ => format!("'{name}' must be a text in double quotes"),
        };
        problems.error(self.file, &self.path(name), reason);
        Err(())
    }

    /// Like [`text`](Self::text), but absent is reported as well.
    pub(super) fn required<E: ToString>(
        &self,
        name: &str,
        check: impl FnOnce(&str) -> Result<(), E>,
        problems: &mut Problems,
    ) -> Result<&'a str, ()> {
        match self.text(name, check, problems)? {
            Some(text) => Ok(text),
            None => {
                problems.error(self.file, &self.path, format!("'{name}' is missing here: add it"));
                Err(())
            }
        }
    }
}

/// What Microsoft's sample has where its users are to put something: `<Name of the DevTest Lab>`.
pub(super) fn is_placeholder(text: &str) -> bool {
    let text = text.trim();
    text.len() > 2 && text.starts_with('<') && text.ends_with('>')
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    quoted.join(", ")
}
