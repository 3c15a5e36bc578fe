//! Reads function.json and checks it as the host does: a bad function is left out with a reason, the others load.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{
    AuthorizationLevel, Cardinality, DataType, EntityPath, FunctionMetadata, HttpTrigger, OutputBinding,
    OutputKind, RETURN_BINDING, ServiceBusTrigger, TimerTrigger, Trigger,
};
use crate::{
    config::{HostConfig, get},
    schedule::Schedule,
    settings::Settings,
};

/// A function that is not loaded. The others are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedFunction {
    /// The folder's name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// What the app root holds.
#[derive(Clone, Debug, Default)]
pub struct Functions {
    /// By name.
    pub loaded: Vec<FunctionMetadata>,
    /// By name.
    pub skipped: Vec<SkippedFunction>,
    /// What is odd but does no harm.
    pub warnings: Vec<String>,
}

/// Reads every `<app root>/<name>/function.json`. Only direct children count, and a folder without the file is no
/// function (Azure/azure-functions-host HostFunctionMetadataProvider.cs).
///
/// # Errors
/// If the app root cannot be listed.
pub fn read_functions(
    app_root: &Path,
    host: &HostConfig,
    settings: &Settings,
) -> Result<Functions, std::io::Error> {
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(app_root)? {
        let path = entry?.path();
        if path.join("function.json").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    let mut functions = Functions::default();
    for folder in folders {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !host.functions.is_empty() && !host.functions.iter().any(|only| only.eq_ignore_ascii_case(&name)) {
            continue;
        }
        let read = std::fs::read_to_string(folder.join("function.json"))
            .map_err(|error| format!("cannot read function.json: {error}"))
            .and_then(|text| parse_function(&name, &text, Some(&folder), host, settings));
        match read {
            Ok((function, warnings)) => {
                // Routes and queues address functions ignoring case.
                if functions.loaded.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
                    functions.skipped.push(SkippedFunction {
                        name,
                        reason: "another function has the same name in another spelling".into(),
                    });
                    continue;
                }
                functions.warnings.extend(warnings.into_iter().map(|warning| format!("{name}: {warning}")));
                functions.loaded.push(function);
            }
            Err(reason) => functions.skipped.push(SkippedFunction { name, reason }),
        }
    }
    Ok(functions)
}

/// Reads one function.json. `folder` is where a `scriptFile` would have to be; the check is left out without it.
///
/// # Errors
/// The reason for which the host would log the function and go on without it.
pub fn parse_function(
    name: &str,
    text: &str,
    folder: Option<&Path>,
    host: &HostConfig,
    settings: &Settings,
) -> Result<(FunctionMetadata, Vec<String>), String> {
    if !is_function_name(name) {
        return Err(format!("'{name}' is not a valid function name."));
    }
    let config = match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
        Ok(Value::Object(map)) => map,
        Ok(_) => return Err("function.json must hold an object".into()),
        Err(error) => return Err(format!("unable to parse function.json: {error}")),
    };
    if let Some(script) =
        get(&config, "scriptFile").and_then(Value::as_str).filter(|script| !script.is_empty())
        && folder.is_some_and(|folder| !folder.join(script).is_file())
    {
        return Err(format!(
            "Invalid script file name configuration. The 'scriptFile' property is set to a file that does not exist: {script}"
        ));
    }
    let bindings = match get(&config, "bindings") {
        Some(Value::Array(bindings)) if !bindings.is_empty() => bindings,
        _ => return Err("At least one binding must be declared.".into()),
    };
    let mut warnings = Vec::new();
    let mut trigger = None;
    let mut outputs = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (index, binding) in bindings.iter().enumerate() {
        let Value::Object(map) = binding else {
            return Err(format!("bindings[{index}] must be an object"));
        };
        let reader = BindingReader { index, map, settings };
        let (binding_name, kind) = (reader.name()?, reader.required("type")?);
        if names.iter().any(|other| other.eq_ignore_ascii_case(&binding_name)) {
            return Err(format!(
                "Multiple bindings with name '{binding_name}' discovered. Binding names must be unique."
            ));
        }
        names.push(binding_name.clone());
        let direction = reader.string("direction")?.unwrap_or_else(|| "in".into()).to_ascii_lowercase();
        let kind = kind.to_ascii_lowercase();
        if kind.ends_with("trigger") {
            if trigger.is_some() {
                return Err(
                    "Multiple trigger bindings defined. A function can only have a single trigger binding."
                        .into(),
                );
            }
            if direction != "in" {
                return Err(format!(
                    "bindings[{index}]: a trigger's direction must be 'in', not '{direction}'"
                ));
            }
            trigger = Some(reader.trigger(&kind, binding_name, host)?);
        } else if direction == "out" {
            outputs.push(reader.output(&kind, binding_name, host)?);
        } else {
            return Err(not_registered(&kind));
        }
    }
    let trigger =
        trigger.ok_or("No trigger binding specified. A function must have a trigger input binding.")?;
    if get(&config, "retry").is_some() {
        warnings.push(
            "'retry' is not applied by this host; Azure applies it while the message stays locked".into(),
        );
    }
    let disabled = settings.is_disabled(name)
        || match get(&config, "disabled") {
            Some(Value::Bool(disabled)) => *disabled,
            Some(Value::String(setting)) => settings.is_true(setting.trim_matches('%')),
            _ => false,
        };
    Ok((FunctionMetadata { name: name.into(), trigger, outputs, disabled, config }, warnings))
}

/// `^[a-z][a-z0-9_\-]{0,127}$` ignoring case, and not `host` (Azure/azure-functions-host Utility.cs).
fn is_function_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        && !name.eq_ignore_ascii_case("host")
}

/// A parameter name or `$return` (BindingMetadata validation in Azure/azure-functions-host Utility.cs).
fn is_binding_name(name: &str) -> bool {
    name == RETURN_BINDING
        || (name.len() <= 128
            && name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
}

fn not_registered(kind: &str) -> String {
    format!(
        "The binding type(s) '{kind}' are not registered. Please ensure the type is correct and the binding extension is \
         installed."
    )
}

/// One element of `bindings`, with its place for error texts.
struct BindingReader<'a> {
    index: usize,
    map: &'a Map<String, Value>,
    settings: &'a Settings,
}

impl BindingReader<'_> {
    fn trigger(&self, kind: &str, name: String, host: &HostConfig) -> Result<Trigger, String> {
        match kind {
            "servicebustrigger" if host.extension_bundle.is_some() => {
                Ok(Trigger::ServiceBus(ServiceBusTrigger {
                    name,
                    entity: self.source()?,
                    connection: self.connection(),
                    data_type: self.data_type()?,
                    cardinality: match self
                        .string("cardinality")?
                        .map(|text| text.to_ascii_lowercase())
                        .as_deref()
                    {
                        None | Some("one") => Cardinality::One,
                        Some("many") => Cardinality::Many,
                        Some(other) => return Err(self.wrong("cardinality", other, "one, many")),
                    },
                }))
            }
            "timertrigger" => self.timer(name),
            "httptrigger" => Ok(Trigger::Http(HttpTrigger {
                name,
                methods: self.methods()?,
                route: match self.resolved("route")? {
                    None => None,
                    Some(route) => {
                        let route = route.trim_matches('/').to_owned();
                        crate::routes::Template::parse(&route).map_err(|error| self.at("route", &error))?;
                        Some(route)
                    }
                },
                auth_level: match self.string("authLevel")?.map(|text| text.to_ascii_lowercase()).as_deref() {
                    // HttpTriggerAttribute.cs: the default is `function`.
                    None | Some("function") => AuthorizationLevel::Function,
                    Some("anonymous") => AuthorizationLevel::Anonymous,
                    Some("admin") => AuthorizationLevel::Admin,
                    Some(other) => return Err(self.wrong("authLevel", other, "anonymous, function, admin")),
                },
            })),
            "manualtrigger" => Ok(Trigger::Manual { name }),
            other => Err(not_registered(other)),
        }
    }

    fn timer(&self, name: String) -> Result<Trigger, String> {
        let expression = self.resolved("schedule")?.ok_or_else(|| self.at("schedule", "is missing"))?;
        let schedule =
            Schedule::parse(&expression).map_err(|error| self.at("schedule", &error.to_string()))?;
        Ok(Trigger::Timer(TimerTrigger {
            name,
            use_monitor: self.bool("useMonitor")?.unwrap_or(true) && !schedule.is_sub_minute(),
            run_on_startup: self.bool("runOnStartup")?.unwrap_or(false),
            schedule,
        }))
    }

    fn output(&self, kind: &str, name: String, host: &HostConfig) -> Result<OutputBinding, String> {
        let kind = match kind {
            "http" => OutputKind::Http,
            "servicebus" if host.extension_bundle.is_some() => {
                let entity = match (self.resolved("queueName")?, self.resolved("topicName")?) {
                    (Some(queue), None) => queue,
                    (None, Some(topic)) => topic,
                    _ => return Err(self.at("queueName", "or 'topicName' must be set, and not both")),
                };
                OutputKind::ServiceBus { entity: EntityPath(entity), connection: self.connection() }
            }
            other => return Err(not_registered(other)),
        };
        Ok(OutputBinding { name, data_type: self.data_type()?, kind })
    }

    fn source(&self) -> Result<EntityPath, String> {
        if self.bool("isSessionsEnabled")?.unwrap_or(false) {
            return Err(self.at("isSessionsEnabled", "sessions are not supported by this local host"));
        }
        // Both spellings are in use; a custom handler cannot settle messages itself, so the message would only wait.
        for key in ["autoCompleteMessages", "autoComplete"] {
            if self.bool(key)? == Some(false) {
                return Err(self.at(key, "must be true: a custom handler cannot complete messages"));
            }
        }
        let queue = self.resolved("queueName")?;
        match (queue, self.resolved("topicName")?, self.resolved("subscriptionName")?) {
            (Some(queue), None, None) => Ok(EntityPath(queue)),
            (None, Some(topic), Some(subscription)) => {
                Ok(EntityPath(format!("{topic}/Subscriptions/{subscription}")))
            }
            _ => Err(self.at("queueName", "or 'topicName' with 'subscriptionName' must be set")),
        }
    }

    fn connection(&self) -> String {
        match get(self.map, "connection").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => name.into(),
            // Read as AzureWebJobsServiceBus.
            _ => "ServiceBus".into(),
        }
    }

    fn methods(&self) -> Result<Vec<String>, String> {
        match get(self.map, "methods") {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_ascii_uppercase))
                .collect::<Option<_>>()
                .ok_or_else(|| self.at("methods", "must be an array of strings")),
            Some(_) => Err(self.at("methods", "must be an array of strings")),
        }
    }

    fn data_type(&self) -> Result<Option<DataType>, String> {
        match self.string("dataType")?.map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("undefined") => Ok(None),
            Some("string") => Ok(Some(DataType::String)),
            Some("binary") => Ok(Some(DataType::Binary)),
            Some(other) => Err(self.wrong("dataType", other, "string, binary")),
        }
    }

    fn name(&self) -> Result<String, String> {
        let name = self.required("name")?;
        if is_binding_name(&name) {
            return Ok(name);
        }
        Err(format!("The binding name {name} is invalid. Please assign a valid name to the binding."))
    }

    fn required(&self, key: &str) -> Result<String, String> {
        self.string(key)?.filter(|text| !text.is_empty()).ok_or_else(|| self.at(key, "is missing"))
    }

    fn resolved(&self, key: &str) -> Result<Option<String>, String> {
        match self.string(key)?.filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => {
                self.settings.resolve(&text).map(Some).map_err(|error| self.at(key, &error.to_string()))
            }
        }
    }

    fn string(&self, key: &str) -> Result<Option<String>, String> {
        match get(self.map, key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.at(key, "must be a string")),
        }
    }

    fn bool(&self, key: &str) -> Result<Option<bool>, String> {
        match get(self.map, key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(self.at(key, "must be true or false")),
        }
    }

    fn at(&self, key: &str, problem: &str) -> String {
        format!("bindings[{}].{key}: {problem}", self.index)
    }

    fn wrong(&self, key: &str, value: &str, allowed: &str) -> String {
        self.at(key, &format!("'{value}' is none of {allowed}"))
    }
}

#[cfg(test)]
mod tests;
