//! The artifacts of a build as a text that people can read.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::Value;

use super::{SHORT_DIGITS, canonical};
use crate::domain::{FactorySettings, OsType, definition::get};

/// What separates artifacts and what holds their parameters' hash cannot be in their names.
const IN_NAMES: &AsciiSet = &CONTROLS.add(b'%').add(b',').add(b'(').add(b')');
/// The source that every lab has, which need not be said.
const PUBLIC_SOURCE: &str = "public repo";
const ARTIFACT_ID: &str = "artifactId";

/// `windows-chrome, windows-git (1f2e3d4c5b6a), tools/windows-agent`: the digits stand for an artifact's parameters, and a
/// source other than the public one is named. `None` if there are none.
pub(super) fn list(artifacts: &Value) -> Option<String> {
    match artifacts {
        Value::Null => None,
        Value::Array(items) => Some(items.iter().map(one).collect::<Vec<_>>().join(", ")),
        // An expression whose value only a deployment knows.
        expression => Some(canonical::digits(expression, SHORT_DIGITS)),
    }
}

/// The artifact that generalises: the factory's, or the definition's own where that is the last one.
pub(super) fn generalising(artifacts: &Value, os: OsType, settings: &FactorySettings) -> String {
    let last = artifacts.as_array().and_then(|items| items.last()).map(id);
    match last.filter(|id| os.is_generalised_by(id)) {
        Some(id) => name(&id),
        None => label(&settings.artifact_source, os.generalising_artifact()),
    }
}

fn one(artifact: &Value) -> String {
    let mut rest = artifact.as_object().cloned().unwrap_or_default();
    rest.retain(|key, value| !key.eq_ignore_ascii_case(ARTIFACT_ID) && !is_nothing(value));
    let name = name(&id(artifact));
    if rest.is_empty() {
        name
    } else {
        format!("{name} ({})", canonical::digits(&Value::Object(rest), SHORT_DIGITS))
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// What an entry of the list names; the entry itself where it names nothing.
fn id(artifact: &Value) -> String {
    let id =
        artifact.as_object().and_then(|entries| get(entries, ARTIFACT_ID)).and_then(|(_, id)| id.as_str());
    id.map_or_else(|| canonical::digits(artifact, SHORT_DIGITS), str::to_owned)
}

/// The name of an artifact in its source, whichever lab that is in; another id as it is.
fn name(id: &str) -> String {
    let parts: Vec<_> = id.rsplitn(5, '/').collect();
    match parts.as_slice() {
        [artifact, artifacts, source, sources, ..]
            if artifacts.eq_ignore_ascii_case("artifacts")
                && sources.eq_ignore_ascii_case("artifactsources") =>
        {
            label(source, artifact)
        }
        _ => utf8_percent_encode(id, IN_NAMES).to_string(),
    }
}

fn label(source: &str, artifact: &str) -> String {
    let label = if source.eq_ignore_ascii_case(PUBLIC_SOURCE) {
        artifact.to_owned()
    } else {
        format!("{source}/{artifact}")
    };
    utf8_percent_encode(&label, IN_NAMES).to_string()
}
