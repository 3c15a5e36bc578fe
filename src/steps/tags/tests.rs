use proptest::prelude::*;

use super::*;

/// "Tag names can't contain these characters: <, >, %, &, \, ?, /", and have up to 512; of a storage account's up to 128.
const NOT_IN_NAMES: &str = r"<>%&\?/";
/// The fewest tags that a kind of resource may have in Azure.
const FEWEST_TAGS: usize = 15;

fn any_inputs() -> impl Strategy<Value = Inputs> {
    let text = prop_oneof!["\\PC{1,40}", "[a-zA-Z0-9:._/ %-]{1,300}"];
    let parts = prop::collection::btree_map(prop::sample::select(InputPart::ALL.to_vec()), text, 0..9);
    parts.prop_map(|parts| parts.into_iter().collect())
}

proptest! {
    #[test]
    fn inputs_come_back_from_tags_and_from_metadata(inputs in any_inputs()) {
        let tags = of_inputs(&inputs);
        prop_assert_eq!(super::inputs(&tags), inputs.clone());
        prop_assert_eq!(inputs_hash(&tags), Some(inputs.hash()));
        let metadata = inputs_metadata(&inputs);
        prop_assert!(metadata.values().all(|value| value.bytes().all(|byte| byte.is_ascii_graphic())));
        prop_assert_eq!(of_inputs_metadata(&metadata), tags);
    }
}

#[test]
fn names_are_those_that_azure_allows() {
    let all: Inputs = InputPart::ALL.into_iter().map(|part| (part, "x")).collect();
    let mut tags = of_inputs(&all);
    assert_eq!(tags.len(), InputPart::ALL.len() + 1);
    for name in tags.keys() {
        assert!(name.len() <= 128 && !name.contains(|letter| NOT_IN_NAMES.contains(letter)), "{name}");
    }
    assert_eq!(tags["FactoryInput.BaseImage"], "x");
    let run = RunId::parse("manual-20261122t170500-ok").unwrap();
    let path = ImagePath::parse("Windows/Server.json").unwrap();
    tags.extend(of_image(&run, &path, OffsetDateTime::UNIX_EPOCH));
    // FactoryKeep too must find a place.
    assert!(tags.len() < FEWEST_TAGS, "{tags:?}");
    for name in inputs_metadata(&all).keys() {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase()), "{name}");
    }
}

#[test]
fn an_image_without_such_tags_has_no_inputs() {
    let tags = BTreeMap::from([(IMAGE_PATH_TAG.to_owned(), "a.json".to_owned())]);
    assert_eq!((inputs_hash(&tags), inputs(&tags).is_empty()), (None, true));
    let damaged = BTreeMap::from([(INPUTS_TAG.to_owned(), "XYZ".to_owned())]);
    assert_eq!(inputs_hash(&damaged), None);
}
