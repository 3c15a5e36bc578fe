//! Compute galleries that are attached to a lab, and their images as the lab shows them
//! (Microsoft, "Configure a shared image gallery in Azure DevTest Labs"; api-version 2018-10-15-preview).

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
    labs::{self, Lab},
    listing,
    seed::GalleryImageSpec,
};
use crate::World;

/// A gallery in a lab.
#[derive(Clone, Debug)]
pub(crate) struct SharedGallery {
    pub(crate) name: String,
    pub(crate) gallery_id: String,
    pub(crate) allow_all: bool,
    /// Whether a definition is enabled, by its name in lower case; only counts without `allowAllImages`.
    pub(crate) enabled: BTreeMap<String, bool>,
}

impl SharedGallery {
    fn view(&self, lab: &Lab) -> Value {
        json!({
            "id": format!("{}/sharedgalleries/{}", lab.key(), self.name.to_lowercase()),
            "name": self.name,
            "type": "Microsoft.DevTestLab/labs/sharedGalleries",
            "properties": {
                "galleryId": self.gallery_id,
                "allowAllImages": if self.allow_all { "Enabled" } else { "Disabled" },
                "provisioningState": "Succeeded",
            },
        })
    }

    /// Whether VMs may be made from a definition.
    pub(crate) fn allows(&self, definition: &str) -> bool {
        self.allow_all || self.enabled.get(definition).copied().unwrap_or(false)
    }

    fn image_view(&self, lab: &Lab, image: &GalleryImageSpec) -> Value {
        let lower = image.definition.to_lowercase();
        json!({
            "id": format!("{}/sharedgalleries/{}/sharedimages/{lower}", lab.key(), self.name.to_lowercase()),
            "name": image.definition,
            "type": "Microsoft.DevTestLab/labs/sharedGalleries/sharedImages",
            "properties": {
                "definitionName": image.definition,
                "enableState": if self.allows(&lower) { "Enabled" } else { "Disabled" },
                "osType": image.os.text(),
                "imageType": "Generalized",
                "imageVersions": image.versions.iter().map(|v| json!({"name": v})).collect::<Vec<_>>(),
            },
        })
    }
}

/// `{lab}/sharedgalleries[/{name}[/sharedimages[/{definition}]]]`.
pub(crate) fn route(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    let refused = || ArmError::method_not_allowed(&call.method, &call.path());
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let lab = labs::get(world, lab_key, call)?;
            let view = |gallery: &SharedGallery| gallery.view(lab);
            listing::page(world, call, |token| listing::after(&lab.shared_galleries, token), view)
        }
        ([name], &Method::GET) => {
            let lab = labs::get(world, lab_key, call)?;
            Ok(Answer::json(200, find(lab, name, call)?.view(lab)))
        }
        ([name], &Method::PUT) => attach(world, call, lab_key, name),
        ([name], &Method::DELETE) => {
            let lab = labs::get_mut(world, lab_key, call)?;
            let status = if lab.shared_galleries.remove(*name).is_some() { 200 } else { 204 };
            Ok(Answer::empty(status))
        }
        ([name, "sharedimages", rest @ ..], _) => {
            let lab = labs::get(world, lab_key, call)?;
            let gallery = find(lab, name, call)?;
            let none = BTreeMap::new();
            let key = gallery.gallery_id.to_lowercase();
            let images = world.arm.gallery_images.get(&key).unwrap_or(&none);
            let [definition] = rest else {
                let view = |image: &GalleryImageSpec| gallery.image_view(lab, image);
                return match call.method {
                    Method::GET if rest.is_empty() => {
                        listing::page(world, call, |token| listing::after(images, token), view)
                    }
                    _ => Err(refused()),
                };
            };
            let image = images.get(*definition).cloned();
            let image = image.ok_or_else(|| ArmError::not_found(&call.path()))?;
            match call.method {
                Method::GET => Ok(Answer::json(200, gallery.image_view(lab, &image))),
                Method::PUT => {
                    let body = call.json()?;
                    let state = body["properties"]["enableState"].as_str().unwrap_or_default();
                    let enabled = state.eq_ignore_ascii_case("enabled");
                    let lab = labs::get_mut(world, lab_key, call)?;
                    if let Some(gallery) = lab.shared_galleries.get_mut(*name) {
                        gallery.enabled.insert((*definition).to_owned(), enabled);
                    }
                    let lab = labs::get(world, lab_key, call)?;
                    Ok(Answer::json(200, find(lab, name, call)?.image_view(lab, &image)))
                }
                _ => Err(refused()),
            }
        }
        _ => Err(refused()),
    }
}

fn find<'a>(lab: &'a Lab, name: &str, call: &Call) -> Result<&'a SharedGallery, ArmError> {
    lab.shared_galleries.get(name).ok_or_else(|| ArmError::not_found(&call.path()))
}

/// One gallery per lab: "attaching another means detaching first".
fn attach(world: &mut World, call: &Call, lab_key: &str, name: &str) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let gallery_id = body["properties"]["galleryId"].as_str().unwrap_or_default().to_owned();
    if !world.arm.gallery_images.contains_key(&gallery_id.to_lowercase()) {
        return Err(ArmError::bad_request(format!(
            "The shared image gallery '{gallery_id}' does not exist, or the lab has no access to it."
        )));
    }
    let allow_all = !body["properties"]["allowAllImages"]
        .as_str()
        .is_some_and(|state| state.eq_ignore_ascii_case("disabled"));
    let lab = labs::get_mut(world, lab_key, call)?;
    if lab.shared_galleries.keys().any(|other| other != name) {
        return Err(ArmError::conflict(
            "A lab can have one shared image gallery only; detach the other one first.",
        ));
    }
    let enabled = lab.shared_galleries.get(name).map(|old| old.enabled.clone());
    let gallery = SharedGallery {
        name: call.name().to_owned(),
        gallery_id,
        allow_all,
        enabled: enabled.clone().unwrap_or_default(),
    };
    let view = gallery.view(lab);
    lab.shared_galleries.insert(name.to_owned(), gallery);
    Ok(Answer::json(if enabled.is_some() { 200 } else { 201 }, view))
}
