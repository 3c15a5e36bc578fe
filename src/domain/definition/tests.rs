use proptest::prelude::*;

use super::*;
use crate::domain::config::Severity;

const LAB: &str = "/subscriptions/1d5a4f1e-7c1b-4b8e-9a52-6f0c2a9b3e01/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/factory";
const SYSPREP: &str = "/subscriptions/1d5a4f1e-7c1b-4b8e-9a52-6f0c2a9b3e01/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/factory/artifactSources/public repo/artifacts/windows-sysprep";

/// A template whose VM has these extra or other properties.
fn template(properties: Value) -> Value {
    let mut all = json!({
        "galleryImageReference": {"publisher": "P", "offer": "O", "sku": "S", "osType": "Windows", "version": "latest"},
        "size": "[parameters('size')]",
        "password": "[parameters('password')]",
    });
    for (key, value) in properties.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json",
        "contentVersion": "1.0.0.0",
        "parameters": {
            "newVMName": {"type": "string"}, "LABNAME": {"type": "string"}, "size": {"type": "string"},
            "password": {"type": "securestring"}, "extra.one": {"type": "int", "defaultValue": 3},
        },
        "variables": {"a": [{"artifactId": "x/windows-chrome"}], "t": {"Team": "web"}},
        "resources": [{
            "apiVersion": "2018-10-15-preview",
            "type": "microsoft.devtestlab/labs/virtualMachines",
            "name": "[concat(parameters('labName'), '/', parameters('newVMName'))]",
            "location": "[resourceGroup().location]",
            "properties": all,
        }],
    })
}

fn read_value(value: Value) -> (Content, Problems) {
    let mut problems = Problems::default();
    let content = read(value, &FactorySettings::default(), "GoldenImages/x.json", &mut problems);
    (content, problems)
}

fn definition(value: Value) -> Definition {
    match read_value(value) {
        (Content::Definition(definition), _) => *definition,
        (_, problems) => panic!("{problems}"),
    }
}

fn problem(value: Value) -> (String, String) {
    let (content, problems) = read_value(value);
    assert!(matches!(content, Content::Broken), "{problems}");
    let first = problems.iter().find(|p| p.severity == Severity::Error).unwrap();
    (first.json_path.clone(), first.message.clone())
}

fn values() -> ParameterValues<'static> {
    ParameterValues {
        vm_name: "vm-abc",
        lab_name: "factory",
        size: "S1",
        user_name: "admin",
        password: "[secret]",
    }
}

fn scope() -> Scope {
    Scope {
        subscription_id: "1d5a4f1e-7c1b-4b8e-9a52-6f0c2a9b3e01".to_owned(),
        resource_group: "rg".to_owned(),
        resource_group_location: "westeurope".to_owned(),
        ..Scope::default()
    }
}

/// The prepared template as it was changed, and its VM as Azure would see it.
fn prepared(definition: &Definition, os: OsType) -> (Value, Value) {
    let tags = BTreeMap::from([
        ("ImagePath".to_owned(), "It's/[x]".to_owned()),
        ("FactoryRun".to_owned(), "r1".to_owned()),
    ]);
    let scope = scope();
    let with = Prepare {
        lab_id: LAB,
        artifact_source: "public repo",
        version: None,
        tags: &tags,
        values: values(),
        scope: &scope,
    };
    let template = definition.prepare(os, &with);
    let literals = definition
        .deployment_parameters(&values())
        .into_iter()
        .map(|(name, value)| (name, value["value"].clone()))
        .collect();
    let vm = evaluate(&template, &literals, &scope).unwrap().resources.remove(0).body;
    assert_eq!(vm["tags"]["ImagePath"], "It's/[x]");
    assert_eq!(vm["tags"]["FactoryRun"], "r1");
    (template, vm)
}

fn artifact_ids(vm: &Value) -> Vec<String> {
    let artifacts = vm["properties"]["artifacts"].as_array().unwrap();
    artifacts.iter().map(|artifact| artifact["artifactId"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn only_declared_parameters_are_passed_and_as_they_are_spelled() {
    let definition = definition(template(json!({})));
    assert!(
        definition.declares(FactoryParameter::LabName) && !definition.declares(FactoryParameter::UserName)
    );
    let parameters = Value::Object(definition.deployment_parameters(&values()));
    assert_eq!(
        parameters,
        json!({"newVMName": {"value": "vm-abc"}, "LABNAME": {"value": "factory"}, "size": {"value": "S1"}, "password": {"value": "[secret]"}})
    );
}

#[test]
fn the_generalising_artifact_is_appended_in_every_form() {
    let (_, vm) = prepared(&definition(template(json!({}))), OsType::Windows);
    assert_eq!(artifact_ids(&vm), [SYSPREP]);
    assert_eq!(vm["properties"]["password"], "[secret]");

    let listed = definition(template(
        json!({"Artifacts": [{"artifactId": "x/a", "parameters": [{"name": "p", "value": "[[x]"}]}]}),
    ));
    let (text, vm) = prepared(&listed, OsType::Linux);
    assert!(
        text["resources"][0]["properties"]["Artifacts"][1]["artifactId"]
            .as_str()
            .unwrap()
            .ends_with("/linux-deprovision")
    );
    assert_eq!(text["resources"][0]["properties"]["Artifacts"][0]["parameters"][0]["value"], "[[x]");
    assert_eq!(vm["properties"]["Artifacts"].as_array().unwrap().len(), 2);

    let expression = definition(template(json!({"artifacts": "[variables('a')]"})));
    let (_, vm) = prepared(&expression, OsType::Windows);
    assert_eq!(artifact_ids(&vm), ["x/windows-chrome", SYSPREP]);

    let looped = json!({"copy": [{"name": "artifacts", "count": 2, "input": {"artifactId": "[concat('x/', copyIndex('artifacts'))]"}}]});
    let (_, vm) = prepared(&definition(template(looped)), OsType::Windows);
    assert_eq!(artifact_ids(&vm), ["x/0", "x/1", SYSPREP]);
}

#[test]
fn it_is_not_appended_twice() {
    let id = "[resourceId('Microsoft.DevTestLab/labs/artifactSources/artifacts', parameters('labName'), 'public repo', 'windows-sysprep')]";
    let (_, vm) = prepared(
        &definition(template(json!({"artifacts": [{"artifactId": "x/a"}, {"artifactId": id}]}))),
        OsType::Windows,
    );
    assert_eq!(artifact_ids(&vm), ["x/a", SYSPREP]);
    let mut by_variable = template(json!({"artifacts": "[variables('a')]"}));
    by_variable["variables"]["a"][0]["artifactId"] = "x/Windows-Sysprep".into();
    assert_eq!(artifact_ids(&prepared(&definition(by_variable), OsType::Windows).1).len(), 1);
    // The other system's does not count, nor does one that is not the last.
    let (_, vm) = prepared(
        &definition(template(json!({"artifacts": [{"artifactId": id}, {"artifactId": "x/a"}]}))),
        OsType::Windows,
    );
    assert_eq!(artifact_ids(&vm).len(), 3);
    let (_, vm) = prepared(&definition(template(json!({"artifacts": [{"artifactId": id}]}))), OsType::Linux);
    assert_eq!(artifact_ids(&vm).len(), 2);
}

#[test]
fn tags_are_merged_with_those_of_the_template() {
    let mut tagged = template(json!({}));
    tagged["resources"][0]["tags"] = json!({"imagepath": "old", "Owner": "[parameters('size')]"});
    let (text, vm) = prepared(&definition(tagged), OsType::Windows);
    assert_eq!(vm["tags"]["Owner"], "S1");
    assert_eq!(text["resources"][0]["tags"].as_object().unwrap().len(), 3);
    let mut computed = template(json!({}));
    computed["resources"][0]["tags"] = "[variables('t')]".into();
    let (_, vm) = prepared(&definition(computed), OsType::Windows);
    assert_eq!(vm["tags"]["Team"], "web");
}

/// The image reference that Azure would see once `latest` became a version.
fn pinned(properties: Value, variables: Value) -> Value {
    let mut value = template(properties);
    value["variables"] = variables;
    let (tags, scope) = (BTreeMap::new(), scope());
    let with = Prepare {
        lab_id: LAB,
        artifact_source: "public repo",
        version: Some("1.10.0"),
        tags: &tags,
        values: values(),
        scope: &scope,
    };
    let definition = definition(value);
    let literals = definition.literals(&values());
    let template = definition.prepare(OsType::Windows, &with);
    evaluate(&template, &literals, &scope).unwrap().resources.remove(0).body["properties"].clone()
}

#[test]
fn a_version_takes_the_place_of_latest_however_that_is_written() {
    let expected =
        json!({"publisher": "P", "offer": "O", "sku": "S", "osType": "Windows", "version": "1.10.0"});
    assert_eq!(pinned(json!({}), json!({}))["galleryImageReference"], expected);
    let image = |version: Value| {
        let mut image = expected.clone();
        image["version"] = version;
        image
    };
    for reference in [image("Latest".into()), image("[variables('v')]".into()), image(Value::Null)] {
        let properties = pinned(json!({"galleryImageReference": reference}), json!({"v": "latest"}));
        assert_eq!(properties["galleryImageReference"], expected, "{reference}");
    }
    let whole = json!({"galleryImageReference": "[variables('image')]"});
    assert_eq!(pinned(whole, json!({"image": image("latest".into())}))["galleryImageReference"], expected);
}

#[test]
fn a_version_that_the_definition_names_stays() {
    let reference =
        json!({"publisher": "P", "offer": "O", "sku": "S", "osType": "Windows", "version": "1.9.0"});
    let properties = pinned(json!({"galleryImageReference": reference}), json!({}));
    assert_eq!(properties["galleryImageReference"], reference);
    let shared = json!({"galleryImageReference": null, "sharedImageId": "/x/y"});
    assert_eq!(pinned(shared, json!({}))["sharedImageId"], "/x/y");
}

#[test]
fn only_its_own_base_image_says_a_definitions_version() {
    let definition = definition(template(json!({})));
    for (name, version) in [
        ("P:O:S:1.10.0", Some("1.10.0")),
        ("P:O:S:", None),
        ("P:O:T:1.10.0", None),
        ("/x/customimages/y", None),
    ] {
        assert_eq!(definition.version_in(name), version, "{name}");
    }
}

#[test]
fn nothing_else_of_the_template_changes() {
    let mut original =
        template(json!({"notes": "[[not] touched]", "secret": "[[[adminPassword]]", "path": "a\\b\u{e9}"}));
    original["metadata"] = json!({"x": [1, 2.5, null]});
    let (mut text, _) = prepared(&definition(original.clone()), OsType::Windows);
    let vm = text["resources"][0].as_object_mut().unwrap();
    vm.shift_remove("tags");
    vm["properties"].as_object_mut().unwrap().shift_remove("artifacts");
    assert_eq!(text.to_string(), original.to_string());
}

#[test]
fn the_operating_system_comes_from_the_image() {
    let known = definition(template(
        json!({"galleryImageReference": {"publisher": "P", "offer": "O", "sku": "S", "osType": "[toLower('LINUX')]"}}),
    ));
    assert_eq!(known.os_source(), &OsSource::Known(OsType::Linux));
    let id = json!("[resourceId('Microsoft.DevTestLab/labs/customImages', parameters('labName'), 'base')]");
    let custom = definition(template(json!({"galleryImageReference": null, "customImageId": id})));
    assert_eq!(custom.os_source(), &OsSource::CustomImage(id.clone()));
    assert_eq!(custom.resolve(&id, &values(), &scope()).unwrap(), format!("{LAB}/customImages/base"));
    let shared = definition(template(
        json!({"galleryImageReference": null, "sharedImageId": "/x/y", "sharedImageVersion": "1.0.0"}),
    ));
    assert_eq!(shared.image_source(), &ImageSource::SharedImage("/x/y".into()));
}

#[test]
fn a_vm_inside_its_lab_is_found() {
    let mut nested = template(json!({}));
    let mut vm = nested["resources"][0].take();
    vm["type"] = "virtualmachines".into();
    vm["name"] = "[parameters('newVMName')]".into();
    nested["resources"] = json!([{"type": "Microsoft.DevTestLab/labs", "name": "[parameters('labName')]", "apiVersion": "2018-09-15", "resources": [vm]}]);
    let definition = definition(nested);
    let tags = BTreeMap::new();
    let scope = scope();
    let with = Prepare {
        lab_id: LAB,
        artifact_source: "public repo",
        version: None,
        tags: &tags,
        values: values(),
        scope: &scope,
    };
    let text = definition.prepare(OsType::Windows, &with);
    assert_eq!(text["resources"][0]["resources"][0]["properties"]["artifacts"][0]["artifactId"], SYSPREP);
}

#[test]
fn problems_say_where_and_what() {
    let with = |change: fn(&mut Value)| {
        let mut template = template(json!({}));
        change(&mut template);
        problem(template)
    };
    let (path, message) = with(|t| t["resources"][0]["type"] = "Microsoft.Storage/storageAccounts".into());
    assert!(path == "$.resources" && message.contains("makes no lab VM"), "{message}");
    let (path, message) = with(|t| {
        let again = t["resources"][0].clone();
        t["resources"].as_array_mut().unwrap().push(again);
    });
    assert!(path == "$.resources[1]" && message.contains("more than one"), "{message}");
    let (path, message) = with(|t| t["parameters"]["domain"] = json!({"type": "string"}));
    assert!(path == "$.parameters.domain" && message.contains("add a defaultValue"), "{message}");
    let (path, message) = with(|t| {
        t["parameters"].as_object_mut().unwrap().shift_remove("newVMName");
    });
    assert!(message.contains("newVMName"), "{path} {message}");
    let (path, message) = with(|t| t["resources"][0]["properties"]["notes"] = "[listKeys('x', 'y')]".into());
    assert!(
        path == "$.resources[0].properties.notes" && message.contains("'listKeys' is not valid"),
        "{message}"
    );
    let (path, message) =
        with(|t| t["resources"][0]["properties"]["galleryImageReference"]["osType"] = "BeOS".into());
    assert!(path.ends_with(".galleryImageReference.osType") && message.contains("BeOS"), "{message}");
    let (_, message) = with(|t| t["resources"][0]["properties"]["customImageId"] = "x".into());
    assert!(message.contains("remove one"), "{message}");
    let (_, message) = with(|t| t["resources"][0]["properties"]["galleryImageReference"] = Value::Null);
    assert!(message.contains("made from nothing"), "{message}");
    let (_, message) = with(|t| t["resources"][0]["copy"] = json!({"name": "l", "count": 2}));
    assert!(message.contains("copy loop"), "{message}");
    let (_, message) = with(|t| t["parameters"]["size"]["allowedValues"] = json!(["Standard_D1"]));
    assert!(message.contains("Standard_D2s_v3"), "{message}");
    let (path, _) = with(|t| t["resources"][0]["properties"]["artifacts"] = json!({"a": 1}));
    assert_eq!(path, "$.resources[0].properties.artifacts");
}

#[test]
fn a_password_that_can_be_read_is_warned_of() {
    let mut readable = template(json!({}));
    readable["parameters"]["password"]["type"] = "String".into();
    let (content, problems) = read_value(readable);
    assert!(matches!(content, Content::Definition(_)));
    assert!(problems.iter().any(|p| p.severity == Severity::Warning && p.message.contains("securestring")));
}

#[test]
fn other_files_are_told_by_their_content() {
    let parameters = json!({"$schema": "https://schema.management.azure.com/schemas/2015-01-01/deploymentParameters.json#", "parameters": {}});
    assert!(matches!(read_value(parameters).0, Content::ParametersFile));
    assert!(matches!(read_value(json!({"title": "x"})).0, Content::Other));
    assert!(matches!(read_value(json!([1])).0, Content::Other));
    assert!(matches!(read_value(json!({"resources": []})).0, Content::Broken));
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(
        resource in prop::collection::vec(("type|name|properties|copy|tags|resources|apiVersion", prop_oneof![
            Just(json!("Microsoft.DevTestLab/labs/virtualmachines")), Just(json!([])), Just(json!({})), Just(Value::Null), Just(json!("[x")),
            Just(json!({"artifacts": "[parameters('newVMName')]", "customImageId": "x", "copy": [{"name": "artifacts"}]})), Just(json!(7)),
        ]), 0..7),
        parameters in prop_oneof![Just(json!({"newVMName": {"type": "string"}})), Just(json!([])), Just(json!({"newVMName": 1}))],
    ) {
        let resource: Map<String, Value> = resource.into_iter().collect();
        let _ = read_value(json!({"$schema": "deploymentTemplate", "contentVersion": "1", "parameters": parameters, "resources": [resource]}));
    }
}
