//! Whether the queues are made as steps need them, as Resource Manager tells it. Infra makes them so; people who make one by hand
//! forget what cannot be changed afterwards.

use async_trait::async_trait;

use super::{Check, Finding, Known, Reached, patience::patiently};
use crate::{
    azure::{AzureError, QueueProperties},
    domain::{LabId, Queue},
    steps::LAST_DELIVERY,
};

/// As infra/modules/service-bus.bicep makes a queue; what each is for stands there.
pub const AS_MADE: &str = "--lock-duration PT5M --max-delivery-count 10 --enable-duplicate-detection true \
                           --duplicate-detection-history-time-window PT10M --default-message-time-to-live P14D \
                           --enable-dead-lettering-on-message-expiration true";
/// A namespace is looked for in so many subscriptions.
const MOST_SUBSCRIPTIONS: usize = 50;

/// The check.
pub struct AllQueueProperties;

#[async_trait]
impl Check for AllQueueProperties {
    fn name(&self) -> &'static str {
        "queue-properties"
    }

    async fn look(&self, at: &Reached, _: &Known) -> Vec<Finding> {
        let Some(host) = &at.namespace else {
            return vec![Finding::ok(
                "",
                "not looked at: Service Bus is reached with a key, as a stand-in is",
            )];
        };
        let id = match find(at, host).await {
            Ok(Some(id)) => id,
            Ok(None) => {
                let found = format!(
                    "how the queues are made was not looked at: no subscription that you see has the namespace {host}"
                );
                let fix = "for whoever runs the doctor: the role 'Reader' on the namespace; or correct ServiceBus__fullyQualifiedNamespace";
                return vec![Finding::warning("", found, fix)];
            }
            Err(error) => return vec![unseen(&error)],
        };
        match patiently(&at.factory.clock, || at.factory.azure.queues(&id)).await {
            Ok(queues) => judge(&queues),
            Err(error) => vec![unseen(&error)],
        }
    }
}

fn unseen(error: &AzureError) -> Finding {
    let fix = "for whoever runs the doctor: the role 'Reader' on the namespace";
    Finding::warning("", format!("how the queues are made was not looked at: {error}"), fix)
}

/// The namespace's id, first of all where the factory lab is.
async fn find(at: &Reached, host: &str) -> Result<Option<String>, AzureError> {
    let (azure, clock) = (&at.factory.azure, &at.factory.clock);
    let mut subscriptions = patiently(clock, || azure.subscriptions()).await?;
    let first = at.factory.factory_lab.as_ref().map(LabId::subscription_id).unwrap_or_default();
    subscriptions.sort_by_key(|id| !id.eq_ignore_ascii_case(first));
    for subscription in subscriptions.iter().take(MOST_SUBSCRIPTIONS) {
        match patiently(clock, || azure.service_bus_namespace(subscription, host)).await {
            Ok(None) => {}
            // Most subscriptions are not the factory's.
            Err(error) if !error.is_transient() => {}
            found => return found,
        }
    }
    Ok(None)
}

fn judge(queues: &[QueueProperties]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for queue in Queue::ALL {
        let name = queue.name();
        // One that is missing is another check's.
        let Some(made) = queues.iter().find(|made| made.name.eq_ignore_ascii_case(name)) else { continue };
        let of = format!("--resource-group <group> --namespace-name <namespace> --name {name}");
        let update = |option: &str| format!("az servicebus queue update {of} {option}");
        let anew = format!(
            "that cannot be changed; when it is empty: az servicebus queue delete {of} && az servicebus queue create {of} {AS_MADE}"
        );
        if !made.status.eq_ignore_ascii_case("Active") {
            findings.push(Finding::failed(name, format!("it is {}", made.status), update("--status Active")));
        }
        if made.requires_session {
            findings.push(Finding::failed(
                name,
                "it gives messages to sessions alone, and the host has none",
                &anew,
            ));
        }
        if !made.requires_duplicate_detection {
            let found = "without duplicate detection a message that is sent again is worked on again: correct, but dearer";
            findings.push(Finding::warning(name, found, &anew));
        }
        if made.max_delivery_count <= u64::from(LAST_DELIVERY) {
            let found = format!(
                "a message is a dead letter after {} deliveries, before trouble that passes is over",
                made.max_delivery_count
            );
            findings.push(Finding::failed(name, found, update("--max-delivery-count 10")));
        }
        if !made.dead_letters_expired {
            let found = "a message that expires is lost without a trace";
            let option = "--enable-dead-lettering-on-message-expiration true";
            findings.push(Finding::warning(name, found, update(option)));
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok("", "the queues are made as they must be"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    fn good(queue: Queue) -> QueueProperties {
        QueueProperties {
            name: queue.name().to_owned(),
            max_delivery_count: 10,
            requires_duplicate_detection: true,
            requires_session: false,
            dead_letters_expired: true,
            status: "Active".to_owned(),
        }
    }

    #[test]
    fn each_property_that_is_other_than_needed_is_told_with_its_queue() {
        let with = |change: fn(&mut QueueProperties)| {
            let mut all: Vec<QueueProperties> = Queue::ALL.into_iter().map(good).collect();
            change(&mut all[1]);
            let findings = judge(&all);
            assert_eq!(findings.len(), 1, "{findings:?}");
            (findings[0].subject.clone(), findings[0].verdict)
        };
        let (name, of) = (Queue::ALL[1].name(), |verdict| (Queue::ALL[1].name().to_owned(), verdict));
        assert_eq!(with(|_| {}), (String::new(), Verdict::Ok), "{name}");
        assert_eq!(with(|made| made.status = "ReceiveDisabled".to_owned()), of(Verdict::Failed));
        assert_eq!(with(|made| made.requires_session = true), of(Verdict::Failed));
        assert_eq!(with(|made| made.max_delivery_count = 5), of(Verdict::Failed));
        assert_eq!(with(|made| made.max_delivery_count = 6), (String::new(), Verdict::Ok));
        assert_eq!(with(|made| made.requires_duplicate_detection = false), of(Verdict::Warning));
        assert_eq!(with(|made| made.dead_letters_expired = false), of(Verdict::Warning));
    }
}
