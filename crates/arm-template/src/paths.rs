//! JSON paths, and how names are compared.

/// Runs `step` with `part` added to the path.
pub(crate) fn within<T>(path: &mut String, part: &str, step: impl FnOnce(&mut String) -> T) -> T {
    let length = path.len();
    path.push_str(part);
    let result = step(path);
    path.truncate(length);
    result
}

/// A property's part of a JSON path: `.name`, or `['name']` where that would not read back.
pub(crate) fn member(key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$');
    if plain { format!(".{key}") } else { format!("['{}']", key.replace('\'', "\\'")) }
}

/// Names in templates ignore case.
pub(crate) fn same(a: &str, b: &str) -> bool {
    a.to_lowercase() == b.to_lowercase()
}
