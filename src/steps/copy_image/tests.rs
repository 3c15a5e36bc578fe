use super::*;
use crate::steps::fixtures::{NOW, ago, copy, failed, succeeded, tags_of_run, waiting};

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

fn decided(image: Option<CustomImage>, stands: CopyStands) -> Action {
    decide(image.as_ref(), stands, &copy(), &waiting(1, NOW), NOW)
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
        assert_eq!(decided(None, stands), action);
    }
}

#[test]
fn the_vhd_is_deleted_only_once_its_image_is_registered() {
    assert_eq!(decided(Some(image("Succeeded")), CopyStands::Complete), Action::Done);
    for state in ["Creating", "Updating", "Deleting", ""] {
        let action = decided(Some(image(state)), CopyStands::Complete);
        assert!(matches!(action, Action::Wait { .. }), "{state}: {action:?}");
    }
}

#[test]
fn an_image_that_stands_is_enough_even_if_the_note_that_the_vhd_went_was_lost() {
    for stands in
        [CopyStands::Absent, CopyStands::Failed(Failure::new("CopyFailed", "the copy vanished 3 times"))]
    {
        assert_eq!(decided(Some(image("succeeded")), stands), Action::Done);
    }
}

#[test]
fn an_image_that_failed_fails_the_copy() {
    let action = decided(Some(image("Failed")), CopyStands::Complete);
    assert!(matches!(action, Action::Fail(failure) if failure.code == "CustomImageFailed"));
}

#[test]
fn an_image_of_another_run_is_never_touched() {
    for state in ["Succeeded", "Failed", "Creating"] {
        for tags in [tags_of_run("run-2"), Default::default()] {
            let foreign = CustomImage { tags, ..image(state) };
            let action = decided(Some(foreign), CopyStands::Absent);
            assert!(matches!(action, Action::Fail(failure) if failure.code == "NameTaken"));
        }
    }
}

#[test]
fn looks_at_a_registration_grow_rarer_with_its_time_and_with_its_siblings() {
    let after = |minutes, siblings| {
        let mut state = waiting(1, NOW);
        state.facts.begun_at = Some(ago(minutes));
        let copy = CopyRecord { siblings, ..copy() };
        match decide(Some(&image("Creating")), CopyStands::Absent, &copy, &state, NOW) {
            Action::Wait { after, .. } => after.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([after(0, None), after(60, None), after(600, Some(25))], [60, 120, 300]);
    assert_eq!([after(0, Some(1000)), after(0, Some(100_000))], [80, 203], "2,542 are registered at once");
    let first = |siblings| until_first_look(&CopyRecord { siblings, ..copy() }).as_secs();
    assert_eq!([first(None), first(Some(500)), first(Some(25_000))], [150, 190, 310]);
}

#[test]
fn the_time_in_the_row_is_not_taken_from_the_copys_deadline() {
    let deadline = |siblings, retired_beside| {
        CopyImage.deadline(&CopyRecord { siblings, retired_beside, ..copy() }).as_secs()
    };
    assert_eq!([deadline(None, None), deadline(Some(100), Some(100))], [21_600, 21_600]);
    assert_eq!([deadline(Some(7000), None), deadline(Some(7000), Some(7000))], [23_876, 25_014]);
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
