use super::*;
use crate::{
    ledger::{BuildRecord, CopyRecord},
    steps::fixtures::{NOW, build, copy, failed, succeeded, waiting, with},
};

fn state(attempt: u32, ended: bool) -> StepState {
    StepState { attempt, ending: ended.then_some(Ending::Succeeded), ..StepState::begin(NOW) }
}

/// Whose turn a message of that number has, in a word.
fn of_item<R: Record>(record: &R, step: Queue, attempt: u32) -> &'static str {
    match place(record, step, attempt, NOW) {
        Place::Turn(_) => "turn",
        Place::Repeat(_) => "repeat",
        Place::Stale => "stale",
    }
}

fn word(state: &StepState, attempt: u32) -> &'static str {
    let copy = CopyRecord { steps: with([(Queue::CopyImage, state.clone())]), ..copy() };
    of_item(&copy, Queue::CopyImage, attempt)
}

#[test]
fn the_first_message_begins_the_step() {
    assert!(matches!(place(&copy(), Queue::CopyImage, 1, NOW), Place::Turn(state) if state.attempt == 1));
}

#[test]
fn a_message_of_a_former_life_begins_no_step_that_is_not_due() {
    let copied = |state| CopyRecord { steps: with([(Queue::CopyImage, state)]), ..copy() };
    let retires = |state| of_item(&copied(state), Queue::RetireImages, 1);
    let states = [waiting(3, NOW), failed(NOW), succeeded(NOW)];
    assert_eq!(states.map(retires), ["stale", "stale", "turn"]);

    let begun = [Queue::CaptureImage, Queue::DeleteVm, Queue::RetireImages];
    let built = |steps| BuildRecord { steps, ..build() };
    let turns = |build: &BuildRecord| begun.map(|step| of_item(build, step, 4));
    assert_eq!(turns(&built(with([(Queue::CreateVm, waiting(3, NOW))]))), ["stale"; 3]);
    assert_eq!(turns(&built(with([(Queue::CreateVm, succeeded(NOW))]))), ["turn", "stale", "stale"]);
    assert_eq!(turns(&built(with([(Queue::CreateVm, failed(NOW))]))), ["stale", "turn", "stale"]);
    let captured = [(Queue::CreateVm, succeeded(NOW)), (Queue::CaptureImage, succeeded(NOW))];
    assert_eq!(turns(&built(with(captured))), ["repeat", "turn", "turn"]);
}

#[test]
fn a_turn_that_began_before_the_item_was_run_again_leaves_nothing() {
    let mut again = CopyRecord { steps: with([(Queue::CopyImage, waiting(5, NOW))]), ..copy() };
    assert!(!put(&mut again, Queue::RetireImages, &succeeded(NOW), 0, 2));
    assert!(again.step(Queue::RetireImages).is_none());
}

#[test]
fn the_awaited_message_has_its_turn_and_a_later_one_too() {
    assert_eq!([3, 5].map(|attempt| word(&state(3, false), attempt)), ["turn", "turn"]);
}

#[test]
fn a_copy_of_the_last_message_repeats_what_it_sent_and_older_ones_do_nothing() {
    assert_eq!([1, 2].map(|attempt| word(&state(3, false), attempt)), ["stale", "repeat"]);
    assert_eq!([2, 3].map(|attempt| word(&state(3, true), attempt)), ["stale", "repeat"]);
}

#[test]
fn what_one_invocation_wrote_ahead_is_not_undone_by_another_for_the_same_message() {
    const STEP: Queue = Queue::RetireImages;
    let noted = |written_ahead, retired: &[&str]| {
        let mut state = StepState { written_ahead, ..state(2, false) };
        state.facts.retired = retired.iter().map(|name| (*name).to_owned()).collect();
        state
    };
    let read = noted(0, &[]);
    let mut stored = CopyRecord { steps: with([(STEP, read.clone())]), ..copy() };
    assert!(put(&mut stored, STEP, &noted(1, &["old"]), 0, 2), "it notes what goes");
    // The other one has read before that, met trouble, and wants to wait.
    assert!(!put(&mut stored, STEP, &StepState { attempt: 3, ..read }, 0, 2));
    assert_eq!(stored.step(STEP).unwrap().facts.retired, ["old"]);
    assert!(put(&mut stored, STEP, &StepState { attempt: 3, ..noted(1, &["old"]) }, 1, 2));
    assert_eq!(stored.step(STEP).unwrap().attempt, 3);
}
