//! Azure Resource Manager and the resource providers behind it.

use crate::{Request, Response, World};

/// What will happen in Resource Manager.
#[derive(Clone, Debug)]
pub enum Event {}

/// The state of Resource Manager.
#[derive(Debug, Default)]
pub struct State {}

/// Lets `event` happen.
pub fn apply(_world: &mut World, event: Event) {
    match event {}
}

/// Answers one request.
pub fn handle(_world: &mut World, _request: &Request) -> Response {
    unimplemented!()
}
