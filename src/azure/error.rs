//! What Azure answered when it did not do what was asked.

mod envelope;
mod redact;
#[cfg(test)]
mod tests;

use std::time::Duration;

use azure_core::http::headers::{HeaderName, Headers};
use factory_clock::Clock;
use serde_json::Value;

use crate::secret::Secret;
pub(crate) use redact::without_queries;

/// Headers that may say how long to wait, in the order in which they count; all but the last are in milliseconds.
const RETRY_AFTER_MILLISECONDS: [HeaderName; 2] =
    [HeaderName::from_static("x-ms-retry-after-ms"), HeaderName::from_static("retry-after-ms")];
const RETRY_AFTER: HeaderName = HeaderName::from_static("retry-after");

/// The id under which Azure's support finds a call, then the ids to fall back to.
const CORRELATION_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-ms-correlation-request-id"), HeaderName::from_static("x-ms-request-id")];

/// The storage service's error code, the only trace of it in the answer to a HEAD.
pub(super) const STORAGE_ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");

/// Longest message that is kept, in characters: it goes into the ledger and to people.
const LONGEST_MESSAGE: usize = 2000;

/// ARM's and the storage service's codes for "not now", whatever the status says.
/// <https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors>
/// `DeploymentQuotaExceeded` is among them because Resource Manager begins to prune the history when it says so.
const TRANSIENT_CODES: [&str; 9] = [
    "AnotherOperationInProgress",
    "DeploymentActive",
    "DeploymentQuotaExceeded",
    "ContainerBeingDeleted",
    "PendingCopyOperation",
    "ExpiredAuthenticationToken",
    "ServerBusy",
    "OperationTimedOut",
    "TooManyRequests",
];

/// Codes that begin so are transient too (`RetryableErrorDueToAnotherOperation`).
const TRANSIENT_PREFIX: &str = "RetryableError";

/// The storage service's codes for a condition that does not hold.
const PRECONDITION_CODES: [&str; 3] = ["BlobAlreadyExists", "ConditionNotMet", "TargetConditionNotMet"];

/// What a message of the general 409 `Conflict` says while something else holds the resource.
const BUSY_PHRASES: [&str; 7] = [
    "another operation",
    "in progress",
    "still active",
    "currently being",
    "is being",
    "try again",
    "retry the operation",
];

/// What an error means for the step that met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// HTTP 404: the thing, or its parent, is not there.
    NotFound,
    /// Later it may work: throttling, a server's trouble, a lost connection, another operation at work.
    Transient {
        /// How long Azure asks to wait, if it said.
        retry_after: Option<Duration>,
    },
    /// The condition of a conditional write does not hold (412, or 409 `BlobAlreadyExists`).
    Precondition,
    /// Doing the same again will be refused again.
    Permanent,
}

/// A call to Azure that failed, or an operation that Azure says has failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attempted}: {code}: {message}{}", .correlation_id.as_ref().map(|id| format!(" (correlation id {id})")).unwrap_or_default())]
pub struct AzureError {
    /// What it means for the caller.
    pub kind: ErrorKind,
    /// The HTTP status; `None` where no answer came, or where an operation failed after its call had succeeded.
    pub status: Option<u16>,
    /// The most specific code in Azure's answer, e.g. `InvalidStorageAccountForLab`.
    pub code: String,
    /// The message that belongs to `code`; URLs in it have lost their query.
    pub message: String,
    /// Azure's correlation id of the call, for its support.
    pub correlation_id: Option<String>,
    /// What was tried, on what: `PUT custom image team-web/x`.
    pub attempted: String,
}

impl AzureError {
    /// Whether the thing is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// Whether it is worth to try again later.
    pub fn is_transient(&self) -> bool {
        matches!(self.kind, ErrorKind::Transient { .. })
    }

    /// Whether Resource Manager has taken as many calls as it takes at a time (HTTP 429).
    pub fn is_throttled(&self) -> bool {
        self.status == Some(429)
    }

    /// Whether something else holds the thing (HTTP 409).
    pub fn is_conflict(&self) -> bool {
        self.status == Some(409)
    }

    /// Whether a condition of the write did not hold.
    pub fn is_precondition(&self) -> bool {
        self.kind == ErrorKind::Precondition
    }

    /// How long Azure asks to wait before the next try.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            ErrorKind::Transient { retry_after } => retry_after,
            _ => None,
        }
    }

    /// The same without this secret, which the call had sent: whoever refuses a request may repeat it.
    pub(crate) fn without(self, secret: &Secret<String>) -> Self {
        Self { message: redact::without_secret(&self.message, secret), ..self }
    }

    /// A refusal on this side, before or after the call.
    pub(crate) fn permanent(attempted: &str, code: &str, message: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::Permanent,
            status: None,
            code: code.to_owned(),
            message: tidy(&message.into()),
            correlation_id: None,
            attempted: attempted.to_owned(),
        }
    }

    /// No answer came: time-out or connection loss. Whether the call took effect is not known.
    pub(crate) fn unanswered(attempted: &str, code: &str, message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Transient { retry_after: None }, ..Self::permanent(attempted, code, message) }
    }

    /// An answer that is not the expected success.
    pub(crate) fn from_answer(
        attempted: &str,
        status: u16,
        headers: &Headers,
        body: &[u8],
        clock: &Clock,
    ) -> Self {
        let mut found = envelope::read(status, body);
        if let Some(code) = headers.get_optional_str(&STORAGE_ERROR_CODE)
            && !found.specific
        {
            found.code = code.to_owned();
        }
        let kind = classify(status, &found.code, &found.message, retry_after(headers, clock));
        Self {
            kind,
            status: Some(status),
            code: found.code,
            message: tidy(&found.message),
            correlation_id: correlation_id(headers),
            attempted: attempted.to_owned(),
        }
    }

    /// An operation that ended badly after its call had been accepted; `error` is the `error` object of its status.
    pub(crate) fn from_failure(attempted: &str, error: &Value, correlation_id: Option<String>) -> Self {
        let found = envelope::read_value(error);
        let kind = match is_transient_code(&found.code) {
            true => ErrorKind::Transient { retry_after: None },
            false => ErrorKind::Permanent,
        };
        Self {
            kind,
            status: None,
            code: found.code,
            message: tidy(&found.message),
            correlation_id,
            attempted: attempted.to_owned(),
        }
    }

    /// An error of the SDK: an answer that it refused, or no answer at all.
    pub(crate) fn from_sdk(attempted: &str, error: &azure_core::Error, clock: &Clock) -> Self {
        use azure_core::error::ErrorKind as Sdk;
        match error.kind() {
            Sdk::HttpResponse { status, error_code, raw_response } => match raw_response {
                Some(raw) => Self::from_answer(attempted, (*status).into(), raw.headers(), raw.body(), clock),
                None => {
                    let status = (*status).into();
                    let code = error_code.clone().unwrap_or_else(|| envelope::status_name(status));
                    let message = tidy(&chain(error));
                    Self {
                        kind: classify(status, &code, &message, None),
                        status: Some(status),
                        code,
                        message,
                        correlation_id: None,
                        attempted: attempted.to_owned(),
                    }
                }
            },
            Sdk::Connection => Self::unanswered(attempted, "ConnectionFailed", chain(error)),
            Sdk::Io => Self::unanswered(attempted, "ConnectionLost", chain(error)),
            Sdk::Credential if !refused(error) => {
                Self::unanswered(attempted, "CredentialUnavailable", chain(error))
            }
            Sdk::Credential => Self::permanent(attempted, "CredentialRefused", chain(error)),
            Sdk::DataConversion => Self::permanent(attempted, "UnexpectedAnswer", chain(error)),
            _ => Self::permanent(attempted, "RequestNotSent", chain(error)),
        }
    }
}

/// How long Azure asks to wait: seconds, milliseconds, or a date, which counts from the clock's now.
pub(crate) fn retry_after(headers: &Headers, clock: &Clock) -> Option<Duration> {
    for name in &RETRY_AFTER_MILLISECONDS {
        if let Some(wait) = headers.get_optional_str(name).and_then(|text| text.trim().parse().ok()) {
            return Some(Duration::from_millis(wait));
        }
    }
    let text = headers.get_optional_str(&RETRY_AFTER)?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let moment = azure_core::time::parse_rfc7231(text).ok()?;
    // A moment that has passed means "at once".
    Some(Duration::try_from(moment - clock.now()).unwrap_or_default())
}

/// The id under which this call can be found again.
pub(crate) fn correlation_id(headers: &Headers) -> Option<String> {
    CORRELATION_HEADERS.iter().find_map(|name| headers.get_optional_string(name))
}

fn classify(status: u16, code: &str, message: &str, retry_after: Option<Duration>) -> ErrorKind {
    let transient = ErrorKind::Transient { retry_after };
    match status {
        408 | 429 | 500..=599 => transient,
        404 => ErrorKind::NotFound,
        412 => ErrorKind::Precondition,
        _ if is_transient_code(code) => transient,
        409 if PRECONDITION_CODES.iter().any(|known| same(known, code)) => ErrorKind::Precondition,
        409 if same(code, "Conflict") && says_busy(message) => transient,
        _ => ErrorKind::Permanent,
    }
}

fn is_transient_code(code: &str) -> bool {
    let begins = code.get(..TRANSIENT_PREFIX.len()).is_some_and(|start| same(start, TRANSIENT_PREFIX));
    begins || TRANSIENT_CODES.iter().any(|known| same(known, code))
}

fn says_busy(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    BUSY_PHRASES.iter().any(|phrase| message.contains(phrase))
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Whether an identity service refused the credential, rather than being out of reach.
fn refused(error: &azure_core::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<azure_core::Error>()
            && let Some(status) = error.http_status()
        {
            let status = u16::from(status);
            return (400..500).contains(&status) && status != 408 && status != 429;
        }
        source = error.source();
    }
    false
}

/// An error with its causes in one line; libraries keep the interesting part in the cause.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Fit for a ledger: no query strings, one line, bounded.
fn tidy(message: &str) -> String {
    let message = without_queries(message);
    let words: Vec<&str> = message.split_whitespace().collect();
    let message = words.join(" ");
    match message.char_indices().nth(LONGEST_MESSAGE) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}
