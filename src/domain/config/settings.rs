//! `factory.json`: what the PowerShell sample took as script parameters.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    ConfigurationFiles, SETTINGS_FILE, duration,
    fields::Fields,
    file,
    json::{Parsed, parse},
    problem::Problems,
};
use crate::domain::lab::{check_lab_name, check_resource_group, check_subscription};

const HOUR: Duration = Duration::from_secs(3600);
/// A shorter deadline would end steps before Azure can have done anything.
const SHORTEST_DEADLINE: Duration = Duration::from_secs(60);
/// A longer one would outlive the disk's SAS, and nobody waits for an image that long.
const LONGEST_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);
/// The security updates of a month stand in an image at most a month later.
const USUAL_AGE: Duration = Duration::from_secs(30 * 24 * 3600);
/// An image that is older than this before it stands everywhere would be made without end.
const LEAST_AGE: Duration = Duration::from_secs(24 * 3600);
/// Ten years: as good as never.
const GREATEST_AGE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// A lab with more images of one path would be a mistake.
const MOST_IMAGES_TO_KEEP: u32 = 100;
/// A salt stands in tags and in people's reports; this is enough for a date and a reason.
const LONGEST_SALT: usize = 64;

/// The factory's settings. Every one may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(title = "factory.json of the image factory")]
pub struct FactorySettings {
    /// Where editors find this schema; the factory does not look at it.
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// The lab in which images are made. What is not given here comes from the function app's settings.
    #[serde(skip_serializing_if = "FactoryLab::is_empty")]
    pub factory_lab: FactoryLab,
    /// The size of factory VMs whose definition leaves it open.
    pub vm_size: String,
    /// The name of the administrator of factory VMs whose definition leaves it open.
    pub user_name: String,
    /// How many images of one path stay in every lab; older ones retire.
    #[schemars(range(min = 1, max = 100))]
    pub images_to_keep: u32,
    /// How much smaller one run may make a lab: the share of its images that may retire without a successor, from 0 to 1.
    /// A run that would retire more retires nothing there, and says so.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub most_retired_share: f64,
    /// How long each step may take in all.
    pub deadlines: Deadlines,
    /// The artifact source in the factory lab that has windows-sysprep and linux-deprovision.
    pub artifact_source: String,
    /// Another text than before has every image built anew: it is a part of what each is made from, and changes nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub salt: Option<String>,
    /// An image of which nothing changed is made anew once it is this old, since artifacts install what is current: 30 days
    /// ("P30D"), from 1 day to 10 years.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub rebuild_after: Duration,
}

/// The lab in which images are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FactoryLab {
    /// The id of its subscription, a GUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// Its resource group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_group: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lab_name: Option<String>,
}

impl FactoryLab {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How long each step may take in all, its waiting included: ISO 8601 ("PT4H") or hours:minutes:seconds ("04:00:00").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Deadlines {
    /// From the deployment of a VM until it is generalised: 4 hours.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub create_vm: Duration,
    /// Copying a VM's disk to a VHD: 6 hours.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub capture_image: Duration,
    /// Copying a VHD to a lab, and making the custom image there: 6 hours.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub copy_image: Duration,
    /// Deleting a factory VM: 1 hour.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub delete_vm: Duration,
    /// Deleting a lab's old images of one path: 1 hour.
    #[serde(with = "duration")]
    #[schemars(with = "String")]
    pub retire_images: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            create_vm: 4 * HOUR,
            capture_image: 6 * HOUR,
            copy_image: 6 * HOUR,
            delete_vm: HOUR,
            retire_images: HOUR,
        }
    }
}

impl Default for FactorySettings {
    fn default() -> Self {
        Self {
            schema: None,
            factory_lab: FactoryLab::default(),
            vm_size: "Standard_D2s_v3".to_owned(),
            user_name: "factoryadmin".to_owned(),
            images_to_keep: 2,
            most_retired_share: 0.5,
            deadlines: Deadlines::default(),
            artifact_source: "public repo".to_owned(),
            salt: None,
            rebuild_after: USUAL_AGE,
        }
    }
}

/// Reads factory.json, or takes the defaults where there is none; `None` if it has an error.
pub(super) fn read(files: &ConfigurationFiles, problems: &mut Problems) -> Option<FactorySettings> {
    let Some((file, content)) = file(files, SETTINGS_FILE) else {
        return Some(FactorySettings::default());
    };
    let Parsed { value, duplicates } = parse(file, content, problems)?;
    let mut own = Problems::default();
    for place in duplicates {
        own.error(file, &place, "this key is there twice; remove one of the two");
    }
    let settings = read_settings(file, &value, &mut own);
    let settings = settings.filter(|_| !own.has_errors());
    problems.extend(own);
    settings
}

fn read_settings(file: &str, value: &Value, problems: &mut Problems) -> Option<FactorySettings> {
    const KEYS: [&str; 10] = [
        "$schema",
        "factoryLab",
        "vmSize",
        "userName",
        "imagesToKeep",
        "mostRetiredShare",
        "deadlines",
        "artifactSource",
        "salt",
        "rebuildAfter",
    ];
    let fields = Fields::of(file, "$", value, &KEYS, problems)?;
    let mut settings = FactorySettings::default();
    if let Some(lab) = fields.get("factoryLab") {
        settings.factory_lab = read_factory_lab(file, &fields.path("factoryLab"), lab, problems);
    }
    let mut text = |name: &str, into: &mut String, check: fn(&str) -> Result<(), &'static str>| {
        if let Ok(Some(text)) = fields.text(name, check, problems) {
            *into = text.to_owned();
        }
    };
    text("vmSize", &mut settings.vm_size, check_vm_size);
    text("userName", &mut settings.user_name, check_user_name);
    text("artifactSource", &mut settings.artifact_source, check_artifact_source);
    if let Ok(Some(salt)) = fields.text("salt", check_salt, problems) {
        settings.salt = Some(salt.to_owned());
    }
    if let Ok(Some(text)) = fields.text("rebuildAfter", check_age, problems) {
        settings.rebuild_after = duration::parse(text).unwrap_or(settings.rebuild_after);
    }
    if let Some(number) = fields.get("imagesToKeep") {
        let number_given = number.as_u64().and_then(|number| u32::try_from(number).ok());
        match number_given.filter(|number| (1..=MOST_IMAGES_TO_KEEP).contains(number)) {
            Some(number) => settings.images_to_keep = number,
            None => {
                let message = format!(
                    "{number} images cannot be kept: it must be a number from 1 to {MOST_IMAGES_TO_KEEP}"
                );
                problems.error(file, &fields.path("imagesToKeep"), message);
            }
        }
    }
    if let Some(share) = fields.get("mostRetiredShare") {
        match share.as_f64().filter(|share| (0.0..=1.0).contains(share)) {
            Some(share) => settings.most_retired_share = share,
            None => {
                let message = format!("{share} is no share: it must be a number from 0 to 1, such as 0.5");
                problems.error(file, &fields.path("mostRetiredShare"), message);
            }
        }
    }
    if let Some(deadlines) = fields.get("deadlines") {
        read_deadlines(file, &fields.path("deadlines"), deadlines, &mut settings.deadlines, problems);
    }
    Some(settings)
}

fn read_factory_lab(file: &str, path: &str, value: &Value, problems: &mut Problems) -> FactoryLab {
    let Some(fields) =
        Fields::of(file, path, value, &["subscriptionId", "resourceGroup", "labName"], problems)
    else {
        return FactoryLab::default();
    };
    let owned = |text: Result<Option<&str>, ()>| text.ok().flatten().map(str::to_owned);
    FactoryLab {
        subscription_id: owned(fields.text("subscriptionId", check_subscription, problems)),
        resource_group: owned(fields.text("resourceGroup", check_resource_group, problems)),
        lab_name: owned(fields.text("labName", check_lab_name, problems)),
    }
}

fn read_deadlines(file: &str, path: &str, value: &Value, deadlines: &mut Deadlines, problems: &mut Problems) {
    const KEYS: [&str; 5] = ["createVm", "captureImage", "copyImage", "deleteVm", "retireImages"];
    let Some(fields) = Fields::of(file, path, value, &KEYS, problems) else {
        return;
    };
    let places = [
        &mut deadlines.create_vm,
        &mut deadlines.capture_image,
        &mut deadlines.copy_image,
        &mut deadlines.delete_vm,
        &mut deadlines.retire_images,
    ];
    for (name, place) in KEYS.into_iter().zip(places) {
        if let Ok(Some(text)) = fields.text(name, check_deadline, problems) {
            *place = duration::parse(text).unwrap_or(*place);
        }
    }
}

fn check_deadline(text: &str) -> Result<(), String> {
    match duration::parse(text) {
        None => Err(format!("'{text}' is no duration: write it as \"PT4H\" or \"04:00:00\"")),
        Some(deadline) if !(SHORTEST_DEADLINE..=LONGEST_DEADLINE).contains(&deadline) => {
            Err(format!("'{text}' is out of range: a deadline is from 1 minute to 7 days"))
        }
        Some(_) => Ok(()),
    }
}

fn check_age(text: &str) -> Result<(), String> {
    match duration::parse(text) {
        None => Err(format!("'{text}' is no duration: write days as \"P30D\"")),
        Some(age) if !(LEAST_AGE..=GREATEST_AGE).contains(&age) => Err(format!(
            "'{text}' is out of range: an image is made anew after 1 day (\"P1D\") to 10 years (\"P3650D\")"
        )),
        Some(_) => Ok(()),
    }
}

fn check_vm_size(text: &str) -> Result<(), &'static str> {
    let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits {
        Ok(())
    } else {
        Err("this is no size of a VM: write it as Azure does, such as \"Standard_D2s_v3\"")
    }
}

/// "1-20 characters" for Windows; names that Azure disallows are its own to refuse.
fn check_user_name(text: &str) -> Result<(), &'static str> {
    let fits = (1..=20).contains(&text.chars().count())
        && !text.ends_with('.')
        && !text.chars().any(|c| c.is_control() || r#"\/"[]:|<>+=;,?*@&"#.contains(c));
    if fits { Ok(()) } else { Err("this is no name of a Windows user: it has 1 to 20 letters and digits") }
}

fn check_artifact_source(text: &str) -> Result<(), &'static str> {
    let fits = !text.trim().is_empty() && !text.contains('/') && !text.chars().any(char::is_control);
    if fits { Ok(()) } else { Err("this is no name of an artifact source: the lab's own is \"public repo\"") }
}

/// Tags lose the white space around them.
fn check_salt(text: &str) -> Result<(), &'static str> {
    let fits = (1..=LONGEST_SALT).contains(&text.chars().count())
        && text.trim() == text
        && !text.chars().any(char::is_control);
    if fits {
        Ok(())
    } else {
        Err(
            "this is no salt: it has 1 to 64 characters and no white space around them, such as \"2026-11-22\"",
        )
    }
}
