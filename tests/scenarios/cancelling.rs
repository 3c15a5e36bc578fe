//! Runs and builds that are called off, at every moment of their lives.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use azure_sim::work::WorkKind;
use image_factory::{
    azure::AzureError,
    dev::outcome::Outcome,
    domain::{
        Message, Queue, RunReason, VmName,
        messages::{AskingId, CancelRun, ImageStep, Person, StartRun, Step},
    },
    ledger::{CallOffReason, CalledOff},
    report::Status,
    steps::{Envelope, call_off},
};

use crate::{
    factory::{Factory, Files, LINUX, ORIGIN, Unkind, image, scenario},
    rerunning::ask_of,
};

/// A run of [`Files::new`] takes less than an hour: some moments are after its end.
const LONGEST: u64 = 60;
const LATER_RUN: &str = "later";

type Answer = Arc<Mutex<Option<Result<bool, AzureError>>>>;

fn cancelled() -> CalledOff {
    CalledOff { reason: CallOffReason::Cancelled { by: "anna".to_owned() }, at: ORIGIN }
}

fn superseded() -> CalledOff {
    CalledOff { reason: CallOffReason::Superseded { by: Factory::run_id(LATER_RUN) }, at: ORIGIN }
}

fn wish_to_cancel(run: &str, id: &str) -> Message {
    let id = Some(AskingId::parse(id).unwrap());
    let by = Person::parse("anna").unwrap();
    Message::first(Factory::run_id(run), Step::CancelRun(CancelRun { by, id }))
}

/// Asks for the end of a run, as a person does.
async fn ask_to_cancel(factory: &Factory, run: &str) {
    factory.host.factory.outbox.send(vec![Envelope::now(wish_to_cancel(run, "one"))]).await.unwrap();
}

/// A run that is cancelled after so many seconds, twice.
async fn cancelled_after(factory: &Factory, seconds: u64) -> Outcome {
    let canceller = factory.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            canceller.host.clock().sleep(Duration::from_secs(seconds)).await;
            ask_to_cancel(&canceller, "first").await;
        }
    });
    factory.run().await
}

/// What a report says is so, and whatever is called off says by whom; answers the images' and labs' words.
async fn assert_told(factory: &Factory, outcome: &Outcome) -> Vec<Status> {
    factory.assert_sound(outcome);
    let lines = factory.host.factory.ledger.audit(10).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.by.as_str(), line.what.as_str())).collect();
    if outcome.run.run.status == Status::Cancelled {
        assert_eq!(told, [("anna", "cancel-run")], "once, though it came twice");
        let came_of_it = lines[0].outcome.as_deref().unwrap();
        assert!(
            came_of_it.contains("is cancelled") || came_of_it.contains("had ended before"),
            "{came_of_it}"
        );
    }
    let seed = factory.seed;
    let mut words = Vec::new();
    for image in &outcome.run.images {
        words.push(image.status);
        words.extend(image.labs.iter().map(|line| line.status));
        let errors = image.error.iter().chain(image.labs.iter().filter_map(|line| line.error.as_ref()));
        for error in errors {
            assert_eq!((error.code.as_str(), error.message.as_str()), ("Cancelled", "cancelled by anna"));
        }
        for line in &image.labs {
            let stands = line.custom_image_id.is_some();
            assert_eq!(stands, line.status == Status::Succeeded, "seed {seed}: {line:?}");
        }
    }
    words
}

#[test]
fn a_run_that_is_cancelled_ends_soon_and_leaves_nothing_behind_whenever_that_is() {
    let (mut met, mut too_late) = (Vec::new(), 0);
    for minutes in (0..LONGEST).step_by(4) {
        scenario(async {
            let factory = Factory::new(&Files::new()).await;
            let outcome = cancelled_after(&factory, minutes * 60 + 7).await;
            let words = assert_told(&factory, &outcome).await;
            let run = &outcome.run.run;
            if words.iter().all(|word| *word == Status::Succeeded) && !words.is_empty() {
                too_late += 1;
                assert_eq!(run.status, Status::Succeeded);
            } else {
                assert_eq!(run.status, Status::Cancelled, "after {minutes} minutes");
                let error = run.error.as_ref().unwrap();
                assert!(error.message.starts_with("cancelled by anna"), "{error}");
                let seconds = (run.ended_at.unwrap() - ORIGIN).as_seconds_f64();
                // Deleting a VM takes Azure minutes; a registration that goes on is awaited.
                let late = seconds - (minutes * 60) as f64;
                assert!(late < 15.0 * 60.0, "cancelled after {minutes} minutes, ended {late} s later");
            }
            met.extend(words);
        });
    }
    assert!(too_late > 0, "the last was to be cancelled after its end");
    for word in [Status::Cancelled, Status::Skipped, Status::Succeeded] {
        assert!(met.contains(&word), "no {word:?}");
    }
}

#[test]
fn a_wish_that_waits_comes_again_though_the_message_is_lost_in_which_it_waits() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        // Before the run is known, so that the wish looks for it again after half a minute, and in vain.
        ask_to_cancel(&factory, "first").await;
        factory.after(Duration::from_secs(15), |factory| factory.lose_first(Queue::CancelRun, 1));
        let starter = factory.clone();
        tokio::spawn(async move {
            starter.host.clock().sleep(Duration::from_secs(20)).await;
            let start = StartRun::of_everything(RunReason::Manual);
            starter.host.start(&Factory::run_id("first"), start).await.unwrap();
        });
        let ledger = &factory.host.factory.ledger;
        let wishes = async || ledger.wishes().await.unwrap().len();
        let settling = factory.clone();
        let settled = tokio::spawn(async move { settling.settle().await });
        factory.host.clock().sleep(Duration::from_secs(300)).await;
        assert_eq!(wishes().await, 1);
        settled.await.unwrap();
        let outcome = factory.outcome(&Factory::run_id("first")).await;
        assert_eq!(outcome.run.run.status, Status::Cancelled);
        assert_told(&factory, &outcome).await;
        assert_eq!(wishes().await, 0, "what is answered is not kept");
    });
}

#[test]
fn what_is_run_again_after_a_run_was_cancelled_is_cancelled_by_another_wish_and_by_no_late_copy() {
    for (id, status) in [("one", Status::Succeeded), ("two", Status::Cancelled)] {
        scenario(async {
            let factory = Factory::new(&Files::only_linux()).await;
            let outcome = cancelled_after(&factory, 120).await;
            assert_eq!(outcome.run.run.status, Status::Cancelled);

            let step = Step::CreateVm(ImageStep { image_path: LINUX.parse().unwrap() });
            ask_of(&factory, &Factory::run_id("first"), step, "anew").await;
            // Duplicate detection would swallow a copy with the same MessageId, but not for ever.
            let cancel = Envelope {
                recovery: Some("late".to_owned()),
                ..Envelope::at(
                    wish_to_cancel("first", id),
                    factory.host.clock().now() + Duration::from_secs(120),
                )
            };
            factory.host.factory.outbox.send(vec![cancel]).await.unwrap();
            factory.settle().await;
            let outcome = factory.outcome(&Factory::run_id("first")).await;
            assert_eq!(outcome.run.run.status, status, "{id}");
        });
    }
}

#[test]
fn cancelling_holds_where_messages_come_twice_and_late_and_invocations_die() {
    for (seed, minutes) in [(1, 3), (2, 9), (3, 14), (4, 19), (5, 25), (6, 28)] {
        scenario(async {
            let unkind = Unkind { repeats: true, shuffles: true, kills: true };
            let factory = Factory::seeded(&Files::new(), seed).await.unkind(unkind);
            let outcome = cancelled_after(&factory, minutes * 60).await;
            assert_told(&factory, &outcome).await;
            assert_eq!(outcome.run.run.status, Status::Cancelled, "after {minutes} minutes");
            assert!(factory.killed() > 0);
        });
    }
}

#[test]
fn a_run_that_is_cancelled_before_it_is_planned_makes_nothing() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let run = Factory::run_id("first");
        factory.host.start_run(&run).await.unwrap();
        let unknown = call_off::run(&factory.host.factory, &run, &cancelled()).await;
        assert_eq!(unknown.unwrap_err().code, "MissingLedger");
        ask_to_cancel(&factory, "first").await;
        // The planning turn dies after the run is known.
        let refusal = crate::factory::answer(503, serde_json::json!({}));
        factory.http_faults([crate::factory::http_fault(
            Some("PUT"),
            "/configurations/",
            0,
            u32::MAX,
            refusal,
        )]);
        factory.settle().await;
        let outcome = factory.outcome(&run).await;
        assert!(outcome.run.images.is_empty());
        assert_eq!(outcome.run.run.status, Status::Cancelled);
        assert!(factory.work(WorkKind::VirtualMachine, "").is_empty());
    });
}

#[test]
fn cancelling_a_run_that_nobody_knows_ends_with_a_word_on_record() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        ask_to_cancel(&factory, "nowhere").await;
        factory.settle().await;
        let lines = factory.host.factory.ledger.audit(10).await.unwrap();
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0].outcome.as_deref().unwrap().contains("never started, or it ended more than 90 days")
        );
        assert!(factory.dead_letters().is_empty());
    });
}

/// A run of which one build is superseded after so many minutes; also whether that was in time.
async fn superseded_after(factory: &Factory, minutes: u64) -> (Outcome, bool) {
    let answer = Answer::default();
    let (noted, later) = (answer.clone(), factory.clone());
    tokio::spawn(async move {
        later.host.clock().sleep(Duration::from_secs(minutes * 60 + 30)).await;
        let run = Factory::run_id("first");
        let vm = VmName::derive(&run, &LINUX.parse().unwrap());
        let in_time = call_off::build(&later.host.factory, &run, &vm, &superseded()).await;
        *noted.lock().unwrap() = Some(in_time);
    });
    let outcome = factory.run().await;
    let answer = answer.lock().unwrap().take().expect("the run ended before its build was superseded");
    (outcome, answer.unwrap())
}

#[test]
fn a_build_is_superseded_until_it_is_captured_and_never_after_it() {
    let mut in_time_for = Vec::new();
    for minutes in (0..30).step_by(2) {
        scenario(async {
            let factory = Factory::new(&Files::new()).await;
            let (outcome, in_time) = superseded_after(&factory, minutes).await;
            factory.assert_sound(&outcome);
            let linux = image(&outcome, LINUX);
            if in_time {
                in_time_for.push(minutes);
                assert_eq!(linux.status, Status::Superseded, "after {minutes} minutes");
                assert_eq!(linux.error.as_ref().unwrap().code, "Superseded");
                assert!(linux.error.as_ref().unwrap().message.contains(Factory::run_id(LATER_RUN).as_str()));
                assert!(linux.labs.iter().all(|line| line.status == Status::Skipped));
                assert_eq!(outcome.run.run.status, Status::Superseded);
            } else {
                assert_eq!(linux.status, Status::Succeeded);
                assert!(linux.labs.iter().all(|line| line.status == Status::Succeeded));
                assert_eq!(outcome.run.run.status, Status::Succeeded);
            }
            let others = outcome.run.images.iter().filter(|image| image.image_path.to_string() != LINUX);
            for other in others {
                assert_eq!(other.status, Status::Succeeded);
                assert!(other.labs.iter().all(|line| line.status == Status::Succeeded));
            }
        });
    }
    let count = u64::try_from(in_time_for.len()).unwrap();
    assert!((2..14).contains(&count), "{in_time_for:?}");
    assert_eq!(in_time_for, (0..2 * count).step_by(2).collect::<Vec<_>>(), "no more once it is captured");
}
