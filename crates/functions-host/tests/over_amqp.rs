//! The host, a real handler and the simulated Service Bus, over sockets and with a clock that goes 300 times as fast.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse};
use azure_sim::broker::{
    Broker, BrokerMessage, QueueSettings, ReceiveMode,
    amqp::{Authorization, Server, serve},
};
use factory_clock::Clock;
use functions_host::{Host, HostEvent, HostOptions};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How much faster than real time the clock goes, as on a laptop.
const SPEED: f64 = 300.0;

/// How long the slow function takes, in real time; five times as long as a lock of a minute lasts at this speed.
const SLOW: Duration = Duration::from_secs(1);

/// Longest wait for anything in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

/// Not a test: the handler that the host starts.
#[test]
#[ignore = "the handler's program, started by the host under test"]
fn act_as_handler() {
    let Ok(port) = std::env::var("FUNCTIONS_CUSTOMHANDLER_PORT") else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
        axum::serve(listener, Router::new().fallback(answer)).await.unwrap();
    });
}

async fn answer(request: Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let json = |value: Value| ([("content-type", "application/json")], value.to_string()).into_response();
    match parts.uri.path() {
        "/" => StatusCode::OK.into_response(),
        "/slow" => {
            tokio::time::sleep(SLOW).await;
            json(json!({}))
        }
        "/echo" => {
            let all: Value = serde_json::from_slice(&body).unwrap();
            let metadata = &all["Metadata"];
            let seen = format!(
                "{} {} {} {}",
                all["Data"]["message"].as_str().unwrap(),
                metadata["MessageId"].as_str().unwrap(),
                metadata["DeliveryCount"].as_str().unwrap(),
                metadata["ApplicationProperties"]["tenant"],
            );
            json(json!({"Outputs": {"out": [seen]}}))
        }
        "/mourn" => {
            let all: Value = serde_json::from_slice(&body).unwrap();
            let properties = &all["Metadata"]["ApplicationProperties"];
            json(json!({"Outputs": {"out": [format!("dead: {}", properties["DeadLetterReason"])]}}))
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

struct World {
    broker: Arc<Broker>,
    server: Server,
    host: Host,
    events: tokio::sync::mpsc::UnboundedReceiver<HostEvent>,
    _folder: tempfile::TempDir,
}

fn write(root: &Path, path: &str, value: &Value) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, value.to_string()).unwrap();
}

fn function(queue: &str) -> Value {
    json!({"bindings": [
        {"type":"serviceBusTrigger","direction":"in","name":"message","queueName":queue,"connection":"ServiceBus",
            "dataType":"binary"},
        {"type":"serviceBus","direction":"out","name":"out","queueName":"next","connection":"ServiceBus"}]})
}

async fn world(functions: &[(&str, &str)]) -> World {
    let clock = Clock::scaled(SPEED).unwrap();
    let broker = Broker::new(clock.clone());
    for queue in ["q", "next"] {
        broker.create_queue(queue, QueueSettings::default()).unwrap();
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = serve(listener, broker.clone(), Authorization::default().with_key("Root", "key")).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let host_json = json!({
        "version": "2.0",
        "functionTimeout": "00:05:00",
        "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.0.0, 5.0.0)"},
        "customHandler": {"description": {
            "defaultExecutablePath": std::env::current_exe().unwrap(),
            "arguments": ["--exact", "act_as_handler", "--ignored", "--nocapture", "--test-threads=1"],
        }},
        "extensions": {"serviceBus": {"prefetchCount": 0, "maxConcurrentCalls": 16,
            "maxAutoLockRenewalDuration": "00:05:00"}},
    });
    write(folder.path(), "host.json", &host_json);
    for (name, queue) in functions {
        write(folder.path(), &format!("{name}/function.json"), &function(queue));
    }
    let connection = format!(
        "Endpoint=sb://{};SharedAccessKeyName=Root;SharedAccessKey=key;UseDevelopmentEmulator=true;",
        server.local_address()
    );
    let settings = BTreeMap::from([("ServiceBus".to_owned(), connection)]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let state = folder.path().join("state");
    let options = HostOptions::new(folder.path().into(), listener, settings, clock, state);
    let (host, events) = Host::start(options).unwrap();
    World { broker, server, host, events, _folder: folder }
}

impl World {
    fn put(&self, message: BrokerMessage) {
        self.broker.send("q", vec![message]).unwrap();
    }

    /// The body of the next message in a queue, which is removed.
    fn take(&self, entity: &str) -> Option<String> {
        let delivery = self.broker.try_receive(entity, ReceiveMode::ReceiveAndDelete).unwrap()?;
        Some(String::from_utf8(delivery.message.body()).unwrap())
    }

    async fn next(&self) -> String {
        let wait = async {
            loop {
                if let Some(body) = self.take("next") {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("no message came")
    }

    async fn emptied(&self) {
        let wait = async {
            while self.broker.counts("q").unwrap().active > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the queue was not emptied");
    }

    async fn stop(mut self) {
        self.host.stop();
        tokio::time::timeout(PATIENCE, self.host.wait()).await.unwrap();
        self.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_through_the_handler_into_the_next_queue() {
    let world = world(&[("echo", "q")]).await;
    world.put(BrokerMessage::new("hello").with_message_id("m-1").with_property("tenant", "a".to_owned()));
    assert_eq!(world.next().await, "aGVsbG8= \"m-1\" 1 \"a\"");
    world.emptied().await;
    assert_eq!(world.broker.counts("q").unwrap().dead_letter, 0);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_message_ends_in_the_dead_letter_queue_whose_trigger_fires() {
    let world = world(&[("fail", "q"), ("mourn", "q/$DeadLetterQueue")]).await;
    world.put(BrokerMessage::new("hello").with_message_id("m-1"));
    assert_eq!(world.next().await, "dead: \"MaxDeliveryCountExceeded\"");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_renewed_for_as_long_as_the_function_runs() {
    let mut world = world(&[("slow", "q")]).await;
    for index in 0..16 {
        world.put(BrokerMessage::new("hello").with_message_id(format!("m-{index}")));
    }
    world.emptied().await;
    // No message came a second time.
    let started = std::iter::from_fn(|| world.events.try_recv().ok())
        .filter(|event| matches!(event, HostEvent::InvocationStarted { .. }))
        .count();
    assert_eq!(started, 16);
    world.stop().await;
}
