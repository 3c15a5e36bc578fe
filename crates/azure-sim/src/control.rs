//! What is behind the curtain, for `dev` and for tests: labs to add, faults to set, counts, the work log, and everything that a
//! run may have left behind.
//!
//! In process these are functions on a [`Sim`]; over HTTP the same types travel as JSON:
//!
//! | request | does |
//! |---|---|
//! | `POST /labs` [`LabSpec`] | [`add_lab`] → [`LabAdded`] |
//! | `DELETE /labs?id=…` | [`delete_lab`] |
//! | `POST /customimages` [`ImageToAdd`] | [`add_custom_image`] |
//! | `PUT /faults` [`FaultsSpec`] | [`set_faults`] |
//! | `GET /counts` | [`counts`] |
//! | `GET /budgets` | [`budgets`] |
//! | `GET /work` | [`work`] |
//! | `GET /state` | [`state`] |
//! | `GET /queues` | [`queues`] |
//! | `PUT /queues/{name}` [`QueueSpec`] | [`put_queue`] |
//! | `POST /storageaccounts` [`StorageAccountSpec`] | [`add_storage_account`] |
//! | `GET /identity` | [`managed_identity`] |
//! | `POST /applications` [`ApplicationSpec`] | [`add_application`] |
//! | `PUT /denials` list of [`Denial`](crate::arm::Denial) | [`set_denials`] |
//! | `PUT /roleassignments` list of [`RoleAssignment`](crate::arm::RoleAssignment), or `null` | [`set_role_assignments`] |
//! | `PUT /quotas` [`QuotaSpec`] | [`set_quota`] |
//! | `PUT /limits` [`Limits`](crate::arm::Limits) | [`set_limits`] |
//! | `PUT /marketplace` [`MarketplaceSpec`] | [`set_marketplace`] |

mod faults;
mod queues;
mod rules;
mod state;

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

pub use faults::{
    ArtifactFaultSpec, ChancesSpec, CopyFaultSpec, CustomImageFaultSpec, FaultsSpec, HttpFaultSpec, Reset,
    VirtualMachineFaultSpec,
};
pub use queues::{QueueSpec, put_queue};
pub use rules::{
    MarketplaceSpec, QuotaSpec, set_denials, set_limits, set_marketplace, set_quota, set_role_assignments,
};
pub use state::{
    BlobState, CustomImageState, DeploymentState, DiskInState, FormulaState, LabState, State,
    VirtualMachineState, lab_state, state,
};

use crate::{
    Request, Response, Sim,
    arm::{Budget, CustomImageSpec, LabSpec},
    broker::QueueCounts,
    identity::Principal,
    storage,
    work::Work,
    world::Counts,
};

/// Before the name of a queue.
const QUEUES: &str = "/queues/";

/// A lab that was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabAdded {
    /// Its id in lower case.
    pub id: String,
    /// Its storage account.
    pub storage_account: String,
    /// The account's blob endpoint, without a `/` at the end.
    pub blob_endpoint: String,
    /// `key1` of the account, base64.
    pub storage_key: String,
}

/// A custom image to be added to a lab, as history.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageToAdd {
    /// The lab's id.
    pub lab_id: String,
    /// The image.
    pub image: CustomImageSpec,
}

/// A storage account to be added.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageAccountSpec {
    /// `/subscriptions/…/providers/Microsoft.Storage/storageAccounts/{name}`.
    pub id: String,
    /// The region.
    pub location: String,
}

/// A queue.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QueueState {
    /// What it holds.
    #[serde(flatten)]
    pub counts: QueueCounts,
    /// How many messages were sent to it so far; what duplicate detection dropped does not count.
    pub accepted: u64,
}

/// An application that may ask for tokens.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationSpec {
    /// The tenant, a GUID.
    pub tenant_id: String,
    /// The client id, a GUID.
    pub client_id: String,
    /// The client secret.
    pub client_secret: String,
    /// How long its tokens are good, in seconds, if that is configured (Microsoft, "Configurable token lifetimes").
    #[serde(default)]
    pub token_lifetime_seconds: Option<u64>,
}

/// What an App Service would put into its environment.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManagedIdentity {
    /// `IDENTITY_ENDPOINT`.
    pub endpoint: String,
    /// `IDENTITY_HEADER`.
    pub header: String,
    /// Who it is.
    pub principal: Principal,
}

/// What took time, and when it is now.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkLog {
    /// The simulator's time.
    #[serde(with = "time::serde::rfc3339")]
    pub now: OffsetDateTime,
    /// Oldest first.
    pub work: Vec<Work>,
}

/// Adds a lab with all that belongs to it; a lab that is there stays as it is.
pub fn add_lab(sim: &Sim, spec: &LabSpec) -> LabAdded {
    let mut world = sim.world();
    let id = world.add_lab(spec);
    let account = world.lab(&id).map(|lab| lab.storage_account().to_owned()).unwrap_or_default();
    let key = world.storage.accounts.get(&account).map(|account| account.keys[0].clone());
    LabAdded {
        id,
        blob_endpoint: world.endpoints.blob(&account),
        storage_account: account,
        storage_key: key.unwrap_or_default(),
    }
}

/// Takes a lab away behind everybody's back; says whether it was there.
pub fn delete_lab(sim: &Sim, id: &str) -> bool {
    sim.world().delete_lab(id)
}

/// Adds a custom image as history; answers its id, if the lab is there.
pub fn add_custom_image(sim: &Sim, spec: ImageToAdd) -> Option<String> {
    sim.world().add_custom_image(&spec.lab_id, spec.image)
}

/// Sets what shall go wrong from now on, instead of what was set before.
pub fn set_faults(sim: &Sim, faults: &FaultsSpec) {
    let mut world = sim.world();
    world.faults = faults.to_faults();
    world.chances = faults.chances.to_chances();
}

/// How often the simulator was called.
pub fn counts(sim: &Sim) -> Counts {
    sim.world().counts
}

/// How much of Resource Manager's budgets was used so far, for each subscription, principal and kind of request.
pub fn budgets(sim: &Sim) -> Vec<Budget> {
    sim.world().arm.throttle.budgets()
}

/// What took time so far.
pub fn work(sim: &Sim) -> WorkLog {
    let world = sim.world();
    WorkLog { now: world.now(), work: world.work.iter().cloned().collect() }
}

/// How many messages each queue holds, by its name.
pub fn queues(sim: &Sim) -> BTreeMap<String, QueueState> {
    let broker = sim.broker();
    let state = |name: &str| {
        Some(QueueState { counts: broker.counts(name).ok()?, accepted: broker.accepted(name).ok()? })
    };
    broker.queues().into_iter().filter_map(|name| Some((name.clone(), state(&name)?))).collect()
}

/// Adds a storage account that belongs to no lab; one that is there stays as it is.
pub fn add_storage_account(sim: &Sim, spec: &StorageAccountSpec) {
    let mut world = sim.world();
    let name = spec.id.rsplit('/').next().unwrap_or_default();
    if !world.storage.accounts.contains_key(name) {
        storage::create_account(&mut world, &spec.id, &spec.location);
    }
}

/// Where the managed identity gets its tokens.
pub fn managed_identity(sim: &Sim) -> ManagedIdentity {
    let world = sim.world();
    ManagedIdentity {
        endpoint: format!("{}/msi/token", world.endpoints.identity()),
        header: world.identity.identity_header.clone(),
        principal: world.identity.managed_identity.clone(),
    }
}

/// Registers an application with its secret.
pub fn add_application(sim: &Sim, spec: &ApplicationSpec) -> Principal {
    let mut world = sim.world();
    let principal = world.identity.add_application(&spec.tenant_id, &spec.client_id, &spec.client_secret);
    let lifetime = spec.token_lifetime_seconds.map(Duration::from_secs);
    world.identity.set_token_lifetime(&spec.client_id, lifetime);
    principal
}

/// Answers one request of the HTTP interface.
pub fn handle(sim: &Sim, request: &Request) -> Response {
    let result = match (request.method(), request.uri().path()) {
        (&Method::POST, "/labs") => body(request).map(|spec| json(&add_lab(sim, &spec))),
        (&Method::DELETE, "/labs") => Ok(match query(request, "id") {
            Some(id) if delete_lab(sim, &id) => text(204, ""),
            _ => text(404, "there is no such lab"),
        }),
        (&Method::POST, "/customimages") => body(request).map(|spec| match add_custom_image(sim, spec) {
            Some(id) => json(&id),
            None => text(404, "there is no such lab"),
        }),
        (&Method::PUT, "/faults") => body(request).map(|faults| {
            set_faults(sim, &faults);
            text(204, "")
        }),
        (&Method::POST, "/applications") => body(request).map(|spec| json(&add_application(sim, &spec))),
        (&Method::GET, "/counts") => Ok(json(&counts(sim))),
        (&Method::GET, "/budgets") => Ok(json(&budgets(sim))),
        (&Method::GET, "/work") => Ok(json(&work(sim))),
        (&Method::GET, "/state") => Ok(json(&state(sim))),
        (&Method::GET, "/queues") => Ok(json(&queues(sim))),
        (&Method::PUT, path) if path.starts_with(QUEUES) => {
            body(request).map(|spec| match put_queue(sim, &path[QUEUES.len()..], &spec) {
                Ok(()) => text(204, ""),
                Err(refusal) => text(400, &refusal.to_string()),
            })
        }
        (&Method::POST, "/storageaccounts") => body(request).map(|spec| {
            add_storage_account(sim, &spec);
            text(204, "")
        }),
        (&Method::PUT, "/denials") => body(request).map(|denials| {
            set_denials(sim, denials);
            text(204, "")
        }),
        (&Method::PUT, "/roleassignments") => body(request).map(|assignments| {
            set_role_assignments(sim, assignments);
            text(204, "")
        }),
        (&Method::PUT, "/quotas") => body(request).map(|spec| {
            set_quota(sim, &spec);
            text(204, "")
        }),
        (&Method::PUT, "/limits") => body(request).map(|limits| {
            set_limits(sim, limits);
            text(204, "")
        }),
        (&Method::PUT, "/marketplace") => body(request).map(|spec| {
            set_marketplace(sim, spec);
            text(204, "")
        }),
        (&Method::GET, "/identity") => Ok(json(&managed_identity(sim))),
        _ => Ok(text(404, "not found")),
    };
    result.unwrap_or_else(|error| text(400, &error.to_string()))
}

fn body<T: DeserializeOwned>(request: &Request) -> Result<T, serde_json::Error> {
    serde_json::from_slice(request.body())
}

fn query(request: &Request, name: &str) -> Option<String> {
    let query = request.uri().query().unwrap_or_default();
    url::form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

fn json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => {
            let mut response = Response::new(Bytes::from(bytes));
            let json = http::HeaderValue::from_static("application/json");
            response.headers_mut().insert(http::header::CONTENT_TYPE, json);
            response
        }
        Err(error) => text(500, &error.to_string()),
    }
}

fn text(status: u16, text: &str) -> Response {
    let mut response = Response::new(Bytes::from(text.to_owned()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}
