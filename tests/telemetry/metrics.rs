//! Every metric is told, under the names that the program lists, with the values that the run had.

use std::collections::BTreeSet;

use image_factory::telemetry::names;
use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{HistogramDataPoint, Metric, NumberDataPoint, metric::Data, number_data_point::Value},
};

use crate::{collector::text, told::told};

/// Attributes of a point, and how often it was told or what its number is.
struct Point<'a> {
    attributes: &'a [KeyValue],
    number: f64,
    sum: f64,
}

fn points(metric: &Metric) -> Vec<Point<'_>> {
    let number = |value: &Option<Value>| match value {
        Some(Value::AsDouble(number)) => *number,
        Some(Value::AsInt(number)) => *number as f64,
        None => panic!("a point without a number"),
    };
    match metric.data.as_ref().unwrap() {
        Data::Histogram(found) => {
            let point = |point: &'_ HistogramDataPoint| (point.count as f64, point.sum.unwrap_or_default());
            let all = found.data_points.iter().map(|found| (&found.attributes[..], point(found)));
            all.map(|(attributes, (number, sum))| Point { attributes, number, sum }).collect()
        }
        Data::Sum(found) => numbers(&found.data_points, number),
        Data::Gauge(found) => numbers(&found.data_points, number),
        other => panic!("{other:?}"),
    }
}

fn numbers<'a>(points: &'a [NumberDataPoint], number: impl Fn(&Option<Value>) -> f64) -> Vec<Point<'a>> {
    let point = |point: &'a NumberDataPoint| Point {
        attributes: &point.attributes,
        number: number(&point.value),
        sum: 0.0,
    };
    points.iter().map(point).collect()
}

/// The points of the newest telling of a metric that have these attributes.
fn of(name: &str, wanted: &[(&str, &str)]) -> Vec<Point<'static>> {
    let metric = told().received.metrics.iter().rfind(|metric| metric.name == name);
    let metric = metric.unwrap_or_else(|| panic!("{name} was not told"));
    let is_wanted = |point: &Point<'_>| {
        wanted.iter().all(|(name, value)| text(point.attributes, name).as_deref() == Some(*value))
    };
    points(metric).into_iter().filter(is_wanted).collect()
}

fn total(name: &str, wanted: &[(&str, &str)]) -> f64 {
    of(name, wanted).iter().map(|point| point.number).sum()
}

#[test]
fn every_metric_of_the_list_is_told_and_no_other() {
    let told: BTreeSet<&str> = told().received.metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(told, names::METRICS.iter().copied().collect());
}

#[test]
fn every_attribute_of_the_list_is_used_and_no_other() {
    let told = told();
    let of_spans = told.received.spans.iter().flat_map(|span| &span.attributes);
    let of_metrics = told.received.metrics.iter().flat_map(points).flat_map(|point| point.attributes);
    let used: BTreeSet<&str> = of_spans.chain(of_metrics).map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(used, names::ATTRIBUTES.iter().copied().collect());
}

#[test]
fn steps_are_told_with_their_outcome_and_how_long_they_took() {
    let ended =
        |step, outcome| total(names::STEP_DURATION, &[(names::STEP, step), (names::OUTCOME, outcome)]);
    assert_eq!((ended("create-vm", "succeeded"), ended("create-vm", "failed")), (1.0, 1.0));
    assert_eq!((ended("copy-image", "succeeded"), ended("start-run", "failed")), (2.0, 1.0));
    let run = of(names::STEP_DURATION, &[(names::STEP, "start-run")]);
    assert!(run[0].sum > 1800.0, "{} s", run[0].sum);
    let failures =
        |step, code| total(names::STEP_FAILURES, &[(names::STEP, step), (names::ERROR_TYPE, code)]);
    assert_eq!((failures("create-vm", "ArtifactFailed"), failures("start-run", "ItemsFailed")), (1.0, 1.0));
    assert_eq!(total(names::STEP_FAILURES, &[]), 2.0);
}

#[test]
fn what_azure_throttles_and_what_is_tried_again_is_counted() {
    assert_eq!(total(names::THROTTLES, &[]), 3.0);
    let refused = [(names::HTTP_STATUS, "429")];
    assert_eq!(total(names::CALL_DURATION, &refused), 3.0);
    assert_eq!(total(names::CALL_DURATION, &[]), told().calls.len() as f64);
    assert_eq!(total(names::STEP_RETRIES, &[(names::ERROR_TYPE, "TooManyRequests")]), 3.0);
    assert_eq!(total(names::MESSAGE_REDELIVERIES, &[(names::MESSAGING_DESTINATION, "copy-image")]), 1.0);
    assert_eq!(total(names::MESSAGES_RECOVERED, &[]), 1.0);
}

#[test]
fn messages_are_told_with_how_long_they_waited_and_their_handling_took() {
    let taken = total(names::PROCESS_DURATION, &[]);
    let redelivered = total(names::MESSAGE_REDELIVERIES, &[]);
    assert_eq!(total(names::MESSAGE_WAIT, &[]), taken - redelivered);
    // Nothing else kept the host busy: a second or so, which is as exactly as the host tells.
    let waits = of(names::MESSAGE_WAIT, &[]);
    assert!(waits.iter().all(|point| point.sum <= 2.0 * point.number), "messages waited");
    assert_eq!(total(names::PROCESS_DURATION, &[(names::ERROR_TYPE, "_OTHER")]), 1.0);
}

#[test]
fn labs_are_told_with_their_images_and_how_old_they_are() {
    for lab in ["web", "data"] {
        assert_eq!(total(names::LAB_IMAGES, &[(names::LAB, lab)]), 1.0);
        let age = of(names::LAB_IMAGE_AGE, &[(names::LAB, lab)]);
        // Three ticks after the run, which took hours.
        let [age] = &age[..] else { panic!("{lab}") };
        assert!((60.0..36_000.0).contains(&age.number), "{lab}: {} s", age.number);
    }
    assert_eq!((total(names::RUNS_OPEN, &[]), total(names::LEFTOVERS, &[])), (0.0, 0.0));
}

#[test]
fn whoever_tells_says_who_it_is() {
    for attributes in &told().received.resources {
        assert_eq!(text(attributes, "service.name").as_deref(), Some("image-factory"));
        assert!(
            text(attributes, "service.version").is_some()
                && text(attributes, "service.instance.id").is_some()
        );
    }
}
