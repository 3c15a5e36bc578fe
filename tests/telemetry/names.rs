//! What people read and ask by is what there is.

use std::collections::BTreeSet;

use image_factory::telemetry::names;

/// The words in backquotes of a text that are written as names of attributes and metrics are.
fn names_in(text: &str) -> BTreeSet<&str> {
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        let is_whole = word.contains('.') && !word.ends_with('.');
        is_whole && word.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_'))
    };
    quoted.filter(is_name).collect()
}

#[test]
fn the_documents_name_every_attribute_and_metric_and_no_other() {
    let text = include_str!("../../docs/telemetry.md");
    let sections = |from: &str, to: &str| text.split_once(from).unwrap().1.split_once(to).unwrap().0;
    let attributes = names_in(sections("## Attributes", "## Metrics"));
    assert_eq!(attributes, names::ATTRIBUTES.iter().copied().collect());
    let mut metrics = names_in(sections("## Metrics", "## Where to"));
    metrics.retain(|name| !names::ATTRIBUTES.contains(name));
    assert_eq!(metrics, names::METRICS.iter().copied().collect());
}

#[test]
fn the_documents_name_every_span() {
    let text = include_str!("../../docs/telemetry.md");
    for span in names::SPANS {
        assert!(text.contains(&format!("| `{span}`")), "{span}");
    }
}
