//! Calls that wait out trouble that passes, and spare the budget that all calls of a subscription share.

use std::time::Duration;

use factory_clock::Clock;
use futures::{StreamExt as _, stream};

use crate::azure::AzureError;

/// So often a call is tried.
const TRIES: u32 = 4;
/// Before the next try, where Azure names no time.
const PAUSE: Duration = Duration::from_secs(5);
/// A person waits for the doctor.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So many labs are looked at side by side: runs that go on need Azure's budget more (25 reads a second in a subscription,
/// <https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling>).
const AT_A_TIME: usize = 4;

/// Calls until there is an answer that stays.
pub async fn patiently<T, F>(clock: &Clock, mut call: impl FnMut() -> F) -> Result<T, AzureError>
where
    F: Future<Output = Result<T, AzureError>>,
{
    for _ in 1..TRIES {
        match call().await {
            Err(error) if error.is_transient() => {
                clock.sleep(error.retry_after().unwrap_or(PAUSE).min(LONGEST_PAUSE)).await;
            }
            answer => return answer,
        }
    }
    call().await
}

/// Looks at each item, a few side by side; answers in the items' order.
pub async fn each<T, R, F>(items: impl IntoIterator<Item = T>, look: impl FnMut(T) -> F) -> Vec<R>
where
    F: Future<Output = R>,
{
    let looks: Vec<F> = items.into_iter().map(look).collect();
    stream::iter(looks).buffered(AT_A_TIME).collect().await
}
