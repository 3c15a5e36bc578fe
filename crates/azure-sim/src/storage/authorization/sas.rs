//! Shared access signatures of an account, of a container or blob, and of a user (Microsoft, "Create an account SAS",
//! "Create a service SAS", "Create a user delegation SAS").

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use time::OffsetDateTime;

use super::{Need, On, check_keys_allowed, is_signed, roles};
use crate::{
    World,
    storage::{
        account::{AccessPolicy, Account},
        error::Error,
        request::{http_date, parse_iso},
    },
};

/// Older signatures are made up differently.
const OLDEST: &str = "2015-04-05";
/// `sr` and the snapshot are signed from this version on, and users can delegate.
const WITH_RESOURCE: &str = "2018-11-09";
/// `saoid`, `suoid` and `scid` are signed from this version on.
const WITH_AUTHORIZED_USERS: &str = "2020-02-10";
/// `ses` is signed from this version on.
const WITH_ENCRYPTION_SCOPE: &str = "2020-12-06";
/// `skdutid` and `sduoid` are signed from this version on.
const WITH_DELEGATED_USER: &str = "2025-07-05";
/// `srh` and `srq` are signed from this version on.
const WITH_REQUEST_PARTS: &str = "2026-04-06";

/// What a SAS is used for.
pub(in crate::storage) struct Resource<'a> {
    pub container: Option<&'a str>,
    pub blob: Option<&'a str>,
    pub is_https: bool,
    /// Where the request comes from; not known in process, and of the service itself, which reads the source of a copy.
    pub address: Option<IpAddr>,
    /// The query with the SAS in it.
    pub query: &'a BTreeMap<String, String>,
}

/// What a SAS that was found good grants.
#[derive(Clone, Debug)]
pub(in crate::storage) struct Granted {
    /// The letters of `sp`, or of the stored policy.
    pub permissions: String,
    /// When it runs out.
    pub expires: OffsetDateTime,
}

/// Checks a SAS.
pub(in crate::storage) fn check(
    world: &World,
    account: &Account,
    resource: &Resource<'_>,
    need: Need,
) -> Result<Granted, Error> {
    let sas = Sas(resource.query);
    if sas.get("sv") < OLDEST {
        return Err(Error::authentication_failed("sv is missing or not supported."));
    }
    // Headers and parameters that the client promises to send; nobody here does.
    if !(sas.get("srh").is_empty() && sas.get("srq").is_empty()) {
        return Err(Error::authentication_failed("srh and srq are not supported."));
    }
    if !sas.get("srt").is_empty() {
        account_sas(world, account, resource, &sas, need)
    } else if !sas.get("skoid").is_empty() {
        user_delegation_sas(world, account, resource, &sas, need)
    } else {
        service_sas(world, account, resource, &sas, need)
    }
}

/// The parameters of a SAS.
struct Sas<'a>(&'a BTreeMap<String, String>);

impl<'a> Sas<'a> {
    /// A parameter; empty if it is absent.
    fn get(&self, name: &str) -> &'a str {
        self.0.get(name).map_or("", String::as_str)
    }
}

fn account_sas(
    world: &World,
    account: &Account,
    resource: &Resource<'_>,
    sas: &Sas<'_>,
    need: Need,
) -> Result<Granted, Error> {
    check_keys_allowed(account)?;
    let mut lines = vec![account.name.as_str()];
    lines.extend(["sp", "ss", "srt", "st", "se", "sip", "spr", "sv"].map(|name| sas.get(name)));
    if sas.get("sv") >= WITH_ENCRYPTION_SCOPE {
        lines.push(sas.get("ses"));
    }
    lines.push("");
    check_signature(&account.keys, &lines.join("\n"), sas)?;
    let expires = check_time(world, sas.get("st"), sas.get("se"))?;
    check_protocol(resource, sas)?;
    check_address(resource, sas)?;
    if !sas.get("ss").contains('b') {
        let message = "This request is not authorized to perform this operation using this service.";
        return Err(Error::new(403, "AuthorizationServiceMismatch", message));
    }
    let letter = match need.on {
        On::Service => 's',
        On::Container => 'c',
        On::Object => 'o',
    };
    if !sas.get("srt").contains(letter) {
        let message = "This request is not authorized to perform this operation using this resource type.";
        return Err(Error::new(403, "AuthorizationResourceTypeMismatch", message));
    }
    granted(sas.get("sp"), expires, need)
}

fn service_sas(
    world: &World,
    account: &Account,
    resource: &Resource<'_>,
    sas: &Sas<'_>,
    need: Need,
) -> Result<Granted, Error> {
    check_keys_allowed(account)?;
    let signed = canonical(account, resource, sas)?;
    let mut lines = vec![sas.get("sp"), sas.get("st"), sas.get("se"), &signed];
    lines.extend(["si", "sip", "spr", "sv"].map(|name| sas.get(name)));
    if sas.get("sv") >= WITH_RESOURCE {
        lines.extend([sas.get("sr"), snapshot(sas)]);
    }
    if sas.get("sv") >= WITH_ENCRYPTION_SCOPE {
        lines.push(sas.get("ses"));
    }
    lines.extend(RESPONSE_HEADERS.map(|name| sas.get(name)));
    check_signature(&account.keys, &lines.join("\n"), sas)?;
    let policy = match sas.get("si") {
        "" => AccessPolicy::default(),
        id => policy(world, account, resource, id)?,
    };
    let or_policy = |sent: &str, stored: Option<String>| match sent {
        "" => stored.unwrap_or_default(),
        sent => sent.to_owned(),
    };
    let start = or_policy(sas.get("st"), policy.start);
    let expiry = or_policy(sas.get("se"), policy.expiry);
    let expires = check_time(world, &start, &expiry)?;
    check_protocol(resource, sas)?;
    check_address(resource, sas)?;
    check_scope(need)?;
    granted(&or_policy(sas.get("sp"), policy.permission), expires, need)
}

fn user_delegation_sas(
    world: &World,
    account: &Account,
    resource: &Resource<'_>,
    sas: &Sas<'_>,
    need: Need,
) -> Result<Granted, Error> {
    let version = sas.get("sv");
    if version < WITH_RESOURCE {
        return Err(Error::authentication_failed("User delegation needs sv 2018-11-09 or later."));
    }
    let signed = canonical(account, resource, sas)?;
    let mut lines = vec![sas.get("sp"), sas.get("st"), sas.get("se"), &signed];
    let key = ["skoid", "sktid", "skt", "ske", "sks", "skv"].map(|name| sas.get(name));
    lines.extend(key);
    if version >= WITH_AUTHORIZED_USERS {
        lines.extend(["saoid", "suoid", "scid"].map(|name| sas.get(name)));
    }
    if version >= WITH_DELEGATED_USER {
        lines.extend(["skdutid", "sduoid"].map(|name| sas.get(name)));
    }
    lines.extend(["sip", "spr", "sv", "sr"].map(|name| sas.get(name)));
    lines.push(snapshot(sas));
    if version >= WITH_ENCRYPTION_SCOPE {
        lines.push(sas.get("ses"));
    }
    if version >= WITH_REQUEST_PARTS {
        lines.extend(["", ""]); // srh, srq
    }
    lines.extend(RESPONSE_HEADERS.map(|name| sas.get(name)));
    let name = key.map(str::to_owned);
    let delegated = world.storage.delegation_keys.get(&(account.name.clone(), name));
    let lent = delegated
        .ok_or_else(|| Error::authentication_failed("Signature did not match. The key is not known."))?;
    check_signature(std::slice::from_ref(&lent.value), &lines.join("\n"), sas)?;
    check_time(world, sas.get("skt"), sas.get("ske"))?;
    let expires = check_time(world, sas.get("st"), sas.get("se"))?;
    check_protocol(resource, sas)?;
    check_address(resource, sas)?;
    check_scope(need)?;
    let key_expires = parse_iso(sas.get("ske")).unwrap_or(expires);
    // What its signer may do is looked up at every use.
    roles::check(world, &lent.principal, account, resource.container, roles::action(need))?;
    granted(sas.get("sp"), expires.min(key_expires), need)
}

/// What the answer's headers shall be.
const RESPONSE_HEADERS: [&str; 5] = ["rscc", "rscd", "rsce", "rscl", "rsct"];

fn snapshot<'a>(sas: &Sas<'a>) -> &'a str {
    if sas.get("sr") == "bs" { sas.get("snapshot") } else { "" }
}

/// The signed resource: the blob or its container, as `sr` says.
fn canonical(account: &Account, resource: &Resource<'_>, sas: &Sas<'_>) -> Result<String, Error> {
    let container = resource.container.unwrap_or_default();
    match (sas.get("sr"), resource.blob) {
        ("c", _) => Ok(format!("/blob/{}/{container}", account.name)),
        ("b" | "bs", Some(blob)) => Ok(format!("/blob/{}/{container}/{blob}", account.name)),
        ("b" | "bs", None) => {
            Err(Error::authentication_failed("Signature did not match. It is that of a blob."))
        }
        _ => Err(Error::authentication_failed("sr is missing or not supported.")),
    }
}

fn policy(
    world: &World,
    account: &Account,
    resource: &Resource<'_>,
    id: &str,
) -> Result<AccessPolicy, Error> {
    let contents = world.storage.contents.get(&account.name);
    let container = resource.container.and_then(|name| contents?.containers.get(name));
    let policies = container.into_iter().flat_map(|container| &container.policies);
    let found = policies.into_iter().find(|(name, _)| name == id);
    let policy = found.map(|(_, policy)| policy.clone());
    policy.ok_or_else(|| {
        Error::authentication_failed("Signed identifier did not match any stored access policy.")
    })
}

fn check_signature(keys: &[String], text: &str, sas: &Sas<'_>) -> Result<(), Error> {
    if keys.iter().any(|key| is_signed(key, text, sas.get("sig"))) {
        return Ok(());
    }
    let detail = format!("Signature did not match. String to sign used was {text}");
    Err(Error::authentication_failed(detail))
}

/// Whether now lies between the two; answers the second.
fn check_time(world: &World, start: &str, expiry: &str) -> Result<OffsetDateTime, Error> {
    let moment = |name: &str, text: &str| {
        parse_iso(text)
            .ok_or_else(|| Error::authentication_failed(format!("{name} is missing or no time: '{text}'")))
    };
    let expires = moment("Expiry", expiry)?;
    let starts = if start.is_empty() { None } else { Some(moment("Start", start)?) };
    let now = world.now();
    if now >= expires || starts.is_some_and(|starts| now < starts) {
        let start = starts.map(http_date).unwrap_or_default();
        let (expiry, now) = (http_date(expires), http_date(now));
        return Err(Error::authentication_failed(format!(
            "Signature not valid in the specified time frame: Start [{start}] - Expiry [{expiry}] - Current [{now}]"
        )));
    }
    Ok(expires)
}

fn check_protocol(resource: &Resource<'_>, sas: &Sas<'_>) -> Result<(), Error> {
    if sas.get("spr") == "https" && !resource.is_https {
        let message = "This request is not authorized to perform this operation using this protocol.";
        return Err(Error::new(403, "AuthorizationProtocolMismatch", message));
    }
    Ok(())
}

/// `sip`: one IPv4 address, or the first and the last of a range.
fn check_address(resource: &Resource<'_>, sas: &Sas<'_>) -> Result<(), Error> {
    let allowed = sas.get("sip");
    if allowed.is_empty() {
        return Ok(());
    }
    let (first, last) = allowed.split_once('-').unwrap_or((allowed, allowed));
    let bounds: Option<(Ipv4Addr, Ipv4Addr)> = first.trim().parse().ok().zip(last.trim().parse().ok());
    let (first, last) =
        bounds.ok_or_else(|| Error::authentication_failed(format!("sip is no address: '{allowed}'")))?;
    match resource.address {
        Some(IpAddr::V4(address)) if (first..=last).contains(&address) => Ok(()),
        other => {
            let address = other.map_or_else(|| "of the service".to_owned(), |address| address.to_string());
            let message = format!(
                "This request is not authorized to perform this operation using this source IP {address}."
            );
            Err(Error::new(403, "AuthorizationSourceIPMismatch", message))
        }
    }
}

/// A SAS of a container or a blob lists and works on blobs; it makes no container and reads no account.
fn check_scope(need: Need) -> Result<(), Error> {
    if need.on == On::Object || (need.on == On::Container && need.permissions == "l") {
        return Ok(());
    }
    let message = "This request is not authorized to perform this operation.";
    Err(Error::new(403, "AuthorizationFailure", message))
}

fn granted(permissions: &str, expires: OffsetDateTime, need: Need) -> Result<Granted, Error> {
    if need.permissions.contains(|letter| permissions.contains(letter)) {
        Ok(Granted { permissions: permissions.to_owned(), expires })
    } else {
        Err(Error::permission_mismatch())
    }
}
