use super::*;
use crate::azure::CopyStatus;
use crate::steps::fixtures::{NOW, ago, blob, copy, failed, succeeded, tags_of_run, waiting};

fn image(state: &str) -> CustomImage {
    CustomImage {
        name: "image".to_owned(),
        id: "/lab/image".to_owned(),
        tags: tags_of_run("run-1"),
        provisioning_state: state.to_owned(),
        creation_date: None,
        os_type: None,
        managed_image_id: None,
        managed_snapshot_id: None,
        vhd_url: None,
        description: None,
    }
}

fn decided(image: Option<CustomImage>, vhd: Option<CopyStatus>, stands: CopyStands) -> Action {
    let vhd = vhd.map(blob);
    decide(image.as_ref(), vhd.as_ref(), stands, &copy(), &waiting(1, NOW), NOW)
}

#[test]
fn without_an_image_the_vhd_decides() {
    let broken = Failure::new("CopyFailed", "three times");
    let goes = CopyStands::Goes { after: Duration::from_secs(7), progress: "half".to_owned() };
    let half = Action::Wait { after: Duration::from_secs(7), waiting_for: "half".to_owned() };
    for (stands, action) in [
        (CopyStands::Absent, Action::StartCopy),
        (goes, half),
        (CopyStands::Complete, Action::Register),
        (CopyStands::Broken, Action::DeleteBroken),
        (CopyStands::Failed(broken.clone()), Action::Fail(broken)),
    ] {
        assert_eq!(decided(None, None, stands), action);
    }
}

#[test]
fn the_vhd_is_deleted_only_once_its_image_is_registered() {
    let done = |vhd_stands| Action::Done { vhd_stands };
    let success = Some(CopyStatus::Success);
    assert_eq!(decided(Some(image("Succeeded")), success, CopyStands::Complete), done(true));
    for state in ["Creating", "Updating", "Deleting", ""] {
        let action = decided(Some(image(state)), success, CopyStands::Complete);
        assert!(matches!(action, Action::Wait { .. }), "{state}: {action:?}");
    }
}

#[test]
fn an_image_that_stands_is_enough_even_if_the_note_that_the_vhd_went_was_lost() {
    for stands in
        [CopyStands::Absent, CopyStands::Failed(Failure::new("CopyFailed", "the copy vanished 3 times"))]
    {
        assert_eq!(decided(Some(image("succeeded")), None, stands), Action::Done { vhd_stands: false });
    }
}

#[test]
fn an_image_that_failed_fails_the_copy() {
    let action = decided(Some(image("Failed")), Some(CopyStatus::Success), CopyStands::Complete);
    assert!(matches!(action, Action::Fail(failure) if failure.code == "CustomImageFailed"));
}

#[test]
fn an_image_of_another_run_is_never_touched() {
    for state in ["Succeeded", "Failed", "Creating"] {
        for tags in [tags_of_run("run-2"), Default::default()] {
            let foreign = CustomImage { tags, ..image(state) };
            let action = decided(Some(foreign), None, CopyStands::Absent);
            assert!(matches!(action, Action::Fail(failure) if failure.code == "NameTaken"));
        }
    }
}

#[test]
fn looks_at_a_registration_grow_rarer_from_when_it_was_begun() {
    let after = |minutes| {
        let mut state = waiting(1, NOW);
        state.facts.begun_at = Some(ago(minutes));
        match decide(Some(&image("Creating")), None, CopyStands::Absent, &copy(), &state, NOW) {
            Action::Wait { after, .. } => after.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([after(0), after(10), after(300)], [10, 20, 30]);
}

#[test]
fn only_an_image_that_stands_makes_older_ones_retire() {
    let follow_ups = CopyImage.follow_ups(&copy(), &succeeded(NOW), 7);
    let [message] = follow_ups.as_slice() else { panic!("{follow_ups:?}") };
    assert_eq!(message.attempt, 1);
    assert!(matches!(&message.step, Step::RetireImages(step) if step.lab == Some(copy().lab)));
    for state in [failed(NOW), waiting(2, NOW)] {
        assert_eq!(CopyImage.follow_ups(&copy(), &state, 1), []);
    }
}
