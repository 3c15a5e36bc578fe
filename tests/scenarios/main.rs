//! Whole runs against the simulator in one process under virtual time: what goes wrong in Azure, in Service Bus and in the
//! configuration, and what of it the factory must show, repair or leave alone.
#![cfg(feature = "dev")]

mod factory;

mod actions;
mod base_images;
mod cancelling;
mod commits;
mod configuration;
mod copies;
mod definitions;
mod doctor;
mod everything;
mod happy;
mod lab_accounts;
mod labs;
mod messages;
mod ownership;
mod pinning;
mod plans;
mod provenance;
mod recovery;
mod rerunning;
mod retirement;
mod secrets;
mod storms;
mod takeover;
mod virtual_machines;
