//! The handler's log, as it writes it, at its most verbose.

use image_factory::{dev::log::Log, handler::logging};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt as _};

/// Takes the log of this thread, until the guard goes.
pub fn taken() -> (Log, DefaultGuard) {
    let log = Log::default();
    let everything =
        tracing_subscriber::registry().with(LevelFilter::TRACE).with(logging::lines(log.clone()));
    (log, tracing::subscriber::set_default(everything))
}
