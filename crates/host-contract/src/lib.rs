//! What the Azure Functions host and a custom handler say to each other, stated value by value, for tests of both sides: the local
//! host must *produce* these requests and judge these answers so, the handler must *take* the very same requests and give the
//! very same answers. So neither can drift from the real host to please the other.
//!
//! Each value stands beside the name of a rule, `"DeliveryCount": ["1", "scalar-in-text"]`; [`rules`] says each rule and its public
//! source. A file of `requests/` is one request:
//!
//! | key | |
//! |---|---|
//! | `about` | what it shows |
//! | `recorded` | where the real host's bytes, or those of Microsoft's documentation, were published |
//! | `function`, `bindings` | the function; without bindings it is the app's own `functions/<function>/function.json` |
//! | `event` | what happened; without it only the handler is tested |
//! | `data`, `metadata` | the whole body, in its order |
//! | `metadataHas`, `absent` | instead of `metadata`: keys that it has among others, keys that it has not |
//! | `differs` | of a recording: what the present host writes there, `null` for nothing |
//! | `headers` | the headers; `<guid>` stands for a fresh one |
//! | `unbound` | no request is made; part of the reason |
//! | `refused` | what the handler answers to it: status and part of the reason. Without it the handler takes it if the function is its own |
//!
//! A file of `answers/` lists answers of one function's handler, each with what becomes of it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// A value and the name of the rule that it follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Stated {
    /// The value.
    pub value: Value,
    /// The rule.
    pub rule: String,
}

/// Values by key, in the file's order.
pub type Lines = Vec<(String, Stated)>;

/// One request of the host.
#[derive(Clone, Debug)]
pub struct Request {
    /// The file's name without `.json`.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// Where it was published, if it was recorded.
    pub recorded: Option<String>,
    /// The function.
    pub function: String,
    /// The bindings of its function.json.
    pub bindings: Value,
    /// Whether it is a function of this app.
    pub own: bool,
    /// What happened.
    pub event: Option<Value>,
    /// `Data`.
    pub data: Lines,
    /// `Metadata`, or some of it.
    pub metadata: Lines,
    /// Whether `metadata` is all of it.
    pub complete: bool,
    /// Keys that `Metadata` has not.
    pub absent: Lines,
    /// What the present host writes elsewise than the recorded one, by `Data.key` or `Metadata.key`.
    pub differs: Lines,
    /// The headers, names in lower case.
    pub headers: Lines,
    /// Why no request is made.
    pub unbound: Option<Stated>,
    /// The handler's refusal: its status, and a part of its reason.
    pub refused: Option<(u16, String)>,
}

impl Request {
    /// The body as it is stated: `{"Data":{…},"Metadata":{…}}` in one line (Azure/azure-functions-host HttpScriptInvocationContext.cs).
    pub fn body(&self) -> String {
        let plain = |lines: &Lines| -> Map<String, Value> {
            lines.iter().map(|(key, stated)| (key.clone(), stated.value.clone())).collect()
        };
        let parts = [("Data", plain(&self.data)), ("Metadata", plain(&self.metadata))];
        let whole: Map<String, Value> =
            parts.into_iter().map(|(name, map)| (name.to_owned(), Value::Object(map))).collect();
        Value::Object(whole).to_string()
    }
}

/// The answers of one function's handler.
#[derive(Clone, Debug)]
pub struct Answers {
    /// The file's name without `.json`.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// The function.
    pub function: String,
    /// The bindings of its function.json.
    pub bindings: Value,
    /// The answers.
    pub answers: Vec<Answer>,
}

/// One answer of a handler.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The rule that decides what becomes of it.
    pub rule: String,
    /// What the handler was asked, where it is our own: `POST /cleanup`, and the name of a request.
    pub asked: Option<(String, Option<String>)>,
    /// The status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// What becomes of it.
    pub becomes: Value,
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a folder, sorted by name.
fn files(name: &str) -> Vec<(String, Map<String, Value>)> {
    let entries = fs::read_dir(folder().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.sort();
    let file = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match read(path) {
            Value::Object(entries) => (name, entries),
            _ => panic!("{name} is no object"),
        }
    };
    paths.iter().map(file).collect()
}

/// What each rule says, and where it is written.
///
/// # Panics
/// If the file is broken, as all of these functions.
pub fn rules() -> BTreeMap<String, (String, String)> {
    let Value::Object(rules) = read(&folder().join("rules.json")) else { panic!("rules.json is no object") };
    rules
        .into_iter()
        .map(|(name, rule)| {
            let text = |at: usize| rule[at].as_str().unwrap_or_else(|| panic!("{name}")).to_owned();
            let (says, source) = (text(0), text(1));
            (name, (says, source))
        })
        .collect()
}

/// All requests.
pub fn requests() -> Vec<Request> {
    files("requests").into_iter().map(|(name, file)| request(name, file)).collect()
}

/// All answers.
pub fn answers() -> Vec<Answers> {
    files("answers").into_iter().map(|(name, file)| answers_of(name, file)).collect()
}

/// Takes a file apart; what is left in the end nobody reads.
struct Fields {
    name: String,
    entries: Map<String, Value>,
}

impl Fields {
    fn take(&mut self, key: &str) -> Option<Value> {
        self.entries.shift_remove(key)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let name = &self.name;
        let value = self.entries.shift_remove(key)?;
        Some(value.as_str().unwrap_or_else(|| panic!("{name}: '{key}' is no text")).to_owned())
    }

    fn needed(&mut self, key: &str) -> String {
        self.text(key).unwrap_or_else(|| panic!("{}: '{key}' is missing", self.name))
    }

    fn stated(&mut self, key: &str) -> Option<Stated> {
        let value = self.take(key)?;
        Some(self.pair(key, &value))
    }

    fn pair(&self, key: &str, value: &Value) -> Stated {
        match value.as_array().map(Vec::as_slice) {
            Some([value, Value::String(rule)]) => Stated { value: value.clone(), rule: rule.clone() },
            _ => panic!("{}: '{key}' is not [value, rule]", self.name),
        }
    }

    fn lines(&mut self, key: &str) -> Option<Lines> {
        let value = self.take(key)?;
        let entries = value.as_object().unwrap_or_else(|| panic!("{}: '{key}' is no object", self.name));
        Some(entries.iter().map(|(key, value)| (key.clone(), self.pair(key, value))).collect())
    }

    /// The function's bindings, and whether it is the app's own.
    fn bindings(&mut self, function: &str) -> (Value, bool) {
        let own = folder().join("../../functions").join(function).join("function.json");
        match self.take("bindings") {
            Some(bindings) => (bindings, false),
            None => (read(&own)["bindings"].take(), true),
        }
    }

    fn end(self) {
        let left: Vec<&String> = self.entries.keys().collect();
        assert!(left.is_empty(), "{}: nobody reads {left:?}", self.name);
    }
}

fn request(name: String, entries: Map<String, Value>) -> Request {
    let mut fields = Fields { name: name.clone(), entries };
    let function = fields.needed("function");
    let (bindings, own) = fields.bindings(&function);
    let (whole, part) = (fields.lines("metadata"), fields.lines("metadataHas"));
    let refused = fields.take("refused").map(|refused| {
        let status = refused[0].as_u64().and_then(|status| u16::try_from(status).ok());
        let reason = refused[1].as_str().map(str::to_owned);
        status.zip(reason).unwrap_or_else(|| panic!("{name}: 'refused' is not [status, reason]"))
    });
    let request = Request {
        about: fields.needed("about"),
        recorded: fields.text("recorded"),
        event: fields.take("event"),
        data: fields.lines("data").unwrap_or_default(),
        complete: whole.is_some(),
        metadata: whole.or(part).unwrap_or_default(),
        absent: fields.lines("absent").unwrap_or_default(),
        differs: fields.lines("differs").unwrap_or_default(),
        headers: fields.lines("headers").unwrap_or_default(),
        unbound: fields.stated("unbound"),
        refused,
        name,
        function,
        bindings,
        own,
    };
    fields.end();
    request
}

fn answers_of(name: String, entries: Map<String, Value>) -> Answers {
    let mut fields = Fields { name: name.clone(), entries };
    let function = fields.needed("function");
    let (bindings, _) = fields.bindings(&function);
    let Some(Value::Array(list)) = fields.take("answers") else { panic!("{name}: 'answers' is no list") };
    let about = fields.needed("about");
    fields.end();
    let answers = list.into_iter().enumerate().map(|(at, entry)| answer(&format!("{name}[{at}]"), entry));
    Answers { about, answers: answers.collect(), name, function, bindings }
}

fn answer(name: &str, entry: Value) -> Answer {
    let Value::Object(entries) = entry else { panic!("{name} is no object") };
    let mut fields = Fields { name: name.to_owned(), entries };
    let body = match (fields.take("body"), fields.text("text")) {
        (Some(json), None) => json.to_string().into_bytes(),
        (None, text) => text.unwrap_or_default().into_bytes(),
        _ => panic!("{name}: either 'body' or 'text'"),
    };
    let asked = fields.text("asked");
    let with = fields.text("with");
    let status = fields.take("status").map_or(Some(200), |status| status.as_u64());
    let content_type = match fields.take("contentType") {
        None => Some("application/json".to_owned()),
        Some(other) => other.as_str().map(str::to_owned),
    };
    let answer = Answer {
        rule: fields.needed("rule"),
        asked: asked.map(|asked| (asked, with)),
        status: status
            .and_then(|status| u16::try_from(status).ok())
            .unwrap_or_else(|| panic!("{name}: status")),
        content_type,
        body,
        becomes: fields.take("becomes").unwrap_or_else(|| panic!("{name}: 'becomes' is missing")),
    };
    fields.end();
    answer
}

#[cfg(test)]
mod tests;
