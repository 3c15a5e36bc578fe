//! Artifact sources: <https://learn.microsoft.com/rest/api/dtl/artifact-sources>, <https://learn.microsoft.com/rest/api/dtl/artifacts>.

use super::{API_VERSION, LabAddress};
use crate::azure::{Azure, AzureError, json::name};

impl Azure {
    /// The names of a source's artifacts, all pages; `None` if the lab has no such source.
    ///
    /// # Errors
    /// As any call.
    pub async fn artifacts(&self, lab: &LabAddress, source: &str) -> Result<Option<Vec<String>>, AzureError> {
        let attempted = format!("GET artifacts of {source} in {lab}");
        let url = self.url(&lab.segments(&["artifactsources", source, "artifacts"]), API_VERSION, &[]);
        match self.list(&attempted, url).await {
            Ok(artifacts) => Ok(Some(artifacts.iter().map(name).collect())),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
