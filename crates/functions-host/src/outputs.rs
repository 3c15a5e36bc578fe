//! A handler's outputs, made into what the bindings write.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

use crate::{
    bindings::{DataType, FunctionMetadata, OutputBinding, OutputKind, RETURN_BINDING, Trigger},
    newtonsoft,
    response::InvocationResult,
};

/// Media type that the Service Bus extension gives to text (azure-sdk-for-net StringToMessageConverter.cs).
pub const MESSAGE_CONTENT_TYPE: &str = "text/plain";

/// What a successful invocation writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Messages, binding by binding.
    pub messages: Vec<OutputMessages>,
    /// The answer to the HTTP request that triggered the function; `None` for other triggers.
    pub http: Option<HttpResponse>,
}

/// The messages of one `serviceBus` binding.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputMessages {
    /// The binding.
    pub binding: OutputBinding,
    /// The bodies, in order.
    pub bodies: Vec<String>,
}

/// An answer to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status; 200 where the handler says nothing.
    pub status: u16,
    /// Names and values as the handler gave them.
    pub headers: Vec<(String, String)>,
    /// The body's bytes.
    pub body: Vec<u8>,
    /// The body's media type, unless the headers name one.
    pub content_type: Option<&'static str>,
}

impl HttpResponse {
    fn empty() -> Self {
        Self { status: 200, headers: Vec::new(), body: Vec::new(), content_type: None }
    }
}

/// Outputs that cannot be written: the invocation fails.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The `http` output is no response object (HttpOutputDeserializationException).
    #[error(
        "Failed while trying to Deserialize to httpOutputBindingResponse. Output body should have 'StatusCode', \
             'Status', 'Body', and 'Headers': {0}"
    )]
    Http(String),
    /// A string looks like JSON and is none.
    #[error("Error while handling parameter '{binding}' after function returned: {reason}")]
    Json {
        /// The binding.
        binding: String,
        /// What the parser said.
        reason: String,
    },
}

/// An output's value on its way to the binding.
#[derive(Clone, Debug, PartialEq)]
enum OutputValue {
    /// A string that was taken for base64.
    Bytes(Vec<u8>),
    /// A value of an `http` binding, already read as a response object.
    Response {
        status: Option<i64>,
        headers: Vec<(String, String)>,
        body: Value,
    },
    Json(Value),
}

/// Makes what the bindings write from a result (Azure/azure-functions-host HttpScriptInvocationResultExtensions.cs,
/// WorkerFunctionInvoker.cs, FunctionBinding.cs).
///
/// # Errors
/// If a value does not fit its binding.
pub fn resolve(function: &FunctionMetadata, result: &InvocationResult) -> Result<Outputs, OutputError> {
    let mut values: Vec<(&str, OutputValue)> = Vec::new();
    // Only bindings of function.json are read; what else the handler returns is ignored.
    for output in &function.outputs {
        let Some(outputs) = &result.outputs else { break };
        if let Some(value) = output_value(output, outputs)? {
            values.push((&output.name, value));
        }
    }
    let returned = match (function.return_binding(), &result.return_value) {
        (Some(binding), Some(value)) => Some((binding, sniff(binding, value.clone()))),
        // Without `$return`, an object's keys go over the outputs as they are.
        (None, Some(Value::Object(map))) => {
            for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
                let Some(output) = function.outputs.iter().find(|output| output.name == *key) else {
                    continue;
                };
                values.retain(|(name, _)| *name != output.name);
                values.push((&output.name, OutputValue::Json(value.clone())));
            }
            None
        }
        _ => None,
    };
    let mut all = Outputs::default();
    for output in &function.outputs {
        let value = match &returned {
            Some((binding, value)) if binding.name == output.name => Some(value),
            _ => values.iter().find(|(name, _)| *name == output.name).map(|(_, value)| value),
        };
        match (&output.kind, value) {
            (OutputKind::ServiceBus { .. }, Some(value)) => {
                let bodies = message_bodies(output, value)?;
                if !bodies.is_empty() {
                    all.messages.push(OutputMessages { binding: output.clone(), bodies });
                }
            }
            (OutputKind::Http, Some(value)) => all.http = Some(http_response(value)?),
            (_, None) => {}
        }
    }
    if matches!(function.trigger, Trigger::Http(_)) {
        all.http.get_or_insert_with(HttpResponse::empty);
    } else {
        all.http = None;
    }
    Ok(all)
}

/// `GetOutputValue`: an `http` binding always gets a response object once there are outputs at all.
fn output_value(
    output: &OutputBinding,
    outputs: &Map<String, Value>,
) -> Result<Option<OutputValue>, OutputError> {
    let value = outputs.get(&output.name);
    if output.kind == OutputKind::Http && output.name != RETURN_BINDING {
        return http_output(value).map(Some);
    }
    Ok(value.filter(|value| !value.is_null()).map(|value| sniff(output, value.clone())))
}

/// `GetHttpOutputBindingResponse`
fn http_output(value: Option<&Value>) -> Result<OutputValue, OutputError> {
    let map = match value {
        None | Some(Value::Null) => {
            // Nothing set: the empty object itself is the content.
            return Ok(OutputValue::Json(Value::Object(Map::new())));
        }
        Some(Value::Object(map)) => map.clone(),
        Some(Value::String(text)) => match serde_json::from_str(text) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(OutputError::Http("the string holds no JSON object".into())),
            Err(error) => return Err(OutputError::Http(error.to_string())),
        },
        Some(_) => return Err(OutputError::Http("it is no JSON object".into())),
    };
    let get =
        |name: &str| map.iter().rfind(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    Ok(OutputValue::Response {
        // `Status` is set beside `StatusCode`, which is found first, null or not: a status alone is never used
        // (HttpBinding.cs `TryParseStatusCode`).
        status: get("statusCode").and_then(status_code),
        headers: match get("headers") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(headers)) => header_values(headers)?,
            Some(_) => return Err(OutputError::Http("'headers' must be an object".into())),
        },
        body: get("body").cloned().unwrap_or(Value::Null),
    })
}

fn status_code(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Values by `ToString()`, so an array does not become several headers; null throws.
fn header_values(headers: &Map<String, Value>) -> Result<Vec<(String, String)>, OutputError> {
    headers
        .iter()
        .map(|(name, value)| match value {
            Value::Null => Err(OutputError::Http(format!("the header '{name}' has no value"))),
            value => Ok((name.clone(), newtonsoft::to_text(value))),
        })
        .collect()
}

/// `HttpBinding.CreateResult`
fn http_response(value: &OutputValue) -> Result<HttpResponse, OutputError> {
    let (status, headers, body) = match value {
        OutputValue::Bytes(bytes) => {
            return Ok(HttpResponse {
                body: bytes.clone(),
                content_type: Some("application/octet-stream"),
                ..HttpResponse::empty()
            });
        }
        OutputValue::Response { status, headers, body } => (*status, headers.clone(), body.clone()),
        OutputValue::Json(value) => {
            // A string may hold a response object as well.
            let value = match value {
                Value::String(text) => serde_json::from_str(text).unwrap_or_else(|_| value.clone()),
                other => other.clone(),
            };
            let get = |name: &str| {
                value
                    .as_object()?
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value)
            };
            match get("body") {
                // An object counts as a response only by its `body`.
                None => (None, Vec::new(), value),
                Some(body) => (
                    get("statusCode").or_else(|| get("status")).and_then(status_code),
                    match get("headers") {
                        Some(Value::Object(headers)) => header_values(headers)?,
                        _ => Vec::new(),
                    },
                    body.clone(),
                ),
            }
        }
    };
    let status = match status {
        None => 200,
        Some(status) => u16::try_from(status)
            .ok()
            .filter(|status| (100..1000).contains(status))
            .ok_or_else(|| OutputError::Http(format!("{status} is no HTTP status")))?,
    };
    let (body, content_type) = match body {
        Value::Null => (Vec::new(), None),
        Value::String(text) => (text.into_bytes(), Some("text/plain; charset=utf-8")),
        other => (newtonsoft::compact(&other).into_bytes(), Some("application/json; charset=utf-8")),
    };
    Ok(HttpResponse { status, headers, body, content_type })
}

/// `GetBindingValue`: every string that happens to be valid base64 becomes bytes, unless the binding says `binary`.
fn sniff(binding: &OutputBinding, value: Value) -> OutputValue {
    if binding.data_type != Some(DataType::Binary)
        && let Value::String(text) = &value
        && let Some(bytes) = from_base64_string(text)
    {
        return OutputValue::Bytes(bytes);
    }
    OutputValue::Json(value)
}

/// .NET's `Convert.FromBase64String`: blanks are skipped, padding is needed, left-over bits do not matter.
fn from_base64_string(text: &str) -> Option<Vec<u8>> {
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
    );
    let text: String = text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r')).collect();
    ENGINE.decode(text).ok()
}

/// `BindAsyncCollectorAsync<string>`
fn message_bodies(binding: &OutputBinding, value: &OutputValue) -> Result<Vec<String>, OutputError> {
    let one = |value: &Value| vec![newtonsoft::to_text(value)];
    match value {
        // `byte[].ToString()`: not the text, not the bytes.
        OutputValue::Bytes(_) => Ok(vec!["System.Byte[]".into()]),
        OutputValue::Response { .. } => Ok(Vec::new()),
        OutputValue::Json(Value::Array(items)) => Ok(items.iter().map(newtonsoft::to_text).collect()),
        OutputValue::Json(Value::String(text)) if newtonsoft::looks_like_json(text) => {
            match serde_json::from_str(text) {
                Ok(Value::Array(items)) => Ok(items.iter().map(newtonsoft::to_text).collect()),
                Ok(other) => Ok(one(&other)),
                Err(error) => {
                    Err(OutputError::Json { binding: binding.name.clone(), reason: error.to_string() })
                }
            }
        }
        OutputValue::Json(other) => Ok(one(other)),
    }
}
