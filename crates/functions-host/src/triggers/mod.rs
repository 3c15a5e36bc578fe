//! What fires functions.

pub(crate) mod http;
pub(crate) mod service_bus;
pub(crate) mod timer;

use tokio::sync::watch;

/// Tells listeners to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// The switch and what watches it.
    pub(crate) fn channel() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    pub(crate) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits for it; a switch that is gone counts as set.
    pub(crate) async fn wait(&self) {
        let _ = self.0.clone().wait_for(|stopped| *stopped).await;
    }
}
