//! Alerts ask for what there is to find, and people find what to do.

use std::{collections::BTreeSet, fs};

use crate::{bicep::Expression, entries, infra, module, root};

/// The one query whose rows come from elsewhere: docs/telemetry.md explains it.
const GAUGES: &str = "gauges.kql";

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

/// The parts of the workbook that ask the log.
fn workbook() -> Vec<Expression> {
    match module("workbook").variable("parts") {
        Expression::Array(parts) => parts.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_query_is_asked_by_an_alert_or_the_workbook_or_explained() {
    let operations = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let queries = entries(&infra().join("queries"));
    let mut asked = BTreeSet::new();
    for part in alerts().into_iter().chain(workbook()) {
        let Some(query) = part.at("query") else { continue };
        let Expression::Call(function, path) = query else { panic!("{query:?}") };
        assert_eq!(function, "loadTextContent");
        let file = path[0].text().unwrap().trim_start_matches("../queries/").to_owned();
        assert!(queries.contains(&file), "there is no {file}");
        asked.insert(file);
    }
    for query in queries {
        assert!(asked.contains(&query) || operations.contains(&query), "nobody asks {query}");
    }
    for part in workbook() {
        let Some(Expression::Call(_, path)) = part.at("query") else { panic!("{part:?}") };
        let file = path[0].text().unwrap().trim_start_matches("../queries/");
        let is_explained = operations.contains(&format!("`{file}`")) || file == GAUGES;
        assert!(is_explained, "operations.md does not say what {file} answers");
    }
}
