//! What the program itself takes, without Azure's time: everything in one process, no sockets, and waiting is virtual.
//!
//! An invocation here is what the Functions host asks for and the handler does: the payload is read, the ledger and Azure are
//! looked at, the next thing is done, the ledger is written and the next message sent. The other side of all these calls is the
//! simulator, so its own work is in the times, too.

use azure_sim::{
    broker::{Delivery, ReceiveMode},
    latency::{Profile, Span},
};
use divan::{Bencher, black_box};
use image_factory::{
    dev::{
        configuration::{Shape, generate},
        in_process::{InProcess, InProcessOptions},
    },
    domain::{Configuration, ConfigurationFiles, Definition, FactorySettings, Queue, RunId},
    handler::CLEANUP,
};
use sha2::{Digest as _, Sha256};
use time::{OffsetDateTime, macros::datetime};
use tokio::runtime::Runtime;

const ORIGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
/// The size that the factory is measured at: 100,000 copies.
const MANY_IMAGES: usize = 1000;
const MANY_LABS: usize = 100;
/// The largest of the shipped definitions.
const TEMPLATE_PATH: &str = "GoldenImages/Linux/DataScience.json";
const TEMPLATE: &[u8] = include_bytes!("../examples/GoldenImages/Linux/DataScience.json");
/// Every function.
const FUNCTIONS: [&str; 7] =
    ["start-run", "create-vm", "capture-image", "copy-image", "retire-images", "delete-vm", CLEANUP];

fn main() {
    divan::main();
}

/// A factory that is about to be invoked.
struct Moment {
    runtime: Runtime,
    host: InProcess,
    next: Next,
}

enum Next {
    Message(Queue, Box<Delivery>),
    Cleanup,
}

impl Moment {
    /// A factory for so many images and labs, of whose run this function gets its first invocation. The cleanup timer ticks
    /// while the first VM is being made.
    fn before(function: &str, images: usize, labs: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let (host, next) = runtime.block_on(async {
            let host = factory(generate(Shape::new(images, labs))).await;
            host.start_run(&RunId::manual(ORIGIN, "bench").expect("a run id")).await.expect("a run");
            let wanted = Queue::ALL.into_iter().find(|queue| queue.name() == function);
            let next = match wanted {
                Some(queue) => first_message(&host, queue).await,
                None => {
                    let message = first_message(&host, Queue::CreateVm).await;
                    deliver(&host, message).await;
                    Next::Cleanup
                }
            };
            (host, next)
        });
        Self { runtime, host, next }
    }

    /// The invocation. What is handed back is dropped when the time is taken.
    fn invoke(self) -> (Runtime, InProcess) {
        let Self { runtime, host, next } = self;
        runtime.block_on(deliver(&host, next));
        (runtime, host)
    }

    /// The invocations of `start-run` until the first build begins.
    fn plan(self) -> (Runtime, InProcess) {
        let Self { runtime, host, next } = self;
        runtime.block_on(async {
            deliver(&host, next).await;
            first_message(&host, Queue::CreateVm).await
        });
        (runtime, host)
    }
}

async fn factory(files: ConfigurationFiles) -> InProcess {
    let (configuration, problems) = Configuration::load(&files);
    assert!(!problems.has_errors(), "{problems}");
    let options = InProcessOptions { seed: 1, profile: at_once(), files, origin: ORIGIN };
    InProcess::new(options, &configuration.expect("a configuration")).await.expect("a factory")
}

/// Everything in Azure is done as soon as it is asked for, but for copies, which need a rate.
fn at_once() -> Profile {
    let zero = Span::seconds(0.0, 0.0);
    Profile {
        deployment_start: zero,
        arm_call: zero,
        blob_call: zero,
        vm_creation: zero,
        artifact: zero,
        generalizing_artifact: zero,
        deallocation: zero,
        power_action: zero,
        vm_deletion: zero,
        disk_access: zero,
        copy_stall_share: 0.0,
        custom_image: zero,
        custom_image_deletion: zero,
        deployment_deletion: zero,
        ..Profile::default()
    }
}

/// Lets the other functions work until this queue has a message.
async fn first_message(host: &InProcess, wanted: Queue) -> Next {
    loop {
        let receive = |queue: Queue| {
            let delivery = host.broker.try_receive(queue.name(), ReceiveMode::PeekLock).expect("the queue");
            delivery.map(|delivery| Next::Message(queue, Box::new(delivery)))
        };
        if let Some(next) = receive(wanted) {
            return next;
        }
        match Queue::ALL.into_iter().find_map(receive) {
            Some(next) => deliver(host, next).await,
            None => host.clock().sleep(std::time::Duration::from_secs(1)).await,
        }
    }
}

async fn deliver(host: &InProcess, next: Next) {
    match next {
        Next::Message(queue, delivery) => host.deliver(queue, *delivery).await,
        Next::Cleanup => assert!(host.instance.clean_up(ORIGIN).await, "cleanup failed"),
    }
}

/// The first invocation of each function in a run of one image and one lab.
#[divan::bench(args = FUNCTIONS, sample_count = 50, sample_size = 1)]
fn invocation(bencher: Bencher<'_, '_>, function: &str) {
    bencher.with_inputs(|| Moment::before(function, 1, 1)).bench_local_values(Moment::invoke);
}

/// The first turns of a run of 1,000 images to 100 labs, until its first build begins: the configuration is pinned and checked, the
/// images are decided upon, each lab is looked at, and all of it is written to the ledger.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn plan_of_1000_images_to_100_labs(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| Moment::before("start-run", MANY_IMAGES, MANY_LABS))
        .bench_local_values(Moment::plan);
}

/// The same configuration, only read and checked.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn check_of_1000_images_and_100_labs(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(|| generate(Shape::new(MANY_IMAGES, MANY_LABS)))
        .bench_refs(|files| Configuration::load(black_box(files)));
}

/// Which of 1,000 images goes to which of 100 labs.
#[divan::bench(sample_count = 20)]
fn subscriptions_of_1000_images_and_100_labs(bencher: Bencher<'_, '_>) {
    let (configuration, _) = Configuration::load(&generate(Shape::new(MANY_IMAGES, MANY_LABS)));
    let configuration = configuration.expect("a configuration");
    bencher.bench_local(|| black_box(&configuration).subscriptions());
}

/// A definition from its text.
#[divan::bench]
fn parse_and_check_of_a_template() -> bool {
    Definition::parse(TEMPLATE_PATH, black_box(TEMPLATE), &FactorySettings::default()).is_ok()
}

/// The SHA-256 of a definition's template as compact JSON, keys in the order of the file.
#[divan::bench]
fn sha256_of_a_parsed_template(bencher: Bencher<'_, '_>) {
    let definition = Definition::parse(TEMPLATE_PATH, TEMPLATE, &FactorySettings::default());
    let definition = definition.expect("the shipped definition");
    bencher.bench_local(|| Sha256::digest(black_box(&definition).template().to_string()));
}
