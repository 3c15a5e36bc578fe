//! The factory, Azure and the Functions host in one process: the product's own code, the SDK's transport wired straight into
//! the simulator, no sockets. Under tokio's paused time a run of hours takes moments and is exact from its seed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
    http::header::CONTENT_TYPE,
};
use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    http::{
        AsyncRawResponse, HttpClient, Request, StatusCode, Transport,
        headers::{HeaderName, HeaderValue, Headers},
    },
};
use azure_sim::{
    Endpoints, Sim, SimOptions,
    broker::{Broker, BrokerMessage, Delivery, QueueSettings},
    control, identity,
    latency::Profile,
    storage,
};
use factory_clock::Clock;
use functions_host::{
    bindings::{Cardinality, DataType, EntityPath, ServiceBusTrigger},
    payload::{self, Sys},
    response::{Judgement, judge},
};
use futures::AsyncReadExt as _;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;
use uuid::Uuid;

use super::world;
use crate::{
    azure::{Azure, AzureOptions},
    domain::{Configuration, ConfigurationFiles, LabId, Message, Queue, RunId, RunReason, messages},
    handler::{self, Webhooks},
    ledger::Ledger,
    source::{Source, SourceError},
    steps::{Envelope, Factory, KeyedAccounts, Outbox, OutboxError},
    telemetry::{TRACEPARENT, Traces},
};

/// As host.json says: `extensions.serviceBus.maxConcurrentCalls`, per function.
pub(super) const MAX_CONCURRENT_CALLS: usize = 16;
/// So far a function app scales out (Microsoft, "Azure Functions hosting options": 100 instances on Linux).
const MOST_INSTANCES: usize = 100;
/// As `CleanupSchedule` says in the sample settings.
pub(super) const CLEANUP_PERIOD: Duration = Duration::from_secs(600);
/// How often it is looked whether all messages are gone.
const SETTLED_CHECK: Duration = Duration::from_secs(5);
/// A factory that still has messages after this will not settle any more.
const SETTLED_DEADLINE: time::Duration = time::Duration::hours(72);
/// Tokens of the managed identity outlive every simulation.
const TOKEN_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Service Bus duplicate detection, as the queues are made.
pub const DUPLICATE_DETECTION_WINDOW: Duration = Duration::from_secs(600);

/// The settings with which the factory's queues are made, here and on sockets.
pub fn queue_settings() -> QueueSettings {
    QueueSettings {
        duplicate_detection_window: Some(DUPLICATE_DETECTION_WINDOW),
        // As long as the host keeps renewing a lock; an invocation never takes longer.
        lock_duration: Duration::from_secs(300),
        dead_lettering_on_message_expiration: true,
        ..QueueSettings::default()
    }
}

/// What an in-process factory is made with.
pub struct InProcessOptions {
    /// From which all latencies come.
    pub seed: u64,
    /// How long things take.
    pub profile: Profile,
    /// The configuration's files.
    pub files: ConfigurationFiles,
    /// When the simulation begins.
    pub origin: OffsetDateTime,
}

/// Azure with everything in it that a factory needs before its first run: queues, labs, the ledger's account.
#[derive(Clone)]
pub struct Surroundings {
    /// Simulated Azure.
    pub sim: Sim,
    /// Simulated Service Bus.
    pub broker: Arc<Broker>,
    /// The configuration.
    pub folder: Folder,
    factory_lab: LabId,
}

impl Surroundings {
    /// An Azure for `configuration`, whose labs are made. Must be called in a runtime whose time is paused.
    ///
    /// # Errors
    /// If the parts cannot be put together.
    pub fn new(options: InProcessOptions, configuration: &Configuration) -> anyhow::Result<Self> {
        let sim = Sim::new(SimOptions {
            seed: options.seed,
            clock: Clock::virtual_from(options.origin),
            profile: options.profile,
            endpoints: Endpoints::Azure,
        });
        let broker = sim.broker().clone();
        for queue in Queue::ALL {
            broker.create_queue(queue.name(), queue_settings())?;
        }
        let lab = world::factory_lab(configuration);
        {
            let mut azure = sim.world();
            azure.add_lab(&lab);
            for lab in world::target_labs(configuration) {
                azure.add_lab(&lab);
            }
            storage::create_account(&mut azure, &world::ledger_account_id(), &lab.location);
            azure.add_namespace(&world::namespace_id(), &lab.location, broker.clone());
        }
        let factory_lab = LabId::new(&lab.subscription_id, Some(&lab.resource_group), &lab.name)?;
        Ok(Self { sim, broker, folder: Folder::new(options.files), factory_lab })
    }

    /// Puts the messages of steps straight into the simulated broker.
    pub fn outbox(&self) -> Arc<dyn Outbox> {
        let traces = Traces::new(&world::ledger_url(&self.sim), self.sim.clock().clone());
        Arc::new(BrokerOutbox { broker: self.broker.clone(), traces })
    }

    /// Carries the SDK's requests straight into the simulator.
    pub fn transport(&self) -> Arc<dyn HttpClient> {
        Arc::new(SimTransport(self.sim.clone()))
    }
}

/// The handler as one process of it would be: with its own caches, and perhaps its own idea of the time.
#[derive(Clone)]
pub struct Instance {
    /// The factory.
    pub factory: Arc<Factory>,
    handler: Router,
}

impl Instance {
    /// A handler in `surroundings` that reaches Azure through `transport` and Service Bus through `outbox`.
    ///
    /// # Errors
    /// If the parts cannot be put together.
    pub fn new(
        surroundings: &Surroundings,
        clock: Clock,
        transport: Arc<dyn HttpClient>,
        outbox: Arc<dyn Outbox>,
    ) -> anyhow::Result<Self> {
        let sim = &surroundings.sim;
        let clock = clock.adjustable();
        let azure = Azure::new(AzureOptions {
            resource_manager: "https://management.azure.com".parse()?,
            credential: Arc::new(SimIdentity(sim.clone())),
            transport: Some(Transport::new(transport)),
            clock: clock.clone(),
        })?;
        let container = world::ledger_container(&azure, sim)?;
        let source = Arc::new(surroundings.folder.clone());
        let lab = Some(surroundings.factory_lab.clone());
        let factory = Arc::new(Factory::new(azure, Ledger::new(container), outbox, source, clock, lab));
        let handler = handler::router(factory.clone());
        Ok(Self { factory, handler })
    }

    /// The same handler behind something that hears what it is asked, or what it answers.
    #[must_use]
    pub fn behind(self, wrap: impl FnOnce(Router) -> Router) -> Self {
        Self { handler: wrap(self.handler), ..self }
    }

    /// Hands a received message to the handler as the host does; whether the invocation succeeded.
    pub async fn deliver(&self, queue: Queue, delivery: &Delivery, now: OffsetDateTime) -> bool {
        self.invoke(queue.name(), service_bus_payload(queue, delivery, now)).await
    }

    /// Lets the cleanup timer fire; whether the invocation succeeded.
    pub async fn clean_up(&self, now: OffsetDateTime) -> bool {
        let sys = Sys { method_name: handler::CLEANUP, utc_now: now, rand_guid: Uuid::nil() };
        let tick = payload::timer::Tick { adjust_for_dst: true, schedule_status: None, is_past_due: false };
        self.invoke(handler::CLEANUP, payload::timer::invocation("timer", &tick, &sys)).await
    }

    /// Hands a request to a function as the host does; the status and the body that its caller gets.
    ///
    /// # Errors
    /// If the invocation failed, or has no output for the caller.
    pub async fn request(
        &self,
        function: &str,
        request: &payload::http::Request,
        now: OffsetDateTime,
    ) -> anyhow::Result<(u16, Value)> {
        let sys = Sys { method_name: function, utc_now: now, rand_guid: Uuid::nil() };
        let body = payload::http::invocation("req", request, &sys);
        let (status, media_type, body) =
            self.call(function, body).await.context("the handler does not answer")?;
        if !matches!(judge(status, media_type.as_deref(), &body), Judgement::Success(_)) {
            bail!("the invocation of {function} failed with {status}: {}", String::from_utf8_lossy(&body));
        }
        let mut answer: Value = serde_json::from_slice(&body)?;
        let res = &mut answer["Outputs"]["res"];
        let status = res["statusCode"].as_u64().and_then(|status| status.try_into().ok());
        Ok((status.context("the output has no status")?, res["body"].take()))
    }

    /// Calls the handler as the host does; whether the invocation succeeded.
    pub async fn invoke(&self, function: &str, payload: Vec<u8>) -> bool {
        match self.call(function, payload).await {
            Some((status, media_type, body)) => {
                matches!(judge(status, media_type.as_deref(), &body), Judgement::Success(_))
            }
            None => false,
        }
    }

    /// An answer's status, media type and body.
    async fn call(&self, function: &str, payload: Vec<u8>) -> Option<(u16, Option<String>, Bytes)> {
        let request = axum::http::Request::post(format!("/{function}"))
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(Body::from(payload))
            .ok()?;
        let Ok(response) = self.handler.clone().oneshot(request).await;
        let status = response.status().as_u16();
        let media_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.ok()?;
        Some((status, media_type, body))
    }
}

fn service_bus_payload(queue: Queue, delivery: &Delivery, now: OffsetDateTime) -> Vec<u8> {
    let binding = ServiceBusTrigger {
        name: "message".to_owned(),
        entity: EntityPath(queue.name().to_owned()),
        connection: "ServiceBus".to_owned(),
        data_type: Some(DataType::Binary),
        cardinality: Cardinality::One,
    };
    let message = payload::service_bus::Message {
        message_id: delivery.message.message_id(),
        content_type: delivery.message.content_type().map(str::to_owned),
        subject: delivery.message.subject().map(str::to_owned),
        delivery_count: i64::from(delivery.delivery_count()),
        sequence_number: delivery.sequence_number,
        lock_token: delivery.lock_token,
        enqueued_time: delivery.enqueued_time,
        body: delivery.message.body(),
        application_properties: delivery
            .message
            .property_text(TRACEPARENT)
            .map(|context| (TRACEPARENT.to_owned(), context.into()))
            .into_iter()
            .collect(),
        ..payload::service_bus::Message::from_input("")
    };
    let client =
        payload::service_bus::Client { fully_qualified_namespace: "simulated", identifier: "simulated" };
    let sys = Sys { method_name: queue.name(), utc_now: now, rand_guid: delivery.lock_token };
    payload::service_bus::invocation(&binding, &message, &client, &sys)
}

/// A whole factory in this process.
#[derive(Clone)]
pub struct InProcess {
    /// Simulated Azure.
    pub sim: Sim,
    /// Simulated Service Bus.
    pub broker: Arc<Broker>,
    /// The factory.
    pub factory: Arc<Factory>,
    /// How many invocations there were.
    pub invocations: Arc<AtomicU64>,
    /// The handler.
    pub instance: Instance,
    /// The configuration, unless it [comes from elsewhere](Self::listening).
    pub folder: Folder,
}

impl InProcess {
    /// A factory for `configuration`, whose labs are made. Must be called in a runtime whose time is paused.
    ///
    /// # Errors
    /// If the parts cannot be put together.
    pub async fn new(options: InProcessOptions, configuration: &Configuration) -> anyhow::Result<Self> {
        let surroundings = Surroundings::new(options, configuration)?;
        let clock = surroundings.sim.clock().clone();
        let instance = Instance::new(&surroundings, clock, surroundings.transport(), surroundings.outbox())?;
        instance.factory.ledger.prepare().await?;
        Ok(Self::of(surroundings, instance))
    }

    /// A factory of these parts.
    pub fn of(surroundings: Surroundings, instance: Instance) -> Self {
        let Surroundings { sim, broker, folder, .. } = surroundings;
        let factory = instance.factory.clone();
        Self { sim, broker, factory, invocations: Arc::default(), instance, folder }
    }

    /// The same factory with its configuration from elsewhere, called by these webhooks.
    #[must_use]
    pub fn listening(self, source: Arc<dyn Source>, webhooks: Webhooks) -> Self {
        let factory = Arc::new((*self.factory).clone().with_source(source));
        let handler = handler::router_with(factory.clone(), webhooks);
        Self { instance: Instance { factory: factory.clone(), handler }, factory, ..self }
    }

    /// The same factory, reaching these storage accounts of labs with a key of theirs.
    #[must_use]
    pub fn with_keyed_accounts(self, accounts: KeyedAccounts) -> Self {
        let factory = Arc::new((*self.factory).clone().with_keyed_accounts(accounts));
        let handler = handler::router(factory.clone());
        Self { instance: Instance { factory: factory.clone(), handler }, factory, ..self }
    }

    /// How many messages were sent so far.
    pub fn messages(&self) -> u64 {
        control::queues(&self.sim).values().map(|queue| queue.accepted).sum()
    }

    /// The clock that everything here follows.
    pub fn clock(&self) -> &Clock {
        self.sim.clock()
    }

    /// Asks for a run of everything.
    ///
    /// # Errors
    /// If the broker refuses.
    pub async fn start_run(&self, run: &RunId) -> anyhow::Result<()> {
        self.start(run, messages::StartRun::of_everything(RunReason::Manual)).await
    }

    /// Sends the message that starts a run, with what is asked for.
    ///
    /// # Errors
    /// If the queue is not there.
    pub async fn start(&self, run: &RunId, start: messages::StartRun) -> anyhow::Result<()> {
        let message = Message::first(run.clone(), messages::Step::StartRun(start));
        Ok(self.factory.outbox.send(vec![Envelope::now(message)]).await?)
    }

    /// Fires triggers as the host does, until no message is left. Answers whether that came to be.
    pub async fn run_until_settled(&self) -> bool {
        let mut tasks = tokio::task::JoinSet::new();
        for queue in Queue::ALL {
            tasks.spawn(self.clone().pump(queue));
        }
        tasks.spawn(self.clone().clean_up());
        let deadline = self.clock().now() + SETTLED_DEADLINE;
        while !self.is_settled() {
            if self.clock().now() > deadline {
                return false;
            }
            self.clock().sleep(SETTLED_CHECK).await;
        }
        true
    }

    fn is_settled(&self) -> bool {
        Queue::ALL.into_iter().all(|queue| {
            let counts = self.broker.counts(queue.name());
            counts.is_ok_and(|counts| counts.active + counts.scheduled + counts.locked == 0)
        })
    }

    /// One function's Service Bus trigger.
    async fn pump(self, queue: Queue) {
        let free = Arc::new(Semaphore::new(MAX_CONCURRENT_CALLS * MOST_INSTANCES));
        loop {
            let Ok(permit) = free.clone().acquire_owned().await else {
                return;
            };
            let mut permit = Some(permit);
            let wait = Duration::from_secs(3600);
            let Ok(deliveries) = self.broker.receive(queue.name(), 1, wait).await else {
                return;
            };
            for delivery in deliveries {
                let (host, permit) = (self.clone(), permit.take());
                tokio::spawn(async move {
                    host.deliver(queue, delivery).await;
                    drop(permit);
                });
            }
        }
    }

    /// Hands a received message to the handler as the host does, and settles it by the answer.
    pub async fn deliver(&self, queue: Queue, delivery: Delivery) {
        self.invocations.fetch_add(1, Ordering::Relaxed);
        let succeeded = self.instance.deliver(queue, &delivery, self.clock().now()).await;
        // A lock that was lost meanwhile is no news: the message comes again.
        let _ = match succeeded {
            true => self.broker.complete(queue.name(), delivery.lock_token),
            false => self.broker.abandon(queue.name(), delivery.lock_token),
        };
    }

    /// The cleanup timer.
    async fn clean_up(self) {
        loop {
            self.clock().sleep(CLEANUP_PERIOD).await;
            self.invocations.fetch_add(1, Ordering::Relaxed);
            self.instance.clean_up(self.clock().now()).await;
        }
    }
}

/// The SDK's transport, wired into the simulator.
#[derive(Debug)]
struct SimTransport(Sim);

#[async_trait]
impl HttpClient for SimTransport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let broken =
            |reason: String| azure_core::Error::with_message(azure_core::error::ErrorKind::Io, reason);
        let mut builder =
            axum::http::Request::builder().method(request.method().as_ref()).uri(request.url().as_str());
        for (name, value) in request.headers().iter() {
            builder = builder.header(name.as_str(), value.as_str());
        }
        let body = match request.body() {
            azure_core::http::Body::Bytes(bytes) => bytes.clone(),
            azure_core::http::Body::SeekableStream(stream) => {
                let (mut stream, mut bytes) = (stream.clone(), Vec::new());
                stream.read_to_end(&mut bytes).await.map_err(|error| broken(error.to_string()))?;
                bytes.into()
            }
        };
        let request = builder.body(body).map_err(|error| broken(error.to_string()))?;
        let response = self.0.call(request).await.map_err(|error| broken(error.to_string()))?;
        let mut headers = Headers::new();
        for (name, value) in response.headers() {
            let value = value.to_str().unwrap_or_default().to_owned();
            headers.insert(HeaderName::from(name.as_str().to_owned()), HeaderValue::from(value));
        }
        let status = StatusCode::from(response.status().as_u16());
        Ok(AsyncRawResponse::from_bytes(status, headers, response.into_body()))
    }
}

/// The managed identity of the simulated function app.
#[derive(Debug)]
struct SimIdentity(Sim);

#[async_trait]
impl TokenCredential for SimIdentity {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let world = self.0.world();
        let scope = scopes.first().copied().unwrap_or_default();
        let resource = scope.trim_end_matches("/.default");
        let token = identity::issue(&world, &world.identity.managed_identity, resource, TOKEN_LIFETIME);
        Ok(AccessToken::new(token, world.now() + TOKEN_LIFETIME))
    }
}

/// The outbox, straight into the simulated broker.
struct BrokerOutbox {
    broker: Arc<Broker>,
    traces: Traces,
}

#[async_trait]
impl Outbox for BrokerOutbox {
    async fn send(&self, envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
        for envelope in envelopes {
            let queue = envelope.message.queue();
            let sending = async {
                let message = BrokerMessage::new(envelope.message.to_bytes())
                    .with_message_id(envelope.message_id())
                    .with_property(TRACEPARENT, self.traces.traceparent(&envelope.message.run));
                let message = match envelope.at {
                    Some(at) => message.with_scheduled_enqueue_time(at),
                    None => message,
                };
                let failed = |error: azure_sim::broker::BrokerError| OutboxError {
                    queue: queue.to_string(),
                    reason: error.to_string(),
                };
                self.broker.send(queue.name(), vec![message]).map_err(failed)
            };
            self.traces.sending(queue, &[&envelope.message], sending).await?;
        }
        Ok(())
    }
}

/// A configuration that people may change at any moment. A run that names no commit takes it as it is when it begins.
#[derive(Clone)]
pub struct Folder(Arc<Mutex<Versions>>);

struct Versions {
    now: ConfigurationFiles,
    commits: BTreeMap<String, ConfigurationFiles>,
}

impl Folder {
    /// A folder with these files.
    pub fn new(files: ConfigurationFiles) -> Self {
        Self(Arc::new(Mutex::new(Versions { now: files, commits: BTreeMap::new() })))
    }

    /// Changes its files.
    pub fn change(&self, change: impl FnOnce(&mut ConfigurationFiles)) {
        change(&mut self.versions().now);
    }

    /// Lets a commit have these files.
    pub fn commit(&self, id: &str, files: ConfigurationFiles) {
        self.versions().commits.insert(id.to_owned(), files);
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Source for Folder {
    async fn fetch(&self, commit: Option<&str>) -> Result<ConfigurationFiles, SourceError> {
        let versions = self.versions();
        let found = commit.and_then(|commit| versions.commits.get(commit));
        Ok(found.unwrap_or(&versions.now).clone())
    }
}
