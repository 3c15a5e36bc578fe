//! An AMQP 1.0 server before the [`Broker`](super::Broker).
pub(super) mod shape;
