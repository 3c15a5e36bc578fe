//! AMQP 1.0 as a client of Service Bus speaks it: one connection, one session, many links.

pub(crate) mod shape;
