//! Which older images go, when a run may not retire any, and what that costs.

use std::{collections::BTreeMap, time::Duration};

use azure_sim::{
    arm::{CustomImageSpec, LabSpec, OsType},
    control,
    fault::HttpEffect,
};
use image_factory::{
    azure::{BlobAuthorization, Condition, Container},
    dev::{outcome::Outcome, world},
    domain::{
        Configuration, IMAGE_PATH_TAG, ImageName, ImagePath, KEEP_TAG, Queue, RUN_TAG, RunReason,
        messages::StartRun,
    },
    secret::Secret,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::factory::{
    DATA, Factory, Files, LINUX, ORIGIN, OTHER_SUBSCRIPTION, SUBSCRIPTION, WEB, WINDOWS, answer, http_fault,
    image, lab, scenario, team_lab, throttled,
};

/// The run that made all older images.
const OLD_RUN: &str = "timer-20251201t000000";
/// The two labs of [`Files::new`].
const LABS: [(&str, &str); 2] = [(SUBSCRIPTION, WEB), (OTHER_SUBSCRIPTION, DATA)];

fn keep(images: u32) -> Files {
    Files::with_settings(json!({ "imagesToKeep": images }))
}

/// `number` good images of a path in a lab, made by an earlier run. Their names hold the path's stem, as all do.
fn add_images(factory: &Factory, (subscription, lab): (&str, &str), path: &str, number: i64) {
    let stem = path.rsplit('/').next().unwrap().trim_end_matches(".json");
    for age in 1..=number {
        let tags = [(RUN_TAG, OLD_RUN), (IMAGE_PATH_TAG, path)];
        let image = CustomImageSpec {
            name: format!("Old-{stem}-{age}"),
            tags: tags.map(|(name, value)| (name.to_owned(), json!(value))).into_iter().collect(),
            created: ORIGIN - time::Duration::days(age),
            os: OsType::Linux,
            failed: false,
        };
        let mut world = factory.host.sim.world();
        assert!(world.add_custom_image(&team_lab(subscription, lab), image).is_some());
    }
}

/// The names of a lab's images whose name holds `part`.
fn standing(factory: &Factory, (subscription, lab): (&str, &str), part: &str) -> Vec<String> {
    let state = factory.state();
    let images = &state.lab(&team_lab(subscription, lab)).unwrap().custom_images;
    images.iter().filter(|image| image.name.contains(part)).map(|image| image.name.clone()).collect()
}

/// A run whose retirement is approved.
async fn run_approved(factory: &Factory, name: &str) -> Outcome {
    let everything = StartRun::of_everything(RunReason::Manual);
    factory.run_asked(name, StartRun { force: true, approve_retirement: true, ..everything }).await
}

/// What the ledger has about a run's retirement, by the document's name.
async fn verdicts(factory: &Factory, name: &str) -> BTreeMap<String, Value> {
    let folder = format!("retirements/{}/", Factory::run_id(name));
    let documents = factory.ledger().await.into_iter();
    let found = documents.filter_map(|(name, (bytes, _))| {
        Some((name.strip_prefix(&folder)?.to_owned(), serde_json::from_slice(&bytes).unwrap()))
    });
    found.collect()
}

#[test]
fn a_run_that_would_empty_a_lab_retires_nothing_and_says_so_until_it_is_approved() {
    scenario(async {
        let factory = Factory::new(&keep(1)).await;
        for path in [WINDOWS, LINUX] {
            add_images(&factory, LABS[0], path, 5);
            add_images(&factory, LABS[1], path, 1);
        }
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(standing(&factory, LABS[0], "").len(), 12, "ten old ones and two new ones");
        assert_eq!(standing(&factory, LABS[1], "").len(), 2, "the other lab only exchanges its images");

        let items: Vec<(&str, Queue)> =
            outcome.run.attention.iter().map(|line| (line.item.as_str(), line.step)).collect();
        let [linux, windows] = [LINUX, WINDOWS].map(|path| format!("{path} in {WEB}"));
        assert_eq!(items, [(linux.as_str(), Queue::RetireImages), (&windows, Queue::RetireImages)]);
        for line in &outcome.run.attention {
            assert_eq!(line.error.code, "RetirementHeld");
            let message = &line.error.message;
            for part in ["8 of 10 images in lab web", "share of 0.5", "mostRetiredShare", "approveRetirement"]
            {
                assert!(message.contains(part), "{part}: {message}");
            }
        }
        assert_eq!(outcome.run.kept.len(), 10);
        assert!(outcome.run.kept.iter().all(|line| line.lab_name == WEB && line.reason.contains("held")));
        assert!(outcome.run.retired.iter().all(|line| line.lab_name == DATA));

        let found = verdicts(&factory, "first").await;
        assert_eq!(found.len(), 2, "one for each lab: {found:#?}");
        let web = found.iter().find(|(name, _)| name.starts_with("web-")).unwrap().1;
        assert_eq!((&web["before"], &web["after"], &web["held"]), (&json!(10), &json!(2), &json!(true)));

        let approved = run_approved(&factory, "second").await;
        factory.assert_succeeded(&approved);
        assert!(approved.run.attention.is_empty(), "{:?}", approved.run.attention);
        for lab in LABS {
            let mut expected = [LINUX, WINDOWS].map(|path| image(&approved, path).image_name.to_string());
            expected.sort_unstable();
            assert_eq!(standing(&factory, lab, ""), expected);
        }
    });
}

#[test]
fn the_share_of_factory_json_decides_how_much_smaller_a_run_may_make_a_lab() {
    for (share, left) in [(0.74, 5), (0.75, 1)] {
        scenario(async {
            let mut files = Files::only_linux();
            files.settings = json!({"imagesToKeep": 1, "mostRetiredShare": share});
            let factory = Factory::new(&files).await;
            add_images(&factory, LABS[0], LINUX, 4);
            let outcome = factory.run().await;
            factory.assert_succeeded(&outcome);
            assert_eq!(standing(&factory, LABS[0], "").len(), left, "{share}");
        });
    }
}

#[test]
fn a_steady_state_is_never_held() {
    scenario(async {
        let mut files = keep(1);
        files.settings["mostRetiredShare"] = json!(0.0);
        let factory = Factory::new(&files).await;
        factory.run_named("first").await;
        for name in ["second", "third"] {
            let outcome = factory.run_named(name).await;
            factory.assert_succeeded(&outcome);
            assert_eq!((outcome.run.retired.len(), outcome.run.attention.len()), (4, 0), "{name}");
        }
        for lab in LABS {
            assert_eq!(standing(&factory, lab, "").len(), 2);
        }
    });
}

#[test]
fn an_emptied_labs_file_retires_nothing() {
    scenario(async {
        let mut files = keep(1);
        let (full, _) = Configuration::load(&files.to_files());
        files.labs.clear();
        let factory = Factory::in_world_of(&full.unwrap(), files.to_files(), 1).await;
        for lab in LABS {
            add_images(&factory, lab, LINUX, 3);
        }
        let outcome = factory.run().await;
        assert!(outcome.run.images.is_empty() && outcome.run.retired.is_empty());
        for lab in LABS {
            assert_eq!(standing(&factory, lab, "").len(), 3);
        }
        assert_eq!(outcome.counts.azure.arm_deletes, 0);
    });
}

/// The reads of Resource Manager of a run whose labs have so many images of other paths, and `old` ones of each of its own.
fn reads(old: i64, others: i64) -> u64 {
    let (send, receive) = std::sync::mpsc::channel();
    scenario(async {
        let factory = Factory::new(&keep(1)).await;
        for lab in LABS {
            add_images(&factory, lab, "Other/Path.json", others);
            add_images(&factory, lab, WINDOWS, old);
            add_images(&factory, lab, LINUX, old);
        }
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(outcome.run.retired.len() as i64, 4 * old);
        let looks = factory.received().into_iter().filter(|(queue, body)| {
            *queue == Queue::RetireImages && !serde_json::from_slice::<Value>(body).unwrap()["lab"].is_null()
        });
        assert_eq!(looks.count() as i64, 4 * (1 + old), "one look, and one more after a deletion");
        send.send(outcome.counts.azure.arm_reads).unwrap();
    });
    receive.recv().unwrap()
}

/// Calls take time, so a look at something else may come a moment later, when it is one more or one less.
fn assert_about(found: u64, expected: u64) {
    assert!(found.abs_diff(expected) <= 2, "{found} instead of {expected}");
}

#[test]
fn what_a_lab_holds_besides_costs_a_run_one_list_of_each_lab() {
    let [nothing, little, much] = [reads(0, 0), reads(1, 0), reads(1, 1000)];
    // The plan reads ten pages more of each of the two labs, and who uses what of them.
    assert_about(reads(0, 1000) - nothing, 2 * (10 + 2));
    // For each of the four copies: formulas, VMs, the last look, and the look after the deletion; and for each of the two labs
    // formulas and VMs for the plan, and its images, formulas and VMs, to be weighed.
    assert_about(little - nothing, 4 * 4 + 2 * 5);
    // Ten pages more for each of the two labs, for the plan and to be weighed.
    assert_about(much - little, 2 * 20);
}

#[test]
fn of_a_crowd_who_is_refused_in_its_turn_takes_another_place_in_the_row() {
    const COPIES_AT_ONCE: usize = 100;
    const RETRY_AFTER: u32 = 600;
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1});
        let names: Vec<String> = (0..=COPIES_AT_ONCE).map(|number| format!("team-{number:03}")).collect();
        files.labs = names.iter().map(|name| lab(SUBSCRIPTION, name)).collect();
        let factory = Factory::new(&files).await;
        names.iter().for_each(|name| add_images(&factory, (SUBSCRIPTION, name), LINUX, 1));
        let busy = throttled(Some(RETRY_AFTER));
        // The plan lists the lab's formulas first, then the brake, then the copy whose turn it is.
        factory.http_faults([http_fault(Some("GET"), "/labs/team-050/formulas", 2, 1, busy)]);
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(outcome.run.retired.len(), names.len());

        let mut in_a_second_place = Vec::new();
        for (bytes, _) in factory.ledger().await.into_values() {
            let document: Value = serde_json::from_slice(&bytes).unwrap();
            let steps = &document["steps"];
            if steps["copy-image"].is_null() {
                continue;
            }
            assert_eq!(document["retiredBeside"], names.len(), "its turn is as long as the plan says");
            assert!(steps["copy-image"]["facts"]["registersAt"].is_string());
            let retired = &steps["retire-images"];
            if retired["facts"]["registersAt"].is_string() {
                let time =
                    |key: &str| OffsetDateTime::parse(retired[key].as_str().unwrap(), &Rfc3339).unwrap();
                let waited = time("endedAt") - time("startedAt");
                assert!(waited.whole_seconds() >= i64::from(RETRY_AFTER), "{waited}");
                in_a_second_place.push(document["lab"]["labName"].as_str().unwrap().to_owned());
            }
        }
        assert_eq!(in_a_second_place, ["team-050"]);
    });
}

#[test]
fn an_image_that_is_pinned_at_the_last_moment_stays() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1});
        files.labs.truncate(1);
        let factory = Factory::new(&files).await;
        add_images(&factory, LABS[0], LINUX, 2);
        // The lab's formulas are listed between the judgement and the deletion.
        let slow = HttpEffect::Delay(Duration::from_secs(150));
        factory.http_faults([http_fault(Some("GET"), "/formulas", 2, 1, slow)]);
        let new_stands = |state: &control::State| {
            let mut images = state.labs.iter().flat_map(|lab| &lab.custom_images);
            images.any(|image| !image.name.starts_with("Old") && image.provisioning_state == "Succeeded")
        };
        factory.once(new_stands, |factory| {
            factory.after(Duration::from_secs(100), |factory| {
                let factory = factory.clone();
                tokio::spawn(async move {
                    let path = format!("{}/customimages/Old-Docker-1", team_lab(SUBSCRIPTION, WEB));
                    let tags = json!({"tags": {RUN_TAG: OLD_RUN, IMAGE_PATH_TAG: LINUX, KEEP_TAG: "audit"}});
                    factory.patch(&format!("{path}?api-version=2018-09-15"), &tags).await;
                });
            });
        });
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(standing(&factory, LABS[0], "Old"), ["Old-Docker-1"]);
        let kept: Vec<_> =
            outcome.run.kept.iter().map(|line| (line.image_name.as_str(), &*line.reason)).collect();
        assert_eq!(kept, [("Old-Docker-1", "it carries the tag FactoryKeep")]);
    });
}

#[test]
fn an_image_that_azure_does_not_delete_is_reported_and_holds_up_no_other() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1, "mostRetiredShare": 1});
        let factory = Factory::new(&files).await;
        add_images(&factory, LABS[0], LINUX, 3);
        let locked = answer(409, json!({"error": {"code": "ScopeLocked", "message": "the scope is locked"}}));
        factory.http_faults([http_fault(Some("DELETE"), "/customimages/Old-Docker-1", 0, 100, locked)]);
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(standing(&factory, LABS[0], "Old"), ["Old-Docker-1"]);
        let mut retired: Vec<&str> =
            outcome.run.retired.iter().map(|line| line.image_name.as_str()).collect();
        retired.sort_unstable();
        assert_eq!(retired, ["Old-Docker-2", "Old-Docker-3"]);
        let [attention] = outcome.run.attention.as_slice() else { panic!("{:?}", outcome.run.attention) };
        assert_eq!(
            (attention.item.as_str(), attention.step),
            ("Linux/Docker.json in web", Queue::RetireImages)
        );
        assert_eq!(attention.error.code, "ScopeLocked");
        let report = serde_json::to_value(&outcome).unwrap();
        assert_eq!(report["attention"][0]["step"], "retire-images", "{report:#}");
    });
}

#[test]
fn the_image_of_an_earlier_run_that_comes_later_does_not_outrank_the_later_runs() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1});
        let factory = Factory::new(&files).await;
        let busy = answer(503, json!({"error": {"code": "ServiceUnavailable", "message": "try later"}}));
        let slow = ImageName::derive(&Factory::run_id("slow"), &ImagePath::parse(LINUX).unwrap(), ORIGIN);
        factory.http_faults([http_fault(Some("PUT"), &format!("/customimages/{slow}"), 0, 60, busy)]);
        factory.host.start_run(&Factory::run_id("slow")).await.unwrap();
        let is_captured = |state: &control::State| state.vhds.iter().any(|vhd| vhd.has_companion);
        factory.once(is_captured, |factory| {
            let factory = factory.clone();
            factory.salt("quick");
            tokio::spawn(async move { factory.host.start_run(&Factory::run_id("quick")).await.unwrap() });
        });
        factory.host.clock().sleep(Duration::from_secs(1)).await;
        factory.settle().await;
        let [slow, quick] = [
            factory.outcome(&Factory::run_id("slow")).await,
            factory.outcome(&Factory::run_id("quick")).await,
        ];
        assert!(slow.run.succeeded() && quick.run.succeeded());
        assert!(slow.run.run.ended_at > quick.run.run.ended_at, "the earlier run came later");
        let name = |outcome| image(outcome, LINUX).image_name.to_string();
        for lab in LABS {
            assert_eq!(standing(&factory, lab, ""), [name(&quick)]);
        }
        assert!(slow.run.retired.iter().all(|line| line.image_name == name(&slow)));
        assert_eq!((slow.run.retired.len(), quick.run.retired.len()), (2, 0));
    });
}

/// The container with the factory lab's VHDs.
fn vhds(factory: &Factory) -> Container {
    let spec = LabSpec {
        subscription_id: world::FACTORY_SUBSCRIPTION.to_owned(),
        resource_group: world::FACTORY_GROUP.to_owned(),
        name: world::FACTORY_LAB.to_owned(),
        location: String::new(),
    };
    let lab = control::add_lab(&factory.host.sim, &spec);
    let key =
        BlobAuthorization::SharedKey { account: lab.storage_account, key: Secret::new(lab.storage_key) };
    let endpoint = lab.blob_endpoint.parse().unwrap();
    factory.host.factory.azure.container(&endpoint, "imagefactoryvhds", key).unwrap()
}

/// Writes a captured image as an earlier run would have left it.
async fn add_captured(container: &Container, name: &str, more: &[(&str, &str)]) {
    container.create_if_missing().await.unwrap();
    let metadata = [("factoryrun", OLD_RUN), ("imagepath", LINUX)];
    let metadata: BTreeMap<String, String> =
        metadata.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for ending in ["vhd", "json"] {
        let name = format!("Linux-Docker-{name}.{ending}");
        container.put(&name, *b"{}", &metadata, Condition::None).await.unwrap();
    }
}

async fn captured(container: &Container) -> Vec<String> {
    let blobs = container.list("").await.unwrap();
    blobs.into_iter().filter_map(|blob| Some(blob.name.strip_suffix(".vhd")?.to_owned())).collect()
}

#[test]
fn a_pinned_vhd_stays_in_the_factory_lab_and_the_report_says_why() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1});
        let factory = Factory::new(&files).await;
        let container = vhds(&factory);
        add_captured(&container, "20251201-pinned", &[("factorykeep", "audit")]).await;
        add_captured(&container, "20251202-old", &[]).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let new = image(&outcome, LINUX).image_name.to_string();
        let mut expected = vec!["Linux-Docker-20251201-pinned".to_owned(), new];
        expected.sort_unstable();
        assert_eq!(captured(&container).await, expected);
        let kept: Vec<_> =
            outcome.run.kept.iter().map(|line| (line.lab_name.as_str(), &*line.reason)).collect();
        assert_eq!(kept, [(world::FACTORY_LAB, "it carries the tag FactoryKeep")]);
    });
}

#[test]
fn the_vhd_of_a_run_that_still_copies_it_stays_until_a_later_run() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1});
        let factory = Factory::new(&files).await;
        // The first run's copy to one lab does not come to its end while the second run captures.
        let busy = answer(503, json!({"error": {"code": "ServiceUnavailable", "message": "try later"}}));
        factory.http_faults([http_fault(Some("PUT"), "/customimages/", 0, 40, busy)]);
        factory.host.start_run(&Factory::run_id("first")).await.unwrap();
        factory.after(Duration::from_secs(1800), |factory| {
            factory.faults(azure_sim::fault::Faults::default());
            let web = format!("/labs/{WEB}/customimages/");
            let busy = answer(503, json!({"error": {"code": "ServiceUnavailable", "message": "try later"}}));
            factory.http_faults([http_fault(Some("PUT"), &web, 0, 40, busy)]);
            let factory = factory.clone();
            factory.salt("second");
            tokio::spawn(async move { factory.host.start_run(&Factory::run_id("second")).await.unwrap() });
        });
        factory.host.clock().sleep(Duration::from_secs(1)).await;
        factory.settle().await;
        let [first, second] = [
            factory.outcome(&Factory::run_id("first")).await,
            factory.outcome(&Factory::run_id("second")).await,
        ];
        assert!(first.run.succeeded() && second.run.succeeded());
        let container = vhds(&factory);
        let name = |outcome| image(outcome, LINUX).image_name.to_string();
        let kept: Vec<_> =
            second.run.kept.iter().filter(|line| line.lab_name == world::FACTORY_LAB).collect();
        assert_eq!(kept.len(), 1, "{:?}", second.run.kept);
        assert_eq!(kept[0].image_name, name(&first));
        assert!(kept[0].reason.contains("may still copy it"), "{}", kept[0].reason);
        assert!(captured(&container).await.contains(&name(&first)));

        let third = factory.run_named("third").await;
        factory.assert_succeeded(&third);
        assert_eq!(captured(&container).await, [name(&third)]);
    });
}

#[test]
fn the_vhds_of_the_factory_lab_are_held_like_images() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1});
        let factory = Factory::new(&files).await;
        let container = vhds(&factory);
        for name in ["20251201-a", "20251202-b", "20251203-c"] {
            add_captured(&container, name, &[]).await;
        }
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(captured(&container).await.len(), 4);
        let [attention] = outcome.run.attention.as_slice() else { panic!("{:?}", outcome.run.attention) };
        assert_eq!((attention.item.as_str(), attention.step), (LINUX, Queue::RetireImages));
        assert!(attention.error.message.contains("2 of 3 images"), "{}", attention.error);
        let approved = run_approved(&factory, "second").await;
        factory.assert_succeeded(&approved);
        assert_eq!(captured(&container).await, [image(&approved, LINUX).image_name.to_string()]);
    });
}
