//! Our servers and clients judged by software that nobody here wrote: the official clients of Azure, in Python and JavaScript. And
//! `infra/`, judged by a parser of Bicep and by the language service of KQL.
//! What a judge rejects is mended here, never in the judge. See docs/testing.md.
//!
//! Each suite is one test. It needs Python and Node.js, and installs pinned packages of PyPI and npm once, so that it runs by
//! `cargo test --test clients -- --ignored` only.

mod blob;
mod harness;
mod infrastructure;
mod peers;
mod resource_manager;
mod service_bus;
mod storage;
