//! Queries of infra/queries ask for what the handler writes.

use std::{collections::BTreeSet, fs};

use azure_sim::{
    fault::{ArtifactFault, ArtifactOutcome, HttpEffect, HttpFault},
    latency::Profile,
};
use image_factory::{
    dev::{
        configuration,
        in_process::{InProcess, InProcessOptions},
        log::Log,
    },
    domain::{Configuration, ConfigurationFiles, RunId},
    handler::logging,
    telemetry::names,
};
use serde_json::{Value, json};
use time::{OffsetDateTime, macros::datetime};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::{entries, functions, infra};

const ORIGIN: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);

/// The queries, each with its file's name.
fn queries() -> Vec<(String, String)> {
    let folder = infra().join("queries");
    let read = |file: String| (file.clone(), fs::read_to_string(folder.join(file)).unwrap());
    entries(&folder).into_iter().map(read).collect()
}

/// The word that a text begins with.
fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The words that follow each `mark`.
fn words<'a>(query: &'a str, mark: &'a str) -> impl Iterator<Item = &'a str> {
    query.split(mark).skip(1).map(word)
}

/// Whether a line's own field is as `field) == 'text'`, `field) startswith 'text'` or `field) == number` wants it.
fn holds(line: &Value, condition: &str) -> bool {
    let own = &line[word(condition)];
    let Some((_, wanted)) = condition.split_once(')') else { return true };
    if let Some(text) = wanted.strip_prefix(" == '").or_else(|| wanted.strip_prefix(" startswith '")) {
        let text = text.split('\'').next().unwrap();
        return own.as_str().is_some_and(|own| own.starts_with(text));
    }
    match wanted.strip_prefix(" == ").and_then(|number| word(number).parse::<i64>().ok()) {
        Some(number) => own.as_i64() == Some(number),
        None => true,
    }
}

/// Whether a line is one that a statement of a query finds, with all that it shows.
fn is_found(statement: &str, line: &Value) -> bool {
    let conditions = || statement.split("(line.").skip(1);
    let span = statement.split("(span.name) == '").nth(1).map(word);
    let has_span_with = |field: &str| {
        let spans = line["spans"].as_array().into_iter().flatten();
        spans.into_iter().any(|own| span.is_none_or(|name| own["name"] == name) && !own[field].is_null())
    };
    conditions().all(|condition| holds(line, condition))
        && words(statement, "line.").all(|field| !line[field].is_null())
        && words(statement, "span.").all(has_span_with)
}

/// The lines of the handler's log while a run and a tick of cleanup go wrong.
fn log_of_a_bad_day() -> Vec<Value> {
    let lines = Log::default();
    let subscriber = tracing_subscriber::registry().with(logging::lines(lines.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(bad_day());
    });
    let text = String::from_utf8(lines.bytes()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// An image that comes to its lab, and one that fails and cannot be taken back.
fn files() -> ConfigurationFiles {
    let image = json!({"galleryImageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server",
        "osType": "Linux", "version": "latest"}});
    let template = configuration::lab_vm(&image, &["linux-install-docker"]);
    let labs = json!({"Labs": [{"SubscriptionId": "a0000000-0000-4000-8000-000000000000", "ResourceGroup": "rg-web",
        "LabName": "web", "ImagePaths": ["Linux"]}]});
    let files = [
        ("Labs.json", labs),
        ("GoldenImages/Linux/Docker.json", template.clone()),
        ("GoldenImages/Linux/Server.json", template),
    ];
    files.map(|(name, value)| (name.to_owned(), value.to_string())).into_iter().collect()
}

async fn bad_day() {
    let files = files();
    let (configuration, problems) = Configuration::load(&files);
    let configuration = configuration.unwrap_or_else(|| panic!("{problems}"));
    let options = InProcessOptions { seed: 1, profile: Profile::default(), files, origin: ORIGIN };
    let factory = InProcess::new(options, &configuration).await.unwrap();
    let refusal = |method: Option<&str>, url_part: &str, times, status, code: &str| HttpFault {
        method: method.map(|method| method.parse().unwrap()),
        url_part: url_part.to_owned(),
        skip: 0,
        times,
        effect: HttpEffect::Answer {
            status,
            headers: Vec::new(),
            body: json!({"error": {"code": code, "message": "not so"}}).to_string(),
        },
    };
    {
        let faults = &mut factory.sim.world().faults;
        faults.artifacts.push(ArtifactFault {
            vm_part: "Docker".to_owned(),
            artifact_part: "docker".to_owned(),
            outcome: ArtifactOutcome::Fails("exit code 1".to_owned()),
        });
        faults.http.push(refusal(Some("PUT"), "/deployments/", 2, 429, "TooManyRequests"));
        // A step cannot read its document: its message comes again.
        faults.http.push(refusal(Some("GET"), "/copies/", 1, 403, "AuthorizationPermissionMismatch"));
        faults.http.push(refusal(Some("DELETE"), "Docker", 10_000, 403, "AuthorizationFailed"));
    }
    factory.start_run(&RunId::manual(ORIGIN, "bad").unwrap()).await.unwrap();
    assert!(factory.run_until_settled().await);
    // Now the VM that was left may go.
    factory.sim.world().faults.http.clear();
    assert!(factory.instance.clean_up(factory.clock().now()).await);
    // Cleanup may not look at the VMs of the factory lab.
    factory.sim.world().faults.http.push(refusal(None, "/virtualmachines", 1000, 403, "AuthorizationFailed"));
    assert!(!factory.instance.clean_up(factory.clock().now()).await, "cleanup did not mind");
}

#[test]
fn queries_of_the_handlers_log_find_lines_that_it_writes() {
    let log = log_of_a_bad_day();
    assert!(log.len() > 10, "{log:?}");
    let texts: Vec<String> = log.iter().map(Value::to_string).collect();
    let mut asked = 0;
    for (file, query) in queries() {
        // The words by which lines are narrowed down before they are parsed are in some.
        for part in query.split("has '\"").skip(1).map(|rest| rest.split("\"'").next().unwrap()) {
            let part = format!("\"{part}\"");
            assert!(texts.iter().any(|text| text.contains(&part)), "{file}: no line has {part}");
        }
        for statement in query.split(';').filter(|statement| statement.contains("(line.")) {
            asked += 1;
            let found = log.iter().any(|line| is_found(statement, line));
            assert!(found, "{file} finds nothing in the log of a bad day: {statement}");
        }
    }
    assert!(asked > 10, "{asked}");
}

#[test]
fn a_query_that_asks_for_what_no_line_has_is_noticed() {
    let line = json!({"message": "ended", "step": "copy-image", "status": 429,
        "spans": [{"name": "step", "run": "r"}, {"name": "invocation"}]});
    let found = |statement: &str| is_found(statement, &line);
    assert!(found("tostring(line.message) == 'ended' and tostring(line.step) startswith 'copy'"));
    assert!(found("tolong(line.status) == 429 | project tostring(line.step)"));
    assert!(found("on (where tostring(span.name) == 'step' | project tostring(span.run))"));
    for wrong in [
        "tostring(line.message) == 'Ended'",
        "tolong(line.status) == 428",
        "tostring(line.message) == 'ended' | project line.ending",
        "on (where tostring(span.name) == 'step' | project tostring(span.image))",
        "on (where tostring(span.name) == 'invocation' | project tostring(span.run))",
    ] {
        assert!(!found(wrong), "{wrong}");
    }
}

#[test]
fn queries_name_functions_that_there_are() {
    let functions = functions();
    for (file, query) in queries() {
        for name in query.split(" Name == '").skip(1).map(|rest| rest.split('\'').next().unwrap()) {
            assert!(functions.iter().any(|(own, _)| own == name), "{file}: there is no function {name}");
        }
    }
}

#[test]
fn queries_name_metrics_and_attributes_that_there_are() {
    let mut asked = BTreeSet::new();
    for (file, query) in queries() {
        let texts = query.split('\'').skip(1).step_by(2);
        for name in texts.filter(|text| text.starts_with("image_factory.") || text.starts_with("cloud.")) {
            let is_known = names::METRICS.contains(&name) || names::ATTRIBUTES.contains(&name);
            assert!(is_known, "{file}: there is no {name}");
            asked.insert(name.to_owned());
        }
    }
    // What has one value at a time is shown whole.
    let gauges =
        [names::LAB_IMAGES, names::LAB_IMAGE_AGE, names::QUEUE_AGE, names::RUNS_OPEN, names::LEFTOVERS];
    assert!(gauges.iter().all(|gauge| asked.contains(*gauge)), "{asked:?}");
}
