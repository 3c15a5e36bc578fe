//! Asynchronous operations: what goes on after a 201 or 202, and the signed URLs under which it is asked for.
//!
//! DevTest Labs' URLs are recorded in Azure/azure-cli (test_lab_custom_image.yaml): 3 to 4 KB long, because they carry a
//! certificate, with an api-version of their own; they must be followed as they are.

use std::collections::{BTreeMap, VecDeque};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

use super::{
    call::{Answer, Call},
    deployments,
    error::ArmError,
};
use crate::{World, chaos::Missing};

/// Operations are forgotten after this; whoever still polls gets 404 and must look at the resource.
const REMEMBERED: Duration = Duration::hours(24);
/// DevTest Labs' own api-version in operation URLs.
const LABS_API_VERSION: &str = "2018-10-15-preview";
/// Compute's api-version in operation URLs.
const COMPUTE_API_VERSION: &str = "2023-10-02";
/// Resource Manager's own api-version in operation URLs.
const RESOURCES_API_VERSION: &str = "2021-04-01";
/// What Resource Manager tells those who wait for a deletion, in seconds.
const RESOURCES_RETRY_AFTER: &str = "15";
/// .NET ticks (100 ns) from year 1 to 1970.
const TICKS_TO_1970: i128 = 621_355_968_000_000_000;
/// The recorded certificate parameter has about this many characters.
const CERTIFICATE_LENGTH: usize = 2900;
/// What Compute tells pollers to wait, in seconds.
pub(crate) const COMPUTE_RETRY_AFTER: &str = "3";

/// Who works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    DevTestLab,
    ComputeDisks,
    ComputeMachines,
    Resources,
}

impl Provider {
    fn path(self) -> (&'static str, &'static str) {
        match self {
            Self::DevTestLab => ("Microsoft.DevTestLab", "operations"),
            Self::ComputeDisks => ("Microsoft.Compute", "DiskOperations"),
            Self::ComputeMachines => ("Microsoft.Compute", "operations"),
            Self::Resources => ("Microsoft.Resources", "operationresults"),
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::DevTestLab => LABS_API_VERSION,
            Self::ComputeDisks | Self::ComputeMachines => COMPUTE_API_VERSION,
            Self::Resources => RESOURCES_API_VERSION,
        }
    }
}

#[derive(Clone, Debug)]
enum Status {
    Running,
    Succeeded(Option<Value>),
    Failed(ArmError),
    Canceled,
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    provider: Provider,
    subscription: String,
    location: String,
    started: OffsetDateTime,
    ended: Option<OffsetDateTime>,
    secret: String,
    status: Status,
    /// The deployment that goes on when this ends, and the resource of it.
    waiter: Option<deployments::Waiter>,
    missing: Missing,
}

/// All operations that are remembered.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    by_name: BTreeMap<String, Operation>,
    in_order: VecDeque<(OffsetDateTime, String)>,
    certificate: String,
}

/// Begins an operation; answers its name.
pub(crate) fn begin(world: &mut World, provider: Provider, subscription: &str, location: &str) -> String {
    let now = world.now();
    let guid = world.new_guid();
    let name = match provider {
        Provider::DevTestLab => {
            format!("{:04}{:02}{:02}-{guid}", now.year(), u8::from(now.month()), now.day())
        }
        _ => guid.to_string(),
    };
    let secret = world.new_guid().to_string();
    let operations = &mut world.arm.operations;
    while operations.in_order.front().is_some_and(|(started, _)| *started + REMEMBERED < now) {
        if let Some((_, old)) = operations.in_order.pop_front() {
            operations.by_name.remove(&old);
        }
    }
    operations.in_order.push_back((now, name.clone()));
    let operation = Operation {
        provider,
        subscription: subscription.to_owned(),
        location: location.to_owned(),
        started: now,
        ended: None,
        secret,
        status: Status::Running,
        waiter: None,
        missing: Missing::default(),
    };
    operations.by_name.insert(name.clone(), operation);
    name
}

/// Lets a deployment wait for an operation; `false` if it already ended.
pub(crate) fn wait(world: &mut World, name: &str, waiter: deployments::Waiter) -> bool {
    match world.arm.operations.by_name.get_mut(name) {
        Some(operation) if matches!(operation.status, Status::Running) => {
            operation.waiter = Some(waiter);
            true
        }
        _ => false,
    }
}

/// Ends an operation; whatever waits for it goes on. An operation that already ended stays as it is.
pub(crate) fn end(world: &mut World, name: &str, result: Result<Option<Value>, ArmError>) {
    let failure = result.as_ref().err().cloned();
    let status = match result {
        Ok(output) => Status::Succeeded(output),
        Err(error) => Status::Failed(error),
    };
    finish(world, name, status, failure);
}

/// Ends an operation because something else overtook it, such as the deletion of its resource.
pub(crate) fn cancel(world: &mut World, name: &str) {
    let error = ArmError::new(409, "OperationPreempted", "The operation was preempted by a later operation.");
    finish(world, name, Status::Canceled, Some(error));
}

fn finish(world: &mut World, name: &str, status: Status, failure: Option<ArmError>) {
    let now = world.now();
    let Some(operation) = world.arm.operations.by_name.get_mut(name) else {
        return;
    };
    if !matches!(operation.status, Status::Running) {
        return;
    }
    operation.status = status;
    operation.ended = Some(now);
    if let Some(waiter) = operation.waiter.take() {
        deployments::resource_ended(world, &waiter, failure);
    }
}

/// The answer of a call that goes on as `name`: `azure-asyncoperation`, and on 202 also `location`.
pub(crate) fn accepted(world: &mut World, name: &str, mut answer: Answer) -> Answer {
    let Some(operation) = world.arm.operations.by_name.get(name).cloned() else {
        return answer;
    };
    let url = url_of(world, name, &operation);
    if operation.provider == Provider::Resources {
        // Resource Manager itself gives a location only.
        let answer = answer.header("location", url).header("retry-after", RESOURCES_RETRY_AFTER);
        return Answer { operation: Some(name.to_owned()), ..answer };
    }
    let compute = operation.provider != Provider::DevTestLab;
    if answer.status == 202 {
        let monitor = format!("{url}&monitor=true");
        answer = answer.header("location", monitor);
    }
    if compute {
        answer = answer.header("retry-after", COMPUTE_RETRY_AFTER);
    }
    answer = answer.header("azure-asyncoperation", url);
    answer.operation = Some(name.to_owned());
    answer
}

fn url_of(world: &mut World, name: &str, operation: &Operation) -> String {
    let (namespace, collection) = operation.provider.path();
    let base = world.endpoints.resource_manager();
    let start = format!(
        "{base}/subscriptions/{}/providers/{namespace}/locations/{}/{collection}/{name}?",
        operation.subscription, operation.location
    );
    let api_version = operation.provider.api_version();
    match operation.provider {
        Provider::Resources => {
            format!(
                "{base}/subscriptions/{}/operationresults/{name}?api-version={api_version}",
                operation.subscription
            )
        }
        Provider::DevTestLab => {
            let (t, c, s, h) = seal(world, name, operation);
            format!("{start}api-version={api_version}&t={t}&c={c}&s={s}&h={h}")
        }
        _ => {
            let (_, _, s, _) = seal(world, name, operation);
            format!("{start}p={}&api-version={api_version}", &s[..36.min(s.len())])
        }
    }
}

/// The parameters `t`, `c`, `s` and `h` of a signed URL.
fn seal(world: &mut World, name: &str, operation: &Operation) -> (String, String, String, String) {
    let ticks = operation.started.unix_timestamp_nanos() / 100 + TICKS_TO_1970;
    let long = |what: &str, length: usize| {
        let mut text = String::new();
        let mut block = 0;
        while text.len() < length {
            let hash = Sha256::digest(format!("{what}/{block}"));
            text.push_str(&URL_SAFE_NO_PAD.encode(hash));
            block += 1;
        }
        text.truncate(length);
        text
    };
    if world.arm.operations.certificate.is_empty() {
        world.arm.operations.certificate = long("certificate", CERTIFICATE_LENGTH);
    }
    // A 2048-bit signature and a 256-bit hash.
    let signature = long(&format!("{name}/{}/signature", operation.secret), 342);
    let hash = long(&format!("{name}/{}/hash", operation.secret), 43);
    (ticks.to_string(), world.arm.operations.certificate.clone(), signature, hash)
}

/// `GET …/locations/{location}/operations/{name}?…`: the state of an operation.
pub(crate) fn get(world: &mut World, call: &Call) -> Result<Answer, ArmError> {
    let name = call.lower.last().cloned().unwrap_or_default();
    let missing = || {
        ArmError::new(
            404,
            "OperationNotFound",
            format!("The operation '{name}' could not be found; it may have expired."),
        )
    };
    let operation = world.arm.operations.by_name.get(&name).cloned().ok_or_else(missing)?;
    if operation.started + REMEMBERED < world.now() || operation.subscription != call.subscription() {
        return Err(missing());
    }
    let (is_missing, next) = world.poll(operation.missing, &call.path());
    if let Some(operation) = world.arm.operations.by_name.get_mut(&name) {
        operation.missing = next;
    }
    if is_missing {
        return Err(missing());
    }
    let (t, c, s, h) = seal(world, &name, &operation);
    let given = |name: &str| call.query.get(name).map(String::as_str).unwrap_or_default();
    let genuine = match operation.provider {
        Provider::DevTestLab => given("t") == t && given("c") == c && given("s") == s && given("h") == h,
        Provider::Resources => return monitor(world, &name, &operation),
        _ => given("p") == &s[..36],
    };
    if !genuine {
        return Err(ArmError::new(
            403,
            "InvalidOperationUrl",
            "The signature of the operation URL is missing or wrong: follow the URL as it was given.",
        ));
    }
    if given("monitor").eq_ignore_ascii_case("true") {
        return monitor(world, &name, &operation);
    }
    Ok(Answer::json(200, status_body(&name, &operation)))
}

fn status_body(name: &str, operation: &Operation) -> Value {
    let compute = operation.provider != Provider::DevTestLab;
    let mut body = json!({});
    if compute {
        body["startTime"] = json!(super::stamp(operation.started));
        if let Some(ended) = operation.ended {
            body["endTime"] = json!(super::stamp(ended));
        }
    }
    body["status"] = json!(match &operation.status {
        Status::Running if compute => "InProgress",
        Status::Running => "Running",
        Status::Succeeded(_) => "Succeeded",
        Status::Failed(_) => "Failed",
        Status::Canceled => "Canceled",
    });
    match &operation.status {
        Status::Failed(error) => body["error"] = error.inner(),
        Status::Succeeded(Some(output)) => body["properties"] = json!({"output": output}),
        _ => {}
    }
    if compute {
        body["name"] = json!(name);
    }
    body
}

/// The same URL with `monitor=true`: 202 while it goes on, then the result itself.
fn monitor(world: &mut World, name: &str, operation: &Operation) -> Result<Answer, ArmError> {
    match &operation.status {
        Status::Running => {
            let url = url_of(world, name, operation);
            let answer = Answer::empty(202);
            if operation.provider == Provider::Resources {
                return Ok(answer.header("location", url).header("retry-after", RESOURCES_RETRY_AFTER));
            }
            let answer = answer.header("location", format!("{url}&monitor=true"));
            Ok(match operation.provider {
                Provider::DevTestLab => answer,
                _ => answer.header("retry-after", COMPUTE_RETRY_AFTER),
            })
        }
        Status::Succeeded(Some(output)) => Ok(Answer::json(200, output.clone())),
        Status::Succeeded(None) => Ok(Answer::empty(204)),
        Status::Failed(error) => Err(error.clone()),
        Status::Canceled => Err(ArmError::conflict("The operation was canceled.")),
    }
}
