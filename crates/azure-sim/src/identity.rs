//! Tokens: client credentials of an Entra tenant, and the managed identity of an App Service.

use crate::{Request, Response, World};

/// Answers one request for a token.
pub fn handle(_world: &mut World, _request: &Request) -> Response {
    unimplemented!()
}
