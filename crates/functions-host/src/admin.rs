//! The admin API: run a function, list functions, tell the host's state, drain it
//! (Azure/azure-functions-host FunctionsController.cs, HostController.cs).

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    bindings::{AuthorizationLevel, FunctionMetadata, Trigger},
    dispatch::{HOST_VERSION, HandlerRequest},
    events::HostEvent,
    host::Shared,
    payload::{self, Sys, timer::Tick},
    triggers::http::{LARGEST_BODY, caller_key},
};

/// The API's routes; routes below `admin` are reserved for it.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/admin/functions", get(functions))
        .route("/admin/functions/{name}", get(function).post(invoke))
        .route("/admin/functions/{name}/status", get(function_status))
        .route("/admin/host/status", get(status))
        .route("/admin/host/drain", post(drain))
        .route("/admin/host/drain/status", get(drain_status))
        .route("/admin/{*rest}", get(not_found).post(not_found))
        .layer(from_fn_with_state(shared.clone(), require_master_key))
        .with_state(shared)
}

async fn not_found() -> StatusCode {
    StatusCode::NOT_FOUND
}

async fn require_master_key(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if let Some(keys) = &shared.keys {
        let (parts, body) = request.into_parts();
        if !keys.allow(AuthorizationLevel::Admin, None, caller_key(&parts).as_deref()) {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        return next.run(Request::from_parts(parts, body)).await;
    }
    next.run(request).await
}

/// `{"input":"<string>"}`; answered at once, before the function runs.
async fn invoke(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    let body = match axum::body::to_bytes(request.into_body(), LARGEST_BODY).await {
        Ok(body) => body,
        Err(_) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    };
    // The body is asked for before the name.
    let Ok(Value::Object(body)) = serde_json::from_slice::<Value>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let input = match crate::config::get(&body, "input") {
        None | Some(Value::Null) => None,
        Some(Value::String(input)) => Some(input.clone()),
        // `input` is a string; JSON has to come as text.
        Some(_) => return StatusCode::BAD_REQUEST.into_response(),
    };
    let Some(function) = shared.function(&name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    tokio::spawn(async move { run(&shared, &function, input).await });
    StatusCode::ACCEPTED.into_response()
}

async fn run(shared: &Shared, function: &FunctionMetadata, input: Option<String>) {
    let sys = Sys { method_name: &function.name, utc_now: shared.clock.now(), rand_guid: Uuid::new_v4() };
    let body = match (&function.trigger, input) {
        (Trigger::ServiceBus(trigger), Some(input)) => {
            Ok(payload::service_bus::manual_invocation(trigger, &input, &sys))
        }
        (Trigger::Manual { name }, input) => Ok(payload::manual(name, input.as_deref(), &sys)),
        (Trigger::Timer(trigger), input) => {
            // Not past due, whatever the status says, and it may overlap a scheduled run.
            let schedule_status = match shared.timers.get(&function.name) {
                Some(state) if trigger.use_monitor => state.read().await,
                _ => None,
            };
            let tick = Tick {
                adjust_for_dst: trigger.schedule.adjusts_for_dst(),
                schedule_status,
                is_past_due: false,
            };
            Ok(payload::timer::manual_invocation(&trigger.name, &tick, input.as_deref(), &sys))
        }
        (Trigger::ServiceBus(trigger), None) => Err(format!(
            "Exception binding parameter '{}': Missing value for trigger parameter",
            trigger.name
        )),
        (Trigger::Http(_), _) => Err("An HttpRequest is required".into()),
    };
    match body {
        Ok(body) => {
            // Its result is in the events; nothing is completed or abandoned.
            let _ = shared.invoker.invoke(function, HandlerRequest::Generic(body)).await;
        }
        Err(reason) => shared.events.send(HostEvent::InvocationFinished {
            function: function.name.clone(),
            id: Uuid::new_v4(),
            success: false,
            reason: Some(reason),
        }),
    }
}

async fn functions(State(shared): State<Arc<Shared>>) -> Json<Value> {
    Json(shared.functions.iter().map(|function| describe(&shared, function)).collect())
}

async fn function(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    match shared.function(&name) {
        Some(function) => Json(describe(&shared, &function)).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// A skipped function answers here with its error, as the host does for functions that did not load.
async fn function_status(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    if shared.function(&name).is_some() {
        return Json(json!({})).into_response();
    }
    let errors: Vec<&str> = shared
        .skipped
        .iter()
        .filter(|skipped| skipped.name.eq_ignore_ascii_case(&name))
        .map(|skipped| skipped.reason.as_str())
        .collect();
    if errors.is_empty() {
        StatusCode::NOT_FOUND.into_response()
    } else {
        Json(json!({"errors": errors})).into_response()
    }
}

fn describe(shared: &Shared, function: &FunctionMetadata) -> Value {
    let root = format!("http://{}", shared.addr);
    let invoke_url = match &function.trigger {
        Trigger::Http(trigger) => {
            let route = trigger.route.as_deref().unwrap_or(&function.name);
            let prefix = if shared.route_prefix.is_empty() {
                String::new()
            } else {
                format!("/{}", shared.route_prefix)
            };
            Value::from(format!("{root}{prefix}/{route}"))
        }
        _ => Value::Null,
    };
    json!({
        "name": function.name,
        "script_root_path_href": format!("{root}/admin/vfs/{}/", function.name),
        "script_href": null,
        "config_href": format!("{root}/admin/vfs/{}/function.json", function.name),
        "test_data_href": null,
        "href": format!("{root}/admin/functions/{}", function.name),
        "invoke_url_template": invoke_url,
        "language": "Custom",
        "config": function.config,
        "files": null,
        "test_data": null,
        "isDisabled": function.disabled,
        "isDirect": false,
        "isProxy": false,
    })
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let bundle = shared.extension_bundle.as_ref().map(|(id, version)| json!({"id": id, "version": version}));
    let skipped: Vec<String> =
        shared.skipped.iter().map(|skipped| format!("{}: {}", skipped.name, skipped.reason)).collect();
    Json(json!({
        "id": shared.host_id,
        "state": if shared.handler_ready() { "Running" } else { "Initialized" },
        "version": HOST_VERSION,
        "versionDetails": HOST_VERSION,
        "platformVersion": "",
        "instanceId": "",
        "computerName": "",
        "errors": if skipped.is_empty() { Value::Null } else { json!(skipped) },
        "processUptime": u64::try_from(shared.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "functionAppContentEditingState": "NotAllowed",
        "extensionBundle": bundle,
    }))
}

/// Listeners stop; what runs goes on.
async fn drain(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.drain();
    StatusCode::ACCEPTED
}

async fn drain_status(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let outstanding = shared.in_flight();
    let state = match (shared.is_draining(), outstanding) {
        (false, _) => "Disabled",
        (true, 0) => "Completed",
        (true, _) => "InProgress",
    };
    Json(json!({"state": state, "outstandingInvocations": outstanding, "outstandingRetries": 0}))
}
