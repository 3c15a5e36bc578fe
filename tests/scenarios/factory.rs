//! A small factory in this process, with everything that tests set, watch and ask for at the end.
//!
//! The Functions host here is the tests' own: it can deliver messages twice, late and out of order, and let invocations die.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use azure_core::http::HttpClient;
use azure_sim::{
    arm::LabSpec,
    broker::{BrokerMessage, Delivery},
    control,
    fault::{Faults, HttpEffect, HttpFault},
    latency::{Profile, Span},
    work::WorkKind,
};
pub use image_factory::dev::configuration::lab_vm as definition;
use image_factory::{
    azure::{BlobAuthorization, Container},
    dev::{
        in_process::{InProcess, InProcessOptions, Instance, Surroundings},
        outcome::{Outcome, RunCounts},
        world,
    },
    domain::{Configuration, ConfigurationFiles, Queue, RUN_TAG, RunId, RunReason, messages::StartRun},
    handler::Webhooks,
    ledger::{Failure, ItemStatus},
    report::{LabLine, RunReport, Status},
    source::Source,
    steps::cleanup,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, macros::datetime};
use tokio::{sync::Semaphore, task::JoinSet};

/// Every scenario begins at this moment.
pub const ORIGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
pub const SUBSCRIPTION: &str = "a0000000-0000-4000-8000-000000000000";
pub const OTHER_SUBSCRIPTION: &str = "a0000000-0000-4000-8000-000000000001";
/// The two golden images and the two labs of [`Files::new`].
pub const WINDOWS: &str = "Windows/Server.json";
pub const LINUX: &str = "Linux/Docker.json";
pub const WEB: &str = "web";
pub const DATA: &str = "data";

/// host.json's `maxConcurrentCalls`.
const CONCURRENT_CALLS: usize = 16;
/// The cleanup timer's period.
const CLEANUP_PERIOD: Duration = Duration::from_secs(600);
/// A scenario that has not settled after this never will.
const SETTLED_DEADLINE: time::Duration = time::Duration::hours(60);

/// A configuration that tests change before it is used.
#[derive(Clone)]
pub struct Files {
    pub definitions: BTreeMap<String, Value>,
    pub labs: Vec<Value>,
    pub settings: Value,
}

impl Files {
    /// Two images, Windows and Linux, that two labs of two subscriptions receive.
    pub fn new() -> Self {
        Self {
            definitions: BTreeMap::from([
                (WINDOWS.to_owned(), definition(&windows(), &["windows-git"])),
                (LINUX.to_owned(), definition(&linux(), &["linux-install-docker"])),
            ]),
            labs: vec![lab(SUBSCRIPTION, WEB), lab(OTHER_SUBSCRIPTION, DATA)],
            settings: json!({}),
        }
    }

    /// As [`Files::new`], with this factory.json.
    pub fn with_settings(settings: Value) -> Self {
        Self { settings, ..Self::new() }
    }

    /// The Linux image alone.
    pub fn only_linux() -> Self {
        let mut files = Self::new();
        files.definitions.remove(WINDOWS);
        files
    }

    pub fn to_files(&self) -> ConfigurationFiles {
        let labs = json!({"Labs": self.labs}).to_string();
        let own = [("Labs.json".to_owned(), labs), ("factory.json".to_owned(), self.settings.to_string())];
        let definitions = self
            .definitions
            .iter()
            .map(|(path, template)| (format!("GoldenImages/{path}"), template.to_string()));
        own.into_iter().chain(definitions).collect()
    }
}

/// A lab of Labs.json that receives everything.
pub fn lab(subscription: &str, name: &str) -> Value {
    json!({"SubscriptionId": subscription, "ResourceGroup": format!("rg-{name}"), "LabName": name,
        "ImagePaths": ["Windows", "Linux"]})
}

/// The marketplace image of a Windows VM, as a property of the VM.
pub fn windows() -> Value {
    json!({"galleryImageReference": {"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer",
        "sku": "2022-datacenter-g2", "osType": "Windows", "version": "latest"}})
}

/// The same for Linux.
pub fn linux() -> Value {
    json!({"galleryImageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server",
        "osType": "Linux", "version": "latest"}})
}

/// A property of the VM in a [`definition`].
pub fn vm_property<'a>(definition: &'a mut Value, name: &str) -> &'a mut Value {
    &mut definition["resources"][0]["properties"][name]
}

/// Realistic but quick: small waits, fast copies, so that a run is few messages.
fn profile() -> Profile {
    Profile {
        vm_creation: Span::seconds(200.0, 400.0),
        copy_mib_per_second: Span::seconds(540.0, 600.0),
        cross_region_copy_mib_per_second: Span::seconds(150.0, 300.0),
        copy_stall_share: 0.0,
        ..Profile::default()
    }
}

/// How the tests' host treats messages and invocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unkind {
    /// Every message comes three times: once more at the same time, and once more up to ten minutes later.
    pub repeats: bool,
    /// Every delivery waits up to a minute, so that messages overtake each other.
    pub shuffles: bool,
    /// The first invocation for every message dies at a random moment of its work.
    pub kills: bool,
}

/// A message's queue and body.
type Received = (Queue, Vec<u8>);

/// A factory in this process.
#[derive(Clone)]
pub struct Factory {
    pub host: InProcess,
    pub seed: u64,
    unkind: Unkind,
    /// Messages as they were received, oldest first.
    received: Arc<Mutex<Vec<Received>>>,
    /// The same with all that travels beside their bodies, as AMQP.
    travelled: Arc<Mutex<Vec<Received>>>,
    killed: Arc<AtomicU64>,
    /// How many of each queue's next messages are lost.
    to_lose: Arc<Mutex<BTreeMap<Queue, usize>>>,
}

impl Factory {
    /// A factory for `files`, in which every lab that they name exists.
    pub async fn new(files: &Files) -> Self {
        Self::seeded(files, 1).await
    }

    /// As [`Factory::new`], with other latencies.
    pub async fn seeded(files: &Files, seed: u64) -> Self {
        println!("seed {seed}");
        let (world, problems) = Configuration::load(&files.to_files());
        let world = world.filter(|_| !problems.has_errors()).unwrap_or_else(|| panic!("{problems}"));
        Self::in_world_of(&world, files.to_files(), seed).await
    }

    /// A factory for `files`, in a world with the labs of another configuration.
    pub async fn in_world_of(world: &Configuration, files: ConfigurationFiles, seed: u64) -> Self {
        let options = InProcessOptions { seed, profile: profile(), files, origin: ORIGIN };
        Self::of(InProcess::new(options, world).await.unwrap(), seed)
    }

    /// As [`Factory::new`], with a way to Azure that `wires` makes of the usual one.
    pub async fn wired(
        files: &Files,
        wires: impl FnOnce(Arc<dyn HttpClient>) -> Arc<dyn HttpClient>,
    ) -> Self {
        let files = files.to_files();
        let (world, problems) = Configuration::load(&files);
        let world = world.filter(|_| !problems.has_errors()).unwrap_or_else(|| panic!("{problems}"));
        let options = InProcessOptions { seed: 1, profile: profile(), files, origin: ORIGIN };
        let surroundings = Surroundings::new(options, &world).unwrap();
        // The container is made by whoever installs a factory, not by the factory.
        let usual = Instance::new(
            &surroundings,
            surroundings.sim.clock().clone(),
            surroundings.transport(),
            surroundings.outbox(),
        );
        usual.unwrap().factory.ledger.prepare().await.unwrap();
        let (clock, transport) = (surroundings.sim.clock().clone(), wires(surroundings.transport()));
        let instance = Instance::new(&surroundings, clock, transport, surroundings.outbox()).unwrap();
        Self::of(InProcess::of(surroundings, instance), 1)
    }

    /// A factory in a host that was put together by itself.
    pub fn around(host: InProcess) -> Self {
        Self::of(host, 1)
    }

    fn of(host: InProcess, seed: u64) -> Self {
        Self {
            host,
            seed,
            unkind: Unkind::default(),
            received: Arc::default(),
            travelled: Arc::default(),
            killed: Arc::default(),
            to_lose: Arc::default(),
        }
    }

    /// The same with its configuration from elsewhere, called by these webhooks.
    pub fn listening(self, source: Arc<dyn Source>, webhooks: Webhooks) -> Self {
        Self { host: self.host.listening(source, webhooks), ..self }
    }

    /// The same, reaching the storage accounts of these labs with a key of theirs.
    pub fn with_keys_of(self, labs: &[&str]) -> Self {
        let state = self.state();
        let account = |lab: &&str| {
            let found = state.labs.iter().find(|known| known.id.ends_with(&format!("/{lab}")));
            found.unwrap_or_else(|| panic!("no lab {lab}")).storage_account.clone()
        };
        let accounts = labs.iter().map(account).collect();
        Self { host: self.host.with_keyed_accounts(accounts), ..self }
    }

    pub fn unkind(mut self, unkind: Unkind) -> Self {
        self.unkind = unkind;
        self
    }

    /// Sets what goes wrong, instead of what was set before.
    pub fn faults(&self, faults: Faults) {
        self.host.sim.world().faults = faults;
    }

    /// Sets faults of the HTTP interfaces.
    pub fn http_faults(&self, faults: impl IntoIterator<Item = HttpFault>) {
        self.faults(Faults { http: faults.into_iter().collect(), ..Faults::default() });
    }

    /// Does something at a moment of the run.
    pub fn after(&self, wait: Duration, act: impl FnOnce(&Self) + Send + 'static) {
        let factory = self.clone();
        tokio::spawn(async move {
            factory.host.clock().sleep(wait).await;
            act(&factory);
        });
    }

    /// Looks every second until `when` holds, then acts; the scenario fails if it never does.
    pub fn once(
        &self,
        when: impl Fn(&control::State) -> bool + Send + 'static,
        act: impl FnOnce(&Self) + Send + 'static,
    ) -> Arc<AtomicBool> {
        let (factory, done) = (self.clone(), Arc::new(AtomicBool::new(false)));
        let acted = done.clone();
        tokio::spawn(async move {
            while !when(&factory.state()) {
                factory.host.clock().sleep(Duration::from_secs(1)).await;
            }
            act(&factory);
            acted.store(true, Ordering::Relaxed);
        });
        done
    }

    /// Loses the next so many messages of a queue.
    pub fn lose_first(&self, queue: Queue, messages: usize) {
        self.to_lose.lock().unwrap().insert(queue, messages);
    }

    fn is_lost(&self, queue: Queue) -> bool {
        let mut to_lose = self.to_lose.lock().unwrap();
        let left = to_lose.entry(queue).or_default();
        let lost = *left > 0;
        *left = left.saturating_sub(1);
        lost
    }

    /// The id of the run with this name.
    pub fn run_id(name: &str) -> RunId {
        RunId::manual(ORIGIN, name).unwrap()
    }

    /// A whole run, from its message until nothing happens any more.
    pub async fn run(&self) -> Outcome {
        self.run_named("first").await
    }

    /// As [`Factory::run`], with another run id. It builds everything, changed or not.
    pub async fn run_named(&self, name: &str) -> Outcome {
        let start = StartRun { force: true, ..StartRun::of_everything(RunReason::Manual) };
        self.run_asked(name, start).await
    }

    /// A run with what is asked for, from its message to its end.
    pub async fn run_asked(&self, name: &str, start: StartRun) -> Outcome {
        let run = Self::run_id(name);
        self.host.start(&run, start).await.unwrap();
        self.settle().await;
        self.outcome(&run).await
    }

    /// Changes factory.json so that every image is another one.
    pub fn salt(&self, salt: &str) {
        self.host.folder.change(|files| {
            let file = files.files.entry("factory.json".to_owned()).or_insert_with(|| b"{}".to_vec());
            let mut settings: Value = serde_json::from_slice(file).unwrap();
            settings["salt"] = salt.into();
            *file = settings.to_string().into_bytes();
        });
    }

    /// Fires triggers as the host does, until no message is left, every run has ended and every wish is answered.
    pub async fn settle(&self) {
        let mut tasks = JoinSet::new();
        for queue in Queue::ALL {
            tasks.spawn(self.clone().pump(queue));
        }
        tasks.spawn(self.clone().clean_up());
        let deadline = self.host.clock().now() + SETTLED_DEADLINE;
        while !(self.is_quiet() && self.all_is_answered().await) {
            let now = self.host.clock().now();
            assert!(now < deadline, "seed {}: it does not settle", self.seed);
            self.host.clock().sleep(Duration::from_secs(15)).await;
        }
    }

    fn is_quiet(&self) -> bool {
        Queue::ALL.into_iter().all(|queue| {
            let counts = self.host.broker.counts(queue.name()).unwrap();
            counts.active + counts.scheduled + counts.locked == 0
        })
    }

    async fn all_is_answered(&self) -> bool {
        let ledger = &self.host.factory.ledger;
        let (runs, wishes) = (ledger.runs().await, ledger.wishes().await);
        runs.is_ok_and(|runs| runs.iter().all(|entry| entry.status != ItemStatus::Open))
            && wishes.is_ok_and(|wishes| wishes.is_empty())
    }

    async fn clean_up(self) {
        loop {
            self.host.clock().sleep(CLEANUP_PERIOD).await;
            // What a tick does not manage, the next one does.
            let _ = cleanup::tick(&self.host.factory).await;
        }
    }

    async fn pump(self, queue: Queue) {
        let free = Arc::new(Semaphore::new(CONCURRENT_CALLS));
        let mut running = JoinSet::new();
        loop {
            let permit = free.clone().acquire_owned().await.unwrap();
            let wait = Duration::from_secs(3600);
            let deliveries = self.host.broker.receive(queue.name(), 1, wait).await.unwrap();
            let Some(delivery) = deliveries.into_iter().next() else {
                continue;
            };
            self.received.lock().unwrap().push((queue, delivery.message.body()));
            self.travelled.lock().unwrap().push((queue, delivery.to_amqp()));
            let host = self.clone();
            running.spawn(async move {
                host.deliver(queue, delivery).await;
                drop(permit);
            });
            while running.try_join_next().is_some() {}
        }
    }

    async fn deliver(&self, queue: Queue, delivery: Delivery) {
        let id = delivery.message.message_id().unwrap_or_default();
        let broker = &self.host.broker;
        if self.is_lost(queue) {
            broker.complete(queue.name(), delivery.lock_token).unwrap();
            return;
        }
        if self.unkind.repeats && !id.starts_with("again-") {
            let again = |number: u32| {
                BrokerMessage::new(delivery.message.body()).with_message_id(format!("again-{number}-{id}"))
            };
            let late = self.host.clock().now() + Duration::from_secs(600).mul_f64(self.draw(&id, "late"));
            let copies = vec![again(1), again(2).with_scheduled_enqueue_time(late)];
            broker.send(queue.name(), copies).unwrap();
        }
        if self.unkind.shuffles {
            let wait = Duration::from_secs(60).mul_f64(self.draw(&id, "shuffle"));
            self.host.clock().sleep(wait).await;
        }
        if self.unkind.kills && delivery.earlier_deliveries == 0 {
            // An invocation takes a handful of calls of some hundred milliseconds; some moments are after its end.
            let life = Duration::from_millis(1500).mul_f64(self.draw(&id, "kill"));
            let token = delivery.lock_token;
            if tokio::time::timeout(life, self.host.deliver(queue, delivery)).await.is_err() {
                self.killed.fetch_add(1, Ordering::Relaxed);
                let _ = broker.abandon(queue.name(), token);
            }
            return;
        }
        self.host.deliver(queue, delivery).await;
    }

    /// A number from 0 to 1 that depends on the seed and these words.
    fn draw(&self, id: &str, what: &str) -> f64 {
        let digest = Sha256::digest(format!("{}/{id}/{what}", self.seed));
        f64::from(u16::from_le_bytes([digest[0], digest[1]])) / f64::from(u16::MAX)
    }

    /// The result of a run, as `simulate` reports it.
    pub async fn outcome(&self, run: &RunId) -> Outcome {
        // What is still to go wrong is not meant for the test's own reading.
        let faults = std::mem::take(&mut self.host.sim.world().faults);
        let report = RunReport::read(&self.host.factory.ledger, run).await.unwrap();
        self.host.sim.world().faults = faults;
        let report = report.unwrap_or_else(|| panic!("seed {}: {run} is not in the ledger", self.seed));
        let counts = RunCounts {
            messages: azure_sim::control::queues(&self.host.sim).values().map(|queue| queue.accepted).sum(),
            invocations: self.host.invocations.load(Ordering::Relaxed),
            azure: control::counts(&self.host.sim),
            handler_peak_memory_bytes: None,
        };
        let work = control::work(&self.host.sim).work;
        Outcome::new(report, &self.state(), &work, &control::budgets(&self.host.sim), counts)
    }

    pub fn state(&self) -> control::State {
        control::state(&self.host.sim)
    }

    /// The messages that were received so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// The same, each with its properties, as it travelled.
    pub fn travelled(&self) -> Vec<Received> {
        self.travelled.lock().unwrap().clone()
    }

    /// How many invocations died.
    pub fn killed(&self) -> u64 {
        self.killed.load(Ordering::Relaxed)
    }

    /// The messages that were dead-lettered: queue, body and the reason with its description.
    pub fn dead_letters(&self) -> Vec<(Queue, String, String)> {
        let mut found = Vec::new();
        for queue in Queue::ALL {
            let entity = format!("{}/$deadletterqueue", queue.name());
            for delivery in self.host.broker.peek(&entity, 0, 100).unwrap() {
                let property = |name| delivery.message.property_text(name).unwrap_or_default().to_owned();
                let body = String::from_utf8_lossy(&delivery.message.body()).into_owned();
                let reason =
                    format!("{}: {}", property("DeadLetterReason"), property("DeadLetterErrorDescription"));
                found.push((queue, body, reason));
            }
        }
        found
    }

    /// The ledger's container.
    pub fn ledger_container(&self) -> Container {
        world::ledger_container(&self.host.factory.azure, &self.host.sim).unwrap()
    }

    /// The container of VHDs in the storage account of a lab, by the lab's id.
    pub fn vhds(&self, lab: &str) -> Container {
        let account = self.state().lab(lab).unwrap().storage_account.clone();
        let key = self.host.sim.world().storage.accounts[&account].keys[0].clone();
        let endpoint = self.host.sim.world().endpoints.blob(&account);
        let authorization = BlobAuthorization::SharedKey { account, key: key.into() };
        let azure = &self.host.factory.azure;
        azure.container(&endpoint.parse().unwrap(), "imagefactoryvhds", authorization).unwrap()
    }

    /// So many ticks of the cleanup timer.
    pub async fn clean_up_times(&self, ticks: usize) {
        for _ in 0..ticks {
            self.host.clock().sleep(CLEANUP_PERIOD).await;
            let tick = cleanup::tick(&self.host.factory).await;
            assert!(tick.is_ok(), "seed {}: {tick:?}", self.seed);
        }
    }

    /// All documents of the ledger, by name, each with its metadata.
    pub async fn ledger(&self) -> BTreeMap<String, (Vec<u8>, BTreeMap<String, String>)> {
        let container = self.ledger_container();
        let mut documents = BTreeMap::new();
        for blob in container.list("").await.unwrap() {
            let (bytes, _) = container.get(&blob.name).await.unwrap().unwrap();
            documents.insert(blob.name, (bytes, blob.metadata));
        }
        documents
    }

    /// How often Azure worked on something whose name holds `part`.
    pub fn work(&self, kind: WorkKind, part: &str) -> Vec<azure_sim::work::Work> {
        let part = part.to_ascii_lowercase();
        let log = control::work(&self.host.sim).work;
        log.into_iter()
            .filter(|work| work.kind == kind && work.subject.to_ascii_lowercase().contains(&part))
            .collect()
    }

    /// The factory lab as the simulator knows it.
    pub fn factory_lab(&self) -> String {
        let spec = LabSpec {
            subscription_id: world::FACTORY_SUBSCRIPTION.to_owned(),
            resource_group: world::FACTORY_GROUP.to_owned(),
            name: world::FACTORY_LAB.to_owned(),
            location: String::new(),
        };
        spec.id()
    }

    /// A GET of Resource Manager.
    pub async fn get(&self, path: &str) -> Value {
        self.resource_manager("GET", path, Vec::new()).await
    }

    /// A POST of Resource Manager, without a body.
    pub async fn post(&self, path: &str) {
        let (status, body) = self.ask_resource_manager("POST", path, Vec::new()).await;
        assert!(status.is_success(), "POST {path}: {status} {}", String::from_utf8_lossy(&body));
    }

    /// A PATCH of Resource Manager.
    pub async fn patch(&self, path: &str, body: &Value) -> Value {
        self.resource_manager("PATCH", path, body.to_string().into_bytes()).await
    }

    async fn resource_manager(&self, method: &str, path: &str, body: Vec<u8>) -> Value {
        let (status, body) = self.ask_resource_manager(method, path, body).await;
        let body = serde_json::from_slice(&body).unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {body}");
        body
    }

    async fn ask_resource_manager(
        &self,
        method: &str,
        path: &str,
        body: Vec<u8>,
    ) -> (axum::http::StatusCode, Vec<u8>) {
        let token = {
            let azure = self.host.sim.world();
            let caller = azure.identity.managed_identity.clone();
            let hour = Duration::from_secs(3600);
            azure_sim::identity::issue(&azure, &caller, azure_sim::identity::RESOURCE_MANAGER, hour)
        };
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("https://management.azure.com{path}"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body.into())
            .unwrap();
        let response = self.host.sim.call(request).await.unwrap();
        (response.status(), response.body().to_vec())
    }

    /// What holds after every run, whatever went wrong: nothing half made is left; what is reported to stand does stand;
    /// nothing stands twice.
    pub fn assert_sound(&self, outcome: &Outcome) {
        let seed = self.seed;
        assert!(
            outcome.leftovers.is_empty(),
            "seed {seed}: left behind: {:?}\n{}",
            outcome.leftovers,
            outcome.run.table(ORIGIN)
        );
        let state = self.state();
        let run = outcome.run.run.id.as_str();
        let mut expected: BTreeSet<String> = BTreeSet::new();
        for image in &outcome.run.images {
            expected.extend(
                image
                    .labs
                    .iter()
                    .filter_map(|line| line.custom_image_id.clone())
                    .map(|id| id.to_ascii_lowercase()),
            );
            let made = self.work(WorkKind::VirtualMachine, &format!("/virtualmachines/{}", image.vm_name));
            assert!(made.len() <= 1, "seed {seed}: {} was made more than once", image.vm_name);
        }
        let ours = state.labs.iter().flat_map(|lab| {
            let of_run = lab
                .custom_images
                .iter()
                .filter(|image| image.tags.get(RUN_TAG).is_some_and(|tag| tag == run));
            of_run.map(move |image| (lab, image))
        });
        let mut standing = BTreeSet::new();
        for (lab, image) in ours {
            assert_eq!(image.provisioning_state, "Succeeded", "seed {seed}: {}", image.name);
            standing.insert(format!("{}/customimages/{}", lab.id, image.name).to_ascii_lowercase());
        }
        assert_eq!(standing, expected, "seed {seed}: the custom images of {run}, and those of the report");
        assert!(self.dead_letters().is_empty(), "seed {seed}: {:?}", self.dead_letters());
    }

    /// [`Factory::assert_sound`], and everything succeeded.
    pub fn assert_succeeded(&self, outcome: &Outcome) {
        self.assert_sound(outcome);
        let failures = failures(outcome);
        assert!(failures.is_empty(), "seed {}: {failures:#?}", self.seed);
        assert!(outcome.succeeded(), "seed {}: {outcome:#?}", self.seed);
        let ratio = outcome.ratio();
        assert!(ratio >= 1.0, "seed {}: a bound that is passed is none: {ratio}", self.seed);
    }

    /// [`Factory::assert_sound`], and exactly these failed: `image` or `image in lab`. Answers their reasons.
    pub fn assert_failed(&self, outcome: &Outcome, expected: &[&str]) -> Vec<Failure> {
        self.assert_sound(outcome);
        let failures = failures(outcome);
        let names: Vec<&str> = failures.keys().map(String::as_str).collect();
        assert_eq!(names, expected, "seed {}: {failures:#?}", self.seed);
        assert_eq!(outcome.run.run.status, Status::Failed, "seed {}", self.seed);
        failures.into_values().collect()
    }
}

/// What failed, in order of name, and everything else succeeded or was skipped because of it.
fn failures(outcome: &Outcome) -> BTreeMap<String, Failure> {
    let mut found = BTreeMap::new();
    for image in &outcome.run.images {
        let path = image.image_path.to_string();
        let built = match image.status {
            Status::Failed => {
                found.insert(path.clone(), image.error.clone().unwrap());
                false
            }
            status => {
                assert_eq!(status, Status::Succeeded, "{path}");
                assert_eq!(image.error, None, "{path}");
                true
            }
        };
        for line in &image.labs {
            let name = format!("{path} in {}", line.lab_name);
            match (built, line.status) {
                (true, Status::Failed) => {
                    found.insert(name, line.error.clone().unwrap());
                }
                (true, Status::Succeeded) => assert!(line.custom_image_id.is_some(), "{name}"),
                (false, Status::Skipped) => assert_eq!(line.custom_image_id, None, "{name}"),
                (_, status) => panic!("{name} is {status:?}: {:?}", line.error),
            }
        }
    }
    found
}

/// Everything was made exactly once: one VM for each image, one registration and one copy for each image and lab.
pub fn assert_made_once(factory: &Factory, outcome: &Outcome) {
    factory.assert_succeeded(outcome);
    let seed = factory.seed;
    for path in [WINDOWS, LINUX] {
        let image = image(outcome, path);
        let vms = factory.work(WorkKind::VirtualMachine, &format!("/virtualmachines/{}", image.vm_name));
        assert_eq!(vms.len(), 1, "seed {seed}: VMs of {path}");
        let images = factory.work(WorkKind::CustomImage, &format!("/customimages/{}", image.image_name));
        assert_eq!(images.len(), 2, "seed {seed}: custom images of {path}: {images:#?}");
    }
}

/// A line of the report.
pub fn line<'a>(outcome: &'a Outcome, image_path: &str, lab: &str) -> &'a LabLine {
    let image = image(outcome, image_path);
    image.labs.iter().find(|line| line.lab_name == lab).unwrap()
}

/// An image of the report.
pub fn image<'a>(outcome: &'a Outcome, path: &str) -> &'a image_factory::report::ImageLine {
    let mut images = outcome.run.images.iter();
    images
        .find(|image| image.image_path.to_string() == path)
        .unwrap_or_else(|| panic!("{path} is not in the report"))
}

/// The id of a lab that [`lab`] names.
pub fn team_lab(subscription: &str, name: &str) -> String {
    let spec = LabSpec {
        subscription_id: subscription.to_owned(),
        resource_group: format!("rg-{name}"),
        name: name.to_owned(),
        location: String::new(),
    };
    spec.id()
}

/// `times` requests with this method to URLs that hold `url_part` suffer `effect`, after `skip` that pass.
pub fn http_fault(
    method: Option<&str>,
    url_part: &str,
    skip: u32,
    times: u32,
    effect: HttpEffect,
) -> HttpFault {
    HttpFault {
        method: method.map(|method| method.parse().unwrap()),
        url_part: url_part.to_owned(),
        skip,
        times,
        effect,
    }
}

/// An answer without headers.
pub fn answer(status: u16, body: Value) -> HttpEffect {
    HttpEffect::Answer { status, headers: Vec::new(), body: body.to_string() }
}

/// Resource Manager has taken as many calls as it takes at a time; it asks to wait so many seconds, if it says so.
pub fn throttled(retry_after: Option<u32>) -> HttpEffect {
    HttpEffect::Answer {
        status: 429,
        headers: retry_after
            .map(|seconds| ("Retry-After".to_owned(), seconds.to_string()))
            .into_iter()
            .collect(),
        body: json!({"error": {"code": "SubscriptionRequestsThrottled", "message": "Slow down."}})
            .to_string(),
    }
}

/// Runs a scenario under virtual time.
pub fn scenario<F: Future<Output = ()>>(scenario: F) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(scenario);
}
