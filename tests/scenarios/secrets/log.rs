//! The handler's log, as it writes it, at its most verbose.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use image_factory::handler::logging;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter, layer::SubscriberExt as _};

/// The lines that were written so far. Cheap to clone.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Takes the log of this thread, until the guard goes.
    pub fn taken() -> (Self, DefaultGuard) {
        let log = Self::default();
        let everything =
            tracing_subscriber::registry().with(LevelFilter::TRACE).with(logging::lines(log.clone()));
        (log, tracing::subscriber::set_default(everything))
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
