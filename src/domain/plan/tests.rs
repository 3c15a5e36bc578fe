use time::macros::datetime;

use super::*;
use crate::domain::{ImagePath, InputPart};

const NOW: OffsetDateTime = datetime!(2026-11-22 13:00 UTC);

fn inputs(template: &str) -> Inputs {
    [(InputPart::Template, template), (InputPart::BaseImage, "a:b:c:1.0")].into_iter().collect()
}

fn base_image() -> BaseImage {
    BaseImage::of_marketplace("a", "b", "c", "1.0", OsType::Linux)
}

fn image_of(run: &str) -> ImageName {
    ImageName::derive(&RunId::parse(run).unwrap(), &ImagePath::parse("A.json").unwrap(), NOW)
}

fn captured(template: &str, days: i64) -> CapturedImage {
    CapturedImage {
        image_name: image_of("old"),
        run: RunId::parse("old").unwrap(),
        started_at: NOW - Duration::days(days),
        inputs: inputs(template),
    }
}

fn open(run: &str, template: &str) -> OpenBuild {
    OpenBuild {
        run: RunId::parse(run).unwrap(),
        started_at: NOW - Duration::hours(1),
        image_name: image_of(run),
        hash: Some(inputs(template).hash()),
    }
}

/// The decision about template `x` with these neighbours.
fn decided(newest: Option<&CapturedImage>, open: &[OpenBuild], forced: bool) -> Decision {
    let known = Known { newest, open, forced, rebuild_after: Duration::days(30), now: NOW };
    decide(Ok((&inputs("x"), &base_image())), known)
}

#[test]
fn an_image_is_built_once_and_again_when_it_changes_or_gets_old_or_is_asked_for() {
    assert_eq!(decided(None, &[], false).reason, Reason::NoImage);
    let unchanged = decided(Some(&captured("x", 30)), &[], false);
    assert_eq!(unchanged.action, Action::Keep);
    assert_eq!(unchanged.reason.to_string(), "unchanged since run old");
    assert_eq!(unchanged.reused.unwrap().1, image_of("old"));

    let changed = decided(Some(&captured("y", 1)), &[], false);
    assert_eq!((changed.action, changed.reused), (Action::Build, None));
    assert_eq!(changed.reason.to_string(), "template: y → x");
    let old = decided(Some(&captured("x", 31)), &[], false);
    assert_eq!(old.reason, Reason::TooOld { days: 31, most: 30 });
    assert_eq!(decided(Some(&captured("x", 1)), &[], true).reason, Reason::Forced);
    let unknown = CapturedImage { inputs: Inputs::default(), ..captured("x", 1) };
    assert_eq!(decided(Some(&unknown), &[], false).reason, Reason::UnknownInputs);
}

#[test]
fn what_an_earlier_run_is_building_is_not_built_again_not_even_if_asked_for() {
    for forced in [false, true] {
        let decision = decided(Some(&captured("y", 1)), &[open("first", "z"), open("second", "x")], forced);
        assert_eq!(decision.action, Action::Await);
        assert_eq!(decision.reused.unwrap().1, image_of("second"));
        assert_eq!(decision.supersedes, [RunId::parse("first").unwrap()]);
    }
}

#[test]
fn what_would_be_wrong_when_it_is_done_is_superseded_also_by_an_image_that_stands() {
    let first = [RunId::parse("first").unwrap()];
    assert_eq!(decided(None, &[open("first", "z")], false).supersedes, first);
    let kept = decided(Some(&captured("x", 1)), &[open("first", "z")], false);
    assert_eq!((kept.action, kept.supersedes), (Action::Keep, first.to_vec()));
}

#[test]
fn what_cannot_be_resolved_is_built_and_supersedes_nothing() {
    let newest = captured("x", 1);
    let open = [open("first", "z")];
    let known = Known {
        newest: Some(&newest),
        open: &open,
        forced: false,
        rebuild_after: Duration::days(30),
        now: NOW,
    };
    let decision = decide(Err("the Marketplace has no such image"), known);
    assert_eq!((decision.action, decision.supersedes), (Action::Build, Vec::new()));
    assert_eq!(decision.reason.to_string(), "the Marketplace has no such image");
}
