//! A newer version of the program takes over the messages and the ledger of an older one.
//!
//! `tests/golden/vN/` holds what version N of the formats had written at some moments of a run. For each of these files this
//! program makes a factory, runs it until the same moment, so that Azure stands as it stood then, replaces its own messages and
//! ledger by the old ones, and goes on. How new files are made is told in `tests/golden/README.md`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use azure_sim::{
    broker::{BrokerMessage, QueueSettings, ReceiveMode},
    control::FaultsSpec,
    fault::Faults,
    latency::{Profile, Span},
    work::WorkKind,
};
use image_factory::{
    azure::{Condition, Container},
    dev::{in_process::queue_settings, world},
    domain::{Configuration, ConfigurationFiles, Queue, RunReason, messages::StartRun},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::factory::{Factory, LINUX, SUBSCRIPTION, WEB, definition, lab, linux, scenario};

/// How many files each version has: none may get lost.
const FILES: [(&str, usize); 2] = [("v1", 12), ("v2", 13)];
/// Names the folder that [`new_golden_files`] writes.
const VERSION_VARIABLE: &str = "GOLDEN_VERSION";
/// A moment that did not come after this never will.
const MOMENT_DEADLINE: time::Duration = time::Duration::hours(12);
/// The runs of a golden file; the last one is the one that is taken over.
const ONE_RUN: &[&str] = &["first"];
const TWO_RUNS: &[&str] = &["first", "second"];

/// A golden file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Golden {
    /// One of [`moments`].
    moment: String,
    /// The clock at that moment.
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    seed: u64,
    /// The names of the runs so far; all but the last one have ended.
    runs: Vec<String>,
    /// What goes wrong during the last run.
    faults: FaultsSpec,
    /// What fails in it therefore: `image` or `image in lab`.
    failed: Vec<String>,
    /// The configuration's files.
    configuration: BTreeMap<String, Value>,
    messages: Vec<Waiting>,
    /// The blobs of the ledger.
    ledger: Vec<Document>,
    /// The blobs beside the captured VHDs, which the program wrote too.
    companions: Vec<Document>,
}

/// A message in a queue.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Waiting {
    queue: Queue,
    message_id: String,
    #[serde(with = "time::serde::rfc3339")]
    visible_at: OffsetDateTime,
    body: Value,
}

/// A blob.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    metadata: BTreeMap<String, String>,
    content: Value,
}

/// A moment of a run, told by what Azure looks like, so that it is found whatever the rhythm of the looks.
struct Moment {
    name: &'static str,
    runs: &'static [&'static str],
    faults: Value,
    failed: &'static [&'static str],
    /// The triggers that fire before the moment.
    fired: &'static [Queue],
    /// Whether another run follows, once the old one has ended.
    is_followed: bool,
    reached: fn(&Factory) -> bool,
}

impl Moment {
    fn faults(&self) -> FaultsSpec {
        FaultsSpec::deserialize(&self.faults).unwrap()
    }
}

/// All moments: of a run that goes well, and of some in trouble.
fn moments() -> Vec<Moment> {
    let well = |name, reached| Moment {
        name,
        runs: ONE_RUN,
        faults: json!({}),
        failed: &[],
        fired: &Queue::ALL,
        is_followed: false,
        reached,
    };
    let followed = |moment| Moment { is_followed: true, ..moment };
    let fails = |name, faults, failed, reached| Moment { faults, failed, ..well(name, reached) };
    vec![
        Moment { fired: &[], ..well("asked", |_| true) },
        Moment { fired: &[Queue::StartRun], ..well("being-planned", is_decided) },
        Moment { fired: &[Queue::StartRun], ..well("planned", |factory| accepted(factory, Queue::CreateVm)) },
        well("vm-being-made", |factory| vms(factory).contains(&"Creating".to_owned())),
        well("disk-being-opened", |factory| was_delivered(factory, Queue::CaptureImage)),
        well("vhd-being-captured", |factory| pending_copies(factory, world::FACTORY_LAB)),
        well("vhd-being-copied", |factory| pending_copies(factory, WEB)),
        well("image-being-registered", |factory| images(factory).contains(&"Creating".to_owned())),
        Moment { runs: TWO_RUNS, ..well("image-retiring", |factory| is_being_deleted(&images(factory))) },
        followed(well("ended", has_ended)),
        fails("calls-throttled", throttling(), &[], |factory| throttled(factory) == 2),
        fails("vm-failed", broken_artifact(), &[LINUX], |factory| is_being_deleted(&vms(factory))),
        followed(fails("image-taken-back", refused_image(), &["Linux/Docker.json in web"], |factory| {
            is_being_deleted(&images(factory))
        })),
    ]
}

/// Three answers with 429 to looks at the deployment.
fn throttling() -> Value {
    let body = json!({"error": {"code": "TooManyRequests", "message": "slow down"}}).to_string();
    json!({"http": [{"method": "GET", "urlPart": "/deployments/", "skip": 1, "times": 3, "status": 429,
        "headers": [["Retry-After", "17"]], "body": body}]})
}

fn broken_artifact() -> Value {
    json!({"artifacts": [{"artifactPart": "linux-deprovision", "message": "exit code 17"}]})
}

fn refused_image() -> Value {
    json!({"customImages": [{"idPart": "/web/", "code": "InternalServerError", "message": "try again later"}]})
}

/// The states of the factory lab's VMs.
fn vms(factory: &Factory) -> Vec<String> {
    let state = factory.state();
    let lab = state.labs.iter().find(|lab| lab.name == world::FACTORY_LAB).unwrap();
    lab.virtual_machines.iter().map(|vm| vm.provisioning_state.clone()).collect()
}

/// The states of the team lab's custom images.
fn images(factory: &Factory) -> Vec<String> {
    let state = factory.state();
    let lab = state.labs.iter().find(|lab| lab.name == WEB).unwrap();
    lab.custom_images.iter().map(|image| image.provisioning_state.clone()).collect()
}

fn is_being_deleted(states: &[String]) -> bool {
    states.iter().any(|state| state == "Deleting")
}

/// Whether a VHD is on its way into a lab's storage account.
fn pending_copies(factory: &Factory, lab: &str) -> bool {
    let state = factory.state();
    let lab = state.labs.iter().find(|other| other.name == lab).unwrap();
    let mut vhds = state.vhds.iter().filter(|vhd| vhd.account == lab.storage_account);
    vhds.any(|vhd| vhd.copy_status.as_deref() == Some("pending"))
}

fn accepted(factory: &Factory, queue: Queue) -> bool {
    factory.host.broker.accepted(queue.name()).unwrap() > 0
}

/// Whether a step had its first turn: its own next message is there.
fn was_delivered(factory: &Factory, queue: Queue) -> bool {
    accepted(factory, queue) && factory.host.broker.counts(queue.name()).unwrap().active == 0
}

/// Whether a run has pinned its configuration and decided what it does, and no more: a turn each.
fn is_decided(factory: &Factory) -> bool {
    factory.host.broker.accepted(Queue::StartRun.name()).unwrap() == 3
}

fn throttled(factory: &Factory) -> u64 {
    azure_sim::control::counts(&factory.host.sim).throttled
}

/// Whether every message was handled.
fn has_ended(factory: &Factory) -> bool {
    Queue::ALL.into_iter().all(|queue| {
        let counts = factory.host.broker.counts(queue.name()).unwrap();
        counts.active + counts.scheduled == 0
    })
}

/// Quick, so that a run is few looks; but a VM is deleted well before a copy is over, so that Azure stands the same at a moment
/// whichever of the two was looked at first.
fn profile() -> Profile {
    Profile {
        vm_creation: Span::seconds(100.0, 120.0),
        generalizing_artifact: Span::seconds(20.0, 30.0),
        deallocation: Span::seconds(10.0, 20.0),
        disk_access: Span::seconds(10.0, 15.0),
        vm_deletion: Span::seconds(30.0, 40.0),
        copy_mib_per_second: Span::seconds(150.0, 160.0),
        copy_stall_share: 0.0,
        custom_image: Span::seconds(120.0, 130.0),
        ..Profile::default()
    }
}

/// One image for one lab, which keeps one.
fn small_configuration() -> BTreeMap<String, Value> {
    let factory_lab = json!({"subscriptionId": world::FACTORY_SUBSCRIPTION,
        "resourceGroup": world::FACTORY_GROUP, "labName": world::FACTORY_LAB});
    BTreeMap::from([
        ("Labs.json".to_owned(), json!({"Labs": [lab(SUBSCRIPTION, WEB)]})),
        ("factory.json".to_owned(), json!({"factoryLab": factory_lab, "imagesToKeep": 1})),
        (format!("GoldenImages/{LINUX}"), definition(&linux(), &[])),
    ])
}

/// A factory that has come to the moment; nothing is under way in it.
async fn at_moment(
    moment: &Moment,
    seed: u64,
    configuration: &BTreeMap<String, Value>,
    faults: &FaultsSpec,
) -> Factory {
    let files: ConfigurationFiles =
        configuration.iter().map(|(path, content)| (path.clone(), content.to_string())).collect();
    let (world, problems) = Configuration::load(&files);
    let factory = Factory::in_world_of(&world.unwrap_or_else(|| panic!("{problems}")), files, seed).await;
    factory.host.sim.world().latencies.profile = profile();
    let (last, earlier) = moment.runs.split_last().unwrap();
    for name in earlier {
        factory.host.start_run(&Factory::run_id(name)).await.unwrap();
        fire(&factory, &Queue::ALL, has_ended, "the end of an earlier run").await;
    }
    factory.faults(faults.to_faults());
    // Whatever the runs before it built.
    let start = StartRun { force: true, ..StartRun::of_everything(RunReason::Manual) };
    factory.host.start(&Factory::run_id(last), start).await.unwrap();
    fire(&factory, moment.fired, moment.reached, moment.name).await;
    factory
}

/// Fires triggers one after another, until `reached` holds. Between two invocations only, as a host does that is asked to
/// stop for a new version.
async fn fire(factory: &Factory, queues: &[Queue], reached: fn(&Factory) -> bool, name: &str) {
    let deadline = factory.host.clock().now() + MOMENT_DEADLINE;
    while !reached(factory) {
        let now = factory.host.clock().now();
        assert!(now < deadline, "seed {}: {name} does not come", factory.seed);
        let receive = |queue: &Queue| {
            let delivery = factory.host.broker.try_receive(queue.name(), ReceiveMode::PeekLock).unwrap();
            delivery.map(|delivery| (*queue, delivery))
        };
        match queues.iter().find_map(receive) {
            Some((queue, delivery)) => factory.host.deliver(queue, delivery).await,
            None => factory.host.clock().sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Everything that is kept outside of Azure's own state.
async fn dump(moment: &Moment, factory: &Factory, configuration: BTreeMap<String, Value>) -> Golden {
    let at = factory.host.clock().now();
    let messages = Queue::ALL.into_iter().flat_map(|queue| {
        let waiting = factory.host.broker.peek(queue.name(), 0, 100).unwrap();
        waiting.into_iter().map(move |delivery| Waiting {
            queue,
            message_id: delivery.message.message_id().unwrap(),
            visible_at: delivery.enqueued_time,
            body: serde_json::from_slice(&delivery.message.body()).unwrap(),
        })
    });
    Golden {
        moment: moment.name.to_owned(),
        at,
        seed: factory.seed,
        runs: moment.runs.iter().map(|name| (*name).to_owned()).collect(),
        faults: moment.faults(),
        failed: moment.failed.iter().map(|name| (*name).to_owned()).collect(),
        configuration,
        messages: messages.collect(),
        ledger: read_all(&factory.ledger_container(), |_| true).await,
        companions: read_all(&factory.vhds(&factory.factory_lab()), |name| name.ends_with(".json")).await,
    }
}

async fn read_all(container: &Container, wanted: fn(&str) -> bool) -> Vec<Document> {
    let mut documents = Vec::new();
    for blob in list(container).await.into_iter().filter(|blob| wanted(&blob.name)) {
        let (bytes, _) = container.get(&blob.name).await.unwrap().unwrap();
        let content: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(content.to_string().as_bytes(), bytes, "{} would lose something as JSON", blob.name);
        documents.push(Document { name: blob.name, metadata: blob.metadata, content });
    }
    documents
}

async fn list(container: &Container) -> Vec<image_factory::azure::BlobItem> {
    match container.list("").await {
        // Nothing was captured yet.
        Err(error) if error.is_not_found() => Vec::new(),
        blobs => blobs.unwrap(),
    }
}

/// Replaces this program's messages and documents by the old ones.
async fn take_over(factory: &Factory, golden: &Golden) {
    let broker = &factory.host.broker;
    for queue in Queue::ALL {
        broker.purge(queue.name()).unwrap();
        // It remembers what was just thrown away, and would drop the same from the old program.
        let settings = QueueSettings { duplicate_detection_window: None, ..queue_settings() };
        broker.create_queue(queue.name(), settings).unwrap();
    }
    replace(&factory.ledger_container(), &golden.ledger, |_| true).await;
    replace(&factory.vhds(&factory.factory_lab()), &golden.companions, |name| name.ends_with(".json")).await;
    for waiting in &golden.messages {
        let message = BrokerMessage::new(waiting.body.to_string())
            .with_message_id(&waiting.message_id)
            .with_scheduled_enqueue_time(waiting.visible_at);
        broker.send(waiting.queue.name(), vec![message]).unwrap();
    }
}

async fn replace(container: &Container, documents: &[Document], wanted: fn(&str) -> bool) {
    for blob in list(container).await.into_iter().filter(|blob| wanted(&blob.name)) {
        assert!(container.delete(&blob.name).await.unwrap());
    }
    for Document { name, metadata, content } in documents {
        container.put(name, content.to_string(), metadata, Condition::IfMissing).await.unwrap();
    }
}

/// Whatever was begun before and after: each VM, copy and custom image once.
fn assert_nothing_made_twice(factory: &Factory) {
    for kind in [WorkKind::VirtualMachine, WorkKind::BlobCopy, WorkKind::CustomImage] {
        let mut subjects: Vec<String> =
            factory.work(kind, "").into_iter().map(|work| work.subject.to_ascii_lowercase()).collect();
        let made = subjects.len();
        subjects.sort_unstable();
        subjects.dedup();
        assert_eq!(subjects.len(), made, "{kind:?}: {subjects:#?}");
    }
}

/// One image and its one VHD stand, however many there were.
fn assert_only_the_newest_stands(factory: &Factory) {
    assert_eq!(images(factory), ["Succeeded"]);
    let state = factory.state();
    let companions: Vec<bool> = state.vhds.iter().map(|vhd| vhd.has_companion).collect();
    assert_eq!(companions, [true], "{:#?}", state.vhds);
}

async fn is_taken_over(golden: &Golden) {
    let moments = moments();
    let moment = moments.iter().find(|moment| moment.name == golden.moment);
    let moment = moment.unwrap_or_else(|| panic!("nobody knows the moment {}", golden.moment));
    assert_eq!(golden.runs, moment.runs);
    let factory = at_moment(moment, golden.seed, &golden.configuration, &golden.faults).await;
    take_over(&factory, golden).await;
    factory.settle().await;

    let failed: Vec<&str> = golden.failed.iter().map(String::as_str).collect();
    let outcome = factory.outcome(&Factory::run_id(golden.runs.last().unwrap())).await;
    if failed.is_empty() {
        factory.assert_succeeded(&outcome);
    } else {
        factory.assert_failed(&outcome, &failed);
    }
    assert_nothing_made_twice(&factory);
    if !moment.is_followed {
        return;
    }
    // The next run finds what the old program made, and retires it.
    factory.faults(Faults::default());
    let next = factory.run_named("next").await;
    factory.assert_succeeded(&next);
    assert_nothing_made_twice(&factory);
    assert_only_the_newest_stands(&factory);
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All golden files of all versions.
fn golden_files() -> Vec<PathBuf> {
    let entries = |folder: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let versions = entries(&folder()).into_iter().filter(|path| path.is_dir());
    let mut files: Vec<PathBuf> = versions.flat_map(|version| entries(&version)).collect();
    files.sort_unstable();
    files
}

#[test]
fn what_an_older_version_left_behind_is_taken_over_at_every_moment() {
    let files = golden_files();
    for (version, count) in FILES {
        let of_version = files.iter().filter(|file| file.parent().unwrap().ends_with(version));
        assert_eq!(of_version.count(), count, "{version}: {files:#?}");
    }
    for file in files {
        // Shown if the test fails.
        println!("{}", file.display());
        let golden: Golden = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        scenario(is_taken_over(&golden));
    }
}

/// Not a test of anything: writes `tests/golden/$GOLDEN_VERSION/` with this program.
#[test]
#[ignore = "writes a new folder of golden files"]
fn new_golden_files() {
    let version = std::env::var(VERSION_VARIABLE).expect("GOLDEN_VERSION names the folder, such as v2");
    let folder = folder().join(version);
    assert!(!folder.exists(), "{} is there; golden files are never changed", folder.display());
    std::fs::create_dir(&folder).unwrap();
    for moment in moments() {
        scenario(async {
            let configuration = small_configuration();
            let factory = at_moment(&moment, 1, &configuration, &moment.faults()).await;
            let golden = dump(&moment, &factory, configuration).await;
            let text = serde_json::to_string_pretty(&golden).unwrap() + "\n";
            std::fs::write(folder.join(format!("{}.json", moment.name)), text).unwrap();
        });
    }
}
