//! SAS of one blob, signed by the account's key or by a key that the service lends to the factory:
//! <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>,
//! <https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas>.

use azure_core::http::Url;
use serde::Deserialize;
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use super::{VERSION, shared_key::AccountKey};
use crate::secret::Secret;

/// What a SAS allows, on what, and until when.
pub(super) struct Grant<'a> {
    pub(super) permissions: &'a str,
    pub(super) expires: OffsetDateTime,
    pub(super) account: &'a str,
    pub(super) container: &'a str,
    pub(super) blob: &'a str,
}

/// Who the service lent a key to, and for how long; its texts are signed and sent as they came.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DelegationKey {
    signed_oid: String,
    signed_tid: String,
    signed_start: String,
    signed_expiry: String,
    signed_service: String,
    signed_version: String,
    /// The key itself, base64.
    pub(super) value: String,
}

impl DelegationKey {
    fn query(&self) -> [(&'static str, &str); 6] {
        [
            ("skoid", &self.signed_oid),
            ("sktid", &self.signed_tid),
            ("skt", &self.signed_start),
            ("ske", &self.signed_expiry),
            ("sks", &self.signed_service),
            ("skv", &self.signed_version),
        ]
    }
}

/// `url`, which is the blob's, with a SAS of it. `key` is the account's own, or the value of `delegation`.
pub(super) fn signed_url(
    mut url: Url,
    key: &AccountKey,
    delegation: Option<&DelegationKey>,
    grant: &Grant<'_>,
) -> Secret<String> {
    // Over plain http only stand-ins on this machine are reached.
    let protocol = if url.scheme() == "https" { "https" } else { "https,http" };
    let expiry = seconds(grant.expires);
    let signature = key.sign(&string_to_sign(grant, delegation, &expiry, protocol));
    url.query_pairs_mut()
        .append_pair("sv", VERSION)
        .append_pair("spr", protocol)
        .append_pair("se", &expiry)
        .append_pair("sr", "b")
        .append_pair("sp", grant.permissions)
        .extend_pairs(delegation.iter().flat_map(|key| key.query()))
        .append_pair("sig", &signature);
    Secret::new(url.into())
}

/// What is signed, for the versions 2020-12-06 to 2023-11-03; later ones have more lines.
fn string_to_sign(
    grant: &Grant<'_>,
    delegation: Option<&DelegationKey>,
    expiry: &str,
    protocol: &str,
) -> String {
    let Grant { permissions, account, container, blob, .. } = grant;
    let resource = format!("/blob/{account}/{container}/{blob}");
    // st is empty: valid from now on, whatever the clocks' difference.
    let mut lines = vec![*permissions, "", expiry, &resource];
    match delegation {
        None => lines.push(""), // si
        Some(key) => {
            lines.extend(key.query().map(|(_, value)| value));
            lines.extend(["", "", ""]); // saoid, suoid, scid
        }
    }
    lines.extend(["", protocol, VERSION, "b"]); // sip, spr, sv, sr
    lines.extend([""; 7]); // snapshot, ses, rscc, rscd, rsce, rscl, rsct
    lines.join("\n")
}

/// UTC, in whole seconds: the only form that every version takes.
fn seconds(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    // Formatting into a string fails only for parts that a date does not have.
    moment.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}
