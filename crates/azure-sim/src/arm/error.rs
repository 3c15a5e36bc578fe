//! Errors in Resource Manager's envelope.

use serde_json::{Value, json};

/// An error as Resource Manager answers it: `{"error":{"code","message","target","details"}}`
/// (Microsoft, "Azure Resource Manager: common API details, error response").
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ArmError {
    /// The HTTP status.
    pub status: u16,
    /// Azure's code.
    pub code: String,
    /// Azure's message.
    pub message: String,
    /// What it is about, where Azure says so.
    pub target: Option<String>,
    /// Errors inside it.
    pub details: Vec<ArmError>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
}

impl ArmError {
    /// An error without details.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            target: None,
            details: Vec::new(),
            retry_after: None,
        }
    }

    /// 400 `BadRequest`: what DevTest Labs answers to most wrong bodies.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 409 `Conflict`.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(409, "Conflict", message)
    }

    /// 404 `ResourceNotFound` for a resource of a provider, by the path of the request.
    pub fn not_found(path: &str) -> Self {
        let (group, resource) = split(path);
        Self::new(
            404,
            "ResourceNotFound",
            format!(
                "The Resource '{resource}' under resource group '{group}' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix"
            ),
        )
    }

    /// 404 `ParentResourceNotFound`: the lab of a child resource is not there.
    pub fn parent_not_found(parent: &str) -> Self {
        Self::new(
            404,
            "ParentResourceNotFound",
            format!(
                "Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
            ),
        )
    }

    /// 405: the resource knows no such method.
    pub fn method_not_allowed(method: &http::Method, path: &str) -> Self {
        Self::new(
            405,
            "HttpMethodNotSupported",
            format!("The http method '{method}' is not supported for the resource '{path}'."),
        )
    }

    /// `{"code","message"[,"target"][,"details"]}`.
    pub fn inner(&self) -> Value {
        let mut body = json!({"code": self.code, "message": self.message});
        if let Some(target) = &self.target {
            body["target"] = json!(target);
        }
        if !self.details.is_empty() {
            body["details"] = self.details.iter().map(Self::inner).collect();
        }
        body
    }

    /// The whole body: [`inner`](Self::inner) inside `error`.
    pub fn body(&self) -> Value {
        json!({"error": self.inner()})
    }

    /// The name that a deployment gives to an error of this status (`Conflict`, `BadRequest`, …).
    pub fn status_name(&self) -> &'static str {
        match self.status {
            400 => "BadRequest",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            412 => "PreconditionFailed",
            429 => "TooManyRequests",
            _ => "InternalServerError",
        }
    }
}

/// The group and `Provider/type/name…` of a path.
fn split(path: &str) -> (&str, String) {
    let segments: Vec<&str> = path.split('/').filter(|s| !s.is_empty()).collect();
    let group = segments.get(3).copied().unwrap_or_default();
    let resource = match segments.iter().position(|s| s.eq_ignore_ascii_case("providers")) {
        Some(at) => segments[at + 1..].join("/"),
        None => segments.join("/"),
    };
    (group, resource)
}
