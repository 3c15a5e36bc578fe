//! Local stand-in for the Azure Functions host v4 with a custom handler.
//!
//! It reads `host.json` and `<function>/function.json`, starts the handler's program, fires Service Bus, timer and HTTP
//! triggers with the bytes that Azure's host would send, judges the answers, writes the outputs, and starts a crashed
//! handler again by the real rules. [`Host::start`] runs all of it; [`payload`], [`response`] and [`outputs`] are pure
//! and serve a simulation without sockets as well.
//!
//! | file | what it is about |
//! |---|---|
//! | `config`, `bindings`, `settings`, `schedule` | host.json, function.json, app settings, timers' schedules |
//! | `payload/`, `response`, `outputs` | what goes to the handler, what its answer means, what is written |
//! | `process`, `crashes`, `console`, `command_line` | the handler's process |
//! | `dispatch`, `triggers/`, `messaging/` | invocations, what fires them, and the broker |
//! | `host`, `admin`, `access`, `events` | the whole, and how to look at it from outside |
//!
//! Sources are cited as they are published: Azure/azure-functions-host, Azure/azure-webjobs-sdk,
//! Azure/azure-webjobs-sdk-extensions and azure-sdk-for-net.

mod access;
mod admin;
pub mod bindings;
mod command_line;
pub mod config;
mod console;
mod crashes;
mod dispatch;
pub mod events;
mod host;
pub mod messaging;
mod newtonsoft;
pub mod outputs;
pub mod payload;
mod process;
pub mod response;
mod routes;
pub mod schedule;
pub mod settings;
mod time_span;
mod triggers;

pub use access::AccessKeys;
pub use dispatch::HOST_VERSION;
pub use events::{HostEvent, Level};
pub use host::{Host, HostError, HostExit, HostOptions, run};
