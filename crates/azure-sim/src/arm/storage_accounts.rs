//! Storage accounts as Resource Manager sees them (Microsoft.Storage 2023-01-01).

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
};
use crate::{
    World,
    storage::{self, Account},
};

/// Keys are as old as the simulator's accounts say nothing else about.
const KEY_CREATION: &str = "2024-08-28T09:37:51.0000000Z";

/// `{group}/…/storageAccounts[/{name}[/listKeys|/revokeUserDelegationKeys]]`.
pub(crate) fn route(world: &mut World, call: &Call, rest: &[&str]) -> Result<Answer, ArmError> {
    let Some(name) = rest.first() else {
        return list(world, call);
    };
    let own = &call.lower[..8].join("/");
    let account = world
        .storage
        .accounts
        .get(*name)
        .filter(|account| account.id.to_lowercase().trim_start_matches('/') == own);
    let Some(account) = account else {
        return Err(ArmError::not_found(&call.path()));
    };
    match (&rest[1..], &call.method) {
        ([], &Method::GET) => Ok(Answer::json(200, view(world, account))),
        (["listkeys"], &Method::POST) => {
            let keys: Vec<Value> = account
                .keys
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    json!({
                        "creationTime": KEY_CREATION,
                        "keyName": format!("key{}", index + 1),
                        "value": value,
                        "permissions": "FULL",
                    })
                })
                .collect();
            Ok(Answer::json(200, json!({"keys": keys})))
        }
        (["revokeuserdelegationkeys"], &Method::POST) => {
            let name = account.name.clone();
            storage::revoke_keys(world, &name);
            Ok(Answer::empty(200))
        }
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

/// The accounts of a group, or of a whole subscription.
pub(crate) fn list(world: &World, call: &Call) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let prefix = call.scope();
    let value: Vec<Value> = world
        .storage
        .accounts
        .values()
        .filter(|account| account.id.to_lowercase().starts_with(&prefix))
        .map(|account| view(world, account))
        .collect();
    Ok(Answer::json(200, json!({"value": value})))
}

pub(crate) fn view(world: &World, account: &Account) -> Value {
    json!({
        "sku": {"name": "Standard_LRS", "tier": "Standard"},
        "kind": "StorageV2",
        "id": account.id,
        "name": account.name,
        "type": "Microsoft.Storage/storageAccounts",
        "location": account.location,
        "tags": {},
        "properties": {
            "allowSharedKeyAccess": account.allow_shared_key_access,
            "minimumTlsVersion": "TLS1_2",
            "allowBlobPublicAccess": false,
            "isHnsEnabled": false,
            "networkAcls": {"bypass": "AzureServices", "virtualNetworkRules": [], "ipRules": [], "defaultAction": "Allow"},
            "supportsHttpsTrafficOnly": true,
            "accessTier": "Hot",
            "provisioningState": "Succeeded",
            "creationTime": KEY_CREATION,
            "primaryEndpoints": {"blob": format!("{}/", world.endpoints.blob(&account.name))},
            "primaryLocation": account.location,
            "statusOfPrimary": "available",
        },
    })
}
