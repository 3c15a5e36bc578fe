//! The image factory.

pub mod azure;
pub mod secret;
