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
mod context;
mod deployment;
mod error;
mod evaluator;
mod expansion;
mod expression;
mod functions;
mod lookups;
mod parameters;
mod paths;
mod unique_string;

#[cfg(test)]
mod tests;

pub use check::check;
pub use context::{References, Scope};
pub use deployment::{Evaluated, Output, Resource, evaluate};
pub use error::TemplateError;
pub use evaluator::Evaluator;
pub use expression::is_expression;
