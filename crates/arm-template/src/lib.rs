//! Evaluates the expressions of Azure Resource Manager templates.
//!
//! Follows Microsoft's "Syntax and expressions in ARM templates" and "ARM template functions"
//! (<https://learn.microsoft.com/azure/azure-resource-manager/templates/template-expressions>). Pure: it knows the
//! template, the parameters' values and the scope of the deployment, and nothing else. What only a deployed resource can
//! tell (`reference()`) comes through [`References`].
//!
//! Two callers: whoever deploys a whole template uses [`evaluate`]; whoever wants to know what one expression means
//! uses [`Evaluator::value`].

mod check;
mod deployment;
mod error;
mod evaluator;
mod expression;
mod functions;
mod parameters;
mod unique_string;

#[cfg(test)]
mod tests;

pub use check::check;
pub use deployment::{Evaluated, Output, Resource, evaluate};
pub use error::TemplateError;
pub use evaluator::{Evaluator, References, Scope};
pub use expression::is_expression;
