//! The errors of Blob Storage, as XML.

use http::{HeaderValue, StatusCode};

use super::xml;

/// A refusal (Microsoft, "Blob Storage error codes").
#[derive(Clone, Debug, thiserror::Error)]
#[error("{status} {code}: {message}")]
pub(super) struct Error {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    /// More elements of the XML body.
    pub details: Vec<(&'static str, String)>,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Error {
    /// An error with a status that must be one of HTTP's.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            code,
            message: message.into(),
            details: Vec::new(),
            headers: Vec::new(),
        }
    }

    /// With one more element in the body.
    pub fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn authentication_failed(detail: impl Into<String>) -> Self {
        let message = "Server failed to authenticate the request. Make sure the value of Authorization header is formed \
                       correctly including the signature.";
        Self::new(403, "AuthenticationFailed", message).detail("AuthenticationErrorDetail", detail)
    }

    pub fn permission_mismatch() -> Self {
        let message = "This request is not authorized to perform this operation using this permission.";
        Self::new(403, "AuthorizationPermissionMismatch", message)
    }

    pub fn resource_not_found() -> Self {
        Self::new(404, "ResourceNotFound", "The specified resource does not exist.")
    }

    pub fn container_not_found() -> Self {
        Self::new(404, "ContainerNotFound", "The specified container does not exist.")
    }

    pub fn blob_not_found() -> Self {
        Self::new(404, "BlobNotFound", "The specified blob does not exist.")
    }

    pub fn condition_not_met() -> Self {
        let message = "The condition specified using HTTP conditional header(s) is not met.";
        Self::new(412, "ConditionNotMet", message)
    }

    pub fn pending_copy() -> Self {
        let message = "There is currently a pending copy operation.";
        Self::new(409, "PendingCopyOperation", message)
    }

    pub fn invalid_blob_type() -> Self {
        Self::new(409, "InvalidBlobType", "The blob type is invalid for this operation.")
    }

    pub fn missing_header(name: &str) -> Self {
        let message = "An HTTP header that's mandatory for this request is not specified.";
        Self::new(400, "MissingRequiredHeader", message).detail("HeaderName", name)
    }

    pub fn invalid_header(name: &str, value: &str) -> Self {
        let message = "The value for one of the HTTP headers is not in the correct format.";
        let error = Self::new(400, "InvalidHeaderValue", message);
        error.detail("HeaderName", name).detail("HeaderValue", value)
    }

    pub fn invalid_query(name: &str, value: &str) -> Self {
        let message = "Value for one of the query parameters specified in the request URI is invalid.";
        let error = Self::new(400, "InvalidQueryParameterValue", message);
        error.detail("QueryParameterName", name).detail("QueryParameterValue", value)
    }

    pub fn missing_query(name: &str) -> Self {
        let message = "A required query parameter was not specified for this request.";
        Self::new(400, "MissingRequiredQueryParameter", message).detail("QueryParameterName", name)
    }

    pub fn out_of_range_query(name: &str, value: &str) -> Self {
        let message =
            "One of the query parameters specified in the request URI is outside the permissible range.";
        let error = Self::new(400, "OutOfRangeQueryParameterValue", message);
        error.detail("QueryParameterName", name).detail("QueryParameterValue", value)
    }

    pub fn invalid_xml() -> Self {
        Self::new(400, "InvalidXmlDocument", "XML specified is not syntactically valid.")
    }

    pub fn invalid_range() -> Self {
        let message = "The range specified is invalid for the current size of the resource.";
        Self::new(416, "InvalidRange", message)
    }

    /// The body; `request` and `time` stand in the message as the service writes them.
    pub fn body(&self, request: &str, time: &str) -> String {
        let mut document = xml::Document::new("Error");
        document.text("Code", self.code);
        let message = format!("{}\nRequestId:{request}\nTime:{time}", self.message);
        document.text("Message", &message);
        for (name, value) in &self.details {
            document.text(name, value);
        }
        document.finish()
    }

    /// The code as the value of `x-ms-error-code`.
    pub fn code_header(&self) -> HeaderValue {
        HeaderValue::from_static(self.code)
    }
}
