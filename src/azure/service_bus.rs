//! Service Bus namespaces and how their queues are made: <https://learn.microsoft.com/rest/api/servicebus/controlplane-stable/queues>.
//! Messages go another way, see the crate `servicebus`.

use serde_json::Value;

use super::{
    Azure, AzureError,
    json::{name, text},
};

const API_VERSION: &str = "2021-11-01";
const SUBSCRIPTIONS_API_VERSION: &str = "2022-12-01";

/// How a queue is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueProperties {
    /// Its name.
    pub name: String,
    /// After so many deliveries a message is a dead letter.
    pub max_delivery_count: u64,
    /// Whether the same message sent twice is taken once.
    pub requires_duplicate_detection: bool,
    /// Whether only receivers of sessions get messages.
    pub requires_session: bool,
    /// Whether what expires is kept as a dead letter.
    pub dead_letters_expired: bool,
    /// `Active`, or `Disabled`, `ReceiveDisabled`, `SendDisabled`.
    pub status: String,
}

impl Azure {
    /// The id of the namespace at this host, such as `ns.servicebus.windows.net`, among those that the caller sees in a subscription.
    ///
    /// # Errors
    /// As any call.
    pub async fn service_bus_namespace(
        &self,
        subscription_id: &str,
        host: &str,
    ) -> Result<Option<String>, AzureError> {
        let attempted = format!("GET Service Bus namespaces of subscription {subscription_id}");
        let segments = ["subscriptions", subscription_id, "providers", "Microsoft.ServiceBus", "namespaces"];
        let namespaces = self.list(&attempted, self.url(&segments, API_VERSION, &[])).await?;
        let is_at = |namespace: &&Value| {
            let endpoint = text(namespace, "/properties/serviceBusEndpoint").unwrap_or_default();
            let own = endpoint.trim_start_matches("https://").split([':', '/']).next().unwrap_or_default();
            own.eq_ignore_ascii_case(host)
        };
        Ok(namespaces.iter().find(is_at).and_then(|namespace| text(namespace, "/id")))
    }

    /// How a namespace's queues are made.
    ///
    /// # Errors
    /// As any call; and if `namespace_id` is no resource id.
    pub async fn queues(&self, namespace_id: &str) -> Result<Vec<QueueProperties>, AzureError> {
        let attempted = format!("GET queues of {namespace_id}");
        let url = self.resource_url(&attempted, namespace_id, &["queues"], API_VERSION, &[])?;
        Ok(self.list(&attempted, url).await?.iter().map(queue).collect())
    }

    /// The ids of all subscriptions that the caller sees.
    ///
    /// # Errors
    /// As any call.
    pub async fn subscriptions(&self) -> Result<Vec<String>, AzureError> {
        let attempted = "GET subscriptions";
        let url = self.url(&["subscriptions"], SUBSCRIPTIONS_API_VERSION, &[]);
        let subscriptions = self.list(attempted, url).await?;
        Ok(subscriptions.iter().filter_map(|subscription| text(subscription, "/subscriptionId")).collect())
    }
}

fn queue(queue: &Value) -> QueueProperties {
    let properties = &queue["properties"];
    let is = |key: &str| properties[key].as_bool().unwrap_or(false);
    QueueProperties {
        name: name(queue),
        max_delivery_count: properties["maxDeliveryCount"].as_u64().unwrap_or(0),
        requires_duplicate_detection: is("requiresDuplicateDetection"),
        requires_session: is("requiresSession"),
        dead_letters_expired: is("deadLetteringOnMessageExpiration"),
        status: text(queue, "/properties/status").unwrap_or_default(),
    }
}
