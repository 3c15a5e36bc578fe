//! Images of the Azure Marketplace: <https://learn.microsoft.com/rest/api/compute/virtual-machine-images>.

use azure_core::http::Method;
use serde_json::Value;

use super::{Azure, AzureError, json::name};

const API_VERSION: &str = "2024-07-01";

/// A kind of image in the Marketplace, without its version. Names ignore case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MarketplaceSku {
    /// E.g. `MicrosoftWindowsServer`.
    pub publisher: String,
    /// E.g. `WindowsServer`.
    pub offer: String,
    /// E.g. `2022-datacenter-g2`.
    pub sku: String,
}

impl std::fmt::Display for MarketplaceSku {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.publisher, self.offer, self.sku)
    }
}

impl Azure {
    /// The newest version of an image in a region, which is what `latest` means there; `None` if the region has no such
    /// image, or none of its versions.
    ///
    /// # Errors
    /// As any call.
    pub async fn newest_version(
        &self,
        subscription_id: &str,
        location: &str,
        sku: &MarketplaceSku,
    ) -> Result<Option<String>, AzureError> {
        let versions = self.versions(subscription_id, location, sku).await?;
        Ok(versions.into_iter().max_by(|a, b| numbers(a).cmp(&numbers(b))))
    }

    /// All versions of an image in a region, in no order; none if the region has no such image.
    ///
    /// # Errors
    /// As any call.
    pub async fn versions(
        &self,
        subscription_id: &str,
        location: &str,
        sku: &MarketplaceSku,
    ) -> Result<Vec<String>, AzureError> {
        let attempted = format!("GET versions of {sku} in {location}");
        let segments = [
            "subscriptions",
            subscription_id,
            "providers",
            "Microsoft.Compute",
            "locations",
            location,
            "publishers",
            &sku.publisher,
            "artifacttypes",
            "vmimage",
            "offers",
            &sku.offer,
            "skus",
            &sku.sku,
            "versions",
        ];
        // All of them: whether `$orderby` compares numbers or texts is written nowhere.
        let url = self.url(&segments, API_VERSION, &[]);
        let answer = self.call(&attempted, Method::Get, url, None).await?;
        if answer.status == 404 {
            return Ok(Vec::new());
        }
        if !answer.is_success() {
            return Err(self.refusal(&attempted, &answer));
        }
        let Value::Array(versions) = answer.json() else {
            let message = format!("HTTP status {} without a list in its body", answer.status);
            return Err(AzureError::unanswered(&attempted, "UnexpectedAnswer", message));
        };
        Ok(versions.iter().map(name).filter(|version| !version.is_empty()).collect())
    }
}

/// `1.10.0` is newer than `1.9.0`: "Major.Minor.Build"; what is no number stands before all numbers.
fn numbers(version: &str) -> Vec<Option<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}
