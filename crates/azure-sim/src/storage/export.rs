//! Managed disks opened for reading: each as one page blob behind a SAS, on a host of its own.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use super::{
    Event, State,
    answer::Answer,
    blob::{Kind, Properties, Version},
    content::Content,
    copy,
    error::Error,
    page_blob, read,
    request::{Call, http_date},
};
use crate::{World, world};

/// The service version that the SAS of an export names.
const EXPORT_SAS_VERSION: &str = "2018-03-28";
/// The name of an export's only blob.
const EXPORT_BLOB: &str = "abcd";
/// Managed disks are whole MiB.
const MIB: u64 = 1 << 20;
/// A fixed-size VHD is the disk followed by this footer, in bytes.
const FOOTER: u64 = 512;
/// The cookie with which the footer begins (Microsoft, "Virtual Hard Disk Image Format Specification").
const COOKIE: &[u8; 8] = b"conectix";

/// A managed disk that is open for reading.
#[derive(Debug)]
pub(super) struct Export {
    /// The disk's resource id in lower case.
    pub disk: String,
    /// The export's only container.
    pub container: String,
    /// `si` of the SAS.
    pub policy: String,
    signature: Signature,
    pub expires: OffsetDateTime,
    pub version: Version,
}

/// `sig` of a SAS; never shown.
struct Signature(String);

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signature(…)")
    }
}

impl Export {
    /// Whether `path` (decoded container and blob) is the disk's.
    pub fn is_at(&self, container: &str, blob: &str) -> bool {
        self.container == container && blob == EXPORT_BLOB
    }

    /// Answers a request to the export's host: it can be read, and nothing else.
    pub fn answer(&self, call: &Call<'_>) -> Result<Answer, Error> {
        self.authorize(&call.query, call.now)?;
        let (container, blob) = call.key()?;
        if !self.is_at(&container, &blob) {
            return Err(Error::resource_not_found());
        }
        match (call.method, call.query("comp")) {
            (&Method::GET | &Method::HEAD, None) => read::content(&self.version, None, call),
            (&Method::GET, Some("pagelist")) => page_blob::get_page_ranges(&self.version, call),
            _ => Err(Error::permission_mismatch()),
        }
    }

    /// Whether this query is the SAS that was handed out, and still lives.
    pub fn authorize(&self, query: &BTreeMap<String, String>, now: OffsetDateTime) -> Result<(), Error> {
        let is = |name: &str, value: &str| query.get(name).is_some_and(|v| v == value);
        if !query.contains_key("sig") {
            return Err(Error::resource_not_found());
        }
        if !(is("si", &self.policy) && is("sig", &self.signature.0) && is("sr", "b")) {
            return Err(Error::authentication_failed("Signature did not match."));
        }
        if now >= self.expires {
            let (expiry, now) = (http_date(self.expires), http_date(now));
            return Err(Error::authentication_failed(format!(
                "Signature not valid in the specified time frame: Start [] - Expiry [{expiry}] - Current [{now}]"
            )));
        }
        Ok(())
    }
}

/// The bytes of a managed disk, as a fixed-size VHD; they follow from its id. A `length` with the footer in it stays as it is.
fn disk(disk_id: &str, length: u64) -> Content {
    let size = length - length % MIB;
    let disk_id = disk_id.to_ascii_lowercase();
    let mut content = Content::synthetic(size, &disk_id);
    content.append(footer(size, &disk_id));
    content
}

/// The footer of a fixed-size VHD of `size` bytes.
fn footer(size: u64, disk_id: &str) -> Bytes {
    let mut footer = [0_u8; FOOTER as usize];
    footer[..8].copy_from_slice(COOKIE);
    footer[8..12].copy_from_slice(&2_u32.to_be_bytes()); // features: the reserved bit
    footer[12..16].copy_from_slice(&0x1_0000_u32.to_be_bytes()); // format 1.0
    footer[16..24].copy_from_slice(&u64::MAX.to_be_bytes()); // no dynamic header
    footer[28..32].copy_from_slice(b"wa\0\0"); // written by Azure
    footer[36..40].copy_from_slice(b"Wi2k");
    footer[40..48].copy_from_slice(&size.to_be_bytes());
    footer[48..56].copy_from_slice(&size.to_be_bytes());
    footer[60..64].copy_from_slice(&2_u32.to_be_bytes()); // a fixed disk
    footer[68..84].copy_from_slice(&Sha256::digest(disk_id)[..16]);
    let sum = footer.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    footer[64..68].copy_from_slice(&(!sum).to_be_bytes());
    Bytes::copy_from_slice(&footer)
}

/// Whether the content ends with the footer of a fixed-size VHD of its size.
pub(super) fn is_fixed_vhd(content: &Content) -> bool {
    let length = content.length();
    length > FOOTER && length % MIB == FOOTER && {
        let footer = content.read(length - FOOTER, length);
        footer.starts_with(COOKIE) && footer[48..56] == (length - FOOTER).to_be_bytes()
    }
}

/// The identity ([`super::BlobSummary::content`]) of an export of this disk and of every copy made from it.
pub fn disk_content(disk_id: &str, length: u64) -> String {
    disk(disk_id, length).identity()
}

/// Opens a managed disk of `length` bytes for reading until `expires`; answers the URL with its SAS. The export is a
/// fixed-size VHD: 512 bytes longer than the disk (unless `length` has them already). If it is open, its SAS now lives
/// until `expires`.
pub fn open_export(world: &mut World, disk_id: &str, length: u64, expires: OffsetDateTime) -> String {
    let disk_id = disk_id.to_ascii_lowercase();
    let open = world.storage.exports.iter_mut().find(|(_, export)| export.disk == disk_id);
    let name = if let Some((name, export)) = open {
        export.expires = expires;
        name.clone()
    } else {
        let name = format!("md-{}", &world.new_guid().simple().to_string()[..12]);
        let secret = Sha256::new().chain_update(world.new_guid()).chain_update(world.new_guid());
        let now = world.now();
        let export = Export {
            container: world.new_guid().simple().to_string()[..12].to_owned(),
            policy: world.new_guid().to_string(),
            signature: Signature(BASE64.encode(secret.finalize())),
            expires,
            version: Version {
                kind: Kind::Page(0),
                content: disk(&disk_id, length),
                properties: Properties::default(),
                metadata: BTreeMap::new(),
                tags: BTreeMap::new(),
                created: now,
                last_modified: now,
                etag: world.storage.new_etag(now),
                copy: None,
            },
            disk: disk_id,
        };
        world.storage.exports.insert(name.clone(), export);
        name
    };
    let url = sas_url(world, &name);
    let left = (expires - world.now()).max(time::Duration::ZERO).unsigned_abs();
    world.schedule(left, world::Event::Storage(Event::ExportExpires(name)));
    url
}

fn sas_url(world: &World, name: &str) -> String {
    let export = &world.storage.exports[name];
    let signature = utf8_percent_encode(&export.signature.0, NON_ALPHANUMERIC);
    format!(
        "{}/{}/{EXPORT_BLOB}?sv={EXPORT_SAS_VERSION}&sr=b&si={}&sig={signature}",
        world.endpoints.disk_export(name),
        export.container,
        export.policy,
    )
}

/// Takes back the SAS of a managed disk; copies that still read from it fail.
pub fn close_export(world: &mut World, disk_id: &str) {
    let exports = world.storage.exports.iter();
    let closed = exports.filter(|(_, export)| export.disk.eq_ignore_ascii_case(disk_id));
    let names: Vec<String> = closed.map(|(name, _)| name.clone()).collect();
    for name in names {
        world.storage.exports.remove(&name);
        copy::source_is_gone(world, &name, copy::SOURCE_NOT_FOUND);
    }
}

/// The SAS of an export ran out, unless it was made longer since.
pub(super) fn expire(world: &mut World, name: &str) {
    if world.storage.exports.get(name).is_some_and(|export| export.expires <= world.now()) {
        copy::source_is_gone(world, name, copy::SOURCE_FORBIDDEN);
    }
}

impl State {
    /// Managed disks (resource ids in lower case) that are open for reading, with the end of their SAS.
    pub fn open_exports(&self) -> BTreeMap<String, OffsetDateTime> {
        let open = self.exports.values();
        open.map(|export| (export.disk.clone(), export.expires)).collect()
    }
}
