//! Queues of the simulated Service Bus, as tests want them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Sim,
    broker::{BrokerError, QueueSettings},
};

/// The settings of a queue; what is left out is as in Azure.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct QueueSpec {
    /// How long a receiver holds a message.
    pub lock_seconds: f64,
    /// After this many deliveries without a settlement that ends it, a message is dead-lettered.
    pub max_delivery_count: u32,
    /// How long message ids are remembered; without it there is no duplicate detection.
    pub duplicate_detection_seconds: Option<f64>,
    /// Caps the time to live of every message.
    pub default_time_to_live_seconds: Option<f64>,
    /// Whether expired messages go to the dead-letter sub-queue.
    pub dead_lettering_on_message_expiration: bool,
    /// Largest message, in bytes.
    pub max_message_size: u64,
}

impl Default for QueueSpec {
    fn default() -> Self {
        let settings = QueueSettings::default();
        Self {
            lock_seconds: settings.lock_duration.as_secs_f64(),
            max_delivery_count: settings.max_delivery_count,
            duplicate_detection_seconds: None,
            default_time_to_live_seconds: None,
            dead_lettering_on_message_expiration: settings.dead_lettering_on_message_expiration,
            max_message_size: settings.max_message_size,
        }
    }
}

impl QueueSpec {
    fn settings(&self) -> Result<QueueSettings, BrokerError> {
        let duration = |seconds: f64| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|error| BrokerError::BadRequest(format!("{seconds} s is no duration: {error}")))
        };
        Ok(QueueSettings {
            lock_duration: duration(self.lock_seconds)?,
            max_delivery_count: self.max_delivery_count,
            duplicate_detection_window: self.duplicate_detection_seconds.map(duration).transpose()?,
            default_message_time_to_live: self.default_time_to_live_seconds.map(duration).transpose()?,
            dead_lettering_on_message_expiration: self.dead_lettering_on_message_expiration,
            max_message_size: self.max_message_size,
        })
    }
}

/// Makes a queue; one that exists keeps its messages and gets the new settings.
///
/// # Errors
/// If Service Bus would not take the name or a setting.
pub fn put_queue(sim: &Sim, name: &str, spec: &QueueSpec) -> Result<(), BrokerError> {
    sim.broker().create_queue(name, spec.settings()?)
}
