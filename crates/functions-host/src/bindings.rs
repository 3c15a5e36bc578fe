//! A function's bindings: what triggers it and what it writes. [`read_functions`] reads them from function.json.

mod function_json;

use serde_json::{Map, Value};

use crate::schedule::Schedule;

pub use function_json::{Functions, SkippedFunction, parse_function, read_functions};

/// A function that the host runs.
#[derive(Clone, Debug)]
pub struct FunctionMetadata {
    /// The folder's name, in its own spelling.
    pub name: String,
    /// What starts it.
    pub trigger: Trigger,
    /// Its `out` bindings, in the file's order.
    pub outputs: Vec<OutputBinding>,
    /// Whether a setting or the file disables it: it is listed, but nothing triggers it.
    pub disabled: bool,
    /// function.json as it was read.
    pub config: Map<String, Value>,
}

/// A function's trigger binding.
#[derive(Clone, Debug)]
pub enum Trigger {
    /// `serviceBusTrigger`
    ServiceBus(ServiceBusTrigger),
    /// `timerTrigger`
    Timer(TimerTrigger),
    /// `httpTrigger`
    Http(HttpTrigger),
    /// `manualTrigger`: started through the admin API only.
    Manual {
        /// The binding's name.
        name: String,
    },
}

impl Trigger {
    /// The binding's name, under which `Data` holds the trigger's value.
    pub fn name(&self) -> &str {
        match self {
            Self::ServiceBus(trigger) => &trigger.name,
            Self::Timer(trigger) => &trigger.name,
            Self::Http(trigger) => &trigger.name,
            Self::Manual { name } => name,
        }
    }
}

/// `dataType` of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// `"string"`
    String,
    /// `"binary"`
    Binary,
}

/// `cardinality` of a trigger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One message per invocation.
    #[default]
    One,
    /// A batch per invocation.
    Many,
}

/// A queue, or a topic's subscription, with `/$DeadLetterQueue` at its end for the dead-letter sub-queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityPath(pub String);

/// How a dead-letter sub-queue is addressed in function.json.
const DEAD_LETTER_SUFFIX: &str = "/$DeadLetterQueue";

impl EntityPath {
    /// The entity without the dead-letter suffix, and whether the suffix was there.
    pub fn split(&self) -> (&str, bool) {
        match self.0.len().checked_sub(DEAD_LETTER_SUFFIX.len()).and_then(|at| self.0.split_at_checked(at)) {
            Some((entity, suffix)) if suffix.eq_ignore_ascii_case(DEAD_LETTER_SUFFIX) => (entity, true),
            _ => (&self.0, false),
        }
    }
}

/// A `serviceBusTrigger` binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceBusTrigger {
    /// The binding's name.
    pub name: String,
    /// Where messages come from, `%SETTING%` resolved.
    pub entity: EntityPath,
    /// The setting that holds the connection.
    pub connection: String,
    /// How the body is passed: text where nothing is said.
    pub data_type: Option<DataType>,
    /// One message or a batch.
    pub cardinality: Cardinality,
}

/// A `timerTrigger` binding.
#[derive(Clone, Debug)]
pub struct TimerTrigger {
    /// The binding's name.
    pub name: String,
    /// When it fires, `%SETTING%` resolved.
    pub schedule: Schedule,
    /// Whether it also fires when the host starts.
    pub run_on_startup: bool,
    /// Whether missed occurrences are noticed; false for schedules that fire more often than once a minute.
    pub use_monitor: bool,
}

/// Who may call an HTTP function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthorizationLevel {
    /// Anybody.
    Anonymous,
    /// Who has a key of the function or the host.
    Function,
    /// Who has the master key.
    Admin,
}

/// An `httpTrigger` binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTrigger {
    /// The binding's name.
    pub name: String,
    /// Upper-case methods; all where empty.
    pub methods: Vec<String>,
    /// The route's template below the route prefix; the function's name where nothing is said.
    pub route: Option<String>,
    /// The key that a caller needs.
    pub auth_level: AuthorizationLevel,
}

/// An `out` binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputBinding {
    /// The binding's name; `$return` for the return value.
    pub name: String,
    /// `dataType`; `binary` switches the base64 guess off.
    pub data_type: Option<DataType>,
    /// What it writes to.
    pub kind: OutputKind,
}

/// What an `out` binding writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputKind {
    /// `http`: the answer to the request that triggered the function.
    Http,
    /// `serviceBus`: messages to a queue or topic.
    ServiceBus {
        /// The queue or topic, `%SETTING%` resolved.
        entity: EntityPath,
        /// The setting that holds the connection.
        connection: String,
    },
}

impl FunctionMetadata {
    /// Whether the function is exactly an HTTP trigger and one `http` output, so that requests can be passed on as they
    /// are (Azure/azure-functions-host FunctionMetadataExtensions.cs `IsHttpInAndOutFunction`).
    pub fn is_http_in_and_out(&self) -> bool {
        matches!(self.trigger, Trigger::Http(_))
            && matches!(&self.outputs[..], [OutputBinding { kind: OutputKind::Http, .. }])
            && self.config.get("bindings").and_then(Value::as_array).is_some_and(|all| all.len() == 2)
    }

    /// The `$return` binding, if there is one.
    pub fn return_binding(&self) -> Option<&OutputBinding> {
        self.outputs.iter().find(|output| output.name == RETURN_BINDING)
    }
}

/// Name of the binding that takes `ReturnValue`.
pub const RETURN_BINDING: &str = "$return";
