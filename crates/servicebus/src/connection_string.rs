//! Connection strings, as the portal gives them.

use std::fmt;

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::Error;

/// Port of AMQP over TLS.
const TLS_PORT: u16 = 5671;
/// Port of AMQP without TLS, which only the emulator speaks.
const PLAIN_PORT: u16 = 5672;

/// A shared access key; it is never printed.
#[derive(Clone)]
pub(crate) struct SharedKey(String);

impl SharedKey {
    /// The key's characters: what the HMAC is keyed with, not decoded from base64.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedKey(…)")
    }
}

/// Where the namespace listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host name without port.
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: bool,
    /// Authorities that are trusted beside the public ones.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
}

impl Endpoint {
    /// The endpoint of a fully qualified namespace such as `name.servicebus.windows.net`.
    pub(crate) fn of_namespace(namespace: &str) -> Result<Self, Error> {
        let host = namespace.trim().trim_end_matches('/');
        let host = host.strip_prefix("sb://").unwrap_or(host);
        Self::parse(host, false)
            .map_err(|why| Error::BadConnectionString(format!("the namespace '{namespace}' {why}")))
    }

    /// The reason for a refusal does not repeat the text: behind a forgotten ';' of a connection string stands the key.
    fn parse(authority: &str, emulator: bool) -> Result<Self, &'static str> {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => {
                (host, port.parse().map_err(|_| "has a port that is no number from 1 to 65535")?)
            }
            None => (authority, if emulator { PLAIN_PORT } else { TLS_PORT }),
        };
        if host.is_empty() || port == 0 || host.contains(['/', '@', ' ', '?', '#', '=']) {
            return Err("is not sb://host/ or sb://host:port/");
        }
        Ok(Self { host: host.to_owned(), port, tls: !emulator, authorities: Vec::new() })
    }
}

/// A parsed connection string.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionString {
    pub(crate) endpoint: Endpoint,
    pub(crate) key_name: String,
    pub(crate) key: SharedKey,
}

impl ConnectionString {
    /// Reads `Endpoint=sb://host[:port]/;SharedAccessKeyName=…;SharedAccessKey=…[;UseDevelopmentEmulator=true]`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let bad = |why: String| Error::BadConnectionString(why);
        let (mut endpoint, mut key_name, mut key, mut emulator) = (None, None, None, false);
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            // A part that is not known may be a piece of the key: it is not repeated in the error.
            let (name, value) =
                part.split_once('=').ok_or_else(|| bad("a part between two ';' has no '='".to_owned()))?;
            match name.trim().to_ascii_lowercase().as_str() {
                "endpoint" => endpoint = Some(value.trim()),
                "sharedaccesskeyname" => key_name = Some(value.trim().to_owned()),
                "sharedaccesskey" => key = Some(SharedKey(value.trim().to_owned())),
                "usedevelopmentemulator" => emulator = value.trim().eq_ignore_ascii_case("true"),
                "entitypath" => {}
                "sharedaccesssignature" => {
                    return Err(bad(
                        "SharedAccessSignature is not taken; use SharedAccessKeyName and SharedAccessKey"
                            .into(),
                    ));
                }
                _ => {
                    let known =
                        "Endpoint, SharedAccessKeyName, SharedAccessKey, EntityPath, UseDevelopmentEmulator";
                    return Err(bad(format!("a part has a name that is not known; these are: {known}")));
                }
            }
        }
        let endpoint = endpoint.ok_or_else(|| bad("Endpoint is missing".into()))?;
        let authority = endpoint
            .strip_prefix("sb://")
            .or_else(|| endpoint.strip_prefix("amqps://"))
            .ok_or_else(|| bad("the endpoint does not begin with sb://".into()))?;
        let key_name = key_name.filter(|name| !name.is_empty());
        let key = key.filter(|key| !key.0.is_empty());
        Ok(Self {
            endpoint: Endpoint::parse(authority.trim_end_matches('/'), emulator)
                .map_err(|why| bad(format!("the endpoint {why}")))?,
            key_name: key_name.ok_or_else(|| bad("SharedAccessKeyName is missing".into()))?,
            key: key.ok_or_else(|| bad("SharedAccessKey is missing".into()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str =
        "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey=c2VjcmV0+/==";

    #[test]
    fn a_namespace_is_reached_over_tls() {
        let parsed = ConnectionString::parse(REAL).unwrap();
        assert_eq!(
            parsed.endpoint,
            Endpoint { host: "ns.servicebus.windows.net".into(), port: 5671, tls: true, authorities: vec![] }
        );
        assert_eq!((parsed.key_name.as_str(), parsed.key.bytes()), ("Root", &b"c2VjcmV0+/=="[..]));
    }

    #[test]
    fn the_emulator_is_reached_without_tls_on_its_port_or_the_given_one() {
        let parse = |endpoint: &str| {
            let text = format!(
                "Endpoint={endpoint};SharedAccessKeyName=a;SharedAccessKey=b;UseDevelopmentEmulator=true;"
            );
            ConnectionString::parse(&text).unwrap().endpoint
        };
        assert_eq!(
            parse("sb://localhost"),
            Endpoint { host: "localhost".into(), port: 5672, tls: false, authorities: vec![] }
        );
        assert_eq!(
            parse("sb://127.0.0.1:40001/"),
            Endpoint { host: "127.0.0.1".into(), port: 40001, tls: false, authorities: vec![] }
        );
    }

    #[test]
    fn the_key_is_never_printed_not_even_in_errors() {
        assert!(!format!("{:?}", ConnectionString::parse(REAL).unwrap()).contains("c2VjcmV0"));
        for text in
            ["Endpoint=x;SharedAccessKey=c2VjcmV0", "c2VjcmV0", "Endpoint=sb://h;SharedAccessKey=c2VjcmV0"]
        {
            let error = ConnectionString::parse(text).unwrap_err();
            assert!(matches!(error, Error::BadConnectionString(_)));
            assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
        }
    }
}
