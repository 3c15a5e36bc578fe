//! From nothing to an open connection: TCP, TLS, SASL, open and begin.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, BytesMut};
use fe2o3_amqp_types::{
    definitions::Handle,
    performatives::{Begin, Open, Performative},
    primitives::Symbol,
    sasl::{SaslCode, SaslInit, SaslOutcome},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls};
use uuid::Uuid;

use super::wire::{self, AMQP_FRAME, MAX_FRAME_SIZE, SASL_FRAME};
use crate::{Error, Result, connection_string::Endpoint};

const AMQP_HEADER: [u8; 8] = *b"AMQP\x00\x01\x00\x00";
const SASL_HEADER: [u8; 8] = *b"AMQP\x03\x01\x00\x00";
/// The service is asked to send something at least this often, so that a dead connection is noticed.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Frames with messages that the service may send before it hears from us.
pub(super) const WINDOW: u32 = 5000;

/// Bytes in both directions, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// An open connection with one session on channel 0.
pub(super) struct Opened {
    pub(super) stream: Box<dyn Stream>,
    /// What came beyond the handshake.
    pub(super) input: BytesMut,
    /// Largest frame that the service takes, in bytes.
    pub(super) max_frame: usize,
    /// How often the service wants to hear from us at least.
    pub(super) keep_alive: Option<Duration>,
    /// Frames with messages that the service takes at first.
    pub(super) remote_window: u32,
    /// The number of the first frame with a message that it will send.
    pub(super) next_incoming_id: u32,
}

pub(super) fn broken(error: std::io::Error) -> Error {
    Error::Connection(error.to_string())
}

/// Connects and opens.
pub(super) async fn open(endpoint: &Endpoint) -> Result<Opened> {
    let address = (endpoint.host.as_str(), endpoint.port);
    let stream = TcpStream::connect(address).await.map_err(|e| {
        Error::Connection(format!("cannot connect to {}:{}: {e}", endpoint.host, endpoint.port))
    })?;
    stream.set_nodelay(true).map_err(broken)?;
    let stream: Box<dyn Stream> = if endpoint.tls { tls(endpoint, stream).await? } else { Box::new(stream) };
    handshake(stream, &endpoint.host).await
}

/// Leads a fresh stream to an open session.
pub(super) async fn handshake(mut stream: Box<dyn Stream>, host: &str) -> Result<Opened> {
    let mut input = BytesMut::new();
    sasl(&mut stream, &mut input, host).await?;
    exchange_headers(&mut stream, &mut input, AMQP_HEADER).await?;
    let mut out = BytesMut::new();
    wire::put_frame(&mut out, AMQP_FRAME, &wire::encode(&our_open(host))?, &[]);
    wire::put_frame(&mut out, AMQP_FRAME, &wire::encode(&our_begin())?, &[]);
    stream.write_all(&out).await.map_err(broken)?;

    let mut opened =
        Opened { stream, input, max_frame: 512, keep_alive: None, remote_window: 0, next_incoming_id: 0 };
    loop {
        let frame = read_frame(&mut opened.stream, &mut opened.input).await?;
        match wire::decode(frame.body)? {
            Some((Performative::Open(open), _)) => {
                opened.max_frame = (open.max_frame_size.0 as usize).clamp(512, MAX_FRAME_SIZE);
                opened.keep_alive =
                    open.idle_time_out.filter(|ms| *ms > 0).map(|ms| Duration::from_millis(ms.into()) / 2);
            }
            Some((Performative::Begin(begin), _)) => {
                opened.remote_window = begin.incoming_window;
                opened.next_incoming_id = begin.next_outgoing_id;
                return Ok(opened);
            }
            Some((Performative::Close(close), _)) => return Err(super::engine::ended(close.error.as_ref())),
            Some((Performative::End(end), _)) => return Err(super::engine::ended(end.error.as_ref())),
            None => {}
            Some(_) => return Err(Error::Protocol("expected an open and a begin frame".into())),
        }
    }
}

async fn tls(endpoint: &Endpoint, stream: TcpStream) -> Result<Box<dyn Stream>> {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for authority in &endpoint.authorities {
        roots
            .add(authority.clone())
            .map_err(|e| Error::Protocol(format!("TLS: an authority to trust is no certificate: {e}")))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Protocol(format!("TLS: {e}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(endpoint.host.clone())
        .map_err(|_| Error::BadConnectionString(format!("'{}' is no host name", endpoint.host)))?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|e| Error::Connection(format!("TLS with {}: {e}", endpoint.host)))?;
    Ok(Box::new(stream))
}

/// SASL ANONYMOUS: the proof comes by `$cbs`.
async fn sasl(stream: &mut Box<dyn Stream>, input: &mut BytesMut, host: &str) -> Result<()> {
    exchange_headers(stream, input, SASL_HEADER).await?;
    // The mechanisms that are offered: ANONYMOUS is always among them, and if it is not, the outcome will say so.
    read_sasl(stream, input).await?;
    let mut out = BytesMut::new();
    let init = SaslInit {
        mechanism: Symbol::from("ANONYMOUS"),
        initial_response: None,
        hostname: Some(host.to_owned()),
    };
    wire::put_frame(&mut out, SASL_FRAME, &wire::encode(&init)?, &[]);
    stream.write_all(&out).await.map_err(broken)?;
    let outcome = read_sasl(stream, input).await?;
    let outcome: SaslOutcome =
        serde_amqp::from_slice(&outcome).map_err(|e| Error::Protocol(format!("SASL outcome: {e}")))?;
    match outcome.code {
        SaslCode::Ok => Ok(()),
        SaslCode::Auth => Err(Error::Unauthorized("SASL ANONYMOUS was refused".into())),
        _ => Err(Error::Connection("SASL failed on the service's side".into())),
    }
}

async fn read_sasl(stream: &mut Box<dyn Stream>, input: &mut BytesMut) -> Result<bytes::Bytes> {
    let frame = read_frame(stream, input).await?;
    if frame.kind != SASL_FRAME {
        return Err(Error::Protocol("expected a SASL frame".into()));
    }
    super::shape::check(&frame.body).map_err(|e| Error::Protocol(format!("SASL frame: {e}")))?;
    Ok(frame.body)
}

async fn exchange_headers(stream: &mut Box<dyn Stream>, input: &mut BytesMut, header: [u8; 8]) -> Result<()> {
    stream.write_all(&header).await.map_err(broken)?;
    while input.len() < header.len() {
        fill(stream, input).await?;
    }
    let same = input[..header.len()] == header;
    input.advance(header.len());
    if same { Ok(()) } else { Err(Error::Protocol("the other side does not speak AMQP 1.0".into())) }
}

async fn read_frame(stream: &mut Box<dyn Stream>, input: &mut BytesMut) -> Result<wire::RawFrame> {
    loop {
        if let Some(frame) = wire::next_frame(input)? {
            return Ok(frame);
        }
        fill(stream, input).await?;
    }
}

async fn fill(stream: &mut Box<dyn Stream>, input: &mut BytesMut) -> Result<()> {
    match stream.read_buf(input).await.map_err(broken)? {
        0 => Err(Error::Connection("the connection was closed during the handshake".into())),
        _ => Ok(()),
    }
}

fn our_open(host: &str) -> Open {
    Open {
        container_id: format!("image-factory-{}", Uuid::new_v4().simple()),
        hostname: Some(host.to_owned()),
        max_frame_size: (MAX_FRAME_SIZE as u32).into(),
        channel_max: 0.into(),
        idle_time_out: Some(IDLE_TIMEOUT.as_millis() as u32),
        outgoing_locales: None,
        incoming_locales: None,
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}

fn our_begin() -> Begin {
    Begin {
        remote_channel: None,
        next_outgoing_id: 0,
        incoming_window: WINDOW,
        outgoing_window: WINDOW,
        handle_max: Handle(u32::MAX),
        offered_capabilities: None,
        desired_capabilities: None,
        properties: None,
    }
}
