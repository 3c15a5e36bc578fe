//! What came of each call, as text that can be compared.

use std::fmt::{Debug, Display};

use image_factory::azure::{AzureError, ErrorKind};

/// The calls with their outcomes, in order.
#[derive(Debug, Default)]
pub struct Transcript(Vec<(String, String)>);

impl Transcript {
    /// Writes down what came of a call; a refusal as its kind, status and code, which is all that callers go by.
    pub fn note<T: Debug>(&mut self, call: impl Into<String>, outcome: Result<T, AzureError>) {
        let outcome = match outcome {
            Ok(value) => format!("{value:?}"),
            Err(error) => refusal(&error),
        };
        self.fact(call, outcome);
    }

    /// Writes down something that was seen.
    pub fn fact(&mut self, what: impl Into<String>, seen: impl Display) {
        let what = what.into();
        assert!(self.0.iter().all(|(other, _)| *other != what), "'{what}' is told twice");
        self.0.push((what, seen.to_string()));
    }

    /// All of it.
    pub fn lines(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(what, seen)| (what.as_str(), seen.as_str()))
    }
}

fn refusal(error: &AzureError) -> String {
    let kind = match error.kind {
        ErrorKind::NotFound => "not found",
        ErrorKind::Transient { .. } => "transient",
        ErrorKind::Precondition => "precondition",
        ErrorKind::Permanent => "permanent",
    };
    match error.status {
        Some(status) => format!("refused: {kind}, {status} {}", error.code),
        None => format!("refused: {kind}, {}", error.code),
    }
}
