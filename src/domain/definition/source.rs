//! What a lab VM is made from, and so which operating system it has.

use arm_template::Evaluator;
use serde_json::{Map, Value};

use super::{OsType, get};
use crate::domain::config::Problems;

/// What a lab VM is made from.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSource {
    /// An image of the Azure Marketplace.
    Gallery {
        /// E.g. `MicrosoftWindowsServer`.
        publisher: String,
        /// E.g. `WindowsServer`.
        offer: String,
        /// E.g. `2022-datacenter-g2`.
        sku: String,
        /// E.g. `latest`.
        version: String,
        /// Its operating system.
        os_type: OsType,
    },
    /// A custom image of the factory lab: its id, as the template writes it (often an expression).
    CustomImage(Value),
    /// An image of a Compute Gallery attached to the factory lab: its id, as the template writes it.
    SharedImage(Value),
}

/// How to learn a definition's operating system.
#[derive(Clone, Debug, PartialEq)]
pub enum OsSource {
    /// The template says it.
    Known(OsType),
    /// Ask for the custom image of this id (an expression: see [`Definition::resolve`](super::Definition::resolve)):
    /// `properties.vhd.osType`, or the OS info of its VM.
    CustomImage(Value),
    /// Ask for the shared image of this id: `properties.osType`.
    SharedImage(Value),
}

/// The version that stands for the newest one, in any case.
pub const LATEST: &str = "latest";

pub(super) const GALLERY: &str = "galleryImageReference";
const CUSTOM: &str = "customImageId";
const SHARED: &str = "sharedImageId";

/// Reads the image source of a lab VM's properties.
pub(super) fn read(
    evaluator: &Evaluator,
    properties: &Map<String, Value>,
    path: &str,
    file: &str,
    problems: &mut Problems,
) -> Option<(ImageSource, OsSource)> {
    let mut found =
        [GALLERY, CUSTOM, SHARED].into_iter().filter_map(|name| Some((name, get(properties, name)?)));
    let (Some((name, (key, value))), more) = (found.next(), found.next()) else {
        let message = format!("the VM is made from nothing: add '{GALLERY}', '{CUSTOM}' or '{SHARED}'");
        problems.error(file, path, message);
        return None;
    };
    if let Some((other, _)) = more {
        problems.error(
            file,
            path,
            format!("the VM is made from both '{name}' and '{other}': remove one of them"),
        );
        return None;
    }
    let path = format!("{path}.{key}");
    if name == GALLERY {
        let value = evaluator.value(value).ok()?;
        return gallery(&value, &path, file, problems);
    }
    if !value.is_string() {
        problems.error(file, &path, format!("'{name}' must be the id of an image"));
        return None;
    }
    Some(match name {
        CUSTOM => (ImageSource::CustomImage(value.clone()), OsSource::CustomImage(value.clone())),
        _ => (ImageSource::SharedImage(value.clone()), OsSource::SharedImage(value.clone())),
    })
}

fn gallery(
    value: &Value,
    path: &str,
    file: &str,
    problems: &mut Problems,
) -> Option<(ImageSource, OsSource)> {
    let Some(entries) = value.as_object() else {
        problems.error(
            file,
            path,
            format!("'{GALLERY}' must be an object with publisher, offer, sku, osType and version"),
        );
        return None;
    };
    let mut text = |name: &str| {
        let text = get(entries, name).and_then(|(_, value)| value.as_str()).filter(|text| !text.is_empty());
        if text.is_none() {
            problems.error(file, path, format!("'{name}' is missing here: add it"));
        }
        text.map(str::to_owned)
    };
    let (publisher, offer, sku, os) = (text("publisher"), text("offer"), text("sku"), text("osType"));
    let version = get(entries, "version").and_then(|(_, value)| value.as_str()).unwrap_or(LATEST).to_owned();
    let os = os?;
    let Some(os_type) = OsType::from_azure(&os) else {
        problems.error(
            file,
            &format!("{path}.osType"),
            format!("'{os}' is no osType: it is Windows or Linux"),
        );
        return None;
    };
    let source = ImageSource::Gallery { publisher: publisher?, offer: offer?, sku: sku?, version, os_type };
    Some((source, OsSource::Known(os_type)))
}
