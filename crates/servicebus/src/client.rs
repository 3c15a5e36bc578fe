//! The client: one connection for all senders and receivers.
use std::sync::Arc;

use azure_core::credentials::TokenCredential;

use crate::{
    Error, Receiver, ReceiverOptions, Result, Sender,
    connection_string::{ConnectionString, Endpoint},
};

/// A Service Bus namespace. Cheap to clone; all clones share one connection.
#[derive(Clone, Debug)]
pub struct ServiceBusClient {}

impl ServiceBusClient {
    /// A client for the namespace and key that a connection string names. Connects when first needed.
    ///
    /// # Errors
    /// [`Error::BadConnectionString`].
    pub fn from_connection_string(text: &str) -> Result<Self> {
        ConnectionString::parse(text)?;
        Ok(Self {})
    }

    /// A client for `fully_qualified_namespace` (`name.servicebus.windows.net`) that authenticates with Microsoft Entra ID.
    ///
    /// # Errors
    /// [`Error::BadConnectionString`] if that is no host name.
    pub fn new(fully_qualified_namespace: &str, _credential: Arc<dyn TokenCredential>) -> Result<Self> {
        Endpoint::of_namespace(fully_qualified_namespace)?;
        Ok(Self {})
    }

    /// Sends to `queue`. Attaches when first used.
    pub fn sender(&self, _queue: &str) -> Sender {
        Sender {}
    }

    /// Receives from `queue`. Attaches when first used.
    pub fn receiver(&self, _queue: &str, _options: ReceiverOptions) -> Receiver {
        Receiver {}
    }

    /// Closes the connection.
    pub async fn close(&self) {}
}
pub(crate) fn unfinished() -> Error {
    Error::Protocol("this build holds the signatures only".into())
}
