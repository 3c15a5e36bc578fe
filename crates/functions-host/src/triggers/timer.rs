//! Fires `timerTrigger` functions by the given clock (Azure/azure-webjobs-sdk-extensions TimerListener.cs,
//! ScheduleMonitor.cs). A file takes the place of the status blob, and another one that of the singleton's lock.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use factory_clock::Clock;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use uuid::Uuid;

use super::Stop;
use crate::{
    bindings::{FunctionMetadata, TimerTrigger},
    dispatch::{HandlerRequest, Invoke},
    events::{Events, Level},
    payload::{
        Sys,
        service_bus::BEGINNING,
        timer::{self, ScheduleStatus, Tick},
    },
    schedule::Schedule,
};

/// How often a host asks for a lock that another one holds (real time).
const LOCK_INTERVAL: Duration = Duration::from_secs(5);

/// Fires one function.
pub(crate) struct Listener {
    pub(crate) function: Arc<FunctionMetadata>,
    pub(crate) trigger: TimerTrigger,
    pub(crate) invoker: Arc<dyn Invoke>,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
    pub(crate) state: TimerState,
}

/// Where a timer's status and lock are kept. Manual runs read the status as well.
#[derive(Clone, Debug)]
pub(crate) struct TimerState {
    folder: PathBuf,
    /// Held while a status is written, so that a reader sees a whole one.
    writing: Arc<Mutex<()>>,
}

impl TimerState {
    /// The blob's path is `timers/<host>/Host.Functions.<name>/status`.
    pub(crate) fn new(state_dir: &Path, function: &str) -> Self {
        Self {
            folder: state_dir.join("timers").join(format!("Host.Functions.{function}")),
            writing: Arc::default(),
        }
    }

    /// The status; `None` if there is none or it cannot be read, as in `GetSafeStatusAsync`.
    pub(crate) async fn read(&self) -> Option<ScheduleStatus> {
        let _guard = self.writing.lock().await;
        serde_json::from_slice(&std::fs::read(self.folder.join("status")).ok()?).ok()
    }

    async fn write(&self, status: ScheduleStatus) -> io::Result<()> {
        let _guard = self.writing.lock().await;
        std::fs::create_dir_all(&self.folder)?;
        // Renamed into place: a host that dies here leaves the old status.
        let new = self.folder.join("status.new");
        std::fs::write(&new, serde_json::to_vec(&status).unwrap_or_default())?;
        std::fs::rename(new, self.folder.join("status"))
    }

    /// The lock that makes the listener a singleton among hosts that share the state; `None` if another holds it.
    fn lock(&self) -> io::Result<Option<File>> {
        std::fs::create_dir_all(&self.folder)?;
        let file = File::create(self.folder.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// What `CheckPastDueAsync` finds at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// The status to go on with.
    status: ScheduleStatus,
    /// Whether the status must be written first.
    changed: bool,
    /// Whether an occurrence was missed.
    past_due: bool,
}

/// Compares the recorded status with the schedule. `None` only if the schedule has no further occurrence.
pub(crate) fn check_past_due(
    recorded: Option<ScheduleStatus>,
    schedule: &Schedule,
    now: OffsetDateTime,
) -> Option<Start> {
    let Some(mut status) = recorded else {
        // Written at once, so that the first occurrence can be missed as well.
        let status = ScheduleStatus { last: BEGINNING, next: schedule.next_after(now)?, last_updated: now };
        return Some(Start { status, changed: true, past_due: false });
    };
    let mut computed_from = if status.last != BEGINNING {
        status.last
    } else if status.last_updated != BEGINNING {
        status.last_updated
    } else {
        now
    };
    let mut expected = schedule.next_after(computed_from)?;
    let changed = status.next != expected;
    if changed {
        // Another schedule than the one that was recorded. What it would have done in the past is not made up for.
        if now > expected {
            computed_from = now;
            expected = schedule.next_after(now)?;
        }
        status = ScheduleStatus { last: BEGINNING, next: expected, last_updated: computed_from };
    }
    Some(Start { status, changed, past_due: now > status.next })
}

impl Listener {
    /// Runs until it is told to stop; a run that has begun is waited for.
    pub(crate) async fn run(self, stop: Stop) {
        let Some(_lock) = self.wait_for_lock(&stop).await else {
            return;
        };
        let now = self.clock.now();
        let schedule = &self.trigger.schedule;
        let start = if self.trigger.use_monitor {
            check_past_due(self.state.read().await, schedule, now)
        } else {
            schedule.next_after(now).map(|next| Start {
                status: ScheduleStatus { last: BEGINNING, next, last_updated: BEGINNING },
                changed: false,
                past_due: false,
            })
        };
        let Some(start) = start else {
            self.log(Level::Warning, "the schedule has no further occurrence".into());
            return;
        };
        let mut status = start.status;
        if start.changed {
            self.record(status).await;
        }
        if start.past_due {
            // However many occurrences were missed, it runs once.
            self.log(Level::Information, format!("Function 'Functions.{}' is past due", self.function.name));
            status = match self.fire(status, true, false).await {
                Some(status) => status,
                None => return,
            };
        } else if self.trigger.run_on_startup {
            status = match self.fire(status, false, true).await {
                Some(status) => status,
                None => return,
            };
        }
        while !stop.is_set() {
            // An occurrence that passed during the last run fires at once: runs never overlap.
            tokio::select! {
                () = self.clock.sleep_until(status.next) => {}
                () = stop.wait() => return,
            }
            status = match self.fire(status, false, false).await {
                Some(status) => status,
                None => return,
            };
        }
    }

    /// Invokes the function and computes the next occurrence from when it was invoked, whatever its result.
    async fn fire(
        &self,
        status: ScheduleStatus,
        is_past_due: bool,
        on_startup: bool,
    ) -> Option<ScheduleStatus> {
        let invoked = self.clock.now();
        let tick = Tick {
            adjust_for_dst: self.trigger.schedule.adjusts_for_dst(),
            schedule_status: self.trigger.use_monitor.then_some(status),
            is_past_due,
        };
        let sys = Sys { method_name: &self.function.name, utc_now: invoked, rand_guid: Uuid::new_v4() };
        let body = timer::invocation(&self.trigger.name, &tick, &sys);
        // A failed run is logged by the invoker and not repeated.
        let _ = self.invoker.invoke(&self.function, HandlerRequest::Generic(body)).await;
        // A timer that fired a little early would otherwise compute the same occurrence again.
        let from = if is_past_due || on_startup { invoked } else { invoked.max(status.next) };
        let status =
            ScheduleStatus { last: from, next: self.trigger.schedule.next_after(from)?, last_updated: from };
        if self.trigger.use_monitor {
            self.record(status).await;
        }
        Some(status)
    }

    async fn record(&self, status: ScheduleStatus) {
        if let Err(error) = self.state.write(status).await {
            self.log(Level::Warning, format!("the timer's status cannot be written: {error}"));
        }
    }

    async fn wait_for_lock(&self, stop: &Stop) -> Option<File> {
        loop {
            match self.state.lock() {
                Ok(Some(lock)) => return Some(lock),
                Ok(None) => {}
                Err(error) => self.log(Level::Warning, format!("the timer's lock cannot be taken: {error}")),
            }
            tokio::select! {
                () = tokio::time::sleep(LOCK_INTERVAL) => {}
                () = stop.wait() => return None,
            }
        }
    }

    fn log(&self, level: Level, line: String) {
        self.events.log(level, "Host.Triggers.Timer", line);
    }
}

#[cfg(test)]
mod tests;
