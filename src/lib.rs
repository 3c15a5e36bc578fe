//! The image factory.

pub mod azure;
pub mod domain;
pub mod secret;
