use super::*;

/// A run of so many planned builds with these listings.
fn standing(planned: usize, builds: &[Entry], copies: &[Entry]) -> Standing {
    let mut standing = Standing { builds: planned, ..Standing::default() };
    builds.iter().for_each(|build| standing.add_build(build));
    copies.iter().for_each(|copy| standing.add_copy(copy));
    standing
}

fn entry(status: ItemStatus, copies: Option<usize>) -> Entry {
    Entry { key: Key::run(&RunId::parse("r").unwrap()), status, wake_at: None, ended_at: None, copies }
}

#[test]
fn a_run_is_over_when_every_copy_of_every_captured_build_ended() {
    let builds = [entry(ItemStatus::Succeeded, Some(2)), entry(ItemStatus::Failed, None)];
    let copy = || entry(ItemStatus::Succeeded, None);
    assert!(!standing(2, &builds, &[copy()]).is_over(), "one copy was not even begun");
    assert!(!standing(2, &builds, &[copy(), entry(ItemStatus::Open, None)]).is_over());
    let over = standing(2, &builds, &[copy(), copy()]);
    assert!(over.is_over());
    assert_eq!(over.to_string(), "2 images (0 open, 1 failed), 2 copies (0 open, 0 failed)");
}

#[test]
fn factory_json_names_the_factory_lab_and_the_app_setting_fills_it_up() {
    let guid = "8d9f1e4a-1111-4222-8333-444455556666";
    let default = LabId::new(guid, Some("rg"), "factory").unwrap();
    let mut settings = FactorySettings::default();
    assert_eq!(factory_lab(&settings, Some(&default)), Ok(default.clone()));
    assert!(factory_lab(&settings, None).unwrap_err().message.contains("IMAGE_FACTORY_LAB"));
    settings.factory_lab.lab_name = Some("other".to_owned());
    let other = factory_lab(&settings, Some(&default)).unwrap();
    assert_eq!((other.lab_name(), other.subscription_id(), other.resource_group()), ("other", guid, None));
}

#[test]
fn a_planned_build_whose_document_is_missing_keeps_the_run_open() {
    let one = [entry(ItemStatus::Succeeded, Some(0))];
    assert!(standing(1, &one, &[]).is_over());
    let standing = standing(2, &one, &[]);
    assert!(!standing.is_over() && standing.is_over_but_for_missing());
    assert_eq!(standing.to_string(), "2 images (1 open, 0 failed), 0 copies (0 open, 0 failed)");
}

#[test]
fn a_run_outlives_the_deadlines_of_its_steps() {
    let mut record = record();
    assert_eq!(Run.deadline(&record).as_secs(), 36 * 3600);
    record.settings.deadlines.create_vm = Duration::from_secs(48 * 3600);
    assert!(Run.deadline(&record) > Duration::from_secs(48 * 3600));
}

#[test]
fn the_builds_are_begun_by_the_turn_that_wrote_their_documents_whatever_its_number() {
    let record = record();
    for attempt in [1, 2, 9] {
        let messages = |begun, ending| {
            let mut state = StepState { ending, ..StepState::begin(record.started_at) };
            state.facts.begun = begun;
            Run.follow_ups(&record, &state, attempt).len()
        };
        assert_eq!([PLANNED, FANNED_OUT, WATCHED].map(|begun| messages(begun, None)), [0, 1, 0]);
        assert_eq!(messages(FANNED_OUT, Some(Ending::Succeeded)), 0);
    }
}

fn record() -> RunRecord {
    let build = crate::steps::fixtures::build();
    RunRecord {
        run: build.run,
        reason: crate::domain::RunReason::Manual,
        commit: None,
        started_at: build.run_started_at,
        factory_lab: Some(build.factory_lab),
        settings: build.settings,
        approve_retirement: false,
        warnings: Vec::new(),
        builds: vec![RunBuild {
            lab_count: build.plan.labs.len(),
            image_path: build.plan.image_path,
            image_name: build.plan.image_name,
            vm_name: build.plan.vm_name,
        }],
        labs: build.plan.labs,
        steps: BTreeMap::new(),
    }
}

#[cfg(feature = "dev")]
#[tokio::test(start_paused = true)]
async fn trouble_while_the_builds_are_written_down_loses_none_of_them() {
    use azure_sim::control::{FaultsSpec, HttpFaultSpec, set_faults};

    for url_part in ["/runs/", "/builds/", "/definitions/"] {
        let (example, builds) = crate::steps::fixtures::example().await;
        let trouble = HttpFaultSpec {
            method: Some("PUT".to_owned()),
            url_part: url_part.to_owned(),
            times: Some(1),
            status: Some(503),
            ..Default::default()
        };
        let faults = FaultsSpec { http: vec![trouble], ..Default::default() };
        set_faults(&example.sim, &faults);
        let start = StartRun {
            reason: crate::domain::RunReason::Manual,
            commit: None,
            only: None,
            force: false,
            approve_retirement: false,
        };
        let sent = || example.messages();
        let first = Message::first(RunId::parse("run-1").unwrap(), Step::StartRun(start));
        example.factory.handle(&first).await.unwrap();
        assert_eq!(sent(), 1, "{url_part}: the run's next message alone");
        example.factory.handle(&first.numbered(2)).await.unwrap();
        assert_eq!(sent(), 2 + builds as u64, "{url_part}: now the builds' first ones too");
        let listed = example.factory.ledger.builds(&first.run).await.unwrap();
        assert_eq!(listed.len(), builds, "{url_part}");
    }
}
