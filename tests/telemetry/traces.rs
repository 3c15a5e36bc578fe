//! A run is one connected trace in which everything appears that was done for it.

use std::collections::{BTreeMap, BTreeSet};

use image_factory::{domain::Queue, telemetry::names};
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};

use crate::{
    collector::text,
    told::{Told, told},
};

/// The spans of the run's trace, by their ids.
fn of_run(told: &Told) -> BTreeMap<&[u8], &Span> {
    let spans = told.received.spans.iter().filter(|span| span.trace_id == told.trace);
    spans.map(|span| (&*span.span_id, span)).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    text(&span.attributes, name)
}

fn is_kind(span: &Span, kind: SpanKind) -> bool {
    span.kind == kind as i32
}

#[test]
fn a_whole_run_is_one_connected_trace() {
    let told = told();
    let spans = of_run(told);
    let roots: Vec<_> = spans.values().filter(|span| span.parent_span_id.is_empty()).collect();
    assert_eq!(roots.len(), 1, "{roots:#?}");
    assert_eq!((roots[0].name.as_str(), &roots[0].span_id), (names::RUN_SPAN, &told.root));
    for span in spans.values() {
        let parent = &*span.parent_span_id;
        assert!(parent.is_empty() || spans.contains_key(parent), "nobody knows the parent of {span:#?}");
    }
    // Whatever is about the run is in its trace.
    for span in &told.received.spans {
        if attribute(span, names::RUN).is_some() {
            assert_eq!(span.trace_id, told.trace, "{span:#?}");
            assert_eq!(attribute(span, names::RUN).unwrap(), told.run.as_str());
        }
    }
}

#[test]
fn what_is_not_of_the_run_is_of_ticks_of_cleanup() {
    let told = told();
    let others: Vec<&Span> = told.received.spans.iter().filter(|span| span.trace_id != told.trace).collect();
    let ticks: BTreeSet<&[u8]> =
        others.iter().filter(|span| span.name == "invoke cleanup").map(|span| &*span.trace_id).collect();
    assert!(ticks.len() > 3);
    for span in others {
        assert!(ticks.contains(&*span.trace_id), "{span:#?}");
    }
}

#[test]
fn every_invocation_is_a_span_under_the_one_that_sent_its_message() {
    let told = told();
    let spans = of_run(told);
    let mut queues = BTreeSet::new();
    let mut of_root = 0;
    for span in spans.values().filter(|span| is_kind(span, SpanKind::Consumer)) {
        let queue = attribute(span, names::MESSAGING_DESTINATION).unwrap();
        assert_eq!(span.name, format!("process {queue}"));
        let parent = spans[&*span.parent_span_id];
        match parent.span_id == told.root {
            true => of_root += 1,
            false => {
                assert_eq!(parent.name, format!("send {queue}"));
                assert!(is_kind(parent, SpanKind::Producer));
                assert_eq!(attribute(parent, names::IMAGE), attribute(span, names::IMAGE), "{span:#?}");
            }
        }
        queues.insert(queue);
    }
    // The very first message came without a context, twice or thrice where Azure refused.
    assert!(of_root >= 1);
    let expected = [
        Queue::StartRun,
        Queue::CreateVm,
        Queue::CaptureImage,
        Queue::CopyImage,
        Queue::RetireImages,
        Queue::DeleteVm,
    ];
    assert_eq!(queues, expected.map(|queue| queue.name().to_owned()).into_iter().collect());
    let is_invocation =
        |span: &&Span| is_kind(span, SpanKind::Consumer) || span.name.starts_with(names::INVOKE_SPAN);
    assert_eq!(told.received.spans.iter().filter(is_invocation).count() as u64, told.invocations);
}

#[test]
fn every_call_of_azure_is_a_span_within_an_invocation_and_none_shows_a_query() {
    let told = told();
    let calls: Vec<&Span> =
        told.received.spans.iter().filter(|span| is_kind(span, SpanKind::Client)).collect();
    let mut told_of: Vec<String> = calls
        .iter()
        .map(|span| {
            let method = attribute(span, names::HTTP_METHOD).unwrap();
            format!("{method} {}", attribute(span, names::URL_FULL).unwrap())
        })
        .collect();
    told_of.sort();
    assert_eq!(told_of, told.calls);
    assert!(!told_of.iter().any(|url| url.contains(['?', '#'])));
    for span in calls {
        let parent = told.received.spans.iter().find(|other| other.span_id == span.parent_span_id).unwrap();
        assert!(is_kind(parent, SpanKind::Consumer) || is_kind(parent, SpanKind::Server), "{parent:#?}");
        let within = parent.start_time_unix_nano..=parent.end_time_unix_nano;
        let is_within =
            within.contains(&span.start_time_unix_nano) && within.contains(&span.end_time_unix_nano);
        assert!(is_within, "{span:#?} is not within {parent:#?}");
    }
}

#[test]
fn errors_are_told_as_errors_with_azures_code() {
    let told = told();
    let spans = of_run(told);
    let failed: Vec<&Span> = spans
        .values()
        .filter(|span| span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32))
        .copied()
        .collect();
    let has = |name: &str, error: &str| {
        failed
            .iter()
            .any(|span| span.name == name && attribute(span, names::ERROR_TYPE).as_deref() == Some(error))
    };
    assert!(has("run", "ItemsFailed"), "{failed:#?}");
    assert!(has("process create-vm", "ArtifactFailed"), "{failed:#?}");
    assert!(has("process copy-image", "_OTHER"), "the invocation that was refused by the ledger");
    assert!(failed.iter().any(|span| attribute(span, names::HTTP_STATUS).as_deref() == Some("429")));
    assert!(
        failed
            .iter()
            .any(|span| is_kind(span, SpanKind::Client) && attribute(span, names::HTTP_STATUS).is_none()),
        "the one that was not answered"
    );
    let redelivered = spans
        .values()
        .filter(|span| attribute(span, names::MESSAGING_DELIVERY_COUNT).as_deref() == Some("2"));
    assert_eq!(redelivered.count(), 1);
}

#[test]
fn a_message_that_cleanup_sends_again_is_of_the_runs_trace_and_linked_with_the_tick() {
    let told = told();
    let spans = of_run(told);
    let again: Vec<&&Span> = spans.values().filter(|span| !span.links.is_empty()).collect();
    assert_eq!(again.len(), 1, "{again:#?}");
    assert_eq!((again[0].name.as_str(), &again[0].parent_span_id), ("send delete-vm", &told.root));
    let link = &again[0].links[0];
    let tick = told.received.spans.iter().find(|span| span.span_id == link.span_id).unwrap();
    assert_eq!((tick.name.as_str(), &tick.trace_id), ("invoke cleanup", &link.trace_id));
}

#[test]
fn the_runs_own_span_lasts_as_long_as_the_run_by_the_factorys_clock() {
    let told = told();
    let root = of_run(told)[&*told.root];
    let minutes = (root.end_time_unix_nano - root.start_time_unix_nano) / 60_000_000_000;
    assert!((30..600).contains(&minutes), "{minutes}");
    assert_eq!(attribute(root, names::OUTCOME).as_deref(), Some("failed"));
}
