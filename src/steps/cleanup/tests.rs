use super::*;
use crate::{
    azure::LabVm,
    domain::ImagePath,
    steps::fixtures::{
        NOW, ago, build, copy, deployment, failed, run, succeeded, tags_of_run, vm, waiting, with,
        with_ignore,
    },
};

const LATE: i64 = 16;
const FRESH: i64 = 14;

fn words(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|message| format!("{} {}", message.queue(), message.attempt)).collect()
}

fn lost<const N: usize>(steps: [(Queue, StepState); N]) -> Vec<String> {
    let mut build = build();
    build.steps = with(steps);
    words(&lost_of_build(&build, NOW))
}

#[test]
fn a_message_is_lost_only_a_quarter_of_an_hour_after_it_was_due() {
    let mut build = build();
    let number = |build: &BuildRecord| overdue(build, Queue::CreateVm, ago(LATE), NOW).map(|lost| lost.0);
    assert_eq!(number(&build), Some(1), "never begun");
    for (state, expected) in [
        (waiting(7, ago(LATE)), Some(7)),
        (waiting(7, ago(15)), None),
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
        words(lost_of_copy(&copy, NOW).as_slice())
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
    let message = lost_of_copy(&copy, NOW).unwrap();
    assert!(matches!(message.step, Step::RetireImages(step) if step.lab == Some(copy.lab)));
    let mut build = build();
    build.steps = with([(Queue::CreateVm, succeeded(ago(60))), (Queue::CaptureImage, succeeded(ago(LATE)))]);
    let messages = lost_of_build(&build, NOW);
    assert!(matches!(&messages[1].step, Step::RetireImages(step) if step.lab.is_none()));
}

#[test]
fn a_listing_without_a_time_is_read_and_one_with_a_coming_time_is_not() {
    let entry = |wake_at| Entry {
        key: Key::run(&run()),
        status: ItemStatus::Open,
        wake_at,
        ended_at: None,
        copies: None,
    };
    assert!(may_be_overdue(&entry(None), NOW));
    assert!(may_be_overdue(&entry(Some(ago(LATE))), NOW));
    assert!(!may_be_overdue(&entry(Some(ago(FRESH))), NOW));
}

fn old(tags: std::collections::BTreeMap<String, String>) -> LabVm {
    LabVm { tags, created_date: Some(ago(13 * 60)), ..vm() }
}

#[test]
fn only_an_old_vm_of_ours_that_belongs_to_no_open_run_is_debris() {
    let debris = |vm: &LabVm, open: &[RunId]| is_debris(vm, open, NOW);
    assert!(debris(&old(tags_of_run("run-1")), &[]));
    assert!(!debris(&old(tags_of_run("run-1")), &[run()]), "its run is open");
    assert!(debris(&old(tags_of_run("run-10")), &[run()]), "another run is open");
    assert!(!debris(&vm(), &[]), "it is young");
    assert!(!debris(&old(Default::default()), &[]), "it is not ours");
    assert!(!debris(&old(with_ignore(tags_of_run("run-1"), "")), &[]));
    let undated = LabVm { created_date: None, ..old(tags_of_run("run-1")) };
    assert!(!debris(&undated, &[]), "nobody knows how old it is");
    let going = LabVm { provisioning_state: "Deleting".to_owned(), ..old(tags_of_run("run-1")) };
    assert!(!debris(&going, &[]));
}

fn blob(name: &str, run: Option<&str>, hours: i64) -> BlobItem {
    let metadata = run.map(|run| {
        let path = ImagePath::parse("Win2022/Datacenter.json").unwrap();
        tags::metadata(&RunId::parse(run).unwrap(), &path)
    });
    BlobItem {
        name: name.to_owned(),
        etag: "e".into(),
        length: 1,
        last_modified: Some(ago(hours * 60)),
        metadata: metadata.unwrap_or_default(),
    }
}

#[test]
fn only_an_old_vhd_of_ours_without_a_companion_goes() {
    let blobs = [
        blob("lone.vhd", Some("run-1"), 13),
        blob("young.vhd", Some("run-1"), 11),
        blob("open.vhd", Some("run-2"), 13),
        blob("whole.vhd", Some("run-1"), 13),
        blob("whole.json", Some("run-1"), 13),
        blob("foreign.vhd", None, 13),
        blob("lone.txt", Some("run-1"), 13),
    ];
    let open = [RunId::parse("run-2").unwrap()];
    assert_eq!(lone_vhds(&blobs, &open, NOW), ["lone.vhd"]);
}

#[test]
fn only_old_final_deployments_of_ended_runs_leave_the_history() {
    let entry = |name: &str, state: &str, hours: i64| {
        let deployment =
            Deployment { name: name.to_owned(), timestamp: Some(ago(hours * 60)), ..deployment(state) };
        is_old_entry(&deployment, &[run()], NOW)
    };
    assert!(entry("run-1-vm", "Succeeded", 13));
    assert!(entry("run-1-vm", "Failed", 13));
    assert!(!entry("run-1-vm", "Running", 13));
    assert!(!entry("run-1-vm", "Succeeded", 11));
    assert!(!entry("run-10-vm", "Succeeded", 13), "a run whose id begins alike");
    assert!(!entry("run-1", "Succeeded", 13), "not a name that the factory gives");
}

#[test]
fn a_refusal_is_kept_for_the_end_and_the_first_one_counts() {
    let mut done = Done::default();
    let refused = |code| Err::<(), _>(super::super::fixtures::refusal(code));
    assert!(done.note("a", Ok::<_, AzureError>(1)).is_some());
    assert!(done.note("b", refused("First")).is_none());
    assert!(done.note("c", refused("Second")).is_none());
    assert!(done.refused.unwrap().to_string().contains("First"));
}
