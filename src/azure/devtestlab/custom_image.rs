//! Custom images: <https://learn.microsoft.com/rest/api/dtl/custom-images>.

use std::collections::BTreeMap;

use azure_core::http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{API_VERSION, LabAddress, os_type};
use crate::azure::{
    Azure, AzureError, Started,
    json::{date, name, tags, text},
};
use crate::domain::OsType;

/// A custom image of a lab. One that failed stays in the list and keeps its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomImage {
    /// Its name in the lab.
    pub name: String,
    /// Its resource id.
    pub id: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// `Creating`, `Succeeded`, `Failed`, `Deleting` …
    pub provisioning_state: String,
    /// When it was made.
    pub creation_date: Option<OffsetDateTime>,
    /// Its operating system.
    pub os_type: Option<OsType>,
    /// The managed image behind it. Once it is there and the state is `Succeeded`, the VHD is no longer needed.
    pub managed_image_id: Option<String>,
    /// The managed snapshot behind it, for an image that is not generalised.
    pub managed_snapshot_id: Option<String>,
    /// The VHD that it was made from.
    pub vhd_url: Option<String>,
    /// What it is.
    pub description: Option<String>,
}

/// What a custom image is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomImageSpec {
    /// The VHD's URL without a SAS, in one of the lab's own storage accounts; elsewhere DevTest Labs refuses with
    /// `InvalidStorageAccountForLab`.
    pub vhd_url: String,
    /// The VHD's operating system.
    pub os_type: OsType,
    /// Who made it, for people.
    pub author: String,
    /// What it is, for people.
    pub description: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Whether sysprep has run; means something for Windows only.
    pub sys_prep: bool,
}

impl CustomImage {
    /// Whether it is on its way out.
    pub fn is_being_deleted(&self) -> bool {
        self.provisioning_state.eq_ignore_ascii_case("Deleting")
    }
}

impl Azure {
    /// Reads the custom image of a resource id; `None` if it is not there.
    ///
    /// # Errors
    /// As any call; an id that is no resource id is permanent.
    pub async fn custom_image_by_id(&self, id: &str) -> Result<Option<CustomImage>, AzureError> {
        let attempted = format!("GET custom image {id}");
        let url = self.resource_url(&attempted, id, &[], API_VERSION, &[])?;
        Ok(self.get(&attempted, url).await?.as_ref().map(read))
    }

    /// Reads one custom image; `None` if it is not there.
    ///
    /// # Errors
    /// As any call.
    pub async fn custom_image(
        &self,
        lab: &LabAddress,
        name: &str,
    ) -> Result<Option<CustomImage>, AzureError> {
        let url = self.url(&lab.segments(&["customimages", name]), API_VERSION, &[]);
        let image = self.get(&format!("GET custom image {lab}/{name}"), url).await?;
        Ok(image.as_ref().map(read))
    }

    /// Lists a lab's custom images, all pages; only those whose names hold `word`, if there is one. A word has ASCII letters
    /// and digits alone (`$filter=contains(name,'…')`:
    /// <https://learn.microsoft.com/rest/api/dtl/custom-images/list#uri-parameters>). Whether the comparison ignores case is not
    /// documented.
    ///
    /// # Errors
    /// As any call.
    pub async fn custom_images(
        &self,
        lab: &LabAddress,
        word: Option<&str>,
    ) -> Result<Vec<CustomImage>, AzureError> {
        let filter = word.map(|word| format!("contains(name,'{word}')"));
        let query: Vec<(&str, &str)> = filter.iter().map(|filter| ("$filter", filter.as_str())).collect();
        let url = self.url(&lab.segments(&["customimages"]), API_VERSION, &query);
        let images = self.list(&format!("GET custom images of {lab}"), url).await?;
        Ok(images.iter().map(read).collect())
    }

    /// Makes a custom image of a VHD; the VHD must stay until the operation has ended.
    ///
    /// # Errors
    /// As any call.
    pub async fn put_custom_image(
        &self,
        lab: &LabAddress,
        name: &str,
        spec: &CustomImageSpec,
    ) -> Result<Started, AzureError> {
        let url = self.url(&lab.segments(&["customimages", name]), API_VERSION, &[]);
        let body = json!({
            "tags": spec.tags,
            "properties": {
                "author": spec.author,
                "description": spec.description,
                "vhd": {
                    "imageName": spec.vhd_url,
                    "sysPrep": spec.sys_prep,
                    "osType": spec.os_type.as_str(),
                },
            },
        });
        self.start(&format!("PUT custom image {lab}/{name}"), Method::Put, url, Some(&body)).await
    }

    /// Replaces a custom image's tags, all of them
    /// (<https://learn.microsoft.com/rest/api/dtl/custom-images/update>: "Allows modifying tags of custom images").
    ///
    /// # Errors
    /// As any call.
    pub async fn tag_custom_image(
        &self,
        lab: &LabAddress,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<(), AzureError> {
        let url = self.url(&lab.segments(&["customimages", name]), API_VERSION, &[]);
        let attempted = format!("PATCH custom image {lab}/{name}");
        self.start(&attempted, Method::Patch, url, Some(&json!({"tags": tags}))).await?;
        Ok(())
    }

    /// Deletes a custom image; done if it is not there.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete_custom_image(&self, lab: &LabAddress, name: &str) -> Result<Started, AzureError> {
        let url = self.url(&lab.segments(&["customimages", name]), API_VERSION, &[]);
        self.start(&format!("DELETE custom image {lab}/{name}"), Method::Delete, url, None).await
    }
}

fn read(image: &Value) -> CustomImage {
    CustomImage {
        name: name(image),
        id: text(image, "/id").unwrap_or_default(),
        tags: tags(image),
        provisioning_state: text(image, "/properties/provisioningState").unwrap_or_default(),
        creation_date: date(image, "/properties/creationDate"),
        os_type: os_type(image, "/properties/vhd/osType").or_else(|| os_of_vm_image(image)),
        managed_image_id: text(image, "/properties/managedImageId"),
        managed_snapshot_id: text(image, "/properties/managedSnapshotId"),
        vhd_url: text(image, "/properties/vhd/imageName"),
        description: text(image, "/properties/description"),
    }
}

/// An image made from a lab VM tells its system by which of two blocks is filled.
fn os_of_vm_image(image: &Value) -> Option<OsType> {
    let has = |pointer: &str| image.pointer(pointer).is_some_and(Value::is_object);
    if has("/properties/vm/windowsOsInfo") {
        Some(OsType::Windows)
    } else if has("/properties/vm/linuxOsInfo") {
        Some(OsType::Linux)
    } else {
        None
    }
}
