//! What a check found.

use serde::Serialize;

use crate::azure::AzureError;

/// How it stands with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it must be.
    Ok,
    /// A run may come through; somebody should look.
    Warning,
    /// Runs fail by it.
    Failed,
    /// Not looked at, because something else failed.
    Skipped,
}

impl Verdict {
    /// As people and JSON read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that a check looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Which check.
    pub check: &'static str,
    /// What it looked at: a setting, a queue, a lab; empty where the check is about one thing alone.
    pub subject: String,
    /// How it stands.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What mends it: a command or a setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, subject: &str, found: impl Into<String>, fix: Option<String>) -> Self {
        Self { check: "", subject: subject.to_owned(), verdict, found: found.into(), fix }
    }

    /// As it must be.
    pub(super) fn ok(subject: &str, found: impl Into<String>) -> Self {
        Self::new(Verdict::Ok, subject, found, None)
    }

    /// Somebody should look.
    pub(super) fn warning(subject: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, subject, found, Some(fix.into()))
    }

    /// Runs fail by it.
    pub(super) fn failed(subject: &str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Verdict::Failed, subject, found, Some(fix.into()))
    }

    /// Not looked at.
    pub(super) fn skipped(subject: &str, why: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, subject, why, None)
    }

    /// A call of Azure that failed; `fix` is what mends a refusal.
    pub(super) fn refused(subject: &str, error: &AzureError, fix: impl Into<String>) -> Self {
        match error.is_transient() {
            true => Self::failed(
                subject,
                error.to_string(),
                "trouble that passes: run the doctor again in a while",
            ),
            false => Self::failed(subject, error.to_string(), fix),
        }
    }
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    pub(super) fn add(&mut self, check: &'static str, findings: Vec<Finding>) {
        self.findings.extend(findings.into_iter().map(|finding| Finding { check, ..finding }));
    }

    /// How many findings have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// Whether runs can do their work, as far as was looked.
    pub fn is_healthy(&self) -> bool {
        self.count(Verdict::Failed) == 0
    }
}
