//! Messages that come twice, late, in another order, not at all, or make no sense; invocations that die.

use std::time::Duration;

use azure_sim::{broker::BrokerMessage, work::WorkKind};
use image_factory::{
    domain::{
        Message, Queue,
        messages::{ImageStep, Step},
    },
    ledger::{BuildRecord, Key},
    report::Status,
};

use crate::factory::{DATA, Factory, Files, LINUX, Unkind, WEB, assert_made_once, image, line, scenario};

fn survives(unkind: Unkind, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        scenario(async {
            let factory = Factory::seeded(&Files::new(), seed).await.unkind(unkind);
            let outcome = factory.run().await;
            assert_made_once(&factory, &outcome);
            assert_eq!(unkind.kills, factory.killed() > 20, "{} died", factory.killed());
        });
    }
}

#[test]
fn messages_that_come_three_times_make_everything_once() {
    let unkind = Unkind { repeats: true, ..Unkind::default() };
    survives(unkind, 1..2);
}

#[test]
fn messages_that_come_in_another_order_make_everything_once() {
    let unkind = Unkind { repeats: true, shuffles: true, ..Unkind::default() };
    survives(unkind, 2..3);
}

#[test]
fn invocations_that_die_at_any_moment_lose_nothing_and_make_nothing_twice() {
    let unkind = Unkind { kills: true, ..Unkind::default() };
    survives(unkind, 1..4);
}

#[test]
fn messages_of_a_run_that_has_ended_change_nothing() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let before = factory.ledger().await;
        let writes = outcome.counts.azure.arm_writes + outcome.counts.azure.arm_deletes;
        for (number, (queue, body)) in factory.received().into_iter().rev().enumerate() {
            let message = BrokerMessage::new(body).with_message_id(format!("replay-{number}"));
            factory.host.broker.send(queue.name(), vec![message]).unwrap();
        }
        factory.settle().await;
        let after = factory.outcome(&outcome.run.run.id).await;
        assert_made_once_or_not_at_all(&factory);
        assert_eq!(after.counts.azure.arm_writes + after.counts.azure.arm_deletes, writes);
        assert_eq!(factory.ledger().await, before);
    });
}

fn assert_made_once_or_not_at_all(factory: &Factory) {
    assert_eq!(factory.work(WorkKind::VirtualMachine, "/virtualmachines/").len(), 1);
    assert_eq!(factory.work(WorkKind::CustomImage, "/customimages/").len(), 2);
}

/// A run in which all messages of these queues are lost at one moment.
fn survives_a_loss(queues: &'static [Queue], minute: u64) {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let lost = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = lost.clone();
        factory.after(Duration::from_secs(60 * minute), move |factory| {
            for queue in queues {
                let lost = factory.host.broker.purge(queue.name()).unwrap();
                count.fetch_add(lost, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let outcome = factory.run().await;
        assert_ne!(lost.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing was lost");
        assert_made_once(&factory, &outcome);
    });
}

#[test]
fn lost_messages_of_vms_are_sent_again() {
    survives_a_loss(&[Queue::CreateVm], 4);
}

#[test]
fn all_messages_lost_at_once_are_sent_again() {
    survives_a_loss(&Queue::ALL, 14);
}

#[test]
fn all_messages_lost_near_the_end_are_sent_again() {
    survives_a_loss(&Queue::ALL, 24);
}

/// A run in which the first two messages of a queue are lost.
fn survives_the_loss_of_first_messages(queue: Queue) {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.lose_first(queue, 2);
        let outcome = factory.run().await;
        assert_made_once(&factory, &outcome);
    });
}

#[test]
fn the_first_messages_to_make_vms_are_sent_again() {
    survives_the_loss_of_first_messages(Queue::CreateVm);
}

#[test]
fn the_first_messages_to_capture_are_sent_again() {
    survives_the_loss_of_first_messages(Queue::CaptureImage);
}

#[test]
fn the_first_messages_to_copy_are_sent_again() {
    survives_the_loss_of_first_messages(Queue::CopyImage);
}

#[test]
fn the_first_messages_to_retire_are_sent_again() {
    survives_the_loss_of_first_messages(Queue::RetireImages);
}

#[test]
fn the_first_messages_to_delete_vms_are_sent_again() {
    survives_the_loss_of_first_messages(Queue::DeleteVm);
}

#[test]
fn one_trigger_twice_is_one_run() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let run = Factory::run_id("first");
        factory.host.start_run(&run).await.unwrap();
        factory.after(Duration::from_secs(1200), |factory| {
            // Duplicate detection has forgotten the first.
            let factory = factory.clone();
            tokio::spawn(async move {
                let run = Factory::run_id("first");
                factory.host.start_run(&run).await.unwrap();
            });
        });
        factory.settle().await;
        let outcome = factory.outcome(&run).await;
        assert_made_once(&factory, &outcome);
        assert_eq!(factory.host.factory.ledger.runs().await.unwrap().len(), 1);
    });
}

#[test]
fn messages_that_make_no_sense_are_dead_lettered_and_disturb_nothing() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let unknown = Message::first(
            Factory::run_id("unknown"),
            Step::CreateVm(ImageStep { image_path: LINUX.parse().unwrap() }),
        );
        let bodies: [(Queue, Vec<u8>); 7] = [
            (Queue::CreateVm, unknown.to_bytes()),
            (Queue::CreateVm, b"{\"version\": 1, \"run\":".to_vec()),
            (Queue::CopyImage, vec![0xff, 0x00, 0xc3]),
            (Queue::CopyImage, Vec::new()),
            (Queue::StartRun, br#"{"version": 2, "run": "later"}"#.to_vec()),
            (Queue::RetireImages, b"[1, 2]".to_vec()),
            (Queue::DeleteVm, br#"{"version": 1, "run": "UPPER CASE", "imagePath": "a.json"}"#.to_vec()),
        ];
        for (number, (queue, body)) in bodies.iter().enumerate() {
            let message = BrokerMessage::new(body.clone()).with_message_id(format!("odd-{number}"));
            factory.host.broker.send(queue.name(), vec![message]).unwrap();
        }
        let outcome = factory.run().await;
        assert_eq!(outcome.run.run.status, Status::Succeeded);
        assert!(outcome.leftovers.is_empty());
        for lab in [WEB, DATA] {
            assert_eq!(line(&outcome, LINUX, lab).status, Status::Succeeded);
        }
        let dead = factory.dead_letters();
        assert_eq!(dead.len(), bodies.len(), "{dead:#?}");
        for (_, body, reason) in &dead {
            // The host abandons; the broker counts to ten.
            assert!(reason.contains("MaxDeliveryCountExceeded"), "{body}: {reason}");
        }
    });
}

#[test]
fn what_a_turn_writes_down_ahead_does_not_cost_it_its_next_message() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let key = Key::build(&outcome.run.run.id, &image(&outcome, LINUX).vm_name);
        let (build, _) = factory.host.factory.ledger.read::<BuildRecord>(&key).await.unwrap().unwrap();
        let capture = build.captured().unwrap();
        assert_eq!(capture.written_ahead, 1);
        let took = capture.ended_at.unwrap() - capture.started_at;
        assert!(took < Duration::from_secs(5 * 60), "{took}: cleanup had to send its message again");
    });
}
