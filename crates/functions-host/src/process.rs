//! The handler's process: started, probed, listened to, started again, killed
//! (Azure/azure-functions-host WorkerProcess.cs, HttpWorkerChannel.cs, HttpFunctionInvocationDispatcher.cs).
//!
//! All times here are real time, whatever clock the app runs by: they are about a process of this machine.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, Command},
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use uuid::Uuid;

use crate::{
    command_line::{command_line, host_variables},
    config::CustomHandler,
    console::{Stream, classify},
    crashes::{Consequence, Crashes},
    events::{Events, HostEvent, Level},
    settings::Settings,
};

/// Time between two probes (WorkerConstants.cs).
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// How long the host waits for a killed process (WorkerProcess.cs).
const KILL_WAIT: Duration = Duration::from_secs(1);

/// How long the last lines of an ended process are waited for: a child of its own may hold the pipes open.
const LAST_LINES_WAIT: Duration = Duration::from_millis(200);

/// So many lines of stderr become the error's text (WorkerProcess.cs).
const ERROR_LINES: usize = 3;

const HOST_CATEGORY: &str = "Host.Worker";

/// Where the handler is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Started, or about to be; invocations wait.
    Starting,
    /// It answered; invocations go to it.
    Ready,
    /// It ended with code 0: invocations are tried and refused.
    Down,
    /// The host stops.
    Stopped,
}

/// The handler's phase, and which start of it this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandlerState {
    pub(crate) phase: Phase,
    pub(crate) generation: u64,
}

enum Order {
    Restart { generation: u64 },
    Stop,
}

/// Why supervision ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was asked to.
    Asked,
    /// The handler crashed too often.
    TooManyErrors(String),
}

/// The supervised handler, for those who call it.
#[derive(Clone)]
pub(crate) struct HandlerProcess {
    pub(crate) port: u16,
    state: watch::Receiver<HandlerState>,
    orders: mpsc::UnboundedSender<Order>,
}

impl HandlerProcess {
    /// Waits until invocations need not wait any more.
    pub(crate) async fn settled(&self) -> HandlerState {
        let mut state = self.state.clone();
        match state.wait_for(|state| state.phase != Phase::Starting).await {
            Ok(state) => *state,
            Err(_) => HandlerState { phase: Phase::Stopped, ..*self.state.borrow() },
        }
    }

    pub(crate) fn state(&self) -> HandlerState {
        *self.state.borrow()
    }

    /// Kills the process of a generation and starts the next one; not counted as an error. Nothing happens if that
    /// process is gone already.
    pub(crate) fn restart(&self, generation: u64) {
        let _ = self.orders.send(Order::Restart { generation });
    }

    /// Kills the process for good.
    pub(crate) fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
    }
}

/// What the process is made from.
pub(crate) struct HandlerOptions {
    pub(crate) handler: CustomHandler,
    pub(crate) app_root: PathBuf,
    pub(crate) settings: Settings,
    pub(crate) client: reqwest::Client,
    pub(crate) events: Events,
}

/// Chooses the port and makes the supervisor; the returned future runs it.
///
/// # Errors
/// If no port of the loopback interface is free.
pub(crate) fn supervise(
    options: HandlerOptions,
) -> io::Result<(HandlerProcess, impl Future<Output = End> + Send + 'static)> {
    // Bound once and closed again, so a restarted handler gets the same port (WorkerUtilities.cs).
    let port = match options.handler.port {
        Some(port) => port,
        None => std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port(),
    };
    let (state, states) = watch::channel(HandlerState { phase: Phase::Starting, generation: 1 });
    let (orders, received) = mpsc::unbounded_channel();
    let process = HandlerProcess { port, state: states, orders };
    let supervisor = Supervisor { options, port, state, orders: received, crashes: Crashes::default() };
    Ok((process, supervisor.run()))
}

struct Supervisor {
    options: HandlerOptions,
    port: u16,
    state: watch::Sender<HandlerState>,
    orders: mpsc::UnboundedReceiver<Order>,
    crashes: Crashes,
}

/// What ended one process.
enum Ended {
    Exited(i32),
    Failed(String),
    Restart,
    Stop,
}

impl Supervisor {
    async fn run(mut self) -> End {
        let end = loop {
            let ended = self.one_process().await;
            let now = Instant::now();
            let consequence = match &ended {
                Ended::Stop => break End::Asked,
                Ended::Restart => Consequence::Restart,
                Ended::Exited(code) => self.crashes.exited(*code, now),
                Ended::Failed(_) => self.crashes.error(now),
            };
            if let Ended::Exited(code) = ended {
                let restarts = consequence == Consequence::Restart;
                self.options.events.send(HostEvent::HandlerExited { code, restarts });
            }
            match consequence {
                Consequence::Restart => self.enter(Phase::Starting, true),
                Consequence::StayDown => {
                    self.enter(Phase::Down, false);
                    match self.order_while_down().await {
                        Order::Stop => break End::Asked,
                        Order::Restart { .. } => self.enter(Phase::Starting, true),
                    }
                }
                Consequence::StopHost => {
                    let line = "Exceeded http worker restart retry count. Shutting down Functions Host";
                    self.options.events.log(Level::Error, HOST_CATEGORY, line);
                    let last = match ended {
                        Ended::Exited(code) => format!("the handler exited with code {code}"),
                        Ended::Failed(reason) => reason,
                        Ended::Restart | Ended::Stop => String::new(),
                    };
                    break End::TooManyErrors(last);
                }
            }
        };
        self.enter(Phase::Stopped, false);
        end
    }

    fn enter(&self, phase: Phase, next_generation: bool) {
        self.state.send_modify(|state| {
            state.phase = phase;
            state.generation += u64::from(next_generation);
        });
    }

    async fn order_while_down(&mut self) -> Order {
        let generation = self.state.borrow().generation;
        loop {
            match self.orders.recv().await {
                None | Some(Order::Stop) => return Order::Stop,
                Some(Order::Restart { generation: meant }) if meant == generation => {
                    return Order::Restart { generation };
                }
                Some(Order::Restart { .. }) => {}
            }
        }
    }

    /// Runs one process until it ends, is ended, or does not become ready in time.
    async fn one_process(&mut self) -> Ended {
        let worker = Uuid::new_v4();
        let added = host_variables(self.port, worker, &self.options.app_root);
        let mut child = match self.spawn(&added) {
            Ok(child) => child,
            Err(reason) => {
                self.options.events.log(Level::Error, HOST_CATEGORY, &reason);
                return Ended::Failed(reason);
            }
        };
        self.options
            .events
            .send(HostEvent::HandlerStarted { pid: child.id().unwrap_or_default(), port: self.port });
        let mut console = Console::listen(&mut child, &self.options);
        let ended = self.watch(&mut child).await;
        if !matches!(ended, Ended::Exited(_)) {
            // SIGKILL, as .NET's Process.Kill does: no signal before it, no HTTP call.
            let _ = child.start_kill();
            let _ = tokio::time::timeout(KILL_WAIT, child.wait()).await;
        }
        let last_lines = console.finish().await;
        if let Ended::Exited(code) = &ended
            && *code != 0
        {
            let line = format!("Language Worker Process exited. exitCode: {code}. {}", last_lines.join(","));
            self.options.events.log(Level::Error, HOST_CATEGORY, line);
        }
        ended
    }

    fn spawn(&self, added: &BTreeMap<String, String>) -> Result<Child, String> {
        let options = &self.options;
        let mut variables: BTreeMap<String, String> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        variables.extend(options.settings.iter().map(|(name, value)| (name.into(), value.into())));
        variables.extend(added.clone());
        let line = command_line(&options.handler, &options.app_root, &variables);
        let mut command = Command::new(&line.program);
        command.args(&line.arguments).current_dir(&line.directory).kill_on_drop(true);
        command.envs(options.settings.iter()).envs(added);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| {
            format!("Failed to start Worker Channel. Process fileName: {}: {error}", line.program.display())
        })
    }

    /// Probes the process and then only watches it.
    async fn watch(&mut self, child: &mut Child) -> Ended {
        let generation = self.state.borrow().generation;
        let probe =
            wait_until_ready(&self.options.client, self.port, self.options.handler.initialization_timeout);
        tokio::pin!(probe);
        let mut probing = true;
        loop {
            tokio::select! {
                status = child.wait() => return match status {
                    Ok(status) => Ended::Exited(exit_code(status)),
                    Err(error) => Ended::Failed(format!("cannot wait for the handler's process: {error}")),
                },
                order = self.orders.recv() => match order {
                    None | Some(Order::Stop) => return Ended::Stop,
                    Some(Order::Restart { generation: meant }) if meant == generation => return Ended::Restart,
                    Some(Order::Restart { .. }) => {}
                },
                ready = &mut probe, if probing => {
                    probing = false;
                    if !ready {
                        let reason = "Initializing HttpWorker timed out.".to_owned();
                        self.options.events.log(Level::Error, HOST_CATEGORY, &reason);
                        return Ended::Failed(reason);
                    }
                    self.enter(Phase::Ready, false);
                    self.options.events.send(HostEvent::HandlerReady);
                }
            }
        }
    }
}

/// A process that a signal ended has the signal's number above 128, as in .NET.
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Any answer means ready, whatever its status; only a refused connection means "not yet"
/// (DefaultHttpWorkerService.cs `IsWorkerReady`).
async fn wait_until_ready(client: &reqwest::Client, port: u16, limit: Duration) -> bool {
    let url = format!("http://127.0.0.1:{port}/");
    let start = Instant::now();
    loop {
        match client.get(&url).send().await {
            Err(error) if error.is_connect() => {}
            _ => return true,
        }
        if start.elapsed() >= limit {
            return false;
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

/// The tasks that read a process's output.
struct Console {
    readers: JoinSet<()>,
    errors: Arc<Mutex<VecDeque<String>>>,
}

impl Console {
    fn listen(child: &mut Child, options: &HandlerOptions) -> Self {
        let errors = Arc::new(Mutex::new(VecDeque::new()));
        let mut readers = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            readers.spawn(read_lines(out, Stream::Out, options.events.clone(), None));
        }
        if let Some(err) = child.stderr.take() {
            let stream = Stream::Error { errors_only: options.handler.use_std_error_stream_for_errors_only };
            readers.spawn(read_lines(err, stream, options.events.clone(), Some(errors.clone())));
        }
        Self { readers, errors }
    }

    /// The last lines of stderr, once all of it is read.
    async fn finish(&mut self) -> Vec<String> {
        let all = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST_LINES_WAIT, all).await;
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }
}

async fn read_lines(
    pipe: impl AsyncRead + Unpin,
    stream: Stream,
    events: Events,
    last: Option<Arc<Mutex<VecDeque<String>>>>,
) {
    let mut reader = BufReader::new(pipe);
    let mut bytes = Vec::new();
    while let Ok(count) = reader.read_until(b'\n', &mut bytes).await {
        if count == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end_matches(['\n', '\r']);
        if !line.is_empty() {
            let (level, category, shown) = classify(stream, line);
            events.log(level, category, shown);
            if let Some(last) = &last {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.len() == ERROR_LINES {
                    last.pop_front();
                }
                last.push_back(line.into());
            }
        }
        bytes.clear();
    }
}
