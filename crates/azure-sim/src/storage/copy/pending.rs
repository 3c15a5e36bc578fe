//! The copies that have not ended, found by their id and by what they read from.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::{PendingCopy, Source};
use crate::storage::account::BlobKey;

/// The copies that have not ended.
#[derive(Debug, Default)]
pub(crate) struct PendingCopies {
    by_id: BTreeMap<Uuid, PendingCopy>,
    by_source: BTreeMap<Place, BTreeSet<Uuid>>,
}

/// Where a copy reads from, whatever the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Blob(String, BlobKey),
    Export(String),
}

impl Place {
    fn of(source: &Source) -> Self {
        match source {
            Source::Blob { account, key, .. } => Self::Blob(account.clone(), key.clone()),
            Source::Export(name) => Self::Export(name.clone()),
        }
    }
}

impl PendingCopies {
    pub fn insert(&mut self, id: Uuid, copy: PendingCopy) {
        self.by_source.entry(Place::of(&copy.source)).or_default().insert(id);
        self.by_id.insert(id, copy);
    }

    pub fn get(&self, id: Uuid) -> Option<&PendingCopy> {
        self.by_id.get(&id)
    }

    pub fn remove(&mut self, id: Uuid) -> Option<PendingCopy> {
        let copy = self.by_id.remove(&id)?;
        let place = Place::of(&copy.source);
        if let Some(readers) = self.by_source.get_mut(&place) {
            readers.remove(&id);
            if readers.is_empty() {
                self.by_source.remove(&place);
            }
        }
        Some(copy)
    }

    /// Those that write into this account.
    pub fn writing_to(&self, name: &str) -> Vec<Uuid> {
        self.by_id.iter().filter(|(_, copy)| copy.account == name).map(|(id, _)| *id).collect()
    }

    /// Those that read from this export.
    pub fn of_export(&self, name: &str) -> Vec<Uuid> {
        self.by_source.get(&Place::Export(name.to_owned())).into_iter().flatten().copied().collect()
    }

    /// Those that read from this blob; without one, from any blob of the account.
    pub fn of_blob(&self, account: &str, key: Option<BlobKey>) -> Vec<Uuid> {
        let Some(key) = key else {
            let first = Place::Blob(account.to_owned(), BlobKey::default());
            let of_account = |place: &Place| matches!(place, Place::Blob(name, _) if name == account);
            let places = self.by_source.range(first..).take_while(|(place, _)| of_account(place));
            return places.flat_map(|(_, ids)| ids).copied().collect();
        };
        self.by_source.get(&Place::Blob(account.to_owned(), key)).into_iter().flatten().copied().collect()
    }
}
