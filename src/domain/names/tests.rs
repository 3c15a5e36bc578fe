use proptest::prelude::*;
use time::macros::datetime;

use super::*;

fn run(id: &str) -> RunId {
    RunId::parse(id).unwrap()
}

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

const STARTED: OffsetDateTime = datetime!(2026-11-22 23:30 -2);

#[test]
fn names_are_readable() {
    let (run, path) = (run("commit-abcdef0123456789"), path("Win2016/SQLServer 2016 Express.json"));
    let vm = VmName::derive(&run, &path);
    let hash = vm.as_str().rsplit('-').next().unwrap();
    assert_eq!(vm.as_str(), format!("SQLServe-{hash}"));
    let image = ImageName::derive(&run, &path, STARTED);
    assert_eq!(image.as_str(), format!("Win2016-SQLServer-2016-Express-20261123-{hash}"));
    assert_eq!(DeploymentName::derive(&run, &path).as_str(), format!("commit-abcdef0123456789-{vm}"));
    assert_eq!(image.factory_vhd_blob(), format!("{image}.vhd"));
    assert_eq!(image.companion_blob(), format!("{image}.json"));
}

#[test]
fn paths_without_a_letter_have_names_too() {
    let (run, path) = (run("r"), path("日本/___.json"));
    assert!(VmName::derive(&run, &path).as_str().starts_with("vm-"));
    assert!(ImageName::derive(&run, &path, STARTED).as_str().starts_with("image-20261123-"));
}

#[test]
fn other_runs_paths_and_labs_have_other_names() {
    let a = VmName::derive(&run("r1"), &path("a/x.json"));
    assert_ne!(a, VmName::derive(&run("r2"), &path("a/x.json")));
    assert_ne!(a, VmName::derive(&run("r1"), &path("b/x.json")));
    assert_ne!(VmName::derive(&run("r1"), &path("a.json")), VmName::derive(&run("r"), &path("1a.json")));
    let lab = |name| LabId::new("8d9f1e4a-1111-4222-8333-444455556666", Some("rg"), name).unwrap();
    let image = ImageName::derive(&run("r1"), &path("a/x.json"), STARTED);
    assert_ne!(image.target_vhd_blob(&lab("one")), image.target_vhd_blob(&lab("two")));
    assert_eq!(image.target_vhd_blob(&lab("one")), image.target_vhd_blob(&lab("ONE")));
}

#[test]
fn spellings_of_one_path_share_their_hash() {
    let (a, b) =
        (VmName::derive(&run("r"), &path("A\\b.json")), VmName::derive(&run("r"), &path("a/B.json")));
    assert!(a.as_str().eq_ignore_ascii_case(b.as_str()));
}

fn any_path() -> impl Strategy<Value = ImagePath> {
    prop_oneof!["[ -~]{1,60}", "\\PC{1,40}", "[0-9]{1,20}", "[-_ .]{1,20}"]
        .prop_filter_map("no path", |text| ImagePath::parse(&format!("{text}.json")).ok())
}

proptest! {
    #[test]
    fn azures_rules_hold_for_every_path(path in any_path(), id in "[a-z0-9-]{1,40}") {
        let run = run(&id);
        let vm = VmName::derive(&run, &path);
        let vm = vm.as_str();
        prop_assert!((1..=15).contains(&vm.len()), "{}", vm);
        prop_assert!(vm.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'), "{}", vm);
        prop_assert!(!vm.starts_with('-') && !vm.ends_with('-'), "{}", vm);
        prop_assert!(!vm.bytes().all(|b| b.is_ascii_digit()), "{}", vm);
        let image = ImageName::derive(&run, &path, STARTED);
        let image = image.as_str();
        prop_assert!((1..=80).contains(&image.len()), "{}", image);
        prop_assert!(image.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-()".contains(&b)), "{}", image);
        prop_assert!(!image.starts_with('-') && !image.contains("--"), "{}", image);
        let deployment = DeploymentName::derive(&run, &path);
        prop_assert!((1..=64).contains(&deployment.as_str().len()), "{}", deployment);
    }
}

#[test]
fn a_word_of_the_stem_is_in_every_image_name_of_the_path() {
    let word = |text: &str| {
        let path = ImagePath::parse(text).unwrap();
        ImageName::word(&path).map(str::to_owned)
    };
    assert_eq!(word("Win2016/Datacenter.json").as_deref(), Some("Datacenter"));
    assert_eq!(word("Linux/Ubuntu 24.04-LTS_é.json").as_deref(), Some("Ubuntu"));
    assert_eq!(word("日本.json"), None);
    assert_eq!(word(&format!("{}.json", "x".repeat(64))), Some("x".repeat(64)));
    assert_eq!(word(&format!("{}.json", "x".repeat(65))), None, "the name is cut");
    assert_eq!(word(&format!("{}/abc.json", "x".repeat(61))), None);
    // 64 characters in the end, but one more when it is cut.
    assert_eq!(word(&format!("{}_/abc.json", "x".repeat(60))), None);
}

proptest! {
    #[test]
    fn image_names_hold_their_word_and_begin_with_their_prefix(text in "[a-zA-Z0-9 ._é-]{1,30}(/[a-zA-Z0-9 ._é-]{1,40}){0,2}") {
        if let Ok(path) = ImagePath::parse(&format!("{text}.json")) {
            let name = ImageName::derive(&RunId::parse("r").unwrap(), &path, OffsetDateTime::UNIX_EPOCH);
            prop_assert!(name.as_str().starts_with(&ImageName::prefix(&path)));
            if let Some(word) = ImageName::word(&path) {
                prop_assert!(name.as_str().contains(word), "{} {}", name, word);
            }
        }
    }
}
