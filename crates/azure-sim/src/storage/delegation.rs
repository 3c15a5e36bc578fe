//! Get User Delegation Key (Microsoft, same title), and taking such keys back.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use http::StatusCode;
use sha2::{Digest as _, Sha256};
use time::{Duration, OffsetDateTime};

use super::{
    answer::Answer,
    authorization::{Caller, roles},
    error::Error,
    request::{Call, parse_iso},
    xml,
};
use crate::{World, identity::Principal};

/// A key lives at most seven days.
const LONGEST_LIFE: Duration = Duration::days(7);

/// A key that was lent.
pub(super) struct Key {
    /// Base64; never shown.
    pub value: String,
    /// To whom.
    pub principal: Principal,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// A moment in whole seconds, as the answer and the SAS write it.
fn seconds(moment: OffsetDateTime) -> String {
    let moment = moment.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).unwrap_or(moment);
    moment.format(&time::format_description::well_known::Rfc3339).unwrap_or_default()
}

/// Hands out a key with which the caller can sign shared access signatures.
pub(super) fn get_key(world: &mut World, call: &Call<'_>, caller: &Caller) -> Result<Answer, Error> {
    let Caller::Bearer(principal) = caller else {
        let message = "Only authentication scheme Bearer is supported.";
        let error = Error::new(403, "AuthenticationFailed", message);
        return Err(error.detail("AuthenticationErrorDetail", message));
    };
    if let Some(account) = world.storage.accounts.get(call.account) {
        roles::check(world, principal, account, None, roles::LEND_KEY)?;
    }
    let mut start = None;
    let mut expiry = None;
    for (name, text) in xml::leaves(call.body)? {
        let moment = || parse_iso(&text).ok_or_else(|| invalid(&name));
        match name.as_str() {
            "Start" => start = Some(moment()?),
            "Expiry" => expiry = Some(moment()?),
            _ => {}
        }
    }
    let expiry = expiry.ok_or_else(|| invalid("Expiry"))?;
    let start = start.unwrap_or(call.now);
    if expiry <= call.now || expiry <= start || expiry > call.now + LONGEST_LIFE {
        return Err(invalid("Expiry"));
    }
    let parameters = [
        principal.object_id.clone(),
        principal.tenant_id.clone(),
        seconds(start),
        seconds(expiry),
        "b".to_owned(),
        call.version().to_owned(),
    ];
    let secret = Sha256::new().chain_update(world.new_guid()).chain_update(world.new_guid());
    let name = (call.account.to_owned(), parameters.clone());
    let keys = &mut world.storage.delegation_keys;
    let key = keys
        .entry(name)
        .or_insert_with(|| Key { value: BASE64.encode(secret.finalize()), principal: principal.clone() });
    let mut document = xml::Document::new("UserDelegationKey");
    let names = ["SignedOid", "SignedTid", "SignedStart", "SignedExpiry", "SignedService", "SignedVersion"];
    for (name, value) in names.iter().zip(&parameters) {
        document.text(name, value);
    }
    document.text("Value", &key.value);
    Ok(Answer::new(StatusCode::OK).xml(document.finish()))
}

/// Takes all keys of an account back: what they signed is worth nothing from now on, also to copies that go on.
pub(crate) fn revoke_keys(world: &mut World, account: &str) {
    world.storage.delegation_keys.retain(|(owner, _), _| owner != account);
}

fn invalid(name: &str) -> Error {
    let message = "The value for one of the XML nodes is not in the correct format.";
    Error::new(400, "InvalidXmlNodeValue", message).detail("XmlNodeName", name)
}
