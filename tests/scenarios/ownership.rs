//! What is not the factory's, or what people hold on to, stays.

use azure_sim::arm::{CustomImageSpec, FormulaSpec, OsType, VirtualMachineSpec};
use image_factory::{
    domain::{IGNORE_TAG, ImagePath, KEEP_TAG, Queue, RUN_TAG, VmName},
    report::Status,
};
use serde_json::{Map, Value, json};

use crate::factory::{
    Factory, Files, LINUX, ORIGIN, SUBSCRIPTION, WEB, WINDOWS, answer, http_fault, image, line, scenario,
    team_lab,
};

fn tags(tags: &[(&str, &str)]) -> Map<String, Value> {
    tags.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

/// A VM in the factory lab under the name that the run would give its own.
fn squatter(factory: &Factory, tag: &[(&str, &str)]) -> VmName {
    let name = VmName::derive(&Factory::run_id("first"), &ImagePath::parse(WINDOWS).unwrap());
    let vm = VirtualMachineSpec {
        name: name.to_string(),
        tags: tags(tag),
        created: ORIGIN,
        os: OsType::Windows,
        properties: Map::new(),
        failed: false,
    };
    let lab = factory.factory_lab();
    assert!(factory.host.sim.world().add_virtual_machine(&lab, vm).is_some());
    name
}

/// Whether the VM stands in the factory lab.
fn stands(factory: &Factory, name: &VmName) -> bool {
    let state = factory.state();
    let lab = state.lab(&factory.factory_lab()).unwrap();
    lab.virtual_machines.iter().any(|vm| vm.name == name.to_string())
}

#[test]
fn a_foreign_vm_of_the_same_name_stays_and_fails_the_image() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let vm = squatter(&factory, &[("Owner", "Ada")]);
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[WINDOWS]);
        assert_eq!(reasons[0].code, "NameTaken");
        assert!(reasons[0].message.contains(&vm.to_string()), "{}", reasons[0]);
        assert!(stands(&factory, &vm));
    });
}

#[test]
fn a_vm_with_factory_ignore_is_left_alone() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let run = Factory::run_id("first");
        let vm = squatter(&factory, &[(RUN_TAG, run.as_str()), (IGNORE_TAG, "true")]);
        let outcome = factory.run().await;
        assert_eq!(outcome.run.run.status, Status::Failed);
        let windows = image(&outcome, WINDOWS);
        assert_eq!(windows.error.as_ref().unwrap().code, "FactoryIgnore");
        assert_eq!(image(&outcome, LINUX).status, Status::Succeeded);
        assert!(stands(&factory, &vm));
        assert_eq!(outcome.leftovers.vms.len(), 1, "shown, since it bears our tag");
    });
}

#[test]
fn a_vm_that_gets_factory_ignore_in_the_middle_is_left_alone_for_ever() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let vm = VmName::derive(&Factory::run_id("first"), &ImagePath::parse(WINDOWS).unwrap());
        let name = vm.to_string();
        let tagged = factory.once(
            move |state| {
                let mut vms = state.labs.iter().flat_map(|lab| &lab.virtual_machines);
                vms.any(|vm| vm.name == name && vm.provisioning_state == "ApplyingArtifacts")
            },
            |factory| {
                let factory = factory.clone();
                tokio::spawn(async move {
                    let name = VmName::derive(&Factory::run_id("first"), &ImagePath::parse(WINDOWS).unwrap());
                    let tags =
                        json!({"tags": {IGNORE_TAG: "true", RUN_TAG: Factory::run_id("first").as_str()}});
                    let path =
                        format!("{}/virtualmachines/{name}?api-version=2018-09-15", factory.factory_lab());
                    factory.patch(&path, &tags).await;
                });
            },
        );
        let outcome = factory.run().await;
        assert!(tagged.load(std::sync::atomic::Ordering::Relaxed));
        assert_eq!(image(&outcome, WINDOWS).error.as_ref().unwrap().code, "FactoryIgnore");
        assert_eq!(image(&outcome, LINUX).status, Status::Succeeded);
        // Long after the cleanup would take what nobody owns.
        factory.host.clock().sleep(std::time::Duration::from_secs(3 * 24 * 3600)).await;
        let tick = image_factory::steps::cleanup::tick(&factory.host.factory).await;
        assert!(tick.is_ok(), "{tick:?}");
        assert!(stands(&factory, &vm));
    });
}

#[test]
fn a_vm_of_a_run_that_nobody_knows_any_more_goes_after_half_a_day() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let vm = squatter(&factory, &[(RUN_TAG, "manual-20250101t000000-lost")]);
        let outcome = factory.run().await;
        assert!(stands(&factory, &vm), "it may be somebody's who has just begun");
        assert_eq!(outcome.run.run.status, Status::Succeeded);
        let hour = std::time::Duration::from_secs(3600);
        factory.host.clock().sleep(13 * hour).await;
        let _ = image_factory::steps::cleanup::tick(&factory.host.factory).await;
        factory.host.clock().sleep(hour).await;
        assert!(!stands(&factory, &vm));
    });
}

/// A custom image in the lab `web`, older than every run.
fn old_image(factory: &Factory, name: &str, tag: &[(&str, &str)]) -> String {
    let image = CustomImageSpec {
        name: name.to_owned(),
        tags: tags(tag),
        created: ORIGIN - time::Duration::days(i64::try_from(name.len()).unwrap()),
        os: OsType::Linux,
        failed: false,
    };
    let lab = team_lab(SUBSCRIPTION, WEB);
    let added = factory.host.sim.world().add_custom_image(&lab, image);
    added.unwrap()
}

#[test]
fn images_that_are_foreign_pinned_or_in_use_stay_and_the_report_says_what_holds_them() {
    scenario(async {
        let mut files = Files::only_linux();
        files.settings = json!({"imagesToKeep": 1, "mostRetiredShare": 0.8});
        let factory = Factory::new(&files).await;
        let ours = [(RUN_TAG, "timer-20251201t000000"), ("ImagePath", LINUX)];
        let with = |tag| [ours[0], ours[1], tag];
        let add = |name: &str, tag: &[(&str, &str)]| old_image(&factory, name, tag);
        add("docker-old", &ours);
        add("docker-old-other-spelling", &[ours[0], ("imagepath", "linux\\DOCKER.json")]);
        add("20251201-docker-sample", &[("ImagePath", LINUX)]);
        add("docker-by-hand", &[]);
        add("other-path", &[ours[0], ("ImagePath", "Linux/Other.json")]);
        add("docker-pinned", &with((KEEP_TAG, "for the audit")));
        let in_formula = add("docker-in-a-formula", &ours);
        add("docker-in-a-relative-formula", &ours);
        let in_vm = add("docker-in-a-vm", &ours);
        let lab = team_lab(SUBSCRIPTION, WEB);
        {
            let mut world = factory.host.sim.world();
            let relative = "/customimages/docker-in-a-relative-formula".to_owned();
            for (name, id) in [("daily", in_formula.to_uppercase()), ("weekly", relative)] {
                let content = json!({ "customImageId": id });
                let formula = FormulaSpec { name: name.to_owned(), content };
                assert!(world.add_formula(&lab, formula).is_some());
            }
            let vm = VirtualMachineSpec {
                name: "adas-vm".to_owned(),
                tags: Map::new(),
                created: ORIGIN,
                os: OsType::Linux,
                properties: [("customImageId".to_owned(), json!(in_vm))].into_iter().collect(),
                failed: false,
            };
            assert!(world.add_virtual_machine(&lab, vm).is_some());
        }
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);

        let mut retired: Vec<&str> =
            outcome.run.retired.iter().map(|line| line.image_name.as_str()).collect();
        retired.sort_unstable();
        assert_eq!(retired, ["docker-old", "docker-old-other-spelling"]);
        let state = factory.state();
        let mut standing: Vec<&str> =
            state.lab(&lab).unwrap().custom_images.iter().map(|image| image.name.as_str()).collect();
        standing.sort_unstable();
        let new = image(&outcome, LINUX).image_name.to_string();
        let mut expected = [
            new.as_str(),
            "20251201-docker-sample",
            "docker-by-hand",
            "docker-in-a-formula",
            "docker-in-a-relative-formula",
            "docker-in-a-vm",
            "docker-pinned",
            "other-path",
        ];
        expected.sort_unstable();
        assert_eq!(standing, expected);
        let kept = &line(&outcome, LINUX, WEB).kept;
        let mut kept: Vec<(&str, &str)> =
            kept.iter().map(|kept| (kept.name.as_str(), kept.reason.as_str())).collect();
        kept.sort_unstable();
        let expected = [
            ("20251201-docker-sample", "the factory did not make it"),
            ("docker-in-a-formula", "used by formula daily"),
            ("docker-in-a-relative-formula", "used by formula weekly"),
            ("docker-in-a-vm", "used by VM adas-vm"),
            ("docker-pinned", "it carries the tag FactoryKeep"),
        ];
        assert_eq!(kept, expected);
        let remarks = outcome.run.remarks();
        for (name, reason) in expected {
            let in_web = format!("{name} stays in {WEB}: {reason}");
            assert!(remarks.contains(&in_web), "{in_web}: {remarks:#?}");
        }
        let report = serde_json::to_value(&outcome).unwrap();
        let shown = json!({"labName": WEB, "imageName": "docker-in-a-vm", "reason": "used by VM adas-vm"});
        assert!(report["kept"].as_array().unwrap().contains(&shown), "{report:#}");
    });
}

#[test]
fn a_foreign_custom_image_of_the_same_name_stays_and_fails_its_lab_alone() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let run = Factory::run_id("first");
        let name = image_factory::domain::ImageName::derive(&run, &ImagePath::parse(LINUX).unwrap(), ORIGIN);
        old_image(&factory, name.as_str(), &[("Owner", "Ada")]);
        let outcome = factory.run().await;
        let reasons = factory.assert_failed(&outcome, &[&format!("{LINUX} in {WEB}")]);
        assert_eq!(reasons[0].code, "NameTaken");
        let state = factory.state();
        let lab = state.lab(&team_lab(SUBSCRIPTION, WEB)).unwrap();
        assert!(lab.custom_images.iter().any(|image| image.name == name.as_str()));
    });
}

#[test]
fn a_vm_that_cannot_be_deleted_now_costs_no_image_and_goes_within_two_periods_of_cleanup() {
    scenario(async {
        let factory = Factory::new(&Files::only_linux()).await;
        let refusal = answer(
            409,
            json!({"error": {"code": "ScopeLocked", "message": "The scope cannot perform delete operation because it is locked."}}),
        );
        factory.http_faults([http_fault(Some("DELETE"), "/virtualmachines/", 0, 1, refusal)]);
        let outcome = factory.run().await;
        assert!(outcome.run.succeeded(), "its images stand in every lab");
        assert_eq!(outcome.run.run.status, Status::Succeeded);
        let [attention] = outcome.run.attention.as_slice() else { panic!("{:?}", outcome.run.attention) };
        assert_eq!((attention.item.as_str(), attention.step), (LINUX, Queue::DeleteVm));
        assert_eq!(attention.error.code, "ScopeLocked");
        assert!(
            outcome.run.remarks()[0].starts_with("attention: delete-vm of Linux/Docker.json: ScopeLocked")
        );
        for _ in 0..2 {
            factory.host.clock().sleep(std::time::Duration::from_secs(600)).await;
            let tick = image_factory::steps::cleanup::tick(&factory.host.factory).await;
            assert!(tick.is_ok(), "{tick:?}");
        }
        let later = factory.outcome(&outcome.run.run.id).await;
        factory.assert_succeeded(&later);
    });
}
