//! How a run stands.

use time::OffsetDateTime;

use crate::{
    azure::AzureError,
    ledger::{CallOffKind, Entry, ItemStatus, RunRecord},
    steps::Factory,
};

/// How a run stands, by its listings.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) builds: usize,
    pub(super) listed_builds: usize,
    pub(super) ended_builds: usize,
    pub(super) failed_builds: usize,
    pub(super) copies: usize,
    pub(super) ended_copies: usize,
    pub(super) failed_copies: usize,
    /// Of what failed, that which a later run superseded.
    pub(super) superseded: usize,
    pub(super) last_end: Option<OffsetDateTime>,
}

impl Standing {
    /// Reads the listings, keeping no more of them than these numbers.
    pub(super) async fn read(factory: &Factory, record: &RunRecord) -> Result<Self, AzureError> {
        let mut standing = Self { builds: record.builds.len(), ..Self::default() };
        for build in factory.ledger.builds(&record.run).await? {
            standing.add_build(&build);
        }
        let mut copies = factory.ledger.copy_pages(&record.run);
        while let Some(page) = copies.next().await? {
            page.iter().for_each(|copy| standing.add_copy(copy));
        }
        Ok(standing)
    }

    pub(super) fn add_build(&mut self, entry: &Entry) {
        self.listed_builds += 1;
        self.ended_builds += usize::from(entry.status != ItemStatus::Open);
        self.failed_builds += usize::from(entry.status == ItemStatus::Failed);
        let is_superseded = entry.called_off == Some(CallOffKind::Superseded);
        self.superseded += usize::from(is_superseded && entry.status == ItemStatus::Failed);
        // Of a captured build the copies are to be there, begun or not; copies that nobody began are open.
        self.copies += entry.copies.unwrap_or_default();
        self.last_end = self.last_end.max(entry.ended_at);
    }

    pub(super) fn add_copy(&mut self, entry: &Entry) {
        self.ended_copies += usize::from(entry.status != ItemStatus::Open);
        self.failed_copies += usize::from(entry.status == ItemStatus::Failed);
        self.last_end = self.last_end.max(entry.ended_at);
    }

    /// The builds that were planned and have no document: open, not forgotten.
    pub(super) fn missing(&self) -> usize {
        self.builds.saturating_sub(self.listed_builds)
    }

    pub(super) fn open_builds(&self) -> usize {
        self.missing() + self.listed_builds - self.ended_builds
    }

    pub(super) fn open_copies(&self) -> usize {
        self.copies.saturating_sub(self.ended_copies)
    }

    pub(super) fn is_over(&self) -> bool {
        self.missing() == 0 && self.is_over_but_for_missing()
    }

    pub(super) fn is_over_but_for_missing(&self) -> bool {
        self.listed_builds == self.ended_builds && self.open_copies() == 0
    }

    /// How much a look lists.
    pub(super) fn items(&self) -> u32 {
        u32::try_from(self.listed_builds + self.copies).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Display for Standing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { builds, failed_builds, copies, failed_copies, .. } = self;
        let (open_builds, open_copies) = (self.open_builds(), self.open_copies());
        write!(f, "{builds} images ({open_builds} open, {failed_builds} failed), ")?;
        write!(f, "{copies} copies ({open_copies} open, {failed_copies} failed)")
    }
}
