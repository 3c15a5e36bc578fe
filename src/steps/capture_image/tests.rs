use super::*;
use crate::steps::fixtures::{NOW, build, failed, succeeded, waiting, with};

#[test]
fn a_captured_image_goes_to_every_lab_at_once_and_its_vm_goes() {
    let follow_ups = CaptureImage.follow_ups(&build(), &succeeded(NOW), 9);
    let queues: Vec<Queue> = follow_ups.iter().map(Message::queue).collect();
    assert_eq!(queues, [Queue::CopyImage, Queue::CopyImage, Queue::RetireImages, Queue::DeleteVm]);
    let labs: Vec<&str> = follow_ups
        .iter()
        .filter_map(|message| match &message.step {
            Step::CopyImage(step) => Some(step.lab.lab_name()),
            _ => None,
        })
        .collect();
    assert_eq!(labs, ["one", "two"]);
    assert!(matches!(&follow_ups[2].step, Step::RetireImages(step) if step.lab.is_none()));
    assert!(follow_ups.iter().all(|message| message.attempt == 1));
}

#[test]
fn a_failed_capture_only_deletes_the_vm_and_waiting_sends_nothing_else() {
    let queues = |state: StepState| -> Vec<Queue> {
        let follow_ups = CaptureImage.follow_ups(&build(), &state, 1);
        follow_ups.iter().map(Message::queue).collect()
    };
    assert_eq!(queues(failed(NOW)), [Queue::DeleteVm]);
    assert_eq!(queues(waiting(3, NOW)), []);
}

#[test]
fn the_listing_counts_copies_only_of_a_captured_build() {
    let copies = |state| {
        let mut build = build();
        build.steps = with([(Queue::CaptureImage, state)]);
        build.copies()
    };
    assert_eq!(copies(succeeded(NOW)), Some(2));
    assert_eq!(copies(failed(NOW)), None);
    assert_eq!(copies(waiting(2, NOW)), None);
}
