//! Whether what each golden image is made from is there: an image of the Marketplace in its version, or an image of the factory lab.

use async_trait::async_trait;

use super::{Check, Finding, Known, Reached, patience::patiently};
use crate::{
    azure::{AzureError, Lab, MarketplaceSku},
    domain::{Definition, ImageSource, definition::LATEST},
    steps::{base_image::BaseImages, start_run::wanted},
};

/// The check.
pub struct AllBaseImages;

#[async_trait]
impl Check for AllBaseImages {
    fn name(&self) -> &'static str {
        "base-images"
    }

    async fn look(&self, at: &Reached, known: &Known) -> Vec<Finding> {
        let (configuration, lab) = match known.definitions_and_lab() {
            Ok(found) => found,
            Err(skipped) => return vec![skipped],
        };
        let (mut findings, mut good) = (Vec::new(), 0);
        let mut base_images = BaseImages::default();
        for subscription in wanted(configuration, None).unwrap_or_default() {
            let path = subscription.image_path;
            let Some(definition) = configuration.definitions.get(path) else { continue };
            let settings = &configuration.settings;
            let mut resolved = base_images.resolve(&at.factory, definition, settings, lab).await;
            if matches!(&resolved, Err(error) if error.is_transient()) {
                at.factory.clock.sleep(std::time::Duration::from_secs(5)).await;
                resolved = base_images.resolve(&at.factory, definition, settings, lab).await;
            }
            let finding = match resolved {
                Ok(Ok(_)) => withdrawn(at, definition, lab).await.unwrap_or_else(|error| {
                    Some(Finding::refused(
                        path.as_str(),
                        &error,
                        "see the role of the subscription under 'roles'",
                    ))
                }),
                Ok(Err(failure)) => Some(Finding::failed("", failure.to_string(), fix(definition, lab))),
                Err(error) => Some(Finding::refused("", &error, "see 'roles'")),
            };
            match finding {
                Some(finding) => findings.push(Finding { subject: path.to_string(), ..finding }),
                None => good += 1,
            }
        }
        if good > 0 {
            findings.insert(0, Finding::ok("", format!("those of {good} images are there")));
        }
        findings
    }
}

/// What is found about a version that a definition names, if the Marketplace does not have it.
async fn withdrawn(at: &Reached, definition: &Definition, lab: &Lab) -> Result<Option<Finding>, AzureError> {
    let ImageSource::Gallery { publisher, offer, sku, version, .. } = definition.image_source() else {
        return Ok(None);
    };
    if version.eq_ignore_ascii_case(LATEST) {
        return Ok(None);
    }
    let sku = MarketplaceSku { publisher: publisher.clone(), offer: offer.clone(), sku: sku.clone() };
    let subscription = &lab.address.subscription_id;
    let ask = || at.factory.azure.versions(subscription, &lab.location, &sku);
    let versions = patiently(&at.factory.clock, ask).await?;
    if versions.iter().any(|known| known == version) {
        return Ok(None);
    }
    let found = format!("the Marketplace has no version {version} of {sku} in {}", lab.location);
    Ok(Some(Finding::failed("", found, fix(definition, lab))))
}

fn fix(definition: &Definition, lab: &Lab) -> String {
    match definition.image_source() {
        ImageSource::Gallery { publisher, offer, sku, .. } => format!(
            "az vm image list --all --location {} --publisher {publisher} --offer {offer} --sku {sku} --output table; correct the definition, \
             or let it say \"version\": \"latest\"",
            lab.location
        ),
        _ => format!(
            "make or attach the image in the factory lab {}, or correct the id in the definition",
            lab.id
        ),
    }
}
