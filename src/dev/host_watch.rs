//! What the Functions host says: counted, logged, and told to the person where it matters.

use std::{
    io::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use anyhow::Context as _;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    functions_host::HostLine,
    processes::{Process, StartedHost},
};

/// A watch over the Functions host.
pub struct HostWatch {
    invocations: Arc<AtomicU64>,
    handler: Arc<AtomicU32>,
    news: mpsc::UnboundedReceiver<String>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
    last: String,
}

impl HostWatch {
    /// Watches `host`; writes everything that it says to `log`.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn start(host: StartedHost, log: Option<&Path>) -> anyhow::Result<Self> {
        let create = |path: &Path| {
            std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))
        };
        let log = log.map(create).transpose()?;
        let invocations = Arc::new(AtomicU64::new(0));
        let (tell, news) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let handler = Arc::new(AtomicU32::new(host.handler));
        let task =
            tokio::spawn(watch(host.process, log, invocations.clone(), handler.clone(), tell, stopped));
        Ok(Self { invocations, handler, news, stop, task, last: String::new() })
    }

    /// How many invocations ended so far.
    pub fn invocations(&self) -> u64 {
        self.invocations.load(Ordering::Relaxed)
    }

    /// The handler's process id.
    pub fn handler(&self) -> u32 {
        self.handler.load(Ordering::Relaxed)
    }

    /// What a person should know, since the last time.
    pub fn news(&mut self) -> Vec<String> {
        let news: Vec<String> = std::iter::from_fn(|| self.news.try_recv().ok()).collect();
        if let Some(last) = news.last() {
            self.last.clone_from(last);
        }
        news
    }

    /// Why the host ended by itself, if it did.
    pub fn ended(&self) -> Option<&str> {
        self.task.is_finished().then_some(self.last.as_str())
    }

    /// Stops the host, and the handler with it.
    ///
    /// # Errors
    /// If the host cannot be waited for.
    pub async fn stop(self) -> anyhow::Result<()> {
        // A host that has ended by itself needs no stop.
        let _ = self.stop.send(());
        self.task.await?
    }
}

async fn watch(
    mut host: Process,
    mut log: Option<std::fs::File>,
    invocations: Arc<AtomicU64>,
    handler: Arc<AtomicU32>,
    tell: mpsc::UnboundedSender<String>,
    mut stopped: oneshot::Receiver<()>,
) -> anyhow::Result<()> {
    loop {
        let line = tokio::select! {
            line = host.line() => line?,
            _ = &mut stopped => None,
        };
        let Some(line) = line else { return host.stop().await };
        if let Some(log) = &mut log {
            writeln!(log, "{line}")?;
        }
        let Ok(line) = serde_json::from_str::<HostLine>(&line) else { continue };
        match line {
            HostLine::Invoked { .. } => {
                invocations.fetch_add(1, Ordering::Relaxed);
            }
            HostLine::HandlerStarted { pid } => handler.store(pid, Ordering::Relaxed),
            _ => {}
        }
        if let Some(news) = news(line) {
            // Nobody listens any more while `dev` is on its way out.
            let _ = tell.send(news);
        }
    }
}

/// What a person should know of a line.
fn news(line: HostLine) -> Option<String> {
    match line {
        HostLine::HandlerExited { code, restarts } => {
            let then = if restarts { "it is started again" } else { "it is not started again" };
            Some(format!("the handler ended with exit code {code}; {then}"))
        }
        HostLine::HandlerStarted { pid } => Some(format!("the handler was started (process {pid})")),
        HostLine::Invoked { function, success: false, reason } => {
            Some(format!("an invocation of {function} failed: {}", reason.unwrap_or_default()))
        }
        HostLine::Stopping { reason } => Some(format!("the Functions host stops: {reason}")),
        HostLine::FunctionSkipped { function, reason } => {
            Some(format!("function {function} was skipped: {reason}"))
        }
        HostLine::Listening { .. }
        | HostLine::HandlerReady
        | HostLine::Invoked { .. }
        | HostLine::Log { .. } => None,
    }
}
