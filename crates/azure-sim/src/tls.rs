//! TLS for the sockets: a certificate authority of this process alone, and a certificate of it for the loopback interface.
//!
//! Clients trust the authority by its certificate ([`Certificates::authority`]). The keys never leave the process.

use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};

use http::uri::Scheme;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
    server::TlsStream,
};
use tokio_util::either::Either;

/// A peer that has not shaken hands by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);
/// The certificates are good from an hour ago, for clients whose clock is late.
const BACKDATED: time::Duration = time::Duration::HOUR;
/// And for longer than any process of the simulator is kept.
const LIFETIME: time::Duration = time::Duration::days(90);

/// A connection, with or without TLS.
pub type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How the bytes of a listener's connections travel; in plain TCP unless made by [`Certificates::transport`].
#[derive(Clone, Default)]
pub struct Transport(Option<TlsAcceptor>);

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Transport").field(&self.scheme().as_str()).finish()
    }
}

impl Transport {
    /// What URLs of HTTP services on it begin with.
    pub fn scheme(&self) -> Scheme {
        if self.0.is_some() { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// Shakes hands with a peer that has just connected.
    ///
    /// # Errors
    /// If the peer does not speak TLS, does not trust the certificate, or takes too long.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        // Small answers must not wait for more; failing to say so only costs time.
        let _ = stream.set_nodelay(true);
        match &self.0 {
            None => Ok(Either::Left(stream)),
            Some(acceptor) => {
                let stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await??;
                Ok(Either::Right(Box::new(stream)))
            }
        }
    }
}

/// An authority and the server certificate that it signed.
pub struct Certificates {
    authority: String,
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

impl Certificates {
    /// A fresh authority, and a certificate for `127.0.0.1` and `localhost`.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn fresh() -> Result<Self, TlsProblem> {
        // A name of its own, so that clients can tell it from the authorities of other processes.
        let mut authority = params(&format!("Simulated Azure {}", uuid::Uuid::new_v4()));
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;

        let mut server = params("localhost");
        let localhost = "localhost".try_into()?;
        server.subject_alt_names =
            vec![SanType::IpAddress(Ipv4Addr::LOCALHOST.into()), SanType::DnsName(localhost)];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Python 3.13 refuses certificates without it.
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let server = server.signed_by(&key, &authority)?;

        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![server.der().clone()], key)?;
        Ok(Self { authority: authority.pem(), config: Arc::new(config) })
    }

    /// The authority's certificate as PEM, which clients are told to trust.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// TLS from the first byte with the server certificate.
    pub fn transport(&self) -> Transport {
        Transport(Some(TlsAcceptor::from(self.config.clone())))
    }
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // The system's time and not the simulated one: by that clients judge certificates.
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + LIFETIME;
    params
}

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub enum TlsProblem {
    /// They could not be made.
    #[error("the certificates cannot be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// They could not be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] rustls::Error),
}
