//! App settings: `%NAME%` expressions, connections, disabled functions and what overrides host.json.

use std::{collections::BTreeMap, fmt};

use serde_json::{Map, Value};

/// Prefix of the settings that a connection falls back to
/// (Azure/azure-webjobs-sdk `IConfigurationExtensions.GetWebJobsConnectionString`).
const CONNECTION_PREFIX: &str = "AzureWebJobs";

/// Settings with this prefix stand in for values of host.json
/// (Azure/azure-functions-host `HostJsonFileConfigurationSource`, "host.json overrides").
const HOST_JSON_PREFIX: &str = "AzureFunctionsJobHost__";

/// The app settings. Their values may be secrets: they are not shown by `Debug`.
#[derive(Clone, Default)]
pub struct Settings(BTreeMap<String, String>);

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A setting that something needs and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// A `%NAME%` expression names a setting that does not exist.
    #[error("'%{0}%' does not resolve to a value: add the app setting '{0}'")]
    Unresolved(String),
    /// No setting holds the connection.
    #[error(
        "Microsoft.Azure.WebJobs.ServiceBus: the connection '{0}' is not configured. Add the app setting '{0}' (a \
         connection string) or '{0}__fullyQualifiedNamespace'"
    )]
    NoConnection(String),
}

/// How to reach a Service Bus namespace.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Connection {
    /// A connection string: a secret.
    ConnectionString(String),
    /// A namespace that is reached with the app's identity.
    Namespace(String),
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionString(_) => write!(f, "ConnectionString({})", self.fully_qualified_namespace()),
            Self::Namespace(name) => write!(f, "Namespace({name})"),
        }
    }
}

impl Connection {
    /// The namespace's host name, e.g. `ns.servicebus.windows.net`; empty if the connection string has no endpoint.
    pub fn fully_qualified_namespace(&self) -> &str {
        match self {
            Self::Namespace(name) => name,
            Self::ConnectionString(text) => text
                .split(';')
                .filter_map(|part| part.split_once('='))
                .find(|(key, _)| key.trim().eq_ignore_ascii_case("Endpoint"))
                .map(|(_, value)| value.trim().trim_start_matches("sb://").trim_end_matches('/'))
                .map_or("", |authority| authority.split(':').next().unwrap_or_default()),
        }
    }
}

impl Settings {
    /// Settings from name and value.
    pub fn new(settings: BTreeMap<String, String>) -> Self {
        Self(settings)
    }

    /// A setting's value. Names ignore case, and `__` is the same as `:`, as in .NET's configuration.
    pub fn get(&self, name: &str) -> Option<&str> {
        if let Some(value) = self.0.get(name) {
            return Some(value);
        }
        let wanted = name.replace("__", ":");
        self.0
            .iter()
            .find(|(key, _)| key.replace("__", ":").eq_ignore_ascii_case(&wanted))
            .map(|(_, value)| value.as_str())
    }

    /// All settings, as the handler gets them in its environment.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Replaces every `%NAME%` in a binding's property.
    ///
    /// # Errors
    /// If a named setting does not exist (Azure/azure-webjobs-sdk `NameResolverExtensions.ResolveWholeString`).
    pub fn resolve(&self, text: &str) -> Result<String, SettingError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, tail)) = rest.split_once('%') {
            // A percent sign without a partner is text.
            let Some((name, after)) = tail.split_once('%') else {
                break;
            };
            let value = self.get(name).ok_or_else(|| SettingError::Unresolved(name.into()))?;
            out.push_str(before);
            out.push_str(value);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What `connection` in function.json refers to: a setting of that name, one with the prefix `AzureWebJobs`, or
    /// `<name>__fullyQualifiedNamespace`.
    ///
    /// # Errors
    /// If none of them exists.
    pub fn connection(&self, name: &str) -> Result<Connection, SettingError> {
        let prefixed = format!("{CONNECTION_PREFIX}{name}");
        for candidate in [name, &prefixed] {
            if let Some(text) = self.get(candidate).filter(|text| !text.is_empty()) {
                return Ok(Connection::ConnectionString(text.into()));
            }
        }
        for candidate in [name, &prefixed] {
            let key = format!("{candidate}__fullyQualifiedNamespace");
            if let Some(namespace) = self.get(&key).filter(|text| !text.is_empty()) {
                return Ok(Connection::Namespace(namespace.into()));
            }
        }
        Err(SettingError::NoConnection(name.into()))
    }

    /// Whether `AzureWebJobs.<function>.Disabled` is set (`AzureWebJobs__<function>__Disabled` on Linux).
    pub fn is_disabled(&self, function: &str) -> bool {
        [format!("AzureWebJobs.{function}.Disabled"), format!("AzureWebJobs__{function}__Disabled")]
            .iter()
            .any(|name| self.is_true(name))
    }

    /// Whether a setting says `true` or `1`.
    pub fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
    }

    /// Puts the values of `AzureFunctionsJobHost__a__b` settings over those of host.json. Keys ignore case; a number
    /// addresses an array's element.
    pub fn override_host_json(&self, host_json: &mut Map<String, Value>) {
        for (name, value) in &self.0 {
            let name = name.replace(':', "__");
            let Some(prefix) = name.get(..HOST_JSON_PREFIX.len()) else {
                continue;
            };
            if !prefix.eq_ignore_ascii_case(HOST_JSON_PREFIX) {
                continue;
            }
            let path: Vec<&str> = name[HOST_JSON_PREFIX.len()..].split("__").collect();
            let mut root = Value::Object(std::mem::take(host_json));
            set(&mut root, &path, value);
            if let Value::Object(map) = root {
                *host_json = map;
            }
        }
    }
}

fn set(target: &mut Value, path: &[&str], value: &str) {
    let Some((key, rest)) = path.split_first() else {
        *target = Value::String(value.into());
        return;
    };
    if let (Value::Array(items), Ok(index)) = (&mut *target, key.parse::<usize>()) {
        match items.get_mut(index) {
            Some(item) => set(item, rest, value),
            None => {
                let mut item = Value::Null;
                set(&mut item, rest, value);
                items.push(item);
            }
        }
        return;
    }
    if !target.is_object() {
        *target = match key.parse::<usize>() {
            Ok(_) => {
                let mut item = Value::Null;
                set(&mut item, rest, value);
                Value::Array(vec![item])
            }
            Err(_) => Value::Object(Map::new()),
        };
        if target.is_array() {
            return;
        }
    }
    if let Value::Object(map) = target {
        let name =
            map.keys().find(|name| name.eq_ignore_ascii_case(key)).cloned().unwrap_or_else(|| (*key).into());
        set(map.entry(name).or_insert(Value::Null), rest, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        Settings::new(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn percent_expressions_resolve_or_say_what_is_missing() {
        let settings = settings(&[("QUEUE", "create-vm"), ("ENV", "test")]);
        assert_eq!(settings.resolve("%ENV%-%queue%-x").as_deref(), Ok("test-create-vm-x"));
        assert_eq!(settings.resolve("100% sure").as_deref(), Ok("100% sure"));
        assert_eq!(settings.resolve("%NOPE%"), Err(SettingError::Unresolved("NOPE".into())));
    }

    #[test]
    fn a_connection_is_the_exact_setting_then_the_prefixed_one_then_an_identity() {
        let text = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=a;SharedAccessKey=secret";
        let exact = settings(&[("SB", text), ("AzureWebJobsSB", "Endpoint=sb://other/")]);
        assert_eq!(exact.connection("SB"), Ok(Connection::ConnectionString(text.into())));
        let prefixed = settings(&[("AzureWebJobsSB", text)]);
        assert_eq!(
            prefixed.connection("SB").unwrap().fully_qualified_namespace(),
            "ns.servicebus.windows.net"
        );
        let identity = settings(&[("SB__fullyQualifiedNamespace", "ns.servicebus.windows.net")]);
        assert_eq!(identity.connection("SB"), Ok(Connection::Namespace("ns.servicebus.windows.net".into())));
        assert_eq!(settings(&[]).connection("SB"), Err(SettingError::NoConnection("SB".into())));
    }

    #[test]
    fn no_secret_is_shown() {
        let settings = settings(&[("SB", "Endpoint=sb://ns/;SharedAccessKey=hunter2")]);
        let shown = format!("{settings:?} {:?}", settings.connection("SB"));
        assert!(shown.contains("SB") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn app_settings_override_host_json() {
        let mut host_json =
            json!({"customHandler":{"description":{"defaultExecutablePath":"a","arguments":["x"]}}})
                .as_object()
                .cloned()
                .unwrap();
        settings(&[
            ("AzureFunctionsJobHost__customhandler__description__defaultExecutablePath", "/bin/b"),
            ("AzureFunctionsJobHost__customHandler__description__arguments__0", "y"),
            ("AzureFunctionsJobHost__functionTimeout", "00:10:00"),
        ])
        .override_host_json(&mut host_json);
        assert_eq!(
            Value::Object(host_json),
            json!({"customHandler":{"description":{"defaultExecutablePath":"/bin/b","arguments":["y"]}},
                "functionTimeout":"00:10:00"})
        );
    }
}
