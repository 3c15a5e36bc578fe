//! The client: one connection for all senders and receivers, and the tokens that go with it.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use azure_core::credentials::TokenCredential;
use fe2o3_amqp_types::primitives::{SimpleValue, Value};
use time::OffsetDateTime;
use tokio::{
    sync::Mutex,
    time::{sleep, timeout},
};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{
    Error, Receiver, ReceiverOptions, Result, Sender,
    amqp::Connection,
    connection_string::{ConnectionString, Endpoint},
    management::Requests,
    token::TokenSource,
};

/// How long one try of an operation may take; the official clients' default.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
/// Pauses before an operation is tried again on a new connection; there are as many tries more as pauses.
const RETRY_PAUSES: [Duration; 4] = [
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_millis(2000),
];
/// Tokens are renewed when they have less than this left.
const RENEWAL_MARGIN: time::Duration = time::Duration::minutes(10);
/// How often it is looked whether a token must be renewed.
const RENEWAL_CHECK: Duration = Duration::from_secs(30);

/// A Service Bus namespace. Cheap to clone; all clones share one connection, which is made when it is first needed and made anew
/// when it broke.
#[derive(Clone, Debug)]
pub struct ServiceBusClient(Arc<Core>);

#[derive(Debug)]
struct Core {
    endpoint: Endpoint,
    tokens: TokenSource,
    live: Mutex<Option<Arc<Live>>>,
    closed: AtomicBool,
}

/// A connection with its `$cbs`.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) connection: Connection,
    cbs: Requests,
    tokens: TokenSource,
    /// When the tokens that the service has expire, by audience.
    claims: Mutex<BTreeMap<String, OffsetDateTime>>,
}

impl ServiceBusClient {
    /// A client for the namespace and key that a connection string names
    /// (`Endpoint=sb://host[:port]/;SharedAccessKeyName=…;SharedAccessKey=…[;UseDevelopmentEmulator=true]`). With the emulator
    /// flag it speaks plain AMQP, on port 5672 unless the endpoint has one; otherwise AMQP over TLS on 5671.
    ///
    /// # Errors
    /// [`Error::BadConnectionString`].
    pub fn from_connection_string(connection_string: &str) -> Result<Self> {
        let ConnectionString { endpoint, key_name, key } = ConnectionString::parse(connection_string)?;
        Ok(Self::with(endpoint, TokenSource::Key { name: key_name, key }))
    }

    /// A client for `fully_qualified_namespace` (`name.servicebus.windows.net`) that authenticates with Microsoft Entra ID.
    ///
    /// # Errors
    /// [`Error::BadConnectionString`] if that is no host name.
    pub fn new(fully_qualified_namespace: &str, credential: Arc<dyn TokenCredential>) -> Result<Self> {
        Ok(Self::with(
            Endpoint::of_namespace(fully_qualified_namespace)?,
            TokenSource::Credential(credential),
        ))
    }

    /// A client like this one, with a connection of its own, that trusts the certificate authorities in `pem` beside the public
    /// ones: for networks that look into TLS, and for tests.
    ///
    /// # Errors
    /// [`Error::Protocol`] if there is no certificate in it.
    pub fn trusting(&self, pem: &[u8]) -> Result<Self> {
        let authorities: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<std::result::Result<_, _>>()
            .map_err(|e| Error::Protocol(format!("TLS: the authorities to trust cannot be read: {e}")))?;
        if authorities.is_empty() {
            return Err(Error::Protocol(
                "TLS: there is no certificate among the authorities to trust".into(),
            ));
        }
        let endpoint = Endpoint { authorities, ..self.0.endpoint.clone() };
        Ok(Self::with(endpoint, self.0.tokens.clone()))
    }

    fn with(endpoint: Endpoint, tokens: TokenSource) -> Self {
        Self(Arc::new(Core { endpoint, tokens, live: Mutex::default(), closed: AtomicBool::new(false) }))
    }

    /// Sends to `queue`. Attaches when first used; whether the queue exists shows then.
    pub fn sender(&self, queue: &str) -> Sender {
        Sender::new(self.clone(), queue)
    }

    /// Receives from `queue`. Attaches when first used; whether the queue exists shows then.
    pub fn receiver(&self, queue: &str, options: ReceiverOptions) -> Receiver {
        Receiver::new(self.clone(), queue, options)
    }

    /// Closes the connection; operations under way and later ones fail with [`Error::Connection`]. Locks that receivers held run
    /// out by themselves.
    pub async fn close(&self) {
        self.0.closed.store(true, Ordering::SeqCst);
        let live = self.0.live.lock().await.take();
        if let Some(live) = live {
            live.connection.close().await;
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// The connection, with a token for `queue`.
    pub(crate) async fn live(&self, queue: &str) -> Result<Arc<Live>> {
        let live = {
            let mut slot = self.0.live.lock().await;
            if self.is_closed() {
                return Err(closed());
            }
            match &*slot {
                Some(live) if !live.connection.is_closed() && live.cbs.is_alive() => live.clone(),
                _ => slot.insert(self.connect().await?).clone(),
            }
        };
        let audience = format!("sb://{}/{queue}", self.0.endpoint.host);
        let mut claims = live.claims.lock().await;
        let good = claims.get(&audience).is_some_and(|expiry| *expiry > OffsetDateTime::now_utc());
        if !good {
            let expiry = live.put_token(&audience).await?;
            claims.insert(audience, expiry);
        }
        drop(claims);
        Ok(live)
    }

    async fn connect(&self) -> Result<Arc<Live>> {
        let connection = Connection::open(&self.0.endpoint).await?;
        let cbs = Requests::open(&connection, "$cbs").await?;
        let tokens = self.0.tokens.clone();
        let live = Arc::new(Live { connection, cbs, tokens, claims: Mutex::default() });
        tokio::spawn(renew(Arc::downgrade(&live)));
        Ok(live)
    }

    /// Calls `operation` until it succeeds, or fails with something else than a broken connection, or the tries are used up.
    pub(crate) async fn with_retries<R, F>(&self, what: &str, mut operation: impl FnMut() -> F) -> Result<R>
    where
        F: Future<Output = Result<R>>,
    {
        let mut pauses = RETRY_PAUSES.iter();
        loop {
            let result = timeout(OPERATION_TIMEOUT, operation()).await.unwrap_or_else(|_| {
                Err(Error::Timeout(format!("{what}: no answer within {} s", OPERATION_TIMEOUT.as_secs())))
            });
            match (result, self.pause(&mut pauses)) {
                (Err(error @ Error::Connection(_)), Some(pause)) => {
                    tracing::debug!(%error, what, "trying again on a new connection");
                    sleep(pause).await;
                }
                (result, _) => return result,
            }
        }
    }

    fn pause(&self, pauses: &mut std::slice::Iter<'_, Duration>) -> Option<Duration> {
        if self.is_closed() { None } else { pauses.next().copied() }
    }
}

fn closed() -> Error {
    Error::Connection("the client is closed".into())
}

impl Live {
    /// Gives the service a token for `audience`; gives back when it expires.
    async fn put_token(&self, audience: &str) -> Result<OffsetDateTime> {
        let token = self.tokens.token(audience).await?;
        let text = |text: &str| SimpleValue::String(text.to_owned());
        let properties =
            [("operation", text("put-token")), ("type", text(token.kind)), ("name", text(audience))];
        let put = self.cbs.call(&properties, Value::String(token.secret));
        timeout(OPERATION_TIMEOUT, put)
            .await
            .map_err(|_| Error::Timeout("$cbs did not take the token".into()))??;
        Ok(token.expires_on)
    }
}

/// Renews tokens before they expire, as long as the connection lives.
async fn renew(live: Weak<Live>) {
    loop {
        sleep(RENEWAL_CHECK).await;
        let Some(live) = live.upgrade().filter(|live| !live.connection.is_closed()) else {
            return;
        };
        let soon = OffsetDateTime::now_utc() + RENEWAL_MARGIN;
        let claims = live.claims.lock().await.clone();
        for audience in claims.into_iter().filter(|(_, expiry)| *expiry < soon).map(|(audience, _)| audience)
        {
            match live.put_token(&audience).await {
                Ok(expiry) => {
                    live.claims.lock().await.insert(audience, expiry);
                }
                Err(error) => tracing::warn!(%error, audience, "cannot renew the token for Service Bus"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_that_are_none_are_refused() {
        let text = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=key";
        let client = ServiceBusClient::from_connection_string(text).unwrap();
        for pem in ["", "no certificate", "-----BEGIN CERTIFICATE-----\n???\n-----END CERTIFICATE-----\n"] {
            let refused = client.trusting(pem.as_bytes());
            assert!(matches!(&refused, Err(Error::Protocol(why)) if why.starts_with("TLS: ")), "{refused:?}");
        }
    }
}
