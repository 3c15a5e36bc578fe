use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use proptest::prelude::*;

use super::*;

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

fn selects(selector: &str, text: &str) -> bool {
    ImagePathSelector::parse(selector).unwrap().selects(&path(text))
}

#[test]
fn spellings_of_one_path_are_the_same_path() {
    let (a, b) = (path("Win2016/Datacenter.json"), path("win2016\\DATACENTER.JSON"));
    assert_eq!(a, b);
    assert_eq!(a.cmp(&b), Ordering::Equal);
    assert_eq!(BTreeSet::from([a.clone(), b.clone()]).len(), 1);
    assert_eq!(b.to_string(), "win2016/DATACENTER.JSON");
    assert_eq!((a.stem(), a.folded()), ("Datacenter", "win2016/datacenter.json"));
}

#[test]
fn paths_are_ordered_by_whole_segments() {
    let mut paths = [path("Win2016 Core/A.json"), path("Win2016/B.json"), path("A.json")];
    paths.sort();
    assert_eq!(paths.map(|p| p.to_string()), ["A.json", "Win2016/B.json", "Win2016 Core/A.json"]);
}

#[test]
fn only_relative_json_paths_are_accepted() {
    let long = format!("{}.json", "x".repeat(252));
    for text in [
        "",
        "/a.json",
        "\\a.json",
        "C:/a.json",
        "a//b.json",
        "./a.json",
        "a/../b.json",
        "a",
        "a.txt",
        ".json",
        "a/.json",
        "a\nb.json",
        &long,
    ] {
        assert!(ImagePath::parse(text).is_err(), "{text:?}");
    }
    assert!(ImagePath::parse("VS2015 Enterprise with Azure SDK.json").is_ok());
    assert!(ImagePath::parse("Ünïcode/é.json").is_ok());
}

#[test]
fn selectors_compare_whole_segments() {
    assert!(selects("Win2016", "Win2016/Datacenter.json"));
    assert!(selects("win2016\\", "Win2016/Datacenter.json"));
    assert!(selects("/Win2016/Datacenter.json", "Win2016/Datacenter.json"));
    assert!(!selects("Win2016", "Win2016R2/Datacenter.json"));
    assert!(!selects("Win2016/Data", "Win2016/Datacenter.json"));
    assert!(!selects("Win2016/Datacenter.json/more", "Win2016/Datacenter.json"));
    for everything in ["", "/", "\\", "*", " "] {
        assert!(selects(everything, "Win2016/Datacenter.json"), "{everything:?}");
    }
    assert!(ImagePathSelector::parse("a/../b").is_err());
}

#[test]
fn json_carries_paths_as_text() {
    let read: ImagePath = serde_json::from_str("\"a\\\\b.json\"").unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), "\"a/b.json\"");
    assert!(serde_json::from_str::<ImagePath>("\"../b.json\"").is_err());
}

proptest! {
    #[test]
    fn what_is_accepted_reads_back_as_itself(text in "[a-zA-Z0-9 ._ßÉ/\\\\-]{0,20}(\\.json)?") {
        if let Ok(path) = ImagePath::parse(&text) {
            let again = ImagePath::parse(path.as_str()).unwrap();
            prop_assert_eq!(&again, &path);
            prop_assert_eq!(again.as_str(), path.as_str());
            prop_assert!(!path.as_str().contains('\\'));
            prop_assert!(path.as_str().split('/').all(|s| !["", ".", ".."].contains(&s)));
            let folder = path.as_str().split('/').next().unwrap();
            prop_assert!(ImagePathSelector::parse(folder).unwrap().selects(&path));
        }
    }

    #[test]
    fn equal_paths_have_equal_hashes_and_order(text in "[a-zA-Z]{1,6}(/[a-zA-Z]{1,6}){0,2}\\.json", other in "[a-zA-Z]{1,3}\\.json") {
        let hash = |path: &ImagePath| { let mut hasher = DefaultHasher::new(); path.hash(&mut hasher); hasher.finish() };
        let (a, b) = (path(&text), path(&text.to_uppercase().replace('/', "\\")));
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(hash(&a), hash(&b));
        let other = path(&other);
        prop_assert_eq!(a == other, a.cmp(&other) == Ordering::Equal);
        prop_assert_eq!(a.cmp(&other), other.cmp(&b).reverse());
    }

    #[test]
    fn no_text_makes_it_panic(text: String) {
        let _ = ImagePath::parse(&text);
        let _ = ImagePathSelector::parse(&text);
    }
}
