//! host.json: what the host, the handler's process and the Service Bus extension are told.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Map, Value};

use crate::{settings::Settings, time_span};

/// Readiness limit when `customHandler.initializationTimeout` is not set (Azure/azure-functions-host HttpWorkerOptions.cs).
pub const DEFAULT_INITIALIZATION_TIMEOUT: Duration = Duration::from_secs(30);

/// `functionTimeout` when host.json does not set it: 30 minutes on every plan but Consumption
/// (learn.microsoft.com, "Function app timeout duration").
pub const DEFAULT_FUNCTION_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// host.json could not be used; the host does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no JSON object.
    #[error("unable to parse host configuration file '{path}': {reason}")]
    NotJson {
        /// The file.
        path: String,
        /// What the parser said.
        reason: String,
    },
    /// A value has a wrong form.
    #[error("host.json: {path}: {reason}")]
    Invalid {
        /// JSON path of the value.
        path: String,
        /// What is wrong, and what is expected.
        reason: String,
    },
}

fn invalid(path: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { path: path.into(), reason: reason.into() }
}

/// host.json as the host uses it, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// Real time after which an invocation fails and the handler is killed; `None` is unbounded (`-1`).
    pub function_timeout: Option<Duration>,
    /// The custom handler's process.
    pub custom_handler: CustomHandler,
    /// `extensions.serviceBus`.
    pub service_bus: ServiceBusOptions,
    /// `extensions.http.routePrefix`, without slashes at its ends.
    pub route_prefix: String,
    /// `extensionBundle`, as `id` and `version`; without one, only http, timer and manual bindings exist.
    pub extension_bundle: Option<(String, String)>,
    /// `functions`: when not empty, only these are loaded.
    pub functions: Vec<String>,
    /// What is odd but does not stop the host.
    pub warnings: Vec<String>,
}

/// `customHandler` (Azure/azure-functions-host HttpWorkerOptions.cs, HttpWorkerDescription.cs).
#[derive(Clone, Debug, PartialEq)]
pub struct CustomHandler {
    /// The program; `%VAR%` not yet expanded.
    pub default_executable_path: String,
    /// Arguments before the worker's path.
    pub arguments: Vec<String>,
    /// Put in double quotes after the arguments.
    pub default_worker_path: Option<String>,
    /// Arguments after the worker's path.
    pub worker_arguments: Vec<String>,
    /// The process's current directory; relative to the app root.
    pub working_directory: Option<String>,
    /// Where a relative executable is looked for; relative to the app root.
    pub worker_directory: Option<String>,
    /// Whether every line on stderr is an error.
    pub use_std_error_stream_for_errors_only: bool,
    /// Pass simple HTTP functions' requests on as they are.
    pub enable_forwarding_http_request: bool,
    /// The same with newer hosts' reverse proxy; wins over forwarding.
    pub enable_proxying_http_request: bool,
    /// Real time in which the handler must answer `GET /`.
    pub initialization_timeout: Duration,
    /// A fixed port; a free one is chosen otherwise.
    pub port: Option<u16>,
}

/// `extensions.serviceBus` of extension 5.x (azure-sdk-for-net ServiceBusOptions.cs).
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceBusOptions {
    /// Messages fetched before they are asked for.
    pub prefetch_count: u32,
    /// Messages of one function that are worked on at the same time.
    pub max_concurrent_calls: usize,
    /// Most messages in a batch (cardinality `many`).
    pub max_message_batch_size: usize,
    /// Fewest messages in a batch, unless `max_batch_wait_time` has passed.
    pub min_message_batch_size: usize,
    /// Longest wait for the fewest messages.
    pub max_batch_wait_time: Duration,
    /// How long a lock is renewed; `None` is for ever.
    pub max_auto_lock_renewal_duration: Option<Duration>,
}

impl Default for ServiceBusOptions {
    fn default() -> Self {
        Self {
            prefetch_count: 0,
            // The documented default; the source multiplies it by the number of processors, which differs per machine.
            max_concurrent_calls: 16,
            max_message_batch_size: 1000,
            min_message_batch_size: 1,
            max_batch_wait_time: Duration::from_secs(30),
            max_auto_lock_renewal_duration: Some(Duration::from_secs(5 * 60)),
        }
    }
}

impl HostConfig {
    /// Reads `<app root>/host.json` and puts the settings' overrides over it.
    ///
    /// # Errors
    /// If the file is missing, is no JSON, or holds a value that stops the real host as well.
    pub fn read(app_root: &Path, settings: &Settings) -> Result<Self, ConfigError> {
        let path = app_root.join("host.json");
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Unreadable { path: shown.clone(), source })?;
        Self::parse(&text, settings).map_err(|error| match error {
            ConfigError::NotJson { reason, .. } => ConfigError::NotJson { path: shown, reason },
            other => other,
        })
    }

    /// Reads host.json from its text.
    ///
    /// # Errors
    /// As [`HostConfig::read`].
    pub fn parse(text: &str, settings: &Settings) -> Result<Self, ConfigError> {
        let not_json = |reason: String| ConfigError::NotJson { path: "host.json".into(), reason };
        let text = text.trim_start_matches('\u{feff}');
        let mut root = match serde_json::from_str(text).map_err(|error| not_json(error.to_string()))? {
            Value::Object(map) => map,
            _ => return Err(not_json("expected an object".into())),
        };
        settings.override_host_json(&mut root);
        // "The host.json file must have a 'version' property" (HostJsonFileConfigurationSource.cs).
        if get(&root, "version").and_then(Value::as_str) != Some("2.0") {
            return Err(invalid("version", "must be \"2.0\""));
        }
        let mut warnings = Vec::new();
        let root = Section { path: String::new(), map: Some(&root) };
        let extensions = root.section("extensions")?;
        let bundle = root.section("extensionBundle")?;
        Ok(Self {
            function_timeout: function_timeout(&root)?,
            custom_handler: CustomHandler::read(&root, &mut warnings)?,
            service_bus: ServiceBusOptions::read(&extensions.section("serviceBus")?, &mut warnings)?,
            route_prefix: extensions
                .section("http")?
                .string("routePrefix")?
                .map_or_else(|| "api".into(), |prefix| prefix.trim_matches('/').into()),
            extension_bundle: match (bundle.string("id")?, bundle.string("version")?) {
                (Some(id), Some(version)) => Some((id, version)),
                (None, None) => None,
                _ => return Err(invalid("extensionBundle", "needs both 'id' and 'version'")),
            },
            functions: root.strings("functions")?,
            warnings,
        })
    }
}

fn function_timeout(root: &Section<'_>) -> Result<Option<Duration>, ConfigError> {
    let Some(text) = root.string("functionTimeout")? else {
        return Ok(Some(DEFAULT_FUNCTION_TIMEOUT));
    };
    // "-1" is unbounded, not minus one day (ScriptJobHostOptionsSetup.cs).
    if text == "-1" {
        return Ok(None);
    }
    match time_span::parse(&text) {
        Some(span) if span.is_positive() => Ok(Some(span.unsigned_abs())),
        _ => Err(invalid(
            "functionTimeout",
            format!("'{text}' must be a TimeSpan above 0, e.g. 00:05:00, or -1"),
        )),
    }
}

impl CustomHandler {
    fn read(root: &Section<'_>, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        let section = root.section("customHandler")?;
        let description = section.section("description")?;
        // HttpWorkerDescription.cs: an empty path is a start-up exception.
        let default_executable_path = match description.string("defaultExecutablePath")? {
            Some(path) if !path.trim().is_empty() => path,
            _ => {
                return Err(invalid(
                    "customHandler.description.defaultExecutablePath",
                    "must name the handler's program",
                ));
            }
        };
        if section.string("type")?.is_some_and(|kind| !kind.eq_ignore_ascii_case("http")) {
            // HttpWorkerOptionsSetup.cs:47-52.
            warnings.push("customHandler.type is not 'http'; 'http' is used".into());
        }
        if section.map.is_some_and(|map| get(map, "http").is_some()) {
            return Err(invalid(
                "customHandler.http",
                "routes without function.json are not known to this host",
            ));
        }
        Ok(Self {
            default_executable_path,
            arguments: description.strings("arguments")?,
            default_worker_path: description.string("defaultWorkerPath")?.filter(|path| !path.is_empty()),
            worker_arguments: description.strings("workerArguments")?,
            working_directory: description.string("workingDirectory")?.filter(|path| !path.is_empty()),
            worker_directory: description.string("workerDirectory")?.filter(|path| !path.is_empty()),
            use_std_error_stream_for_errors_only: description
                .bool("useStdErrorStreamForErrorsOnly")?
                .unwrap_or(true),
            enable_forwarding_http_request: section.bool("enableForwardingHttpRequest")?.unwrap_or(false),
            enable_proxying_http_request: section.bool("enableProxyingHttpRequest")?.unwrap_or(false),
            initialization_timeout: section
                .span("initializationTimeout")?
                .unwrap_or(DEFAULT_INITIALIZATION_TIMEOUT),
            port: match section.number("port")? {
                None => None,
                Some(port) => Some(
                    u16::try_from(port)
                        .ok()
                        .filter(|port| *port > 0)
                        .ok_or_else(|| invalid("customHandler.port", "must be between 1 and 65535"))?,
                ),
            },
        })
    }
}

/// `maxBatchWaitTime` may not be longer (ServiceBusOptions.cs).
const LONGEST_BATCH_WAIT: Duration = Duration::from_secs(150);

/// Keys of the extension's 4.x layout, which 5.x does not read.
const OLD_SERVICE_BUS_KEYS: [&str; 3] = ["messageHandlerOptions", "sessionHandlerOptions", "batchOptions"];

impl ServiceBusOptions {
    fn read(section: &Section<'_>, warnings: &mut Vec<String>) -> Result<Self, ConfigError> {
        for key in OLD_SERVICE_BUS_KEYS {
            if section.map.is_some_and(|map| get(map, key).is_some()) {
                warnings.push(format!("extensions.serviceBus.{key} belongs to extension 4.x and is ignored"));
            }
        }
        let default = Self::default();
        let at_least = |key: &str, least: u64, default: u64| -> Result<u64, ConfigError> {
            match section.number(key)? {
                None => Ok(default),
                Some(value) => u64::try_from(value)
                    .ok()
                    .filter(|value| *value >= least && *value <= u64::from(u32::MAX))
                    .ok_or_else(|| invalid(&section.key(key), format!("must be at least {least}"))),
            }
        };
        let max_message_batch_size =
            at_least("maxMessageBatchSize", 1, default.max_message_batch_size as u64)?;
        let min_message_batch_size =
            at_least("minMessageBatchSize", 1, default.min_message_batch_size as u64)?;
        if min_message_batch_size > max_message_batch_size {
            return Err(invalid(
                &section.key("minMessageBatchSize"),
                "must not be above maxMessageBatchSize",
            ));
        }
        let max_batch_wait_time = section.span("maxBatchWaitTime")?.unwrap_or(default.max_batch_wait_time);
        if max_batch_wait_time > LONGEST_BATCH_WAIT {
            return Err(invalid(&section.key("maxBatchWaitTime"), "must not be above 00:02:30"));
        }
        Ok(Self {
            prefetch_count: at_least("prefetchCount", 0, default.prefetch_count.into())? as u32,
            max_concurrent_calls: at_least("maxConcurrentCalls", 1, default.max_concurrent_calls as u64)?
                as usize,
            max_message_batch_size: max_message_batch_size as usize,
            min_message_batch_size: min_message_batch_size as usize,
            max_batch_wait_time,
            max_auto_lock_renewal_duration: match section.string("maxAutoLockRenewalDuration")? {
                None => default.max_auto_lock_renewal_duration,
                Some(text) => match time_span::parse(&text) {
                    // Timeout.InfiniteTimeSpan is written as -00:00:00.0010000.
                    Some(span) if span == time::Duration::milliseconds(-1) => None,
                    Some(span) if !span.is_negative() => Some(span.unsigned_abs()),
                    _ => {
                        return Err(invalid(
                            &section.key("maxAutoLockRenewalDuration"),
                            "must be a TimeSpan",
                        ));
                    }
                },
            },
        })
    }
}

/// A value by a name that ignores case, as .NET's configuration does.
pub(crate) fn get<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name)
        .or_else(|| map.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// An object of host.json that may be absent, with its path for error texts.
struct Section<'a> {
    path: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Section<'a> {
    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }

    fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.and_then(|map| get(map, name)).filter(|value| !value.is_null())
    }

    fn section(&self, name: &str) -> Result<Section<'a>, ConfigError> {
        match self.value(name) {
            None => Ok(Section { path: self.key(name), map: None }),
            Some(Value::Object(map)) => Ok(Section { path: self.key(name), map: Some(map) }),
            Some(_) => Err(invalid(&self.key(name), "must be an object")),
        }
    }

    fn string(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => Err(invalid(&self.key(name), "must be a string")),
        }
    }

    fn strings(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(Into::into))
                .collect::<Option<_>>()
                .ok_or_else(|| invalid(&self.key(name), "must be an array of strings")),
            Some(_) => Err(invalid(&self.key(name), "must be an array of strings")),
        }
    }

    /// True or false; settings that override host.json are strings, so these count as well.
    fn bool(&self, name: &str) -> Result<Option<bool>, ConfigError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(_) => Err(invalid(&self.key(name), "must be true or false")),
        }
    }

    fn number(&self, name: &str) -> Result<Option<i64>, ConfigError> {
        let value = match self.value(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        value.map(Some).ok_or_else(|| invalid(&self.key(name), "must be a whole number"))
    }

    fn span(&self, name: &str) -> Result<Option<Duration>, ConfigError> {
        match self.string(name)? {
            None => Ok(None),
            Some(text) => match time_span::parse(&text) {
                Some(span) if !span.is_negative() => Ok(Some(span.unsigned_abs())),
                _ => Err(invalid(&self.key(name), format!("'{text}' must be a TimeSpan such as 00:00:30"))),
            },
        }
    }
}

/// The names that host.json and function.json may use as `%NAME%` in the handler's command line, with the environment.
pub(crate) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, tail)) = rest.split_once('%') {
        let Some((name, after)) = tail.split_once('%') else {
            break;
        };
        out.push_str(before);
        match variables.get(name) {
            Some(value) => {
                out.push_str(value);
                rest = after;
            }
            // Unknown: the percent sign stays, and the next one may begin a name.
            None => {
                out.push('%');
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests;
