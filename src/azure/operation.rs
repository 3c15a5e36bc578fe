//! Operations that go on after their call: <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations>.

use std::{fmt, time::Duration};

use azure_core::http::{Method, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Answer, Azure, AzureError, error, error::without_queries, json::text};

const MONITOR_HEADER: &str = "azure-asyncoperation";
const LOCATION_HEADER: &str = "location";

/// The key under which disks hand out a SAS; general answers must not carry it around.
const SAS_KEY: &str = "accessSAS";

/// States that a resource does not leave by itself.
const FINAL_STATES: [&str; 4] = ["Succeeded", "Failed", "Canceled", "Cancelled"];

/// Where to ask about an operation, exactly as Azure gave it: the URL is signed, up to 4 KB long, and must be neither
/// rebuilt nor logged whole. It may be kept in a message or the ledger.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationUrl(Kind);

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    /// `Azure-AsyncOperation`: the answer tells the `status`.
    Monitor(String),
    /// `Location`: the answer is 202 while it runs, then the result itself.
    Location(String),
}

impl OperationUrl {
    /// The URL of an `Azure-AsyncOperation` header.
    pub fn monitor(url: impl Into<String>) -> Self {
        Self(Kind::Monitor(url.into()))
    }

    /// The URL of a `Location` header.
    pub fn location(url: impl Into<String>) -> Self {
        Self(Kind::Location(url.into()))
    }

    /// Whether it came as `Azure-AsyncOperation`.
    pub fn is_monitor(&self) -> bool {
        matches!(self.0, Kind::Monitor(_))
    }

    /// The URL, verbatim. It is signed: not for logs.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Monitor(url) | Kind::Location(url) => url,
        }
    }

    /// The operation's id, the last segment of its path.
    fn id(&self) -> String {
        let path = without_queries(self.as_str());
        path.rsplit('/').next().unwrap_or_default().chars().take(80).collect()
    }
}

impl fmt::Debug for OperationUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_monitor() { "Monitor" } else { "Location" };
        f.debug_tuple(kind).field(&format_args!("…/{}", self.id())).finish()
    }
}

/// What became of a call that may take longer than its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    /// It is done already, or there was nothing to do.
    Done,
    /// Azure is at it.
    Running {
        /// Where to ask; `None` if Azure said nothing, then the resource's own state tells.
        operation: Option<OperationUrl>,
        /// How long Azure asks to wait. DevTest Labs never says.
        retry_after: Option<Duration>,
    },
}

/// How an operation stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Still at it.
    Running {
        /// How long Azure asks to wait.
        retry_after: Option<Duration>,
    },
    /// Done; the body of the answer, `Null` if none. A SAS in it is masked.
    Succeeded(Value),
    /// It ended badly.
    Failed(AzureError),
    /// Azure no longer knows the operation (404): look at the resource instead.
    Gone,
}

impl Azure {
    /// Asks once how an operation stands.
    ///
    /// # Errors
    /// If asking failed, which says nothing about the operation; or if the URL is not Resource Manager's own.
    pub async fn check(&self, operation: &OperationUrl) -> Result<Progress, AzureError> {
        let progress = self.check_with_secrets(operation).await?;
        Ok(match progress {
            Progress::Succeeded(mut body) => {
                mask_sas(&mut body);
                Progress::Succeeded(body)
            }
            other => other,
        })
    }

    /// As [`Self::check`], with the body as it came.
    pub(super) async fn check_with_secrets(&self, operation: &OperationUrl) -> Result<Progress, AzureError> {
        let attempted = format!("GET operation {}", operation.id());
        let url = self.own_url(&attempted, operation.as_str())?;
        let answer = self.call(&attempted, Method::Get, url, None).await?;
        let running = || Progress::Running { retry_after: error::retry_after(&answer.headers, self.clock()) };
        match answer.status {
            404 => return Ok(Progress::Gone),
            202 => return Ok(running()),
            _ if !answer.is_success() => {
                let refusal = self.refusal(&attempted, &answer);
                // A Location answers with the operation's own failure; 401 and 403 are about the asking.
                let final_answer =
                    !operation.is_monitor() && !refusal.is_transient() && !matches!(answer.status, 401 | 403);
                return match final_answer {
                    true => Ok(Progress::Failed(refusal)),
                    false => Err(refusal),
                };
            }
            _ => {}
        }
        let body = answer.json();
        // Some providers answer a Location with a status document too.
        let status = text(&body, "/status").or_else(|| match operation.is_monitor() {
            true => text(&body, "/properties/provisioningState"),
            false => None,
        });
        Ok(match status.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("succeeded") => Progress::Succeeded(body),
            // A gateway's page, or half an answer, is no success.
            None if operation.is_monitor() || (body.is_null() && !answer.body.is_empty()) => {
                let message = format!("HTTP status {} without the operation's status", answer.status);
                return Err(AzureError::unanswered(&attempted, "UnexpectedAnswer", message));
            }
            None => Progress::Succeeded(body),
            Some("failed" | "canceled" | "cancelled") => {
                Progress::Failed(failure(&attempted, &answer, &body))
            }
            Some("running" | "inprogress" | "accepted") => running(),
            Some(_) if operation.is_monitor() => running(),
            // The `status` of a resource that a Location leads to is its own matter.
            Some(_) => Progress::Succeeded(body),
        })
    }

    /// Calls something that may go on after its answer.
    pub(super) async fn start(
        &self,
        attempted: &str,
        method: Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<Started, AzureError> {
        let answer = self.call(attempted, method, url, body).await?;
        match answer.status {
            _ if answer.is_success() => Ok(self.started(&answer)),
            404 if method == Method::Delete => Ok(Started::Done),
            _ => Err(self.refusal(attempted, &answer)),
        }
    }

    fn started(&self, answer: &Answer) -> Started {
        let operation =
            answer.header(MONITOR_HEADER).map(OperationUrl::monitor).or_else(|| self.location(answer));
        let state = text(&answer.json(), "/properties/provisioningState");
        let is_final = |state: &String| FINAL_STATES.iter().any(|known| known.eq_ignore_ascii_case(state));
        let done = match answer.status {
            202 => false,
            204 => true,
            // A create that names no state goes on; an update that names none is done.
            201 => state.as_ref().is_some_and(is_final) && operation.is_none(),
            _ => state.as_ref().is_none_or(is_final) && operation.is_none(),
        };
        match done {
            true => Started::Done,
            false => {
                Started::Running { operation, retry_after: error::retry_after(&answer.headers, self.clock()) }
            }
        }
    }

    /// The answer's `Location`, if it has one that leads to an operation.
    pub(super) fn location(&self, answer: &Answer) -> Option<OperationUrl> {
        answer.header(LOCATION_HEADER).map(OperationUrl::location)
    }
}

fn failure(attempted: &str, answer: &Answer, body: &Value) -> AzureError {
    let state = text(body, "/status").unwrap_or_else(|| "Failed".to_owned());
    let bare =
        json!({"code": format!("Operation{state}"), "message": format!("the operation ended as {state}")});
    let reason = body
        .get("error")
        .or_else(|| body.pointer("/properties/error"))
        .filter(|reason| !reason.is_null())
        .unwrap_or(&bare);
    AzureError::from_failure(attempted, reason, error::correlation_id(&answer.headers))
}

fn mask_sas(value: &mut Value) {
    match value {
        Value::Object(object) => object.iter_mut().for_each(|(key, value)| match key.as_str() {
            SAS_KEY => *value = Value::from("***"),
            _ => mask_sas(value),
        }),
        Value::Array(items) => items.iter_mut().for_each(mask_sas),
        _ => {}
    }
}
