//! The image factory: golden images for Azure DevTest Labs, from configuration in source control to every team lab.
//!
//! | room | what lives there |
//! |---|---|
//! | [`domain`] | what the factory is about, pure: configuration, image paths, names, messages, retention |
//! | [`steps`] | what it does: one file per step, look → decide → act |
//! | [`azure`] | thin typed clients of Azure |
//! | [`ledger`] | what it remembers |
//! | [`source`] | where configuration comes from |
//! | [`handler`] | how the Functions host calls it |
//! | [`report`] | how a run went, for people and machines |
//! | [`doctor`] | whether an installation can do its work |
//! | [`cli`] | the commands |
//! | [`dev`] | the whole factory on one machine (feature `dev`) |
//!
//! Arrows point one way: `domain` ← `steps` ← `handler`, `cli`. Only `dev` knows the simulator and the local host.

pub mod azure;
pub mod cli;
#[cfg(feature = "dev")]
pub mod dev;
pub mod doctor;
pub mod domain;
pub mod handler;
pub mod ledger;
pub mod report;
pub mod secret;
pub mod source;
pub mod steps;
pub mod telemetry;
