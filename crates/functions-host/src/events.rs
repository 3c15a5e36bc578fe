//! What the host tells the program that embeds it.

use tokio::sync::mpsc;
use uuid::Uuid;

/// Severity of a log line, as .NET names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of interest to somebody who looks for a fault in the host.
    Debug,
    /// What happens.
    Information,
    /// Odd, but things go on.
    Warning,
    /// Something failed.
    Error,
}

/// Category of the handler's own lines (Azure/azure-functions-host WorkerConstants.cs).
pub const CONSOLE_CATEGORY: &str = "Host.Function.Console";

/// Something that happened in the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// A function.json is not usable; the other functions load.
    FunctionSkipped {
        /// The folder's name.
        function: String,
        /// Why.
        reason: String,
    },
    /// The handler's process was started.
    HandlerStarted {
        /// The process's id.
        pid: u32,
        /// Where it must listen on 127.0.0.1.
        port: u16,
    },
    /// The handler answered `GET /`.
    HandlerReady,
    /// The handler's process ended without having been asked to.
    HandlerExited {
        /// The exit code; 128 and the signal's number after a signal, as .NET reports it.
        code: i32,
        /// Whether it is started again.
        restarts: bool,
    },
    /// An invocation goes to the handler.
    InvocationStarted {
        /// The function's name.
        function: String,
        /// The invocation's id.
        id: Uuid,
    },
    /// An invocation ended.
    InvocationFinished {
        /// The function's name.
        function: String,
        /// The invocation's id.
        id: Uuid,
        /// Whether it succeeded, its outputs included.
        success: bool,
        /// Why not.
        reason: Option<String>,
    },
    /// A line for the log.
    Log {
        /// How serious it is.
        level: Level,
        /// `Host.Function.Console` for the handler's output, `Function.<name>.User` for an answer's `Logs`.
        category: String,
        /// The text.
        line: String,
    },
    /// The host stops; nothing is triggered any more.
    HostStopping {
        /// Why.
        reason: String,
    },
}

/// Where events go. Never waits; what nobody takes is dropped once the receiver is gone.
#[derive(Clone, Debug)]
pub struct Events(mpsc::UnboundedSender<HostEvent>);

impl Events {
    /// A pair of ends.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<HostEvent>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub(crate) fn send(&self, event: HostEvent) {
        // Nobody listening is no fault of the host.
        let _ = self.0.send(event);
    }

    pub(crate) fn log(&self, level: Level, category: &str, line: impl Into<String>) {
        self.send(HostEvent::Log { level, category: category.into(), line: line.into() });
    }
}
