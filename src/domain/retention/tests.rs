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

fn of_run(mut image: StandingImage, run: &str, started: Option<i64>) -> StandingImage {
    image.tags.insert("FactoryRun".to_owned(), run.to_owned());
    let started = started.map(|age| datetime!(2026-11-22 12:00 UTC) - Duration::days(age));
    let started = started.map(|started| started.format(&Rfc3339).unwrap());
    image.tags.extend(started.map(|started| ("factoryrunstartedat".to_owned(), started)));
    image
}

#[test]
fn the_later_run_has_the_newer_image_whichever_was_made_first() {
    let slow = of_run(image("slow", 1), "r1", Some(6));
    let quick = of_run(image("quick", 3), "r2", Some(4));
    assert_eq!(retired(&[slow.clone(), quick.clone()], 1), ["slow"]);
    // Where a run's start is not known, or is nonsense, the day on which Azure made the image counts.
    let untagged = of_run(image("untagged", 2), "r0", None);
    assert_eq!(retired(&[slow.clone(), quick.clone(), untagged], 1), ["slow", "quick"]);
    let mut nonsense = slow;
    nonsense.tags.insert("factoryrunstartedat".to_owned(), "yesterday".to_owned());
    assert_eq!(retired(&[nonsense, quick], 1), ["quick"]);
}

fn own() -> RunId {
    RunId::parse("own").unwrap()
}

/// A lab with so many images of each of these paths, weighed for a run that renews `renewed`.
fn weighed(standing: &[(&str, i64)], renewed: &[&str], keep: usize) -> (usize, usize) {
    let of_path = |(path, number): &(&str, i64)| {
        let path = (*path).to_owned();
        (0..*number).map(move |age| {
            let mut image = image(&format!("{path}{age}"), age + 1);
            image.tags.insert("imagepath".to_owned(), format!("{path}.json"));
            image
        })
    };
    let images: Vec<StandingImage> = standing.iter().flat_map(of_path).collect();
    let paths = renewed.iter().map(|path| ImagePath::parse(&format!("{path}.json")).unwrap()).collect();
    let Weight { before, after } = weigh(&images, &own(), &paths, keep);
    (before, after)
}

#[test]
fn a_run_that_replaces_images_makes_the_lab_no_smaller() {
    assert_eq!(weighed(&[("a", 1), ("b", 1)], &["a", "b"], 1), (2, 2));
    assert_eq!(weighed(&[("a", 2), ("b", 1)], &["A", "b"], 2), (3, 4));
}

#[test]
fn a_run_that_keeps_fewer_images_than_stand_makes_it_smaller() {
    assert_eq!(weighed(&[("a", 5), ("b", 5)], &["a", "b"], 1), (10, 2));
    assert_eq!(weighed(&[("a", 5), ("b", 5)], &["a"], 0), (10, 6), "what the run does not renew stays");
    assert_eq!(weighed(&[("a", 5)], &["a", "new1", "new2"], 1), (5, 1), "new paths make up for nothing");
    assert_eq!(weighed(&[], &["a"], 1), (0, 0));
}

#[test]
fn only_good_images_of_the_factory_weigh_and_pinned_ones_stay() {
    let mut failed = image("failed", 2);
    failed.state = ImageState::Failed;
    let mut foreign = image("foreign", 3);
    foreign.tags.remove("FactoryRun");
    let mine = of_run(image("mine", 0), "own", None);
    let mut pinned = image("pinned", 9);
    pinned.tags.insert("FACTORYKEEP".to_owned(), String::new());
    let images = [failed, foreign, mine, pinned, image("old", 4), image("older", 5)];
    assert_eq!(weigh(&images, &own(), &BTreeSet::from([path()]), 1), Weight { before: 3, after: 2 });
}

#[test]
fn a_share_is_exceeded_only_beyond_itself() {
    let exceeds = |before, after, share| Weight { before, after }.exceeds(share);
    assert!(!exceeds(10, 5, 0.5) && exceeds(10, 4, 0.5));
    assert!(!exceeds(10, 7, 0.3) && exceeds(1000, 699, 0.3));
    assert!(!exceeds(10, 1, 1.0) && exceeds(10, 9, 0.0));
    assert!(!exceeds(0, 0, 0.0) && !exceeds(3, 4, 0.0));
}

proptest! {
    /// The weight counts what `decide` leaves once the run's image stands.
    #[test]
    fn the_weight_is_what_retention_leaves(number in 0i64..8, pinned in 0usize..8, keep in 0usize..5) {
        let mut images: Vec<_> = (0..number).map(|age| image(&format!("i{age}"), age + 1)).collect();
        if let Some(image) = images.get_mut(pinned) {
            image.tags.insert("FactoryKeep".to_owned(), String::new());
        }
        let weight = weigh(&images, &own(), &BTreeSet::from([path()]), keep);
        images.push(of_run(image("new", 0), "own", None));
        let left = images.len() - retired(&images, keep).len();
        prop_assert_eq!(weight.before, images.len() - 1);
        prop_assert_eq!(weight.after, if number == 0 { 0 } else { left });
    }

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
