//! Configurations from nobody who means well: whoever may push to the repository writes them.

use std::path::Path;

use hostile_bytes::{Attack, Grammar};

use super::*;
use crate::domain::{
    OsType,
    definition::{ParameterValues, Prepare},
};

const LAB: &str = "/subscriptions/1d5a4f1e-7c1b-4b8e-9a52-6f0c2a9b3e01/resourceGroups/rg/providers/Microsoft.DevTestLab/labs/f";
const VALUES: ParameterValues<'static> = ParameterValues {
    vm_name: "vm-abc",
    lab_name: "f",
    size: "S1",
    user_name: "admin",
    password: "[secret]",
};

fn example(path: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)).unwrap()
}

/// Loads the configuration with one file changed; refuses it if that file has errors, as `image-factory validate` does.
fn with(file: &str, bytes: &[u8], others: &[(&str, Vec<u8>)]) -> Result<Configuration, String> {
    let mut files: ConfigurationFiles = others.iter().map(|(path, bytes)| (*path, bytes.clone())).collect();
    files.files.insert(file.to_owned(), bytes.to_vec());
    let (configuration, problems) = Configuration::load(&files);
    for problem in problems.iter() {
        assert!(!problem.message.is_empty() && problem.json_path.starts_with('$'), "{problem}");
        let known = problem.file == file
            || problem.file == GOLDEN_IMAGES
            || others.iter().any(|(other, _)| *other == problem.file);
        assert!(known, "a problem without a file: {problem}");
    }
    match problems.errors().next() {
        None => Ok(configuration.expect("without an error there is a configuration")),
        Some(first) => {
            // Nothing else was changed, so that the file or its folder is to blame.
            assert!(first.file == file || first.file == GOLDEN_IMAGES, "{first}");
            Err(first.to_string())
        }
    }
}

fn good_image() -> (&'static str, Vec<u8>) {
    ("GoldenImages/Windows/Server2022.json", image().into_bytes())
}

#[test]
fn no_labs_file_breaks_the_reader() {
    let attack = Attack::on(LABS_FILE, Grammar::Json)
        .sample(example("Labs.json"))
        .sample(labs(&[lab("web", &["Windows"]), lab("data", &["Windows\\server2022.json", "*"])]))
        .words(["ImagePaths", "\"ImagePaths\":[],\"ImagePaths\":[]", "../", "\\\\", "SubscriptionId"]);
    attack.run(|bytes| {
        let configuration = with(LABS_FILE, bytes, &[good_image()])?;
        configuration.subscriptions();
        Ok(())
    });
}

#[test]
fn no_settings_file_breaks_the_reader() {
    let attack = Attack::on(SETTINGS_FILE, Grammar::Json)
        .sample(example("factory.json"))
        .sample("{}")
        .words(["PT1H", "P99999999999D", "-PT1S", "PT0.1S"]);
    let labs = (LABS_FILE, labs(&[lab("web", &["Windows"])]).into_bytes());
    attack.run(|bytes| with(SETTINGS_FILE, bytes, &[labs.clone(), good_image()]).map(drop));
}

#[test]
fn no_template_breaks_the_reader_or_its_preparation() {
    let file = "GoldenImages/Windows/Server2022.json";
    let attack = Attack::on("golden images", Grammar::Json)
        .samples(
            ["Windows/Server2022.json", "Windows/DeveloperWorkstation.json", "Linux/DockerHost.json"]
                .map(|path| example(&format!("GoldenImages/{path}"))),
        )
        .words([
            "[concat(",
            "[parameters('",
            "')]",
            "[variables('",
            "[copyIndex()]",
            "[[",
            "\"copy\":{\"name\":\"x\",\"count\":800}",
        ]);
    let labs = (LABS_FILE, labs(&[lab("web", &["Windows"])]).into_bytes());
    let scope = arm_template::Scope::default();
    attack.run(|bytes| {
        let configuration = with(file, bytes, std::slice::from_ref(&labs))?;
        for definition in configuration.definitions.values() {
            // What is done with a definition that was accepted, up to the evaluation by Azure.
            let with = Prepare {
                lab_id: LAB,
                artifact_source: "public repo",
                version: Some("1.0.0"),
                tags: &BTreeMap::from([("ImagePath".to_owned(), "It's/[x]".to_owned())]),
                values: VALUES,
                scope: &scope,
            };
            let prepared = definition.prepare(OsType::Windows, &with);
            let parameters = definition.deployment_parameters(&VALUES);
            let literals =
                parameters.into_iter().map(|(name, value)| (name, value["value"].clone())).collect();
            if let Err(error) = arm_template::evaluate(&prepared, &literals, &scope) {
                assert!(!error.message.is_empty());
            }
        }
        Ok(())
    });
}

#[test]
fn problems_stay_small_however_long_a_key_is() {
    let key = "k".repeat(1 << 20);
    let twice = "\"a\":1,".repeat(10_000);
    let text = format!("{{\"Labs\":[],\"{key}\":{{{twice}\"a\":1}}}}");
    let (_, problems) = labs_problems(&text);
    let size: usize = problems.iter().map(|problem| problem.json_path.len() + problem.message.len()).sum();
    assert!(problems.has_errors() && size < 4 << 20, "{size} bytes");
}
