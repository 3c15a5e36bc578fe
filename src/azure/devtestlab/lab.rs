//! Labs: <https://learn.microsoft.com/rest/api/dtl/labs>.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::API_VERSION;
use crate::azure::{
    Azure, AzureError, ResourceId,
    json::{name, text},
};

/// Where a lab is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabAddress {
    /// The subscription's id.
    pub subscription_id: String,
    /// The lab's own resource group; its VMs' compute resources may lie in others.
    pub resource_group: String,
    /// The lab's name.
    pub lab_name: String,
}

impl LabAddress {
    /// The lab's resource id.
    pub fn id(&self) -> String {
        format!("/{}", self.segments(&[]).join("/"))
    }

    /// The segments of a path in this lab.
    pub(super) fn segments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut segments = vec![
            "subscriptions",
            &self.subscription_id,
            "resourceGroups",
            &self.resource_group,
            "providers",
            "Microsoft.DevTestLab",
            "labs",
            &self.lab_name,
        ];
        segments.extend(more);
        segments
    }
}

impl std::fmt::Display for LabAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.lab_name)
    }
}

/// A lab that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lab {
    /// Where it is, with its name as Azure spells it.
    pub address: LabAddress,
    /// Its resource id.
    pub id: String,
    /// Its region, e.g. `westeurope`.
    pub location: String,
    /// The storage account that a custom image's VHD must lie in. It need not be in the lab's resource group.
    pub storage_account_id: String,
}

impl Azure {
    /// Finds a lab; `None` if there is none. Without a resource group the subscription is searched, names compared
    /// ignoring case.
    ///
    /// # Errors
    /// As any call; and if two labs of the subscription have that name.
    pub async fn find_lab(
        &self,
        subscription_id: &str,
        resource_group: Option<&str>,
        lab_name: &str,
    ) -> Result<Option<Lab>, AzureError> {
        let attempted = format!("GET lab {lab_name}");
        if let Some(resource_group) = resource_group {
            let address = LabAddress {
                subscription_id: subscription_id.to_owned(),
                resource_group: resource_group.to_owned(),
                lab_name: lab_name.to_owned(),
            };
            let url = self.url(&address.segments(&[]), API_VERSION, &[]);
            let lab = self.get(&attempted, url).await?;
            return lab.map(|lab| read(&attempted, &lab, Some(address))).transpose();
        }
        let segments = ["subscriptions", subscription_id, "providers", "Microsoft.DevTestLab", "labs"];
        let labs = self.list(&attempted, self.url(&segments, API_VERSION, &[])).await?;
        let matching: Vec<&Value> =
            labs.iter().filter(|lab| name(lab).eq_ignore_ascii_case(lab_name)).collect();
        match matching.as_slice() {
            [] => Ok(None),
            [lab] => read(&attempted, lab, None).map(Some),
            several => {
                let ids: Vec<String> = several.iter().filter_map(|lab| text(lab, "/id")).collect();
                let message = format!(
                    "{} labs of subscription {subscription_id} have this name, so say which resource group: {}",
                    several.len(),
                    ids.join(", ")
                );
                Err(AzureError::permanent(&attempted, "AmbiguousLab", message))
            }
        }
    }
}

fn read(attempted: &str, lab: &Value, address: Option<LabAddress>) -> Result<Lab, AzureError> {
    let lacks =
        |what: &str| AzureError::permanent(attempted, "UnexpectedAnswer", format!("the lab has no {what}"));
    let id = text(lab, "/id").or_else(|| Some(address.as_ref()?.id())).ok_or_else(|| lacks("id"))?;
    let address = match address {
        // Ids come back in lower case; what was asked for is as good and prints better.
        Some(address) => LabAddress { lab_name: text(lab, "/name").unwrap_or(address.lab_name), ..address },
        None => {
            let parsed: ResourceId = id.parse().map_err(|_| lacks("valid id"))?;
            LabAddress {
                lab_name: name(lab),
                subscription_id: parsed.subscription_id,
                resource_group: parsed.resource_group.ok_or_else(|| lacks("resource group"))?,
            }
        }
    };
    // Microsoft's own upload script takes the default account; older labs name only the artifacts' one.
    let storage_account_id = text(lab, "/properties/defaultStorageAccount")
        .or_else(|| text(lab, "/properties/artifactsStorageAccount"))
        .ok_or_else(|| lacks("storage account"))?;
    Ok(Lab { address, id, location: text(lab, "/location").unwrap_or_default(), storage_account_id })
}
