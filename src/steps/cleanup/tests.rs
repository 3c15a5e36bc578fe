use std::collections::BTreeMap;

use super::{
    debris::{Action, is_debris, lone_statements, lone_vhds, stray},
    lateness::Lateness,
    lost::{lost_copies, lost_of_build, lost_of_copy, overdue},
    sweep::{turn, unfinished, whose_turn},
    *,
};
use crate::{
    azure::{BlobItem, CustomImage, Deployment, LabVm},
    domain::{IMAGE_PATH_TAG, KEEP_TAG, Message, Queue, RUN_TAG, VmName, messages::Step},
    ledger::{Backlog, BuildRecord, Key, Record as _, StepState, Sweep},
    steps::{
        fixtures::{
            NOW, ago, build, copy, deployment, failed, lab, path, run, succeeded, tags_of_run, vm, waiting,
            with, with_ignore,
        },
        tags,
    },
};

const LATE: i64 = 11;
const FRESH: i64 = 9;

/// No queue has a backlog.
fn on_time() -> Lateness {
    Lateness::by(NOW, Vec::new())
}

fn words(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| format!("{} {}", message.queue(), message.attempt)).collect()
}

fn lost<const N: usize>(steps: [(Queue, StepState); N]) -> Vec<String> {
    let mut build = build();
    build.steps = with(steps);
    words(&lost_of_build(&build, &on_time()))
}

#[test]
fn a_message_is_lost_ten_minutes_after_it_was_due() {
    let mut build = build();
    let number = |build: &BuildRecord| {
        let lost = overdue(build, &on_time()).into_iter().find(|lost| lost.step == Queue::CreateVm);
        lost.map(|lost| lost.attempt)
    };
    assert_eq!(number(&build), Some(1), "never begun");
    for (state, expected) in [
        (waiting(7, ago(LATE)), Some(7)),
        (waiting(7, ago(10)), None),
        (waiting(7, ago(FRESH)), None),
        (waiting(7, NOW + Duration::hours(1)), None),
        (succeeded(ago(600)), None),
        (failed(ago(600)), None),
    ] {
        build.steps = with([(Queue::CreateVm, state)]);
        assert_eq!(number(&build), expected);
    }
}

#[test]
fn of_a_build_every_step_that_is_due_and_silent_is_sent_again() {
    use Queue::{CaptureImage as Capture, CreateVm as Create, DeleteVm as Delete, RetireImages as Retire};
    assert_eq!(lost([]), ["create-vm 1"]);
    assert_eq!(lost([(Create, waiting(4, ago(LATE)))]), ["create-vm 4"]);
    assert_eq!(lost([(Create, waiting(4, ago(FRESH)))]), Vec::<String>::new());
    assert_eq!(lost([(Create, succeeded(ago(LATE)))]), ["capture-image 1"]);
    assert_eq!(lost([(Create, succeeded(ago(FRESH)))]), Vec::<String>::new());
    assert_eq!(lost([(Create, failed(ago(LATE)))]), ["delete-vm 1"]);
    assert_eq!(lost([(Create, succeeded(ago(60))), (Capture, waiting(3, ago(LATE)))]), ["capture-image 3"]);
    let captured = |ending| [(Create, succeeded(ago(60))), (Capture, ending)];
    assert_eq!(lost(captured(failed(ago(LATE)))), ["delete-vm 1"]);
    assert_eq!(lost(captured(succeeded(ago(LATE)))), ["delete-vm 1", "retire-images 1"]);
    assert_eq!(
        lost([
            (Create, succeeded(ago(60))),
            (Capture, succeeded(ago(50))),
            (Delete, waiting(5, ago(LATE))),
            (Retire, succeeded(ago(40))),
        ]),
        ["delete-vm 5"]
    );
    assert_eq!(lost([(Create, failed(ago(60))), (Delete, succeeded(ago(50)))]), Vec::<String>::new());
}

#[test]
fn of_a_copy_the_step_that_is_due_and_silent_is_sent_again() {
    let lost = |steps: Vec<(Queue, StepState)>| {
        let mut copy = copy();
        copy.steps = steps.into_iter().collect();
        words(&lost_of_copy(&copy, &on_time()))
    };
    assert_eq!(lost(vec![]), ["copy-image 1"]);
    assert_eq!(lost(vec![(Queue::CopyImage, waiting(9, ago(LATE)))]), ["copy-image 9"]);
    assert_eq!(lost(vec![(Queue::CopyImage, waiting(9, ago(FRESH)))]), Vec::<String>::new());
    assert_eq!(lost(vec![(Queue::CopyImage, failed(ago(600)))]), Vec::<String>::new());
    let copied = (Queue::CopyImage, succeeded(ago(LATE)));
    assert_eq!(lost(vec![copied.clone()]), ["retire-images 1"]);
    assert_eq!(lost(vec![copied.clone(), (Queue::RetireImages, waiting(2, ago(LATE)))]), ["retire-images 2"]);
    assert_eq!(lost(vec![copied, (Queue::RetireImages, succeeded(ago(600)))]), Vec::<String>::new());
}

#[test]
fn a_lost_retirement_of_a_copy_names_its_lab_and_one_of_a_build_none() {
    let mut copy = copy();
    copy.steps = with([(Queue::CopyImage, succeeded(ago(LATE)))]);
    let messages = lost_of_copy(&copy, &on_time());
    assert!(matches!(&messages[0].step, Step::RetireImages(step) if step.lab.as_ref() == Some(&copy.lab)));
    let mut build = build();
    build.steps = with([(Queue::CreateVm, succeeded(ago(60))), (Queue::CaptureImage, succeeded(ago(LATE)))]);
    let messages = lost_of_build(&build, &on_time());
    assert!(matches!(&messages[1].step, Step::RetireImages(step) if step.lab.is_none()));
}

#[test]
fn a_listing_without_a_time_is_read_and_one_with_a_coming_time_is_not() {
    let entry = |wake_at| Entry {
        key: Key::run(&run()),
        status: ItemStatus::Open,
        wake_at,
        wakes: None,
        ended_at: None,
        copies: None,
        called_off: None,
    };
    assert!(on_time().may_be_lost(&entry(None)));
    assert!(on_time().may_be_lost(&entry(Some(ago(LATE)))));
    assert!(!on_time().may_be_lost(&entry(Some(ago(FRESH)))));
    let copies_wait = [Backlog { queue: Queue::CopyImage, reached: ago(LATE), at: NOW }];
    for (queue, expected) in [(Queue::CopyImage, false), (Queue::RetireImages, true)] {
        let entry = Entry { wakes: Some(queue), ..entry(Some(ago(LATE))) };
        assert_eq!(Lateness::by(NOW, copies_wait.to_vec()).may_be_lost(&entry), expected);
    }
}

#[test]
fn a_listing_tells_of_a_step_that_never_began_while_another_goes_on() {
    let mut build = build();
    build.steps = with([
        (Queue::CreateVm, succeeded(ago(60))),
        (Queue::CaptureImage, succeeded(ago(LATE))),
        (Queue::DeleteVm, waiting(3, NOW + Duration::hours(1))),
    ]);
    assert_eq!(
        build.wakes(),
        Some((Queue::RetireImages, ago(LATE))),
        "its old VHDs were to retire since then"
    );
    assert_eq!(words(&lost_of_build(&build, &on_time())), ["retire-images 1"]);
    let mut copy = copy();
    copy.steps = with([(Queue::CopyImage, succeeded(ago(LATE)))]);
    assert_eq!(copy.wakes(), Some((Queue::RetireImages, ago(LATE))));
    copy.steps = with([(Queue::CopyImage, failed(ago(LATE)))]);
    assert_eq!(copy.wakes(), None);
}

#[test]
fn copies_that_their_build_never_began_are_lost_soon_after_the_capture() {
    let labs = |build: &BuildRecord, begun: &[&str]| -> Vec<String> {
        let is_begun = |lab: &LabId| begun.contains(&lab.lab_name());
        let messages = lost_copies(build, is_begun, &on_time()).into_iter();
        messages
            .map(|message| match message.step {
                Step::CopyImage(copy) if message.attempt == 1 => copy.lab.lab_name().to_owned(),
                other => panic!("{other:?}"),
            })
            .collect()
    };
    let captured = |minutes| {
        let steps =
            with([(Queue::CreateVm, succeeded(ago(90))), (Queue::CaptureImage, succeeded(ago(minutes)))]);
        BuildRecord { steps, ..build() }
    };
    assert_eq!(labs(&captured(LATE), &[]), ["one", "two"]);
    assert_eq!(labs(&captured(LATE), &["one"]), ["two"]);
    assert_eq!(labs(&captured(FRESH), &[]), Vec::<String>::new());
    assert_eq!(labs(&BuildRecord { steps: with([]), ..captured(LATE) }, &[]), Vec::<String>::new());
}

/// The ledger knows an open run `run-2` of one build and an ended run `run-1`.
fn runs() -> Runs {
    let open = OpenRun {
        labs: vec![lab("one"), lab("two")],
        builds: BTreeMap::from([
            ("going".to_owned(), ItemStatus::Open),
            ("over".to_owned(), ItemStatus::Failed),
        ]),
        ..OpenRun::default()
    };
    Runs {
        open: BTreeMap::from([(RunId::parse("run-2").unwrap(), open)]),
        ended: BTreeMap::from([(run(), ago(60))]),
    }
}

#[test]
fn a_vm_of_ours_is_debris_at_once_when_its_build_is_over_and_after_half_a_day_when_nobody_knows_its_run() {
    let debris = |name: &str, tags: BTreeMap<String, String>, hours: i64| {
        let vm = LabVm { name: name.to_owned(), tags, created_date: Some(ago(hours * 60)), ..vm() };
        is_debris(&vm, &runs(), NOW)
    };
    assert!(debris("any", tags_of_run("run-1"), 0), "its run has ended");
    assert!(debris("over", tags_of_run("run-2"), 0), "its build has");
    assert!(!debris("going", tags_of_run("run-2"), 100));
    assert!(!debris("planned", tags_of_run("run-2"), 100), "it may be about to be written down");
    assert!(!debris("any", tags_of_run("run-10"), 11));
    assert!(debris("any", tags_of_run("run-10"), 13), "nobody knows its run");
    assert!(debris("any", tags_of_run("NO ID"), 13));
    assert!(!debris("any", BTreeMap::new(), 13), "it is not ours");
    assert!(!debris("any", with_ignore(tags_of_run("run-1"), ""), 13));
    let of = |change: fn(&mut LabVm), run: &str| {
        let mut vm = LabVm { tags: tags_of_run(run), ..vm() };
        change(&mut vm);
        is_debris(&vm, &runs(), NOW)
    };
    assert!(!of(|vm| vm.created_date = None, "run-10"), "nobody knows how old it is");
    let deleting = |vm: &mut LabVm| vm.provisioning_state = "Deleting".to_owned();
    assert!(of(deleting, "run-1"), "a deletion that Azure lost goes on when it is asked for again");
}

fn blob(name: &str, run: Option<&str>, hours: i64) -> BlobItem {
    let metadata = run.map(|run| tags::metadata(&RunId::parse(run).unwrap(), &path()));
    BlobItem {
        name: name.to_owned(),
        etag: "e".into(),
        length: 1,
        last_modified: Some(ago(hours * 60)),
        metadata: metadata.unwrap_or_default(),
    }
}

fn hash(run: &str) -> String {
    let vm = VmName::derive(&RunId::parse(run).unwrap(), &path());
    vm.as_str().rsplit_once('-').unwrap().1.to_owned()
}

#[test]
fn a_capture_of_ours_without_a_companion_goes_when_its_build_is_over() {
    let capture = format!("capture-{}.vhd", hash("run-1"));
    let whole = format!("whole-{}", hash("run-1"));
    let (json, vhd) = (format!("{whole}.json"), format!("{whole}.vhd"));
    let blobs = [
        blob(&capture, Some("run-1"), 0),
        blob("a-copy-abcdef.vhd", Some("run-1"), 0),
        blob("foreign.vhd", None, 13),
        blob("lone.txt", Some("run-1"), 13),
        blob(&format!("open-{}.vhd", hash("run-2")), Some("run-2"), 13),
        blob("unknown.vhd", Some("run-3"), 13),
        blob("young.vhd", Some("run-3"), 11),
        blob(&json, Some("run-1"), 13),
    ];
    let mut companion = String::new();
    assert_eq!(lone_vhds(&blobs, &mut companion, &runs(), NOW), [capture.as_str(), "unknown.vhd"]);
    let next_page = [blob(&vhd, Some("run-1"), 13)];
    assert_eq!(lone_vhds(&next_page, &mut companion, &runs(), NOW), Vec::<&str>::new());
    assert_eq!(lone_vhds(&next_page, &mut String::new(), &runs(), NOW), [vhd.as_str()]);
}

#[test]
fn a_statement_goes_when_its_vhd_is_gone_and_hides_no_companion() {
    let named = |stem: &str, run: &str| format!("{stem}-{}", hash(run));
    let (gone, whole, open) = (named("gone", "run-1"), named("whole", "run-1"), named("open", "run-2"));
    let statement = |stem: &str, run| blob(&format!("{stem}.provenance.json"), Some(run), 13);
    let blobs = [
        statement(&gone, "run-1"),
        statement(&open, "run-2"),
        blob(&format!("{whole}.json"), Some("run-1"), 13),
        statement(&whole, "run-1"),
        blob(&format!("{whole}.vhd"), Some("run-1"), 13),
        statement("unknown", "run-3"),
        blob("foreign.provenance.json", None, 13),
    ];
    assert_eq!(lone_vhds(&blobs, &mut String::new(), &runs(), NOW), Vec::<&str>::new());
    let expected = [format!("{gone}.provenance.json"), "unknown.provenance.json".to_owned()];
    assert_eq!(lone_statements(&blobs, &runs(), NOW), expected);
}

#[test]
fn deployments_leave_the_history_when_their_builds_are_over() {
    let strays = |name: &str, state: &str, vms: &[LabVm]| {
        let entry = Deployment { name: name.to_owned(), ..deployment(state) };
        stray(&[entry], vms, &runs(), NOW).first().map(|(_, action)| *action)
    };
    assert_eq!(strays("run-1-vm", "Succeeded", &[]), Some(Action::Remove));
    assert_eq!(strays("run-2-over", "Failed", &[]), Some(Action::Remove));
    assert_eq!(strays("run-2-over", "Running", &[]), Some(Action::Cancel), "nobody waits for it");
    assert_eq!(strays("run-2-over", "Deleting", &[]), Some(Action::Remove), "asked for again");
    assert_eq!(strays("run-2-going", "Succeeded", &[]), None);
    assert_eq!(strays("run-2-planned", "Failed", &[]), None);
    assert_eq!(strays("run-10-vm", "Succeeded", &[]), None, "a run whose id begins alike");
    assert_eq!(strays("run-1", "Succeeded", &[]), None, "not a name that the factory gives");
    let ignored = LabVm { name: "vm".to_owned(), tags: with_ignore(tags_of_run("run-1"), ""), ..vm() };
    assert_eq!(strays("run-1-vm", "Running", &[ignored]), None);
}

#[test]
fn near_the_limit_what_has_done_its_work_leaves_the_history_oldest_first() {
    let mut runs = runs();
    let open = runs.open.values_mut().next().unwrap();
    let entries: Vec<Deployment> = (0..720)
        .map(|number| {
            open.builds.insert(format!("vm{number}"), ItemStatus::Open);
            let state = if number % 2 == 0 { "Succeeded" } else { "Running" };
            let timestamp = Some(ago(720 - number));
            Deployment { name: format!("run-2-vm{number}"), timestamp, ..deployment(state) }
        })
        .collect();
    let names: Vec<&str> = stray(&entries, &[], &runs, NOW).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 20);
    assert_eq!((names[0], names[19]), ("run-2-vm0", "run-2-vm38"));
    assert_eq!(stray(&entries[..700], &[], &runs, NOW), []);
    let young: Vec<Deployment> =
        entries.into_iter().map(|entry| Deployment { timestamp: Some(ago(14)), ..entry }).collect();
    assert_eq!(stray(&young, &[], &runs, NOW), [], "create-vm may not have seen them yet");
}

fn image(state: &str, run: &str, more: &[(&str, &str)]) -> CustomImage {
    let own = [(RUN_TAG, run), (IMAGE_PATH_TAG, "Win2022/Datacenter.json")];
    let tags = own.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    CustomImage {
        name: "image".to_owned(),
        id: "/lab/image".to_owned(),
        tags: tags.collect(),
        provisioning_state: state.to_owned(),
        creation_date: None,
        os_type: None,
        managed_image_id: None,
        managed_snapshot_id: None,
        vhd_url: None,
        description: None,
    }
}

#[test]
fn of_a_team_labs_images_only_those_of_ours_that_never_came_to_be_and_whose_copies_ended_go() {
    let mut runs = runs();
    let goes = |image: &CustomImage, runs: &Runs| unfinished(image, &lab("one"), runs).is_some();
    for state in ["Failed", "creating", "Deleting"] {
        assert!(goes(&image(state, "run-1", &[]), &runs), "{state}");
        assert!(!goes(&image(state, "run-2", &[]), &runs), "{state}: its copy goes on");
        assert!(!goes(&image(state, "run-3", &[]), &runs), "{state}: it may be another factory's");
        assert!(!goes(&image(state, "run-1", &[("FactoryIgnore", "true")]), &runs));
        assert!(!goes(&image(state, "run-1", &[(KEEP_TAG, "")]), &runs));
    }
    assert!(!goes(&image("Succeeded", "run-1", &[]), &runs));
    let vm = VmName::derive(&RunId::parse("run-2").unwrap(), &path());
    let failed = (Key::lab_part(&lab("one")), vm.to_string());
    runs.open.values_mut().next().unwrap().failed_copies.insert(failed);
    assert!(goes(&image("Failed", "run-2", &[]), &runs), "its copy failed");
    assert_eq!(unfinished(&image("Failed", "run-2", &[]), &lab("two"), &runs), None, "another lab's did");
}

#[test]
fn labs_where_a_copy_has_just_failed_come_first_and_then_those_left_of_ended_runs() {
    let mut runs = runs();
    let labs: Vec<LabId> = (0..20).map(|number| lab(&format!("lab{number:02}"))).collect();
    let notes = [
        (run(), Sweep { left: labs[..6].to_vec() }),
        (RunId::parse("run-0").unwrap(), Sweep { left: labs[4..].to_vec() }),
    ];
    runs.open.values_mut().next().unwrap().just_failed.insert(Key::lab_part(&lab("two")));
    let names: Vec<String> = whose_turn(&runs, &notes).iter().map(|lab| lab.lab_name().to_owned()).collect();
    let expected = ["two", "lab00", "lab01", "lab02", "lab03", "lab04", "lab05", "lab06", "lab07", "lab08"];
    assert_eq!(names, expected, "each once, and no more than a tick can do");
}

#[test]
fn a_lab_leaves_a_runs_note_once_it_is_clean_and_goes_to_its_end_until_then() {
    let labs = ["a", "b", "c"].map(lab);
    let mut sweep = Sweep { left: labs.to_vec() };
    assert!(turn(&mut sweep, &labs[..2], &BTreeSet::from([labs[1].clone()])));
    assert_eq!(sweep.left, [labs[2].clone(), labs[0].clone()]);
    assert!(!turn(&mut sweep, &[lab("other")], &BTreeSet::from([lab("other")])));
    assert!(turn(&mut sweep, &labs, &labs.iter().cloned().collect()));
    assert_eq!(sweep.left, []);
    assert!(turn(&mut sweep, &[], &BTreeSet::new()), "noted as done");
}

#[test]
fn a_run_is_forgotten_ninety_days_after_its_end_but_never_the_newest() {
    let days = |days| ago(days * 24 * 60);
    let runs = |ended: &[i64]| Runs {
        open: BTreeMap::new(),
        ended: ended.iter().map(|age| (RunId::parse(&format!("run-{age}")).unwrap(), days(*age))).collect(),
    };
    let forgotten = |ended: &[i64]| to_forget(&runs(ended), NOW).map(ToString::to_string);
    assert_eq!(forgotten(&[1, 89]), None);
    assert_eq!(forgotten(&[1, 91, 100]), Some("run-100".to_owned()));
    assert_eq!(forgotten(&[91]), None);
    assert_eq!(forgotten(&[91, 92]), Some("run-92".to_owned()));
    assert_eq!(forgotten(&[]), None);
}

#[test]
fn a_refusal_is_kept_for_the_end_and_the_first_one_counts() {
    let mut done = Done::default();
    let refused = |code| Err::<(), _>(crate::steps::fixtures::refusal(code));
    assert!(done.note("a", Ok::<_, AzureError>(1)).is_some());
    assert!(done.note("b", refused("First")).is_none());
    assert!(done.note("c", refused("Second")).is_none());
    assert!(done.refused.unwrap().to_string().contains("First"));
}

#[cfg(feature = "dev")]
#[tokio::test(start_paused = true)]
async fn the_vm_of_a_build_that_began_anew_since_the_tick_read_the_runs_stays() {
    use azure_sim::arm::{OsType, VirtualMachineSpec};
    use serde_json::Map;

    use crate::{domain::messages::StartRun, steps::fixtures::example};

    let (example, _) = example().await;
    let factory = &example.factory;
    let start = StartRun::of_everything(crate::domain::RunReason::Manual);
    let first = Message::first(run(), Step::StartRun(start));
    for attempt in 1..=5 {
        factory.handle(&first.numbered(attempt), 1).await.unwrap();
    }
    let (record, _) = factory.ledger.read::<RunRecord>(&Key::run(&run())).await.unwrap().unwrap();
    let lab = factory.factory_lab.clone().unwrap();
    let storage = factory.storages.get(&lab).await.unwrap();
    let vm = VirtualMachineSpec {
        name: record.builds[0].vm_name.to_string(),
        tags: Map::from_iter([(RUN_TAG.to_owned(), run().as_str().into())]),
        created: NOW,
        os: OsType::Linux,
        properties: Map::new(),
        failed: false,
    };
    example.sim.world().add_virtual_machine(&storage.lab.address.id(), vm).unwrap();
    // As the tick knows them, the run and its build have ended.
    let runs = Runs { ended: BTreeMap::from([(run(), ago(600))]), ..Runs::default() };
    let mut done = Done::default();
    debris::remove(factory, &storage, &runs, &mut done).await;
    assert!(done.removed.is_empty() && done.refused.is_none(), "{done:?}");

    let end = |build: &mut BuildRecord| {
        build.steps = with([(Queue::CreateVm, failed(NOW)), (Queue::DeleteVm, succeeded(NOW))]);
        true
    };
    let key = Key::build(&run(), &record.builds[0].vm_name);
    factory.ledger.update::<BuildRecord>(&key, end).await.unwrap();
    debris::remove(factory, &storage, &runs, &mut done).await;
    assert_eq!(done.removed, [format!("VM {}", record.builds[0].vm_name)]);
}
