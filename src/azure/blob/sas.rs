//! SAS of one blob, signed by the account's key or by a key that the service lends to the factory:
//! <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>,
//! <https://learn.microsoft.com/rest/api/storageservices/create-user-delegation-sas>.

use azure_core::http::Url;
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use super::{VERSION, delegation::DelegationKey, shared_key::AccountKey};
use crate::secret::Secret;

/// What a SAS allows, on what, and when.
pub(super) struct Grant<'a> {
    pub(super) permissions: &'a str,
    /// Without one it is good from now on, by the service's own clock.
    pub(super) starts: Option<OffsetDateTime>,
    pub(super) expires: OffsetDateTime,
    pub(super) account: &'a str,
    pub(super) container: &'a str,
    pub(super) blob: &'a str,
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
    let start = grant.starts.map(seconds);
    let expiry = seconds(grant.expires);
    let signature =
        key.sign(&string_to_sign(grant, delegation, start.as_deref().unwrap_or_default(), &expiry, protocol));
    url.query_pairs_mut()
        .append_pair("sv", VERSION)
        .append_pair("spr", protocol)
        .extend_pairs(start.iter().map(|start| ("st", start)))
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
    start: &str,
    expiry: &str,
    protocol: &str,
) -> String {
    let Grant { permissions, account, container, blob, .. } = grant;
    let resource = format!("/blob/{account}/{container}/{blob}");
    let mut lines = vec![*permissions, start, expiry, &resource];
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
pub(super) fn seconds(moment: OffsetDateTime) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    // Formatting into a string fails only for parts that a date does not have.
    moment.to_offset(UtcOffset::UTC).format(format).unwrap_or_default()
}
