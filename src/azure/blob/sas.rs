//! A service SAS of one blob: <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>.

use azure_core::http::Url;
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use super::{VERSION, shared_key::AccountKey};
use crate::secret::Secret;

/// What a SAS allows, and until when.
pub(super) struct Grant<'a> {
    pub(super) permissions: &'a str,
    pub(super) expires: OffsetDateTime,
    pub(super) container: &'a str,
    pub(super) blob: &'a str,
}

/// `url`, which is the blob's, with a SAS of it.
pub(super) fn signed_url(mut url: Url, key: &AccountKey, grant: &Grant<'_>) -> Secret<String> {
    // Over plain http only stand-ins on this machine are reached.
    let protocol = if url.scheme() == "https" {
        "https"
    } else {
        "https,http"
    };
    let expiry = expiry(grant.expires);
    let signature = key.sign(&string_to_sign(key.account(), grant, &expiry, protocol));
    url.query_pairs_mut()
        .append_pair("sv", VERSION)
        .append_pair("spr", protocol)
        .append_pair("se", &expiry)
        .append_pair("sr", "b")
        .append_pair("sp", grant.permissions)
        .append_pair("sig", &signature);
    Secret::new(url.into())
}

/// What is signed, for the versions 2020-12-06 to 2023-11-03; later ones have more lines.
pub(super) fn string_to_sign(account: &str, grant: &Grant<'_>, expiry: &str, protocol: &str) -> String {
    let Grant {
        permissions,
        container,
        blob,
        ..
    } = grant;
    let resource = format!("/blob/{account}/{container}/{blob}");
    [
        permissions,
        "", // st: from now on, whatever the clocks' difference
        expiry,
        &resource,
        "", // si
        "", // sip
        protocol,
        VERSION,
        "b",
        "", // snapshot
        "", // ses
        "", // rscc
        "", // rscd
        "", // rsce
        "", // rscl
        "", // rsct
    ]
    .join("\n")
}

/// UTC, in whole seconds: the only form that every version takes.
pub(super) fn expiry(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    // Formatting into a string fails only for parts that a date does not have.
    moment
        .to_offset(UtcOffset::UTC)
        .format(format)
        .unwrap_or_default()
}
