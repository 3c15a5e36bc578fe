use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use time::macros::datetime;

use super::*;
use crate::{
    Endpoints, Request, World,
    latency::{Latencies, Profile},
};

fn world() -> World {
    let now = datetime!(2026-11-22 13:00 UTC);
    World::new(now, 1, Latencies::new(1, Profile::default()), Endpoints::Azure)
}

fn call(world: &mut World, request: http::request::Builder, body: &str) -> (u16, Value) {
    let request: Request = request.body(Bytes::from(body.to_owned())).unwrap();
    let response = handle(world, &request);
    let body = serde_json::from_slice(response.body()).unwrap();
    (response.status().as_u16(), body)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn a_token_says_who_calls_until_it_expires() {
    let mut world = world();
    let caller = world.identity.managed_identity.clone();
    let token = bearer(&issue(&world, &caller, "https://storage.azure.com/", Duration::from_secs(60)));
    assert_eq!(principal(&world, &token, STORAGE), Ok(caller));
    world.advance_to(datetime!(2026-11-22 13:01 UTC));
    assert_eq!(
        principal(&world, &token, STORAGE),
        Err(TokenProblem::Expired(datetime!(2026-11-22 13:01 UTC)))
    );
}

#[test]
fn forged_and_foreign_tokens_are_refused() {
    let world = world();
    let caller = world.identity.managed_identity.clone();
    let token = issue(&world, &caller, STORAGE, Duration::from_secs(60));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = signed.split_once('.').unwrap();
    let forged = format!("{header}.e30.{signature}");
    for text in [bearer(&forged), bearer("x"), bearer("a.b.c")] {
        assert_eq!(principal(&world, &text, STORAGE), Err(TokenProblem::Invalid), "{text}");
    }
    assert_eq!(principal(&world, "", STORAGE), Err(TokenProblem::Missing));
    assert_eq!(principal(&world, "SharedKey a:b", STORAGE), Err(TokenProblem::Missing));
    assert_eq!(
        principal(&world, &bearer(&token), RESOURCE_MANAGER),
        Err(TokenProblem::WrongAudience(STORAGE.to_owned()))
    );
}

#[test]
fn an_application_gets_a_token_for_its_secret_only() {
    let mut world = world();
    let app = world.identity.add_application("tenant", "client", "secret");
    let ask = |world: &mut World, secret: &str| {
        let form = format!(
            "grant_type=client_credentials&client_id=CLIENT&client_secret={secret}&scope=https%3A%2F%2Fmanagement.azure.com%2F.default"
        );
        let request = http::Request::post("https://login.microsoftonline.com/tenant/oauth2/v2.0/token");
        call(world, request, &form)
    };
    let (status, body) = ask(&mut world, "wrong");
    assert_eq!((status, body["error"].as_str()), (401, Some("invalid_client")));
    let (status, body) = ask(&mut world, "secret");
    assert_eq!((status, body["expires_in"].as_u64()), (200, Some(3600)));
    let token = bearer(body["access_token"].as_str().unwrap());
    assert_eq!(principal(&world, &token, RESOURCE_MANAGER), Ok(app));
}

#[test]
fn an_application_is_known_in_its_own_tenant_only() {
    let mut world = world();
    world.identity.add_application("tenant", "client", "secret");
    let form = "grant_type=client_credentials&client_id=client&client_secret=secret&scope=https%3A%2F%2Fmanagement.azure.com%2F.default";
    let elsewhere = http::Request::post("https://login.microsoftonline.com/other/oauth2/v2.0/token");
    let (status, body) = call(&mut world, elsewhere, form);
    assert_eq!((status, body["error"].as_str()), (400, Some("unauthorized_client")));
    assert!(body["error_description"].as_str().unwrap().starts_with("AADSTS700016"));
    let own = http::Request::post("https://login.microsoftonline.com/TENANT/oauth2/v2.0/token");
    assert_eq!(call(&mut world, own, form).0, 200);
}

#[test]
fn a_configured_lifetime_is_that_of_the_token() {
    let mut world = world();
    world.identity.add_application("tenant", "client", "secret");
    world.identity.set_token_lifetime("CLIENT", Some(Duration::from_secs(600)));
    let form = "grant_type=client_credentials&client_id=client&client_secret=secret&scope=https%3A%2F%2Fmanagement.azure.com%2F.default";
    let request = http::Request::post("https://login.microsoftonline.com/tenant/oauth2/v2.0/token");
    let (_, body) = call(&mut world, request, form);
    assert_eq!(body["expires_in"], 600);
    let token = bearer(body["access_token"].as_str().unwrap());
    world.advance_to(datetime!(2026-11-22 13:09:59 UTC));
    assert!(principal(&world, &token, RESOURCE_MANAGER).is_ok());
    world.advance_to(datetime!(2026-11-22 13:10 UTC));
    assert!(matches!(principal(&world, &token, RESOURCE_MANAGER), Err(TokenProblem::Expired(_))));
}

#[test]
fn the_app_service_endpoint_wants_its_header() {
    let mut world = world();
    let url = "https://login.microsoftonline.com/msi/token?resource=https://storage.azure.com&api-version=2019-08-01";
    let (status, _) = call(&mut world, http::Request::get(url), "");
    assert_eq!(status, 401);
    let secret = world.identity.identity_header.clone();
    let (status, body) = call(&mut world, http::Request::get(url).header("X-IDENTITY-HEADER", secret), "");
    assert_eq!(status, 200);
    let expires: i64 = body["expires_on"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires - world.now().unix_timestamp(), 24 * 3600);
}

#[test]
fn the_metadata_service_answers_on_its_own_address() {
    let mut world = world();
    let url = "http://169.254.169.254/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https://vault.azure.net";
    assert!(world.endpoints.service_of(&url.parse().unwrap()).is_some());
    let (status, body) = call(&mut world, http::Request::get(url).header("Metadata", "true"), "");
    assert_eq!((status, body["expires_in"].as_str()), (200, Some("86400")));
}

#[test]
fn discovery_leads_to_the_token_endpoint() {
    let mut world = world();
    let url = "https://login.microsoftonline.com/common/discovery/instance?api-version=1.1&authorization_endpoint=https://login.microsoftonline.com/t1/oauth2/v2.0/authorize";
    let (_, body) = call(&mut world, http::Request::get(url), "");
    let next = body["tenant_discovery_endpoint"].as_str().unwrap().to_owned();
    let (_, body) = call(&mut world, http::Request::get(next), "");
    assert_eq!(body["token_endpoint"], "https://login.microsoftonline.com/t1/oauth2/v2.0/token");
}
