//! Steps that people run again: after they failed, while they go on, and when it makes no sense.

use std::{collections::BTreeSet, sync::atomic::Ordering, time::Duration};

use azure_sim::{
    fault::{CopyFault, Faults, VirtualMachineFault},
    work::WorkKind,
};
use image_factory::{
    dev::outcome::Outcome,
    domain::{
        LabId, Message, Queue, RunId,
        messages::{AskingId, CopyImage, ImageStep, Person, Rerun, RetireImages, Step},
    },
    ledger::AuditLine,
    report::Status,
    steps::Envelope,
};

use crate::factory::{
    DATA, Factory, Files, LINUX, OTHER_SUBSCRIPTION, Unkind, assert_made_once, image, line, scenario,
};

fn create_vm() -> Step {
    Step::CreateVm(ImageStep { image_path: LINUX.parse().unwrap() })
}

fn delete_vm() -> Step {
    Step::DeleteVm(ImageStep { image_path: LINUX.parse().unwrap() })
}

fn data() -> LabId {
    LabId::new(OTHER_SUBSCRIPTION, Some("rg-data"), DATA).unwrap()
}

fn copy_image() -> Step {
    Step::CopyImage(CopyImage { image_path: LINUX.parse().unwrap(), lab: data() })
}

fn retire_images() -> Step {
    Step::RetireImages(RetireImages { image_path: LINUX.parse().unwrap(), lab: Some(data()) })
}

pub async fn ask_of(factory: &Factory, run: &RunId, step: Step, id: &str) {
    let rerun = Rerun { id: AskingId::parse(id).unwrap(), by: Person::parse("anna").unwrap() };
    let message = Message { rerun: Some(rerun), ..Message::first(run.clone(), step) };
    factory.host.factory.outbox.send(vec![Envelope::now(message)]).await.unwrap();
}

async fn ask(factory: &Factory, step: Step, id: &str) {
    ask_of(factory, &Factory::run_id("first"), step, id).await;
}

/// What the record says, newest last.
async fn record(factory: &Factory) -> Vec<AuditLine> {
    let mut lines = factory.host.factory.ledger.audit(50).await.unwrap();
    lines.reverse();
    lines
}

fn outcome_of(line: &AuditLine) -> &str {
    line.outcome.as_deref().unwrap()
}

/// The Linux image's VM cannot be made.
fn without_room() -> Faults {
    let fault = VirtualMachineFault {
        vm_part: "Docker-".to_owned(),
        code: "AllocationFailed".to_owned(),
        message: "no room".to_owned(),
    };
    Faults { virtual_machines: vec![fault], ..Faults::default() }
}

/// A run in which it cannot be made.
async fn with_a_build_that_failed(unkind: Unkind) -> (Factory, Outcome) {
    let factory = Factory::new(&Files::new()).await.unkind(unkind);
    factory.faults(without_room());
    let outcome = factory.run().await;
    assert_eq!(factory.assert_failed(&outcome, &[LINUX])[0].code, "AllocationFailed");
    factory.faults(Faults::default());
    (factory, outcome)
}

fn assert_everything_stands(outcome: &Outcome) {
    assert!(outcome.leftovers.is_empty(), "{:?}", outcome.leftovers);
    assert!(outcome.succeeded(), "{}", outcome.run.table(crate::factory::ORIGIN));
}

#[test]
fn a_build_that_failed_is_built_again_under_the_same_names_and_goes_to_its_labs() {
    let all = Unkind { repeats: true, shuffles: true, kills: true };
    for unkind in [Unkind::default(), all] {
        scenario(async {
            let (factory, failed) = with_a_build_that_failed(unkind).await;
            for _ in 0..2 {
                ask(&factory, create_vm(), "one").await;
                factory.settle().await;
            }
            let outcome = factory.outcome(&Factory::run_id("first")).await;
            assert_everything_stands(&outcome);
            assert_eq!(outcome.run.run.status, Status::Succeeded);
            assert!(outcome.run.run.ended_at > failed.run.run.ended_at);
            assert_eq!(image(&outcome, LINUX).vm_name, image(&failed, LINUX).vm_name);
            assert!(factory.dead_letters().is_empty());
            let lines = record(&factory).await;
            assert_eq!(lines.len(), 1, "one wish, however often it comes");
            assert_eq!((lines[0].by.as_str(), lines[0].what.as_str()), ("anna", "rerun create-vm"));
        });
    }
}

#[test]
fn a_rerun_that_waits_for_the_first_attempt_to_be_deleted_is_granted_though_its_message_is_lost() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        factory.faults(without_room());
        let is_being_deleted = |state: &azure_sim::control::State| {
            let mut vms = state.labs.iter().flat_map(|lab| &lab.virtual_machines);
            vms.any(|vm| vm.name.starts_with("Docker-") && vm.provisioning_state == "Deleting")
        };
        let asked = factory.once(is_being_deleted, |factory| {
            let factory = factory.clone();
            factory.faults(Faults::default());
            tokio::spawn(async move {
                ask(&factory, create_vm(), "one").await;
                // The wish has been looked at by then, and waits for its next look.
                factory.host.clock().sleep(Duration::from_secs(15)).await;
                let lines = record(&factory).await;
                assert!(outcome_of(&lines[0]).contains("is being deleted"), "{lines:?}");
                factory.lose_first(Queue::CreateVm, 1);
            });
        });
        let outcome = factory.run().await;
        assert!(asked.load(Ordering::Relaxed));
        assert_everything_stands(&outcome);
        assert!(factory.host.factory.ledger.wishes().await.unwrap().is_empty());
    });
}

#[test]
fn a_copy_that_failed_is_made_again_and_its_lab_retires_old_images() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let fault = CopyFault {
            destination_part: "https://adata".to_owned(),
            at_fraction: 0.5,
            times: 100,
            description: "404 ResourceNotFound".to_owned(),
        };
        factory.faults(Faults { copies: vec![fault], ..Faults::default() });
        let outcome = factory.run().await;
        assert_eq!(
            factory
                .assert_failed(&outcome, &["Linux/Docker.json in data", "Windows/Server.json in data"])
                .len(),
            2
        );
        factory.faults(Faults::default());
        ask(&factory, copy_image(), "one").await;
        factory.settle().await;
        let outcome = factory.outcome(&Factory::run_id("first")).await;
        factory.assert_failed(&outcome, &["Windows/Server.json in data"]);
        assert!(line(&outcome, LINUX, DATA).custom_image_id.is_some());
        let key =
            image_factory::ledger::Key::copy(&outcome.run.run.id, &image(&outcome, LINUX).vm_name, &data());
        let ledger = &factory.host.factory.ledger;
        let (copy, _) = ledger.read::<image_factory::ledger::CopyRecord>(&key).await.unwrap().unwrap();
        assert!(copy.steps[&Queue::RetireImages].succeeded());
    });
}

#[test]
fn a_copy_into_a_lab_that_is_gone_begins_anew_and_says_so() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let first = factory.run().await;
        factory.assert_succeeded(&first);
        let lab = format!(
            "/subscriptions/{OTHER_SUBSCRIPTION}/resourceGroups/rg-data/providers/Microsoft.DevTestLab/labs/{DATA}"
        );
        assert!(factory.host.sim.world().delete_lab(&lab));
        factory.host.clock().sleep(Duration::from_secs(2 * 3600)).await;
        ask(&factory, copy_image(), "one").await;
        factory.settle().await;
        assert!(factory.dead_letters().is_empty(), "{:?}", factory.dead_letters());
        let again = factory.outcome(&Factory::run_id("first")).await;
        let error = line(&again, LINUX, DATA).error.clone().unwrap();
        assert_eq!(error.code, "ResourceNotFound");
    });
}

#[test]
fn a_rerun_while_the_original_goes_on_changes_nothing_whenever_that_is() {
    for minutes in (0..50).step_by(5) {
        scenario(async {
            let factory = Factory::new(&Files::new()).await;
            let asker = factory.clone();
            tokio::spawn(async move {
                asker.host.clock().sleep(Duration::from_secs(minutes * 60 + 11)).await;
                let steps = [create_vm(), copy_image(), retire_images(), delete_vm()];
                for (number, step) in steps.into_iter().enumerate() {
                    ask(&asker, step, &format!("wish-{number}")).await;
                }
            });
            let outcome = factory.run().await;
            factory.settle().await;
            assert_made_once(&factory, &outcome);
        });
    }
}

#[test]
fn a_wish_that_was_answered_is_not_granted_later_when_it_comes_once_more() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.faults(without_room());
        let asker = factory.clone();
        tokio::spawn(async move {
            asker.host.clock().sleep(Duration::from_secs(60)).await;
            ask(&asker, create_vm(), "early").await;
        });
        let failed = factory.run().await;
        factory.assert_failed(&failed, &[LINUX]);
        factory.faults(Faults::default());
        for _ in 0..2 {
            let lines = record(&factory).await;
            assert!(outcome_of(&lines[0]).contains("create-vm still goes on"), "{lines:?}");
            ask(&factory, create_vm(), "early").await;
            factory.settle().await;
        }
        let after = factory.outcome(&failed.run.run.id).await;
        assert_eq!(after.run.run.ended_at, failed.run.run.ended_at);

        ask(&factory, create_vm(), "late").await;
        factory.settle().await;
        assert_everything_stands(&factory.outcome(&failed.run.run.id).await);
    });
}

#[test]
fn what_makes_no_sense_is_answered_on_record_and_opens_nothing() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let outcome = factory.run().await;
        let capture = Step::CaptureImage(ImageStep { image_path: LINUX.parse().unwrap() });
        let unknown = Step::CreateVm(ImageStep { image_path: "Linux/Other.json".parse().unwrap() });
        for (number, (step, told)) in [
            (create_vm(), "it is captured"),
            (copy_image(), "the image stands in the lab"),
            (capture, "rerun create-vm"),
            (unknown, "nothing of that began"),
        ]
        .into_iter()
        .enumerate()
        {
            ask(&factory, step, &format!("wish-{number}")).await;
            factory.settle().await;
            let lines = record(&factory).await;
            assert!(outcome_of(lines.last().unwrap()).contains(told), "{:?}", lines.last());
        }
        ask_of(&factory, &Factory::run_id("nowhere"), create_vm(), "wish").await;
        factory.settle().await;
        let lines = record(&factory).await;
        let told: BTreeSet<&str> = lines.iter().map(outcome_of).collect();
        assert!(told.iter().any(|told| told.contains("ended more than 90 days ago")), "{told:?}");
        let after = factory.outcome(&outcome.run.run.id).await;
        assert_eq!(after.run.run.ended_at, outcome.run.run.ended_at);
        assert_made_once(&factory, &after);
    });
}

#[test]
fn deleting_and_retiring_again_harm_nothing() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.run().await;
        ask(&factory, delete_vm(), "one").await;
        ask(&factory, retire_images(), "two").await;
        factory.settle().await;
        let outcome = factory.outcome(&Factory::run_id("first")).await;
        assert_made_once(&factory, &outcome);
        assert_eq!(factory.work(WorkKind::VirtualMachine, "").len(), 2);
        let lines = record(&factory).await;
        assert!(lines.iter().all(|line| outcome_of(line).contains("begins anew: succeeded")), "{lines:?}");
    });
}
