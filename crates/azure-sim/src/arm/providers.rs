//! Who answers for what: the resource providers of a subscription (Microsoft, "Providers - Get"), and where the parts of this
//! cloud are (`/metadata/endpoints`, which clients such as `az cloud register` ask without a token).

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
};
use crate::{World, identity};

/// A type of resources and the newest of its api-versions that clients may take for granted.
type Kind = (&'static str, &'static str);

/// All providers with their types.
const PROVIDERS: [(&str, &[Kind]); 5] = [
    ("Microsoft.Authorization", &[("locks", "2020-05-01")]),
    (
        "Microsoft.Compute",
        &[("virtualMachines", "2024-07-01"), ("disks", "2023-10-02"), ("locations/publishers", "2024-07-01")],
    ),
    (
        "Microsoft.DevTestLab",
        &[
            ("labs", "2018-09-15"),
            ("labs/virtualMachines", "2018-09-15"),
            ("labs/customImages", "2018-09-15"),
            ("labs/formulas", "2018-09-15"),
        ],
    ),
    (
        "Microsoft.Resources",
        &[
            ("subscriptions", "2022-12-01"),
            ("resourceGroups", "2021-04-01"),
            ("deployments", "2021-04-01"),
            ("tags", "2021-04-01"),
        ],
    ),
    ("Microsoft.Storage", &[("storageAccounts", "2023-01-01")]),
];

/// `{subscription}/providers[/{namespace}]`.
pub(crate) fn route(call: &Call, namespace: Option<&str>) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let view = |(namespace, kinds): &(&str, &[Kind])| {
        let kinds = kinds.iter().map(|(kind, version)| {
            json!({
                "resourceType": kind,
                "locations": [],
                "apiVersions": [version],
                "capabilities": "SupportsTags, SupportsLocation",
            })
        });
        json!({
            "id": format!("/subscriptions/{}/providers/{namespace}", call.subscription()),
            "namespace": namespace,
            "resourceTypes": kinds.collect::<Vec<_>>(),
            "registrationState": "Registered",
            "registrationPolicy": "RegistrationRequired",
        })
    };
    let Some(wanted) = namespace else {
        let all: Vec<Value> = PROVIDERS.iter().map(view).collect();
        return Ok(Answer::json(200, json!({"value": all})));
    };
    match PROVIDERS.iter().find(|(namespace, _)| namespace.eq_ignore_ascii_case(wanted)) {
        Some(provider) => Ok(Answer::json(200, view(provider))),
        None => Err(ArmError::new(
            404,
            "InvalidResourceNamespace",
            format!("The resource namespace '{}' is invalid.", call.name()),
        )),
    }
}

/// The path of [`endpoints`].
pub(crate) const ENDPOINTS: &str = "/metadata/endpoints";

/// Where the parts of this cloud are; only those that are simulated.
pub(crate) fn endpoints(world: &World) -> Answer {
    let legacy = "https://management.core.windows.net/";
    let body = json!({
        "name": "AzureCloud",
        "authentication": {
            "loginEndpoint": world.endpoints.identity(),
            "audiences": [legacy, format!("{}/", identity::RESOURCE_MANAGER)],
            "tenant": "common",
            "identityProvider": "AAD",
        },
        "resourceManager": format!("{}/", world.endpoints.resource_manager()),
        "suffixes": {"storage": "core.windows.net", "keyVaultDns": "vault.azure.net"},
    });
    Answer::json(200, body)
}
