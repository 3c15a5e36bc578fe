//! What the factory remembers: one small JSON blob for each run, build and copy.
//!
//! Reads answer the document with its ETag; a write names the ETag that it read, so the later of two writers is refused
//! and looks again ([`Ledger::update`]). A document's status, and when its next step wants to be woken, also stand in the
//! blob's metadata: a listing of 1,000 a call tells how a run stands without reading a document.
//!
//! | blob | holds |
//! |---|---|
//! | `runs/{run}.json` | [`RunRecord`] |
//! | `configurations/{run}.json` | the configuration that the run is pinned to |
//! | `builds/{run}/{vm}.json` | [`BuildRecord`] |
//! | `definitions/{run}/{vm}.json` | the template of that build |
//! | `copies/{run}/{vm}/{lab}.json` | [`CopyRecord`] |
//! | `retirements/{run}/{lab}.json`, `…/{lab}-vhds.json` | [`Retirement`] of the lab's custom images, and of the factory lab's VHDs |
//! | `plans/{run}.json`, `plans/{run}/{lab}.json`, `…/{lab}-vhds.json` | [`RunPlan`], and a [`LabPlan`] for each lab and for the factory lab's VHDs |
//! | `line.json` | [`Line`]: the order in which runs plan |
//! | `rows/{subscription}.json` | [`Row`]: how far the places for calls of Resource Manager are given away there |
//! | `audit/{queue}-{hash}.json` | [`AuditLine`]: what a person asked for; kept for good |
//! | `backlogs/{queue}.json` | [`Backlog`]: how far a queue is that has more messages than the handlers take |
//! | `wishes/{queue}-{hash}.json` | the message of such a wish that is not answered yet, and when it is to come |
//! | `sweeps/{run}.json` | [`Sweep`]: which labs cleanup has not found clean yet since the run ended |

mod audit;
mod backlog;
mod called_off;
mod plan;
mod record;
mod retirement;
mod row;
mod wish;

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

pub use audit::AuditLine;
pub use backlog::Backlog;
pub use called_off::{CallOffKind, CallOffReason, CalledOff};
pub use plan::{ImagePlan, InLine, LabImagePlan, LabPlan, Line, RunPlan};
pub use record::{
    BuildRecord, Copied, CopyRecord, Ending, Facts, Failure, ItemStatus, Kept, PlannedBuild, Record,
    RunBuild, RunRecord, Siblings, StepState, UnchangedImage,
};
pub use retirement::Retirement;
pub use row::Row;

use crate::{
    azure::{AzureError, BlobItem, BlobPages, Condition, Container, ETag, ErrorKind},
    domain::{ConfigurationFiles, LabId, Message, Queue, RunId, VmName, names::lab_hash},
};

/// The code of a document that is there but is not what this program writes.
pub const MALFORMED_LEDGER: &str = "MalformedLedger";
/// Where a run has a folder of its own. Beside these it has single documents, named after it alone.
const FOLDERS_OF_A_RUN: [&str; 5] = ["copies", "builds", "definitions", "retirements", "plans"];
/// How often a write that lost against another is tried again before it counts as transient.
pub const WRITE_ATTEMPTS: usize = 8;
/// Documents of a forgotten run that are deleted at once.
const DELETIONS_AT_ONCE: usize = 16;
/// Metadata name of an item's status.
const STATUS: &str = "status";
/// Metadata name of the moment at which an item wants to be woken, RFC 3339.
const WAKE_AT: &str = "wakeat";
/// Metadata name of the step that wants it.
const WAKES: &str = "wakes";
/// Metadata name of the moment at which an item ended, RFC 3339.
const ENDED_AT: &str = "endedat";
/// Metadata name of how many copies a captured build has.
const COPIES: &str = "copies";
/// Metadata name of how an item was called off.
const CALLED_OFF: &str = "calledoff";

/// The name of a document, from what it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl Key {
    /// A run's document.
    pub fn run(run: &RunId) -> Self {
        Self(format!("runs/{run}.json"))
    }
    /// A build's document.
    pub fn build(run: &RunId, vm: &VmName) -> Self {
        Self::build_of(run, vm.as_str())
    }
    /// A build's document, of a VM whose name stands in Azure.
    pub fn build_of(run: &RunId, vm: &str) -> Self {
        Self(format!("builds/{run}/{vm}.json"))
    }
    /// A copy's document.
    pub fn copy(run: &RunId, vm: &VmName, lab: &LabId) -> Self {
        Self(format!("copies/{run}/{vm}/{}.json", Self::lab_part(lab)))
    }
    /// The document about what a run may retire of a lab's custom images.
    pub fn retirement(run: &RunId, lab: &LabId) -> Self {
        Self(format!("retirements/{run}/{}.json", Self::lab_part(lab)))
    }
    /// The same of the factory lab's captured VHDs; that lab can receive custom images as well.
    pub fn vhd_retirement(run: &RunId, lab: &LabId) -> Self {
        Self(format!("retirements/{run}/{}-vhds.json", Self::lab_part(lab)))
    }
    /// The run that this is the document of, if it is a run's.
    pub fn run_id(&self) -> Option<RunId> {
        self.run_in("runs/")
    }
    /// The run of a document of this folder that is named after its run alone.
    fn run_in(&self, folder: &str) -> Option<RunId> {
        RunId::parse(self.0.strip_prefix(folder)?.strip_suffix(".json")?).ok()
    }
    /// The run, the VM's name and the rest of the name of a copy's document, if it is one's.
    pub fn copy_parts(&self) -> Option<(RunId, &str, &str)> {
        let mut parts = self.0.strip_prefix("copies/")?.strip_suffix(".json")?.splitn(3, '/');
        Some((RunId::parse(parts.next()?).ok()?, parts.next()?, parts.next()?))
    }
    /// The part of a copy's document's name that stands for the lab.
    pub fn lab_part(lab: &LabId) -> String {
        format!("{}-{}", lab.lab_name().to_ascii_lowercase(), lab_hash(lab))
    }
    /// The document about what a run decided for a lab.
    pub fn lab_plan(run: &RunId, lab: &LabId) -> Self {
        Self(format!("plans/{run}/{}.json", Self::lab_part(lab)))
    }
    /// The same for the factory lab's captured VHDs.
    pub fn vhd_plan(run: &RunId, lab: &LabId) -> Self {
        Self(format!("plans/{run}/{}-vhds.json", Self::lab_part(lab)))
    }
    fn plan(run: &RunId) -> Self {
        Self(format!("plans/{run}.json"))
    }
    fn line() -> Self {
        Self("line.json".to_owned())
    }
    fn configuration(run: &RunId) -> Self {
        Self(format!("configurations/{run}.json"))
    }
    fn sweep(run: &RunId) -> Self {
        Self(format!("sweeps/{run}.json"))
    }
    fn row(subscription_id: &str) -> Self {
        Self(format!("rows/{}.json", subscription_id.to_ascii_lowercase()))
    }
    /// The document in this folder about a message, by its content: the same message is the same document, whatever its number.
    fn of_message(folder: &str, message: &Message) -> Self {
        Self(format!("{folder}{}-{}.json", message.queue(), message.content_hash()))
    }
    fn definition(run: &RunId, vm: &VmName) -> Self {
        Self(format!("definitions/{run}/{vm}.json"))
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A line of a listing.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The document.
    pub key: Key,
    /// How the item stands.
    pub status: ItemStatus,
    /// When it wants to be woken.
    pub wake_at: Option<OffsetDateTime>,
    /// Which of its steps wants that.
    pub wakes: Option<Queue>,
    /// When it ended.
    pub ended_at: Option<OffsetDateTime>,
    /// How many copies it has (builds that were captured).
    pub copies: Option<usize>,
    /// How it was called off, unless it failed for another reason.
    pub called_off: Option<CallOffKind>,
}

impl From<BlobItem> for Entry {
    fn from(item: BlobItem) -> Self {
        let text = |name: &str| item.metadata.get(name).map(String::as_str);
        let moment = |name| text(name).and_then(|value| OffsetDateTime::parse(value, &Rfc3339).ok());
        Self {
            status: ItemStatus::from_word(text(STATUS).unwrap_or_default()),
            wake_at: moment(WAKE_AT),
            wakes: text(WAKES).and_then(|name| name.parse().ok()),
            ended_at: moment(ENDED_AT),
            copies: text(COPIES).and_then(|value| value.parse().ok()),
            called_off: text(CALLED_OFF).and_then(CallOffKind::from_word),
            key: Key(item.name.clone()),
        }
    }
}

/// A listing, a page of at most 1,000 at a time: a run of 100,000 copies need not fit into memory.
#[derive(Debug)]
pub struct Entries(BlobPages);

impl Entries {
    /// The next page; `None` after the last.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>, AzureError> {
        Ok(self.0.next().await?.map(|page| page.into_iter().map(Entry::from).collect()))
    }

    async fn all(mut self) -> Result<Vec<Entry>, AzureError> {
        let mut entries = Vec::new();
        while let Some(page) = self.next().await? {
            entries.extend(page);
        }
        Ok(entries)
    }
}

/// What cleanup knows of an ended run's labs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    /// The labs that were not found clean yet since the run ended.
    pub left: Vec<LabId>,
}

/// The ledger: a blob container of the factory's own storage account.
#[derive(Clone)]
pub struct Ledger {
    container: Container,
}

impl Ledger {
    /// The ledger in `container`.
    pub fn new(container: Container) -> Self {
        Self { container }
    }

    /// The container's URL.
    pub fn address(&self) -> &str {
        self.container.address()
    }

    /// The container itself.
    pub fn container(&self) -> &Container {
        &self.container
    }

    /// Makes the container if it is not there.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn prepare(&self) -> Result<(), AzureError> {
        self.container.create_if_missing().await
    }

    /// A document with its ETag.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn read<R: Record>(&self, key: &Key) -> Result<Option<(R, ETag)>, AzureError> {
        self.document(key).await
    }

    /// A document of any form, with its ETag.
    async fn document<T: DeserializeOwned>(&self, key: &Key) -> Result<Option<(T, ETag)>, AzureError> {
        let Some((bytes, etag)) = self.container.get(&key.0).await? else {
            return Ok(None);
        };
        Ok(Some((parse(key, &bytes)?, etag)))
    }

    /// Writes a document that has no metadata.
    async fn put<T: Serialize>(
        &self,
        key: &Key,
        document: &T,
        condition: Condition,
    ) -> Result<ETag, AzureError> {
        self.put_with(key, document, &BTreeMap::new(), condition).await
    }

    /// Writes a document with what a listing shows of it.
    async fn put_with<T: Serialize>(
        &self,
        key: &Key,
        document: &T,
        metadata: &BTreeMap<String, String>,
        condition: Condition,
    ) -> Result<ETag, AzureError> {
        let bytes = serde_json::to_vec(document).map_err(|error| malformed(key, &error))?;
        self.container.put(&key.0, bytes, metadata, condition).await
    }

    /// Writes a document once; answers what was written first, whoever did it.
    async fn keep<T: Serialize + DeserializeOwned>(&self, key: &Key, document: T) -> Result<T, AzureError> {
        if created(self.put(key, &document, Condition::IfMissing).await)? {
            return Ok(document);
        }
        Ok(self.document(key).await?.ok_or_else(|| missing(key))?.0)
    }

    /// How an item stands, without reading its document; `None` if it is not there.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn status(&self, key: &Key) -> Result<Option<ItemStatus>, AzureError> {
        let found = self.container.properties(&key.0).await?;
        Ok(found.map(|blob| ItemStatus::from_word(blob.metadata.get(STATUS).map_or("", String::as_str))))
    }

    /// Writes a document that must not be there yet. `false`: it is there, and stays as it is.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn create<R: Record>(&self, key: &Key, record: &R) -> Result<bool, AzureError> {
        created(self.write(key, record, Condition::IfMissing).await)
    }

    /// Reads a document, lets `change` change it, and writes it back, again from the start if another was faster.
    /// `change` answers whether there is something to write.
    ///
    /// # Errors
    /// If Blob Storage refuses, the document is not there, or others are always faster (then it is transient).
    pub async fn update<R: Record>(
        &self,
        key: &Key,
        change: impl FnMut(&mut R) -> bool + Send,
    ) -> Result<R, AzureError> {
        self.update_read(key, None, change).await
    }

    /// As [`Self::update`], where the document was read before: that saves a call as long as nobody else wrote since.
    ///
    /// # Errors
    /// As [`Self::update`].
    pub async fn update_read<R: Record>(
        &self,
        key: &Key,
        mut known: Option<(R, ETag)>,
        mut change: impl FnMut(&mut R) -> bool + Send,
    ) -> Result<R, AzureError> {
        let mut last = None;
        for _ in 0..WRITE_ATTEMPTS {
            let (mut record, etag) = match known.take() {
                Some(known) => known,
                None => self.read::<R>(key).await?.ok_or_else(|| missing(key))?,
            };
            if !change(&mut record) {
                return Ok(record);
            }
            match self.write(key, &record, Condition::IfMatch(etag)).await {
                Ok(_) => return Ok(record),
                Err(error) if error.is_precondition() => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let error = last.unwrap_or_else(|| missing(key));
        Err(AzureError { kind: ErrorKind::Transient { retry_after: None }, ..error })
    }

    async fn write<R: Record>(
        &self,
        key: &Key,
        record: &R,
        condition: Condition,
    ) -> Result<ETag, AzureError> {
        let mut metadata = BTreeMap::from([(STATUS.to_owned(), record.status().word().to_owned())]);
        let mut put = |name: &str, value: Option<String>| {
            metadata.extend(value.map(|value| (name.to_owned(), value)));
        };
        let wakes = record.wakes();
        put(WAKE_AT, wakes.and_then(|(_, at)| at.format(&Rfc3339).ok()));
        put(WAKES, wakes.map(|(step, _)| step.to_string()));
        put(ENDED_AT, record.ended_at().and_then(|at| at.format(&Rfc3339).ok()));
        put(COPIES, record.copies().map(|number| number.to_string()));
        put(CALLED_OFF, record.call_off_kind().map(|kind| kind.word().to_owned()));
        self.put_with(key, record, &metadata, condition).await
    }

    /// All runs, newest last as far as their ids sort so.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn runs(&self) -> Result<Vec<Entry>, AzureError> {
        self.list("runs/").all().await
    }

    /// A run's builds: one page, since a run has a thousand or so.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn builds(&self, run: &RunId) -> Result<Vec<Entry>, AzureError> {
        self.list(&format!("builds/{run}/")).all().await
    }

    /// A run's copies, as far as they were begun, all at once: for runs that are known to be small.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn copies(&self, run: &RunId) -> Result<Vec<Entry>, AzureError> {
        self.copy_pages(run).all().await
    }

    /// A run's copies, as far as they were begun, page by page; calls nothing yet.
    pub fn copy_pages(&self, run: &RunId) -> Entries {
        self.list(&format!("copies/{run}/"))
    }

    /// The copies of one build, as far as they were begun.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn copies_of(&self, run: &RunId, vm: &VmName) -> Result<Vec<Entry>, AzureError> {
        self.list(&format!("copies/{run}/{vm}/")).all().await
    }

    fn list(&self, prefix: &str) -> Entries {
        Entries(self.container.pages(prefix))
    }

    /// The runs whose labs were all found clean since they ended.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn swept_runs(&self) -> Result<BTreeSet<RunId>, AzureError> {
        let mut swept = BTreeSet::new();
        let mut entries = self.list("sweeps/");
        while let Some(page) = entries.next().await? {
            let done = page.into_iter().filter(|entry| entry.status == ItemStatus::Succeeded);
            swept.extend(done.filter_map(|entry| entry.key.run_in("sweeps/")));
        }
        Ok(swept)
    }

    /// What cleanup noted about an ended run's labs; `None` before it began.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn sweep(&self, run: &RunId) -> Result<Option<Sweep>, AzureError> {
        Ok(self.document(&Key::sweep(run)).await?.map(|(sweep, _)| sweep))
    }

    /// Notes which of an ended run's labs are still to be swept.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn note_sweep(&self, run: &RunId, sweep: &Sweep) -> Result<(), AzureError> {
        let status = if sweep.left.is_empty() { ItemStatus::Succeeded } else { ItemStatus::Open };
        let metadata = BTreeMap::from([(STATUS.to_owned(), status.word().to_owned())]);
        // There is one timer: nobody else writes this, and what is lost is looked at twice.
        self.put_with(&Key::sweep(run), sweep, &metadata, Condition::None).await?;
        Ok(())
    }

    /// Forgets which of a run's labs were found clean: it begins anew.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn forget_sweep(&self, run: &RunId) -> Result<(), AzureError> {
        self.container.delete(&Key::sweep(run).0).await?;
        Ok(())
    }

    /// Removes what is remembered of a run, at most `most` documents now, the run's own last. Whether nothing is left.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn forget(&self, run: &RunId, most: usize) -> Result<bool, AzureError> {
        let mut room = most;
        for kind in FOLDERS_OF_A_RUN {
            let mut pages = self.container.pages(&format!("{kind}/{run}/"));
            while let Some(mut page) = pages.next().await? {
                let is_too_much = page.len() > room;
                page.truncate(room);
                room -= page.len();
                let removals = page.into_iter().map(|blob| {
                    let container = self.container.clone();
                    async move { container.delete(&blob.name).await }
                });
                stream::iter(removals).buffer_unordered(DELETIONS_AT_ONCE).try_collect::<Vec<bool>>().await?;
                if is_too_much {
                    return Ok(false);
                }
            }
        }
        for key in [Key::configuration(run), Key::sweep(run), Key::plan(run), Key::run(run)] {
            self.container.delete(&key.0).await?;
        }
        Ok(true)
    }

    /// Pins a run to `files`; answers what it was pinned to first, whoever did it.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn pin_configuration(
        &self,
        run: &RunId,
        files: &ConfigurationFiles,
    ) -> Result<ConfigurationFiles, AzureError> {
        let key = Key::configuration(run);
        let pinned: BTreeMap<&str, Pinned> =
            files.files.iter().map(|(path, content)| (path.as_str(), Pinned::of(content))).collect();
        created(self.put(&key, &pinned, Condition::IfMissing).await)?;
        self.pinned_configuration(run).await?.ok_or_else(|| missing(&key))
    }

    /// What a run is pinned to.
    ///
    /// # Errors
    /// If Blob Storage refuses, or the document is not of the expected form.
    pub async fn pinned_configuration(&self, run: &RunId) -> Result<Option<ConfigurationFiles>, AzureError> {
        let found = self.document::<BTreeMap<String, Pinned>>(&Key::configuration(run)).await?;
        Ok(found.map(|(files, _)| files.into_iter().map(|(path, file)| (path, file.bytes())).collect()))
    }

    /// Keeps the template of a build; one that is there stays.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn keep_definition(&self, run: &RunId, vm: &VmName, template: &[u8]) -> Result<(), AzureError> {
        let key = Key::definition(run, vm);
        created(self.container.put(&key.0, template.to_vec(), &BTreeMap::new(), Condition::IfMissing).await)?;
        Ok(())
    }

    /// The template of a build.
    ///
    /// # Errors
    /// If Blob Storage refuses or the definition is not there.
    pub async fn definition(&self, run: &RunId, vm: &VmName) -> Result<Vec<u8>, AzureError> {
        let key = Key::definition(run, vm);
        let found = self.container.get(&key.0).await?;
        found.map(|(bytes, _)| bytes).ok_or_else(|| missing(&key))
    }
}

/// A file of a pinned configuration: readable where it is text, as nearly all are.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Pinned {
    Text(String),
    Bytes { base64: String },
}

impl Pinned {
    fn of(content: &[u8]) -> Self {
        match std::str::from_utf8(content) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { base64: BASE64.encode(content) },
        }
    }

    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.into_bytes(),
            // Only this program writes these; what somebody spoilt by hand fails as a configuration.
            Self::Bytes { base64 } => BASE64.decode(base64).unwrap_or_default(),
        }
    }
}

/// Whether a conditional creation wrote; that the document was there already is no error.
fn created(result: Result<ETag, AzureError>) -> Result<bool, AzureError> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.is_precondition() => Ok(false),
        Err(error) => Err(error),
    }
}

fn parse<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, AzureError> {
    serde_json::from_slice(bytes).map_err(|error| malformed(key, &error))
}

fn malformed(key: &Key, error: &dyn std::error::Error) -> AzureError {
    ledger_error(key, ErrorKind::Permanent, MALFORMED_LEDGER, format!("the document cannot be used: {error}"))
}

fn missing(key: &Key) -> AzureError {
    ledger_error(key, ErrorKind::NotFound, "MissingLedger", "the document is not there".to_owned())
}

fn ledger_error(key: &Key, kind: ErrorKind, code: &str, message: String) -> AzureError {
    AzureError {
        kind,
        status: None,
        code: code.to_owned(),
        message,
        correlation_id: None,
        attempted: format!("ledger document {key}"),
    }
}

#[cfg(test)]
mod tests;
