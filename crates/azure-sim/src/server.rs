//! The sockets: each service of the simulator on a listener of the loopback interface (HTTP/1.1, keep-alive), over TLS if
//! [`Listeners::over`] says so.
//!
//! Endpoints hold the ports, so the listeners are bound first ([`Listeners::bind`]), then the simulator is made with
//! [`Listeners::endpoints`], then [`serve`] answers until it is told to stop.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{Ipv4Addr, SocketAddr},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{rt::TokioIo, server::graceful::GracefulShutdown};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    ClientAddress, Endpoints, Request, Response, Sim, control,
    tls::{Stream, Transport},
};

/// The largest body that is taken; the factory sends documents, not disks.
const LARGEST_BODY: usize = 64 << 20;

/// The sockets of one simulator.
#[derive(Debug)]
pub struct Listeners {
    resource_manager: TcpListener,
    blob: TcpListener,
    identity: TcpListener,
    control: TcpListener,
    transport: Transport,
}

impl Listeners {
    /// Binds four free ports of the loopback interface.
    ///
    /// # Errors
    /// If the system gives none.
    pub async fn bind() -> io::Result<Self> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Ok(Self {
            resource_manager: free().await?,
            blob: free().await?,
            identity: free().await?,
            control: free().await?,
            transport: Transport::default(),
        })
    }

    /// Serves Azure's services over `transport`; [`control`] stays in plain HTTP.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// The endpoints for [`crate::SimOptions`].
    ///
    /// # Errors
    /// If the system does not tell the ports.
    pub fn endpoints(&self) -> io::Result<Endpoints> {
        Ok(Endpoints::Loopback {
            scheme: self.transport.scheme(),
            resource_manager: self.resource_manager.local_addr()?,
            blob: self.blob.local_addr()?,
            identity: self.identity.local_addr()?,
        })
    }

    /// Where [`control`] is served.
    ///
    /// # Errors
    /// If the system does not tell the port.
    pub fn control(&self) -> io::Result<SocketAddr> {
        self.control.local_addr()
    }
}

/// Answers on all listeners until `shutdown` is done; then finishes what was begun and returns.
///
/// # Errors
/// If a listener's address is not known.
pub async fn serve(listeners: Listeners, sim: Sim, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let Listeners { resource_manager, blob, identity, control, transport } = listeners;
    let graceful = GracefulShutdown::new();
    let services = [
        (Room::new(Kind::Service, &resource_manager, &transport)?, resource_manager),
        (Room::new(Kind::Service, &blob, &transport)?, blob),
        (Room::new(Kind::Service, &identity, &transport)?, identity),
        (Room::new(Kind::Control, &control, &Transport::default())?, control),
    ];
    {
        let accepting = services.iter().map(|(room, listener)| accept(room, listener, &sim, &graceful));
        let accepting = futures::future::join_all(accepting);
        tokio::select! {
            () = shutdown => {}
            _ = accepting => {}
        }
    }
    // No new connections; those that are open end with their present answer.
    drop(services);
    graceful.shutdown().await;
    Ok(())
}

/// What one listener serves.
#[derive(Clone, Debug)]
struct Room {
    kind: Kind,
    address: SocketAddr,
    transport: Transport,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Service,
    Control,
}

impl Room {
    fn new(kind: Kind, listener: &TcpListener, transport: &Transport) -> io::Result<Self> {
        Ok(Self { kind, address: listener.local_addr()?, transport: transport.clone() })
    }
}

async fn accept(room: &Room, listener: &TcpListener, sim: &Sim, graceful: &GracefulShutdown) -> Infallible {
    // Nobody waits for them when the server stops: they are dropped with this.
    let mut handshakes = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let transport = room.transport.clone();
                    handshakes.spawn(async move { transport.accept(stream).await });
                }
                // Such as too many open files: let others close theirs first.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
            Some(shaken) = handshakes.join_next() => match shaken {
                Ok(Ok(stream)) => connect(stream, room.clone(), sim.clone(), graceful),
                Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                Err(error) => tracing::warn!(%error, "a handshake panicked"),
            },
        }
    }
}

fn connect(stream: Stream, room: Room, sim: Sim, graceful: &GracefulShutdown) {
    let service = service_fn(move |request| answer(room.clone(), sim.clone(), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
    });
}

/// An error here closes the connection without an answer, which is what a reset looks like to its client.
async fn answer(
    room: Room,
    sim: Sim,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, crate::ConnectionReset> {
    let (mut parts, body) = request.into_parts();
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Ok(plain(413, "the body is too large")),
        Err(_) => return Ok(plain(400, "the body could not be read")),
    };
    // The simulator knows its services by absolute URL.
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let Ok(uri) = format!("{}://{}{path}", room.transport.scheme(), room.address).parse() else {
        return Ok(plain(400, "the URL is invalid"));
    };
    parts.uri = uri;
    // Whoever reaches the loopback interface comes from it.
    parts.extensions.insert(ClientAddress(room.address.ip()));
    let head = parts.method == http::Method::HEAD;
    let request: Request = http::Request::from_parts(parts, body);
    let response: Response = match room.kind {
        Kind::Service => sim.call(request).await?,
        Kind::Control => control::handle(&sim, &request),
    };
    let (parts, body) = response.into_parts();
    let body = if head { Bytes::new() } else { body };
    Ok(hyper::Response::from_parts(parts, Full::new(body)))
}

fn plain(status: u16, text: &'static str) -> hyper::Response<Full<Bytes>> {
    let mut response = hyper::Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response
}
