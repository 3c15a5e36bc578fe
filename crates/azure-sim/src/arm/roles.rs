//! Who has which role where, and what that allows: `permissions`, `roleAssignments` and `roleDefinitions` of
//! Microsoft.Authorization (2022-04-01), as far as clients ask for them. Assignments are made behind the curtain alone.

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
};
use crate::{World, fault::holds, identity::Principal};

/// What a role allows, in the words of role definitions: `Microsoft.DevTestLab/labs/read`, `*/read`, `*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it allows of Resource Manager.
    pub actions: Vec<String>,
    /// What of that it does not.
    pub not_actions: Vec<String>,
    /// What it allows of the services' data.
    pub data_actions: Vec<String>,
    /// What of that it does not.
    pub not_data_actions: Vec<String>,
}

impl Role {
    /// The built-in role that may do everything but read data.
    pub fn owner() -> Self {
        Self { name: "Owner".to_owned(), actions: vec!["*".to_owned()], ..Self::default() }
    }

    fn allows(&self, action: &str) -> bool {
        any(&self.actions, action) && !any(&self.not_actions, action)
    }

    fn allows_data(&self, action: &str) -> bool {
        any(&self.data_actions, action) && !any(&self.not_data_actions, action)
    }

    fn id(&self) -> String {
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, self.name.as_bytes()).to_string()
    }

    fn permission(&self) -> Value {
        json!({
            "actions": self.actions,
            "notActions": self.not_actions,
            "dataActions": self.data_actions,
            "notDataActions": self.not_data_actions,
        })
    }
}

/// A role that somebody has at a scope and below it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignment {
    /// The object id of who has it.
    pub principal: String,
    /// A resource id, in any spelling.
    pub scope: String,
    /// What it allows.
    pub role: Role,
}

impl RoleAssignment {
    fn covers(&self, scope: &str) -> bool {
        let (own, scope) = (self.scope.trim_end_matches('/').to_lowercase(), scope.to_lowercase());
        scope.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn is_of(&self, principal: &Principal) -> bool {
        self.principal.eq_ignore_ascii_case(&principal.object_id)
    }
}

fn any(patterns: &[String], action: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, action))
}

/// Whether an action fits a pattern, in which `*` stands for anything; without case (Microsoft, "Understand Azure role
/// definitions").
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_lowercase(), action.to_lowercase());
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == action };
    let Some(mut action) = action.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = action.find(part) else { return false };
        action = &action[at + part.len()..];
    }
    action.ends_with(last)
}

/// Whether the roles of `caller` allow an action at `scope`. Where no assignments are kept, everybody may do everything.
pub(crate) fn allow(world: &World, caller: &Principal, action: &str, scope: &str) -> bool {
    granted(world, caller, scope).is_none_or(|mut roles| roles.any(|role| role.allows(action)))
}

/// The same of an action that Blob Storage is asked for with a token: what is done to blobs are data actions, what is done to
/// containers and keys are not (Microsoft, "Authorize with Microsoft Entra ID").
pub(crate) fn allow_storage(world: &World, caller: &Principal, action: &str, scope: &str) -> bool {
    let is_data = action.contains("/containers/blobs/");
    granted(world, caller, scope).is_none_or(|mut roles| {
        roles.any(|role| if is_data { role.allows_data(action) } else { role.allows(action) })
    })
}

/// The roles of a caller at a scope; `None` where no assignments are kept.
fn granted<'a>(
    world: &'a World,
    caller: &'a Principal,
    scope: &'a str,
) -> Option<impl Iterator<Item = &'a Role> + use<'a>> {
    let assignments = world.arm.role_assignments.as_ref()?.iter();
    let own = assignments.filter(move |one| one.is_of(caller) && one.covers(scope));
    Some(own.map(|one| &one.role))
}

/// `{scope}/providers/Microsoft.Authorization/{kind}[/{name}]`; the scope's segments, in lower case.
pub(crate) fn route(
    world: &World,
    call: &Call,
    scope: &[&str],
    kind: &str,
    name: Option<&str>,
) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let scope = format!("/{}", scope.join("/"));
    match (kind, name) {
        ("permissions", None) => Ok(Answer::json(200, json!({"value": permissions(world, call, &scope)}))),
        ("roleassignments", None) => assignments(world, call, &scope),
        ("roledefinitions", Some(name)) => {
            let all = world.arm.role_assignments.iter().flatten();
            let role = all.map(|assignment| &assignment.role).find(|role| role.id() == name);
            role.map(|role| Answer::json(200, definition(call, role))).ok_or_else(|| {
                let message = format!("The specified role definition with ID '{name}' does not exist.");
                ArmError::new(404, "RoleDefinitionDoesNotExist", message)
            })
        }
        _ => Err(ArmError::not_found(&call.path())),
    }
}

/// What the caller may do at a scope: an entry for each of the roles there, without what is denied.
fn permissions(world: &World, call: &Call, scope: &str) -> Vec<Value> {
    let roles: Vec<Role> = match &world.arm.role_assignments {
        None => vec![Role { data_actions: vec!["*".to_owned()], ..Role::owner() }],
        Some(assignments) => {
            let own = assignments.iter();
            let own = own.filter(|assignment| assignment.is_of(&call.principal) && assignment.covers(scope));
            own.map(|assignment| assignment.role.clone()).collect()
        }
    };
    let denials = world.arm.denials.iter();
    let denied: Vec<String> = denials
        .filter(|denial| denial.concerns(&call.principal) && holds(scope, &denial.scope_part))
        .map(|denial| match denial.action_part.as_str() {
            "" => "*".to_owned(),
            part => format!("*{part}*"),
        })
        .collect();
    let without = |mut role: Role| {
        role.not_actions.extend(denied.iter().cloned());
        role.not_data_actions.extend(denied.iter().cloned());
        role.permission()
    };
    roles.into_iter().map(without).collect()
}

/// The assignments at a scope and above it of whom `$filter=assignedTo('…')` names; at the scope itself and below, too, where
/// nobody is named (Microsoft, "List Azure role assignments using the REST API").
fn assignments(world: &World, call: &Call, scope: &str) -> Result<Answer, ArmError> {
    let filter = call.query.get("$filter").map_or("", String::as_str);
    let Some(who) = filter.strip_prefix("assignedTo('").and_then(|rest| rest.strip_suffix("')")) else {
        let message = format!(
            "The filter '{filter}' is not supported. Supported filters are either 'atScope()' or 'principalId eq'."
        );
        return Err(ArmError::new(400, "UnsupportedQuery", message));
    };
    let all = world.arm.role_assignments.iter().flatten();
    let value: Vec<Value> = all
        .filter(|assignment| assignment.principal.eq_ignore_ascii_case(who) && assignment.covers(scope))
        .map(|assignment| {
            let name = uuid::Uuid::new_v5(
                &uuid::Uuid::NAMESPACE_OID,
                format!("{}/{}/{}", assignment.principal, assignment.scope, assignment.role.name).as_bytes(),
            );
            json!({
                "id": format!("{}/providers/Microsoft.Authorization/roleAssignments/{name}", assignment.scope),
                "name": name,
                "type": "Microsoft.Authorization/roleAssignments",
                "properties": {
                    "principalId": assignment.principal,
                    "scope": assignment.scope,
                    "roleDefinitionId": definition_id(call, &assignment.role),
                },
            })
        })
        .collect();
    Ok(Answer::json(200, json!({"value": value})))
}

fn definition_id(call: &Call, role: &Role) -> String {
    let subscription = call.subscription();
    format!("/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{}", role.id())
}

fn definition(call: &Call, role: &Role) -> Value {
    json!({
        "id": definition_id(call, role),
        "name": role.id(),
        "type": "Microsoft.Authorization/roleDefinitions",
        "properties": {
            "roleName": role.name,
            "type": "CustomRole",
            "permissions": [role.permission()],
            "assignableScopes": [format!("/subscriptions/{}", call.subscription())],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_case_does_not_matter() {
        for (pattern, action, expected) in [
            ("*", "Microsoft.Compute/disks/read", true),
            ("*/read", "microsoft.compute/disks/READ", true),
            ("*/read", "Microsoft.Compute/disks/write", false),
            ("Microsoft.Compute/*/read", "Microsoft.Compute/disks/read", true),
            ("Microsoft.Compute/*", "Microsoft.ComputeX/disks/read", false),
            ("a/*/b/*/c", "a/x/b/y/c", true),
            ("a/*/b/*/c", "a/x/y/c", false),
            ("Microsoft.Compute/disks/read", "Microsoft.Compute/disks/read", true),
            ("Microsoft.Compute/disks", "Microsoft.Compute/disks/read", false),
        ] {
            assert_eq!(matches(pattern, action), expected, "{pattern} and {action}");
        }
    }
}
