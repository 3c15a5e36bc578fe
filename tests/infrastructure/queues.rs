//! The queues that are made are those that functions read and steps send to.

use std::collections::BTreeSet;

use image_factory::domain::Queue;

use crate::{functions, module};

/// The queues of the triggers in functions/.
fn read() -> BTreeSet<String> {
    let functions = functions();
    let bindings = functions.iter().flat_map(|(_, function)| function["bindings"].as_array().unwrap());
    bindings.filter_map(|binding| binding["queueName"].as_str()).map(str::to_owned).collect()
}

#[test]
fn every_queue_that_is_read_or_written_is_made_and_no_other() {
    let module = module("service-bus");
    let made: BTreeSet<String> = module.variable("queues").texts().into_iter().map(str::to_owned).collect();
    assert_eq!(made, read(), "made in infra/modules/service-bus.bicep, and read in functions/");
    let written: BTreeSet<String> = Queue::ALL.iter().map(|queue| queue.name().to_owned()).collect();
    assert_eq!(made, written, "made in infra/modules/service-bus.bicep, and written by the steps");
}

#[test]
fn queues_are_made_as_the_simulator_makes_them_and_lose_nothing() {
    let module = module("service-bus");
    let queues = module.resources("Microsoft.ServiceBus/namespaces/queues").next().unwrap();
    let queues = queues.value.as_ref().unwrap();
    let text = |name: &str| queues.at(&format!("properties.{name}")).and_then(|value| value.text()).unwrap();
    let word = |name: &str| queues.at(&format!("properties.{name}")).and_then(|value| value.word()).unwrap();
    let simulated = image_factory::dev::in_process::queue_settings();
    let minutes = |duration: std::time::Duration| format!("PT{}M", duration.as_secs() / 60);
    assert_eq!(text("lockDuration"), minutes(simulated.lock_duration));
    let window = simulated.duplicate_detection_window.unwrap();
    assert_eq!(text("duplicateDetectionHistoryTimeWindow"), minutes(window));
    assert_eq!(word("maxDeliveryCount"), simulated.max_delivery_count.to_string());
    assert_eq!(word("requiresDuplicateDetection"), "true");
    assert_eq!(word("deadLetteringOnMessageExpiration"), "true");
    assert_eq!(word("requiresSession"), "false");
}
