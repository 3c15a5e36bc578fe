//! Deployments of templates: <https://learn.microsoft.com/rest/api/resources/deployments>.

use azure_core::http::Method;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{
    Azure, AzureError, Started,
    json::{date, name, text},
};
use crate::secret::Secret;

const API_VERSION: &str = "2021-04-01";

/// A template parameter's value.
#[derive(Clone, Debug)]
pub enum ParameterValue {
    /// Anyone may see it.
    Plain(Value),
    /// For `securestring` parameters.
    Secret(Secret<String>),
}

/// A deployment in a resource group's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Its name.
    pub name: String,
    /// `Accepted`, `Running`, `Succeeded`, `Failed`, `Canceled` …
    pub state: String,
    /// Why it failed.
    pub error: Option<AzureError>,
    /// Under which Azure's support finds it.
    pub correlation_id: Option<String>,
    /// When its state changed last.
    pub timestamp: Option<OffsetDateTime>,
}

impl Deployment {
    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.state.eq_ignore_ascii_case("Succeeded")
    }

    /// Whether its entry is on its way out of the history.
    pub fn is_being_deleted(&self) -> bool {
        self.state.eq_ignore_ascii_case("Deleting")
    }

    /// Whether nothing more will come of it.
    pub fn is_final(&self) -> bool {
        ["Succeeded", "Failed", "Canceled"].iter().any(|state| self.state.eq_ignore_ascii_case(state))
    }
}

impl Azure {
    /// Starts a deployment, mode `Incremental`: what the template does not name is left alone.
    /// The same name again while it runs is refused with a transient `DeploymentActive`.
    ///
    /// # Errors
    /// As any call; a template that Resource Manager refuses is permanent.
    pub async fn put_deployment(
        &self,
        subscription_id: &str,
        resource_group: &str,
        name: &str,
        template: &Value,
        parameters: &[(String, ParameterValue)],
    ) -> Result<Started, AzureError> {
        let url = self.deployment_url(subscription_id, resource_group, &[name]);
        let values: Map<String, Value> = parameters
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    ParameterValue::Plain(value) => value.clone(),
                    ParameterValue::Secret(secret) => Value::from(secret.expose().as_str()),
                };
                (name.clone(), json!({ "value": value }))
            })
            .collect();
        let body = json!({
            "properties": {"mode": "Incremental", "template": template, "parameters": values},
        });
        let attempted = format!("PUT deployment {resource_group}/{name}");
        let secrets = parameters.iter().filter_map(|(_, value)| match value {
            ParameterValue::Secret(secret) => Some(secret),
            ParameterValue::Plain(_) => None,
        });
        let started = self.start(&attempted, Method::Put, url, Some(&body)).await;
        started.map_err(|error| secrets.fold(error, AzureError::without))
    }

    /// Reads one deployment; `None` if it is not in the history.
    ///
    /// # Errors
    /// As any call.
    pub async fn deployment(
        &self,
        subscription_id: &str,
        resource_group: &str,
        name: &str,
    ) -> Result<Option<Deployment>, AzureError> {
        let url = self.deployment_url(subscription_id, resource_group, &[name]);
        let attempted = format!("GET deployment {resource_group}/{name}");
        let deployment = self.get(&attempted, url).await?;
        Ok(deployment.map(|deployment| read(resource_group, &deployment)))
    }

    /// Lists a resource group's deployments, all pages.
    ///
    /// # Errors
    /// As any call.
    pub async fn deployments(
        &self,
        subscription_id: &str,
        resource_group: &str,
    ) -> Result<Vec<Deployment>, AzureError> {
        let url = self.deployment_url(subscription_id, resource_group, &[]);
        let attempted = format!("GET deployments of {resource_group}");
        let deployments = self.list(&attempted, url).await?;
        Ok(deployments.iter().map(|deployment| read(resource_group, deployment)).collect())
    }

    /// Takes a deployment out of the history, never what it made; done if it is not there.
    ///
    /// # Errors
    /// As any call; one that runs cannot be deleted.
    pub async fn delete_deployment(
        &self,
        subscription_id: &str,
        resource_group: &str,
        name: &str,
    ) -> Result<Started, AzureError> {
        let url = self.deployment_url(subscription_id, resource_group, &[name]);
        let attempted = format!("DELETE deployment {resource_group}/{name}");
        self.start(&attempted, Method::Delete, url, None).await
    }

    /// Stops a deployment; done if it has ended already or is not there. What it made stays.
    ///
    /// # Errors
    /// As any call.
    pub async fn cancel_deployment(
        &self,
        subscription_id: &str,
        resource_group: &str,
        name: &str,
    ) -> Result<Started, AzureError> {
        let url = self.deployment_url(subscription_id, resource_group, &[name, "cancel"]);
        let attempted = format!("POST cancel deployment {resource_group}/{name}");
        match self.start(&attempted, Method::Post, url, None).await {
            Err(error) if error.is_not_found() => Ok(Started::Done),
            // 409: it is in a final state, so there is nothing left to stop.
            Err(error) if error.status == Some(409) && !error.is_transient() => Ok(Started::Done),
            result => result,
        }
    }

    fn deployment_url(
        &self,
        subscription_id: &str,
        resource_group: &str,
        more: &[&str],
    ) -> azure_core::http::Url {
        let mut segments = vec![
            "subscriptions",
            subscription_id,
            "resourcegroups",
            resource_group,
            "providers",
            "Microsoft.Resources",
            "deployments",
        ];
        segments.extend(more);
        self.url(&segments, API_VERSION, &[])
    }
}

fn read(resource_group: &str, deployment: &Value) -> Deployment {
    let name = name(deployment);
    let correlation_id = text(deployment, "/properties/correlationId");
    let error = deployment.pointer("/properties/error").filter(|error| !error.is_null());
    Deployment {
        error: error.map(|error| {
            AzureError::from_failure(
                &format!("deployment {resource_group}/{name}"),
                error,
                correlation_id.clone(),
            )
        }),
        state: text(deployment, "/properties/provisioningState").unwrap_or_default(),
        timestamp: date(deployment, "/properties/timestamp"),
        correlation_id,
        name,
    }
}
