//! Azure Service Bus client over AMQP 1.0: queues, peek-lock, scheduled messages.
//!
//! The names are those of the official `azure_messaging_servicebus`, which is not published in the SDK's 1.x line yet, so that it
//! can replace this crate. It speaks AMQP frame by frame on the types and codec of `fe2o3-amqp`, because that library's receiver does
//! not hand the broker's answer to a settlement to the caller, and "the lock is lost" must be heard.
//!
//! A [`ServiceBusClient`] keeps one connection, made when it is first needed and made anew when it breaks; its senders and
//! receivers attach again by themselves. All of them may be used from many tasks at once.

mod amqp;
mod client;
mod connection_string;
mod error;
#[cfg(test)]
mod hostile;
mod management;
mod message;
mod receiver;
mod sender;
mod token;

pub use client::ServiceBusClient;
pub use error::Error;
pub use message::{MessageState, PropertyValue, ReceivedMessage, ServiceBusMessage};
pub use receiver::{ReceiveMode, Receiver, ReceiverOptions, SubQueue};
pub use sender::Sender;

/// What a call to Service Bus gives back.
pub type Result<T> = std::result::Result<T, Error>;
