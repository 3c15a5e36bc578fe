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

#[cfg(feature = "dev")]
#[tokio::test(start_paused = true)]
async fn a_build_whose_document_was_lost_is_waited_for_as_long_as_its_run_goes_on() {
    use crate::{
        dev::world,
        domain::{RunId, VmName, messages::StartRun, plan::ReusedImage},
        ledger::{Key, RunRecord},
        steps::fixtures::example,
    };

    let (example, _) = example().await;
    let factory = &example.factory;
    let start = StartRun::of_everything(crate::domain::RunReason::Manual);
    let first = Message::first(RunId::parse("run-1").unwrap(), Step::StartRun(start));
    for attempt in 1..=5 {
        factory.handle(&first.numbered(attempt), 1).await.unwrap();
    }
    let (run, _) = factory.ledger.read::<RunRecord>(&Key::run(&first.run)).await.unwrap().unwrap();
    let built = &run.builds[0];
    let mut record = build();
    record.factory_lab = run.factory_lab.unwrap();
    record.plan.image_path = built.image_path.clone();
    record.plan.image_name = built.image_name.clone();
    let reused = ReusedImage {
        run: first.run.clone(),
        started_at: run.started_at,
        os_type: crate::domain::OsType::Linux,
    };
    let look = async || {
        let mut state = StepState::begin(factory.clock.now());
        reuse::advance(factory, &record, &reused, &mut state).await.unwrap()
    };
    let ledger = world::ledger_container(&factory.azure, &example.sim).unwrap();
    assert!(matches!(look().await, Next::Wait { .. }), "it is being built");
    let vm = VmName::derive(&first.run, &built.image_path);
    ledger.delete(&format!("builds/{}/{vm}.json", first.run)).await.unwrap();
    assert!(matches!(look().await, Next::Wait { .. }), "its run writes it anew");
    ledger.delete(&format!("runs/{}.json", first.run)).await.unwrap();
    let Next::Failed(failure) = look().await else { panic!("nobody makes it") };
    assert_eq!(failure.code, "ReusedImageGone");
}
