//! The body of an invocation's request to the handler: `{"Data":{…},"Metadata":{…}}`.
//!
//! Everything here is a pure function from values to bytes: no clock, no sockets, no runtime. It follows
//! Azure/azure-functions-host ScriptInvocationContextExtensions.cs (`ToHttpScriptInvocationContext`).

pub mod http;
pub mod service_bus;
pub mod timer;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::newtonsoft::{self, Fraction};

/// What every payload tells about the invocation in `Metadata.sys` (Azure/azure-webjobs-sdk SystemBindingData.cs).
#[derive(Clone, Copy, Debug)]
pub struct Sys<'a> {
    /// The function's name.
    pub method_name: &'a str,
    /// The time of the invocation.
    pub utc_now: OffsetDateTime,
    /// A fresh GUID.
    pub rand_guid: Uuid,
}

impl Sys<'_> {
    fn value(&self) -> BindingValue {
        let mut map = Map::new();
        map.insert("MethodName".into(), self.method_name.into());
        map.insert("UtcNow".into(), (newtonsoft::date_time(self.utc_now, Fraction::Full) + "Z").into());
        map.insert("RandGuid".into(), self.rand_guid.to_string().into());
        BindingValue::Object(map)
    }
}

/// A .NET value of the binding data, told apart as far as the encoding does.
#[derive(Clone, Debug, PartialEq)]
enum BindingValue {
    /// `byte[]`
    Bytes(Vec<u8>),
    /// `DateTime`: its zone is lost.
    DateTime(OffsetDateTime),
    /// `DateTimeOffset`
    DateTimeOffset(OffsetDateTime),
    /// A dictionary or an object: nested as it is.
    Object(Map<String, Value>),
    /// Null.
    Null,
    /// Everything else, arrays as well: a JSON string that contains JSON.
    Other(Value),
}

impl BindingValue {
    fn text(text: Option<&str>) -> Self {
        text.map_or(Self::Null, |text| Self::Other(text.into()))
    }

    /// `GetHttpScriptInvocationContextValue`, with dates as newer hosts write them: whole seconds, not JSON in a string
    /// (Azure/azure-functions-host issues 6574 and 6997).
    fn encode(self) -> Value {
        match self {
            Self::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Self::DateTime(moment) => newtonsoft::date_time(moment, Fraction::None).into(),
            Self::DateTimeOffset(moment) => newtonsoft::date_time_offset(moment, Fraction::None).into(),
            Self::Object(map) => Value::Object(map),
            Self::Null => "null".into(),
            Self::Other(value) => newtonsoft::compact(&value).into(),
        }
    }
}

/// .NET's case-insensitive dictionary of binding data. It keeps the order in which keys came, and the first spelling of a
/// key whose value is replaced.
#[derive(Debug, Default)]
struct BindingData(Vec<(String, BindingValue)>);

impl BindingData {
    fn set(&mut self, key: &str, value: BindingValue) {
        match self.0.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.into(), value)),
        }
    }

    fn contains(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known.eq_ignore_ascii_case(key))
    }

    /// SystemBindingData.cs: the key is `$sys` where the binding data already has `sys`.
    fn set_sys(&mut self, sys: &Sys<'_>) {
        let key = if self.contains("sys") { "$sys" } else { "sys" };
        self.set(key, sys.value());
    }

    /// `Metadata`: without nulls and without keys that end in "trigger".
    fn metadata(self) -> Map<String, Value> {
        self.0
            .into_iter()
            .filter(|(key, value)| *value != BindingValue::Null && !ends_with_trigger(key))
            .map(|(key, value)| (key, value.encode()))
            .collect()
    }
}

fn ends_with_trigger(key: &str) -> bool {
    const SUFFIX: &str = "trigger";
    key.len() >= SUFFIX.len()
        && key.as_bytes()[key.len() - SUFFIX.len()..].eq_ignore_ascii_case(SUFFIX.as_bytes())
}

/// What to do with a leaking body's arrays: the script host leaves them out, the HTTP extension takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrays {
    LeftOut,
    Taken,
}

/// A JSON body's top-level properties become binding data, over what is already there
/// (Azure/azure-functions-host Utility.cs `ApplyBindingData`, azure-webjobs-sdk-extensions Http/Utility.cs).
fn leak_properties(body: &str, data: &mut BindingData, arrays: Arrays) {
    if !newtonsoft::looks_like_json(body) {
        return;
    }
    let Ok(Value::Object(properties)) = serde_json::from_str(body) else {
        return;
    };
    for (key, value) in properties {
        match value {
            Value::Null => {}
            Value::Array(_) if arrays == Arrays::LeftOut => {}
            Value::Array(_) => data.set(&key, BindingValue::Other(newtonsoft::reformat_dates(value))),
            Value::Object(_) => match newtonsoft::reformat_dates(value) {
                Value::Object(map) => data.set(&key, BindingValue::Object(map)),
                _ => unreachable!("dates are only replaced inside an object"),
            },
            scalar => data.set(&key, BindingValue::Other(newtonsoft::to_text(&scalar).into())),
        }
    }
}

/// The whole body. `data` is the trigger's value under its binding's name.
fn body(name: &str, data: Value, metadata: Map<String, Value>) -> Vec<u8> {
    let mut all = Map::new();
    let mut inputs = Map::new();
    inputs.insert(name.into(), data);
    all.insert("Data".into(), Value::Object(inputs));
    all.insert("Metadata".into(), Value::Object(metadata));
    newtonsoft::compact(&Value::Object(all)).into_bytes()
}

/// The body for a function with a `manualTrigger`, started through the admin API.
pub fn manual(name: &str, input: Option<&str>, sys: &Sys<'_>) -> Vec<u8> {
    let mut data = BindingData::default();
    data.set(name, BindingValue::text(input));
    data.set_sys(sys);
    leak_properties(input.unwrap_or_default(), &mut data, Arrays::LeftOut);
    body(name, BindingValue::text(input).encode(), data.metadata())
}
