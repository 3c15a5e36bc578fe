//! Values that the steps' tests share: one build and one copy of one run, and what Azure may say about them.

use std::collections::BTreeMap;

use time::{Duration, OffsetDateTime, macros::datetime};

use crate::{
    azure::{AzureError, Deployment, LabVm},
    domain::{
        FactorySettings, IGNORE_TAG, ImageName, ImagePath, LabId, OsType, Queue, RUN_TAG, RunId, VmName,
    },
    ledger::{BuildRecord, CopyRecord, Ending, Failure, PlannedBuild, StepState},
};

pub const NOW: OffsetDateTime = datetime!(2026-11-22 13:00 UTC);
const GUID: &str = "8d9f1e4a-1111-4222-8333-444455556666";

pub fn ago(minutes: i64) -> OffsetDateTime {
    NOW - Duration::minutes(minutes)
}

pub fn run() -> RunId {
    RunId::parse("run-1").unwrap()
}

pub fn path() -> ImagePath {
    ImagePath::parse("Win2022/Datacenter.json").unwrap()
}

pub fn lab(name: &str) -> LabId {
    LabId::new(GUID, Some("rg"), name).unwrap()
}

/// A build of a run that started an hour ago, for two labs.
pub fn build() -> BuildRecord {
    BuildRecord {
        run: run(),
        run_started_at: ago(60),
        commit: None,
        author: None,
        reason: None,
        plan: PlannedBuild {
            image_path: path(),
            image_name: ImageName::derive(&run(), &path(), ago(60)),
            vm_name: VmName::derive(&run(), &path()),
            labs: vec![lab("one"), lab("two")],
        },
        description: "Windows Server".to_owned(),
        factory_lab: lab("factory"),
        settings: FactorySettings::default(),
        inputs: None,
        reuses: None,
        siblings: None,
        called_off: None,
        steps: BTreeMap::new(),
    }
}

/// That build's copy into the first lab.
pub fn copy() -> CopyRecord {
    let build = build();
    CopyRecord {
        run: build.run,
        run_started_at: build.run_started_at,
        image_path: build.plan.image_path,
        image_name: build.plan.image_name,
        description: build.description,
        os_type: OsType::Windows,
        provenance_url: None,
        lab: lab("one"),
        factory_lab: build.factory_lab,
        settings: build.settings,
        inputs: None,
        made_at: None,
        siblings: None,
        retired_beside: None,
        called_off: None,
        steps: BTreeMap::new(),
    }
}

/// A step that goes on and wants to be woken at `wake_at` by message number `attempt`.
pub fn waiting(attempt: u32, wake_at: OffsetDateTime) -> StepState {
    StepState { attempt, wake_at, ..StepState::begin(ago(60)) }
}

pub fn succeeded(at: OffsetDateTime) -> StepState {
    StepState { ending: Some(Ending::Succeeded), ended_at: Some(at), ..StepState::begin(ago(60)) }
}

pub fn failed(at: OffsetDateTime) -> StepState {
    StepState {
        ending: Some(Ending::Failed { failure: Failure::new("QuotaExceeded", "no more cores") }),
        ..succeeded(at)
    }
}

pub fn with<const N: usize>(steps: [(Queue, StepState); N]) -> BTreeMap<Queue, StepState> {
    BTreeMap::from(steps)
}

pub fn tags_of_run(run: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(RUN_TAG.to_lowercase(), run.to_owned())])
}

pub fn with_ignore(mut tags: BTreeMap<String, String>, value: &str) -> BTreeMap<String, String> {
    tags.insert(IGNORE_TAG.to_uppercase(), value.to_owned());
    tags
}

/// A VM of that run without artifacts.
pub fn vm() -> LabVm {
    LabVm {
        name: "vm".to_owned(),
        id: "/lab/vm".to_owned(),
        tags: tags_of_run("run-1"),
        compute_id: Some("/compute/vm".to_owned()),
        os_type: Some(OsType::Windows),
        provisioning_state: "Succeeded".to_owned(),
        artifacts: Vec::new(),
        artifacts_applied: None,
        artifact_deployment_status: None,
        custom_image_id: None,
        created_date: Some(ago(60)),
        allow_claim: false,
    }
}

pub fn deployment(state: &str) -> Deployment {
    Deployment {
        name: "run-1-vm".to_owned(),
        state: state.to_owned(),
        error: None,
        correlation_id: None,
        timestamp: Some(ago(5)),
    }
}

pub fn refusal(code: &str) -> AzureError {
    AzureError::permanent("PUT deployment", code, "refused")
}

/// A factory for the shipped example, in this process, at [`NOW`]; and how many builds a run of it has. Needs paused time.
#[cfg(feature = "dev")]
pub async fn example() -> (crate::dev::in_process::InProcess, usize) {
    use crate::dev::in_process::{InProcess, InProcessOptions};
    let files =
        crate::source::Directory::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples")).read().unwrap();
    let (configuration, problems) = crate::domain::Configuration::load(&files);
    let configuration = configuration.unwrap_or_else(|| panic!("{problems}"));
    let options = InProcessOptions { seed: 1, profile: Default::default(), files, origin: NOW };
    let builds =
        configuration.subscriptions().iter().filter(|subscription| !subscription.labs.is_empty()).count();
    (InProcess::new(options, &configuration).await.unwrap(), builds)
}
