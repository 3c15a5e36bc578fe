//! Why a template was refused.

/// A template that Resource Manager would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct TemplateError {
    /// Azure's error code, `InvalidTemplate`.
    pub code: &'static str,
    /// Azure's wording as far as it is known, with the JSON path in the place of line and column.
    pub message: String,
    /// Where in the template, e.g. `$.resources[0].properties.size`.
    pub path: String,
}

/// The code of every error that a template's author can cause.
const INVALID_TEMPLATE: &str = "InvalidTemplate";

impl TemplateError {
    /// A template that fails before any resource is looked at.
    pub(crate) fn validation(path: &str, reason: &str) -> Self {
        Self {
            code: INVALID_TEMPLATE,
            message: format!("Deployment template validation failed: '{reason}' (at path '{path}')"),
            path: path.to_owned(),
        }
    }

    /// An expression that cannot be evaluated.
    pub(crate) fn expression(path: &str, reason: &str) -> Self {
        Self {
            code: INVALID_TEMPLATE,
            message: format!("Unable to process template language expressions at path '{path}'. '{reason}'"),
            path: path.to_owned(),
        }
    }
}

/// Why one expression has no value.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It is wrong; the text is Azure's reason without its place.
    Wrong(String),
    /// It asks for a deployed resource, and nothing is deployed yet.
    Deferred,
    /// An error that already knows its place, from a variable or a parameter's default.
    Placed(TemplateError),
}

impl Stop {
    /// The error for an expression at `path`, in a place where nothing may be deferred.
    pub(crate) fn at(self, path: &str) -> TemplateError {
        match self {
            Self::Wrong(reason) => TemplateError::expression(path, &reason),
            Self::Deferred => TemplateError::expression(
                path,
                "The template function 'reference' is not expected at this location. Please see https://aka.ms/arm-functions for usage details.",
            ),
            Self::Placed(error) => error,
        }
    }
}

/// Shorthand for a reason.
pub(crate) fn wrong<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Wrong(reason.into()))
}
