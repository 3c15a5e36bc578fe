use proptest::prelude::*;
use serde_json::Map;

use super::*;

const FILE: &str = "GoldenImages/x.json";

fn template() -> Value {
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "metadata": {"author": "x"},
        "parameters": {
            "newVMName": {"type": "string", "metadata": {"description": "x"}},
            "labName": {"type": "string"},
            "size": {"type": "string"},
            "userName": {"type": "string"},
            "browser": {"type": "string", "defaultValue": "windows-chrome", "metadata": {"description": "x"}},
        },
        "variables": {"metadata": {"a": 1}},
        "resources": [{
            "apiVersion": "2018-10-15-preview",
            "type": "Microsoft.DevTestLab/labs/virtualmachines",
            "name": "[concat(parameters('labName'), '/', parameters('newVMName'))]",
            "location": "[resourceGroup().location]",
            "comments": "x",
            "metadata": {"x": 1},
            "properties": {
                "galleryImageReference": {"publisher": "P", "offer": "O", "sku": "S", "osType": "Windows", "version": "latest"},
                "size": "[parameters('size')]",
                "userName": "[parameters('userName')]",
                "notes": "for everybody",
                "artifacts": [
                    {"artifactId": "[resourceId('Microsoft.DevTestLab/labs/artifactSources/artifacts', parameters('labName'), 'public repo', parameters('browser'))]"},
                    {
                        "artifactId": "[resourceId('Microsoft.DevTestLab/labs/artifactSources/artifacts', parameters('labName'), 'tools', 'windows-agent')]",
                        "parameters": [{"name": "level", "value": "[parameters('size')]"}],
                    },
                ],
            },
        }],
        "outputs": {"a": {"type": "string", "value": "a", "metadata": {"description": "x"}}},
    })
}

fn definition(template: &Value, settings: &FactorySettings) -> Definition {
    Definition::parse(FILE, template.to_string().as_bytes(), settings).unwrap()
}

fn base_image() -> BaseImage {
    BaseImage::of_marketplace("P", "O", "S", "1.0.0", OsType::Windows)
}

fn inputs_with(template: &Value, settings: &FactorySettings) -> Inputs {
    Inputs::of(&definition(template, settings), settings, &base_image())
}

fn inputs(template: &Value) -> Inputs {
    inputs_with(template, &FactorySettings::default())
}

/// Which parts are other than those of the template as it stands here.
fn changed(change: impl FnOnce(&mut Value)) -> Vec<InputPart> {
    let mut other = template();
    change(&mut other);
    let (old, new) = (inputs(&template()), inputs(&other));
    let changes = new.changes(&old);
    assert_eq!(changes.is_empty(), new.hash() == old.hash(), "{changes:?}");
    changes.into_iter().map(|change| change.part).collect()
}

fn changed_by(change: impl FnOnce(&mut FactorySettings)) -> Vec<InputPart> {
    let mut settings = FactorySettings::default();
    change(&mut settings);
    let changes = inputs_with(&template(), &settings).changes(&inputs(&template()));
    changes.into_iter().map(|change| change.part).collect()
}

#[test]
fn people_can_read_the_parts() {
    let settings = FactorySettings { salt: Some("2026-11-22".to_owned()), ..FactorySettings::default() };
    let inputs = inputs_with(&template(), &settings);
    assert_eq!(inputs.get(InputPart::Template).unwrap().len(), 64);
    let artifacts = inputs.get(InputPart::Artifacts).unwrap();
    assert!(artifacts.starts_with("windows-chrome, tools/windows-agent ("), "{artifacts}");
    assert_eq!(artifacts.len(), "windows-chrome, tools/windows-agent (1f2e3d4c5b6a)".len(), "{artifacts}");
    let rest: Vec<_> = inputs.iter().skip(2).map(|(part, text)| format!("{part}: {text}")).collect();
    assert_eq!(
        rest,
        [
            "operating system: Windows",
            "VM size: Standard_D2s_v3",
            "administrator: factoryadmin",
            "base image: P:O:S:1.0.0",
            "generalised by: windows-sysprep",
            "salt: 2026-11-22"
        ]
    );
    assert_eq!(inputs.hash().as_str().len(), 32);
    assert_eq!(InputsHash::parse(inputs.hash().as_str()), Some(inputs.hash()));
}

#[test]
fn what_resource_manager_ignores_changes_nothing() {
    let nothing: [InputPart; 0] = [];
    assert_eq!(changed(|t| t["contentVersion"] = "2.0.0.0".into()), nothing);
    assert_eq!(changed(|t| t["metadata"] = json!({"author": "y", "more": [1]})), nothing);
    assert_eq!(changed(|t| t["parameters"]["newVMName"]["metadata"] = Value::Null), nothing);
    assert_eq!(changed(|t| t["parameters"]["browser"]["MetaData"] = json!({"a": 1})), nothing);
    assert_eq!(changed(|t| t["resources"][0]["metadata"] = json!({"y": 2})), nothing);
    assert_eq!(changed(|t| t["resources"][0]["comments"] = "y".into()), nothing);
    assert_eq!(changed(|t| t["outputs"]["a"]["metadata"]["description"] = "y".into()), nothing);
}

#[test]
fn formatting_changes_nothing() {
    let settings = FactorySettings::default();
    let pretty = serde_json::to_string_pretty(&template()).unwrap();
    let pretty = Definition::parse(FILE, pretty.as_bytes(), &settings).unwrap();
    assert_eq!(Inputs::of(&pretty, &settings, &base_image()), inputs(&template()));
}

#[test]
fn everything_else_of_the_template_changes_it() {
    use InputPart::{Artifacts, Size, Template};
    assert_eq!(changed(|t| t["resources"][0]["properties"]["notes"] = "for nobody".into()), [Template]);
    assert_eq!(changed(|t| t["variables"]["metadata"]["a"] = 2.into()), [Template]);
    assert_eq!(changed(|t| t["resources"][0]["properties"]["metadata"] = 2.into()), [Template]);
    assert_eq!(changed(|t| t["resources"][0]["properties"]["notes"] = "For everybody".into()), [Template]);
    assert_eq!(changed(|t| t["resources"][0]["apiVersion"] = "2018-09-15".into()), [Template]);
    assert_eq!(
        changed(|t| t["resources"][0]["properties"]["size"] = "Standard_D4s_v3".into()),
        [Template, Size]
    );
    // The parameter's default is of the first artifact's name, which its id does not show.
    let firefox = |t: &mut Value| t["parameters"]["browser"]["defaultValue"] = "windows-firefox".into();
    assert_eq!(changed(firefox), [Template, Artifacts]);
    let swapped =
        |t: &mut Value| t["resources"][0]["properties"]["artifacts"].as_array_mut().unwrap().swap(0, 1);
    assert_eq!(changed(swapped), [Template, Artifacts]);
    let parameter = |t: &mut Value| {
        t["resources"][0]["properties"]["artifacts"][1]["parameters"][0]["value"] = "3".into()
    };
    assert_eq!(changed(parameter), [Template, Artifacts]);
}

#[test]
fn settings_change_what_they_reach() {
    use InputPart::{Artifacts, GeneralisedBy, Salt, Size, UserName};
    // The size is a parameter of an artifact too.
    assert_eq!(changed_by(|s| s.vm_size = "Standard_D4s_v3".to_owned()), [Artifacts, Size]);
    assert_eq!(changed_by(|s| s.user_name = "root2".to_owned()), [UserName]);
    assert_eq!(changed_by(|s| s.artifact_source = "own repo".to_owned()), [GeneralisedBy]);
    assert_eq!(changed_by(|s| s.salt = Some("2".to_owned())), [Salt]);
    let nothing: [InputPart; 0] = [];
    assert_eq!(changed_by(|s| s.images_to_keep = 7), nothing);
    assert_eq!(changed_by(|s| s.deadlines.create_vm *= 2), nothing);
    assert_eq!(changed_by(|s| s.most_retired_share = 1.0), nothing);
}

#[test]
fn a_setting_that_a_definition_does_not_use_does_not_change_it() {
    let mut own = template();
    own["resources"][0]["properties"]["size"] = "Standard_D8s_v3".into();
    own["resources"][0]["properties"]["artifacts"] =
        json!([{"artifactId": "x/artifactSources/own/artifacts/Windows-Sysprep"}]);
    let settings = FactorySettings {
        vm_size: "Standard_D4s_v3".to_owned(),
        artifact_source: "another".to_owned(),
        ..FactorySettings::default()
    };
    let inputs_now = inputs_with(&own, &settings);
    assert_eq!(inputs_now, inputs(&own));
    assert_eq!(inputs_now.get(InputPart::GeneralisedBy), Some("own/Windows-Sysprep"));
}

#[test]
fn the_base_image_changes_it() {
    let settings = FactorySettings::default();
    let definition = definition(&template(), &settings);
    let old = Inputs::of(&definition, &settings, &base_image());
    let newer = BaseImage::of_marketplace("P", "O", "S", "1.1.0", OsType::Windows);
    let changes = Inputs::of(&definition, &settings, &newer).changes(&old);
    assert_eq!(
        changes.iter().map(InputChange::to_string).collect::<Vec<_>>(),
        ["base image: P:O:S:1.0.0 → P:O:S:1.1.0"]
    );
    let linux = BaseImage::of_id("/x/y", Some("1.0"), OsType::Linux);
    let parts: Vec<_> =
        Inputs::of(&definition, &settings, &linux).changes(&old).into_iter().map(|c| c.part).collect();
    assert_eq!(parts, [InputPart::Os, InputPart::BaseImage, InputPart::GeneralisedBy]);
}

#[test]
fn changes_are_told_in_words() {
    let part = |part, text: &str| [(part, text.to_owned())].into_iter().collect::<Inputs>();
    let told =
        |new: &Inputs, old: &Inputs| new.changes(old).iter().map(InputChange::to_string).collect::<Vec<_>>();
    assert_eq!(told(&part(InputPart::Salt, "2"), &Inputs::default()), ["salt: none → 2"]);
    assert_eq!(told(&Inputs::default(), &part(InputPart::Os, "Linux")), ["operating system: Linux → none"]);
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    assert_eq!(
        told(&part(InputPart::Template, &a), &part(InputPart::Template, &b)),
        ["template: bbbbbbbbbbbb → aaaaaaaaaaaa"]
    );
}

#[test]
fn a_long_list_of_artifacts_fits_into_a_tag_and_still_counts() {
    let with = |last: &str| {
        let mut many = template();
        let id = |index: u32| json!({"artifactId": format!("x/artifactSources/public repo/artifacts/windows-tool-{index}")});
        let mut items: Vec<_> = (0..40).map(id).collect();
        items.push(json!({"artifactId": last}));
        many["resources"][0]["properties"]["artifacts"] = items.into();
        inputs(&many).get(InputPart::Artifacts).unwrap().to_owned()
    };
    let (one, other) = (with("x/a"), with("x/b"));
    assert!(one != other && one.chars().count() == LONGEST_PART, "{one}");
    assert!(one.starts_with("windows-tool-0, windows-tool-1, "), "{one}");
}

#[test]
fn names_cannot_pretend_to_be_two_artifacts() {
    let with = |artifacts: Value| {
        let mut other = template();
        other["resources"][0]["properties"]["artifacts"] = artifacts;
        inputs(&other).get(InputPart::Artifacts).map(str::to_owned)
    };
    let id = |name: &str| json!({"artifactId": format!("x/artifactSources/public repo/artifacts/{name}")});
    assert_ne!(with(json!([id("a, b")])), with(json!([id("a"), id("b")])));
    assert_eq!(with(json!([])), None);
    assert_eq!(with(json!([{"artifactId": "odd"}])).as_deref(), Some("odd"));
    let unnamed = with(json!([{"artifactTitle": "x"}])).unwrap();
    assert_ne!(unnamed, with(json!([{"artifactTitle": "y"}])).unwrap());
}

#[test]
fn documents_of_newer_versions_are_read() {
    let read: Inputs = serde_json::from_value(json!({"baseImage": "x", "kernel": "6.1"})).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), json!({"baseImage": "x"}));
    assert!(serde_json::from_value::<Inputs>(json!({"salt": 7})).is_err());
}

#[test]
fn a_hash_has_32_hex_digits() {
    for text in [
        "",
        "0123456789abcdef0123456789abcde",
        "0123456789ABCDEF0123456789ABCDEF",
        "g123456789abcdef0123456789abcdef",
    ] {
        assert_eq!(InputsHash::parse(text), None, "{text}");
    }
}

/// The same value with the keys of all its objects in the order that `turn` gives.
fn reordered(value: &Value, turn: usize) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<_> =
                entries.iter().map(|(key, value)| (key.clone(), reordered(value, turn))).collect();
            let length = entries.len().max(1);
            entries.rotate_left(turn % length);
            if turn % 2 == 1 {
                entries.reverse();
            }
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| reordered(item, turn)).collect(),
        other => other.clone(),
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~é]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-zA-Z]{1,4}", inner, 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_order_of_keys_changes_nothing(turn in 0_usize..12) {
        prop_assert_eq!(inputs(&reordered(&template(), turn)), inputs(&template()));
    }

    #[test]
    fn values_have_one_hash_if_and_only_if_they_are_the_same(a in any_json(), b in any_json(), turn in 0_usize..12) {
        let hash = |value: &Value| canonical::digits(value, 64);
        prop_assert_eq!(hash(&a), hash(&reordered(&a, turn)));
        prop_assert_eq!(hash(&a) == hash(&b), a == b);
    }

    #[test]
    fn what_stands_in_properties_counts(value in any_json()) {
        let mut other = template();
        other["resources"][0]["properties"]["notes"] = json!([value]);
        prop_assert_ne!(canonical::template_hash(&other), canonical::template_hash(&template()));
    }

    #[test]
    fn any_text_becomes_a_part_that_fits(text in "\\PC{0,600}", part in prop::sample::select(InputPart::ALL.to_vec())) {
        let inputs: Inputs = [(part, text.clone())].into_iter().collect();
        let kept = inputs.get(part).unwrap_or_default();
        prop_assert!(kept.chars().count() <= LONGEST_PART);
        prop_assert!(text.chars().count() > LONGEST_PART || kept == text);
        let document = serde_json::to_string(&inputs).unwrap();
        prop_assert_eq!(serde_json::from_str::<Inputs>(&document).unwrap(), inputs);
    }

    #[test]
    fn no_artifacts_make_it_panic(value in any_json()) {
        let _ = (artifacts::list(&value), artifacts::generalising(&value, OsType::Linux, &FactorySettings::default()));
    }
}
