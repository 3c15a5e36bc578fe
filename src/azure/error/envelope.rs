//! Finding the code and the message in what Azure, or a gateway before it, sends as an error.
//!
//! Resource Manager's envelope is `{"error":{"code","message","details":[…]}}`, but the outer `error` may be missing,
//! a message may be a JSON document in a string, gateways answer HTML, and the storage service answers XML.

use azure_core::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use super::without_queries;

/// How deep envelopes are followed into each other; real ones nest about five deep.
const DEEPEST: usize = 24;

/// A foreign page that has no other message is cut to this many characters.
const LONGEST_PAGE: usize = 300;

/// A code and its message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub code: String,
    pub message: String,
    /// Whether the code was in the answer, rather than made from its status.
    pub specific: bool,
}

/// The most specific code and message of an answer's body.
pub(super) fn read(status: u16, body: &[u8]) -> Found {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start_matches('\u{feff}').trim();
    let (code, message) = if text.starts_with('<') { markup(text) } else { deepest_in_text(text, 0) };
    let specific = code.is_some();
    Found {
        code: code.unwrap_or_else(|| status_name(status)),
        message: message.unwrap_or_else(|| match text.is_empty() || text.starts_with(['{', '[', '<']) {
            true => format!("HTTP status {status}, with no message"),
            // Before it is cut: a part of a secret is not known again.
            false => without_queries(text).chars().take(LONGEST_PAGE).collect(),
        }),
        specific,
    }
}

/// The most specific code and message of an `error` object.
pub(super) fn read_value(error: &Value) -> Found {
    let (code, message) = deepest(error, 0);
    let specific = code.is_some();
    Found {
        code: code.unwrap_or_else(|| "OperationFailed".to_owned()),
        message: message.unwrap_or_else(|| "Azure gave no reason".to_owned()),
        specific,
    }
}

/// A status as a code in Azure's manner: 502 is `BadGateway`.
pub(super) fn status_name(status: u16) -> String {
    let name = StatusCode::from(status).canonical_reason();
    name.split(|c: char| !c.is_ascii_alphanumeric()).collect()
}

type Parts = (Option<String>, Option<String>);

fn deepest(value: &Value, depth: usize) -> Parts {
    if depth > DEEPEST {
        return (None, None);
    }
    match value {
        Value::String(text) => deepest_in_text(text, depth + 1),
        // Each is read once: read twice at every depth, a deep one would take for ever.
        Value::Array(items) => {
            let mut first = None;
            for item in items {
                let found = deepest(item, depth + 1);
                if found.0.is_some() {
                    return found;
                }
                first.get_or_insert(found);
            }
            first.unwrap_or_default()
        }
        Value::Object(object) => {
            let text = |key: &str| {
                object.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty())
            };
            let own_message =
                text("message").or_else(|| text("Message")).or_else(|| text("error_description"));
            let own = (
                text("code")
                    .or_else(|| text("Code"))
                    .or_else(|| text("error").filter(|code| is_a_word(code)))
                    .map(str::to_owned),
                own_message.map(str::to_owned),
            );
            // From the most to the least specific place; the first that names a code decides.
            let inner = ["details", "innererror", "innerError"];
            let wrappers = ["error", "properties", "statusMessage"];
            let mut best: Parts = (None, None);
            for key in inner.into_iter().chain(wrappers) {
                let Some(value) = object.get(key) else { continue };
                // `{"error":"invalid_client"}`: that is the code itself.
                if own.0.is_some() && value.as_str() == own.0.as_deref() {
                    continue;
                }
                let found = deepest(value, depth + 1);
                if found.0.is_some() {
                    best = found;
                    break;
                }
                best.1 = best.1.or(found.1.filter(|_| key != "properties"));
            }
            if best.0.is_none()
                && let Some(message) = own_message
            {
                let found = json_in(message).map(|value| deepest(&value, depth + 1));
                if let Some(found) = found {
                    best = (found.0, found.1.or(best.1));
                }
            }
            (best.0.or(own.0), best.1.or(own.1))
        }
        _ => (None, None),
    }
}

fn deepest_in_text(text: &str, depth: usize) -> Parts {
    match json_in(text) {
        Some(value) => deepest(&value, depth + 1),
        None => (None, Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
    }
}

/// The JSON object that a text is, or holds: messages quote whole answers ("… failed: {"error":…}").
fn json_in(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        // "500" or "true" is a text and no envelope.
        return Some(value).filter(|value| value.is_object() || value.is_array() || value.is_string());
    }
    let start = text.find('{')?;
    let mut documents = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
    let first = documents.next()?.ok()?;
    Some(first).filter(|value| deepest(value, DEEPEST / 2).0.is_some())
}

/// A code has no spaces in it; a message has.
fn is_a_word(text: &str) -> bool {
    !text.contains(char::is_whitespace) && !text.contains('{')
}

/// The storage service's error document.
/// <https://learn.microsoft.com/rest/api/storageservices/status-and-error-codes2>
#[derive(Deserialize)]
struct StorageError {
    #[serde(rename = "Code")]
    code: Option<String>,
    #[serde(rename = "Message")]
    message: Option<String>,
}

fn markup(text: &str) -> Parts {
    if let Ok(error) = azure_core::xml::from_xml::<_, StorageError>(text)
        && error.code.is_some()
    {
        // The lines after the first repeat the request id and the time.
        let message = error.message.and_then(|text| text.lines().next().map(|line| line.trim().to_owned()));
        return (error.code, message.filter(|text| !text.is_empty()));
    }
    let lower = text.to_ascii_lowercase();
    let title = lower.find("<title>").and_then(|start| {
        let start = start + "<title>".len();
        let end = lower[start..].find("</title>")? + start;
        text.get(start..end)
    });
    let page = match title {
        Some(title) => title.to_owned(),
        None => without_tags(text),
    };
    let page: String = without_queries(page.trim()).chars().take(LONGEST_PAGE).collect();
    (None, Some(page).filter(|page| !page.is_empty()))
}

fn without_tags(text: &str) -> String {
    let mut out = String::new();
    let mut inside = false;
    for c in text.chars() {
        match c {
            '<' => inside = true,
            '>' => {
                inside = false;
                out.push(' ');
            }
            c if !inside => out.push(c),
            _ => {}
        }
    }
    out
}
