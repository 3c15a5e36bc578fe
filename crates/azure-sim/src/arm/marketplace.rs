//! Marketplace images: which are known, in which versions, their OS and the size of their OS disk.

use std::{cmp::Reverse, collections::BTreeMap};

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
    labs, listing,
};
use crate::World;

/// The OS of a VM or an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum OsType {
    /// Windows.
    Windows,
    /// Linux.
    Linux,
}

impl OsType {
    /// As Azure writes it.
    pub fn text(self) -> &'static str {
        match self {
            Self::Windows => "Windows",
            Self::Linux => "Linux",
        }
    }

    /// Reads Azure's word, ignoring case.
    pub fn read(text: &str) -> Option<Self> {
        [Self::Windows, Self::Linux].into_iter().find(|os| os.text().eq_ignore_ascii_case(text))
    }

    /// The size of a marketplace image's OS disk: 127 GiB for Windows, 30 GiB for most Linux distributions (Microsoft,
    /// "Introduction to Azure managed disks": OS disk), without the VHD footer.
    pub fn marketplace_disk(self) -> u64 {
        match self {
            Self::Windows => 127 << 30,
            Self::Linux => 30 << 30,
        }
    }
}

const WINDOWS_PUBLISHERS: [&str; 6] = [
    "microsoftwindowsserver",
    "microsoftwindowsdesktop",
    "microsoftvisualstudio",
    "microsoftsqlserver",
    "microsoftsharepoint",
    "microsoftdynamicsax",
];
const LINUX_PUBLISHERS: [&str; 10] = [
    "canonical",
    "redhat",
    "suse",
    "debian",
    "credativ",
    "oracle",
    "almalinux",
    "openlogic",
    "resf",
    "kinvolk",
];
/// The data science images: Windows and Ubuntu.
const BOTH: &str = "microsoft-dsvm";

/// What a lab offers by name: some of the Marketplace's images, each with publisher, offer and SKU.
const GALLERY: [(&str, &str, &str, &str, OsType); 5] = [
    (
        "Windows Server 2016 Datacenter",
        "MicrosoftWindowsServer",
        "WindowsServer",
        "2016-Datacenter",
        OsType::Windows,
    ),
    (
        "Windows Server 2019 Datacenter",
        "MicrosoftWindowsServer",
        "WindowsServer",
        "2019-Datacenter",
        OsType::Windows,
    ),
    (
        "Windows Server 2022 Datacenter",
        "MicrosoftWindowsServer",
        "WindowsServer",
        "2022-Datacenter",
        OsType::Windows,
    ),
    ("Ubuntu Server 20.04 LTS", "Canonical", "0001-com-ubuntu-server-focal", "20_04-lts", OsType::Linux),
    ("Ubuntu Server 22.04 LTS", "Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts", OsType::Linux),
];
/// When the gallery's images were published; nothing depends on it.
const PUBLISHED: &str = "2026-01-01T00:00:00.0000000+00:00";

/// `{lab}/galleryimages`: what people choose from (Microsoft.DevTestLab 2018-09-15, "Gallery Images - List").
pub(crate) fn gallery(world: &World, call: &Call, lab_key: &str) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let lab = labs::get(world, lab_key, call)?;
    let images: BTreeMap<String, Value> = GALLERY
        .iter()
        .map(|(name, publisher, offer, sku, os)| {
            let image = json!({
                "id": format!("{}/galleryimages/{}", lab.key(), name.to_lowercase()),
                "name": name,
                "type": "Microsoft.DevTestLab/labs/galleryImages",
                "properties": {
                    "author": publisher,
                    "createdDate": PUBLISHED,
                    "description": name,
                    "imageReference": {
                        "offer": offer,
                        "publisher": publisher,
                        "sku": sku,
                        "osType": os.text(),
                        "version": "latest",
                    },
                    "enabled": true,
                    "isPlanAuthorized": true,
                },
            });
            (name.to_lowercase(), image)
        })
        .collect();
    listing::page(world, call, |token| listing::after(&images, token), |image: &Value| image.clone())
}

/// The versions of an image of which nothing else was said, oldest first. As texts they would stand the other way round.
const USUAL_VERSIONS: [&str; 2] = ["20348.887.250910", "20348.1006.251014"];

/// The versions of images that were published or withdrawn, by `publisher:offer:sku` in lower case.
#[derive(Debug, Default)]
pub(crate) struct Marketplace {
    versions: BTreeMap<String, Vec<String>>,
}

impl Marketplace {
    /// From now on the image has these versions; without any, its SKU is unknown.
    pub(crate) fn set(&mut self, publisher: &str, offer: &str, sku: &str, versions: Vec<String>) {
        self.versions.insert(key(publisher, offer, sku), versions);
    }

    /// An image's versions, newest first; `None` if there is no such image.
    fn versions(&self, publisher: &str, offer: &str, sku: &str) -> Option<Vec<String>> {
        if ![publisher, offer, sku].into_iter().all(well_formed) {
            return None;
        }
        let usual = || {
            os_of_offer(publisher, offer)?;
            Some(USUAL_VERSIONS.map(str::to_owned).to_vec())
        };
        let mut versions = self.versions.get(&key(publisher, offer, sku)).cloned().or_else(usual)?;
        versions.sort_by_cached_key(|version| Reverse(numbers(version)));
        (!versions.is_empty()).then_some(versions)
    }
}

fn key(publisher: &str, offer: &str, sku: &str) -> String {
    format!("{publisher}:{offer}:{sku}").to_lowercase()
}

/// `1.10` is newer than `1.9`: "Major.Minor.Patch".
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

/// `{subscription}/providers/Microsoft.Compute/locations/{location}/publishers/{publisher}/artifacttypes/vmimage/offers/
/// {offer}/skus/{sku}/versions`: a bare list (Microsoft.Compute, "Virtual Machine Images - List"). `$orderby` takes `name`
/// and `name desc`.
pub(crate) fn versions(world: &World, call: &Call) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let [_, subscription, _, _, _, location, _, publisher, _, _, _, offer, _, sku, _] =
        call.segments.as_slice()
    else {
        return Err(ArmError::not_found(&call.path()));
    };
    let known = world.arm.marketplace.versions(publisher, offer, sku);
    let mut versions =
        known.ok_or_else(|| ArmError::new(404, "NotFound", "Artifact: VMImage was not found."))?;
    match call.query.get("$orderby").map(|order| order.to_lowercase()).as_deref() {
        Some("name desc") => {}
        None | Some("name" | "name asc") => versions.reverse(),
        Some(other) => {
            return Err(ArmError::bad_request(format!("The $orderby '{other}' is not supported.")));
        }
    }
    if let Some(top) = call.query.get("$top") {
        let top =
            top.parse().map_err(|_| ArmError::bad_request(format!("The $top '{top}' is no number.")))?;
        versions.truncate(top);
    }
    let view = |version: String| {
        json!({
            "location": location,
            "name": version,
            "id": format!(
                "/Subscriptions/{subscription}/Providers/Microsoft.Compute/Locations/{location}/Publishers/{publisher}/ArtifactTypes/VMImage/Offers/{offer}/Skus/{sku}/Versions/{version}"
            ),
        })
    };
    Ok(Answer::json(200, versions.into_iter().map(view).collect()))
}

/// An image of the Marketplace that a VM is made from.
pub(crate) struct Platform {
    /// Its OS.
    pub(crate) os: OsType,
    /// The compute VM's `storageProfile.imageReference`: as asked for, with the `exactVersion` that was taken.
    pub(crate) reference: Value,
}

/// What a `galleryImageReference` means now.
pub(crate) fn find(world: &World, reference: &Value) -> Result<Platform, ArmError> {
    let text = |name: &str| reference[name].as_str().unwrap_or_default();
    let (publisher, offer, sku) = (text("publisher"), text("offer"), text("sku"));
    let version = reference["version"].as_str().unwrap_or("latest");
    let unknown = || unknown(publisher, offer, sku, version);
    let versions = world.arm.marketplace.versions(publisher, offer, sku).ok_or_else(unknown)?;
    let wanted = |known: &&String| version.eq_ignore_ascii_case("latest") || *known == version;
    let exact = versions.iter().find(wanted).ok_or_else(unknown)?;
    let os = os_of_offer(publisher, offer).or_else(|| OsType::read(text("osType"))).ok_or_else(unknown)?;
    match OsType::read(text("osType")) {
        Some(declared) if declared != os => Err(ArmError::bad_request(format!(
            "The OS type '{}' of the gallery image reference does not match the image, which is {}.",
            declared.text(),
            os.text()
        ))),
        _ => Ok(Platform {
            os,
            reference: json!({
                "publisher": publisher,
                "offer": offer,
                "sku": sku,
                "version": version,
                "exactVersion": exact,
            }),
        }),
    }
}

fn well_formed(part: &str) -> bool {
    !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// The OS of the images of a publisher that is known.
fn os_of_offer(publisher: &str, offer: &str) -> Option<OsType> {
    let known = publisher.to_ascii_lowercase();
    if WINDOWS_PUBLISHERS.contains(&known.as_str()) {
        // SQL Server has offers on Linux, such as `sql2019-ubuntu2004`.
        let linux = ["ubuntu", "rhel", "sles", "linux"];
        let offer = offer.to_ascii_lowercase();
        Some(if linux.iter().any(|word| offer.contains(word)) { OsType::Linux } else { OsType::Windows })
    } else if LINUX_PUBLISHERS.contains(&known.as_str()) {
        Some(OsType::Linux)
    } else if known == BOTH {
        Some(if holds_linux(offer) { OsType::Linux } else { OsType::Windows })
    } else {
        None
    }
}

fn holds_linux(offer: &str) -> bool {
    let offer = offer.to_ascii_lowercase();
    offer.contains("ubuntu") || offer.contains("linux")
}

fn unknown(publisher: &str, offer: &str, sku: &str, version: &str) -> ArmError {
    ArmError::new(
        404,
        "PlatformImageNotFound",
        format!(
            "The platform image '{publisher}:{offer}:{sku}:{version}' is not available. Verify that all fields in the storage profile are correct."
        ),
    )
}
