//! What can be said of a template without its parameters' values.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    error::TemplateError,
    expression::{Expression, Meaning, meaning},
    functions,
    paths::{member, within},
};

/// A nested deployment carries a template of its own, with its own parameters and variables.
const NESTED_DEPLOYMENT: &str = "Microsoft.Resources/deployments";

/// All expressions that cannot be parsed, call unknown functions, or name a parameter or variable that the template
/// does not have. Resource Manager refuses such a template before it deploys anything.
pub fn check(template: &Value) -> Vec<TemplateError> {
    let mut checker = Checker {
        parameters: names(&template["parameters"]),
        variables: names(&template["variables"]),
        errors: Vec::new(),
    };
    for copy in template["variables"]["copy"].as_array().into_iter().flatten() {
        checker.variables.extend(copy["name"].as_str().map(str::to_lowercase));
    }
    for section in ["parameters", "variables", "resources", "outputs"] {
        checker.walk(&template[section], &mut format!("$.{section}"), 0);
    }
    checker.errors
}

fn names(section: &Value) -> BTreeSet<String> {
    section
        .as_object()
        .into_iter()
        .flat_map(|entries| entries.keys())
        .map(|name| name.to_lowercase())
        .collect()
}

struct Checker {
    parameters: BTreeSet<String>,
    variables: BTreeSet<String>,
    errors: Vec<TemplateError>,
}

impl Checker {
    fn walk(&mut self, value: &Value, path: &mut String, depth: usize) {
        // The evaluator refuses what is deeper; here it is enough not to follow.
        if depth > 128 {
            return;
        }
        match value {
            Value::String(text) => match meaning(text) {
                Ok(Meaning::Literal(_)) => {}
                Ok(Meaning::Expression(expression)) => self.expression(&expression, path),
                Err(reason) => self.errors.push(TemplateError::expression(path, &reason)),
            },
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    within(path, &format!("[{index}]"), |path| self.walk(item, path, depth + 1));
                }
            }
            Value::Object(entries) => {
                let nested = entries
                    .get("type")
                    .and_then(Value::as_str)
                    .is_some_and(|kind| kind.eq_ignore_ascii_case(NESTED_DEPLOYMENT));
                for (key, item) in entries {
                    if nested && key == "properties" {
                        continue;
                    }
                    within(path, &member(key), |path| self.walk(item, path, depth + 1));
                }
            }
            _ => {}
        }
    }

    fn expression(&mut self, expression: &Expression, path: &str) {
        match expression {
            Expression::Text(_) | Expression::Integer(_) => {}
            Expression::Member { of, .. } => self.expression(of, path),
            Expression::Index { of, index } => {
                self.expression(of, path);
                self.expression(index, path);
            }
            Expression::Call { name, arguments } => {
                let function = name.to_ascii_lowercase();
                if !functions::is_known(&function) {
                    self.errors.push(TemplateError::expression(path, &functions::unknown_text(name)));
                }
                if let [Expression::Text(of)] = arguments.as_slice() {
                    let (known, what) = match function.as_str() {
                        "parameters" => (&self.parameters, "parameter"),
                        "variables" => (&self.variables, "variable"),
                        _ => return,
                    };
                    if !known.contains(&of.to_lowercase()) {
                        let reason = format!(
                            "The template {what} '{of}' is not found. Please see https://aka.ms/arm-template/#{what}s for usage details."
                        );
                        self.errors.push(TemplateError::validation(path, &reason));
                    }
                    return;
                }
                for argument in arguments {
                    self.expression(argument, path);
                }
            }
        }
    }
}
