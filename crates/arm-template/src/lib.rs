//! Evaluates the expressions of Azure Resource Manager templates.
