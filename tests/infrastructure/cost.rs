//! The costs in docs/operations.md follow from the prices and habits beside them.

use std::{collections::BTreeMap, fs};

use crate::root;

/// The rows of a table, by the words in its first heading and whatever follows.
fn table<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

fn number(text: &str) -> f64 {
    text.replace(',', "").parse().unwrap_or_else(|_| panic!("'{text}' is no number"))
}

fn values(text: &str, heading: &str) -> BTreeMap<String, f64> {
    let rows = table(text, heading);
    assert!(!rows.is_empty(), "there is no table {heading}");
    rows.iter().map(|row| (row[0].to_owned(), number(row[1]))).collect()
}

/// What a month costs, line by line.
fn month(text: &str, usage: &[&str]) -> Vec<(&'static str, f64)> {
    let (prices, habits) = (values(text, "| price |"), values(text, "| habit |"));
    let (price, habit) = (|name: &str| prices[name], |name: &str| habits[name]);
    let [images, labs, messages, blob_calls] = [0, 1, 2, 3].map(|at| number(usage[at]));
    let (builds, copies) = (images * habit("runs"), images * labs * habit("runs"));
    let (stored, million) = (habit("kept") * habit("used GB"), 1_000_000.0);
    let invocations = copies * messages + habit("ticks");
    let operations = copies * messages * habit("operations");
    let above = (operations / million - 13.0).max(0.0);
    vec![
        ("VMs of builds, with their disks", builds * habit("VM hours") * (price("VM") + price("disk"))),
        ("captured VHDs", images * stored * price("VHD")),
        ("images in labs", images * labs * stored * price("image")),
        ("copies between regions", copies * habit("used GB") * habit("foreign share") * price("transfer")),
        ("Service Bus", price("Service Bus") + above * price("operation")),
        (
            "Functions",
            invocations / million * price("execution")
                + invocations * habit("seconds") * habit("instance GB") * price("compute"),
        ),
        ("ledger", copies * blob_calls / 10_000.0 * price("blob call")),
        ("logs", invocations * habit("log KB") / million * price("log")),
        ("alerts", 2.0 * habit("queues") * price("metric alert") + habit("log alerts") * price("log alert")),
    ]
}

fn dollars(value: f64) -> String {
    let whole = value.ceil().to_string();
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn costs_are_as_computed() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let months: Vec<_> =
        table(&text, "| images | labs of each |").iter().map(|usage| month(&text, usage)).collect();
    assert_eq!(months.len(), 3);
    let row = |name: &str, values: &mut dyn Iterator<Item = f64>| {
        format!("| {name} | {} |", values.map(dollars).collect::<Vec<_>>().join(" | "))
    };
    let mut computed: Vec<String> = (0..months[0].len())
        .map(|line| row(months[0][line].0, &mut months.iter().map(|month| month[line].1)))
        .collect();
    let total = |month: &Vec<(&str, f64)>| month.iter().map(|(_, value)| value).sum();
    computed.push(row("**together**", &mut months.iter().map(total)));
    let written: Vec<String> =
        table(&text, "| | 10 images |").iter().map(|cells| format!("| {} |", cells.join(" | "))).collect();
    assert!(written == computed, "docs/operations.md should say:\n{}", computed.join("\n"));
}

#[test]
fn as_many_alerts_and_queues_are_paid_for_as_there_are() {
    let text = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let habits = values(&text, "| habit |");
    let length = |module: &str, variable: &str| match crate::module(module).variable(variable) {
        crate::bicep::Expression::Array(items) => items.len() as f64,
        other => panic!("{other:?}"),
    };
    assert_eq!(length("alerts", "queueAlerts"), 2.0);
    assert_eq!(length("alerts", "logAlerts"), habits["log alerts"]);
    assert_eq!(length("service-bus", "queues"), habits["queues"]);
}
