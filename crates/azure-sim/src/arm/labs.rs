//! Labs.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac};
use http::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use time::OffsetDateTime;

use super::{
    LabMachine,
    artifacts::ArtifactSource,
    call::{Answer, Call},
    custom_images::CustomImage,
    error::ArmError,
    formulas::Formula,
    listing,
    policies::Policy,
    shared_galleries::SharedGallery,
    tags::{self, Tags},
    virtual_machines,
};
use crate::{World, storage};

/// How long an upload URI lives.
const UPLOAD_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The container of uploaded VHDs.
const UPLOADS: &str = "uploads";
/// "Custom image, formula: 1-80 characters" (Microsoft, "Naming rules and restrictions for Azure resources").
const LONGEST_NAME: usize = 80;

/// A lab with everything in it. Children are kept by name in lower case.
#[derive(Debug)]
pub struct Lab {
    /// The subscription's id, lower case.
    pub subscription: String,
    /// The resource group's name.
    pub group: String,
    /// The lab's name.
    pub name: String,
    /// The region.
    pub location: String,
    pub(crate) tags: Tags,
    /// The id of its storage account.
    pub storage_account_id: String,
    pub(crate) vault_id: String,
    pub(crate) created: OffsetDateTime,
    pub(crate) unique: uuid::Uuid,
    pub(crate) machines: BTreeMap<String, LabMachine>,
    pub(crate) images: BTreeMap<String, CustomImage>,
    pub(crate) formulas: BTreeMap<String, Formula>,
    pub(crate) policies: BTreeMap<String, Policy>,
    pub(crate) artifact_sources: BTreeMap<String, ArtifactSource>,
    pub(crate) shared_galleries: BTreeMap<String, SharedGallery>,
    /// `{kind}/{name}` of everything else.
    pub(crate) children: BTreeMap<String, Value>,
}

/// The id of a lab in lower case, which is also how DevTest Labs writes it.
pub(crate) fn key(subscription: &str, group: &str, lab: &str) -> String {
    format!("/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.devtestlab/labs/{lab}")
        .to_lowercase()
}

/// # Errors
/// 404 if the lab is gone.
pub(crate) fn get<'a>(world: &'a World, key: &str, call: &Call) -> Result<&'a Lab, ArmError> {
    world.arm.labs.get(key).ok_or_else(|| ArmError::not_found(&call.path()))
}

/// # Errors
/// 404 if the lab is gone.
pub(crate) fn get_mut<'a>(world: &'a mut World, key: &str, call: &Call) -> Result<&'a mut Lab, ArmError> {
    world.arm.labs.get_mut(key).ok_or_else(|| ArmError::not_found(&call.path()))
}

/// Custom images' and formulas' names: 1 to 80 of letters, digits and `_-()`.
pub(crate) fn check_name(name: &str, what: &str) -> Result<(), ArmError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '(' | ')');
    if name.is_empty() || name.chars().count() > LONGEST_NAME || !name.chars().all(allowed) {
        return Err(ArmError::bad_request(format!(
            "The name '{name}' of the {what} is invalid: it must have 1 to {LONGEST_NAME} letters, digits, hyphens, underscores or parentheses."
        )));
    }
    Ok(())
}

impl Lab {
    /// The lab's id in lower case.
    pub fn key(&self) -> String {
        key(&self.subscription, &self.group, &self.name)
    }

    /// The lab's storage account.
    pub fn storage_account(&self) -> &str {
        self.storage_account_id.rsplit('/').next().unwrap_or_default()
    }

    fn view(&self) -> Value {
        let account = self.storage_account_id.to_lowercase();
        let mut body = json!({
            "properties": {
                "labStorageType": "Premium",
                "defaultStorageAccount": account,
                "defaultPremiumStorageAccount": account,
                "artifactsStorageAccount": account,
                "premiumDataDiskStorageAccount": account,
                "vaultName": self.vault_id.to_lowercase(),
                "mandatoryArtifactsResourceIdsLinux": [],
                "mandatoryArtifactsResourceIdsWindows": [],
                "createdDate": super::stamp(self.created),
                "premiumDataDisks": "Disabled",
                "environmentPermission": "Reader",
                "announcement": {"title": "", "markdown": "", "enabled": "Disabled", "expired": false},
                "support": {"enabled": "Disabled", "markdown": ""},
                "provisioningState": "Succeeded",
                "uniqueIdentifier": self.unique,
            },
            "id": self.key(),
            "name": self.name,
            "type": "Microsoft.DevTestLab/labs",
            "location": self.location,
        });
        if !self.tags.is_empty() {
            body["tags"] = json!(self.tags);
        }
        body
    }
}

/// Labs of a subscription, or of a group.
pub(crate) fn list(world: &World, call: &Call, group: Option<&str>) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let prefix = match group {
        Some(group) => format!("/subscriptions/{}/resourcegroups/{group}/", call.subscription()),
        None => format!("/subscriptions/{}/", call.subscription()),
    };
    listing::page(
        world,
        call,
        |token| {
            let token = token.map(str::to_owned);
            let start = token.clone().unwrap_or_else(|| prefix.clone());
            let prefix = prefix.clone();
            world
                .arm
                .labs
                .range(start..)
                .take_while(move |(key, _)| key.starts_with(&prefix))
                .filter(move |(key, _)| token.as_ref() != Some(key))
        },
        Lab::view,
    )
}

/// GET and PATCH of a lab. Labs are made and deleted by seeding.
pub(crate) fn route(world: &mut World, call: &Call, lab_key: &str) -> Result<Answer, ArmError> {
    let lab = get_mut(world, lab_key, call)?;
    match call.method {
        Method::GET => Ok(Answer::json(200, lab.view())),
        Method::PATCH => {
            if let Some(new) = tags::read(&call.json()?)? {
                lab.tags = new;
            }
            Ok(Answer::json(200, lab.view()))
        }
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

/// The POST actions of a lab.
pub(crate) fn action(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    action: &str,
) -> Result<Answer, ArmError> {
    if call.method != Method::POST {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    match action {
        "listvhds" => list_vhds(world, call, lab_key),
        "generateuploaduri" => upload_uri(world, call, lab_key),
        "createenvironment" => virtual_machines::create_environment(world, call, lab_key),
        _ => virtual_machines::claim_any(world, call, lab_key),
    }
}

fn list_vhds(world: &World, call: &Call, lab_key: &str) -> Result<Answer, ArmError> {
    let lab = get(world, lab_key, call)?;
    let folder = format!("{}/{UPLOADS}/", world.endpoints.blob(lab.storage_account()));
    let value: Vec<Value> = storage::blobs(world, lab.storage_account())
        .into_iter()
        .filter(|blob| blob.url.starts_with(&folder) && blob.url.to_lowercase().ends_with(".vhd"))
        .map(|blob| json!({"id": blob.url}))
        .collect();
    Ok(Answer::json(200, json!({"value": value})))
}

/// A service SAS of version 2023-11-03 for one blob (Microsoft, "Create a service SAS").
fn upload_uri(world: &World, call: &Call, lab_key: &str) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let lab = get(world, lab_key, call)?;
    let blob = body["blobName"]
        .as_str()
        .filter(|name| !name.is_empty() && !name.contains(['?', '#']))
        .ok_or_else(|| ArmError::bad_request("'blobName' is required."))?;
    let account = lab.storage_account();
    let key = world
        .storage
        .accounts
        .get(account)
        .and_then(|account| STANDARD.decode(&account.keys[0]).ok())
        .ok_or_else(|| ArmError::not_found(&lab.storage_account_id))?;
    let expires = world.now() + UPLOAD_LIFETIME;
    let expires = expires
        .replace_nanosecond(0)
        .unwrap_or(expires)
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default();
    let (permissions, version) = ("rcw", "2023-11-03");
    let to_sign = format!(
        "{permissions}\n\n{expires}\n/blob/{account}/{UPLOADS}/{blob}\n\n\n\n{version}\nb\n\n\n\n\n\n\n"
    );
    // HMAC takes keys of any length: this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key) else {
        return Err(ArmError::bad_request("The storage key is invalid."));
    };
    mac.update(to_sign.as_bytes());
    let signature = STANDARD.encode(mac.finalize().into_bytes());
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("sv", version)
        .append_pair("sr", "b")
        .append_pair("se", &expires)
        .append_pair("sp", permissions)
        .append_pair("sig", &signature)
        .finish();
    let path = percent_encoding::utf8_percent_encode(blob, super::PATH);
    let uri = format!("{}/{UPLOADS}/{path}?{query}", world.endpoints.blob(account));
    Ok(Answer::json(200, json!({"uploadUri": uri})))
}
