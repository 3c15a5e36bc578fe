//! Service Bus as Resource Manager sees it (Microsoft.ServiceBus 2021-11-01): namespaces with their queues, to be read. The queues are
//! those of a broker; messages travel past Resource Manager.

use std::{sync::Arc, time::Duration};

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
};
use crate::{
    World,
    broker::{Broker, QueueSettings},
};

/// What a queue shows that keeps its messages for ever.
const FOR_EVER: &str = "P10675199DT2H48M5.4775807S";
const DAY: u64 = 24 * 3600;

/// A namespace.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    id: String,
    location: String,
    broker: Arc<Broker>,
}

impl World {
    /// Shows the queues of a broker as those of a namespace, by its id; its resource group must be there.
    pub fn add_namespace(&mut self, id: &str, location: &str, broker: Arc<Broker>) {
        let namespace = Namespace { id: id.to_owned(), location: location.to_owned(), broker };
        self.arm.namespaces.insert(id.to_lowercase(), namespace);
    }
}

impl Namespace {
    fn name(&self) -> &str {
        self.id.rsplit('/').next().unwrap_or_default()
    }

    fn view(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name(),
            "type": "Microsoft.ServiceBus/Namespaces",
            "location": self.location,
            "sku": {"name": "Standard", "tier": "Standard"},
            "properties": {
                "provisioningState": "Succeeded",
                "status": "Active",
                "disableLocalAuth": true,
                "serviceBusEndpoint": format!("https://{}.servicebus.windows.net:443/", self.name()),
            },
        })
    }

    fn queue(&self, name: &str) -> Option<Value> {
        let settings = self.broker.settings(name).ok()?;
        let QueueSettings {
            lock_duration,
            max_delivery_count,
            duplicate_detection_window,
            default_message_time_to_live,
            dead_lettering_on_message_expiration,
            ..
        } = settings;
        let window = duplicate_detection_window.unwrap_or(QueueSettings::DEFAULT_DUPLICATE_DETECTION_WINDOW);
        Some(json!({
            "id": format!("{}/queues/{name}", self.id),
            "name": name,
            "type": "Microsoft.ServiceBus/namespaces/queues",
            "properties": {
                "lockDuration": iso(lock_duration),
                "maxDeliveryCount": max_delivery_count,
                "requiresDuplicateDetection": duplicate_detection_window.is_some(),
                "duplicateDetectionHistoryTimeWindow": iso(window),
                "defaultMessageTimeToLive": default_message_time_to_live.map_or_else(|| FOR_EVER.to_owned(), iso),
                "deadLetteringOnMessageExpiration": dead_lettering_on_message_expiration,
                "requiresSession": false,
                "enablePartitioning": false,
                "status": "Active",
            },
        }))
    }
}

/// A duration as ISO 8601 writes it, in whole seconds.
fn iso(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let part = |count: u64, unit: char| if count == 0 { String::new() } else { format!("{count}{unit}") };
    let (days, rest) = (part(seconds / DAY, 'D'), seconds % DAY);
    let time = [part(rest / 3600, 'H'), part(rest / 60 % 60, 'M'), part(rest % 60, 'S')].concat();
    match (days.is_empty(), time.is_empty()) {
        (true, true) => "PT0S".to_owned(),
        (false, true) => format!("P{days}"),
        _ => format!("P{days}T{time}"),
    }
}

/// The namespaces of a subscription or a group.
pub(crate) fn list(world: &World, call: &Call) -> Result<Answer, ArmError> {
    only_get(call)?;
    let prefix = call.scope();
    let all = world.arm.namespaces.iter().filter(|(id, _)| id.starts_with(&prefix));
    let value: Vec<Value> = all.map(|(_, namespace)| namespace.view()).collect();
    Ok(Answer::json(200, json!({"value": value})))
}

/// `{group}/…/namespaces/{name}[/queues[/{queue}]]`.
pub(crate) fn route(world: &World, call: &Call, rest: &[&str]) -> Result<Answer, ArmError> {
    only_get(call)?;
    let id = format!("/{}", call.lower[..8.min(call.lower.len())].join("/"));
    let namespace = world.arm.namespaces.get(&id).ok_or_else(|| ArmError::not_found(&call.path()))?;
    match rest {
        [_] => Ok(Answer::json(200, namespace.view())),
        [_, "queues"] => {
            let queues = namespace.broker.queues();
            let value: Vec<Value> = queues.iter().filter_map(|queue| namespace.queue(queue)).collect();
            Ok(Answer::json(200, json!({"value": value})))
        }
        [_, "queues", _] => match namespace.queue(call.name()) {
            Some(queue) => Ok(Answer::json(200, queue)),
            None => Err(ArmError::not_found(&call.path())),
        },
        _ => Err(ArmError::not_found(&call.path())),
    }
}

fn only_get(call: &Call) -> Result<(), ArmError> {
    match call.method {
        Method::GET => Ok(()),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_azure_writes_them() {
        for (seconds, text) in
            [(300, "PT5M"), (600, "PT10M"), (14 * DAY, "P14D"), (90061, "P1DT1H1M1S"), (0, "PT0S")]
        {
            assert_eq!(iso(Duration::from_secs(seconds)), text);
        }
    }
}
