//! The host with a real handler: this test's own program, started again as a child process.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use axum::{Router, body::Bytes, extract::Request, http::StatusCode, response::IntoResponse};
use factory_clock::Clock;
use functions_host::{
    AccessKeys, Host, HostEvent, HostExit, HostOptions, Level,
    bindings::EntityPath,
    events::CONSOLE_CATEGORY,
    messaging::{LockedMessage, MessageSink, MessageSource, Messaging, MessagingError, OutgoingMessage},
    payload::service_bus::Message,
    settings::Connection,
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Not a test: the handler that the host starts. What it does is chosen by the variable BEHAVIOUR and by the path.
#[test]
#[ignore = "the handler's program, started by the host under test"]
fn act_as_handler() {
    let Ok(behaviour) = std::env::var("BEHAVIOUR") else {
        return;
    };
    // The test runner has begun a line of its own.
    println!("\nhandler says hello");
    eprintln!("handler warns");
    match behaviour.as_str() {
        "crash" => std::process::exit(7),
        "leave" => std::process::exit(0),
        "deaf" => std::thread::sleep(PATIENCE),
        _ => {}
    }
    let port = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
        axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
    });
}

async fn answer(request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let json = |value: Value| ([("content-type", "application/json")], value.to_string()).into_response();
    let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    match parts.uri.path() {
        "/" => StatusCode::NOT_FOUND.into_response(),
        "/echo" => {
            let headers: BTreeMap<_, _> =
                parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
            let told = json!({"method": parts.method.as_str(), "headers": headers, "body": String::from_utf8_lossy(&body)});
            json(json!({"Logs": [told.to_string()], "Outputs": {"out": ["one", "two"]}}))
        }
        "/web" => {
            let all: Value = serde_json::from_slice(&body).unwrap();
            json(json!({"Outputs": {"res": {"statusCode": 201, "headers": {"X-A": "b"},
                "body": {"url": all["Data"]["req"]["Url"], "id": all["Data"]["req"]["Params"]["id"]}}}}))
        }
        "/api/web/7" => (
            StatusCode::IM_A_TEAPOT,
            [("x-path", parts.uri.to_string()), ("x-agent", header("user-agent").unwrap_or_default())],
            body,
        )
            .into_response(),
        "/die" => std::process::exit(7),
        "/restart" => std::process::exit(200),
        "/hang" => std::future::pending().await,
        "/empty" => StatusCode::NO_CONTENT.into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// One queue in memory that every entity is.
#[derive(Default)]
struct Broker {
    waiting: Mutex<Vec<Message>>,
    locked: Mutex<BTreeMap<Uuid, Message>>,
    completed: Mutex<Vec<Message>>,
    abandoned: Mutex<Vec<Message>>,
    sent: Mutex<Vec<(String, OutgoingMessage)>>,
}

#[derive(Clone)]
struct InMemory(Arc<Broker>);

struct Sink(Arc<Broker>, String);

impl Messaging for InMemory {
    fn source(&self, _: &Connection, _: &EntityPath) -> Result<Arc<dyn MessageSource>, MessagingError> {
        Ok(Arc::new(self.clone()))
    }

    fn sink(&self, _: &Connection, entity: &EntityPath) -> Result<Arc<dyn MessageSink>, MessagingError> {
        Ok(Arc::new(Sink(self.0.clone(), entity.0.clone())))
    }
}

#[async_trait]
impl MessageSource for InMemory {
    async fn receive(&self, max: usize, _: Duration) -> Result<Vec<LockedMessage>, MessagingError> {
        let mut taken = Vec::new();
        {
            let mut waiting = self.0.waiting.lock().unwrap();
            while taken.len() < max
                && let Some(mut message) = waiting.pop()
            {
                message.lock_token = Uuid::new_v4();
                message.delivery_count += 1;
                self.0.locked.lock().unwrap().insert(message.lock_token, message.clone());
                let locked_until = OffsetDateTime::now_utc() + time::Duration::minutes(1);
                taken.push(LockedMessage { message, locked_until });
            }
        }
        if taken.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(taken)
    }

    async fn complete(&self, lock: Uuid) -> Result<(), MessagingError> {
        let message = self.0.locked.lock().unwrap().remove(&lock).unwrap();
        self.0.completed.lock().unwrap().push(message);
        Ok(())
    }

    async fn abandon(&self, lock: Uuid) -> Result<(), MessagingError> {
        let message = self.0.locked.lock().unwrap().remove(&lock).unwrap();
        self.0.abandoned.lock().unwrap().push(message);
        Ok(())
    }

    async fn renew(&self, _: Uuid) -> Result<OffsetDateTime, MessagingError> {
        Ok(OffsetDateTime::now_utc() + time::Duration::minutes(1))
    }
}

#[async_trait]
impl MessageSink for Sink {
    async fn send(&self, messages: Vec<OutgoingMessage>) -> Result<(), MessagingError> {
        self.0.sent.lock().unwrap().extend(messages.into_iter().map(|message| (self.1.clone(), message)));
        Ok(())
    }
}

struct App {
    host: Host,
    events: UnboundedReceiver<HostEvent>,
    broker: Arc<Broker>,
    _folder: tempfile::TempDir,
}

struct Setup {
    behaviour: &'static str,
    host: Value,
    functions: Vec<(&'static str, Value)>,
    keys: Option<AccessKeys>,
}

fn setup(behaviour: &'static str, functions: Vec<(&'static str, Value)>) -> Setup {
    Setup { behaviour, host: json!({}), functions, keys: None }
}

fn queue_function() -> Value {
    json!([{"type":"serviceBusTrigger","direction":"in","name":"message","queueName":"q","connection":"ServiceBus",
        "dataType":"binary"},
        {"type":"serviceBus","direction":"out","name":"out","queueName":"%NEXT%","connection":"ServiceBus"}])
}

fn web_function() -> Value {
    json!([{"type":"httpTrigger","direction":"in","name":"req","route":"web/{id:int}","methods":["get","post"]},
        {"type":"http","direction":"out","name":"res"}])
}

fn write(root: &Path, path: &str, value: &Value) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, value.to_string()).unwrap();
}

async fn start(setup: Setup) -> App {
    let folder = tempfile::tempdir().unwrap();
    let mut host_json = json!({
        "version": "2.0",
        "functionTimeout": "00:00:30",
        "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.0.0, 5.0.0)"},
        "customHandler": {"description": {
            "defaultExecutablePath": std::env::current_exe().unwrap(),
            "arguments": ["--exact", "act_as_handler", "--ignored", "--nocapture", "--test-threads=1"],
        }},
    });
    merge(&mut host_json, setup.host);
    write(folder.path(), "host.json", &host_json);
    for (name, bindings) in setup.functions {
        write(folder.path(), &format!("{name}/function.json"), &json!({"bindings": bindings}));
    }
    let broker = Arc::new(Broker::default());
    let settings = BTreeMap::from([
        ("BEHAVIOUR".into(), setup.behaviour.into()),
        ("ServiceBus".into(), "Endpoint=sb://localhost;SharedAccessKeyName=a;SharedAccessKey=b".into()),
        ("NEXT".into(), "next".into()),
    ]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options = HostOptions::new(
        folder.path().into(),
        listener,
        settings,
        Clock::system(),
        folder.path().join("state"),
    );
    options.messaging = Some(Arc::new(InMemory(broker.clone())));
    options.keys = setup.keys;
    let (host, events) = Host::start(options).unwrap();
    App { host, events, broker, _folder: folder }
}

fn merge(target: &mut Value, other: Value) {
    match (target, other) {
        (Value::Object(target), Value::Object(other)) => {
            for (key, value) in other {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, other) => *target = other,
    }
}

impl App {
    async fn event<T>(&mut self, mut pick: impl FnMut(&HostEvent) -> Option<T>) -> T {
        let find = async {
            loop {
                let event = self.events.recv().await.expect("the host stopped");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, find).await.expect("the event did not come")
    }

    async fn ready(&mut self) {
        self.event(|event| (*event == HostEvent::HandlerReady).then_some(())).await;
    }

    async fn pid(&mut self) -> u32 {
        self.event(|event| match event {
            HostEvent::HandlerStarted { pid, .. } => Some(*pid),
            _ => None,
        })
        .await
    }

    async fn finished(&mut self) -> (bool, String) {
        self.event(|event| match event {
            HostEvent::InvocationFinished { success, reason, .. } => {
                Some((*success, reason.clone().unwrap_or_default()))
            }
            _ => None,
        })
        .await
    }

    async fn exited(&mut self) -> (i32, bool) {
        self.event(|event| match event {
            HostEvent::HandlerExited { code, restarts } => Some((*code, *restarts)),
            _ => None,
        })
        .await
    }

    fn send(&self, body: &str) {
        self.broker.waiting.lock().unwrap().push(Message::from_input(body));
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host.addr())
    }

    async fn admin_invoke(&self, function: &str) -> u16 {
        let client = reqwest::Client::new();
        let url = self.url(&format!("/admin/functions/{function}"));
        client.post(url).json(&json!({"input": "hello"})).send().await.unwrap().status().as_u16()
    }

    async fn stop(mut self) -> Arc<Broker> {
        self.host.stop();
        let exit = tokio::time::timeout(PATIENCE, self.host.wait()).await.expect("the host did not stop");
        assert_eq!(exit, HostExit::Requested);
        self.broker
    }
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_message_reaches_the_handler_and_its_outputs_are_sent() {
    let mut app = start(setup("serve", vec![("echo", queue_function())])).await;
    app.send("hello");
    let line = app
        .event(|event| match event {
            HostEvent::Log { category, line, level: Level::Information }
                if category == "Function.echo.User" =>
            {
                Some(line.clone())
            }
            _ => None,
        })
        .await;
    let mut told: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(told["method"], "POST");
    let body = told["body"].as_str().unwrap();
    assert!(body.starts_with("{\"Data\":{\"message\":\"aGVsbG8=\"},\"Metadata\":{"), "{body}");
    let headers = told["headers"].as_object_mut().unwrap();
    let stated = host_contract::requests().into_iter().find(|request| !request.headers.is_empty()).unwrap();
    for (name, stated) in stated.headers {
        let value = headers.remove(&name).unwrap_or_else(|| panic!("{name} is missing"));
        match stated.value.as_str() {
            Some("<guid>") => assert!(value.as_str().unwrap().parse::<Uuid>().is_ok(), "{name}: {value}"),
            _ => assert_eq!(value, stated.value, "{name}"),
        }
    }
    // What any HTTP client says.
    headers.retain(|name, _| !matches!(name.as_str(), "host" | "accept"));
    assert!(headers.is_empty(), "{headers:?}");
    assert_eq!(app.finished().await, (true, String::new()));
    let broker = app.stop().await;
    assert_eq!(broker.completed.lock().unwrap().len(), 1);
    let sent = broker.sent.lock().unwrap();
    let bodies: Vec<_> =
        sent.iter().map(|(entity, message)| (entity.as_str(), message.body.as_str())).collect();
    assert_eq!(bodies, [("next", "one"), ("next", "two")]);
    assert!(!sent[0].1.parent_id.is_nil());
}

#[tokio::test]
async fn the_handlers_output_is_passed_through() {
    let mut app = start(setup("serve", vec![("echo", queue_function())])).await;
    let mut wanted = BTreeMap::from([
        ("handler says hello".to_owned(), Level::Information),
        ("handler warns".to_owned(), Level::Warning),
    ]);
    app.event(|event| {
        if let HostEvent::Log { level, category, line } = event
            && category == CONSOLE_CATEGORY
            && wanted.get(line) == Some(level)
        {
            wanted.remove(line);
        }
        wanted.is_empty().then_some(())
    })
    .await;
    app.stop().await;
}

#[tokio::test]
async fn a_killed_handler_fails_its_invocation_abandons_the_message_and_comes_back_on_the_same_port() {
    let mut app = start(setup("serve", vec![("hang", queue_function())])).await;
    let (pid, port) = app
        .event(|event| match event {
            HostEvent::HandlerStarted { pid, port } => Some((*pid, *port)),
            _ => None,
        })
        .await;
    app.ready().await;
    app.send("hello");
    eventually("the message was not taken", || app.broker.locked.lock().unwrap().len() == 1).await;
    // Until the request is with the handler.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let (mut failed, mut exited, mut again) = (None, None, None);
    app.event(|event| {
        match event {
            HostEvent::InvocationFinished { success, .. } => failed = Some(!success),
            HostEvent::HandlerExited { code, restarts } => exited = Some((*code, *restarts)),
            HostEvent::HandlerStarted { pid, port } => again = Some((*pid, *port)),
            _ => {}
        }
        (failed.is_some() && exited.is_some() && again.is_some()).then_some(())
    })
    .await;
    assert_eq!((failed, exited), (Some(true), Some((137, true))));
    assert!(again.is_some_and(|(new_pid, new_port)| new_pid != pid && new_port == port));
    eventually("the message was not abandoned", || app.broker.abandoned.lock().unwrap().len() == 1).await;
    app.stop().await;
}

#[tokio::test]
async fn a_handler_that_keeps_crashing_stops_the_host_at_the_third_time() {
    let mut app = start(setup("crash", vec![("echo", queue_function())])).await;
    assert_eq!(app.exited().await, (7, true));
    assert_eq!(app.exited().await, (7, true));
    assert_eq!(app.exited().await, (7, false));
    app.event(|event| matches!(event, HostEvent::HostStopping { .. }).then_some(())).await;
    let exit = tokio::time::timeout(PATIENCE, app.host.wait()).await.unwrap();
    assert!(matches!(exit, HostExit::HandlerFailed { reason } if reason.contains("code 7")));
}

#[tokio::test]
async fn a_handler_that_is_not_ready_in_time_counts_as_crashed() {
    let host = json!({"customHandler": {"initializationTimeout": "00:00:00.2"}});
    let mut app = start(Setup { host, ..setup("deaf", vec![("echo", queue_function())]) }).await;
    let mut starts = 0;
    app.event(|event| {
        starts += u32::from(matches!(event, HostEvent::HandlerStarted { .. }));
        matches!(event, HostEvent::HostStopping { .. }).then_some(())
    })
    .await;
    assert_eq!(starts, 3);
    let exit = tokio::time::timeout(PATIENCE, app.host.wait()).await.unwrap();
    assert!(matches!(exit, HostExit::HandlerFailed { reason } if reason.contains("timed out")));
}

#[tokio::test]
async fn exit_code_0_is_not_restarted_and_invocations_are_refused() {
    let mut app = start(setup("leave", vec![("echo", queue_function())])).await;
    assert_eq!(app.exited().await, (0, false));
    app.send("hello");
    let (success, reason) = app.finished().await;
    assert!(!success && reason.to_lowercase().contains("connection refused"), "{reason}");
    let broker = app.stop().await;
    assert_eq!(broker.abandoned.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn exit_code_200_is_always_restarted() {
    let functions = vec![("restart", json!([{"type":"manualTrigger","direction":"in","name":"m"}]))];
    let mut app = start(setup("serve", functions)).await;
    for _ in 0..4 {
        app.ready().await;
        assert_eq!(app.admin_invoke("restart").await, 202);
        assert_eq!(app.exited().await, (200, true));
    }
    app.stop().await;
}

#[tokio::test]
async fn an_empty_success_hangs_until_the_function_timeout_which_kills_the_handler() {
    let host = json!({"functionTimeout": "00:00:01"});
    let mut app = start(Setup { host, ..setup("serve", vec![("empty", queue_function())]) }).await;
    let pid = app.pid().await;
    app.ready().await;
    app.send("hello");
    let (success, reason) = app.finished().await;
    assert!(
        !success && reason.contains("Timeout value of 1s exceeded by function 'Functions.empty'"),
        "{reason}"
    );
    let again = app.pid().await;
    assert_ne!(pid, again);
    // Not counted as an error, so this may happen more than twice.
    for _ in 0..3 {
        app.ready().await;
        app.send("hello");
        assert!(!app.finished().await.0);
    }
    app.stop().await;
}

#[tokio::test]
async fn stopping_kills_a_hanging_handler_and_gives_its_message_back() {
    let mut app = start(setup("serve", vec![("hang", queue_function())])).await;
    app.ready().await;
    app.send("hello");
    eventually("the message was not taken", || app.broker.locked.lock().unwrap().len() == 1).await;
    let broker = app.stop().await;
    assert_eq!(broker.abandoned.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_is_wrapped_and_its_answer_unwrapped() {
    let app = start(setup("serve", vec![("web", web_function())])).await;
    let client = reqwest::Client::new();
    let response = client.post(app.url("/api/web/7?x=1")).body("hi").send().await.unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-a"], "b");
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body, json!({"url": app.url("/api/web/7?x=1"), "id": "7"}));
    for (method, path) in [("GET", "/api/web/x"), ("DELETE", "/api/web/7"), ("GET", "/web/7")] {
        let response = client.request(method.parse().unwrap(), app.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 404, "{method} {path}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_request_is_passed_on_as_it_is_with_forwarding() {
    let host = json!({"customHandler": {"enableForwardingHttpRequest": true}});
    let mut app = start(Setup { host, ..setup("serve", vec![("web", web_function())]) }).await;
    let client = reqwest::Client::new();
    let request = client.post(app.url("/api/web/7?x=1&x=2")).header("user-agent", "me/1").body("hi");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["x-path"], "/api/web/7?x=1%2C2");
    assert_eq!(response.headers()["x-agent"], "me/1 Azure-Functions-Host/4.1037.0.0");
    assert_eq!(response.text().await.unwrap(), "hi");
    // Whatever its status, the invocation succeeded.
    assert!(app.finished().await.0);
    app.stop().await;
}

#[tokio::test]
async fn a_request_without_content_length_loses_its_body_with_forwarding() {
    let host = json!({"customHandler": {"enableForwardingHttpRequest": true}});
    let app = start(Setup { host, ..setup("serve", vec![("web", web_function())]) }).await;
    let mut stream = tokio::net::TcpStream::connect(app.host.addr()).await.unwrap();
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let request = "POST /api/web/7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 418") && answer.ends_with("\r\n\r\n"), "{answer}");
    app.stop().await;
}

#[tokio::test]
async fn functions_are_listed_run_and_drained_through_the_admin_api() {
    let functions = vec![("echo", queue_function()), ("web", web_function()), ("bad", json!([]))];
    let mut app = start(setup("serve", functions)).await;
    let skipped = app
        .event(|event| match event {
            HostEvent::FunctionSkipped { function, reason } => Some((function.clone(), reason.clone())),
            _ => None,
        })
        .await;
    assert_eq!(skipped, ("bad".into(), "At least one binding must be declared.".into()));
    app.ready().await;
    let client = reqwest::Client::new();
    let get =
        async |path: &str| client.get(app.url(path)).send().await.unwrap().json::<Value>().await.unwrap();
    let listed = get("/admin/functions").await;
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|function| function["name"].clone()).collect();
    assert_eq!(names, ["echo", "web"]);
    assert_eq!(listed[1]["invoke_url_template"], app.url("/api/web/{id:int}"));
    assert_eq!(get("/admin/host/status").await["state"], "Running");
    assert_eq!(
        get("/admin/functions/bad/status").await["errors"][0],
        "At least one binding must be declared."
    );

    assert_eq!(app.admin_invoke("ECHO").await, 202);
    assert_eq!(app.admin_invoke("nobody").await, 404);
    let without_body = client.post(app.url("/admin/functions/echo")).send().await.unwrap();
    assert_eq!(without_body.status(), 400);
    let not_text =
        client.post(app.url("/admin/functions/echo")).json(&json!({"input": {}})).send().await.unwrap();
    assert_eq!(not_text.status(), 400);
    assert_eq!(app.finished().await, (true, String::new()));
    assert_eq!(app.broker.completed.lock().unwrap().len(), 0);

    assert_eq!(client.post(app.url("/admin/host/drain")).send().await.unwrap().status(), 202);
    let drained: Value =
        client.get(app.url("/admin/host/drain/status")).send().await.unwrap().json().await.unwrap();
    assert_eq!(drained, json!({"state": "Completed", "outstandingInvocations": 0, "outstandingRetries": 0}));
    // A receive call that was under way may still take one message, and gives it back.
    tokio::time::sleep(Duration::from_millis(300)).await;
    app.send("late");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(app.broker.waiting.lock().unwrap().len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn keys_are_checked_once_there_are_some() {
    let keys = AccessKeys { master: "m".into(), ..Default::default() };
    let app = start(Setup { keys: Some(keys), ..setup("serve", vec![("web", web_function())]) }).await;
    let client = reqwest::Client::new();
    let status = async |path: &str, key: Option<&str>| {
        let request = client.get(app.url(path));
        let request = key.into_iter().fold(request, |request, key| request.header("x-functions-key", key));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("/api/web/7", None).await, 401);
    assert_eq!(status("/api/web/7?code=m", None).await, 201);
    assert_eq!(status("/api/web/7?code=m", Some("wrong")).await, 401);
    assert_eq!(status("/admin/functions", None).await, 401);
    assert_eq!(status("/admin/functions", Some("m")).await, 200);
    app.stop().await;
}

#[tokio::test]
async fn an_app_without_functions_has_no_handler() {
    let mut app = start(setup("crash", vec![])).await;
    let status = reqwest::get(app.url("/admin/host/status")).await.unwrap().status();
    assert_eq!(status, 200);
    assert!(app.events.try_recv().is_err());
    app.stop().await;
}
