use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod hostile;

const SUBSCRIPTION: &str = "1d5a4f1e-7c1b-4b8e-9a52-6f0c2a9b3e01";

fn image() -> String {
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"newVMName": {"type": "string"}},
        "resources": [{
            "type": "Microsoft.DevTestLab/labs/virtualmachines", "apiVersion": "2018-09-15", "name": "[concat('lab/', parameters('newVMName'))]",
            "properties": {"galleryImageReference": {"publisher": "P", "offer": "O", "sku": "S", "osType": "Windows", "version": "latest"}},
        }],
    })
    .to_string()
}

fn lab(name: &str, paths: &[&str]) -> Value {
    json!({"ResourceGroup": "rg", "SubscriptionId": SUBSCRIPTION, "LabName": name, "ImagePaths": paths})
}

fn labs(labs: &[Value]) -> String {
    json!({"Labs": labs}).to_string()
}

fn load(files: &[(&str, &str)]) -> (Option<Configuration>, Problems) {
    Configuration::load(&files.iter().copied().collect())
}

/// The problems of a Labs.json beside one good image.
fn labs_problems(labs: &str) -> (Option<Configuration>, Problems) {
    load(&[("Labs.json", labs), ("GoldenImages/Win/A.json", &image())])
}

#[track_caller]
fn assert_problem(problems: &Problems, severity: Severity, file: &str, path: &str, text: &str) {
    let found = problems
        .iter()
        .any(|p| p.severity == severity && p.file == file && p.json_path == path && p.message.contains(text));
    assert!(found, "no {severity} {file} {path} …{text}… among:\n{problems}");
}

fn error(labs: &str, path: &str, text: &str) {
    let (configuration, problems) = labs_problems(labs);
    assert_problem(&problems, Severity::Error, "Labs.json", path, text);
    assert!(configuration.is_none() && problems.has_errors());
}

#[test]
fn a_good_configuration_has_no_problems() {
    let (configuration, problems) =
        labs_problems(&labs(&[lab("web", &["win"]), lab("data", &["Win\\a.json"])]));
    assert!(problems.is_empty(), "{problems}");
    let configuration = configuration.unwrap();
    assert_eq!(configuration.settings, FactorySettings::default());
    let subscriptions = configuration.subscriptions();
    assert_eq!(subscriptions[0].image_path.as_str(), "Win/A.json");
    assert_eq!(subscriptions[0].labs.len(), 2);
}

#[test]
fn keys_of_labs_ignore_case_and_the_group_may_be_absent() {
    let text = format!(
        r#"{{"labs": [{{"subscriptionid": "{SUBSCRIPTION}", "LABNAME": "web", "imagePaths": ["Win"]}}]}}"#
    );
    let (configuration, problems) = labs_problems(&text);
    assert!(problems.is_empty(), "{problems}");
    assert_eq!(configuration.unwrap().labs[0].lab.resource_group(), None);
}

#[test]
fn placeholders_are_called_placeholders() {
    let mut entry = lab("<Name of the DevTest Lab>", &["Win"]);
    entry["SubscriptionId"] = "<Subscription ID>".into();
    let text = labs(&[entry]);
    error(&text, "$.Labs[0].LabName", "the placeholder '<Name of the DevTest Lab>' is still there");
    error(&text, "$.Labs[0].SubscriptionId", "the placeholder '<Subscription ID>' is still there");
    error(&labs(&[lab("web", &["<path>"])]), "$.Labs[0].ImagePaths[0]", "placeholder");
}

#[test]
fn every_problem_of_labs_is_found_in_one_pass() {
    let text = json!({"Labs": [
        {"SubscriptionId": "nonsense", "LabName": "a b", "ImagePaths": "Win", "ResourceGroup": "ends."},
        {"SubscriptonId": SUBSCRIPTION, "LabName": 5, "ImagePaths": ["../x", 7]},
        lab("web", &["Win"]),
        {"SubscriptionId": SUBSCRIPTION.to_uppercase(), "LabName": "WEB", "ImagePaths": []},
        "lab",
    ], "Lab": 1})
    .to_string();
    for (path, part) in [
        ("$.Labs[0].SubscriptionId", "GUID"),
        ("$.Labs[0].LabName", "no name of a lab"),
        ("$.Labs[0].ImagePaths", "must be a list"),
        ("$.Labs[0].ResourceGroup", "no name of a resource group"),
        ("$.Labs[1].SubscriptonId", "did you mean 'SubscriptionId'?"),
        ("$.Labs[1]", "'SubscriptionId' is missing"),
        ("$.Labs[1].LabName", "must be a text"),
        ("$.Labs[1].ImagePaths[0]", "'..'"),
        ("$.Labs[1].ImagePaths[1]", "must be a text"),
        ("$.Labs[3]", "there twice, here and at $.Labs[2]"),
        ("$.Labs[4]", "must be an object"),
        ("$.Lab", "did you mean 'Labs'?"),
    ] {
        error(&text, path, part);
    }
    let (_, problems) = labs_problems(&text);
    assert_problem(&problems, Severity::Warning, "Labs.json", "$.Labs[3].ImagePaths", "receives no image");
}

#[test]
fn broken_json_has_its_line_and_column() {
    error("{\n  \"Labs\": [,]\n}", "$", "line 2 column 12");
    error("", "$", "no valid JSON");
    error("[]", "$", "must be an object");
    error("{}", "$.Labs", "must be a list");
    error(r#"{"Labs": []}"#, "$.Labs", "there is no lab");
}

#[test]
fn keys_that_are_there_twice_are_errors() {
    let entry = lab("web", &["Win"]).to_string();
    error(&format!(r#"{{"Labs": [], "Labs": [{entry}]}}"#), "$.Labs", "there twice");
    error(&format!(r#"{{"labs": [{entry}], "Labs": [{entry}]}}"#), "$.Labs", "there twice");
}

#[test]
fn byte_order_marks_and_utf_16_are_read() {
    let text = labs(&[lab("web", &["Win"])]);
    let wide = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("\u{feff}{text}").encode_utf16().flat_map(bytes).collect()
    };
    for content in [format!("\u{feff}{text}").into_bytes(), wide(u16::to_le_bytes), wide(u16::to_be_bytes)] {
        let files = [
            ("Labs.json", content),
            ("GoldenImages/Win/A.json", format!("\u{feff}{}", image()).into_bytes()),
        ];
        let (configuration, problems) = Configuration::load(&files.into_iter().collect());
        assert!(configuration.is_some() && problems.is_empty(), "{problems}");
    }
    let (_, problems) = Configuration::load(&[("Labs.json", b"{\"\xff".to_vec())].into_iter().collect());
    assert_problem(&problems, Severity::Error, "Labs.json", "$", "no UTF-8");
}

#[test]
fn missing_files_are_errors() {
    let (configuration, problems) = load(&[]);
    assert!(configuration.is_none());
    assert_problem(&problems, Severity::Error, "Labs.json", "$", "missing");
    assert_problem(&problems, Severity::Error, "GoldenImages", "$", "no golden image");
}

#[test]
fn entries_and_images_without_each_other_are_warnings() {
    let (configuration, problems) = load(&[
        ("Labs.json", &labs(&[lab("web", &["Win/B.json", "Wi"])])),
        ("GoldenImages/Win/A.json", &image()),
    ]);
    assert!(configuration.is_some() && !problems.has_errors());
    assert_problem(
        &problems,
        Severity::Warning,
        "Labs.json",
        "$.Labs[0].ImagePaths[0]",
        "did you mean 'Win/A.json'?",
    );
    assert_problem(
        &problems,
        Severity::Warning,
        "Labs.json",
        "$.Labs[0].ImagePaths[1]",
        "selects no golden image",
    );
    assert_problem(&problems, Severity::Warning, "GoldenImages/Win/A.json", "$", "no lab receives");
}

#[test]
fn a_broken_definition_does_not_take_the_others_with_it() {
    let (configuration, problems) = load(&[
        ("Labs.json", &labs(&[lab("web", &["*"])])),
        ("GoldenImages/A.json", &image()),
        ("GoldenImages/Broken.json", "{"),
        ("GoldenImages/Empty.json", r#"{"resources": []}"#),
        ("GoldenImages/a.JSON", &image()),
        (
            "GoldenImages/A.parameters.json",
            r#"{"$schema": "x/deploymentParameters.json#", "parameters": {}}"#,
        ),
        ("GoldenImages/notes.json", r#"{"text": 1}"#),
        ("GoldenImages/readme.md", "x"),
        ("other/x.json", "{"),
    ]);
    let configuration = configuration.unwrap();
    let paths = |paths: Vec<&ImagePath>| paths.iter().map(|p| p.to_string()).collect::<Vec<_>>();
    assert_eq!(paths(configuration.definitions.keys().collect()), ["A.json"]);
    assert_eq!(paths(configuration.broken.keys().collect()), ["Broken.json", "Empty.json"]);
    assert!(configuration.broken.values().all(|problems| !problems.is_empty()));
    assert_problem(&problems, Severity::Error, "GoldenImages/Broken.json", "$", "line 1 column 1");
    assert_problem(&problems, Severity::Error, "GoldenImages/a.JSON", "$", "already");
    assert_problem(&problems, Severity::Warning, "GoldenImages/notes.json", "$", "skipped");
    assert!(!problems.iter().any(|p| p.file.contains("parameters") || p.file.contains("other")));
}

#[test]
fn duplicate_keys_in_templates_are_warnings() {
    let twice =
        image().replacen("\"contentVersion\"", "\"contentVersion\":\"0.0.0.0\",\"contentVersion\"", 1);
    let (configuration, problems) =
        load(&[("Labs.json", &labs(&[lab("web", &["*"])])), ("GoldenImages/A.json", &twice)]);
    assert_problem(&problems, Severity::Warning, "GoldenImages/A.json", "$.contentVersion", "takes the last");
    assert!(configuration.is_some());
}

fn settings(text: &str) -> (Option<Configuration>, Problems) {
    load(&[
        ("Labs.json", &labs(&[lab("web", &["*"])])),
        ("GoldenImages/A.json", &image()),
        ("factory.json", text),
    ])
}

#[test]
fn settings_are_read_and_written_back() {
    let text = json!({
        "factoryLab": {"labName": "factory"}, "vmSize": "Standard_D4s_v5", "imagesToKeep": 5,
        "mostRetiredShare": 0.25, "salt": "2026-11-22", "rebuildAfter": "P7D",
        "deadlines": {"createVm": "05:30:00", "copyImage": "P1D"},
    });
    let (configuration, problems) = settings(&text.to_string());
    assert!(problems.is_empty(), "{problems}");
    let settings = configuration.unwrap().settings;
    assert_eq!(
        (settings.vm_size.as_str(), settings.images_to_keep, settings.user_name.as_str()),
        ("Standard_D4s_v5", 5, "factoryadmin")
    );
    assert_eq!((settings.most_retired_share, FactorySettings::default().most_retired_share), (0.25, 0.5));
    assert_eq!((settings.salt.as_deref(), FactorySettings::default().salt), (Some("2026-11-22"), None));
    assert_eq!(settings.rebuild_after.as_secs(), 7 * 86_400);
    assert_eq!(FactorySettings::default().rebuild_after.as_secs(), 30 * 86_400);
    assert_eq!(settings.deadlines.create_vm.as_secs(), 19_800);
    assert_eq!(settings.deadlines.capture_image.as_secs(), 21_600);
    let written = serde_json::to_value(&settings).unwrap();
    assert_eq!(
        (&written["deadlines"]["createVm"], &written["rebuildAfter"]),
        (&json!("PT5H30M"), &json!("P7D"))
    );
    assert_eq!(serde_json::from_value::<FactorySettings>(written).unwrap(), settings);
}

#[test]
fn every_problem_of_the_settings_is_found_in_one_pass() {
    let text = json!({
        "factoryLab": {"subscriptionId": "x", "lab": "y"}, "vmsizes": "x", "userName": "a/b", "imagesToKeep": 0,
        "salt": " x", "rebuildAfter": "monthly", "deadlines": {"createVm": "soon", "deleteVm": "PT1S", "copyimages": "PT1H"}, "artifactSource": "<source>",
    });
    let (configuration, problems) = settings(&text.to_string());
    assert!(configuration.is_none());
    for (path, part) in [
        ("$.factoryLab.subscriptionId", "GUID"),
        ("$.factoryLab.lab", "did you mean 'labName'?"),
        ("$.vmsizes", "did you mean 'vmSize'?"),
        ("$.userName", "Windows user"),
        ("$.imagesToKeep", "from 1 to 100"),
        ("$.salt", "no white space"),
        ("$.rebuildAfter", "P30D"),
        ("$.deadlines.createVm", "no duration"),
        ("$.deadlines.deleteVm", "out of range"),
        ("$.deadlines.copyimages", "did you mean 'copyImage'?"),
        ("$.artifactSource", "placeholder"),
    ] {
        assert_problem(&problems, Severity::Error, "factory.json", path, part);
    }
}

#[test]
fn a_salt_is_a_short_text_and_an_age_is_days() {
    let first = |text: &str| {
        let (configuration, problems) = settings(text);
        assert_eq!(configuration.is_some(), problems.is_empty(), "{problems}");
        problems.iter().next().map(|problem| problem.message.clone())
    };
    for text in
        [r#"{"salt": "é again"}"#, r#"{"rebuildAfter": "P1D"}"#, r#"{"rebuildAfter": "3650.00:00:00"}"#]
    {
        assert_eq!(first(text), None, "{text}");
    }
    let long = format!(r#"{{"salt": "{}"}}"#, "s".repeat(65));
    for (text, part) in [
        (r#"{"salt": ""}"#, "1 to 64"),
        (r#"{"salt": "a\nb"}"#, "1 to 64"),
        (&long, "1 to 64"),
        (r#"{"salt": 7}"#, "double quotes"),
        (r#"{"rebuildAfter": "PT23H"}"#, "1 day"),
        (r#"{"rebuildAfter": "P3651D"}"#, "10 years"),
        (r#"{"rebuildAfter": 30}"#, "double quotes"),
    ] {
        let message = first(text).unwrap_or_default();
        assert!(message.contains(part), "{text}: {message}");
    }
}

fn folder(root: &Path, below: &str, files: &mut ConfigurationFiles) {
    for entry in std::fs::read_dir(root).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            folder(&entry.path(), &format!("{path}/"), files);
        } else {
            files.files.insert(path, std::fs::read(entry.path()).unwrap());
        }
    }
}

#[test]
fn the_example_is_without_a_problem() {
    let mut files = ConfigurationFiles::default();
    folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples"), "", &mut files);
    let (configuration, problems) = Configuration::load(&files);
    assert!(problems.is_empty(), "{problems}");
    let configuration = configuration.unwrap();
    assert_eq!((configuration.definitions.len(), configuration.labs.len()), (5, 3));
    assert!(configuration.subscriptions().iter().all(|subscription| !subscription.labs.is_empty()));
}

/// Set to write the schemas instead of comparing them.
const WRITE_SCHEMAS: &str = "IMAGE_FACTORY_WRITE_SCHEMAS";

#[test]
fn the_shipped_schemas_are_those_of_the_types() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (name, schema) in [
        ("Labs.schema.json", schemars::schema_for!(LabsFile)),
        ("factory.schema.json", schemars::schema_for!(FactorySettings)),
    ] {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        let path = folder.join(name);
        if std::env::var_os(WRITE_SCHEMAS).is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let shipped = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(shipped == text, "{} is out of date: run the tests with {WRITE_SCHEMAS}=1", path.display());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(labs: Vec<u8>, image: Vec<u8>, settings: Vec<u8>, name in "\\PC{0,12}") {
        let files = [("Labs.json".to_owned(), labs), (format!("GoldenImages/{name}.json"), image), ("factory.json".to_owned(), settings)];
        let _ = Configuration::load(&files.into_iter().collect());
    }

    #[test]
    fn no_file_name_makes_it_panic(name: String) {
        let _ = Configuration::load(&[(name.clone(), "{}"), (format!("GoldenImages/{name}"), "{}")].into_iter().collect());
    }

    #[test]
    fn nearly_right_files_do_not_make_it_panic(cut in 0usize..400, letter: char) {
        let mut text: Vec<char> = labs(&[lab("web", &["*"])]).chars().chain(image().chars()).collect();
        let at = cut % text.len();
        text[at] = letter;
        let text: String = text.into_iter().collect();
        let (a, b) = text.split_at(text.find("{\"$schema").unwrap_or(0));
        let _ = load(&[("Labs.json", a), ("GoldenImages/A.json", b), ("factory.json", a)]);
    }
}
