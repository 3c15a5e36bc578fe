//! How much Compute a subscription may have in a region, and which VM sizes that region has:
//! <https://learn.microsoft.com/rest/api/compute/usage/list>, <https://learn.microsoft.com/rest/api/compute/resource-skus/list>.

use serde_json::Value;

use super::{
    Azure, AzureError,
    json::{items, name, text},
};

const USAGES_API_VERSION: &str = "2024-07-01";
const SKUS_API_VERSION: &str = "2021-07-01";
/// The usage of all cores of a region.
pub const REGIONAL_CORES: &str = "cores";

/// How much of something a subscription may have in a region, and has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Azure's name: [`REGIONAL_CORES`], or a family such as `standardDSv3Family`.
    pub name: String,
    /// What people call it: `Total Regional vCPUs`.
    pub title: String,
    /// How much there may be.
    pub limit: i64,
    /// How much there is.
    pub used: i64,
}

/// A VM size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSize {
    /// E.g. `Standard_D2s_v3`.
    pub name: String,
    /// The family whose quota its cores count for.
    pub family: String,
    /// How many cores it has.
    pub cores: i64,
    /// Why this subscription cannot have it there, in Azure's words: `NotAvailableForSubscription`.
    pub refused: Option<String>,
}

impl Azure {
    /// What a subscription may have and has of Compute in a region.
    ///
    /// # Errors
    /// As any call.
    pub async fn compute_usages(
        &self,
        subscription_id: &str,
        location: &str,
    ) -> Result<Vec<Usage>, AzureError> {
        let attempted = format!("GET usages of Compute in {location}");
        let segments = [
            "subscriptions",
            subscription_id,
            "providers",
            "Microsoft.Compute",
            "locations",
            location,
            "usages",
        ];
        let usages = self.list(&attempted, self.url(&segments, USAGES_API_VERSION, &[])).await?;
        let number = |usage: &Value, key: &str| usage.get(key).and_then(Value::as_i64).unwrap_or(0);
        let read = |usage: &Value| {
            let name = text(usage, "/name/value")?;
            let title = text(usage, "/name/localizedValue").unwrap_or_else(|| name.clone());
            Some(Usage { name, title, limit: number(usage, "limit"), used: number(usage, "currentValue") })
        };
        Ok(usages.iter().filter_map(read).collect())
    }

    /// The VM sizes of a region.
    ///
    /// # Errors
    /// As any call.
    pub async fn vm_sizes(&self, subscription_id: &str, location: &str) -> Result<Vec<VmSize>, AzureError> {
        let attempted = format!("GET VM sizes in {location}");
        let segments = ["subscriptions", subscription_id, "providers", "Microsoft.Compute", "skus"];
        let filter = format!("location eq '{location}'");
        let url = self.url(&segments, SKUS_API_VERSION, &[("$filter", &filter)]);
        let skus = self.list(&attempted, url).await?;
        let is_vm = |sku: &&Value| {
            text(sku, "/resourceType").is_some_and(|kind| kind.eq_ignore_ascii_case("virtualMachines"))
        };
        Ok(skus.iter().filter(is_vm).map(size).collect())
    }
}

fn size(sku: &Value) -> VmSize {
    let is_cores = |capability: &&Value| text(capability, "/name").is_some_and(|name| name == "vCPUs");
    let cores = items(sku, "/capabilities").find(is_cores).and_then(|capability| text(capability, "/value"));
    // A restriction of some zones leaves the region's other zones.
    let of_region = |restriction: &&Value| {
        text(restriction, "/type").is_some_and(|kind| kind.eq_ignore_ascii_case("Location"))
    };
    let refused = items(sku, "/restrictions").find(of_region);
    VmSize {
        name: name(sku),
        family: text(sku, "/family").unwrap_or_default(),
        cores: cores.and_then(|cores| cores.parse().ok()).unwrap_or(0),
        refused: refused.map(|one| text(one, "/reasonCode").unwrap_or_else(|| "restricted".to_owned())),
    }
}
