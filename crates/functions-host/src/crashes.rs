//! Whether a handler that ended is started again (Azure/azure-functions-host WorkerProcess.cs,
//! HttpFunctionInvocationDispatcher.cs).

use std::time::Duration;

use tokio::time::Instant;

/// The error that stops the host, counted from 1.
const ERRORS_THAT_STOP_THE_HOST: usize = 3;

/// Errors are forgotten when the last one is longer ago than this (WorkerConstants.cs). Real time: it is about a real process.
const ERROR_MEMORY: Duration = Duration::from_secs(30 * 60);

/// Exit code of a handler that wants to be started again.
const INTENTIONAL_RESTART: i32 = 200;

/// What follows when a handler ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// A new process, at once.
    Restart,
    /// No process; invocations fail with "connection refused" until somebody restarts the host.
    StayDown,
    /// The host stops.
    StopHost,
}

/// The errors of the handler that still count.
#[derive(Debug, Default)]
pub(crate) struct Crashes(Vec<Instant>);

impl Crashes {
    /// Judges an exit nobody asked for.
    pub(crate) fn exited(&mut self, code: i32, now: Instant) -> Consequence {
        match code {
            0 => Consequence::StayDown,
            INTENTIONAL_RESTART => Consequence::Restart,
            _ => self.error(now),
        }
    }

    /// Counts an error: a crash, or a handler that never became ready.
    pub(crate) fn error(&mut self, now: Instant) -> Consequence {
        if self.0.last().is_some_and(|last| now.duration_since(*last) > ERROR_MEMORY) {
            self.0.clear();
        }
        self.0.push(now);
        if self.0.len() < ERRORS_THAT_STOP_THE_HOST { Consequence::Restart } else { Consequence::StopHost }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_error_stops_the_host() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        assert_eq!(crashes.exited(1, now), Consequence::Restart);
        assert_eq!(crashes.exited(137, now), Consequence::Restart);
        assert_eq!(crashes.error(now), Consequence::StopHost);
    }

    #[test]
    fn errors_count_until_half_an_hour_has_passed_since_the_last() {
        let (mut crashes, start) = (Crashes::default(), Instant::now());
        let minutes = |minutes: u64| start + Duration::from_secs(minutes * 60);
        assert_eq!(crashes.exited(1, start), Consequence::Restart);
        assert_eq!(crashes.exited(1, minutes(30)), Consequence::Restart);
        assert_eq!(crashes.exited(1, minutes(61)), Consequence::Restart);
        assert_eq!(crashes.exited(1, minutes(90)), Consequence::Restart);
        assert_eq!(crashes.exited(1, minutes(120)), Consequence::StopHost);
    }

    #[test]
    fn a_clean_exit_stays_down_and_200_always_restarts() {
        let (mut crashes, now) = (Crashes::default(), Instant::now());
        assert_eq!(crashes.exited(0, now), Consequence::StayDown);
        for _ in 0..5 {
            assert_eq!(crashes.exited(200, now), Consequence::Restart);
        }
    }
}
