//! The handler as a process of its own: what it sends, when it sends it, and that nothing depends on it.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::collector::Collector;

const PROGRAM: &str = env!("CARGO_BIN_EXE_image-factory");
/// A header that a collector may ask for.
const SECRET: &str = "planted-in-a-header-7f3a";
/// The host's own context.
const HOST: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// So long that nothing is sent by itself while a test goes on.
const HOURS: &str = "36000000";

struct Handler {
    child: Child,
    port: u16,
}

impl Handler {
    /// A handler that nobody calls for anything that needs Azure.
    fn start(variables: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let child = Command::new(PROGRAM)
            .arg("handler")
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("IMAGE_FACTORY_LEDGER", "https://ledger.blob.core.windows.net/image-factory")
            .env("IMAGE_FACTORY_CONFIGURATION", examples)
            .env("ServiceBus__fullyQualifiedNamespace", "factory.servicebus.windows.net")
            .env("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
            .env("IDENTITY_HEADER", "x")
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let handler = Self { child, port };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        handler
    }

    /// Calls the function `start` as the host does, with what is no commit.
    fn call(&self) -> String {
        let body = json!({"Data": {"req": {"Url": "https://app/api/start", "Method": "POST", "Query": {}, "Headers": {},
            "Params": {}, "Body": "{}"}}, "Metadata": {}})
        .to_string();
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        let length = body.len();
        let head = format!(
            "POST /start HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
             traceparent: {HOST}\r\nX-Azure-Functions-InvocationId: some-id\r\nContent-Length: {length}\r\n\r\n"
        );
        socket.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    /// The names of the process's threads.
    fn threads(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap()).collect()
    }

    /// Ends it as a platform does; its exit code or signal, and what it logged.
    fn terminate(mut self) -> (Option<i32>, Option<i32>, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let mut log = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut log).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), status.signal(), log)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_not_sent_yet_is_sent_at_sigterm_with_the_headers_that_are_set() {
    let collector = Collector::start();
    let headers = format!("api-key={SECRET}");
    let handler = Handler::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
        ("OTEL_BSP_SCHEDULE_DELAY", HOURS),
        ("OTEL_METRIC_EXPORT_INTERVAL", HOURS),
        ("OTEL_SERVICE_NAME", "another-name"),
    ]);
    assert!(handler.call().starts_with("HTTP/1.1 200"));
    assert!(collector.received().spans.is_empty());
    let (code, _, log) = handler.terminate();
    // Not 0, after which the host would not start it again.
    assert_eq!(code, Some(143), "{log}");
    let received = collector.received();
    let [span] = &received.spans[..] else { panic!("{received:#?}") };
    let context = format!("00-{}-{}-01", hexadecimal(&span.trace_id), hexadecimal(&span.parent_span_id));
    assert_eq!((span.name.as_str(), context.as_str()), ("invoke start", HOST));
    assert!(!received.headers.is_empty());
    assert!(received.headers.iter().all(|headers| headers.get("api-key").is_some_and(|key| key == SECRET)));
    let names =
        received.resources.iter().map(|attributes| crate::collector::text(attributes, "service.name"));
    assert!(names.into_iter().all(|name| name.as_deref() == Some("another-name")));
    assert!(!log.contains(SECRET), "{log}");
    let line = log.lines().find(|line| line.contains("some-id")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["trace_id"], hexadecimal(&span.trace_id), "{line}");
    assert_eq!(line["span_id"], hexadecimal(&span.span_id), "{line}");
}

#[test]
fn nothing_is_started_where_no_endpoint_is_set_or_telemetry_is_switched_off() {
    let exporting =
        |handler: &Handler| handler.threads().iter().any(|name| name.starts_with("OpenTelemetry"));
    let collector = Collector::start();
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str());
    assert!(exporting(&Handler::start(&[endpoint])));
    for variables in [&[][..], &[endpoint, ("OTEL_SDK_DISABLED", "true")][..]] {
        let handler = Handler::start(variables);
        assert!(handler.call().starts_with("HTTP/1.1 200"));
        assert!(!exporting(&handler), "{:?}", handler.threads());
        let (_, signal, log) = handler.terminate();
        assert_eq!(signal, Some(15));
        // The line knows the host's trace, but no span of its own.
        let line = log.lines().find(|line| line.contains("some-id")).unwrap();
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["trace_id"], HOST[3..35], "{line}");
        assert!(line["span_id"].is_null(), "{line}");
    }
    assert!(collector.received().spans.is_empty());
}

#[test]
fn a_collector_that_never_answers_holds_up_neither_invocations_nor_the_end() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let handler =
        Handler::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "1")]);
    for _ in 0..100 {
        assert!(handler.call().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(handler.terminate().0, Some(143));
}

#[test]
fn an_endpoint_that_makes_no_sense_is_told_and_the_handler_works_without() {
    for endpoint in ["no url", "ftp://collector"] {
        let handler = Handler::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
        assert!(handler.call().starts_with("HTTP/1.1 200"));
        let (_, _, log) = handler.terminate();
        assert!(log.contains("telemetry goes nowhere: the OTLP endpoint is no URL"), "{endpoint}: {log}");
    }
}

/// A run of one image for one lab by real processes: how it ended, and what the host logged.
fn run_towards(endpoint: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/GoldenImages/Linux/DockerHost.json");
    std::fs::create_dir_all(path("config/GoldenImages/Linux")).unwrap();
    std::fs::copy(image, path("config/GoldenImages/Linux/DockerHost.json")).unwrap();
    let labs = json!({"Labs": [{"SubscriptionId": "00000001-0000-4000-8000-000000000000", "ResourceGroup": "rg",
        "LabName": "red", "ImagePaths": ["Linux"]}]});
    std::fs::write(path("config/Labs.json"), labs.to_string()).unwrap();
    let output = Command::new(PROGRAM)
        .args(["dev", "--once", "--speed", "400", "--config"])
        .arg(path("config"))
        .arg("--report")
        .arg(path("report.json"))
        .arg("--log")
        .arg(path("host.log"))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_HEADERS", format!("api-key={SECRET}"))
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .output()
        .unwrap();
    let log = std::fs::read_to_string(path("host.log")).unwrap();
    assert!(output.status.success(), "{}\n{log}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&std::fs::read(path("report.json")).unwrap()).unwrap();
    assert_eq!(report["run"]["status"], "succeeded");
    assert!(!log.contains(SECRET), "{log}");
    log
}

#[test]
fn a_run_ends_the_same_where_nobody_takes_its_telemetry() {
    // Nobody listens there any more.
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let log = run_towards(&format!("http://{closed}"));
    assert!(log.contains("opentelemetry"), "nothing tells that nobody takes it: {log}");
}

#[test]
fn the_context_of_a_message_comes_through_service_bus_and_the_host() {
    let collector = Collector::start();
    run_towards(&collector.endpoint);
    let spans = collector.received().spans;
    // Of the first step: the host kills the handler at the end, and its last spans with it.
    let processed: Vec<_> = spans.iter().filter(|span| span.name == "process create-vm").collect();
    assert!(processed.len() > 2, "{}", processed.len());
    for span in processed {
        let parent = spans.iter().find(|other| other.span_id == span.parent_span_id);
        let parent = parent.unwrap_or_else(|| panic!("nobody knows the parent of {span:#?}"));
        assert_eq!((parent.name.as_str(), &parent.trace_id), ("send create-vm", &span.trace_id));
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
