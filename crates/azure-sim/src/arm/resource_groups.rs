//! Subscriptions and resource groups.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    deployments::Deployment,
    error::ArmError,
    tags::Tags,
};
use crate::World;

/// A subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    /// How many cores its VMs may have in each region; no limit where `None`.
    pub(crate) cores: Option<u32>,
}

/// A resource group.
#[derive(Clone, Debug, Default)]
pub(crate) struct ResourceGroup {
    pub(crate) subscription: String,
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) tags: Tags,
    /// The deployment history, by name in lower case.
    pub(crate) deployments: BTreeMap<String, Deployment>,
    /// Pruning of the history was scheduled and did not happen yet.
    pub(crate) pruning: bool,
}

impl ResourceGroup {
    fn view(&self) -> Value {
        let mut body = json!({
            "id": format!("/subscriptions/{}/resourceGroups/{}", self.subscription, self.name),
            "name": self.name,
            "type": "Microsoft.Resources/resourceGroups",
            "location": self.location,
            "properties": {"provisioningState": "Succeeded"},
        });
        if !self.tags.is_empty() {
            body["tags"] = json!(self.tags);
        }
        body
    }
}

/// The key of a group.
pub(crate) fn key(subscription: &str, group: &str) -> String {
    format!("{subscription}/{group}").to_lowercase()
}

/// # Errors
/// 404 `SubscriptionNotFound`.
pub(crate) fn check_subscription(world: &World, subscription: &str) -> Result<(), ArmError> {
    if world.arm.subscriptions.contains_key(subscription) {
        Ok(())
    } else {
        Err(ArmError::new(
            404,
            "SubscriptionNotFound",
            format!("The subscription '{subscription}' could not be found."),
        ))
    }
}

/// # Errors
/// 404 `ResourceGroupNotFound`.
pub(crate) fn group<'a>(
    world: &'a mut World,
    subscription: &str,
    group: &str,
) -> Result<&'a mut ResourceGroup, ArmError> {
    world.arm.groups.get_mut(&key(subscription, group)).ok_or_else(|| {
        ArmError::new(404, "ResourceGroupNotFound", format!("Resource group '{group}' could not be found."))
    })
}

/// `GET /subscriptions[/{id}]`.
pub(crate) fn subscriptions(world: &World, call: &Call) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let view = |id: &String| {
        json!({
            "id": format!("/subscriptions/{id}"),
            "subscriptionId": id,
            "displayName": format!("Simulated subscription {}", id.get(..8).unwrap_or(id)),
            "state": "Enabled",
            "tenantId": call.principal.tenant_id,
        })
    };
    if call.lower.len() > 1 {
        return Ok(Answer::json(200, view(&call.lower[1])));
    }
    let value: Vec<Value> = world.arm.subscriptions.keys().map(view).collect();
    Ok(Answer::json(200, json!({"value": value})))
}

/// `GET /tenants`: the caller's own.
pub(crate) fn tenants(call: &Call) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let tenant = &call.principal.tenant_id;
    let view = json!({
        "id": format!("/tenants/{tenant}"),
        "tenantId": tenant,
        "displayName": "Simulated directory",
        "tenantCategory": "Home",
    });
    Ok(Answer::json(200, json!({"value": [view]})))
}

/// `GET /subscriptions/{id}/resourcegroups`.
pub(crate) fn list(world: &World, call: &Call) -> Result<Answer, ArmError> {
    let prefix = format!("{}/", call.subscription());
    let groups = world.arm.groups.range(prefix.clone()..);
    let value: Vec<Value> =
        groups.take_while(|(key, _)| key.starts_with(&prefix)).map(|(_, group)| group.view()).collect();
    Ok(Answer::json(200, json!({"value": value})))
}

/// GET and HEAD of one group. Groups are made by seeding and by DevTest Labs, never by callers.
pub(crate) fn route(world: &mut World, call: &Call) -> Result<Answer, ArmError> {
    let found = group(world, &call.lower[1], &call.segments[3]);
    match call.method {
        Method::GET => Ok(Answer::json(200, found?.view())),
        Method::HEAD => Ok(Answer::empty(if found.is_ok() { 204 } else { 404 })),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}
