//! Nothing goes wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use azure_sim::{storage, work::WorkKind};
use image_factory::report::Status;

use crate::factory::{DATA, Factory, Files, LINUX, WEB, WINDOWS, image, line, scenario};
use serde_json::json;

#[test]
fn every_image_stands_in_every_lab_and_nothing_else_is_left() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        assert_eq!(outcome.run.run.status, Status::Succeeded);
        for path in [WINDOWS, LINUX] {
            for lab in [WEB, DATA] {
                let id = line(&outcome, path, lab).custom_image_id.clone().unwrap();
                let shown = factory.get(&format!("{id}?api-version=2018-09-15")).await;
                let windows = path == WINDOWS;
                let os = if windows { "Windows" } else { "Linux" };
                assert_eq!(shown["tags"]["ImagePath"], path);
                assert_eq!(shown["properties"]["provisioningState"], "Succeeded");
                assert_eq!(shown["properties"]["vhd"]["osType"], os);
                assert_eq!(shown["properties"]["vhd"]["sysPrep"], windows);
            }
        }
    });
}

#[test]
fn a_captured_vhd_and_its_copies_hold_what_the_disk_held() {
    scenario(async {
        let factory = Factory::new(&Files::new()).await;
        // The disks and the copies are gone at the end: what they hold is noted while they are there.
        let (disks, vhds) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeMap::new())));
        let (watcher, disks_seen, vhds_seen) = (factory.clone(), disks.clone(), vhds.clone());
        tokio::spawn(async move {
            loop {
                let state = watcher.state();
                let ids = state.disks.iter().map(|disk| disk.id.to_lowercase());
                disks_seen.lock().unwrap().extend(ids);
                for vhd in state.vhds.iter().filter(|vhd| vhd.copy_status.as_deref() == Some("success")) {
                    let blob = storage::blob(&watcher.host.sim.world(), &vhd.url).unwrap();
                    assert!(blob.is_fixed_vhd, "{}", vhd.url);
                    vhds_seen.lock().unwrap().insert(vhd.url.clone(), (blob.content, blob.length));
                }
                watcher.host.clock().sleep(Duration::from_secs(20)).await;
            }
        });
        let outcome = factory.run().await;
        factory.assert_succeeded(&outcome);
        let (disks, vhds) = (disks.lock().unwrap(), vhds.lock().unwrap());
        for path in [WINDOWS, LINUX] {
            let image = image(&outcome, path);
            let vm = image.vm_name.to_string().to_lowercase();
            let disk: Vec<&String> = disks.iter().filter(|id| id.contains(&vm)).collect();
            assert_eq!(disk.len(), 1, "{disks:?}");
            let held = vhds.iter().filter(|(url, _)| url.contains(image.image_name.as_str()));
            let held: Vec<_> = held.map(|(_, held)| held).collect();
            assert_eq!(held.len(), 3, "one in the factory, one for each lab: {vhds:#?}");
            for (content, length) in held {
                assert_eq!(*content, storage::disk_content(disk[0], *length), "{path}");
            }
        }
    });
}

#[test]
fn each_run_retires_what_is_more_than_images_to_keep_in_labs_and_factory() {
    scenario(async {
        let factory = Factory::new(&Files::with_settings(json!({"imagesToKeep": 2}))).await;
        let first = factory.run_named("first").await;
        let second = factory.run_named("second").await;
        factory.assert_succeeded(&second);
        assert!(second.run.retired.is_empty(), "{:?}", second.run.retired);
        let third = factory.run_named("third").await;
        factory.assert_succeeded(&third);

        let state = factory.state();
        for lab in &state.labs {
            let expected = if lab.name == "image-factory" { 0 } else { 4 };
            assert_eq!(lab.custom_images.len(), expected, "{}", lab.name);
        }
        for path in [WINDOWS, LINUX] {
            let oldest = image(&first, path).image_name.to_string();
            let gone = third.run.retired.iter().filter(|line| line.image_name == oldest);
            let mut labs: Vec<&str> = gone.map(|line| line.lab_name.as_str()).collect();
            labs.sort_unstable();
            assert_eq!(labs, [DATA, WEB]);
            let vhds = |name: &str| state.vhds.iter().filter(|vhd| vhd.url.contains(name)).count();
            let kept = |outcome| vhds(image(outcome, path).image_name.as_str());
            assert_eq!([kept(&first), kept(&second), kept(&third)], [0, 1, 1]);
        }
        assert_eq!(third.run.retired.len(), 4);
    });
}

#[test]
fn the_same_seed_is_the_same_run() {
    let tell = |seed| {
        let told = Mutex::new(String::new());
        scenario(async {
            let factory = Factory::seeded(&Files::only_linux(), seed).await;
            let outcome = factory.run().await;
            factory.assert_succeeded(&outcome);
            let copies = factory.work(WorkKind::BlobCopy, "");
            *told.lock().unwrap() = format!("{} {copies:?}", serde_json::to_string(&outcome).unwrap());
        });
        told.into_inner().unwrap()
    };
    assert_eq!(tell(3), tell(3));
    assert_ne!(tell(3), tell(4));
}
