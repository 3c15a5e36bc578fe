//! A lab with the storage account in which its VHDs stand.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use factory_clock::Clock;
use time::{Duration, OffsetDateTime};

use crate::{
    azure::{Azure, AzureError, BlobAuthorization, Container, CopyStatus, ErrorKind, Lab, StorageAccount},
    domain::LabId,
    secret::Secret,
};

/// The container for VHDs in a lab's storage account; Microsoft's sample uses the same.
pub const VHD_CONTAINER: &str = "imagefactoryvhds";

/// How long a lab and its account are taken as known. Looking them up costs two calls, which every look at a copy would
/// repeat; a key that is good no longer is noticed by the refusal, see [`LabStorages::forget`].
const KNOWN_FOR: Duration = Duration::hours(1);
/// The storage service's code for a container that is not there.
const NO_CONTAINER: &str = "ContainerNotFound";

/// What a VHD's SAS permits: to read it.
const READ: &str = "r";

/// The names of the storage accounts that are reached with a key of theirs: only those that somebody named, because they allow
/// the factory nothing else.
pub type KeyedAccounts = BTreeSet<String>;

/// A lab and the container of its VHDs.
#[derive(Clone)]
pub struct LabStorage {
    /// The lab.
    pub lab: Lab,
    /// The container for VHDs in its storage account.
    pub container: Container,
    account: String,
    has_key: bool,
}

impl LabStorage {
    /// Starts a copy into a VHD; the container is made where it is missing, once for each lab and never asked for again. A VHD
    /// that is there already stays: another invocation was faster, and the next look judges it.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn start_copy(
        &self,
        vhd: &str,
        source: &Secret<String>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), AzureError> {
        let mut started = self.container.start_copy(vhd, source, metadata).await;
        if matches!(&started, Err(error) if error.code == NO_CONTAINER) {
            self.container.create_if_missing().await?;
            started = self.container.start_copy(vhd, source, metadata).await;
        }
        match started {
            Err(error) if !error.is_precondition() => Err(error),
            _ => Ok(()),
        }
    }

    /// A VHD's URL with a SAS that reads it until it `expires`, for a copy into another account.
    ///
    /// # Errors
    /// If Blob Storage lends no key to sign with.
    pub async fn readable_url(
        &self,
        vhd: &str,
        expires: OffsetDateTime,
    ) -> Result<Secret<String>, AzureError> {
        match self.has_key {
            true => self.container.sas_url(vhd, READ, expires),
            false => self.container.user_delegation_sas_url(&self.account, vhd, READ, expires).await,
        }
    }

    /// Takes a VHD away, be a copy writing it or not.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn discard(&self, vhd: &str) -> Result<(), AzureError> {
        if self.stop_copy(vhd).await? {
            self.container.delete(vhd).await?;
        }
        Ok(())
    }

    /// Ends the copy that may be writing a VHD, without which it cannot be deleted; whether the VHD stands.
    ///
    /// # Errors
    /// If Blob Storage refuses.
    pub async fn stop_copy(&self, vhd: &str) -> Result<bool, AzureError> {
        let Some(blob) = self.container.properties(vhd).await? else { return Ok(false) };
        if let Some(copy) = blob.copy.filter(|copy| copy.status == CopyStatus::Pending) {
            self.container.abort_copy(vhd, &copy.id).await?;
        }
        Ok(true)
    }
}

/// What came of looking a lab up, and when. Locked meanwhile: those that come then wait for the answer, and share it even if
/// it is a refusal.
type Known = Arc<tokio::sync::Mutex<Option<(OffsetDateTime, Result<LabStorage, AzureError>)>>>;

/// The labs that were looked up lately. Only a cache: every process may start with an empty one.
#[derive(Clone)]
pub struct LabStorages {
    azure: Azure,
    clock: Clock,
    keys: Arc<KeyedAccounts>,
    known: Arc<Mutex<BTreeMap<LabId, Known>>>,
}

impl LabStorages {
    pub(super) fn new(azure: Azure, clock: Clock) -> Self {
        Self { azure, clock, keys: Arc::default(), known: Arc::default() }
    }

    /// The same, reaching these accounts with a key of theirs.
    pub(super) fn with_keyed_accounts(self, keys: KeyedAccounts) -> Self {
        Self { keys: Arc::new(keys), known: Arc::default(), ..self }
    }

    /// Whether the account with this resource id is reached with a key of its own.
    pub fn is_keyed(&self, account_id: &str) -> bool {
        let name = account_id.rsplit('/').next().unwrap_or(account_id);
        self.keys.iter().any(|key| key.eq_ignore_ascii_case(name))
    }

    /// The lab and its container.
    ///
    /// # Errors
    /// If Azure refuses, or the lab is not there: then permanently, since a lab does not come by waiting.
    pub async fn get(&self, lab: &LabId) -> Result<LabStorage, AzureError> {
        let asked = self.clock.now();
        let known = {
            let mut labs = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            labs.entry(lab.clone()).or_default().clone()
        };
        let mut known = known.lock().await;
        match &*known {
            Some((at, found)) if *at > asked => return found.clone(),
            Some((at, Ok(storage))) if asked - *at < KNOWN_FOR => return Ok(storage.clone()),
            _ => {}
        }
        let found = self.look_up(lab).await;
        *known = Some((self.clock.now(), found.clone()));
        found
    }

    /// Looks these labs up again next time: an account refused a key that was known.
    pub fn forget(&self, labs: &[&LabId]) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|lab, _| !labs.contains(&lab));
    }

    async fn look_up(&self, id: &LabId) -> Result<LabStorage, AzureError> {
        let found = self.azure.find_lab(id.subscription_id(), id.resource_group(), id.lab_name()).await?;
        let lab = found.ok_or_else(|| absent(format!("lab {}", id.lab_name()), id))?;
        let account = self.azure.storage_account(&lab.storage_account_id).await?;
        let account =
            account.ok_or_else(|| absent(format!("storage account of lab {}", id.lab_name()), id))?;
        let has_key = self.keys.contains(&account.name);
        let authorization = match has_key {
            true => self.account_key(&account).await?,
            false => BlobAuthorization::Bearer,
        };
        let container = self.azure.container(&account.blob_endpoint, VHD_CONTAINER, authorization)?;
        Ok(LabStorage { lab, container, account: account.name, has_key })
    }

    async fn account_key(&self, account: &StorageAccount) -> Result<BlobAuthorization, AzureError> {
        if !account.allow_shared_key {
            return Err(AzureError {
                kind: ErrorKind::Permanent,
                status: None,
                code: "KeyBasedAuthenticationNotPermitted".to_owned(),
                message: "it allows no use of its keys: take it out of the app setting IMAGE_FACTORY_KEYED_ACCOUNTS, and give \
                          the factory's identity the role for storage accounts of labs on it"
                    .to_owned(),
                correlation_id: None,
                attempted: format!("use a key of storage account {}", account.name),
            });
        }
        let key = self.azure.storage_key(&account.id).await?;
        Ok(BlobAuthorization::SharedKey { account: account.name.clone(), key })
    }
}

/// The error for a lab, or a part of it, that is not there.
pub fn absent(what: String, id: &LabId) -> AzureError {
    let place = match id.resource_group() {
        Some(group) => format!("resource group {group} of subscription {}", id.subscription_id()),
        None => format!("subscription {}", id.subscription_id()),
    };
    AzureError {
        kind: ErrorKind::Permanent,
        status: Some(404),
        code: "ResourceNotFound".to_owned(),
        message: format!(
            "it was not found in {place}; correct Labs.json, or give the factory's identity a role on it"
        ),
        correlation_id: None,
        attempted: what,
    }
}
