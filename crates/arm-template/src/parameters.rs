//! What a template declares as its parameters, and whether values fit.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    error::TemplateError,
    functions::kind,
    paths::{member, same},
};

/// The types of "Data types in ARM templates".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Text,
    SecureText,
    Integer,
    Boolean,
    Object,
    SecureObject,
    Array,
}

impl Type {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "string" => Self::Text,
            "securestring" => Self::SecureText,
            "int" => Self::Integer,
            "bool" => Self::Boolean,
            "object" => Self::Object,
            "secureobject" => Self::SecureObject,
            "array" => Self::Array,
            _ => return None,
        })
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Self::Text | Self::SecureText => value.is_string(),
            Self::Integer => value.is_i64() || value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::Object | Self::SecureObject => value.is_object(),
            Self::Array => value.is_array(),
        }
    }

    /// The name in Azure's error texts.
    fn expected(self) -> &'static str {
        match self {
            Self::Text | Self::SecureText => "String, Uri",
            Self::Integer => "Integer",
            Self::Boolean => "Boolean",
            Self::Object | Self::SecureObject => "Object",
            Self::Array => "Array",
        }
    }

    fn is_secure(self) -> bool {
        matches!(self, Self::SecureText | Self::SecureObject)
    }
}

/// One declared parameter.
#[derive(Clone, Debug)]
pub(crate) struct Declaration {
    pub(crate) name: String,
    kind: Type,
    pub(crate) default: Option<Value>,
    allowed: Option<Vec<Value>>,
    least: Option<i64>,
    most: Option<i64>,
    shortest: Option<u64>,
    longest: Option<u64>,
}

impl Declaration {
    /// Whether `value` fits; the reason names no value of a secure parameter.
    pub(crate) fn check(&self, value: &Value) -> Result<(), String> {
        let name = &self.name;
        if !self.kind.takes(value) {
            return Err(format!(
                "Template parameter JToken type is not valid. Expected '{}'. Actual '{}'. The parameter is '{name}'. Please see https://aka.ms/arm-create-parameter-file for usage details.",
                self.kind.expected(),
                kind(value)
            ));
        }
        let shown = if self.kind.is_secure() { "(hidden)".to_owned() } else { plain(value) };
        let refuse = |reason: String| {
            Err(format!(
                "The provided value '{shown}' for the template parameter '{name}' is not valid. {reason}"
            ))
        };
        if let Some(allowed) = &self.allowed {
            let fits = match value {
                // An array may hold any of the allowed values.
                Value::Array(items) if !allowed.iter().any(Value::is_array) => {
                    items.iter().all(|i| allowed.contains(i))
                }
                _ => allowed.iter().any(|other| equal(other, value)),
            };
            if !fits {
                let names: Vec<_> = allowed.iter().map(plain).collect();
                return refuse(format!(
                    "The parameter value is not part of the allowed value(s): '{}'.",
                    names.join(",")
                ));
            }
        }
        let outside = |number: i64| {
            self.least.is_some_and(|least| number < least) || self.most.is_some_and(|most| number > most)
        };
        if value.as_i64().is_some_and(outside) {
            return refuse("It is outside of 'minValue' and 'maxValue'.".to_owned());
        }
        let length = match value {
            Value::String(text) => Some(text.encode_utf16().count() as u64),
            Value::Array(items) => Some(items.len() as u64),
            _ => None,
        };
        if let Some(length) = length {
            if self.shortest.is_some_and(|least| length < least) {
                return refuse(format!(
                    "Length of the value should be greater than or equal to '{}'.",
                    self.shortest.unwrap_or(0)
                ));
            }
            if self.longest.is_some_and(|most| length > most) {
                return refuse(format!(
                    "Length of the value should be less than or equal to '{}'.",
                    self.longest.unwrap_or(0)
                ));
            }
        }
        Ok(())
    }
}

/// All declared parameters, by their names in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declarations(BTreeMap<String, Declaration>);

impl Declarations {
    pub(crate) fn read(template: &Value) -> Result<Self, TemplateError> {
        let parameters = match template.get("parameters") {
            None | Some(Value::Null) => return Ok(Self::default()),
            Some(Value::Object(parameters)) => parameters,
            Some(_) => {
                return Err(TemplateError::validation("$.parameters", "'parameters' must be an object."));
            }
        };
        let mut declarations = BTreeMap::new();
        for (name, body) in parameters {
            let path = format!("$.parameters{}", member(name));
            let Some(kind) = body["type"].as_str().and_then(Type::named) else {
                return Err(TemplateError::validation(
                    &path,
                    &format!(
                        "The template parameter '{name}' has no valid 'type'. Supported are string, securestring, int, bool, object, secureobject and array."
                    ),
                ));
            };
            let declaration = Declaration {
                name: name.clone(),
                kind,
                default: body.get("defaultValue").cloned(),
                allowed: body["allowedValues"].as_array().cloned(),
                least: body["minValue"].as_i64(),
                most: body["maxValue"].as_i64(),
                shortest: body["minLength"].as_u64(),
                longest: body["maxLength"].as_u64(),
            };
            if declarations.insert(name.to_lowercase(), declaration).is_some() {
                return Err(TemplateError::validation(
                    &path,
                    &format!("The template parameter '{name}' is declared twice."),
                ));
            }
        }
        Ok(Self(declarations))
    }

    /// The given values under lower-case names, all checked.
    pub(crate) fn accept(
        &self,
        given: &BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>, TemplateError> {
        let extra: Vec<_> = given
            .keys()
            .filter(|name| !self.0.contains_key(&name.to_lowercase()))
            .map(String::as_str)
            .collect();
        if !extra.is_empty() {
            let known: Vec<_> = self.names().collect();
            return Err(TemplateError::validation(
                "$.parameters",
                &format!(
                    "The template parameters '{}' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. The only supported parameters for this template are '{}'. Please see https://aka.ms/arm-pass-parameter-values for usage details.",
                    extra.join(", "),
                    known.join(", ")
                ),
            ));
        }
        let mut accepted = BTreeMap::new();
        for (name, value) in given {
            let key = name.to_lowercase();
            if let Some(declaration) = self.0.get(&key) {
                let path = format!("$.parameters{}", member(&declaration.name));
                declaration.check(value).map_err(|reason| TemplateError::validation(&path, &reason))?;
            }
            accepted.insert(key, value.clone());
        }
        match self.0.iter().find(|(key, d)| d.default.is_none() && !accepted.contains_key(*key)) {
            Some((_, declaration)) => Err(missing(&declaration.name)),
            None => Ok(accepted),
        }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Declaration> {
        self.0.get(key)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.values().map(|declaration| declaration.name.as_str())
    }

    pub(crate) fn secure(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter(|d| d.kind.is_secure()).map(|d| d.name.as_str())
    }
}

/// A parameter that has neither a value nor a default.
pub(crate) fn missing(name: &str) -> TemplateError {
    TemplateError::validation(
        &format!("$.parameters{}", member(name)),
        &format!(
            "The value for the template parameter '{name}' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details."
        ),
    )
}

/// Allowed strings ignore case, as Azure's do.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(a), Value::String(b)) => same(a, b),
        (a, b) => a == b,
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
