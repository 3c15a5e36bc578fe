//! What is deployed beside the binary: host.json, functions/ and the sample of the settings agree with the code.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use functions_host::{
    bindings::{AuthorizationLevel, Cardinality, DataType, Functions, Trigger, read_functions},
    config::HostConfig,
    settings::Settings as HostSettings,
};
use serde_json::Value;

use crate::{
    domain::Queue,
    handler::{
        CLEANUP, COMMIT, SCHEDULE, START, Webhooks,
        settings::{self, webhooks},
    },
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sample() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join("local.settings.sample.json")).unwrap();
    let sample: Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(sample["Values"].clone()).unwrap()
}

/// Reads the function app as the host does, from an app root laid out as in the package.
fn app() -> (HostConfig, Functions) {
    let app = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("host.json"), app.path().join("host.json")).unwrap();
    for entry in std::fs::read_dir(root().join("functions")).unwrap() {
        let from = entry.unwrap().path();
        let to = app.path().join(from.file_name().unwrap());
        std::fs::create_dir(&to).unwrap();
        std::fs::copy(from.join("function.json"), to.join("function.json")).unwrap();
    }
    let settings = HostSettings::new(sample());
    let host = HostConfig::read(app.path(), &settings).unwrap();
    let functions = read_functions(app.path(), &host, &settings).unwrap();
    (host, functions)
}

#[test]
fn every_queue_has_its_function_and_so_have_the_timers_and_commits() {
    let (_, functions) = app();
    assert!(functions.skipped.is_empty(), "{:?}", functions.skipped);
    assert!(functions.warnings.is_empty(), "{:?}", functions.warnings);
    let names: BTreeSet<&str> = functions.loaded.iter().map(|function| function.name.as_str()).collect();
    let expected = Queue::ALL.iter().map(|queue| queue.name()).chain([CLEANUP, SCHEDULE, COMMIT, START]);
    assert_eq!(names, expected.collect());
    for function in &functions.loaded {
        match &function.trigger {
            Trigger::ServiceBus(trigger) => {
                assert_eq!(trigger.entity.0, function.name);
                assert_eq!(trigger.name, "message");
                assert_eq!(trigger.data_type, Some(DataType::Binary));
                assert_eq!(trigger.cardinality, Cardinality::One);
                assert_eq!(trigger.connection, settings::SERVICE_BUS);
            }
            Trigger::Timer(trigger) => {
                assert!([CLEANUP, SCHEDULE].contains(&function.name.as_str()) && trigger.name == "timer");
                assert!(trigger.use_monitor && !trigger.run_on_startup);
            }
            // Webhooks bring a proof of their own, everybody else a key, which the host checks.
            Trigger::Http(trigger) => {
                let level = if function.name == COMMIT {
                    AuthorizationLevel::Anonymous
                } else {
                    AuthorizationLevel::Function
                };
                assert_eq!((trigger.auth_level, trigger.name.as_str()), (level, "req"), "{}", function.name);
                assert_eq!(trigger.methods, ["POST"]);
                assert!(function.is_http_in_and_out());
            }
            other => panic!("{}: {other:?}", function.name),
        }
    }
}

#[test]
fn when_the_timers_fire_is_a_setting() {
    for (name, setting) in [(CLEANUP, "%CleanupSchedule%"), (SCHEDULE, "%Schedule%")] {
        let path = root().join("functions").join(name).join("function.json");
        let function: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(function["bindings"][0]["schedule"], setting);
    }
}

#[test]
fn a_functions_folder_holds_nothing_but_function_json() {
    for entry in std::fs::read_dir(root().join("functions")).unwrap() {
        let folder = entry.unwrap().path();
        let files: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["function.json"], "{}", folder.display());
    }
}

#[test]
fn the_host_starts_this_binary_with_time_for_the_slowest_invocation() {
    let (host, _) = app();
    let handler = host.custom_handler;
    assert_eq!(handler.default_executable_path, "image-factory");
    assert_eq!(handler.arguments, ["handler"]);
    assert!(host.function_timeout.unwrap() > crate::handler::INVOCATION_LIMIT);
}

#[test]
fn the_sample_as_it_is_takes_nobodys_commit_events() {
    let mut sample = sample();
    assert!(matches!(Webhooks::read(&sample), Webhooks::NotSetUp(_)));
    // Not even with the repository filled in: what the sample has for secrets everybody knows.
    for repository in ["https://github.com/a/b", "https://dev.azure.com/a/b/_git/c"] {
        sample.insert(settings::source::REPOSITORY.to_owned(), repository.to_owned());
        assert!(matches!(Webhooks::read(&sample), Webhooks::NotSetUp(_)), "{repository}");
    }
}

#[test]
fn the_sample_has_every_setting_that_is_needed_and_none_that_nobody_reads() {
    let sample = sample();
    for needed in [
        settings::LEDGER,
        settings::FACTORY_LAB,
        settings::source::CONFIGURATION,
        settings::SERVICE_BUS_NAMESPACE,
        settings::source::REPOSITORY,
        settings::source::BRANCH,
        webhooks::GITHUB_WEBHOOK_SECRET,
        webhooks::AZURE_DEVOPS_WEBHOOK_SECRET,
        "CleanupSchedule",
        "Schedule",
        "AzureWebJobsStorage",
        "FUNCTIONS_WORKER_RUNTIME",
    ] {
        assert!(sample.contains_key(needed), "{needed}");
    }
    assert_eq!(sample.len(), 12, "{sample:?}");
    let mut referred = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("functions")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path().join("function.json")).unwrap();
        referred.extend(text.split('%').skip(1).step_by(2).map(str::to_owned));
    }
    for name in referred {
        assert!(sample.contains_key(&name), "{name}");
    }
}
