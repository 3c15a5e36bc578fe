//! What the roles of a principal allow on data, but for what is denied. A SAS that a user signed with a lent key allows no
//! more than that user still may (Microsoft, "Create a user delegation SAS").

use super::{Need, On};
use crate::{
    World, arm, fault::holds, identity::Principal, storage::account::Account, storage::error::Error,
};

/// Lends a key.
pub(in crate::storage) const LEND_KEY: &str = "generateUserDelegationKey/action";

/// The action that an operation with this need takes (Microsoft, "Authorize with Microsoft Entra ID": permissions for Blob
/// service operations), below `Microsoft.Storage/storageAccounts/blobServices/`.
pub(in crate::storage) fn action(need: Need) -> &'static str {
    let first = need.permissions.chars().next();
    match (need.on, first) {
        (On::Service, Some('l')) => "containers/read",
        (On::Service, _) => "read",
        (On::Container, Some('l')) => "containers/blobs/read",
        (On::Container, Some('r')) => "containers/read",
        (On::Container, Some('d')) => "containers/delete",
        (On::Container, _) => "containers/write",
        (On::Object, Some('r')) => "containers/blobs/read",
        (On::Object, Some('d')) => "containers/blobs/delete",
        (On::Object, Some('t')) => "containers/blobs/tags/write",
        (On::Object, _) => "containers/blobs/write",
    }
}

/// Whether a principal may do this in an account, or in one of its containers.
///
/// # Errors
/// 403 `AuthorizationPermissionMismatch` if not.
pub(in crate::storage) fn check(
    world: &World,
    principal: &Principal,
    account: &Account,
    container: Option<&str>,
    action: &str,
) -> Result<(), Error> {
    let action = format!("Microsoft.Storage/storageAccounts/blobServices/{action}");
    let scope = match container {
        Some(container) => format!("{}/blobServices/default/containers/{container}", account.id),
        None => account.id.clone(),
    };
    let is_denied = world.arm.denials.iter().any(|denial| {
        let concerned = denial.principal.as_ref().is_none_or(|who| {
            who.eq_ignore_ascii_case(&principal.object_id) || who.eq_ignore_ascii_case(&principal.client_id)
        });
        concerned && holds(&action, &denial.action_part) && holds(&scope, &denial.scope_part)
    });
    let is_allowed = arm::allow_storage(world, principal, &action, &scope);
    if is_denied || !is_allowed { Err(Error::permission_mismatch()) } else { Ok(()) }
}
