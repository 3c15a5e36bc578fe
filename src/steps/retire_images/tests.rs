use super::*;
use crate::{
    domain::KEEP_TAG,
    steps::fixtures::{NOW, ago, path, tags_of_run, vm, waiting},
};

const LAB: &str = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/one";

fn image(name: &str, state: &str, minutes_ago: Option<i64>) -> CustomImage {
    let mut tags = tags_of_run("run-1");
    tags.insert(IMAGE_PATH_TAG.to_owned(), "win2022\\DATACENTER.json".to_owned());
    CustomImage {
        name: name.to_owned(),
        id: format!("{LAB}/customimages/{name}"),
        tags,
        provisioning_state: state.to_owned(),
        creation_date: minutes_ago.map(ago),
        os_type: None,
        managed_image_id: None,
        managed_snapshot_id: None,
        vhd_url: None,
        description: None,
    }
}

fn formula(image: &str) -> Formula {
    Formula {
        name: "classroom".to_owned(),
        id: format!("{LAB}/formulas/classroom"),
        custom_image_id: Some(format!("{LAB}/customImages/{image}").to_uppercase()),
        shared_image_id: None,
    }
}

/// The names that go, and why others but the newest stay.
fn decided(users: &Users, images: &[CustomImage], keep: usize) -> (Vec<String>, Vec<String>) {
    let verdicts = decide(&path(), images, users, keep);
    let mut state = waiting(1, NOW);
    note_kept(&verdicts, &mut state);
    let kept = state.facts.kept.iter().map(|kept| format!("{}: {}", kept.name, kept.reason));
    (retiring(&verdicts).map(str::to_owned).collect(), kept.collect())
}

#[test]
fn the_newest_stay_and_the_rest_goes_whatever_the_spelling_of_the_path() {
    let images = [
        image("old", "Succeeded", Some(300)),
        image("new", "Succeeded", Some(1)),
        image("mid", "Succeeded", Some(100)),
    ];
    assert_eq!(decided(&Users::default(), &images, 2), (vec!["old".to_owned()], vec![]));
    assert_eq!(decided(&Users::default(), &images, 0).0, ["old", "mid"], "never the newest");
}

#[test]
fn what_a_formula_or_a_vm_uses_stays_and_says_so() {
    let images = [
        image("formulas", "Succeeded", Some(300)),
        image("vms", "Succeeded", Some(200)),
        image("free", "Succeeded", Some(100)),
        image("new", "Succeeded", Some(1)),
    ];
    let users = Users {
        formulas: vec![formula("formulas")],
        vms: vec![LabVm {
            name: "pc-7".to_owned(),
            custom_image_id: Some(format!("{LAB}/customimages/VMS")),
            ..vm()
        }],
    };
    let (going, kept) = decided(&users, &images, 1);
    assert_eq!(going, ["free"]);
    assert_eq!(kept, ["formulas: used by formula classroom", "vms: used by VM pc-7"]);
}

#[test]
fn pinned_and_unfinished_images_stay_and_failed_ones_do_not_count_as_the_newest() {
    let mut pinned = image("pinned", "Succeeded", Some(300));
    pinned.tags.insert(KEEP_TAG.to_lowercase(), String::new());
    let images = [
        pinned,
        image("good", "Succeeded", Some(200)),
        image("failed", "Failed", Some(100)),
        image("making", "Creating", Some(1)),
    ];
    let (going, kept) = decided(&Users::default(), &images, 1);
    assert_eq!(going, ["failed"]);
    assert_eq!(kept.len(), 2);
    assert!(kept[0].starts_with("pinned") && kept[1].starts_with("making"), "{kept:?}");
}

#[test]
fn an_image_without_a_date_is_never_taken_for_the_newest() {
    let images = [image("undated", "Succeeded", None), image("dated", "Succeeded", Some(9999))];
    assert_eq!(decided(&Users::default(), &images, 1).0, ["undated"]);
}

#[test]
fn images_that_the_factory_did_not_make_or_of_other_paths_stay() {
    let mut foreign = image("foreign", "Succeeded", Some(300));
    foreign.tags.remove(&crate::domain::RUN_TAG.to_lowercase());
    let mut other = image("other", "Failed", Some(200));
    other.tags.insert(IMAGE_PATH_TAG.to_owned(), "Win2022/Datacenter2.json".to_owned());
    let images = [foreign, other, image("new", "Succeeded", Some(1))];
    assert_eq!(decided(&Users::default(), &images, 1).0, Vec::<String>::new());
}

#[test]
fn what_an_earlier_look_found_blocked_is_no_news_and_keeps_its_reason() {
    let users = Users { formulas: vec![formula("old")], vms: Vec::new() };
    let mut images = vec![image("old", "Succeeded", Some(300)), image("new", "Succeeded", Some(1))];
    let mut state = waiting(1, NOW);
    let first = decide(&path(), &images, &Users::default(), 1);
    note_kept(&first, &mut state);
    assert!(has_news(&first, &state), "nobody has asked yet who uses it");
    note_kept(&decide(&path(), &images, &users, 1), &mut state);

    let later = decide(&path(), &images, &Users::default(), 1);
    note_kept(&later, &mut state);
    assert!(!has_news(&later, &state));
    assert_eq!(state.facts.kept[0].reason, "used by formula classroom");
    images.push(image("back again", "Succeeded", Some(200)));
    let later = decide(&path(), &images, &Users::default(), 1);
    note_kept(&later, &mut state);
    assert!(has_news(&later, &state));
}

#[test]
fn a_held_retirement_notes_every_image_that_would_go() {
    let images =
        ["a", "b", "new"].map(|name| image(name, "Succeeded", Some(if name == "new" { 1 } else { 9 })));
    let verdicts = decide(&path(), &images, &Users::default(), 1);
    let mut state = waiting(1, NOW);
    for _ in 0..2 {
        note_kept(&verdicts, &mut state);
        keep_all(&verdicts, &mut state, brake::HELD);
    }
    let names: Vec<&str> = state.facts.kept.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn what_goes_is_noted_once_and_what_stays_after_all_is_taken_off_the_list() {
    let images =
        ["a", "b", "new"].map(|name| image(name, "Succeeded", Some(if name == "new" { 1 } else { 9 })));
    let verdicts = decide(&path(), &images, &Users::default(), 1);
    let mut state = waiting(1, NOW);
    assert!(note_going(&verdicts, &mut state));
    assert!(!note_going(&verdicts, &mut state), "nothing of it is new");
    assert_eq!(state.facts.retired, ["a", "b"]);
    note_stayed("a", "somebody pinned it".to_owned(), &mut state);
    assert_eq!(state.facts.retired, ["b"]);
    assert_eq!(state.facts.kept[0].name, "a");
}

#[test]
fn paths_are_compared_whole_and_a_text_that_is_no_path_is_nobodys() {
    assert!(same_path(&path(), "WIN2022/datacenter.JSON"));
    for other in ["Win2022/Datacenter2.json", "Datacenter.json", "", "../x"] {
        assert!(!same_path(&path(), other), "{other}");
    }
}
