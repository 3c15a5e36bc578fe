//! The token endpoints of Entra, App Service and the VM metadata service.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Application, Principal, issue};
use crate::{Request, Response, World};

/// Answers one request for a token or for a discovery document.
///
/// Follows Microsoft's "OAuth 2.0 client credentials flow", "How to use managed identities for App Service" (REST endpoint
/// reference, 2019-08-01) and "How to use managed identities on an Azure VM to acquire an access token".
pub fn handle(world: &mut World, request: &Request) -> Response {
    let path: Vec<&str> = request.uri().path().split('/').filter(|s| !s.is_empty()).collect();
    let query = pairs(request.uri().query().unwrap_or_default().as_bytes());
    let post = request.method() == Method::POST;
    match path.as_slice() {
        ["msi", "token"] if !post => app_service(world, request, &query),
        ["metadata", "identity", "oauth2", "token"] if !post => instance_metadata(world, request, &query),
        [_, "discovery", "instance"] if !post => answer(200, &instance_discovery(world, &query)),
        [tenant, "v2.0", ".well-known", "openid-configuration"]
        | [tenant, ".well-known", "openid-configuration"]
            if !post =>
        {
            answer(200, &openid_configuration(world, tenant))
        }
        // The tokens are signed with a secret: no public key could check them.
        [_, "discovery", "v2.0", "keys"] if !post => answer(200, &json!({"keys": []})),
        [tenant, "oauth2", "v2.0", "token"] | [tenant, "oauth2", "token"] if post => {
            client_credentials(world, tenant, &pairs(request.body()))
        }
        _ => answer(404, &json!({"error": "not_found"})),
    }
}

fn client_credentials(world: &World, tenant: &str, form: &BTreeMap<String, String>) -> Response {
    let field = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    if field("grant_type") != "client_credentials" {
        return refuse(
            world,
            400,
            "unsupported_grant_type",
            "AADSTS70003: The app requested an unsupported grant type.",
        );
    }
    let application = world.identity.applications.get(&field("client_id").to_ascii_lowercase());
    let of_tenant = |application: &&Application| application.principal.tenant_id.eq_ignore_ascii_case(tenant);
    let Some(application) = application.filter(of_tenant) else {
        let message = format!(
            "AADSTS700016: Application with identifier '{}' was not found in the directory '{tenant}'.",
            field("client_id")
        );
        return refuse(world, 400, "unauthorized_client", &message);
    };
    if application.secret != field("client_secret") {
        let message =
            format!("AADSTS7000215: Invalid client secret provided for app '{}'.", field("client_id"));
        return refuse(world, 401, "invalid_client", &message);
    }
    let resource = match field("scope").strip_suffix("/.default") {
        Some(resource) => resource,
        None if !field("resource").is_empty() => field("resource"),
        None => {
            let message = "AADSTS1002012: The provided value for scope is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier.";
            return refuse(world, 400, "invalid_scope", message);
        }
    };
    let lifetime = application.token_lifetime.unwrap_or(world.identity.client_credentials_lifetime);
    let token = issue(world, &application.principal, resource, lifetime);
    answer(
        200,
        &json!({
            "token_type": "Bearer",
            "expires_in": lifetime.as_secs(),
            "ext_expires_in": lifetime.as_secs(),
            "access_token": token,
        }),
    )
}

fn app_service(world: &World, request: &Request, query: &BTreeMap<String, String>) -> Response {
    if header(request, "x-identity-header") != world.identity.identity_header {
        let message = "The 'X-IDENTITY-HEADER' header is missing or wrong.";
        return answer(401, &json!({"statusCode": 401, "message": message}));
    }
    let resource = match (query.get("resource"), query.get("api-version")) {
        (Some(resource), Some(version)) if version == "2019-08-01" => resource,
        _ => {
            let message = "'resource' and 'api-version=2019-08-01' are required.";
            return answer(400, &json!({"statusCode": 400, "message": message}));
        }
    };
    let (token, principal, lifetime) = managed(world, resource);
    let expires = world.now().unix_timestamp() + lifetime.as_secs() as i64;
    answer(
        200,
        &json!({
            "access_token": token,
            "expires_on": expires.to_string(),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": principal.client_id,
        }),
    )
}

fn instance_metadata(world: &World, request: &Request, query: &BTreeMap<String, String>) -> Response {
    if !header(request, "metadata").eq_ignore_ascii_case("true") {
        let message = "Required metadata header not specified";
        return answer(400, &json!({"error": "invalid_request", "error_description": message}));
    }
    let (Some(resource), Some(_)) = (query.get("resource"), query.get("api-version")) else {
        let message = "'resource' and 'api-version' are required";
        return answer(400, &json!({"error": "invalid_request", "error_description": message}));
    };
    let (token, principal, lifetime) = managed(world, resource);
    let now = world.now().unix_timestamp();
    answer(
        200,
        &json!({
            "access_token": token,
            "client_id": principal.client_id,
            "expires_in": lifetime.as_secs().to_string(),
            "expires_on": (now + lifetime.as_secs() as i64).to_string(),
            "ext_expires_in": lifetime.as_secs().to_string(),
            "not_before": now.to_string(),
            "resource": resource,
            "token_type": "Bearer",
        }),
    )
}

fn managed(world: &World, resource: &str) -> (String, Principal, Duration) {
    let principal = world.identity.managed_identity.clone();
    let lifetime = world.identity.managed_identity_lifetime;
    (issue(world, &principal, resource, lifetime), principal, lifetime)
}

/// What MSAL asks to learn whether it may trust this host.
fn instance_discovery(world: &World, query: &BTreeMap<String, String>) -> Value {
    let base = world.endpoints.identity();
    let authority = query.get("authorization_endpoint").cloned().unwrap_or_default();
    let tenant = authority
        .strip_prefix(&format!("{base}/"))
        .and_then(|rest| rest.split('/').next())
        .unwrap_or("common");
    let host = base.split_once("://").map_or(base.as_str(), |(_, host)| host);
    json!({
        "tenant_discovery_endpoint": format!("{base}/{tenant}/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{"preferred_network": host, "preferred_cache": host, "aliases": [host]}],
    })
}

fn openid_configuration(world: &World, tenant: &str) -> Value {
    let base = world.endpoints.identity();
    json!({
        "token_endpoint": format!("{base}/{tenant}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{base}/{tenant}/discovery/v2.0/keys"),
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{base}/{tenant}/v2.0"),
        "authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{tenant}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{base}/{tenant}/oauth2/v2.0/logout"),
        "tenant_region_scope": "EU",
        "cloud_instance_name": "microsoftonline.com",
    })
}

fn refuse(world: &World, status: u16, error: &str, description: &str) -> Response {
    let timestamp = world.now().to_string();
    answer(status, &json!({"error": error, "error_description": description, "timestamp": timestamp}))
}

fn answer(status: u16, body: &Value) -> Response {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json; charset=utf-8"),
    );
    response
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The pairs of a query or a form.
fn pairs(text: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(text).into_owned().collect()
}
