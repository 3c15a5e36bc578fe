//! The log beside the traces.

use image_factory::telemetry::names;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;

use crate::{collector::text, told::told};

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The field of a line's spans.
fn of_spans<'a>(line: &'a Value, field: &str) -> Option<&'a str> {
    line["spans"].as_array()?.iter().find_map(|span| span[field].as_str())
}

/// Whether it is no library's.
fn is_ours(line: &Value) -> bool {
    line["target"].as_str().is_some_and(|target| target.starts_with("image_factory"))
}

#[test]
fn every_line_about_a_run_names_its_trace_and_a_span_in_it() {
    let told = told();
    let trace = hexadecimal(&told.trace);
    let of_run: Vec<&Value> = told
        .lines
        .iter()
        .filter(|line| is_ours(line) && of_spans(line, "run") == Some(told.run.as_str()))
        .collect();
    assert!(of_run.len() > 50, "{}", of_run.len());
    for line in &of_run {
        assert_eq!(line["trace_id"], trace, "{line}");
        let id = line["span_id"].as_str().unwrap();
        let span = told.received.spans.iter().find(|span| hexadecimal(&span.span_id) == id);
        let span = span.unwrap_or_else(|| panic!("nobody told of the span of {line}"));
        let about = |name| text(&span.attributes, name);
        assert_eq!(about(names::IMAGE).as_deref(), of_spans(line, "image"), "{line}");
        assert_eq!(about(names::LAB).as_deref(), of_spans(line, "lab"), "{line}");
    }
    assert!(of_run.iter().any(|line| of_spans(line, "lab").is_some()));
}

#[test]
fn a_refusal_is_logged_with_azures_correlation_id_under_which_its_span_has_it_too() {
    let told = told();
    let refusals: Vec<&Value> = told
        .lines
        .iter()
        .filter(|line| line["message"] == "Azure refused" && line["status"] == 429)
        .collect();
    assert_eq!(refusals.len(), 3);
    for line in refusals {
        let id = line["correlation"].as_str().unwrap();
        let of_call = |span: &&Span| text(&span.attributes, names::AZURE_REQUEST_ID).as_deref() == Some(id);
        assert!(told.received.spans.iter().any(|span| of_call(&span)), "{line}");
    }
}
