//! What a definition's VM would be made from now, asked of Azure.

use std::collections::BTreeMap;

use arm_template::Scope;
use serde_json::Value;

use super::{Factory, create_vm::INVALID_DEFINITION};
use crate::{
    azure::{AzureError, Lab, MarketplaceSku},
    domain::{
        BaseImage, Definition, FactorySettings, ImageSource, OsType,
        definition::{LATEST, ParameterValues},
    },
    ledger::Failure,
};

/// The factory's own code for an image that the Marketplace does not have.
const UNKNOWN_IMAGE: &str = "UnknownBaseImage";
/// The same for an image of a lab, which then does not say its operating system.
const UNKNOWN_SYSTEM: &str = "UnknownOperatingSystem";

/// Base images, each asked for once: a thousand definitions share a few. To be kept no longer than a turn, because what is
/// newest changes.
#[derive(Debug, Default)]
pub struct BaseImages {
    newest: BTreeMap<(String, MarketplaceSku), Option<String>>,
    systems: BTreeMap<String, Option<OsType>>,
}

impl BaseImages {
    /// The base image of a definition in the factory lab, `latest` resolved to the newest version in the lab's region; a
    /// failure if there is no such image.
    ///
    /// # Errors
    /// As any call of Azure.
    pub async fn resolve(
        &mut self,
        factory: &Factory,
        definition: &Definition,
        settings: &FactorySettings,
        lab: &Lab,
    ) -> Result<Result<BaseImage, Failure>, AzureError> {
        let id = match definition.image_source() {
            ImageSource::Gallery { publisher, offer, sku, version, os_type } => {
                let sku =
                    MarketplaceSku { publisher: publisher.clone(), offer: offer.clone(), sku: sku.clone() };
                let version = match version.eq_ignore_ascii_case(LATEST) {
                    false => version.clone(),
                    true => match self.newest(factory, lab, &sku).await? {
                        Some(version) => version,
                        None => return Ok(Err(unknown_image(&sku, &lab.location))),
                    },
                };
                let MarketplaceSku { publisher, offer, sku } = &sku;
                return Ok(Ok(BaseImage::of_marketplace(publisher, offer, sku, &version, *os_type)));
            }
            ImageSource::CustomImage(id) | ImageSource::SharedImage(id) => id,
        };
        let values =
            ParameterValues { lab_name: &lab.address.lab_name, ..ParameterValues::example(settings) };
        let id = match image_id(definition, id, &values, &scope(lab)) {
            Ok(id) => id,
            Err(failure) => return Ok(Err(failure)),
        };
        let is_custom = matches!(definition.image_source(), ImageSource::CustomImage(_));
        let version = definition.example_vm(settings).shared_image_version.filter(|_| !is_custom);
        let os_type = self.system(factory, &id, is_custom).await?;
        Ok(os_type
            .map(|os_type| BaseImage::of_id(&id, version.as_deref(), os_type))
            .ok_or_else(|| unknown_system(&id)))
    }

    async fn newest(
        &mut self,
        factory: &Factory,
        lab: &Lab,
        sku: &MarketplaceSku,
    ) -> Result<Option<String>, AzureError> {
        let key = (lab.location.clone(), sku.clone());
        if let Some(known) = self.newest.get(&key) {
            return Ok(known.clone());
        }
        let newest = factory.azure.newest_version(&lab.address.subscription_id, &lab.location, sku).await?;
        self.newest.insert(key, newest.clone());
        Ok(newest)
    }

    async fn system(
        &mut self,
        factory: &Factory,
        id: &str,
        is_custom: bool,
    ) -> Result<Option<OsType>, AzureError> {
        let key = id.to_lowercase();
        if let Some(known) = self.systems.get(&key) {
            return Ok(*known);
        }
        let system = system_of(factory, id, is_custom).await?;
        self.systems.insert(key, system);
        Ok(system)
    }
}

/// The operating system that an image of a lab says that it has.
pub(super) async fn system_of(
    factory: &Factory,
    id: &str,
    is_custom: bool,
) -> Result<Option<OsType>, AzureError> {
    Ok(if is_custom {
        factory.azure.custom_image_by_id(id).await?.and_then(|image| image.os_type)
    } else {
        factory.azure.shared_image(id).await?.and_then(|image| image.os_type)
    })
}

/// The id of an image that a template names, often by an expression.
pub(super) fn image_id(
    definition: &Definition,
    expression: &Value,
    values: &ParameterValues<'_>,
    scope: &Scope,
) -> Result<String, Failure> {
    let resolved = definition.resolve(expression, values, scope);
    match resolved.map_err(|error| Failure::new(error.code, error.message))? {
        Value::String(id) => Ok(id),
        other => Err(Failure::new(INVALID_DEFINITION, format!("the VM's image id is no text but {other}"))),
    }
}

pub(super) fn unknown_system(id: &str) -> Failure {
    let message = format!("image {id} is not there or does not say its operating system");
    Failure::new(UNKNOWN_SYSTEM, message)
}

fn unknown_image(sku: &MarketplaceSku, location: &str) -> Failure {
    let MarketplaceSku { publisher, offer, sku: name } = sku;
    let message = format!(
        "the Marketplace has no image {sku} in {location}: see what it has with 'az vm image list-skus --location {location} --publisher {publisher} --offer {offer}', and correct publisher, offer and sku ('{name}') of the definition"
    );
    Failure::new(UNKNOWN_IMAGE, message)
}

/// As far as an image's id can depend on it.
fn scope(lab: &Lab) -> Scope {
    Scope {
        subscription_id: lab.address.subscription_id.clone(),
        resource_group: lab.address.resource_group.clone(),
        resource_group_location: lab.location.clone(),
        ..Scope::default()
    }
}
