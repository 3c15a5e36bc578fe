//! The command that gives a role.

use super::{Known, Reached};
use crate::azure::actions::Place;

/// The commands that give the roles of a place at `scope` to whom the doctor looks at.
pub fn command(at: &Reached, known: &Known, place: Place, scope: &str) -> String {
    let own = |role: &&str| format!("Image factory <environment>: {role}");
    let roles: Vec<String> = match place {
        Place::ServiceBus => place.roles().iter().map(|role| (*role).to_owned()).collect(),
        _ => place.roles().iter().map(own).collect(),
    };
    let commands: Vec<String> = roles.iter().map(|role| assignment(at, known, role, scope)).collect();
    commands.join("; ")
}

/// The command that gives a role by its name.
pub fn assignment(at: &Reached, known: &Known, role: &str, scope: &str) -> String {
    let caller = known.caller.get();
    let own = caller.and_then(|caller| caller.object_id.clone());
    let is_person = at.identity.is_none() && caller.is_some_and(|caller| caller.user.is_some());
    let kind = if is_person { "User" } else { "ServicePrincipal" };
    let who = at.identity.clone().or(own).unwrap_or_else(|| "<object id>".to_owned());
    format!(
        "az role assignment create --role '{role}' --assignee-object-id {who} --assignee-principal-type {kind} --scope '{scope}'"
    )
}
