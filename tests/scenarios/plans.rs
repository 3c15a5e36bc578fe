//! Only what is needed is built, and what a run will do can be told before.

use std::{collections::BTreeSet, time::Duration};

use azure_sim::work::WorkKind;
use image_factory::{
    dev::{
        outcome::Outcome,
        simulation::{
            faults::FaultRates,
            scenario::{Scenario, Size},
        },
    },
    domain::{Configuration, RUN_STARTED_TAG, RunReason, messages::StartRun, plan::Action},
    report::Status,
    steps::start_run::{self, Foresight},
};
use serde_json::json;

use crate::factory::{
    DATA, Factory, Files, LINUX, OTHER_SUBSCRIPTION, SUBSCRIPTION, WEB, WINDOWS, answer, http_fault, image,
    scenario, team_lab,
};

fn everything() -> StartRun {
    StartRun::of_everything(RunReason::Schedule)
}

/// The VMs that were ever made in the factory lab.
fn vms(factory: &Factory) -> usize {
    factory.work(WorkKind::VirtualMachine, "/labs/image-factory/").len()
}

/// The custom images that stand in a lab.
fn standing(factory: &Factory, (subscription, lab): (&str, &str)) -> Vec<String> {
    let state = factory.state();
    let images = &state.lab(&team_lab(subscription, lab)).unwrap().custom_images;
    images.iter().map(|image| image.name.clone()).collect()
}

/// A factory in a world of two labs, the second of which its configuration does not know; and the configuration that does.
async fn with_one_lab_of_two() -> (Factory, Files) {
    let both = Files::new();
    let world = Configuration::load(&both.to_files()).0.unwrap();
    let mut files = Files::new();
    files.labs.truncate(1);
    (Factory::in_world_of(&world, files.to_files(), 1).await, both)
}

/// Lets another run begin after `change`, five minutes into the one that goes on, and both come to their end.
async fn meanwhile(factory: &Factory, name: &'static str, change: impl FnOnce(&Factory) + Send + 'static) {
    factory.after(Duration::from_secs(300), move |factory| {
        let factory = factory.clone();
        change(&factory);
        tokio::spawn(async move {
            factory.host.start(&Factory::run_id(name), everything()).await.unwrap();
        });
    });
    factory.host.clock().sleep(Duration::from_secs(1)).await;
    factory.settle().await;
}

#[test]
fn a_run_of_what_has_not_changed_does_nothing_and_says_so() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let first = factory.run_asked("first", everything()).await;
        factory.assert_succeeded(&first);
        assert!(
            first.run.images.iter().all(|image| image.why.as_deref() == Some("there is no image of it yet"))
        );
        let writes = first.counts.azure.arm_writes;
        let second = factory.run_asked("second", everything()).await;
        factory.assert_succeeded(&second);
        assert!(second.run.images.is_empty() && second.run.retired.is_empty());
        let unchanged: Vec<(String, &str)> =
            second.run.unchanged.iter().map(|image| (image.image_path.to_string(), &*image.reason)).collect();
        let reason = format!("unchanged since run {}", Factory::run_id("first"));
        assert_eq!(unchanged, [(LINUX.to_owned(), &*reason), (WINDOWS.to_owned(), &*reason)]);
        assert_eq!((vms(&factory), second.counts.azure.arm_writes), (2, writes), "nothing was touched");
        assert!(second.virtual_seconds < 120.0, "{}", second.virtual_seconds);

        factory.host.clock().sleep(Duration::from_secs(31 * 86_400)).await;
        let third = factory.run_asked("third", everything()).await;
        factory.assert_succeeded(&third);
        let why = image(&third, LINUX).why.clone().unwrap();
        assert_eq!(why, "the newest image is 31 days old, rebuildAfter allows 30");
    });
}

#[test]
fn only_what_changed_is_built_and_the_image_says_why_in_the_report() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.run_asked("first", everything()).await;
        factory.host.folder.change(|files| {
            let file = files.files.get_mut(&format!("GoldenImages/{LINUX}")).unwrap();
            let text = String::from_utf8(file.clone()).unwrap();
            *file = text.replace("linux-install-docker", "linux-java").into_bytes();
        });
        let second = factory.run_asked("second", everything()).await;
        factory.assert_succeeded(&second);
        assert_eq!(second.run.images.len(), 1);
        let why = image(&second, LINUX).why.clone().unwrap();
        assert!(why.contains("artifacts: ") && why.contains("linux-java"), "{why}");
        assert_eq!(vms(&factory), 3);
    });
}

#[test]
fn a_lab_that_is_new_receives_the_images_that_stand_without_a_build() {
    scenario(async {
        let (factory, both) = with_one_lab_of_two().await;
        let first = factory.run_asked("first", everything()).await;
        factory.assert_succeeded(&first);
        assert!(standing(&factory, (OTHER_SUBSCRIPTION, DATA)).is_empty());

        factory.host.folder.change(|folder| *folder = both.to_files());
        let second = factory.run_asked("second", everything()).await;
        factory.assert_succeeded(&second);
        assert_eq!(vms(&factory), 2, "nothing was built");
        let name = |outcome, path| image(outcome, path).image_name.to_string();
        for path in [LINUX, WINDOWS] {
            let line = image(&second, path);
            assert_eq!(line.image_name.to_string(), name(&first, path));
            assert_eq!(line.labs.iter().map(|lab| lab.lab_name.as_str()).collect::<Vec<_>>(), [DATA]);
        }
        assert_eq!(standing(&factory, (SUBSCRIPTION, WEB)), standing(&factory, (OTHER_SUBSCRIPTION, DATA)));
        // How new an image is does not depend on who brought it.
        let state = factory.state();
        let born = |(subscription, lab): (&str, &str)| {
            let images = &state.lab(&team_lab(subscription, lab)).unwrap().custom_images;
            images.iter().map(|image| image.tags[RUN_STARTED_TAG].clone()).collect::<Vec<_>>()
        };
        assert_eq!(born((SUBSCRIPTION, WEB)), born((OTHER_SUBSCRIPTION, DATA)));

        let third = factory.run_asked("third", everything()).await;
        assert_eq!(third.run.unchanged.len(), 2, "{:?}", third.run.images);
    });
}

#[test]
fn two_runs_of_one_configuration_at_once_build_it_once() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        for name in ["first", "second"] {
            factory.host.start(&Factory::run_id(name), everything()).await.unwrap();
        }
        factory.settle().await;
        let [first, second] = [
            factory.outcome(&Factory::run_id("first")).await,
            factory.outcome(&Factory::run_id("second")).await,
        ];
        assert!(first.run.succeeded() && second.run.succeeded());
        let built = [&first, &second].map(|outcome| outcome.run.images.len());
        assert_eq!(built.iter().sum::<usize>(), 2, "one of the two builds both: {built:?}");
        assert_eq!(vms(&factory), 2);
        let other = if built[0] == 0 { &first } else { &second };
        assert!(other.run.unchanged.iter().all(|image| image.reason.ends_with("is building the same")));
    });
}

#[test]
fn a_lab_that_only_the_second_of_two_runs_knows_gets_what_the_first_is_building() {
    scenario(async {
        let (factory, both) = with_one_lab_of_two().await;
        factory.host.start(&Factory::run_id("first"), everything()).await.unwrap();
        meanwhile(&factory, "second", move |factory| {
            factory.host.folder.change(|folder| *folder = both.to_files())
        })
        .await;
        let second = factory.outcome(&Factory::run_id("second")).await;
        factory.assert_succeeded(&second);
        assert_eq!(vms(&factory), 2);
        assert_eq!(second.run.images.len(), 2);
        let names = standing(&factory, (OTHER_SUBSCRIPTION, DATA));
        assert_eq!(names.len(), 2);
        assert_eq!(standing(&factory, (SUBSCRIPTION, WEB)), names);
    });
}

#[test]
fn a_second_commit_supersedes_what_the_first_has_not_captured() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        factory.host.start(&Factory::run_id("first"), everything()).await.unwrap();
        meanwhile(&factory, "second", |factory| factory.salt("second")).await;
        let first = factory.outcome(&Factory::run_id("first")).await;
        let second = factory.outcome(&Factory::run_id("second")).await;
        factory.assert_succeeded(&second);
        assert_eq!(first.run.run.status, Status::Superseded);
        for image in &first.run.images {
            assert_eq!(image.status, Status::Superseded);
            assert!(image.error.as_ref().unwrap().message.contains(Factory::run_id("second").as_str()));
        }
        for lab in [(SUBSCRIPTION, WEB), (OTHER_SUBSCRIPTION, DATA)] {
            assert_eq!(standing(&factory, lab).len(), 2);
        }
    });
}

#[test]
fn a_commit_that_is_taken_back_keeps_the_images_that_stand_and_stops_what_is_being_built() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let first = factory.run_asked("first", everything()).await;
        factory.salt("wrong");
        factory.host.start(&Factory::run_id("wrong"), everything()).await.unwrap();
        meanwhile(&factory, "right", |factory| {
            factory.host.folder.change(|folder| *folder = Files::new().to_files())
        })
        .await;
        let [wrong, right] = [
            factory.outcome(&Factory::run_id("wrong")).await,
            factory.outcome(&Factory::run_id("right")).await,
        ];
        assert_eq!((wrong.run.run.status, right.run.unchanged.len()), (Status::Superseded, 2));
        factory.assert_succeeded(&right);
        let mut names: Vec<String> =
            first.run.images.iter().map(|image| image.image_name.to_string()).collect();
        names.sort();
        let mut stand = standing(&factory, (SUBSCRIPTION, WEB));
        stand.sort();
        assert_eq!(stand, names);
    });
}

/// Two runs of the same, the second five minutes after the first, of which nothing is answered whose URL holds `url_part` for two hours:
/// longer than the second waits for a run that has decided nothing.
async fn while_the_first_is_held_up(url_part: &str) -> (Factory, Outcome, Outcome) {
    let factory = Factory::new(&Files::new()).await;
    factory.http_faults([http_fault(None, url_part, 0, u32::MAX, answer(503, json!({})))]);
    factory.after(Duration::from_secs(7200), |factory| factory.http_faults([]));
    factory.host.start(&Factory::run_id("first"), everything()).await.unwrap();
    meanwhile(&factory, "second", |_| {}).await;
    let first = factory.outcome(&Factory::run_id("first")).await;
    let second = factory.outcome(&Factory::run_id("second")).await;
    (factory, first, second)
}

#[test]
fn a_run_that_decides_nothing_for_an_hour_is_passed_by_and_says_by_whom() {
    scenario(async {
        let held_up = format!("/configurations/{}", Factory::run_id("first"));
        let (factory, first, second) = while_the_first_is_held_up(&held_up).await;
        assert_eq!((first.run.run.status, first.run.images.len()), (Status::Superseded, 0));
        let error = first.run.run.error.as_ref().unwrap();
        assert!(error.message.contains(Factory::run_id("second").as_str()), "{error}");
        factory.assert_succeeded(&second);
        assert_eq!((second.run.images.len(), vms(&factory)), (2, 2));
        let waited = second.run.images.iter().map(|image| image.times.started_at.unwrap()).min().unwrap();
        let waited = waited - second.run.run.started_at;
        assert!(waited > time::Duration::hours(1) && waited < time::Duration::minutes(70), "{waited}");
    });
}

#[test]
fn a_run_that_has_decided_is_waited_for_however_long_the_rest_of_its_plan_takes() {
    scenario(async {
        let (factory, first, second) = while_the_first_is_held_up("/customimages").await;
        factory.assert_succeeded(&first);
        factory.assert_succeeded(&second);
        assert_eq!((first.run.images.len(), vms(&factory)), (2, 2), "nothing is built twice");
        let reason = format!("run {} is building the same", Factory::run_id("first"));
        assert_eq!(second.run.unchanged.len(), 2);
        assert!(
            second.run.unchanged.iter().all(|image| image.reason == reason),
            "{:?}",
            second.run.unchanged
        );
    });
}

/// What a run will do, told before it begins.
async fn foresee(
    factory: &Factory,
    name: &str,
    start: &StartRun,
    configuration: &Configuration,
) -> Foresight {
    let run = Factory::run_id(name);
    start_run::foresee(&factory.host.factory, &run, start, configuration).await.unwrap().unwrap()
}

/// Compares what was told with what the run did.
fn assert_exact(foresight: &Foresight, outcome: &Outcome, about: &str) {
    let built: BTreeSet<String> = foresight
        .plan
        .images
        .iter()
        .filter(|image| image.action == Action::Build)
        .map(|image| image.image_name.to_string())
        .collect();
    let did = &outcome.run;
    let own = |image: &&image_factory::report::ImageLine| {
        image.image_name.as_str().ends_with(image.vm_name.as_str().rsplit('-').next().unwrap())
    };
    assert_eq!(
        built,
        did.images.iter().filter(own).map(|image| image.image_name.to_string()).collect(),
        "{about}: builds"
    );
    let copies = foresight.labs.iter().flat_map(|lab| {
        let copied = lab.images.iter().filter(|image| image.copies);
        copied.map(|image| (lab.lab.lab_name().to_owned(), image.image_name.to_string()))
    });
    let made = did
        .images
        .iter()
        .flat_map(|image| image.labs.iter().map(|lab| (lab.lab_name.clone(), image.image_name.to_string())));
    assert_eq!(copies.collect::<BTreeSet<_>>(), made.collect(), "{about}: copies");
    let retires = foresight
        .labs
        .iter()
        .flat_map(|lab| lab.retires.iter().map(|image| (lab.lab.lab_name().to_owned(), image.clone())));
    let retired = did.retired.iter().map(|line| (line.lab_name.clone(), line.image_name.clone()));
    assert_eq!(retires.collect::<BTreeSet<_>>(), retired.collect(), "{about}: retires");
    let labs = foresight.labs.iter().chain([&foresight.factory_lab]).filter(|lab| lab.held.is_none());
    let names: BTreeSet<String> = labs.clone().map(|lab| lab.lab.lab_name().to_owned()).collect();
    let keeps = labs.flat_map(|lab| {
        lab.kept.iter().map(|kept| (lab.lab.lab_name().to_owned(), kept.name.clone(), kept.reason.clone()))
    });
    let kept = did.kept.iter().filter(|line| names.contains(&line.lab_name));
    let kept = kept.map(|line| (line.lab_name.clone(), line.image_name.clone(), line.reason.clone()));
    assert_eq!(keeps.collect::<BTreeSet<_>>(), kept.collect(), "{about}: keeps");
    let held: BTreeSet<&str> =
        foresight.labs.iter().filter(|lab| lab.held.is_some()).map(|lab| lab.lab.lab_name()).collect();
    let attention: BTreeSet<&str> = did
        .attention
        .iter()
        .filter(|line| line.error.code == "RetirementHeld")
        .filter_map(|line| line.item.rsplit(" in ").next())
        .collect();
    assert_eq!(held, attention, "{about}: held");
}

#[test]
fn what_a_run_will_do_is_told_exactly_for_any_configuration_and_history() {
    for seed in 0..12 {
        scenario(async move {
            let story = Scenario::draw(seed, Size::default(), &FaultRates::none());
            let world = story.configuration().unwrap();
            let factory = Factory::in_world_of(&world, story.files(), seed).await;
            story.prepare(&mut factory.host.sim.world());
            let mut runs = 0;
            let mut told_and_done = async |start: StartRun, what: &str| {
                runs += 1;
                let name = format!("run-{runs}");
                let mut files = None;
                factory.host.folder.change(|folder| files = Some(folder.clone()));
                let configuration = Configuration::load(&files.unwrap()).0.unwrap();
                let foresight = foresee(&factory, &name, &start, &configuration).await;
                let outcome = factory.run_asked(&name, start).await;
                assert_exact(&foresight, &outcome, &format!("seed {seed}, {what}"));
                let ledger = &factory.host.factory.ledger;
                let written = ledger.run_plan(&Factory::run_id(&name)).await.unwrap().unwrap();
                let actions = |plan: &image_factory::ledger::RunPlan| {
                    plan.images.iter().map(|image| (image.action, image.reason.clone())).collect::<Vec<_>>()
                };
                assert_eq!(actions(&foresight.plan), actions(&written), "seed {seed}, {what}: as written");
            };
            told_and_done(everything(), "the first").await;
            told_and_done(everything(), "once more").await;
            factory.host.folder.change(|folder| {
                let first = folder.files.keys().find(|name| name.starts_with("GoldenImages/")).cloned();
                let file = folder.files.get_mut(&first.unwrap()).unwrap();
                let mut template: serde_json::Value = serde_json::from_slice(file).unwrap();
                template["variables"]["changed"] = json!("yes");
                *file = template.to_string().into_bytes();
            });
            told_and_done(everything(), "one image changed").await;
            told_and_done(StartRun { force: true, ..everything() }, "forced").await;
        });
    }
}
