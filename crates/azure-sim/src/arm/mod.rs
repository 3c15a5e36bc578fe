//! Azure Resource Manager and the resource providers behind it.
//!
//! Resources are kept under their ids in lower case, because ids are compared ignoring case; what people named keeps its
//! spelling. A request is taken apart ([`call`]), let in ([`authorization`], [`throttle`], [`locks`]) and routed by its path;
//! a deployment makes its resources by the same routes.

mod artifacts;
mod authorization;
mod call;
mod capacity;
mod compute;
mod custom_images;
mod deployments;
mod disks;
mod error;
mod formulas;
mod generic;
mod labs;
mod listing;
mod locks;
mod marketplace;
mod operations;
mod policies;
mod providers;
mod quota;
mod resource_groups;
mod resources;
mod roles;
mod router;
mod seed;
mod service_bus;
mod shared_galleries;
mod storage_accounts;
mod tags;
mod throttle;
mod virtual_machines;

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::{AsciiSet, CONTROLS};
use time::{OffsetDateTime, macros::format_description};

pub use artifacts::{Artifact, ArtifactSource, PostDeploy};
pub use authorization::Denial;
pub use compute::{ComputeMachine, Power};
pub use custom_images::CustomImage;
pub(crate) use custom_images::lose as lose_image;
pub use deployments::Deployment;
pub use disks::{Disk, DiskState};
pub use error::ArmError;
pub(crate) use formulas::Formula;
pub use labs::Lab;
pub use locks::LockLevel;
pub use marketplace::OsType;
pub(crate) use resource_groups::ResourceGroup;
pub(crate) use roles::allow_storage;
pub use roles::{Role, RoleAssignment};
pub use seed::{CustomImageSpec, FormulaSpec, GalleryImageSpec, LabSpec, VirtualMachineSpec};
pub use throttle::{Budget, Limit, Limits};
pub use virtual_machines::LabMachine;
pub(crate) use virtual_machines::lose as lose_machine;

use crate::{
    Request, Response, World,
    identity::{self, TokenProblem},
};
use call::Call;

/// What stays as it is in the path of a URL.
pub(crate) const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

/// What will happen in Resource Manager.
#[derive(Clone, Debug)]
pub enum Event {
    /// A lab VM takes its next step.
    Machine(virtual_machines::Step),
    /// A managed disk's access is granted, taken back or runs out.
    Disk(disks::Step),
    /// A custom image is registered or deleted.
    CustomImage(custom_images::Step),
    /// A deployment starts, is pruned or deleted.
    Deployment(deployments::Step),
    /// A formula or another child of a lab is made.
    OperationEnds(String),
}

/// The state of Resource Manager.
#[derive(Default)]
pub struct State {
    /// Subscriptions by id.
    pub(crate) subscriptions: BTreeMap<String, resource_groups::Subscription>,
    /// Resource groups by `{subscription}/{group}`, lower case.
    pub(crate) groups: BTreeMap<String, resource_groups::ResourceGroup>,
    /// Labs by id, lower case.
    pub(crate) labs: BTreeMap<String, Lab>,
    /// Compute VMs by id, lower case.
    pub(crate) machines: BTreeMap<String, ComputeMachine>,
    /// Managed disks by id, lower case.
    pub(crate) disks: BTreeMap<String, Disk>,
    /// Images of compute galleries that labs may show: by gallery id and definition, lower case.
    pub(crate) gallery_images: BTreeMap<String, BTreeMap<String, GalleryImageSpec>>,
    pub(crate) marketplace: marketplace::Marketplace,
    pub(crate) operations: operations::Operations,
    /// Locks by scope, lower case, and then by name.
    pub(crate) locks: BTreeMap<String, BTreeMap<String, locks::Lock>>,
    /// Secrets of key vaults by the vault's id and their name, lower case.
    pub(crate) secrets: BTreeMap<(String, String), String>,
    /// Service Bus namespaces by id, lower case.
    pub(crate) namespaces: BTreeMap<String, service_bus::Namespace>,
    /// How many requests are taken.
    pub throttle: throttle::Throttle,
    /// What is forbidden to whom.
    pub denials: Vec<Denial>,
    /// Who has which role; everybody may do everything where no assignments are kept.
    pub role_assignments: Option<Vec<RoleAssignment>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("labs", &self.labs.keys()).finish_non_exhaustive()
    }
}

/// Lets `event` happen.
pub fn apply(world: &mut World, event: Event) {
    match event {
        Event::Machine(step) => virtual_machines::step(world, step),
        Event::Disk(step) => disks::step(world, step),
        Event::CustomImage(step) => custom_images::step(world, step),
        Event::Deployment(step) => deployments::step(world, step),
        Event::OperationEnds(name) => operations::end(world, &name, Ok(None)),
    }
}

/// Answers one request.
pub fn handle(world: &mut World, request: &Request) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let correlation_id = match header("x-ms-correlation-request-id") {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => world.new_guid().to_string(),
    };
    let client_request_id = request.headers().get("x-ms-client-request-id").cloned();
    count(world, request.method(), request.uri().path());
    let mut extra = Vec::new();
    let result = if request.method() == Method::GET && request.uri().path() == providers::ENDPOINTS {
        Ok(providers::endpoints(world))
    } else {
        admit(world, request, &correlation_id, &mut extra).and_then(|call| router::dispatch(world, &call))
    };
    call::respond(world, result, &correlation_id, client_request_id, extra)
}

/// POSTs that only read.
const READING_POSTS: [&str; 6] =
    ["listkeys", "listvhds", "generateuploaduri", "evaluatepolicies", "validate", "listapplicableschedules"];

fn count(world: &mut World, method: &Method, path: &str) {
    let last = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    match *method {
        Method::DELETE => world.counts.arm_deletes += 1,
        Method::GET | Method::HEAD => world.counts.arm_reads += 1,
        Method::POST if READING_POSTS.contains(&last.as_str()) => world.counts.arm_reads += 1,
        _ => world.counts.arm_writes += 1,
    }
}

/// Checks the token, the api-version and the limits.
fn admit(
    world: &mut World,
    request: &Request,
    correlation_id: &str,
    extra: &mut Vec<(String, String)>,
) -> Result<Call, ArmError> {
    let authorization = request
        .headers()
        .get(http::header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let principal =
        identity::principal(world, authorization, identity::RESOURCE_MANAGER).map_err(|problem| match problem {
            TokenProblem::Missing => ArmError::new(
                401,
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            ),
            TokenProblem::Expired(at) => ArmError::new(
                401,
                "ExpiredAuthenticationToken",
                format!(
                    "The access token expiry UTC time '{at}' is earlier than current UTC time '{}'.",
                    world.now()
                ),
            ),
            TokenProblem::Invalid => {
                ArmError::new(401, "InvalidAuthenticationToken", "The access token is invalid.")
            }
            TokenProblem::WrongAudience(audience) => ArmError::new(
                401,
                "InvalidAuthenticationTokenAudience",
                format!(
                    "The access token has been obtained for wrong audience or resource '{audience}'. It should exactly match with one of the allowed audiences 'https://management.core.windows.net/','https://management.azure.com/'."
                ),
            ),
        })?;
    let call = Call::new(
        request.method().clone(),
        request.uri().path(),
        request.uri().query().unwrap_or_default(),
        request.body().clone(),
        principal,
        correlation_id.to_owned(),
    );
    check_api_version(call.api_version())?;
    let subscription = if call.lower.first().is_some_and(|s| s == "subscriptions") {
        call.subscription().to_owned()
    } else {
        String::new()
    };
    let kind = throttle::Kind::of(&call.method);
    let now = world.now();
    let taken = world.arm.throttle.take(&subscription, &call.principal.object_id, kind, now);
    match taken {
        Ok(headers) => *extra = headers,
        Err(error) => {
            world.counts.throttled += 1;
            return Err(error);
        }
    }
    Ok(call)
}

/// Any well-formed version is taken: real templates carry many.
fn check_api_version(version: &str) -> Result<(), ArmError> {
    if version.is_empty() {
        return Err(ArmError::new(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        ));
    }
    let date = version.get(..10).unwrap_or_default().as_bytes();
    let dated = date.len() == 10
        && date.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    let suffix = version.get(10..).unwrap_or_default();
    if dated && (suffix.is_empty() || suffix.starts_with('-')) {
        Ok(())
    } else {
        Err(ArmError::new(
            400,
            "InvalidApiVersionParameter",
            format!("The api-version '{version}' is invalid."),
        ))
    }
}

/// A moment as DevTest Labs writes it: `2024-08-28T09:37:50.2853801+00:00`.
pub(crate) fn stamp(moment: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]+00:00");
    moment.to_offset(time::UtcOffset::UTC).format(&format).unwrap_or_default()
}

/// A moment as Resource Manager writes it: `2024-08-28T09:37:50.2853801Z`.
pub(crate) fn stamp_z(moment: OffsetDateTime) -> String {
    stamp(moment).replace("+00:00", "Z")
}

/// A moment as in routing ids: `20240828T093750Z`.
pub(crate) fn stamp_compact(moment: OffsetDateTime) -> String {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    moment.to_offset(time::UtcOffset::UTC).format(&format).unwrap_or_default()
}
