//! A request, taken apart once.

use std::{collections::BTreeMap, net::IpAddr};

use bytes::Bytes;
use http::{HeaderMap, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use time::{
    OffsetDateTime, PrimitiveDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc2822, well_known::Rfc3339},
    macros::format_description,
};

use super::{account::BlobKey, error::Error};
use crate::{ClientAddress, Endpoints, Request};

/// The version that answers a request that names none (Microsoft, "Versioning for the Azure Storage services").
const OLDEST_VERSION: &str = "2009-09-19";
/// `Date` and the like.
const HTTP_DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
/// The moment of a snapshot, and the time in an error's message.
const TICKS: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
/// `2026-11-22T12:00Z`, as a SAS may say it.
const MINUTES: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]Z");
const DAY: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]");
/// What stays as it is in a blob's URL.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// A request to an account.
pub(super) struct Call<'a> {
    pub account: &'a str,
    pub container: Option<String>,
    pub blob: Option<String>,
    pub method: &'a Method,
    /// The path as it was sent, with the account first on loopback sockets: what SharedKey signs.
    pub full_path: &'a str,
    pub is_https: bool,
    /// The client's, where the request came over a socket.
    pub address: Option<IpAddr>,
    /// By lower-case name, decoded.
    pub query: BTreeMap<String, String>,
    pub headers: &'a HeaderMap,
    pub body: &'a Bytes,
    pub now: OffsetDateTime,
}

impl<'a> Call<'a> {
    pub fn new(
        account: &'a str,
        path: &str,
        request: &'a Request,
        now: OffsetDateTime,
    ) -> Result<Self, Error> {
        let invalid = || {
            Error::new(400, "InvalidUri", "The requested URI does not represent any resource on the server.")
        };
        let (mut container, mut blob) = names(path).ok_or_else(invalid)?;
        let query = query_of(request.uri().query().unwrap_or_default());
        let is_on_container = query.get("restype").is_some_and(|value| value == "container");
        // A lone segment names a blob in the root container, unless the query says otherwise.
        if container.is_some() && blob.is_none() && !is_on_container {
            blob = container.replace("$root".to_owned());
        }
        Ok(Self {
            account,
            container,
            blob,
            method: request.method(),
            full_path: request.uri().path(),
            is_https: request.uri().scheme_str() == Some("https"),
            address: request.extensions().get::<ClientAddress>().map(|address| address.0),
            query,
            headers: request.headers(),
            body: request.body(),
            now,
        })
    }

    /// A header's value; `None` if it is absent or no text.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// A header that must be there.
    pub fn required_header(&self, name: &str) -> Result<&'a str, Error> {
        self.header(name).ok_or_else(|| Error::missing_header(name))
    }

    /// A header that is a whole number where it is there.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let parse = |text: &str| text.trim().parse().map_err(|_| Error::invalid_header(name, text));
        self.header(name).map(parse).transpose()
    }

    /// A query parameter; `None` if it is absent.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }

    /// The service version: of the header, of the SAS, or the oldest.
    pub fn version(&self) -> &str {
        let sent = self.header("x-ms-version");
        sent.or_else(|| self.query("sv")).unwrap_or(OLDEST_VERSION)
    }

    /// `x-ms-lease-id`.
    pub fn lease_id(&self) -> Option<&'a str> {
        self.header("x-ms-lease-id")
    }

    /// The `x-ms-meta-*` headers, without their prefix.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut metadata = BTreeMap::new();
        for (name, value) in self.headers {
            let Some(name) = name.as_str().strip_prefix("x-ms-meta-") else {
                continue;
            };
            let value = value.to_str().ok().filter(|_| is_identifier(name)).ok_or_else(|| {
                let message =
                    "The specified metadata is invalid. It includes characters that are not permitted.";
                Error::new(400, "InvalidMetadata", message)
            })?;
            metadata.insert(name.to_owned(), value.trim().to_owned());
        }
        Ok(metadata)
    }

    /// The container and the blob that the path names.
    pub fn key(&self) -> Result<BlobKey, Error> {
        let names = self.container.clone().zip(self.blob.clone());
        names.ok_or_else(|| Error::new(400, "InvalidUri", "The request URI names no blob."))
    }
}

/// Metadata names are C# identifiers (Microsoft, "Setting and retrieving properties and metadata").
fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Container and blob of `/container/blob`, decoded; `None` if that is no UTF-8. The service reads a backslash in a blob's name as a
/// slash (Azure/azure-sdk-for-js, sas.spec.ts).
pub(super) fn names(path: &str) -> Option<(Option<String>, Option<String>)> {
    let path = path.trim_start_matches('/');
    let (container, blob) = path.split_once('/').unwrap_or((path, ""));
    let decode = |text| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
    let named = |name: String| Some(name).filter(|name| !name.is_empty());
    Some((named(decode(container)?), named(decode(blob)?.replace('\\', "/"))))
}

/// The parameters of a query, decoded, by lower-case name; repeated ones are joined by commas, as SharedKey signs them.
pub(super) fn query_of(query: &str) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for item in query.split('&').filter(|item| !item.is_empty()) {
        let (name, value) = item.split_once('=').unwrap_or((item, ""));
        let decode = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        all.entry(decode(name).to_ascii_lowercase()).or_default().push(decode(value));
    }
    let join = |(name, mut values): (String, Vec<String>)| {
        values.sort();
        (name, values.join(","))
    };
    all.into_iter().map(join).collect()
}

/// A blob's URL without query.
pub(super) fn url_of(endpoints: &Endpoints, account: &str, (container, blob): &BlobKey) -> String {
    let base = endpoints.blob(account);
    format!("{base}/{container}/{}", utf8_percent_encode(blob, URL))
}

/// A moment as HTTP headers write it.
pub(crate) fn http_date(moment: OffsetDateTime) -> String {
    moment.to_offset(time::UtcOffset::UTC).format(HTTP_DATE).unwrap_or_default()
}

/// A moment of an HTTP header.
pub(super) fn parse_http_date(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text.trim(), &Rfc2822).ok()
}

/// A moment to 100 ns, as snapshots are named.
pub(super) fn ticks(moment: OffsetDateTime) -> String {
    moment.to_offset(time::UtcOffset::UTC).format(TICKS).unwrap_or_default()
}

/// A moment of a SAS or a delegation key.
pub(super) fn parse_iso(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    let whole = OffsetDateTime::parse(text, &Rfc3339).ok();
    let minutes = || PrimitiveDateTime::parse(text, MINUTES).ok().map(PrimitiveDateTime::assume_utc);
    let day = || time::Date::parse(text, DAY).ok().map(|day| day.midnight().assume_utc());
    whole.or_else(minutes).or_else(day)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn moments_are_written_and_read() {
        let noon = datetime!(2026-11-22 12:00 UTC);
        assert_eq!(http_date(noon), "Sun, 22 Nov 2026 12:00:00 GMT");
        assert_eq!(parse_http_date("Sun, 22 Nov 2026 12:00:00 GMT"), Some(noon));
        assert_eq!(ticks(noon), "2026-11-22T12:00:00.0000000Z");
        for text in ["2026-11-22T12:00:00Z", "2026-11-22T12:00Z", "2026-11-22T12:00:00.0000000Z"] {
            assert_eq!(parse_iso(text), Some(noon), "{text}");
        }
        assert_eq!(parse_iso("2026-11-22"), Some(datetime!(2026-11-22 00:00 UTC)));
        assert_eq!(parse_iso("tomorrow"), None);
    }

    #[test]
    fn paths_and_queries_are_decoded() {
        let names = |path| names(path).unwrap();
        assert_eq!(names("/c/a%20b/d%2Fe"), (Some("c".into()), Some("a b/d/e".into())));
        assert_eq!(names("/c/a%5Cb"), (Some("c".into()), Some("a/b".into())));
        assert_eq!(names("/c/"), (Some("c".into()), None));
        assert_eq!(names("/"), (None, None));
        let query = query_of("Comp=list&prefix=a%2Bb+c&include=x&include=a&empty");
        let query: Vec<(&str, &str)> = query.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(query, [("comp", "list"), ("empty", ""), ("include", "a,x"), ("prefix", "a+b+c")]);
    }
}
