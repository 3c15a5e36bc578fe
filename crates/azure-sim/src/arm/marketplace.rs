//! Marketplace images: which are known, their OS and the size of their OS disk.

use std::collections::BTreeMap;

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

/// The OS of a `galleryImageReference`.
pub(crate) fn os_of(reference: &Value) -> Result<OsType, ArmError> {
    let text = |name: &str| reference[name].as_str().unwrap_or_default();
    let (publisher, offer, sku) = (text("publisher"), text("offer"), text("sku"));
    let version = reference["version"].as_str().unwrap_or("latest");
    let well_formed = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let known = publisher.to_ascii_lowercase();
    let os = if WINDOWS_PUBLISHERS.contains(&known.as_str()) {
        // SQL Server has offers on Linux, such as `sql2019-ubuntu2004`.
        let linux = ["ubuntu", "rhel", "sles", "linux"];
        let offer = offer.to_ascii_lowercase();
        if linux.iter().any(|word| offer.contains(word)) { OsType::Linux } else { OsType::Windows }
    } else if LINUX_PUBLISHERS.contains(&known.as_str()) {
        OsType::Linux
    } else if known == BOTH {
        if holds_linux(offer) { OsType::Linux } else { OsType::Windows }
    } else {
        return Err(unknown(publisher, offer, sku, version));
    };
    if ![offer, sku, version].into_iter().all(well_formed) {
        return Err(unknown(publisher, offer, sku, version));
    }
    match OsType::read(text("osType")) {
        Some(declared) if declared != os => Err(ArmError::bad_request(format!(
            "The OS type '{}' of the gallery image reference does not match the image, which is {}.",
            declared.text(),
            os.text()
        ))),
        _ => Ok(os),
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
