//! What people asked for: who, what, when, and what came of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Condition, Key, Ledger, created};
use crate::{azure::AzureError, domain::Message};

/// The folder of these documents. They are kept when their run is forgotten.
const FOLDER: &str = "audit/";
/// Metadata name of the moment, RFC 3339, so that a listing can be sorted.
const AT: &str = "at";

/// One asking. The message as it was, which holds no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditLine {
    /// When it was first handled.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who asked.
    pub by: String,
    /// What for, such as `cancel-run` or `rerun copy-image`.
    pub what: String,
    /// The message.
    pub message: Value,
    /// What came of it, in words; `None` before that is known, and for a run, which has a report of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Whether that is the last word: a later copy of the message is told the same, and does nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub settled: bool,
}

impl AuditLine {
    /// The line of a message that a person sent, handled at `now`; `None` of a message that no person sent.
    pub fn of(message: &Message, now: OffsetDateTime) -> Option<Self> {
        let by = message.by()?.to_string();
        let queue = message.queue();
        let what = if message.rerun.is_some() { format!("rerun {queue}") } else { queue.to_string() };
        Some(Self {
            at: now,
            by,
            what,
            message: message.numbered(1).to_json(),
            outcome: None,
            settled: false,
        })
    }
}

impl Ledger {
    /// Writes down what a person asked for, once; does nothing for a message that no person sent. Answers the line of an
    /// earlier copy of the message.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn note_asked(
        &self,
        message: &Message,
        now: OffsetDateTime,
    ) -> Result<Option<AuditLine>, AzureError> {
        let Some(line) = AuditLine::of(message, now) else { return Ok(None) };
        let key = Key::of_message(FOLDER, message);
        if created(self.put_line(&key, &line, Condition::IfMissing).await)? {
            return Ok(None);
        }
        Ok(self.document(&key).await?.map(|(line, _)| line))
    }

    /// Writes down what came of it; a later word stands for an earlier one's, unless that was the last one.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn note_outcome(
        &self,
        message: &Message,
        outcome: &str,
        settled: bool,
    ) -> Result<(), AzureError> {
        let key = Key::of_message(FOLDER, message);
        let Some((line, _)) = self.document::<AuditLine>(&key).await? else { return Ok(()) };
        if line.settled || (line.settled == settled && line.outcome.as_deref() == Some(outcome)) {
            return Ok(());
        }
        let line = AuditLine { outcome: Some(outcome.to_owned()), settled, ..line };
        self.put_line(&key, &line, Condition::None).await?;
        Ok(())
    }

    async fn put_line(
        &self,
        key: &Key,
        line: &AuditLine,
        condition: Condition,
    ) -> Result<crate::azure::ETag, AzureError> {
        let at = line.at.format(&Rfc3339).unwrap_or_default();
        self.put_with(key, line, &BTreeMap::from([(AT.to_owned(), at)]), condition).await
    }

    /// What people asked for, newest first, at most `most` lines.
    ///
    /// # Errors
    /// If Blob Storage refuses, or a line is not of the expected form.
    pub async fn audit(&self, most: usize) -> Result<Vec<AuditLine>, AzureError> {
        let mut names = Vec::new();
        let mut pages = self.container.pages(FOLDER);
        while let Some(page) = pages.next().await? {
            let moment = |text: &String| OffsetDateTime::parse(text, &Rfc3339).ok();
            names.extend(page.into_iter().map(|blob| (blob.metadata.get(AT).and_then(moment), blob.name)));
        }
        names.sort_by(|one, other| other.cmp(one));
        let mut lines = Vec::new();
        for (_, name) in names.into_iter().take(most) {
            lines.extend(self.document::<AuditLine>(&Key(name)).await?.map(|(line, _)| line));
        }
        Ok(lines)
    }
}
