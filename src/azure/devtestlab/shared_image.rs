//! Images of a Compute Gallery that is attached to a lab:
//! <https://learn.microsoft.com/azure/devtest-labs/configure-shared-image-gallery>.

use super::os_type;
use crate::azure::{Azure, AzureError};
use crate::domain::OsType;

/// Shared images exist in this preview only.
const PREVIEW_API_VERSION: &str = "2018-10-15-preview";

/// A gallery's image definition, as a lab shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedImage {
    /// Its operating system.
    pub os_type: Option<OsType>,
}

impl Azure {
    /// Reads a shared image by its id in the lab, `{lab}/sharedgalleries/{gallery}/sharedimages/{definition}`, which is
    /// what a template's `sharedImageId` holds; `None` if it is not there.
    ///
    /// # Errors
    /// As any call; and if `id` is no resource id.
    pub async fn shared_image(&self, id: &str) -> Result<Option<SharedImage>, AzureError> {
        let attempted = format!("GET shared image {id}");
        let url = self.resource_url(&attempted, id, &[], PREVIEW_API_VERSION, &[])?;
        let image = self.get(&attempted, url).await?;
        Ok(image.map(|image| SharedImage { os_type: os_type(&image, "/properties/osType") }))
    }
}
