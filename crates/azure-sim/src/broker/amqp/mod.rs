//! An AMQP 1.0 server before the [`Broker`], as the official Service Bus clients expect it.
//!
//! One task per connection reads frames, asks the broker and writes answers. It follows
//! <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-protocol-guide> and, for `$management`,
//! <https://learn.microsoft.com/azure/service-bus-messaging/service-bus-amqp-request-response>. Whatever a peer sends, memory
//! stays bounded: frames, links, sessions, unfinished messages and unread output all have limits.

mod authorization;
mod cbs;
mod connection;
mod disposition;
mod link;
mod management;
mod sasl;
mod session;
pub(super) mod shape;
#[cfg(test)]
mod tests;
mod wire;

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

pub use authorization::{Authorization, TokenCheck};

use super::Broker;
use crate::tls::Transport;

/// As many connections are served at once; the real service takes 5000 per namespace.
const MOST_CONNECTIONS: usize = 1024;

/// A running server. Dropping it closes its connections, as [`Server::shutdown`] does, but without waiting for that.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Server {
    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening and closes all connections.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // A panic in the accepting task has nothing left to clean up.
        let _ = self.task.await;
    }
}

/// Serves `broker` to everybody who connects to `listener` and passes `authorization`.
///
/// # Errors
/// If the listener has no address.
pub fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    authorization: Authorization,
) -> std::io::Result<Server> {
    serve_over(Transport::default(), listener, broker, authorization)
}

/// As [`serve`], over `transport`: with TLS from the first byte, as the real service on port 5671.
///
/// # Errors
/// If the listener has no address.
pub fn serve_over(
    transport: Transport,
    listener: TcpListener,
    broker: Arc<Broker>,
    authorization: Authorization,
) -> std::io::Result<Server> {
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(accept(transport, listener, broker, Arc::new(authorization), stopped));
    Ok(Server { address, stop, task })
}

async fn accept(
    transport: Transport,
    listener: TcpListener,
    broker: Arc<Broker>,
    authorization: Arc<Authorization>,
    mut stopped: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => break,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of file descriptors, most likely: let others end first.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let Ok(place) = room.clone().try_acquire_owned() else {
            continue;
        };
        let (broker, authorization, mut stopped) = (broker.clone(), authorization.clone(), stopped.clone());
        let transport = transport.clone();
        connections.spawn(async move {
            let stream = tokio::select! {
                stream = transport.accept(stream) => stream,
                _ = stopped.changed() => return,
            };
            let ended = match stream {
                Ok(stream) => connection::serve(stream, broker, authorization, stopped).await,
                Err(error) => Err(error.into()),
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, %error, "AMQP connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
