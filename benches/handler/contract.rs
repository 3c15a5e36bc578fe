//! What is asked of every handler: the requests of the Functions host, byte for byte, and the settings that they start with.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use functions_host::{
    bindings::{Cardinality, DataType, EntityPath, ServiceBusTrigger},
    payload::{self, Sys},
};
use serde_json::{Value, json};
use time::macros::datetime;
use uuid::Uuid;

/// A moment of a real run: its ledger holds a build whose create-vm has ended.
const MOMENT: &str = "tests/golden/v1/vhd-being-captured.json";
const FUNCTION: &str = "create-vm";
/// The stand-in of the managed identity expects this; no secret of anybody.
const IDENTITY_HEADER: &str = "benchmark";

/// A kind of request.
///
/// What is the cheapest invocation that finds nothing to do? A copy of a message that was handled long ago: the handler reads
/// the item's document from the ledger, sees that it is not this message's turn, and says so. That is [`Kind::Nothing`]. A
/// handler without a ledger has no such answer, so the peers read the same document from the same stand-in of Blob Storage.
/// How fast a server and a client of HTTP are together says little about each: so the contract is also measured without any
/// input or output, with a message that cannot be used ([`Kind::Refused`]), and the bare server with the readiness probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `GET /`.
    Probe,
    /// A message of another version: the invocation is read, its message decoded and refused, all in memory.
    Refused,
    /// A copy of a message that was handled long ago: one document of the ledger is read.
    Nothing,
}

impl Kind {
    /// All kinds, the cheapest first.
    pub const ALL: [Self; 3] = [Self::Probe, Self::Refused, Self::Nothing];

    /// What the table calls it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Probe => "readiness probe",
            Self::Refused => "refused message, no I/O",
            Self::Nothing => "nothing to do, one ledger read",
        }
    }

    /// The status that every handler must answer with.
    pub fn status(self) -> u16 {
        match self {
            Self::Probe | Self::Nothing => 200,
            Self::Refused => 400,
        }
    }
}

/// What is sent, and what the handlers find.
pub struct Contract {
    /// The ledger document that every read is answered with.
    pub document: Vec<u8>,
    /// The name of the build's VM, which the document's name ends with.
    pub vm_name: String,
    message: Value,
}

impl Contract {
    /// Takes the document from a golden file of the tests.
    ///
    /// # Errors
    /// If there is no such file, or no build in it.
    pub fn read() -> anyhow::Result<Self> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(MOMENT);
        let text = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let moment: Value = serde_json::from_slice(&text)?;
        let documents = moment["ledger"].as_array().context("the moment has no ledger")?;
        let is_build =
            |document: &&Value| document["name"].as_str().is_some_and(|name| name.starts_with("builds/"));
        let build = documents.iter().find(is_build).context("the moment has no build")?["content"].clone();
        let message =
            json!({"version": 1, "run": build["run"], "attempt": 1, "imagePath": build["imagePath"]});
        let vm_name = build["vmName"].as_str().context("the build has no VM")?.to_owned();
        Ok(Self { document: build.to_string().into_bytes(), vm_name, message })
    }

    /// A whole request of HTTP/1.1, as the host sends it.
    pub fn request(&self, kind: Kind, port: u16) -> Vec<u8> {
        if kind == Kind::Probe {
            return format!("GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").into_bytes();
        }
        let body = self.payload(kind);
        let head = format!(
            "POST /{FUNCTION} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json; charset=utf-8\r\n\
             X-Azure-Functions-HostVersion: 4.1037.0.0\r\nX-Azure-Functions-InvocationId: {}\r\n\
             User-Agent: Azure-Functions-Host/4.1037.0.0\r\nContent-Length: {}\r\n\r\n",
            Uuid::from_u128(1),
            body.len()
        );
        [head.into_bytes(), body].concat()
    }

    /// The payload that the host makes of a Service Bus message.
    fn payload(&self, kind: Kind) -> Vec<u8> {
        let mut body = self.message.clone();
        if kind == Kind::Refused {
            body["version"] = json!(99);
        }
        let binding = ServiceBusTrigger {
            name: "message".to_owned(),
            entity: EntityPath(FUNCTION.to_owned()),
            connection: "ServiceBus".to_owned(),
            data_type: Some(DataType::Binary),
            cardinality: Cardinality::One,
        };
        let now = datetime!(2026-01-01 00:10 UTC);
        let message = payload::service_bus::Message {
            message_id: Some("create-vm:manual-20260101t000000-first:0:1".to_owned()),
            content_type: Some("application/json".to_owned()),
            subject: Some(FUNCTION.to_owned()),
            delivery_count: 1,
            sequence_number: 42,
            lock_token: Uuid::from_u128(2),
            enqueued_time: now,
            ..payload::service_bus::Message::from_input(&body.to_string())
        };
        let client = payload::service_bus::Client {
            fully_qualified_namespace: "factory.servicebus.windows.net",
            identifier: "factory-1",
        };
        let sys = Sys { method_name: FUNCTION, utc_now: now, rand_guid: Uuid::from_u128(3) };
        payload::service_bus::invocation(&binding, &message, &client, &sys)
    }

    /// Settings as they are in Azure: nothing of it is on this machine, and nothing of it is called before the first message.
    pub fn deployed_settings(&self) -> BTreeMap<&'static str, String> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        BTreeMap::from([
            ("IMAGE_FACTORY_LEDGER", "https://factoryledger.blob.core.windows.net/image-factory".to_owned()),
            ("IMAGE_FACTORY_CONFIGURATION", examples.display().to_string()),
            ("ServiceBus__fullyQualifiedNamespace", "factory.servicebus.windows.net".to_owned()),
            ("IDENTITY_ENDPOINT", "http://127.0.0.1:8081/msi/token".to_owned()),
            ("IDENTITY_HEADER", IDENTITY_HEADER.to_owned()),
            ("BENCH_VM_NAME", self.vm_name.clone()),
        ])
    }

    /// The same with Azure's stand-in on `port`.
    pub fn stand_in_settings(&self, port: u16) -> BTreeMap<&'static str, String> {
        let mut settings = self.deployed_settings();
        let base = format!("http://127.0.0.1:{port}");
        let key = BASE64.encode("benchmark");
        settings.remove("ServiceBus__fullyQualifiedNamespace");
        settings.extend([
            ("IMAGE_FACTORY_LEDGER", format!("{base}/ledger/image-factory")),
            ("IMAGE_FACTORY_RESOURCE_MANAGER", base.clone()),
            ("IDENTITY_ENDPOINT", format!("{base}/msi/token")),
            (
                "ServiceBus",
                format!(
                    "Endpoint=sb://127.0.0.1;SharedAccessKeyName=benchmark;SharedAccessKey={key};UseDevelopmentEmulator=true;"
                ),
            ),
        ]);
        settings
    }
}
