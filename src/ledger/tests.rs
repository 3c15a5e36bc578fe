use std::sync::Mutex;

use serde_json::{Value, json};

use super::*;
use crate::{
    domain::Queue,
    steps::fixtures::{NOW, ago, build, copy, failed, lab, run, succeeded, waiting, with},
};

fn build_key() -> Key {
    Key::build(&run(), &build().plan.vm_name)
}

fn copy_key() -> Key {
    Key::copy(&run(), &build().plan.vm_name, &copy().lab)
}

#[test]
fn documents_are_named_by_what_they_are_about() {
    assert_eq!(Key::run(&run()).to_string(), "runs/run-1.json");
    assert_eq!(Key::run(&run()).run_id(), Some(run()));
    assert_eq!(build_key().run_id(), None);
    let vm = build().plan.vm_name;
    assert_eq!(build_key().to_string(), format!("builds/run-1/{vm}.json"));
    let spelled = |lab| {
        Key::copy(&run(), &vm, &LabId::new("8D9F1E4A-1111-4222-8333-444455556666", Some("RG"), lab).unwrap())
    };
    assert!(copy_key().to_string().starts_with(&format!("copies/run-1/{vm}/one-")));
    assert_eq!(spelled("ONE"), copy_key(), "spellings of one lab are one document");
    assert_ne!(spelled("one1"), copy_key());
    let own = Key::retirement(&run(), &copy().lab).to_string();
    assert!(own.starts_with("retirements/run-1/one-") && own.ends_with(".json"), "{own}");
    assert_ne!(Key::vhd_retirement(&run(), &copy().lab).to_string(), own);
}

/// A document as this program writes it today. If this fails, documents of runs that are under way cannot be read by the
/// next version: add fields with a default instead.
#[test]
fn a_build_of_today_can_be_read_for_ever() {
    let golden = json!({
        "run": "run-1",
        "runStartedAt": "2026-11-22T12:00:00Z",
        "commit": null,
        "imagePath": "Win2022/Datacenter.json",
        "imageName": build().plan.image_name,
        "vmName": build().plan.vm_name,
        "labs": build().plan.labs,
        "description": "Windows Server",
        "factoryLab": {"subscriptionId": "8d9f1e4a-1111-4222-8333-444455556666", "resourceGroup": "rg", "labName": "factory"},
        "settings": build().settings,
        "steps": {
            "create-vm": {
                "attempt": 7,
                "wakeAt": "2026-11-22T12:40:00Z",
                "startedAt": "2026-11-22T12:00:00Z",
                "endedAt": "2026-11-22T12:40:00Z",
                "ending": {"status": "succeeded"},
                "facts": {"begun": 1, "begunAt": "2026-11-22T12:01:00Z", "osType": "Windows", "computeId": "/compute/vm"},
            },
            "capture-image": {
                "attempt": 3,
                "wakeAt": "2026-11-22T13:05:00Z",
                "startedAt": "2026-11-22T12:41:00Z",
                "waitingFor": "taking back",
                "troubles": 2,
                "failing": {"code": "QuotaExceeded", "message": "no more cores", "correlationId": "c-1"},
                "failingSince": "2026-11-22T12:59:00Z",
                "facts": {"operation": {"monitor": "https://management.azure.com/op?sig=x"}, "diskId": "/disk"},
            },
            "delete-vm": {
                "attempt": 1,
                "wakeAt": "2026-11-22T12:40:00Z",
                "startedAt": "2026-11-22T12:00:00Z",
                "ending": {"status": "failed", "failure": {"code": "DeadlineExceeded", "message": "too long"}},
                "facts": {"retired": ["old"], "kept": [{"name": "older", "reason": "used by VM pc"}],
                    "customImageId": "/image", "vhdUrl": "https://a/b.vhd"},
            },
        },
    });
    let record: BuildRecord = parse(&build_key(), golden.to_string().as_bytes()).unwrap();
    assert_eq!(record.plan.labs, build().plan.labs);
    assert_eq!(record.facts(Queue::CreateVm).unwrap().begun_at, Some(ago(59)));
    let capture = record.step(Queue::CaptureImage).unwrap();
    assert_eq!((capture.troubles, capture.failing_since), (2, Some(ago(1))));
    assert!(capture.facts.operation.as_ref().is_some_and(crate::azure::OperationUrl::is_monitor));
    assert_eq!(record.step(Queue::DeleteVm).unwrap().failure().unwrap().code, "DeadlineExceeded");
    let written: Value = serde_json::to_value(&record).unwrap();
    // The same keys, in whatever order.
    assert_eq!(written, golden);
}

#[test]
fn a_copy_of_today_can_be_read_for_ever() {
    let golden = json!({
        "run": "run-1",
        "runStartedAt": "2026-11-22T12:00:00Z",
        "imagePath": "Win2022/Datacenter.json",
        "imageName": copy().image_name,
        "description": "Windows Server",
        "osType": "Windows",
        "lab": copy().lab,
        "factoryLab": copy().factory_lab,
        "settings": copy().settings,
        "steps": {},
    });
    let record: CopyRecord = parse(&copy_key(), golden.to_string().as_bytes()).unwrap();
    assert_eq!(serde_json::to_value(&record).unwrap(), golden);
    let mut later = golden;
    later["somethingNew"] = true.into();
    assert!(parse::<CopyRecord>(&copy_key(), later.to_string().as_bytes()).is_ok());
    later.as_object_mut().unwrap().remove("lab");
    let error = parse::<CopyRecord>(&copy_key(), later.to_string().as_bytes()).unwrap_err();
    assert_eq!((error.code.as_str(), error.is_transient()), (MALFORMED_LEDGER, false));
}

fn run_record(builds: usize, labs: usize) -> RunRecord {
    let (plan, settings) = (build().plan, build().settings);
    let build = RunBuild {
        image_path: plan.image_path,
        image_name: plan.image_name,
        vm_name: plan.vm_name,
        lab_count: labs,
        is_small: false,
        hash: None,
        reuses: None,
        supersedes: Vec::new(),
    };
    RunRecord {
        run: run(),
        reason: crate::domain::RunReason::Schedule,
        commit: None,
        author: None,
        started_at: NOW,
        asked: None,
        factory_lab: Some(lab("factory")),
        settings,
        approve_retirement: false,
        warnings: Vec::new(),
        builds: vec![build; builds],
        unchanged: Vec::new(),
        labs: (0..labs).map(|number| lab(&format!("a-lab-{number}"))).collect(),
        retired: Default::default(),
        called_off: None,
        steps: BTreeMap::new(),
    }
}

#[test]
fn a_run_of_a_hundred_thousand_copies_has_a_small_document() {
    let bytes = serde_json::to_vec(&run_record(1000, 100)).unwrap().len();
    assert!(bytes < 300_000, "{bytes} bytes");
}

#[test]
fn a_run_of_the_first_version_with_labs_in_its_document_can_be_read() {
    let mut old = serde_json::to_value(run_record(1, 2)).unwrap();
    old.as_object_mut().unwrap().remove("labs");
    let old_build = old["builds"][0].as_object_mut().unwrap();
    old_build.remove("labCount");
    old_build.insert("labs".to_owned(), json!([lab("one"), lab("two"), lab("three")]));
    let read: RunRecord = parse(&Key::run(&run()), old.to_string().as_bytes()).unwrap();
    assert_eq!((read.builds[0].lab_count, read.labs.len()), (3, 0));
    let written = serde_json::to_string(&read).unwrap();
    assert!(written.contains("\"labCount\":3") && !written.contains("three"), "{written}");
}

#[test]
fn a_build_is_over_when_its_vm_is_gone_and_a_captured_one_when_its_old_vhds_are_too() {
    use Queue::{CaptureImage as Capture, CreateVm as Create, DeleteVm as Delete, RetireImages as Retire};
    let status = |steps: Vec<(Queue, StepState)>| {
        let mut build = build();
        build.steps = steps.into_iter().collect();
        build.status()
    };
    let done = || succeeded(NOW);
    assert_eq!(status(vec![]), ItemStatus::Open);
    assert_eq!(status(vec![(Create, failed(NOW))]), ItemStatus::Open);
    assert_eq!(status(vec![(Create, failed(NOW)), (Delete, done())]), ItemStatus::Failed);
    assert_eq!(status(vec![(Create, done()), (Capture, failed(NOW)), (Delete, done())]), ItemStatus::Failed);
    assert_eq!(status(vec![(Create, done()), (Capture, done()), (Delete, done())]), ItemStatus::Open);
    assert_eq!(
        status(vec![(Create, done()), (Capture, done()), (Delete, failed(NOW)), (Retire, failed(NOW))]),
        ItemStatus::Succeeded,
        "the image is there"
    );
}

#[test]
fn files_that_are_no_text_are_kept_byte_for_byte() {
    for bytes in [&b"plain"[..], b"", b"\xff\xfe\x00\x80", "Öl".as_bytes()] {
        let text = serde_json::to_string(&Pinned::of(bytes)).unwrap();
        let back: Pinned = serde_json::from_str(&text).unwrap();
        assert_eq!(back.bytes(), bytes, "{text}");
    }
}

#[cfg(feature = "dev")]
mod in_blob_storage {
    use azure_sim::control::{FaultsSpec, HttpFaultSpec};

    use super::*;
    use crate::steps::fixtures::example;

    async fn ledger() -> Ledger {
        example().await.0.factory.ledger.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_created_once_and_the_first_one_stays() {
        let ledger = ledger().await;
        assert!(ledger.read::<BuildRecord>(&build_key()).await.unwrap().is_none());
        assert!(ledger.create(&build_key(), &build()).await.unwrap());
        let second = BuildRecord { description: "second".to_owned(), ..build() };
        assert!(!ledger.create(&build_key(), &second).await.unwrap());
        let (read, _) = ledger.read::<BuildRecord>(&build_key()).await.unwrap().unwrap();
        assert_eq!(read.description, build().description);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_verdict_about_a_retirement_counts_for_all() {
        let ledger = ledger().await;
        let key = Key::retirement(&run(), &copy().lab);
        assert_eq!(ledger.retirement(&key).await.unwrap(), None);
        let golden = json!({"lab": copy().lab, "before": 10, "after": 2, "mostRetiredShare": 0.5, "approved": false,
            "held": true, "weighedAt": "2026-11-22T13:00:00Z"});
        let first: Retirement = serde_json::from_value(golden.clone()).unwrap();
        assert_eq!(serde_json::to_value(&first).unwrap(), golden);
        assert_eq!(ledger.keep_retirement(&key, &first).await.unwrap(), first);
        let second = Retirement { before: 3, held: false, ..first.clone() };
        assert_eq!(ledger.keep_retirement(&key, &second).await.unwrap(), first);
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_is_read_without_the_document() {
        let ledger = ledger().await;
        assert_eq!(ledger.status(&build_key()).await.unwrap(), None);
        ledger.create(&build_key(), &build()).await.unwrap();
        assert_eq!(ledger.status(&build_key()).await.unwrap(), Some(ItemStatus::Open));
    }

    #[tokio::test(start_paused = true)]
    async fn two_steps_that_write_at_once_both_stand_in_the_document() {
        let ledger = ledger().await;
        ledger.create(&build_key(), &build()).await.unwrap();
        let put = |step| {
            let ledger = ledger.clone();
            async move {
                let change = |record: &mut BuildRecord| {
                    record.steps.insert(step, succeeded(NOW));
                    true
                };
                ledger.update(&build_key(), change).await.unwrap()
            }
        };
        futures::join!(
            put(Queue::CreateVm),
            put(Queue::CaptureImage),
            put(Queue::DeleteVm),
            put(Queue::RetireImages)
        );
        let (read, _) = ledger.read::<BuildRecord>(&build_key()).await.unwrap().unwrap();
        assert_eq!(read.steps.len(), 4);
        assert_eq!(read.status(), ItemStatus::Succeeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_met_another_reads_again_and_keeps_both() {
        let ledger = ledger().await;
        ledger.create(&build_key(), &build()).await.unwrap();
        // The other writer comes between the read and the write of the first attempt.
        let (mut theirs, etag) = ledger.read::<BuildRecord>(&build_key()).await.unwrap().unwrap();
        theirs.steps = with([(Queue::DeleteVm, waiting(2, NOW))]);
        ledger.write(&build_key(), &theirs, Condition::IfMatch(etag.clone())).await.unwrap();
        let error = ledger.write(&build_key(), &build(), Condition::IfMatch(etag)).await.unwrap_err();
        assert!(error.is_precondition());
        let change = |record: &mut BuildRecord| {
            record.steps.insert(Queue::CreateVm, waiting(5, NOW));
            true
        };
        let both = ledger.update(&build_key(), change).await.unwrap();
        assert_eq!(both.steps.keys().copied().collect::<Vec<_>>(), [Queue::CreateVm, Queue::DeleteVm]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_always_loses_gives_up_for_now() {
        let (factory, _) = example().await;
        let ledger = &factory.factory.ledger;
        ledger.create(&build_key(), &build()).await.unwrap();
        let lost = HttpFaultSpec {
            method: Some("PUT".to_owned()),
            url_part: "/builds/".to_owned(),
            times: Some(u32::MAX),
            status: Some(412),
            headers: vec![("x-ms-error-code".to_owned(), "ConditionNotMet".to_owned())],
            ..Default::default()
        };
        let faults = FaultsSpec { http: vec![lost], ..Default::default() };
        azure_sim::control::set_faults(&factory.sim, &faults);
        let tries = Mutex::new(0);
        let change = |_: &mut BuildRecord| {
            *tries.lock().unwrap() += 1;
            true
        };
        let error = ledger.update(&build_key(), change).await.unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert_eq!(*tries.lock().unwrap(), WRITE_ATTEMPTS);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_of_a_run_goes_bit_by_bit_its_own_document_last() {
        let ledger = ledger().await;
        let other = RunId::parse("run-10").unwrap();
        let weighed = Retirement {
            lab: lab("one"),
            before: 2,
            after: 1,
            most_retired_share: 0.5,
            approved: false,
            held: false,
            weighed_at: NOW,
        };
        for run in [run(), other.clone()] {
            ledger.create(&Key::run(&run), &run_record(1, 1)).await.unwrap();
            ledger.pin_configuration(&run, &ConfigurationFiles::default()).await.unwrap();
            ledger.note_sweep(&run, &Sweep::default()).await.unwrap();
            ledger.keep_retirement(&Key::retirement(&run, &lab("one")), &weighed).await.unwrap();
            ledger.keep_definition(&run, &build().plan.vm_name, b"{}").await.unwrap();
            ledger.create(&Key::build(&run, &build().plan.vm_name), &build()).await.unwrap();
            for name in ["one", "two", "three"] {
                let key = Key::copy(&run, &build().plan.vm_name, &lab(name));
                ledger.create(&key, &copy()).await.unwrap();
            }
        }
        assert!(!ledger.forget(&run(), 2).await.unwrap());
        assert_eq!(ledger.copies(&run()).await.unwrap().len(), 1);
        assert_eq!(ledger.runs().await.unwrap().len(), 2, "so that the next tick goes on with it");
        assert!(ledger.forget(&run(), 5).await.unwrap());
        assert!(ledger.forget(&run(), 5).await.unwrap(), "again is fine");
        let left: Vec<String> =
            ledger.container.list("").await.unwrap().into_iter().map(|blob| blob.name).collect();
        assert_eq!(left.len(), 9, "{left:?}");
        assert!(left.iter().all(|name| name.contains("run-10")), "{left:?}");
        assert_eq!(ledger.swept_runs().await.unwrap(), BTreeSet::from([other]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_was_just_read_is_written_without_reading_it_again() {
        let (example, _) = example().await;
        let ledger = &example.factory.ledger;
        ledger.create(&build_key(), &build()).await.unwrap();
        let known = ledger.read::<BuildRecord>(&build_key()).await.unwrap();
        let calls = || azure_sim::control::counts(&example.sim).blob_calls;
        let put = async |known, step| {
            let before = calls();
            let change = |record: &mut BuildRecord| {
                record.steps.insert(step, succeeded(NOW));
                true
            };
            let record = ledger.update_read(&build_key(), known, change).await.unwrap();
            (calls() - before, record.steps.len())
        };
        assert_eq!(put(known.clone(), Queue::CreateVm).await, (1, 1));
        assert_eq!(put(known, Queue::DeleteVm).await, (3, 2), "somebody wrote since: both stand");
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_has_nothing_to_write_writes_nothing() {
        let ledger = ledger().await;
        ledger.create(&build_key(), &build()).await.unwrap();
        let etag = async || ledger.read::<BuildRecord>(&build_key()).await.unwrap().unwrap().1;
        let before = etag().await;
        ledger.update::<BuildRecord>(&build_key(), |_| false).await.unwrap();
        assert_eq!(etag().await, before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_that_is_gone_is_not_made_by_an_update() {
        let ledger = ledger().await;
        let error = ledger.update::<BuildRecord>(&build_key(), |_| true).await.unwrap_err();
        assert!(error.is_not_found(), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_says_what_the_documents_say() {
        let ledger = ledger().await;
        let mut open = build();
        open.steps = with([
            (Queue::CreateVm, succeeded(ago(30))),
            (Queue::CaptureImage, succeeded(NOW)),
            (Queue::DeleteVm, waiting(1, NOW + time::Duration::milliseconds(1500))),
        ]);
        ledger.create(&build_key(), &open).await.unwrap();
        let mut ended = copy();
        ended.steps = with([(Queue::CopyImage, failed(ago(3)))]);
        ledger.create(&copy_key(), &ended).await.unwrap();

        let builds = ledger.builds(&run()).await.unwrap();
        let [entry] = builds.as_slice() else { panic!("{builds:?}") };
        assert_eq!(entry.key, build_key());
        assert_eq!((entry.status, entry.copies), (ItemStatus::Open, Some(2)));
        assert_eq!((entry.wakes.zip(entry.wake_at), entry.ended_at), (open.wakes(), open.ended_at()));
        assert_eq!(entry.wake_at, Some(NOW));

        let copies = ledger.copies(&run()).await.unwrap();
        let [entry] = copies.as_slice() else { panic!("{copies:?}") };
        assert_eq!(entry.key, copy_key());
        assert_eq!((entry.status, entry.copies, entry.wake_at), (ItemStatus::Failed, None, None));
        assert_eq!(entry.ended_at, Some(ago(3)));
        let other = RunId::parse("run-10").unwrap();
        assert!(ledger.builds(&other).await.unwrap().is_empty());
        assert!(ledger.runs().await.unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_stays_pinned_to_its_first_configuration_with_every_byte() {
        let ledger = ledger().await;
        let files = |text: &[u8]| -> ConfigurationFiles {
            [
                ("Labs.json".to_owned(), text.to_vec()),
                ("GoldenImages/Größe.json".to_owned(), b"\xff\x00{".to_vec()),
            ]
            .into_iter()
            .collect()
        };
        assert!(ledger.pinned_configuration(&run()).await.unwrap().is_none());
        let first = ledger.pin_configuration(&run(), &files(b"first")).await.unwrap();
        let second = ledger.pin_configuration(&run(), &files(b"second")).await.unwrap();
        assert_eq!(first.files, files(b"first").files);
        assert_eq!(second.files, first.files);
    }

    #[tokio::test(start_paused = true)]
    async fn a_builds_template_is_kept_as_it_was_first() {
        let ledger = ledger().await;
        let vm = build().plan.vm_name;
        assert!(ledger.definition(&run(), &vm).await.unwrap_err().is_not_found());
        ledger.keep_definition(&run(), &vm, b"{\"first\": 1}").await.unwrap();
        ledger.keep_definition(&run(), &vm, b"{}").await.unwrap();
        assert_eq!(ledger.definition(&run(), &vm).await.unwrap(), b"{\"first\": 1}");
    }
}
