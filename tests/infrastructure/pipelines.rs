//! The pipelines that deploy: they call commands that exist, hand over what `infra/deploy.sh` reads, are pinned, and hold no secret.

use std::{collections::BTreeSet, fs, path::Path};

use clap::Parser as _;
use image_factory::cli::Cli;
use serde_json::{Value, json};

use crate::{infra, root, settings, yaml};

const GITHUB: &str = ".github/workflows/deploy.yml";
const AZURE: &str = "azure-pipelines.yml";
const SCRIPT: &str = "infra/deploy.sh";
/// For the repository with a configuration.
const PULL_REQUEST: &str = "infra/pipelines/pull-request.yml";

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(path: &str) -> Value {
    yaml::read(path, &text(path))
}

/// Every value with this key, wherever it stands.
fn all<'a>(value: &'a Value, key: &str) -> Vec<&'a Value> {
    match value {
        Value::Object(entries) => {
            let own = entries.get(key).into_iter();
            own.chain(entries.values().flat_map(|value| all(value, key))).collect()
        }
        Value::Array(values) => values.iter().flat_map(|value| all(value, key)).collect(),
        _ => Vec::new(),
    }
}

/// The lines that a pipeline runs in a shell.
fn lines(pipeline: &Value) -> Vec<String> {
    let scripts = ["run", "script"].map(|key| all(pipeline, key)).concat();
    let lines = scripts.into_iter().filter_map(Value::as_str).flat_map(str::lines);
    lines.map(|line| line.trim().to_owned()).collect()
}

/// What `cargo run` is to start in these lines: the words after `--`.
fn commands<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Vec<String>> {
    let found = lines.into_iter().filter_map(|line| line.trim().strip_prefix("cargo run --locked -- "));
    found.map(|words| words.split(' ').map(|word| word.trim_matches('"').to_owned()).collect()).collect()
}

/// What stands after an option.
fn after<'a>(command: &'a [String], option: &str) -> Option<&'a str> {
    let at = command.iter().position(|word| word == option)?;
    command.get(at + 1).map(String::as_str)
}

#[test]
fn every_command_that_a_pipeline_or_the_deployment_calls_exists_with_its_options() {
    let script = text(SCRIPT);
    for (path, lines) in [
        (GITHUB, lines(&read(GITHUB))),
        (AZURE, lines(&read(AZURE))),
        (SCRIPT, script.lines().map(str::to_owned).collect()),
    ] {
        let commands = commands(lines.iter().map(String::as_str));
        assert!(commands.iter().any(|command| command[0] == "package"), "{path} packs nothing");
        for command in commands {
            let words = ["image-factory".to_owned()].into_iter().chain(command.clone());
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{path}: {command:?}: {error}");
            }
        }
    }
}

#[test]
fn a_pull_request_is_checked_by_commands_that_exist_with_settings_that_are_read() {
    let workflow = read(PULL_REQUEST);
    let lines = lines(&workflow);
    let commands: Vec<_> = lines.iter().filter(|line| line.starts_with("image-factory ")).collect();
    let names: Vec<_> = commands.iter().filter_map(|command| command.split(' ').nth(1)).collect();
    assert_eq!(names, ["validate", "plan"]);
    for command in commands {
        let words = command.split(' ').map(|word| word.trim_matches('"'));
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
    let known = settings::read_by_the_handler();
    let given = workflow["env"].as_object().unwrap().keys().filter(|name| *name != "RUSTUP_TOOLCHAIN");
    let unknown: Vec<_> = given.filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "nobody reads {unknown:?}");
    assert_eq!(workflow["env"]["RUSTUP_TOOLCHAIN"], read(GITHUB)["env"]["RUSTUP_TOOLCHAIN"]);
}

#[test]
fn both_pipelines_do_the_same_before_they_deploy() {
    let prepared = |path| lines(&read(path)).into_iter().filter(|line| line != SCRIPT).collect::<Vec<_>>();
    assert_eq!(prepared(GITHUB), prepared(AZURE));
    let test = prepared(GITHUB).iter().position(|line| line == "cargo test --locked");
    let pack = prepared(GITHUB).iter().position(|line| line.contains(" package "));
    assert!(test.is_some() && test < pack, "tests come before the package");
}

#[test]
fn what_is_packed_is_tried_out_handed_over_and_deployed() {
    for path in [GITHUB, AZURE] {
        let pipeline = read(path);
        let lines = lines(&pipeline);
        let commands = commands(lines.iter().map(String::as_str));
        let option = |name, option| {
            after(commands.iter().find(|command| command[0] == name).unwrap(), option).unwrap().to_owned()
        };
        let package = option("package", "--out");
        assert_eq!(option("dev", "--package"), package, "{path}");
        let handed_over = match path {
            GITHUB => all(&pipeline, "path"),
            _ => all(&pipeline, "publish"),
        };
        assert_eq!(handed_over, [&json!(package)], "{path}");
        let taken = all(&pipeline, "PACKAGE");
        let [taken] = taken.as_slice() else { panic!("{path}: one PACKAGE, not {taken:?}") };
        assert_eq!(Path::new(taken.as_str().unwrap()).file_name().unwrap(), package.as_str(), "{path}");
    }
}

#[test]
fn a_pipeline_hands_the_deployment_script_exactly_what_it_reads() {
    let script = text(SCRIPT);
    let mut read_by_it: BTreeSet<&str> =
        script.split("${").skip(1).filter_map(|rest| Some(rest.split_once(":?")?.0)).collect();
    assert!(script.contains("${PACKAGE:-}"));
    read_by_it.insert("PACKAGE");
    for path in [GITHUB, AZURE] {
        let pipeline = read(path);
        // The settings of the step, and not those of the whole workflow.
        let settings = all(&pipeline, "env");
        let settings: Vec<_> =
            settings.into_iter().filter(|settings| settings.get("PACKAGE").is_some()).collect();
        let [settings] = settings.as_slice() else { panic!("{path}: {settings:?}") };
        let given: BTreeSet<&str> = settings.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(given, read_by_it, "{path}");
        for (name, value) in settings.as_object().unwrap().iter().filter(|(name, _)| *name != "PACKAGE") {
            let expected = match path {
                GITHUB => format!("${{{{ vars.{name} }}}}"),
                _ => format!("$({name})"),
            };
            assert_eq!(value, &json!(expected), "{path}");
        }
    }
}

#[test]
fn only_the_job_that_deploys_can_become_somebody_in_azure_and_it_needs_no_secret() {
    let workflow = read(GITHUB);
    assert_eq!(workflow["permissions"], json!({"contents": "read"}));
    for (name, job) in workflow["jobs"].as_object().unwrap() {
        let token = &job["permissions"]["id-token"];
        assert_eq!(token == "write", name == "deploy", "{name}: {token}");
        let signs_in =
            all(job, "uses").iter().any(|action| action.as_str().unwrap().starts_with("azure/login@"));
        assert_eq!(signs_in, name == "deploy", "{name}");
    }
    let with: Vec<_> =
        all(&workflow, "with").into_iter().filter(|with| with.get("client-id").is_some()).collect();
    let [with] = with.as_slice() else { panic!("one sign-in, not {with:?}") };
    let keys: Vec<&str> = with.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["client-id", "tenant-id", "subscription-id"]);
    for path in [GITHUB, AZURE, PULL_REQUEST] {
        let text = text(path).to_lowercase();
        for word in ["secrets.", "creds:", "client-secret", "password", "publish-profile", "accountkey"] {
            assert!(!text.contains(word), "{path}: {word}");
        }
    }
    let tasks = all(&read(AZURE), "azureSubscription").len();
    assert_eq!(tasks, 1, "one task uses the service connection");
}

#[test]
fn everything_that_a_pipeline_takes_from_elsewhere_is_pinned() {
    for path in [GITHUB, PULL_REQUEST] {
        let text = text(path);
        let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
        let uses: Vec<_> = lines.filter_map(|line| line.strip_prefix("uses: ")).collect();
        for line in &uses {
            let (action, version) = line.split_once(" # ").unwrap_or_else(|| panic!("{line}: no version"));
            let (_, commit) = action.split_once('@').unwrap();
            let is_hash = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(is_hash, "{path}: {line}: no commit");
            assert!(
                version.starts_with('v') && version.matches('.').count() == 2,
                "{line}: no whole version"
            );
        }
        assert_eq!(uses.len(), all(&read(path), "uses").len(), "{path}");
    }
    for task in all(&read(AZURE), "task") {
        let (_, version) = task.as_str().unwrap().split_once('@').unwrap_or_else(|| panic!("{task}"));
        assert!(version.parse::<u32>().is_ok(), "{task}");
    }
    let systems: Vec<_> = [(GITHUB, "runs-on"), (AZURE, "vmImage"), (PULL_REQUEST, "runs-on")]
        .iter()
        .flat_map(|(path, key)| all(&read(path), key).into_iter().cloned().collect::<Vec<_>>())
        .collect();
    assert!(!systems.is_empty() && systems.iter().all(|system| system == "ubuntu-24.04"), "{systems:?}");
    let requirements = fs::read_to_string(infra().join("pipelines/requirements.txt")).unwrap();
    let packages: Vec<_> = requirements.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(packages.iter().any(|line| line.starts_with("cargo-zigbuild==")));
    for line in packages {
        assert!(line.contains("==") && line.contains(" --hash=sha256:"), "{line}");
    }
}

#[test]
fn the_pipelines_build_with_one_rust_that_is_new_enough() {
    let own = text("Cargo.toml");
    let oldest = own.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    let number = |version: &str| version.split('.').map(|part| part.parse().unwrap()).collect::<Vec<u32>>();
    let github = read(GITHUB)["env"]["RUSTUP_TOOLCHAIN"].as_str().unwrap().to_owned();
    let azure = read(AZURE);
    let azure =
        azure["variables"].as_array().unwrap().iter().find(|variable| variable["name"] == "RUSTUP_TOOLCHAIN");
    assert_eq!(azure.unwrap()["value"], github);
    assert!(number(&github) >= number(oldest), "{github} is older than {oldest}");
    assert_eq!(number(&github).len(), 3, "a whole version, since another one makes other bytes");
}
