use proptest::prelude::*;
use time::{Duration, macros::datetime};

use super::*;

fn path() -> ImagePath {
    ImagePath::parse("Win2016/Datacenter.json").unwrap()
}

/// An image of ours that is `age` days old.
fn image(name: &str, age: i64) -> StandingImage {
    StandingImage {
        name: name.to_owned(),
        created: datetime!(2026-11-22 12:00 UTC) - Duration::days(age),
        state: ImageState::Succeeded,
        tags: BTreeMap::from([
            ("imagepath".to_owned(), "win2016\\datacenter.json".to_owned()),
            ("FactoryRun".to_owned(), "r1".to_owned()),
        ]),
        used_by: Vec::new(),
    }
}

fn retired(images: &[StandingImage], keep: usize) -> Vec<String> {
    decide(&path(), images, keep)
        .into_iter()
        .filter(|v| v.decision == Decision::Retire)
        .map(|v| v.name)
        .collect()
}

fn reason(images: &[StandingImage], name: &str) -> Option<KeepReason> {
    match decide(&path(), images, 1).into_iter().find(|v| v.name == name)?.decision {
        Decision::Keep(reason) => Some(reason),
        Decision::Retire => None,
    }
}

#[test]
fn the_newest_stay_and_older_ones_go() {
    let images = [image("c", 3), image("a", 1), image("d", 4), image("b", 2)];
    assert_eq!(retired(&images, 2), ["c", "d"]);
    assert_eq!(retired(&images, 9), [""; 0]);
}

#[test]
fn the_newest_good_one_always_stays() {
    assert_eq!(retired(&[image("a", 900)], 0), [""; 0]);
}

#[test]
fn failed_ones_go_and_do_not_count() {
    let mut failed = image("failed", 0);
    failed.state = ImageState::Failed;
    assert_eq!(retired(&[failed, image("old", 5)], 1), ["failed"]);
}

#[test]
fn what_is_pinned_used_or_in_progress_stays() {
    let mut pinned = image("pinned", 7);
    pinned.tags.insert("factorykeep".to_owned(), String::new());
    let mut used = image("used", 8);
    used.used_by.push("formula web".to_owned());
    let mut busy = image("busy", 0);
    busy.state = ImageState::from_provisioning_state("Creating");
    let images = [image("new", 1), pinned, used, busy, image("old", 9)];
    assert_eq!(retired(&images, 1), ["old"]);
    assert_eq!(reason(&images, "pinned"), Some(KeepReason::Pinned));
    assert_eq!(reason(&images, "used"), Some(KeepReason::UsedBy(vec!["formula web".to_owned()])));
    assert_eq!(reason(&images, "busy"), Some(KeepReason::InProgress));
    assert_eq!(reason(&images, "new"), Some(KeepReason::Newest));
}

#[test]
fn what_is_not_ours_stays() {
    let mut no_tags = image("none", 9);
    no_tags.tags.clear();
    let mut no_run = image("sample", 9);
    no_run.tags.remove("FactoryRun");
    let mut other = image("other", 9);
    other.tags.insert("imagepath".to_owned(), "Win2016R2/Datacenter.json".to_owned());
    let mut nonsense = image("nonsense", 9);
    nonsense.tags.insert("imagepath".to_owned(), "..".to_owned());
    let images = [image("new", 1), no_tags, no_run, other, nonsense];
    assert_eq!(retired(&images, 1), [""; 0]);
    assert_eq!(reason(&images, "none"), Some(KeepReason::NotOurs));
    assert_eq!(reason(&images, "sample"), Some(KeepReason::NotOurs));
    assert_eq!(reason(&images, "other"), Some(KeepReason::OtherPath));
}

proptest! {
    #[test]
    fn a_good_image_is_never_taken_without_a_newer_good_one(
        images in prop::collection::vec((0i64..5, 0usize..3, any::<bool>()), 1..12), keep in 0usize..4,
    ) {
        let states = [ImageState::Succeeded, ImageState::Failed, ImageState::InProgress];
        let images: Vec<_> = images.into_iter().enumerate().map(|(index, (age, state, used))| StandingImage {
            state: states[state],
            used_by: used.then(|| "vm".to_owned()).into_iter().collect(),
            ..image(&format!("i{index}"), age)
        }).collect();
        let gone = retired(&images, keep);
        let good = |image: &&StandingImage| image.state == ImageState::Succeeded;
        let stays = images.iter().filter(good).filter(|i| !gone.contains(&i.name)).map(|i| i.created).max();
        prop_assert_eq!(stays, images.iter().filter(good).map(|i| i.created).max());
        prop_assert!(images.iter().all(|i| i.used_by.is_empty() || !gone.contains(&i.name)));
    }
}
