//! Formulas: <https://learn.microsoft.com/rest/api/dtl/formulas>.

use serde_json::Value;

use super::{API_VERSION, LabAddress};
use crate::azure::{
    Azure, AzureError,
    json::{name, text},
};

/// A formula: a lab VM's settings under a name. It dangles if the image that it names goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formula {
    /// Its name in the lab.
    pub name: String,
    /// Its resource id.
    pub id: String,
    /// The custom image that it makes VMs from. It may be relative to the lab: `/customimages/x`.
    pub custom_image_id: Option<String>,
    /// The gallery image that it makes VMs from, as the lab's shared image.
    pub shared_image_id: Option<String>,
}

impl Formula {
    /// Whether it makes VMs from the custom image with this id, whichever way it names it.
    pub fn uses_custom_image(&self, id: &str) -> bool {
        let fold = |id: &str| id.trim().trim_end_matches('/').to_ascii_lowercase();
        self.custom_image_id.as_deref().is_some_and(|own| {
            let (own, id) = (fold(own), fold(id));
            own == id || (own.starts_with("/customimages/") && id.ends_with(&own))
        })
    }
}

impl Azure {
    /// Lists a lab's formulas, all pages.
    ///
    /// # Errors
    /// As any call.
    pub async fn formulas(&self, lab: &LabAddress) -> Result<Vec<Formula>, AzureError> {
        let url = self.url(&lab.segments(&["formulas"]), API_VERSION, &[]);
        let formulas = self.list(&format!("GET formulas of {lab}"), url).await?;
        Ok(formulas.iter().map(read).collect())
    }
}

fn read(formula: &Value) -> Formula {
    let content = "/properties/formulaContent/properties";
    Formula {
        name: name(formula),
        id: text(formula, "/id").unwrap_or_default(),
        custom_image_id: text(formula, &format!("{content}/customImageId")),
        shared_image_id: text(formula, &format!("{content}/sharedImageId")),
    }
}
