use super::*;
use crate::{
    domain::messages::Person,
    ledger::{CallOffReason, CalledOff},
    steps::fixtures::{NOW, ago, build, copy, failed, succeeded, waiting, with},
};

fn id(text: &str) -> AskingId {
    AskingId::parse(text).unwrap()
}

fn rerun(text: &str) -> Rerun {
    Rerun { id: id(text), by: Person::parse("anna").unwrap() }
}

/// The verdict about create-vm, in its first word.
fn word<const N: usize>(steps: [(Queue, StepState); N]) -> &'static str {
    match judge_build(&BuildRecord { steps: with(steps), ..build() }, &id("one")) {
        Verdict::Begin => "begin",
        Verdict::Begun => "begun",
        Verdict::Wait(_) => "wait",
        Verdict::Leave(_) => "leave",
    }
}

#[test]
fn a_build_begins_anew_only_where_it_failed_and_nothing_is_left_of_it() {
    use Queue::{CaptureImage as Capture, CreateVm as Create, DeleteVm as Delete};
    assert_eq!(word([]), "leave");
    assert_eq!(word([(Create, waiting(3, NOW))]), "leave");
    assert_eq!(word([(Create, succeeded(ago(9)))]), "leave", "its capture is about to begin");
    assert_eq!(word([(Create, succeeded(ago(9))), (Capture, waiting(2, NOW))]), "leave");
    assert_eq!(word([(Create, succeeded(ago(9))), (Capture, succeeded(ago(8)))]), "leave");
    assert_eq!(word([(Create, failed(ago(9)))]), "wait");
    assert_eq!(word([(Create, failed(ago(9))), (Delete, waiting(2, NOW))]), "wait");
    assert_eq!(word([(Create, failed(ago(9))), (Delete, succeeded(ago(5)))]), "begin");
    let both = [(Create, succeeded(ago(9))), (Capture, failed(ago(8))), (Delete, failed(ago(5)))];
    assert_eq!(word(both), "begin");
}

#[test]
fn what_begins_anew_takes_no_message_of_its_first_life_and_the_same_wish_only_once() {
    let steps = with([(Queue::CopyImage, StepState { attempt: 9, ..failed(ago(30)) })]);
    let by = CallOffReason::Cancelled { by: "ben".to_owned() };
    let called_off = Some(CalledOff { reason: by, at: ago(31) });
    let mut copy = CopyRecord { steps, called_off, ..copy() };
    assert_eq!(judge_copy(&copy, &id("one")), Verdict::Begin);
    put_back(&mut copy, Queue::CopyImage, &rerun("one"), NOW);
    let state = copy.step(Queue::CopyImage).unwrap();
    assert_eq!((state.attempt, state.started_at, state.ending.is_none()), (11, NOW, true));
    assert!(copy.called_off.is_none(), "it is wanted again");
    assert_eq!(judge_copy(&copy, &id("one")), Verdict::Begun);
    assert!(matches!(judge_copy(&copy, &id("two")), Verdict::Leave(reason) if reason.contains("goes on")));
    copy.steps.get_mut(&Queue::CopyImage).unwrap().ending = failed(NOW).ending;
    assert!(matches!(judge_copy(&copy, &id("one")), Verdict::Leave(_)));
    assert_eq!(judge_copy(&copy, &id("two")), Verdict::Begin);
}

#[test]
fn what_retired_is_told_of_all_lives() {
    let mut retired = succeeded(ago(3));
    retired.facts.retired = vec!["old".to_owned()];
    let steps = [(Queue::CopyImage, succeeded(ago(9))), (Queue::RetireImages, retired)];
    let mut copy = CopyRecord { steps: with(steps), ..copy() };
    put_back(&mut copy, Queue::CopyImage, &rerun("one"), NOW);
    assert!(copy.step(Queue::RetireImages).is_none(), "it follows again");
    assert_eq!(copy.facts(Queue::CopyImage).unwrap().retired, ["old"]);
}
