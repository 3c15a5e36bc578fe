//! Resource, deployment and scope functions.

use serde_json::{Value, json};

use super::Call;
use crate::{context::Scope, error::Stop};

pub(super) fn call(call: &Call<'_>, scope: &Scope) -> Option<Result<Value, Stop>> {
    Some(match call.name {
        "resourceid" => resource_id(call, scope),
        "subscriptionresourceid" => subscription_resource_id(call, scope),
        "resourcegroup" => call.count(0, 0).map(|()| resource_group(scope)),
        "subscription" => call.count(0, 0).map(|()| subscription(scope)),
        "tenant" => call.count(0, 0).map(|()| json!({"tenantId": scope.tenant_id})),
        "deployment" => call.count(0, 0).map(|()| deployment(scope)),
        _ => return None,
    })
}

fn resource_group(scope: &Scope) -> Value {
    json!({
        "id": format!("/subscriptions/{}/resourceGroups/{}", scope.subscription_id, scope.resource_group),
        "name": scope.resource_group,
        "type": "Microsoft.Resources/resourceGroups",
        "location": scope.resource_group_location,
        "properties": {"provisioningState": "Succeeded"},
    })
}

fn subscription(scope: &Scope) -> Value {
    json!({
        "id": format!("/subscriptions/{}", scope.subscription_id),
        "subscriptionId": scope.subscription_id,
        "tenantId": scope.tenant_id,
    })
}

fn deployment(scope: &Scope) -> Value {
    json!({"name": scope.deployment_name, "properties": {"mode": "Incremental", "provisioningState": "Accepted"}})
}

/// `resourceId([subscriptionId], [resourceGroupName], resourceType, resourceName1, [resourceName2], …)`.
fn resource_id(call: &Call<'_>, scope: &Scope) -> Result<Value, Stop> {
    let (before, path) = type_and_names(call)?;
    let (subscription, group) = match before.as_slice() {
        [] => (scope.subscription_id.as_str(), scope.resource_group.as_str()),
        [group] => (scope.subscription_id.as_str(), group.as_str()),
        [subscription, group] => (subscription.as_str(), group.as_str()),
        _ => {
            return call
                .refuse("at most a subscription id and a resource group name may stand before the type.");
        }
    };
    Ok(Value::String(format!("/subscriptions/{subscription}/resourceGroups/{group}/providers/{path}")))
}

/// `subscriptionResourceId([subscriptionId], resourceType, resourceName1, …)`.
fn subscription_resource_id(call: &Call<'_>, scope: &Scope) -> Result<Value, Stop> {
    let (before, path) = type_and_names(call)?;
    let subscription = match before.as_slice() {
        [] => scope.subscription_id.as_str(),
        [subscription] => subscription.as_str(),
        _ => return call.refuse("at most a subscription id may stand before the type."),
    };
    Ok(Value::String(format!("/subscriptions/{subscription}/providers/{path}")))
}

/// The arguments before the type, and `Provider/type/name/type/name`.
fn type_and_names(call: &Call<'_>) -> Result<(Vec<String>, String), Stop> {
    call.count(2, usize::MAX)?;
    let texts = call.texts()?;
    // The type is the first argument with a slash: neither ids of subscriptions nor names of groups have one.
    let Some(at) = texts.iter().position(|text| text.contains('/')) else {
        return call
            .refuse("no parameter is a fully qualified resource type such as 'Microsoft.DevTestLab/labs'.");
    };
    let mut segments = texts[at].trim_matches('/').split('/');
    let provider = segments.next().unwrap_or_default();
    let types: Vec<_> = segments.collect();
    let names = &texts[at + 1..];
    if types.is_empty() || types.len() != names.len() {
        return call.refuse(&format!(
            "the type '{}' requires '{}' resource name argument(s), '{}' are given.",
            texts[at],
            types.len(),
            names.len()
        ));
    }
    let mut path = provider.to_owned();
    for (kind, name) in types.iter().zip(names) {
        path.push_str(&format!("/{kind}/{name}"));
    }
    Ok((texts[..at].to_vec(), path))
}
