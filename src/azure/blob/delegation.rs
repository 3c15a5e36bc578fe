//! Keys that the service lends to the factory, to sign with in place of an account's own:
//! <https://learn.microsoft.com/rest/api/storageservices/get-user-delegation-key>.

use std::sync::Arc;

use azure_core::http::ClientOptions;
use azure_storage_blob::{BlobServiceClient, BlobServiceClientOptions, models::KeyInfo};
use serde::Deserialize;
use time::{Duration, OffsetDateTime};
use tokio::sync::Mutex;

use super::{super::AzureError, Container, VERSION, shared_key::AccountKey};
use crate::secret::Secret;

/// How far the service's clock may be behind the factory's: what is not valid yet is refused. Microsoft counts with so much
/// (<https://learn.microsoft.com/azure/storage/common/storage-sas-overview#best-practices-when-using-sas>).
pub(super) const CLOCK_DIFFERENCE: Duration = Duration::minutes(15);
/// A key lives at most so long, less the clocks' difference.
const LONGEST_LIFE: Duration = Duration::minutes(7 * 24 * 60 - 15);
/// A key outlives the SAS for which it was asked by this, so that those that follow need no call of their own.
const SPARE: Duration = Duration::hours(2);
/// A SAS ends before its key by at least this.
const BEFORE_THE_KEY: Duration = Duration::minutes(1);

/// Who the service lent a key to, and for how long; its texts are signed and sent as they came.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DelegationKey {
    signed_oid: String,
    signed_tid: String,
    signed_start: String,
    signed_expiry: String,
    signed_service: String,
    signed_version: String,
    /// The key itself, base64.
    value: Secret<String>,
}

impl DelegationKey {
    /// The parameters of a SAS that name the key.
    pub(super) fn query(&self) -> [(&'static str, &str); 6] {
        [
            ("skoid", &self.signed_oid),
            ("sktid", &self.signed_tid),
            ("skt", &self.signed_start),
            ("ske", &self.signed_expiry),
            ("sks", &self.signed_service),
            ("skv", &self.signed_version),
        ]
    }

    /// The key, as one that signs.
    ///
    /// # Errors
    /// In words, if it is not base64.
    pub(super) fn signing(&self, account: &str) -> Result<AccountKey, String> {
        AccountKey::new(account.to_owned(), &self.value)
    }
}

/// The key that was lent last, and until when it is good. Only a cache: a process may start without one.
pub(super) type Lent = Arc<Mutex<Option<(OffsetDateTime, DelegationKey)>>>;

impl Container {
    /// A key that is good until `expires`, and until when a SAS of it may be: a little less where a key cannot live so long.
    pub(super) async fn delegation_key(
        &self,
        attempted: &str,
        expires: OffsetDateTime,
    ) -> Result<(OffsetDateTime, DelegationKey), AzureError> {
        let now = self.azure.clock().now();
        let needed = expires.min(now + LONGEST_LIFE - BEFORE_THE_KEY);
        // Held while the service is asked: whoever comes meanwhile takes the same one.
        let mut lent = self.lent.lock().await;
        if let Some((until, key)) = lent.as_ref().filter(|(until, _)| needed + BEFORE_THE_KEY <= *until) {
            return Ok((needed.min(*until), key.clone()));
        }
        let until = (needed + SPARE).min(now + LONGEST_LIFE);
        let key = self.borrow_key(attempted, now - CLOCK_DIFFERENCE, until).await?;
        *lent = Some((until, key.clone()));
        Ok((needed, key))
    }

    async fn borrow_key(
        &self,
        attempted: &str,
        start: OffsetDateTime,
        expiry: OffsetDateTime,
    ) -> Result<DelegationKey, AzureError> {
        let sdk_error = |error| AzureError::from_sdk(attempted, &error, self.azure.clock());
        let client_options: ClientOptions = self.options.clone();
        let options = BlobServiceClientOptions { client_options, version: VERSION.to_owned() };
        let service =
            BlobServiceClient::new(self.endpoint.clone(), None, Some(options)).map_err(sdk_error)?;
        let whole = |moment: OffsetDateTime| moment.replace_nanosecond(0).unwrap_or(moment);
        let validity =
            KeyInfo { start: Some(whole(start)), expiry: Some(whole(expiry)), ..Default::default() };
        let validity = validity.try_into().map_err(sdk_error)?;
        let call = service.get_user_delegation_key(validity, None);
        let answer = self.azure.within_time(attempted, call).await?;
        // Read here, because its texts must be signed to the letter. The parser's error would quote the key.
        azure_core::xml::from_xml(answer.body())
            .map_err(|_| AzureError::unanswered(attempted, "UnexpectedAnswer", "the answer holds no key"))
    }
}
