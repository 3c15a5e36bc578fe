//! What the handler's answer means (Azure/azure-functions-host DefaultHttpWorkerService.cs `ProcessDefaultInvocationRequest`).

use serde_json::{Map, Value};

use crate::newtonsoft;

/// What the host makes of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// The handler succeeded; its outputs are still to be written.
    Success(InvocationResult),
    /// The invocation failed; outputs and logs are ignored.
    Failure {
        /// What goes to the log.
        reason: String,
    },
    /// The host waits for a result that never comes, until `functionTimeout` ends the invocation and the handler: the
    /// answer was a success without a body, or `null`, and there is no `else` for it in the source.
    NeverCompletes,
}

/// A handler's result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InvocationResult {
    /// Values by binding name; `None` if the answer has no `Outputs`.
    pub outputs: Option<Map<String, Value>>,
    /// Lines for the function's log, always at level Information.
    pub logs: Vec<String>,
    /// The value for `$return`; null counts as absent.
    pub return_value: Option<Value>,
}

/// Judges an answer, redirects already followed.
pub fn judge(status: u16, content_type: Option<&str>, body: &[u8]) -> Judgement {
    if !(200..300).contains(&status) {
        let phrase = http_phrase(status).map_or_else(|| ".".to_owned(), |phrase| format!(" ({phrase})."));
        return failure(format!("Response status code does not indicate success: {status}{phrase}"));
    }
    // A length of 0 is the default value for every media type (HttpContentExtensions.ReadAsAsync).
    if body.is_empty() {
        return Judgement::NeverCompletes;
    }
    if !content_type.is_some_and(is_json) {
        return failure(format!(
            "Invalid HttpResponseMessage: UnsupportedMediaType: no MediaTypeFormatter is available to read an object of type \
             'HttpScriptInvocationResult' from content with media type '{}'",
            content_type.unwrap_or("application/octet-stream")
        ));
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // Like the JSON library, read one value and leave what follows it.
    match serde_json::Deserializer::from_slice(body).into_iter::<Value>().next() {
        None | Some(Ok(Value::Null)) => Judgement::NeverCompletes,
        Some(Ok(Value::Object(map))) => match InvocationResult::read(map) {
            Ok(result) => Judgement::Success(result),
            Err(reason) => failure(format!("Invalid HttpResponseMessage: {reason}")),
        },
        Some(Ok(_)) => failure("Invalid HttpResponseMessage: the body must be a JSON object".into()),
        Some(Err(error)) => failure(format!("Invalid HttpResponseMessage: {error}")),
    }
}

fn failure(reason: String) -> Judgement {
    Judgement::Failure { reason }
}

/// The media types of .NET's JSON formatter.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json") || media_type.eq_ignore_ascii_case("text/json")
}

fn http_phrase(status: u16) -> Option<&'static str> {
    axum::http::StatusCode::from_u16(status).ok()?.canonical_reason()
}

impl InvocationResult {
    /// Names ignore case; unknown ones are ignored; of a name that comes twice the last counts.
    fn read(map: Map<String, Value>) -> Result<Self, String> {
        let mut result = Self::default();
        for (name, value) in map {
            if name.eq_ignore_ascii_case("Outputs") {
                result.outputs = match value {
                    Value::Null => None,
                    Value::Object(outputs) => Some(outputs),
                    _ => return Err("'Outputs' must be an object".into()),
                };
            } else if name.eq_ignore_ascii_case("Logs") {
                result.logs = match value {
                    Value::Null => Vec::new(),
                    Value::Array(lines) => lines.into_iter().map(line).collect::<Result<_, _>>()?,
                    _ => return Err("'Logs' must be an array of strings".into()),
                };
            } else if name.eq_ignore_ascii_case("ReturnValue") {
                result.return_value = Some(value).filter(|value| !value.is_null());
            }
        }
        Ok(result)
    }
}

/// The JSON library makes strings of numbers and truth values, but not of objects.
fn line(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(_) | Value::Object(_) => Err("'Logs' must be an array of strings".into()),
        scalar => Ok(newtonsoft::to_text(&scalar)),
    }
}
