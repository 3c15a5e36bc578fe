//! Keys that callers of HTTP functions and of the admin API need (Azure/azure-functions-host SecretManager.cs,
//! AuthenticationLevelHandler.cs). Like Core Tools, a local host checks none unless it is given some.

use std::{collections::BTreeMap, fmt};

use crate::bindings::AuthorizationLevel;

/// The header that carries a key; it wins over the query.
pub(crate) const KEY_HEADER: &str = "x-functions-key";

/// The query parameter that carries a key.
pub(crate) const KEY_PARAMETER: &str = "code";

/// The name under which the master key shows.
const MASTER: &str = "master";

/// The app's keys. `Debug` shows their names only.
#[derive(Clone, Default)]
pub struct AccessKeys {
    /// Passes every level.
    pub master: String,
    /// Keys of all functions, by name.
    pub host: BTreeMap<String, String>,
    /// Keys of single functions, by function and name.
    pub functions: BTreeMap<String, BTreeMap<String, String>>,
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKeys")
            .field("host", &self.host.keys())
            .field("functions", &self.functions.keys())
            .finish_non_exhaustive()
    }
}

impl AccessKeys {
    /// Whether a caller with this key may do what needs `level`, with `function` if it is about one.
    pub(crate) fn allow(&self, level: AuthorizationLevel, function: Option<&str>, key: Option<&str>) -> bool {
        if level == AuthorizationLevel::Anonymous {
            return true;
        }
        self.find(function, key).is_some_and(|(given, _)| given >= level)
    }

    /// What a key allows, and its name; `None` if it is not known.
    pub(crate) fn find(
        &self,
        function: Option<&str>,
        key: Option<&str>,
    ) -> Option<(AuthorizationLevel, &str)> {
        let key = key?;
        if same(&self.master, key) {
            return Some((AuthorizationLevel::Admin, MASTER));
        }
        let of_function = self
            .functions
            .iter()
            .filter(|(name, _)| function.is_some_and(|function| function.eq_ignore_ascii_case(name)))
            .flat_map(|(_, keys)| keys);
        let (name, _) = self.host.iter().chain(of_function).find(|(_, known)| same(known, key))?;
        Some((AuthorizationLevel::Function, name))
    }
}

/// Compares without telling by the time taken how much was right.
fn same(known: &str, given: &str) -> bool {
    known.len() == given.len()
        && !known.is_empty()
        && known.bytes().zip(given.bytes()).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_open_what_they_belong_to() {
        let one = |name: &str, key: &str| BTreeMap::from([(name.to_owned(), key.to_owned())]);
        let keys = AccessKeys {
            master: "m".into(),
            host: one("default", "h"),
            functions: BTreeMap::from([("hook".to_owned(), one("default", "f"))]),
        };
        use AuthorizationLevel::{Admin, Anonymous, Function};
        for (level, function, key, expected) in [
            (Anonymous, "hook", None, true),
            (Function, "hook", None, false),
            (Function, "hook", Some("f"), true),
            (Function, "other", Some("f"), false),
            (Function, "other", Some("h"), true),
            (Function, "other", Some("m"), true),
            (Admin, "hook", Some("h"), false),
            (Admin, "hook", Some("m"), true),
            (Function, "hook", Some(""), false),
        ] {
            assert_eq!(keys.allow(level, Some(function), key), expected, "{level:?} {function} {key:?}");
        }
        assert!(!AccessKeys::default().allow(Admin, None, Some("")));
        assert!(!format!("{keys:?}").contains("\"f\""));
    }
}
