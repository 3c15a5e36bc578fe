//! Blob Storage as its clients see it: every request goes through `Sim::call`, signed by code of its own.

mod blobs;
mod chaos;
mod client;
mod containers;
mod copies;
mod exports;
mod grants;
mod leases;
mod listing;
mod signatures;
mod unsupported;
