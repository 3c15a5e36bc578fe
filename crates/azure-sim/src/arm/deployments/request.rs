//! The body of a deployment: template and parameters, and what Resource Manager refuses before it begins.

use std::collections::BTreeMap;

use arm_template::{Evaluated, Scope};
use serde_json::{Map, Value, json};

use crate::{
    World,
    arm::{call::Call, error::ArmError, quota, resource_groups, virtual_machines},
};

/// What is to be deployed.
pub(super) struct Request {
    pub(super) evaluated: Evaluated,
    /// The parameters as GET shows them.
    pub(super) shown: Value,
}

fn invalid(message: impl Into<String>) -> ArmError {
    ArmError::new(400, "InvalidTemplate", message)
}

/// Reads and checks a body.
pub(super) fn read(world: &mut World, call: &Call, name: &str) -> Result<Request, ArmError> {
    let body = call.json()?;
    let properties = &body["properties"];
    if !properties["mode"].as_str().is_some_and(|mode| mode.eq_ignore_ascii_case("incremental")) {
        return Err(ArmError::new(
            400,
            "InvalidDeploymentMode",
            "The property 'mode' is required. Only 'Incremental' is simulated: 'Complete' deletes whatever the template does not name.",
        ));
    }
    let template = &properties["template"];
    if !template.is_object() {
        return Err(invalid(
            "Deployment template validation failed: 'The template is missing or is no JSON object.'",
        ));
    }
    let parameters = parameters(world, &properties["parameters"])?;
    let group = resource_groups::group(world, &call.lower[1], &call.segments[3])?;
    let (location, subscription) = (group.location.clone(), group.subscription.clone());
    let scope = Scope {
        subscription_id: subscription.clone(),
        resource_group: group.name.clone(),
        resource_group_location: location.clone(),
        deployment_name: name.to_owned(),
        tenant_id: call.principal.tenant_id.clone(),
    };
    let evaluated = arm_template::evaluate(template, &parameters, &scope)
        .map_err(|error| ArmError::new(400, error.code, error.message))?;
    let wanted = evaluated
        .resources
        .iter()
        .map(|resource| virtual_machines::preflight_cores(&resource.resource_type, resource.properties()))
        .sum();
    quota::preflight(world, &subscription, &location, wanted)
        .map_err(|inner| quota::invalid_deployment(name, &call.correlation_id, inner))?;
    let shown = shown(template, &parameters, &evaluated);
    Ok(Request { evaluated, shown })
}

/// # Errors
/// The refusal of pre-flight, if by chance one of the VMs finds no cores. Only a PUT may ask: the next one is granted.
pub(super) fn check_chance(
    world: &mut World,
    call: &Call,
    name: &str,
    request: &Request,
) -> Result<(), ArmError> {
    let location = resource_groups::group(world, &call.lower[1], &call.segments[3])?.location.clone();
    for resource in &request.evaluated.resources {
        let properties = resource.properties();
        let is_machine = virtual_machines::preflight_cores(&resource.resource_type, properties) > 0;
        if is_machine && !is_there(world, &resource.id) && world.refused_in_preflight(&resource.id) {
            let size = properties["size"].as_str().unwrap_or_default();
            let inner = quota::preflight_refusal(world, call.subscription(), &location, size);
            return Err(quota::invalid_deployment(name, &call.correlation_id, inner));
        }
    }
    Ok(())
}

/// Whether a lab VM of this id was made before.
fn is_there(world: &World, id: &str) -> bool {
    let id = id.to_lowercase();
    let lab_and_name = id.split_once("/virtualmachines/");
    lab_and_name
        .is_some_and(|(lab, name)| world.arm.labs.get(lab).is_some_and(|lab| lab.machines.contains_key(name)))
}

/// Unwraps `{"value": …}` and `{"reference": …}`.
fn parameters(world: &World, given: &Value) -> Result<BTreeMap<String, Value>, ArmError> {
    let entries = match given {
        Value::Null => return Ok(BTreeMap::new()),
        Value::Object(entries) => entries,
        _ => {
            return Err(invalid(
                "Deployment template validation failed: 'The parameters must be a JSON object.'",
            ));
        }
    };
    entries
        .iter()
        .map(|(name, wrapped)| {
            if let Some(value) = wrapped.get("value") {
                return Ok((name.clone(), value.clone()));
            }
            let reference = &wrapped["reference"];
            if !reference.is_object() {
                return Err(invalid(format!(
                    "Deployment template validation failed: 'The value of deployment parameter '{name}' is null. Please specify the value or use the parameter reference.'"
                )));
            }
            let vault = reference["keyVault"]["id"].as_str().unwrap_or_default();
            let secret = reference["secretName"].as_str().unwrap_or_default();
            match world.arm.secrets.get(&(vault.to_lowercase(), secret.to_lowercase())) {
                Some(value) => Ok((name.clone(), json!(value))),
                None => Err(ArmError::new(
                    400,
                    "KeyVaultParameterReferenceSecretRetrieveFailed",
                    format!("The secret '{secret}' of KeyVault parameter reference '{name}' was not found in vault '{vault}'."),
                )),
            }
        })
        .collect()
}

/// The given parameters with their types; secrets without their values.
fn shown(template: &Value, given: &BTreeMap<String, Value>, evaluated: &Evaluated) -> Value {
    let mut shown = Map::new();
    for (name, declaration) in template["parameters"].as_object().into_iter().flatten() {
        let declared = declaration["type"].as_str().unwrap_or_default();
        let secret = declared.to_ascii_lowercase().starts_with("secure")
            || evaluated.secure_parameters.iter().any(|secure| secure.eq_ignore_ascii_case(name));
        let mut entry = json!({"type": type_name(declared)});
        let value = given.iter().find(|(given, _)| given.eq_ignore_ascii_case(name));
        if let Some((_, value)) = value.filter(|_| !secret) {
            entry["value"] = value.clone();
        }
        shown.insert(name.clone(), entry);
    }
    Value::Object(shown)
}

/// A type as Resource Manager writes it in answers.
pub(super) fn type_name(declared: &str) -> &str {
    match declared.to_ascii_lowercase().as_str() {
        "string" => "String",
        "securestring" => "SecureString",
        "int" => "Int",
        "bool" => "Bool",
        "object" => "Object",
        "secureobject" => "SecureObject",
        "array" => "Array",
        _ => declared,
    }
}
