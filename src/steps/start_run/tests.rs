#[cfg(feature = "dev")]
mod pinning;

use super::{builds::UNUSABLE_CONFIGURATION, planning::factory_lab, *};
use crate::{
    domain::{ImagePath, LabId},
    ledger::{BuildRecord, Ending, Entry, ItemStatus},
};

/// A run of so many planned builds with these listings.
fn standing(planned: usize, builds: &[Entry], copies: &[Entry]) -> Standing {
    let mut standing = Standing { builds: planned, ..Standing::default() };
    builds.iter().for_each(|build| standing.add_build(build));
    copies.iter().for_each(|copy| standing.add_copy(copy));
    standing
}

fn entry(status: ItemStatus, copies: Option<usize>) -> Entry {
    Entry {
        key: Key::run(&RunId::parse("r").unwrap()),
        status,
        wake_at: None,
        wakes: None,
        ended_at: None,
        copies,
        called_off: None,
    }
}

#[test]
fn a_run_is_over_when_every_copy_of_every_captured_build_ended() {
    let builds = [entry(ItemStatus::Succeeded, Some(2)), entry(ItemStatus::Failed, None)];
    let copy = || entry(ItemStatus::Succeeded, None);
    assert!(!standing(2, &builds, &[copy()]).is_over(), "one copy was not even begun");
    assert!(!standing(2, &builds, &[copy(), entry(ItemStatus::Open, None)]).is_over());
    let over = standing(2, &builds, &[copy(), copy()]);
    assert!(over.is_over());
    assert_eq!(over.to_string(), "2 images (0 open, 1 failed), 2 copies (0 open, 0 failed)");
}

#[test]
fn factory_json_names_the_factory_lab_and_the_app_setting_fills_it_up() {
    let guid = "8d9f1e4a-1111-4222-8333-444455556666";
    let default = LabId::new(guid, Some("rg"), "factory").unwrap();
    let mut settings = FactorySettings::default();
    assert_eq!(factory_lab(&settings, Some(&default)), Ok(default.clone()));
    assert!(factory_lab(&settings, None).unwrap_err().message.contains("IMAGE_FACTORY_LAB"));
    settings.factory_lab.lab_name = Some("other".to_owned());
    let other = factory_lab(&settings, Some(&default)).unwrap();
    assert_eq!((other.lab_name(), other.subscription_id(), other.resource_group()), ("other", guid, None));
}

#[test]
fn a_planned_build_whose_document_is_missing_keeps_the_run_open() {
    let one = [entry(ItemStatus::Succeeded, Some(0))];
    assert!(standing(1, &one, &[]).is_over());
    let standing = standing(2, &one, &[]);
    assert!(!standing.is_over() && standing.is_over_but_for_missing());
    assert_eq!(standing.to_string(), "2 images (1 open, 0 failed), 0 copies (0 open, 0 failed)");
}

#[test]
fn a_run_outlives_the_deadlines_of_its_steps() {
    let mut record = record();
    assert_eq!(Run.deadline(&record).as_secs(), 36 * 3600);
    record.settings.deadlines.create_vm = Duration::from_secs(48 * 3600);
    assert!(Run.deadline(&record) > Duration::from_secs(48 * 3600));
}

#[test]
fn the_builds_are_begun_by_the_turn_that_wrote_their_documents_whatever_its_number() {
    let record = record();
    for attempt in [1, 2, 9] {
        let messages = |begun, ending| {
            let mut state = StepState { ending, ..StepState::begin(record.started_at) };
            state.facts.begun = begun;
            Run.follow_ups(&record, &state, attempt).len()
        };
        assert_eq!([PLANNED, FANNED_OUT, WATCHED].map(|begun| messages(begun, None)), [0, 1, 0]);
        assert_eq!(messages(FANNED_OUT, Some(Ending::Succeeded)), 0);
    }
}

fn record() -> RunRecord {
    let build = crate::steps::fixtures::build();
    RunRecord {
        run: build.run,
        reason: crate::domain::RunReason::Manual,
        commit: None,
        author: None,
        started_at: build.run_started_at,
        asked: None,
        factory_lab: Some(build.factory_lab),
        settings: build.settings,
        approve_retirement: false,
        warnings: Vec::new(),
        builds: vec![RunBuild {
            lab_count: build.plan.labs.len(),
            is_small: false,
            hash: None,
            reuses: None,
            supersedes: Vec::new(),
            image_path: build.plan.image_path,
            image_name: build.plan.image_name,
            vm_name: build.plan.vm_name,
        }],
        unchanged: Vec::new(),
        labs: build.plan.labs,
        retired: Default::default(),
        called_off: None,
        steps: BTreeMap::new(),
    }
}

#[test]
fn of_many_builds_those_with_large_disks_begin_first() {
    let of = |number: usize| RunBuild {
        image_path: ImagePath::parse(&format!("Image{number}.json")).unwrap(),
        is_small: number.is_multiple_of(2),
        ..record().builds.remove(0)
    };
    let record = |builds| RunRecord { builds: (0..builds).map(of).collect(), ..record() };
    let slots = |record: &RunRecord, small| {
        let builds = record.builds.iter().filter(|build| build.is_small == small);
        let create = |build: &RunBuild| {
            let step = Step::CreateVm(ImageStep { image_path: build.image_path.clone() });
            Run.slot(record, &Message::first(record.run.clone(), step)).as_secs_f64()
        };
        builds.map(create).collect::<Vec<_>>()
    };
    let crowd = record(700);
    assert!(slots(&crowd, false).iter().all(|seconds| *seconds <= 50.0));
    assert!(slots(&crowd, true).iter().all(|seconds| (50.0..=100.0).contains(seconds)));
    let few = record(100);
    assert!([slots(&few, true), slots(&few, false)].concat().iter().all(|seconds| *seconds == 0.0));
}

#[cfg(feature = "dev")]
#[tokio::test(start_paused = true)]
async fn trouble_while_the_builds_are_written_down_loses_none_of_them() {
    use azure_sim::control::{FaultsSpec, HttpFaultSpec, set_faults};

    for url_part in ["/runs/", "/builds/", "/definitions/"] {
        let (example, builds) = crate::steps::fixtures::example().await;
        let trouble = HttpFaultSpec {
            method: Some("PUT".to_owned()),
            url_part: url_part.to_owned(),
            times: Some(1),
            status: Some(503),
            ..Default::default()
        };
        let faults = FaultsSpec { http: vec![trouble], ..Default::default() };
        set_faults(&example.sim, &faults);
        let start = StartRun::of_everything(crate::domain::RunReason::Manual);
        let sent = || example.messages();
        let first = Message::first(RunId::parse("run-1").unwrap(), Step::StartRun(start));
        // One turn more than without the trouble.
        for attempt in 1..=5 {
            example.factory.handle(&first.numbered(attempt), 1).await.unwrap();
            assert_eq!(sent(), u64::from(attempt), "{url_part}: the run's next message alone");
        }
        example.factory.handle(&first.numbered(6), 1).await.unwrap();
        assert_eq!(sent(), 6 + builds as u64, "{url_part}: now the builds' first ones too");
        let listed = example.factory.ledger.builds(&first.run).await.unwrap();
        assert_eq!(listed.len(), builds, "{url_part}");
    }
}

#[cfg(feature = "dev")]
mod with_a_ledger {
    use azure_sim::control::{FaultsSpec, HttpFaultSpec, set_faults};

    use super::*;
    use crate::{
        azure::{Condition, Container},
        dev::{in_process::InProcess, world},
        ledger::Record as _,
        steps::{Envelope, LAST_DELIVERY, Outbox, OutboxError, fixtures::example},
    };

    fn first() -> Message {
        let start = StartRun::of_everything(crate::domain::RunReason::Manual);
        Message::first(RunId::parse("run-1").unwrap(), Step::StartRun(start))
    }

    /// The turns until the builds are begun: the configuration is pinned, the images are decided upon, the labs are looked at, the
    /// plan is written down, and the builds.
    const TURNS: u32 = 5;

    /// A run whose builds are begun.
    async fn begin(example: &InProcess) {
        for attempt in 1..=TURNS {
            example.factory.handle(&first().numbered(attempt), 1).await.unwrap();
        }
    }

    /// The ledger's container, to spoil.
    fn container(example: &InProcess) -> Container {
        world::ledger_container(&example.factory.azure, &example.sim).unwrap()
    }

    async fn record(example: &InProcess) -> RunRecord {
        example.factory.ledger.read(&Key::run(&first().run)).await.unwrap().unwrap().0
    }

    async fn failure(example: &InProcess) -> Failure {
        let record = record(example).await;
        record.step(Queue::StartRun).and_then(StepState::failure).cloned().unwrap()
    }

    /// So many answers to requests with this method for what holds `url_part` are this status.
    fn fail(example: &InProcess, method: &str, url_part: &str, times: u32, status: u16) {
        let fault = HttpFaultSpec {
            method: Some(method.to_owned()),
            url_part: url_part.to_owned(),
            times: Some(times),
            status: Some(status),
            ..Default::default()
        };
        set_faults(&example.sim, &FaultsSpec { http: vec![fault], ..Default::default() });
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_whose_document_is_missing_is_written_down_and_begun_again() {
        let (example, builds) = example().await;
        begin(&example).await;
        let run = record(&example).await;
        let lost = Key::build(&run.run, &run.builds[0].vm_name);
        assert!(container(&example).delete(&lost.to_string()).await.unwrap());
        let before = example.messages();
        example.factory.handle(&first().numbered(TURNS + 1), 1).await.unwrap();
        assert!(example.factory.ledger.read::<BuildRecord>(&lost).await.unwrap().is_some());
        // Duplicate detection drops the first messages that it has just seen; a later look sends them again.
        assert_eq!(record(&example).await.facts(Queue::StartRun).unwrap().begun, FANNED_OUT);
        assert_eq!(example.messages() - before, 1);
        example.clock().sleep(Duration::from_secs(1200)).await;
        let before = example.messages();
        example.factory.handle(&first().numbered(TURNS + 1), 1).await.unwrap();
        assert!(example.messages() - before >= builds as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_whose_pinned_configuration_is_gone_before_its_builds_are_written_ends_with_a_reason() {
        let (example, _) = example().await;
        fail(&example, "PUT", "/builds/", 1, 503);
        begin(&example).await;
        assert_eq!(record(&example).await.status(), ItemStatus::Open);
        assert!(container(&example).delete("configurations/run-1.json").await.unwrap());
        example.factory.handle(&first().numbered(TURNS + 1), 1).await.unwrap();
        assert_eq!(failure(&example).await.code, UNUSABLE_CONFIGURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_lost_builds_for_good_waits_for_the_others_and_then_ends_with_the_reason() {
        let (example, _) = example().await;
        begin(&example).await;
        assert!(container(&example).delete("configurations/run-1.json").await.unwrap());
        let run = record(&example).await;
        let (lost, others) = run.builds.split_first().unwrap();
        let key = |build: &RunBuild| Key::build(&run.run, &build.vm_name);
        container(&example).delete(&key(lost).to_string()).await.unwrap();
        example.factory.handle(&first().numbered(TURNS + 1), 1).await.unwrap();
        assert_eq!(record(&example).await.status(), ItemStatus::Open);
        for build in others {
            let end = |build: &mut BuildRecord| {
                let ended = crate::steps::fixtures::failed(crate::steps::fixtures::NOW);
                build.steps = BTreeMap::from([(Queue::CreateVm, ended.clone()), (Queue::DeleteVm, ended)]);
                true
            };
            example.factory.ledger.update(&key(build), end).await.unwrap();
        }
        example.factory.handle(&first().numbered(TURNS + 2), 1).await.unwrap();
        assert_eq!(failure(&example).await.code, UNUSABLE_CONFIGURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pinned_configuration_that_somebody_spoilt_is_the_runs_failure() {
        let (example, _) = example().await;
        let (container, spoilt) = (container(&example), b"{\"Labs.json\": 3}".to_vec());
        container.put("configurations/run-1.json", spoilt, &BTreeMap::new(), Condition::None).await.unwrap();
        example.factory.handle(&first(), 1).await.unwrap();
        assert_eq!(failure(&example).await.code, crate::ledger::MALFORMED_LEDGER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ledger_that_refuses_for_good_is_no_reason_to_wait() {
        let (example, _) = example().await;
        example.factory.handle(&first(), 1).await.unwrap();
        for (status, waits) in [(503, true), (403, false)] {
            fail(&example, "GET", "/runs/", 1, status);
            let handled = example.factory.handle(&first().numbered(2), 1).await;
            assert_eq!(handled.is_ok(), waits, "{status}: {handled:?}");
        }
    }

    /// An outbox whose queues take nothing.
    struct Full;

    #[async_trait]
    impl Outbox for Full {
        async fn send(&self, _envelopes: Vec<Envelope>) -> Result<(), OutboxError> {
            Err(OutboxError { queue: "create-vm".to_owned(), reason: "QuotaExceeded".to_owned() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_sent_is_left_to_cleanup_before_the_message_becomes_a_dead_letter() {
        let (example, _) = example().await;
        let factory = Factory { outbox: std::sync::Arc::new(Full), ..(*example.factory).clone() };
        for delivery in 1..LAST_DELIVERY {
            let handled = factory.handle(&first(), delivery).await;
            assert!(matches!(handled, Err(StepError::Unsent(_))), "delivery {delivery}: {handled:?}");
        }
        assert!(factory.handle(&first(), LAST_DELIVERY).await.unwrap().0.contains("cleanup sends"));

        fail(&example, "PUT", "/runs/", 10, 503);
        let unknown = Message { run: RunId::parse("run-2").unwrap(), ..first() };
        let handled = factory.handle(&unknown, LAST_DELIVERY).await;
        assert!(matches!(handled, Err(StepError::Outbox(_))), "nobody else knows of it: {handled:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_build_knows_what_the_run_does_beside_it() {
        let (example, builds) = example().await;
        begin(&example).await;
        let run = record(&example).await;
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        let mut documents = Vec::new();
        for build in &run.builds {
            let key = Key::build(&run.run, &build.vm_name);
            let (document, _) = example.factory.ledger.read::<BuildRecord>(&key).await.unwrap().unwrap();
            assert_eq!(document.plan.labs.len(), build.lab_count);
            for lab in &document.plan.labs {
                assert!(run.labs.contains(lab));
                *copies.entry(lab.subscription_id().to_ascii_lowercase()).or_default() += 1;
            }
            documents.push(document);
        }
        for document in documents {
            let siblings = document.siblings.unwrap();
            assert_eq!(siblings.builds, builds);
            assert!(siblings.copies.iter().all(|(id, number)| copies.get(id) == Some(number)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sixteen_that_need_a_lab_at_once_look_it_up_once() {
        let (example, _) = example().await;
        let lab = example.factory.factory_lab.clone().unwrap();
        let calls = || {
            let counts = azure_sim::control::counts(&example.sim);
            counts.arm_reads + counts.arm_writes
        };
        let storages = &example.factory.storages;
        let before = calls();
        futures::future::try_join_all((0..16).map(|_| storages.get(&lab))).await.unwrap();
        assert_eq!(calls() - before, 2, "the lab and its account");
        storages.forget(&[]);
        storages.get(&lab).await.unwrap();
        assert_eq!(calls() - before, 2);
        storages.forget(&[&lab]);
        storages.get(&lab).await.unwrap();
        assert_eq!(calls() - before, 4);
        example.clock().sleep(Duration::from_secs(3601)).await;
        storages.get(&lab).await.unwrap();
        assert_eq!(calls() - before, 6);
        storages.forget(&[&lab]);
        fail(&example, "GET", "/labs/", 1, 503);
        let refused = futures::future::join_all((0..16).map(|_| storages.get(&lab))).await;
        assert!(refused.iter().all(Result::is_err), "a refusal is shared, or each would wait for its own");
        assert!(storages.get(&lab).await.is_ok(), "and asked about again");
    }
}

#[test]
fn the_looks_at_a_run_cost_its_copies_no_more_when_it_is_large() {
    let listings =
        |items: u32| f64::from(items / 1000 + 1) / (BOUNDS.most + FOR_EACH_ITEM * items).as_secs_f64();
    let [small, large] = [100, 100_000].map(|items| listings(items) / f64::from(items));
    assert!(large < small / 5.0, "{large} listings a second and copy, where a small run has {small}");
}
