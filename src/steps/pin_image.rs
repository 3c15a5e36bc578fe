//! pin-image: an image carries `FactoryKeep`, by which retirement leaves it alone, or carries it no more.

use std::collections::BTreeMap;

use super::{Factory, StepError, lab_storage::LabStorage, tags, turn, wish::Answer};
use crate::{
    azure::{AzureError, BlobProperties},
    domain::{KEEP_TAG, Message, RUN_TAG, messages::PinImage},
};

/// What is written into the tag and the metadata; that they are there is what counts.
const KEPT: &str = "true";
/// The ending of the name of the companion that makes a captured VHD count.
const COMPANION: &str = ".json";
/// The ending of the VHD's own name.
const VHD: &str = ".vhd";

/// Handles a message of the queue `pin-image`.
///
/// # Errors
/// If a message cannot be sent.
pub async fn handle(factory: &Factory, message: &Message, wish: &PinImage) -> Result<Answer, StepError> {
    let given = |told| Ok(Answer::for_good(wish.id.as_ref(), told));
    let (name, lab) = (wish.image_name.as_str(), wish.lab.lab_name());
    match pin(factory, wish).await {
        Ok(0) => {
            given(format!("nothing is done: lab {lab} has no image {name} that a run of the factory made"))
        }
        Ok(_) if wish.pin => given(format!("{name} in {lab} is kept until it is unpinned")),
        Ok(_) => given(format!("{name} in {lab} may retire again")),
        Err(error) if error.is_transient() => turn::later(factory, message, &error).await.map(Answer::Waits),
        Err(error) => given(format!("nothing is done: {error}")),
    }
}

/// Pins or unpins what there is of that name: a custom image, a captured VHD, or both. Answers how many there are.
async fn pin(factory: &Factory, wish: &PinImage) -> Result<usize, AzureError> {
    let storage = factory.storages.get(&wish.lab).await?;
    let image = custom_image(factory, &storage, wish).await?;
    let vhd = captured_vhd(&storage, wish).await?;
    Ok(usize::from(image) + usize::from(vhd))
}

async fn custom_image(factory: &Factory, storage: &LabStorage, wish: &PinImage) -> Result<bool, AzureError> {
    let (lab, name) = (&storage.lab.address, wish.image_name.as_str());
    let Some(image) = factory.azure.custom_image(lab, name).await? else { return Ok(false) };
    if tags::get(&image.tags, RUN_TAG).is_none() {
        return Ok(false);
    }
    if let Some(tags) = changed(&image.tags, wish.pin) {
        factory.azure.tag_custom_image(lab, name, &tags).await?;
    }
    Ok(true)
}

/// A VHD counts by its companion. People may have pinned it at either of the two, so both are unpinned.
async fn captured_vhd(storage: &LabStorage, wish: &PinImage) -> Result<bool, AzureError> {
    let companion = format!("{}{COMPANION}", wish.image_name.as_str());
    let found = storage.container.properties(&companion).await?;
    let is_ours = |blob: &BlobProperties| tags::of_metadata(&blob.metadata).is_some();
    let Some(blob) = found.filter(is_ours) else { return Ok(false) };
    write(storage, &companion, &blob, wish.pin).await?;
    let vhd = format!("{}{VHD}", wish.image_name.as_str());
    if !wish.pin
        && let Some(blob) = storage.container.properties(&vhd).await?
    {
        write(storage, &vhd, &blob, false).await?;
    }
    Ok(true)
}

async fn write(storage: &LabStorage, name: &str, blob: &BlobProperties, pin: bool) -> Result<(), AzureError> {
    match changed(&blob.metadata, pin) {
        Some(metadata) => storage.container.set_metadata(name, &metadata).await,
        None => Ok(()),
    }
}

/// The tags with the pin set or taken away; `None` where they are so already.
fn changed(tags: &BTreeMap<String, String>, pin: bool) -> Option<BTreeMap<String, String>> {
    if tags::get(tags, KEEP_TAG).is_some() == pin {
        return None;
    }
    let mut tags = tags.clone();
    tags.retain(|name, _| !name.eq_ignore_ascii_case(KEEP_TAG));
    tags.extend(pin.then(|| (KEEP_TAG.to_owned(), KEPT.to_owned())));
    Some(tags)
}
