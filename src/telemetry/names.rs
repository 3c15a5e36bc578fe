//! The names of spans, metrics and attributes. Those of OpenTelemetry's conventions stand before those of the factory's own
//! (<https://opentelemetry.io/docs/specs/semconv/>).

/// Under which spans and metrics are made.
pub const SCOPE: &str = "image-factory";

/// Declares names with what they mean, and the list of all of them.
macro_rules! names {
    ($(#[$about:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        $(#[$about])*
        pub const $list: &[&str] = &[$($name),*];
    };
}

names! {
    /// Every attribute of spans and metrics.
    ATTRIBUTES:
    /// Always `servicebus`.
    MESSAGING_SYSTEM = "messaging.system";
    /// The queue.
    MESSAGING_DESTINATION = "messaging.destination.name";
    /// `send` or `process`.
    MESSAGING_OPERATION_NAME = "messaging.operation.name";
    /// `send` or `process`.
    MESSAGING_OPERATION_TYPE = "messaging.operation.type";
    /// The broker's MessageId.
    MESSAGING_MESSAGE_ID = "messaging.message.id";
    /// How many messages went out together.
    MESSAGING_BATCH = "messaging.batch.message_count";
    /// How often Service Bus has delivered the message.
    MESSAGING_DELIVERY_COUNT = "messaging.servicebus.message.delivery_count";
    /// When the message became visible, in seconds since 1970.
    MESSAGING_ENQUEUED_TIME = "messaging.servicebus.message.enqueued_time";
    /// The Functions host's id of the invocation.
    FAAS_INVOCATION_ID = "faas.invocation_id";
    /// What fired the function: `pubsub`, `timer` or `http`.
    FAAS_TRIGGER = "faas.trigger";
    /// `GET`, `PUT` and so on.
    HTTP_METHOD = "http.request.method";
    /// The answer's status.
    HTTP_STATUS = "http.response.status_code";
    /// The host that was called.
    SERVER_ADDRESS = "server.address";
    /// The URL that was called, without its query, in which signatures may be.
    URL_FULL = "url.full";
    /// Azure's resource provider: that of the resource for calls of Resource Manager, `Microsoft.Storage` for blobs.
    AZURE_PROVIDER = "azure.resource_provider.namespace";
    /// Azure's correlation id, or its id of the request where there is none.
    AZURE_REQUEST_ID = "azure.service.request.id";
    /// The subscription of a lab.
    CLOUD_ACCOUNT = "cloud.account.id";
    /// Azure's code, the factory's own code, or the status of an answer.
    ERROR_TYPE = "error.type";
    /// The run.
    RUN = "image_factory.run";
    /// The golden image's path.
    IMAGE = "image_factory.image";
    /// The lab's name.
    LAB = "image_factory.lab";
    /// The step, by the name of its queue.
    STEP = "image_factory.step";
    /// The number of the step's message.
    ATTEMPT = "image_factory.attempt";
    /// `waits`, `succeeded` or `failed`.
    OUTCOME = "image_factory.outcome";
    /// What is waited for, in words.
    WAITING_FOR = "image_factory.waiting_for";
    /// What was called: the type of a resource, `blob` or `container`.
    RESOURCE_TYPE = "image_factory.resource_type";
}

names! {
    /// Every metric.
    METRICS:
    /// Histogram, s: an invocation for a message, by queue and error.
    PROCESS_DURATION = "messaging.process.duration";
    /// Histogram, s: a call of Azure, by provider, method and status.
    CALL_DURATION = "http.client.request.duration";
    /// Histogram, s: a step from its first message to its end, by step and outcome. That of `start-run` is the run's.
    STEP_DURATION = "image_factory.step.duration";
    /// Counter: steps that failed, by step and code.
    STEP_FAILURES = "image_factory.step.failures";
    /// Counter: trouble after which a step tries again, by step and code.
    STEP_RETRIES = "image_factory.step.retries";
    /// Histogram, s: from the moment at which a message was due until it was taken, by queue.
    MESSAGE_WAIT = "image_factory.message.wait";
    /// Counter: deliveries of a message after its first, by queue.
    MESSAGE_REDELIVERIES = "image_factory.message.redeliveries";
    /// Counter: lost messages that cleanup sent again.
    MESSAGES_RECOVERED = "image_factory.messages.recovered";
    /// Counter: calls that Azure refused with 429, or with 503 `ServerBusy`, by provider and host.
    THROTTLES = "image_factory.throttles";
    /// Gauge, s: how long the message that is due the longest has been due, as cleanup saw it.
    QUEUE_AGE = "image_factory.queue.age";
    /// Gauge: runs that go on, as cleanup saw them.
    RUNS_OPEN = "image_factory.runs.open";
    /// Gauge: the factory's images in a lab, when cleanup last looked into it, by lab.
    LAB_IMAGES = "image_factory.lab.images";
    /// Gauge, s: the age of the golden image of a lab that was renewed least lately, by lab.
    LAB_IMAGE_AGE = "image_factory.lab.image.age";
    /// Gauge: what cleanup could neither judge nor remove at its last tick.
    LEFTOVERS = "image_factory.leftovers";
    /// Counter: leftovers that cleanup removed.
    LEFTOVERS_REMOVED = "image_factory.leftovers.removed";
}

names! {
    /// What spans are named, or how their names begin.
    SPANS:
    /// A whole run, from its first message to its end; the root of its trace.
    RUN_SPAN = "run";
    /// One invocation of a step; followed by its queue.
    PROCESS_SPAN = "process";
    /// Messages that go out together; followed by their queue.
    SEND_SPAN = "send";
    /// An invocation by a timer or over HTTP; followed by its function.
    INVOKE_SPAN = "invoke";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_given_twice_and_all_are_written_as_opentelemetry_writes_names() {
        let all: Vec<&str> = [ATTRIBUTES, METRICS, SPANS].concat();
        for (index, name) in all.iter().enumerate() {
            assert!(!all[..index].contains(name), "{name}");
            let fits = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_');
            assert!(name.chars().all(fits), "{name}");
        }
    }
}
