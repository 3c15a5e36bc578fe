//! What the cleanup timer finds: lost messages, and what a step could not take away.

use std::{collections::BTreeMap, time::Duration};

use azure_sim::{
    arm::{CustomImageSpec, OsType},
    control::{BlobState, State},
    fault::{CopyFault, Faults, HttpEffect},
    work::WorkKind,
};
use image_factory::{
    azure::Condition,
    domain::{KEEP_TAG, LabId, Queue, RUN_TAG, names::lab_hash},
    report::Status,
    steps::cleanup,
};
use serde_json::json;

use crate::factory::{
    DATA, Factory, Files, LINUX, ORIGIN, OTHER_SUBSCRIPTION, SUBSCRIPTION, WEB, answer, http_fault, lab,
    scenario, team_lab,
};

const HOUR: Duration = Duration::from_secs(3600);
/// Two periods of the cleanup timer, and what a look may be late.
const TWO_PERIODS: f64 = 2.0 * 600.0 + 90.0;

type When = fn(&State) -> bool;

/// How long a run takes of which all messages of a queue are lost at a moment.
async fn run_that_loses(loss: Option<(Queue, When)>) -> f64 {
    let factory = Factory::new(&Files::only_linux()).await;
    if let Some((queue, when)) = loss {
        factory.once(when, move |factory| {
            assert_ne!(factory.host.broker.purge(queue.name()).unwrap(), 0, "nothing of {queue} was lost");
        });
    }
    let outcome = factory.run().await;
    factory.assert_succeeded(&outcome);
    outcome.virtual_seconds
}

#[test]
fn what_was_lost_goes_on_within_two_periods_of_cleanup() {
    let mut whole = 0.0;
    scenario(async { whole = run_that_loses(None).await });
    let is_deploying: When = |state| state.labs.iter().any(|lab| !lab.virtual_machines.is_empty());
    let copies: When = |state| {
        let is_pending = |vhd: &BlobState| vhd.copy_status.as_deref() == Some("pending");
        state.vhds.iter().any(|vhd| vhd.url.contains("https://adata") && is_pending(vhd))
    };
    for (queue, when) in [(Queue::CreateVm, is_deploying), (Queue::CopyImage, copies)] {
        scenario(async {
            let late = run_that_loses(Some((queue, when))).await - whole;
            assert!((300.0..TWO_PERIODS).contains(&late), "{queue}: {late} s late");
        });
    }
}

#[test]
fn what_waits_in_a_long_queue_is_not_taken_for_lost() {
    scenario(async {
        let mut files = Files::only_linux();
        files.labs = (0..300).map(|number| lab(SUBSCRIPTION, &format!("team-{number:03}"))).collect();
        let factory = Factory::new(&files).await;
        // 16 at a time, at a minute for each look at a VHD: the last of 300 copies waits 19 minutes for its turn.
        let slow = HttpEffect::Delay(Duration::from_secs(60));
        factory.http_faults([http_fault(Some("HEAD"), "/imagefactoryvhds/", 0, u32::MAX, slow)]);
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let backlogs = factory.host.factory.ledger.backlogs().await.unwrap();
        assert!(backlogs.iter().any(|backlog| backlog.queue == Queue::CopyImage), "{backlogs:?}");
        let mut times: BTreeMap<(Queue, Vec<u8>), usize> = BTreeMap::new();
        for message in factory.received() {
            *times.entry(message).or_default() += 1;
        }
        let twice = times.values().filter(|times| **times > 1).count();
        assert_eq!(twice, 0, "of {} messages", times.len());
    });
}

#[test]
fn a_ledger_that_refuses_for_a_while_costs_dead_letters_and_no_image() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let refusal =
            answer(403, json!({"error": {"code": "AuthorizationPermissionMismatch", "message": "no"}}));
        factory.after(Duration::from_secs(8 * 60), move |factory| {
            factory.http_faults([http_fault(None, "imagefactoryledger", 0, u32::MAX, refusal)]);
        });
        factory.after(Duration::from_secs(14 * 60), |factory| factory.http_faults([]));
        let outcome = factory.run().await;
        assert!(outcome.succeeded(), "{:?}", outcome.leftovers);
        let dead = factory.dead_letters();
        assert!(!dead.is_empty(), "waiting would have mended nothing, and nobody would have seen it");
        assert!(outcome.virtual_seconds < 2.0 * 3600.0, "{}", outcome.virtual_seconds);
    });
}

/// Copies into the lab `data` fail, and `refused` requests too, for ever.
async fn with_trouble_in_data(refused: azure_sim::fault::HttpFault) -> Factory {
    let factory = Factory::new(&Files::only_linux()).await;
    let copy = CopyFault {
        destination_part: "https://adata".to_owned(),
        at_fraction: 0.5,
        times: 100,
        description: "404 ResourceNotFound".to_owned(),
    };
    factory.faults(Faults { copies: vec![copy], http: vec![refused], ..Faults::default() });
    factory
}

#[test]
fn a_vhd_that_a_failed_copy_could_not_take_away_goes_once_the_lab_lets_it() {
    scenario(async {
        let refusal =
            answer(403, json!({"error": {"code": "AuthorizationFailure", "message": "a firewall"}}));
        let factory =
            with_trouble_in_data(http_fault(Some("DELETE"), "https://adata", 0, u32::MAX, refusal)).await;
        let outcome = factory.run().await;
        assert_eq!(outcome.run.run.status, Status::Failed);
        assert_eq!(outcome.leftovers.vhds.len(), 1, "{:?}", outcome.leftovers);
        // Longer than any one tick: the lab is asked again and again.
        for _ in 0..3 {
            factory.host.clock().sleep(Duration::from_secs(600)).await;
            assert!(cleanup::tick(&factory.host.factory).await.is_err(), "the refusal is reported");
        }
        factory.faults(Faults::default());
        factory.clean_up_times(2).await;
        let later = factory.outcome(&outcome.run.run.id).await;
        assert!(later.leftovers.is_empty(), "{:?}", later.leftovers);
    });
}

#[test]
fn a_vm_whose_disk_has_an_open_sas_goes_once_azure_lets_it() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let refusal = answer(403, json!({"error": {"code": "AuthorizationFailed", "message": "no role"}}));
        factory.http_faults([http_fault(Some("POST"), "endgetaccess", 0, u32::MAX, refusal)]);
        let outcome = factory.run().await;
        assert_eq!(outcome.run.run.status, Status::Failed);
        assert_eq!((outcome.leftovers.vms.len(), outcome.leftovers.disks_with_sas.len()), (1, 1));
        factory.http_faults([]);
        factory.clean_up_times(4).await;
        let later = factory.outcome(&outcome.run.run.id).await;
        assert!(later.leftovers.is_empty(), "{:?}", later.leftovers);
    });
}

/// A custom image in the lab `web`.
fn add_image(factory: &Factory, name: &str, failed: bool, tags: &[(&str, &str)]) {
    let tags = tags.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let image = CustomImageSpec { name: name.to_owned(), tags, created: ORIGIN, os: OsType::Linux, failed };
    assert!(factory.host.sim.world().add_custom_image(&team_lab(SUBSCRIPTION, WEB), image).is_some());
}

#[test]
fn of_a_team_labs_debris_only_what_an_ended_run_of_this_ledger_made_goes() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let web = team_lab(SUBSCRIPTION, WEB);
        // While the run goes on nothing of it is debris.
        factory.after(Duration::from_secs(20 * 60), |factory| {
            let run = Factory::run_id("first");
            let ours = [(RUN_TAG, run.as_str()), ("ImagePath", LINUX)];
            let theirs = [(RUN_TAG, "timer-20251201t000000"), ("ImagePath", LINUX)];
            add_image(factory, "ours", true, &ours);
            add_image(factory, "pinned", true, &[ours[0], ours[1], (KEEP_TAG, "for the audit")]);
            add_image(factory, "theirs", true, &theirs);
            add_image(factory, "nobodys", true, &[]);
            let factory = factory.clone();
            tokio::spawn(async move {
                let lab = LabId::new(SUBSCRIPTION, Some("rg-web"), WEB).unwrap();
                let other = LabId::new(OTHER_SUBSCRIPTION, Some("rg-data"), DATA).unwrap();
                let container = factory.vhds(&team_lab(SUBSCRIPTION, WEB));
                container.create_if_missing().await.unwrap();
                let put = async |name: &str, run: Option<&str>| {
                    let tags = run.map(|run| {
                        BTreeMap::from([
                            ("factoryrun".to_owned(), run.to_owned()),
                            ("imagepath".to_owned(), LINUX.to_owned()),
                        ])
                    });
                    let tags = tags.unwrap_or_default();
                    container.put(name, b"vhd".to_vec(), &tags, Condition::None).await.unwrap();
                };
                let hash = lab_hash(&lab);
                put(&format!("ours-{hash}.vhd"), Some(Factory::run_id("first").as_str())).await;
                put(&format!("theirs-{hash}.vhd"), Some("timer-20251201t000000")).await;
                put(&format!("nobodys-{hash}.vhd"), None).await;
                // Labs may share an account.
                put(
                    &format!("another-labs-{}.vhd", lab_hash(&other)),
                    Some(Factory::run_id("first").as_str()),
                )
                .await;
            });
        });
        let outcome = factory.run().await;
        assert!(outcome.run.succeeded());
        factory.clean_up_times(2).await;
        factory.host.clock().sleep(HOUR).await;
        let state = factory.state();
        let images: Vec<&str> =
            state.lab(&web).unwrap().custom_images.iter().map(|image| image.name.as_str()).collect();
        let mut odd: Vec<&str> =
            images.into_iter().filter(|name| !name.starts_with("Linux-Docker-")).collect();
        odd.sort_unstable();
        assert_eq!(odd, ["nobodys", "pinned", "theirs"]);
        let mut vhds: Vec<String> =
            factory.vhds(&web).list("").await.unwrap().into_iter().map(|blob| blob.name).collect();
        vhds.iter_mut().for_each(|name| name.truncate(name.rfind('-').unwrap()));
        vhds.sort_unstable();
        assert_eq!(vhds, ["another-labs", "nobodys", "theirs"]);
        let swept = factory.host.factory.ledger.swept_runs().await.unwrap();
        assert_eq!(swept.len(), 1, "nobody looks into those labs for this run again");
    });
}

#[test]
fn a_run_that_ended_ninety_days_ago_is_forgotten_and_its_images_stay() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let first = factory.run().await;
        factory.assert_succeeded(&first);
        factory.host.clock().sleep(91 * 24 * HOUR).await;
        factory.clean_up_times(1).await;
        assert!(!factory.ledger().await.is_empty(), "the newest run is kept, however old it is");
        let second = factory.run_named("second").await;
        factory.assert_succeeded(&second);
        factory.clean_up_times(1).await;
        let documents = factory.ledger().await;
        let of_run = |name: &str| {
            let run = Factory::run_id(name);
            documents.keys().filter(|document| document.contains(run.as_str())).count()
        };
        assert_eq!(of_run("first"), 0, "{:?}", documents.keys());
        assert!(of_run("second") >= 5, "{:?}", documents.keys());
        assert_eq!(factory.work(WorkKind::CustomImageDeletion, "/customimages/").len(), 0);
    });
}
