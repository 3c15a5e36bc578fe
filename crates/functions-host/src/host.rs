//! The host: puts the parts together, and takes them apart again.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::Request};
use azure_core::credentials::TokenCredential;
use factory_clock::Clock;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use uuid::Uuid;

use crate::{
    access::AccessKeys,
    admin,
    bindings::{FunctionMetadata, SkippedFunction, Trigger, read_functions},
    config::{ConfigError, HostConfig},
    dispatch::{Clients, Dispatcher, Invoke},
    events::{Events, HostEvent, Level},
    messaging::{Messaging, ServiceBus},
    process::{End, HandlerOptions, HandlerProcess, Phase, supervise},
    settings::Settings,
    triggers::{Stop, http::HttpFunctions, service_bus, timer},
};

/// How long running invocations may take to end when the host stops (real time; the shutdown limit of .NET's host).
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// How long listeners may take to give their messages back once the handler is gone (real time).
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// What a host is started with.
pub struct HostOptions {
    /// The folder with host.json and the function folders.
    pub app_root: PathBuf,
    /// Where HTTP functions and the admin API answer.
    pub http_listener: TcpListener,
    /// App settings; the handler gets them in its environment.
    pub settings: BTreeMap<String, String>,
    /// The time for timers, message locks and payloads. Time-outs of the handler's process are real time.
    pub clock: Clock,
    /// Where timers' status is kept, in place of a storage account.
    pub state_dir: PathBuf,
    /// The app's identity, for connections without a key.
    pub credential: Option<Arc<dyn TokenCredential>>,
    /// Keys that callers need; nothing is checked without them.
    pub keys: Option<AccessKeys>,
    /// Another broker than Service Bus over AMQP.
    pub messaging: Option<Arc<dyn Messaging>>,
}

impl HostOptions {
    /// Options without an identity and without keys, with Service Bus over AMQP.
    pub fn new(
        app_root: PathBuf,
        http_listener: TcpListener,
        settings: BTreeMap<String, String>,
        clock: Clock,
        state_dir: PathBuf,
    ) -> Self {
        Self {
            app_root,
            http_listener,
            settings,
            clock,
            state_dir,
            credential: None,
            keys: None,
            messaging: None,
        }
    }
}

/// The host does not start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// host.json.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The app root.
    #[error("cannot list the functions in {path}: {source}")]
    AppRoot {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No port for the handler, or the listener is closed.
    #[error("no port: {0}")]
    Port(std::io::Error),
    /// The HTTP client.
    #[error("cannot make an HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why a host stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostExit {
    /// It was asked to.
    Requested,
    /// The handler crashed for the third time, or never came up.
    HandlerFailed {
        /// What happened last.
        reason: String,
    },
}

/// A running host. It stops when this is dropped.
#[derive(Debug)]
pub struct Host {
    addr: SocketAddr,
    shutdown: watch::Sender<bool>,
    task: JoinHandle<HostExit>,
}

impl Host {
    /// Reads the app, starts the handler and listens. Functions that cannot be loaded are reported and left out.
    ///
    /// # Errors
    /// If host.json cannot be used, or there is nothing to listen on.
    pub fn start(options: HostOptions) -> Result<(Self, mpsc::UnboundedReceiver<HostEvent>), HostError> {
        let (events, received) = Events::channel();
        let addr = options.http_listener.local_addr().map_err(HostError::Port)?;
        let (shutdown, stop) = Stop::channel();
        let prepared = Prepared::new(options, addr, events)?;
        let task = tokio::spawn(prepared.run(stop));
        Ok((Self { addr, shutdown, task }, received))
    }

    /// Where HTTP functions and the admin API answer.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Asks the host to stop; [`Host::wait`] returns when it has.
    pub fn stop(&self) {
        let _ = self.shutdown.send(true);
    }

    /// Waits until the host has stopped, on its own or asked to.
    pub async fn wait(&mut self) -> HostExit {
        match (&mut self.task).await {
            Ok(exit) => exit,
            Err(error) => HostExit::HandlerFailed { reason: format!("the host's task ended: {error}") },
        }
    }
}

/// Runs a host until `shutdown` is ready or the host stops itself. `on_event` sees every event, in order.
///
/// # Errors
/// As [`Host::start`].
pub async fn run(
    options: HostOptions,
    shutdown: impl Future<Output = ()>,
    mut on_event: impl FnMut(HostEvent),
) -> Result<HostExit, HostError> {
    let (mut host, mut events) = Host::start(options)?;
    tokio::pin!(shutdown);
    let mut asked = false;
    let exit = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => on_event(event),
            () = &mut shutdown, if !asked => {
                asked = true;
                host.stop();
            }
            exit = host.wait() => break exit,
        }
    };
    while let Ok(event) = events.try_recv() {
        on_event(event);
    }
    Ok(exit)
}

/// What the admin API shows and does.
pub(crate) struct Shared {
    pub(crate) addr: SocketAddr,
    pub(crate) functions: Vec<Arc<FunctionMetadata>>,
    pub(crate) skipped: Vec<SkippedFunction>,
    pub(crate) invoker: Arc<dyn Invoke>,
    pub(crate) timers: BTreeMap<String, timer::TimerState>,
    pub(crate) keys: Option<AccessKeys>,
    pub(crate) clock: Clock,
    pub(crate) events: Events,
    pub(crate) route_prefix: String,
    pub(crate) extension_bundle: Option<(String, String)>,
    pub(crate) host_id: String,
    pub(crate) started: Instant,
    process: HandlerProcess,
    listeners_stop: watch::Sender<bool>,
    in_flight: watch::Receiver<usize>,
}

impl Shared {
    pub(crate) fn function(&self, name: &str) -> Option<Arc<FunctionMetadata>> {
        self.functions.iter().find(|function| function.name.eq_ignore_ascii_case(name)).cloned()
    }

    pub(crate) fn handler_ready(&self) -> bool {
        self.process.state().phase == Phase::Ready
    }

    pub(crate) fn drain(&self) {
        let _ = self.listeners_stop.send(true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        *self.listeners_stop.borrow()
    }

    pub(crate) fn in_flight(&self) -> usize {
        *self.in_flight.borrow()
    }
}

/// A host that has read everything and has started nothing.
struct Prepared {
    http_listener: TcpListener,
    router: Router,
    listeners: Vec<Listener>,
    listeners_stop: Stop,
    shared: Arc<Shared>,
    supervisor: std::pin::Pin<Box<dyn Future<Output = End> + Send>>,
    never_ready: watch::Receiver<bool>,
}

enum Listener {
    ServiceBus(service_bus::Listener),
    Timer(timer::Listener),
}

impl Prepared {
    fn new(options: HostOptions, addr: SocketAddr, events: Events) -> Result<Self, HostError> {
        // The handler gets the path in its environment and may run elsewhere.
        let app_root = std::path::absolute(&options.app_root).unwrap_or(options.app_root);
        let settings = Settings::new(options.settings);
        let config = HostConfig::read(&app_root, &settings)?;
        let functions = read_functions(&app_root, &config, &settings)
            .map_err(|source| HostError::AppRoot { path: app_root.clone(), source })?;
        for warning in config.warnings.iter().chain(&functions.warnings) {
            events.log(Level::Warning, "Host.Startup", warning);
        }
        let mut skipped = functions.skipped;
        let functions: Vec<_> = functions.loaded.into_iter().map(Arc::new).collect();

        let messaging = options
            .messaging
            .unwrap_or_else(|| Arc::new(ServiceBus::new(options.credential)) as Arc<dyn Messaging>);
        let clients = Clients::new(config.function_timeout)?;
        let (process, supervisor) = supervise(HandlerOptions {
            handler: config.custom_handler.clone(),
            app_root,
            settings: settings.clone(),
            client: clients.following.clone(),
            events: events.clone(),
        })
        .map_err(HostError::Port)?;
        let (in_flight, in_flight_now) = watch::channel(0);
        let (never_ready_switch, never_ready) = watch::channel(false);
        let invoker: Arc<dyn Invoke> = Arc::new(Dispatcher {
            process: process.clone(),
            clients,
            function_timeout: config.function_timeout,
            initialization_timeout: config.custom_handler.initialization_timeout,
            settings: settings.clone(),
            messaging: messaging.clone(),
            events: events.clone(),
            in_flight,
            never_ready: never_ready_switch,
            sinks: std::sync::Mutex::default(),
        });

        let mut listeners = Vec::new();
        let mut timers = BTreeMap::new();
        for function in &functions {
            match &function.trigger {
                Trigger::Timer(trigger) => {
                    let state = timer::TimerState::new(&options.state_dir, &function.name);
                    timers.insert(function.name.clone(), state.clone());
                    listeners.push((
                        function,
                        Listener::Timer(timer::Listener {
                            function: function.clone(),
                            trigger: trigger.clone(),
                            invoker: invoker.clone(),
                            clock: options.clock.clone(),
                            events: events.clone(),
                            state,
                        }),
                    ));
                }
                Trigger::ServiceBus(trigger) => {
                    let source = settings
                        .connection(&trigger.connection)
                        .map_err(|error| error.to_string())
                        .and_then(|connection| {
                            let source = messaging.source(&connection, &trigger.entity);
                            Ok((connection, source.map_err(|error| error.to_string())?))
                        });
                    match source {
                        Ok((connection, source)) => {
                            let namespace = connection.fully_qualified_namespace().to_owned();
                            listeners.push((
                                function,
                                Listener::ServiceBus(service_bus::Listener {
                                    function: function.clone(),
                                    trigger: trigger.clone(),
                                    source,
                                    invoker: invoker.clone(),
                                    options: config.service_bus.clone(),
                                    clock: options.clock.clone(),
                                    events: events.clone(),
                                    client_identifier: format!("{namespace}-{}", Uuid::new_v4()),
                                    fully_qualified_namespace: namespace,
                                }),
                            ));
                        }
                        Err(error) => skipped.push(SkippedFunction {
                            name: function.name.clone(),
                            reason: format!(
                                "The listener for function 'Functions.{}' was unable to start. {error}",
                                function.name
                            ),
                        }),
                    }
                }
                Trigger::Http(_) | Trigger::Manual { .. } => {}
            }
        }
        let listeners = listeners
            .into_iter()
            .filter(|(function, _)| !function.disabled)
            .map(|(_, listener)| listener)
            .collect();
        for function in &skipped {
            events.send(HostEvent::FunctionSkipped {
                function: function.name.clone(),
                reason: function.reason.clone(),
            });
        }

        let http = Arc::new(HttpFunctions::new(
            &functions,
            &config.route_prefix,
            &config.custom_handler,
            options.keys.clone(),
            options.clock.clone(),
            invoker.clone(),
        ));
        let (listeners_switch, listeners_stop) = Stop::channel();
        let shared = Arc::new(Shared {
            addr,
            functions,
            skipped,
            invoker,
            timers,
            keys: options.keys,
            clock: options.clock,
            events,
            route_prefix: config.route_prefix,
            extension_bundle: config.extension_bundle,
            host_id: settings.get("AzureFunctionsWebHost__hostid").unwrap_or("localhost").to_owned(),
            started: Instant::now(),
            process,
            listeners_stop: listeners_switch,
            in_flight: in_flight_now,
        });
        let router = admin::router(shared.clone()).fallback(move |request: Request| {
            let http = http.clone();
            async move { http.serve(request).await }
        });
        Ok(Self {
            http_listener: options.http_listener,
            router,
            listeners,
            listeners_stop,
            shared,
            supervisor: Box::pin(supervisor),
            never_ready,
        })
    }

    async fn run(self, shutdown: Stop) -> HostExit {
        let Self { http_listener, router, listeners, listeners_stop, shared, supervisor, mut never_ready } =
            self;
        let server = tokio::spawn(async move { axum::serve(http_listener, router).await });
        let mut running = JoinSet::new();
        for listener in listeners {
            let stop = listeners_stop.clone();
            match listener {
                Listener::ServiceBus(listener) => running.spawn(listener.run(stop)),
                Listener::Timer(listener) => running.spawn(listener.run(stop)),
            };
        }
        // An app without functions has no handler.
        let supervisor = (!shared.functions.is_empty()).then(|| tokio::spawn(supervisor));
        let ended = {
            let process = shared.process.clone();
            async move {
                match supervisor {
                    Some(supervisor) => supervisor.await.unwrap_or(End::Asked),
                    None => {
                        let _process = process;
                        std::future::pending().await
                    }
                }
            }
        };
        tokio::pin!(ended);

        let mut handler_gone = shared.functions.is_empty();
        let exit = tokio::select! {
            () = shutdown.wait() => HostExit::Requested,
            end = &mut ended => {
                handler_gone = true;
                match end {
                    End::Asked => HostExit::Requested,
                    End::TooManyErrors(reason) => HostExit::HandlerFailed { reason },
                }
            }
            Ok(_) = never_ready.wait_for(|never| *never) => {
                HostExit::HandlerFailed { reason: "the handler did not become ready".into() }
            }
        };
        let reason = match &exit {
            HostExit::Requested => "it was asked to stop".to_owned(),
            HostExit::HandlerFailed { reason } => reason.clone(),
        };
        shared.events.send(HostEvent::HostStopping { reason });

        // First nothing new, then what runs may end, then the handler goes without a warning.
        shared.drain();
        let mut in_flight = shared.in_flight.clone();
        let quiet = async { in_flight.wait_for(|count| *count == 0).await.is_ok() };
        let _ = tokio::time::timeout(SHUTDOWN_GRACE, quiet).await;
        shared.process.stop();
        if !handler_gone {
            let _ = tokio::time::timeout(SHUTDOWN_GRACE, &mut ended).await;
        }
        // Invocations that the kill broke have failed by now: their messages are given back.
        let settled = async { while running.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(SETTLE_GRACE, settled).await;
        running.abort_all();
        server.abort();
        exit
    }
}
