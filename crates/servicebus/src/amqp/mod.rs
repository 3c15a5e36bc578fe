//! AMQP 1.0 as a client of Service Bus speaks it: one connection, one session, many links.

mod connect;
mod engine;
mod inbox;
mod link;
pub(crate) mod shape;
mod wire;

pub(crate) use engine::Connection;
pub(crate) use link::{Arrived, ReceiverLink, SenderLink};
