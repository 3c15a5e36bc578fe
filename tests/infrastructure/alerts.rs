//! Alerts ask for what there is to find, and people find what to do.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    sync::{Arc, Mutex},
};

use azure_sim::{
    fault::{ArtifactFault, ArtifactOutcome, HttpEffect, HttpFault},
    latency::Profile,
};
use image_factory::{
    dev::{
        configuration,
        in_process::{InProcess, InProcessOptions},
    },
    domain::{Configuration, ConfigurationFiles, RunId},
    handler::logging,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

use crate::{bicep::Expression, entries, functions, infra, module, root};

const ORIGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// The alerts, by name.
fn alerts() -> Vec<Expression> {
    let module = module("alerts");
    let lists = ["queueAlerts", "logAlerts"].map(|list| match module.variable(list) {
        Expression::Array(alerts) => alerts.clone(),
        other => panic!("{other:?}"),
    });
    lists.concat()
}

fn name(alert: &Expression) -> String {
    alert.at("name").and_then(Expression::text).unwrap().to_owned()
}

#[test]
fn every_alert_has_a_section_in_operations_and_every_section_an_alert() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let sections: BTreeSet<String> = text
        .lines()
        .filter_map(|line| Some(line.strip_prefix("### Alert `")?.trim_end_matches('`').to_owned()))
        .collect();
    assert_eq!(sections, alerts().iter().map(name).collect());
}

#[test]
fn every_query_is_asked_by_an_alert_or_explained() {
    let operations = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let queries = entries(&infra().join("queries"));
    let mut asked = BTreeSet::new();
    for alert in alerts() {
        let Some(query) = alert.at("query") else { continue };
        let Expression::Call(function, path) = query else { panic!("{query:?}") };
        assert_eq!(function, "loadTextContent");
        let file = path[0].text().unwrap().trim_start_matches("../queries/").to_owned();
        assert!(queries.contains(&file), "there is no {file}");
        asked.insert(file);
    }
    for query in queries {
        assert!(asked.contains(&query) || operations.contains(&query), "nobody asks {query}");
    }
}

/// What was written to a log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What `tostring(line.field) == 'text'`, or `startswith`, asks of a line: field and text.
fn conditions(query: &str) -> Vec<(String, String)> {
    let asked = query.split("tostring(line.").skip(1);
    asked
        .filter_map(|rest| {
            let (field, rest) = rest.split_once(')')?;
            let rest = rest.strip_prefix(" == '").or_else(|| rest.strip_prefix(" startswith '"))?;
            Some((field.to_owned(), rest.split_once('\'')?.0.to_owned()))
        })
        .collect()
}

/// The lines of the handler's log while a run and a tick of cleanup go wrong.
fn log_of_a_bad_day() -> Vec<Value> {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(logging::lines(lines.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(bad_day());
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn bad_day() {
    let image = json!({"galleryImageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server",
        "osType": "Linux", "version": "latest"}});
    let template = configuration::lab_vm(&image, &["linux-install-docker"]);
    let labs = json!({"Labs": [{"SubscriptionId": "a0000000-0000-4000-8000-000000000000", "ResourceGroup": "rg-web",
        "LabName": "web", "ImagePaths": ["Linux"]}]});
    let files = [("Labs.json", labs), ("GoldenImages/Linux/Docker.json", template)];
    let files: ConfigurationFiles =
        files.map(|(name, value)| (name.to_owned(), value.to_string())).into_iter().collect();
    let (configuration, problems) = Configuration::load(&files);
    let configuration = configuration.unwrap_or_else(|| panic!("{problems}"));
    let options = InProcessOptions { seed: 1, profile: Profile::default(), files, origin: ORIGIN };
    let factory = InProcess::new(options, &configuration).await.unwrap();
    factory.sim.world().faults.artifacts.push(ArtifactFault {
        vm_part: "Docker".to_owned(),
        artifact_part: "docker".to_owned(),
        outcome: ArtifactOutcome::Fails("exit code 1".to_owned()),
    });
    factory.start_run(&RunId::manual(ORIGIN, "bad").unwrap()).await.unwrap();
    assert!(factory.run_until_settled().await);
    // Cleanup may not look at the VMs of the factory lab.
    let refusal = json!({"error": {"code": "AuthorizationFailed", "message": "no role"}}).to_string();
    factory.sim.world().faults.http.push(HttpFault {
        method: None,
        url_part: "/virtualmachines".to_owned(),
        skip: 0,
        times: 1000,
        effect: HttpEffect::Answer { status: 403, headers: Vec::new(), body: refusal },
    });
    assert!(!factory.instance.clean_up(factory.clock().now()).await, "cleanup did not mind");
}

#[test]
fn queries_of_the_handlers_log_find_lines_that_it_writes() {
    let log = log_of_a_bad_day();
    assert!(log.len() > 10, "{log:?}");
    let mut asked = 0;
    for file in entries(&infra().join("queries")) {
        let query = fs::read_to_string(infra().join("queries").join(&file)).unwrap();
        let conditions = conditions(&query);
        if conditions.is_empty() {
            continue;
        }
        asked += 1;
        let holds = |line: &&Value| {
            conditions
                .iter()
                .all(|(field, text)| line[field].as_str().is_some_and(|own| own.starts_with(text)))
        };
        let found =
            log.iter().find(holds).unwrap_or_else(|| panic!("{file} finds nothing in the log of a bad day"));
        // What it shows is there, too.
        for field in query
            .split("line.")
            .skip(1)
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap())
        {
            assert!(!found[field].is_null(), "{file} shows {field}, which the line lacks: {found}");
        }
        // The words by which lines are narrowed down before they are parsed are in it as well.
        let text = found.to_string();
        for word in query.split("has '").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
            assert!(text.contains(word), "{file}: no {word} in {text}");
        }
    }
    assert_eq!(asked, 3);
}

#[test]
fn queries_name_functions_that_there_are() {
    let functions = functions();
    for file in entries(&infra().join("queries")) {
        let query = fs::read_to_string(infra().join("queries").join(&file)).unwrap();
        for name in query.split("Name == '").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
            assert!(functions.iter().any(|(own, _)| own == name), "{file}: there is no function {name}");
        }
    }
}
