//! Simulated Azure: Resource Manager, DevTest Labs, Compute, Blob Storage and Service Bus.
//!
//! The simulator is a *state* ([`World`]), not a set of canned answers: labs, VMs, disks, blobs, images and operations that
//! take time and can fail. Everything that will happen stands in the world's event queue; a request first lets happen what
//! is due ([`World::advance_to`]) and then reads or changes the state. So there are no background tasks, and a run is
//! exact from its seed.
//!
//! | room | what lives there |
//! |---|---|
//! | [`world`] | the state, its event queue |
//! | [`latency`] | how long things take, each with its source |
//! | [`fault`] | what a test wants to go wrong |
//! | [`chaos`] | what goes wrong by chance, from a seed |
//! | [`work`] | what took how long: the critical path |
//! | [`endpoints`] | host names, in process or on loopback sockets |
//! | [`server`] | the sockets |
//! | [`tls`] | their certificates |
//! | [`control`] | what `dev` and tests see and set |
//! | [`arm`] | Resource Manager and the providers behind it |
//! | [`storage`] | Blob Storage |
//! | [`identity`] | tokens |
//! | [`broker`] | Service Bus |

pub mod arm;
pub mod broker;
pub mod chaos;
pub mod control;
pub mod endpoints;
pub mod fault;
pub mod identity;
pub mod latency;
pub mod server;
pub mod sim;
pub mod storage;
pub mod tls;
pub mod work;
pub mod world;

pub use endpoints::{Endpoints, Service};
pub use sim::{ClientAddress, ConnectionReset, Request, Response, Sim, SimOptions};
pub use world::World;
