//! What a principal may do: what its roles allow (see [`roles`]), but for what is denied.

use http::Method;

use super::{call::Call, error::ArmError, roles};
use crate::{World, fault::holds, identity::Principal};

/// Forbids something to a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Denial {
    /// The object id or the client id; everybody where `None`.
    pub principal: Option<String>,
    /// A part of the action, such as `labs/customImages/write`; every action where empty.
    pub action_part: String,
    /// A part of the resource's path; every resource where empty.
    pub scope_part: String,
}

impl Denial {
    pub(crate) fn concerns(&self, caller: &Principal) -> bool {
        self.principal.as_ref().is_none_or(|who| {
            who.eq_ignore_ascii_case(&caller.object_id) || who.eq_ignore_ascii_case(&caller.client_id)
        })
    }
}

/// Names the action of a call as role definitions do: `Microsoft.DevTestLab/labs/virtualMachines/write`.
pub(crate) fn action(call: &Call) -> String {
    let segments = &call.segments;
    let (provider, mut rest) = match call.lower.iter().rposition(|s| s == "providers") {
        Some(at) => (
            segments.get(at + 1).cloned().unwrap_or_default(),
            segments.get(at + 2..).unwrap_or_default().to_vec(),
        ),
        None => ("Microsoft.Resources".to_owned(), segments.clone()),
    };
    let verb = match call.method {
        Method::GET | Method::HEAD => "read".to_owned(),
        Method::PUT | Method::PATCH => "write".to_owned(),
        Method::DELETE => "delete".to_owned(),
        _ => match rest.pop() {
            Some(last) => format!("{last}/action"),
            None => "action".to_owned(),
        },
    };
    let types: Vec<&str> = rest.iter().step_by(2).map(String::as_str).collect();
    format!("{provider}/{}/{verb}", types.join("/"))
}

/// # Errors
/// 403 `AuthorizationFailed` if the call is denied.
pub(crate) fn check(world: &World, call: &Call) -> Result<(), ArmError> {
    let needs_no_role =
        matches!(call.lower.as_slice(), [only] if only == "tenants" || only == "subscriptions");
    if needs_no_role || (world.arm.denials.is_empty() && world.arm.role_assignments.is_none()) {
        return Ok(());
    }
    check_action(world, call, &action(call), &call.path())
}

/// # Errors
/// 403 `AuthorizationFailed` if the caller must not do `action` at `scope`.
pub(crate) fn check_action(world: &World, call: &Call, action: &str, scope: &str) -> Result<(), ArmError> {
    let caller = &call.principal;
    let denied = world.arm.denials.iter().any(|denial| {
        denial.concerns(caller) && holds(action, &denial.action_part) && holds(scope, &denial.scope_part)
    });
    if denied || !roles::allow(world, caller, action, scope) {
        return Err(ArmError::new(
            403,
            "AuthorizationFailed",
            format!(
                "The client '{}' with object id '{}' does not have authorization to perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your credentials.",
                caller.client_id, caller.object_id
            ),
        ));
    }
    Ok(())
}
