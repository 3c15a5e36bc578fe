use time::macros::datetime;

use super::*;
use crate::domain::messages::ImageStep;

fn traces(ledger: &str) -> Traces {
    Traces::new(ledger, Clock::virtual_from(datetime!(2026-11-22 13:00 UTC)))
}

fn run(id: &str) -> RunId {
    RunId::parse(id).unwrap()
}

fn create_vm() -> Message {
    let image_path = ImagePath::parse("Linux/Docker.json").unwrap();
    Message::first(run("manual-1"), Step::CreateVm(ImageStep { image_path }))
}

/// The trace and the span that an invocation follows upon.
fn parent(traceparent: Option<&str>) -> SpanContext {
    let received = Received { traceparent: traceparent.map(str::to_owned), ..Received::default() };
    traces("https://a/l").processing(&create_vm(), &received).span().span_context().clone()
}

#[test]
fn a_run_has_one_trace_wherever_it_is_asked_for_and_no_other_run_has_it() {
    let ids = |ledger, id| traces(ledger).root(&run(id));
    assert_eq!(ids("https://a/l", "timer-1"), ids("https://a/l/", "timer-1"));
    assert_ne!(ids("https://a/l", "timer-1").trace_id(), ids("https://a/l", "timer-2").trace_id());
    // Two factories, one collector.
    assert_ne!(ids("https://a/l", "timer-1").trace_id(), ids("https://b/l", "timer-1").trace_id());
    assert!(ids("https://a/l", "timer-1").is_valid());
}

#[test]
fn an_invocation_follows_upon_what_sent_its_message() {
    let trace = traces("https://a/l").root(&run("manual-1")).trace_id();
    let sent = parent(Some(&format!("00-{trace}-00f067aa0ba902b7-01")));
    assert_eq!((sent.trace_id(), sent.span_id().to_string().as_str()), (trace, "00f067aa0ba902b7"));
}

#[test]
fn a_message_without_a_usable_context_is_still_of_the_runs_trace() {
    let root = traces("https://a/l").root(&run("manual-1"));
    let strange = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for traceparent in [None, Some(""), Some("00-xyz"), Some("00-0-0-0"), Some("é-é-é-é"), Some(strange)]
    {
        assert_eq!(parent(traceparent), root, "{traceparent:?}");
    }
}

#[test]
fn a_message_takes_the_present_context_along_only_within_its_own_run() {
    let traces = traces("https://a/l");
    let (own, other) = (run("manual-1"), run("manual-2"));
    let trace = traces.root(&own).trace_id();
    let context = format!("00-{trace}-00f067aa0ba902b7-01");
    let received = Received { traceparent: Some(context.clone()), ..Received::default() };
    let _attached = traces.processing(&create_vm(), &received).attach();
    assert_eq!(traces.traceparent(&own), context);
    let root = traces.root(&other);
    assert_eq!(traces.traceparent(&other), format!("00-{}-{}-01", root.trace_id(), root.span_id()));
}
