//! The calls of a container.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZero,
};

use azure_core::http::{
    Context, Etag, Method, PipelineSendOptions, Request, RequestContent, Url,
    headers::{HeaderName, Headers},
};
use azure_storage_blob::{
    BlobClient, BlobClientOptions,
    models::{
        BlobClientStartCopyFromUrlOptions, BlobClientUploadOptions, BlobContainerClientListBlobsOptions,
        ListBlobsIncludeItem,
    },
};
use futures::TryStreamExt;
use time::OffsetDateTime;

use super::{
    super::{AzureError, error::without_queries, text::date},
    BlobItem, BlobPages, BlobProperties, Condition, Container, Copy, CopyStarted, CopyStatus, ETag, Marker,
    VERSION,
    delegation::CLOCK_DIFFERENCE,
    sas,
};
use crate::secret::Secret;

/// Blobs that are read and written whole are small; without a number the SDK looks through the machine's control groups
/// for the number of processors at every call.
const ONE_AT_A_TIME: NonZero<usize> = NonZero::<usize>::MIN;

/// Blobs that a page of a list holds at most. The service allows 5,000, of which the SDK makes 20 MB for a moment.
const MOST_IN_A_PAGE: i32 = 1000;

const VERSION_HEADER: &str = "x-ms-version";
const METADATA_PREFIX: &str = "x-ms-meta-";

impl Container {
    /// The container's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The container's own URL, without any authorisation.
    pub fn address(&self) -> &str {
        self.url.as_str()
    }

    /// A blob's URL, without any authorisation.
    pub fn url(&self, name: &str) -> String {
        self.blob_url(name).into()
    }

    /// A blob's URL with a service SAS, signed with the account's key, for example to copy it to another account.
    ///
    /// # Errors
    /// If this container is not reached with the account's key: a token signs nothing. If no blob can have this name.
    pub fn sas_url(
        &self,
        name: &str,
        permissions: &str,
        expires: OffsetDateTime,
    ) -> Result<Secret<String>, AzureError> {
        let key = self.key.as_ref().ok_or_else(|| {
            let message = "a service SAS needs the account's key, and this container is reached with a token";
            AzureError::permanent(&self.attempt("SAS of", name), "NoAccountKey", message)
        })?;
        let url = self.checked_url(&self.attempt("SAS of", name), name)?;
        let grant = self.grant(key.account(), name, permissions, expires);
        Ok(sas::signed_url(url, key, None, &grant))
    }

    /// A blob's URL with a user delegation SAS: signed with a key that the service lends to the factory, so that no key of
    /// the account is needed. `account` is the account's name. The SAS ends when it `expires`, or in seven days if that is
    /// sooner: no key lives longer. The factory must be allowed `generateUserDelegationKey` on the account, and what the SAS
    /// permits on the blob.
    ///
    /// # Errors
    /// As any call.
    pub async fn user_delegation_sas_url(
        &self,
        account: &str,
        name: &str,
        permissions: &str,
        expires: OffsetDateTime,
    ) -> Result<Secret<String>, AzureError> {
        let attempted = format!("POST user delegation key of storage account {account}");
        let url = self.checked_url(&attempted, name)?;
        let (expires, lent) = self.delegation_key(&attempted, expires).await?;
        let key = lent.signing(account).map_err(|_| {
            AzureError::unanswered(&attempted, "UnexpectedAnswer", "the key in the answer is not base64")
        })?;
        let starts = Some(self.azure.clock().now() - CLOCK_DIFFERENCE);
        let grant = sas::Grant { starts, ..self.grant(account, name, permissions, expires) };
        Ok(sas::signed_url(url, &key, Some(&lent), &grant))
    }

    fn grant<'a>(
        &'a self,
        account: &'a str,
        blob: &'a str,
        permissions: &'a str,
        expires: OffsetDateTime,
    ) -> sas::Grant<'a> {
        sas::Grant { permissions, starts: None, expires, account, container: &self.name, blob }
    }

    /// Makes the container unless it is there.
    ///
    /// # Errors
    /// As any call; transient while a container of this name is being deleted.
    pub async fn create_if_missing(&self) -> Result<(), AzureError> {
        let attempted = format!("PUT container {}", self.name);
        match self.azure.within_time(&attempted, self.client.create(None)).await {
            Ok(_) => Ok(()),
            Err(error) if error.code == "ContainerAlreadyExists" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Writes a block blob, whole.
    ///
    /// # Errors
    /// As any call; a precondition if `condition` does not hold.
    pub async fn put(
        &self,
        name: &str,
        bytes: impl Into<Vec<u8>>,
        metadata: &BTreeMap<String, String>,
        condition: Condition,
    ) -> Result<ETag, AzureError> {
        let attempted = self.attempt("PUT", name);
        let mut options = BlobClientUploadOptions {
            metadata: headers_of(&attempted, metadata)?,
            parallel: Some(ONE_AT_A_TIME),
            blob_content_type: name.ends_with(".json").then(|| "application/json".to_owned()),
            ..Default::default()
        };
        match condition {
            Condition::None => {}
            Condition::IfMissing => options = options.if_not_exists(),
            Condition::IfMatch(etag) => options.if_match = Some(Etag::from(etag.0)),
        }
        let content = RequestContent::from(bytes.into());
        let blob = self.blob(&attempted, name)?;
        let result = self.azure.within_time(&attempted, blob.upload(content, Some(options))).await?;
        let etag = result.etag.map(|etag| ETag::from(etag.to_string()));
        etag.ok_or_else(|| AzureError::unanswered(&attempted, "UnexpectedAnswer", "the answer has no ETag"))
    }

    /// Reads a blob, whole; `None` if it, or the container, is not there.
    ///
    /// # Errors
    /// As any call.
    pub async fn get(&self, name: &str) -> Result<Option<(Vec<u8>, ETag)>, AzureError> {
        let attempted = self.attempt("GET", name);
        let mut request = Request::new(self.checked_url(&attempted, name)?, Method::Get);
        request.insert_header(VERSION_HEADER, VERSION);
        let context = Context::new();
        // Every status is an answer here, and is judged below.
        let options = PipelineSendOptions { skip_checks: true, ..Default::default() };
        let answer = self
            .azure
            .within_time(&attempted, self.pipeline.send(&context, &mut request, Some(options)))
            .await?;
        let (status, headers, body) = answer.deconstruct();
        match (u16::from(status), header(&headers, "etag")) {
            (200, Some(etag)) => Ok(Some((body.to_vec(), etag.into()))),
            (200, None) => {
                Err(AzureError::unanswered(&attempted, "UnexpectedAnswer", "the answer has no ETag"))
            }
            (404, _) => Ok(None),
            (status, _) => {
                Err(AzureError::from_answer(&attempted, status, &headers, &body, self.azure.clock()))
            }
        }
    }

    /// Replaces a blob's metadata, all of it.
    ///
    /// # Errors
    /// As any call.
    pub async fn set_metadata(
        &self,
        name: &str,
        metadata: &BTreeMap<String, String>,
    ) -> Result<(), AzureError> {
        let attempted = self.attempt("PUT metadata of", name);
        let metadata = headers_of(&attempted, metadata)?.unwrap_or_default();
        let blob = self.blob(&attempted, name)?;
        self.azure.within_time(&attempted, blob.set_metadata(&metadata, None)).await?;
        Ok(())
    }

    /// Deletes a blob; `false` if it was not there.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete(&self, name: &str) -> Result<bool, AzureError> {
        let attempted = self.attempt("DELETE", name);
        let blob = self.blob(&attempted, name)?;
        match self.azure.within_time(&attempted, blob.delete(None)).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Lists the blobs whose names begin with `prefix`, with their metadata, all at once: for lists that are known to be
    /// short. For others see [`Self::pages`].
    ///
    /// # Errors
    /// As any call; not found if the container is not there.
    pub async fn list(&self, prefix: &str) -> Result<Vec<BlobItem>, AzureError> {
        let (mut pages, mut items) = (self.pages(prefix), Vec::new());
        while let Some(page) = pages.next().await? {
            items.extend(page);
        }
        Ok(items)
    }

    /// The blobs whose names begin with `prefix`, with their metadata, a page of at most 1,000 at a time; calls nothing yet.
    pub fn pages(&self, prefix: &str) -> BlobPages {
        BlobPages { container: self.clone(), prefix: prefix.to_owned(), marker: Marker::First }
    }

    /// Asks the service to copy `source` here, where no blob may be yet: a request that comes late must not write over one
    /// that was completed meanwhile. A source in another account needs a SAS in its URL. Without metadata of its own the blob
    /// gets the source's.
    ///
    /// # Errors
    /// As any call; a precondition if there is a blob; transient (`PendingCopyOperation`) while another copy into this blob is pending.
    pub async fn start_copy(
        &self,
        name: &str,
        source: &Secret<String>,
        metadata: &BTreeMap<String, String>,
    ) -> Result<CopyStarted, AzureError> {
        let attempted = self.attempt("PUT copy to", name);
        let options = BlobClientStartCopyFromUrlOptions {
            if_none_match: Some(Etag::from("*")),
            metadata: headers_of(&attempted, metadata)?,
            ..Default::default()
        };
        let blob = self.blob(&attempted, name)?;
        let call = blob.start_copy_from_url(source.expose().clone(), Some(options));
        let answer = self.azure.within_time(&attempted, call).await?;
        let copy_id = header(answer.headers(), "x-ms-copy-id");
        let status = header(answer.headers(), "x-ms-copy-status");
        match (copy_id, status.and_then(copy_status)) {
            (Some(copy_id), Some(status)) => Ok(CopyStarted { copy_id: copy_id.to_owned(), status }),
            _ => {
                let message = "the answer names no copy";
                Err(AzureError::unanswered(&attempted, "UnexpectedAnswer", message))
            }
        }
    }

    /// Reads a blob's properties, with the copy into it; `None` if it, or the container, is not there.
    ///
    /// # Errors
    /// As any call.
    pub async fn properties(&self, name: &str) -> Result<Option<BlobProperties>, AzureError> {
        let attempted = self.attempt("HEAD", name);
        let blob = self.blob(&attempted, name)?;
        match self.azure.within_time(&attempted, blob.get_properties(None)).await {
            Ok(answer) => Ok(Some(read_properties(answer.headers()))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stops a pending copy; fine if it has ended already. The blob stays, empty, and is to be deleted.
    ///
    /// # Errors
    /// As any call; not found if the blob is not there.
    pub async fn abort_copy(&self, name: &str, id: &str) -> Result<(), AzureError> {
        let attempted = self.attempt("PUT abort copy to", name);
        let blob = self.blob(&attempted, name)?;
        match self.azure.within_time(&attempted, blob.abort_copy(id, None)).await {
            Ok(_) => Ok(()),
            Err(error) if error.code == "NoPendingCopyOperation" => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn page(
        &self,
        prefix: &str,
        marker: Option<String>,
    ) -> Result<(Vec<BlobItem>, Option<String>), AzureError> {
        let attempted = format!("GET blobs of {}/{prefix}*", self.name);
        let options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            marker,
            maxresults: Some(MOST_IN_A_PAGE),
            prefix: Some(prefix.to_owned()).filter(|prefix| !prefix.is_empty()),
            ..Default::default()
        };
        let call = async {
            let page = self.client.list_blobs(Some(options))?.into_pages().try_next().await?;
            page.map(|page| page.into_model()).transpose()
        };
        let Some(page) = self.azure.within_time(&attempted, call).await? else {
            return Ok((Vec::new(), None));
        };
        let next = page.next_marker.filter(|marker| !marker.is_empty());
        Ok((page.blob_items.into_iter().filter_map(read_item).collect(), next))
    }

    fn attempt(&self, what: &str, name: &str) -> String {
        format!("{what} blob {}/{name}", self.name)
    }

    fn blob_url(&self, name: &str) -> Url {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(name.split('/'));
        }
        url
    }

    /// The URL of a blob that the service would keep under just this name: it reads a backslash as a slash.
    fn checked_url(&self, attempted: &str, name: &str) -> Result<Url, AzureError> {
        let is_kept = |part: &str| !matches!(part, "." | "..") && !part.contains('\\');
        if name.is_empty() || !name.split('/').all(is_kept) {
            return Err(AzureError::permanent(attempted, "InvalidBlobName", "a blob cannot have this name"));
        }
        Ok(self.blob_url(name))
    }

    /// The SDK's client of one blob. The container's own `blob_client` would encode a `/` in the name, which reads
    /// badly in a URL that is kept, and `get` would not find what others wrote under it.
    fn blob(&self, attempted: &str, name: &str) -> Result<BlobClient, AzureError> {
        let url = self.checked_url(attempted, name)?;
        let options = BlobClientOptions { client_options: self.options.clone(), version: VERSION.to_owned() };
        BlobClient::new(url, None, Some(options))
            .map_err(|error| AzureError::from_sdk(attempted, &error, self.azure.clock()))
    }
}

impl BlobPages {
    /// The next page; `None` after the last. A page can be empty and yet not be the last.
    ///
    /// # Errors
    /// As any call; not found if the container is not there. The same page is asked for again next time.
    pub async fn next(&mut self) -> Result<Option<Vec<BlobItem>>, AzureError> {
        let marker = match &self.marker {
            Marker::First => None,
            Marker::Next(marker) => Some(marker.clone()),
            Marker::End => return Ok(None),
        };
        let (items, next) = self.container.page(&self.prefix, marker).await?;
        self.marker = next.map_or(Marker::End, Marker::Next);
        Ok(Some(items))
    }

    /// As [`Self::next`], where a container that is not there has no pages: nothing was ever written to it.
    ///
    /// # Errors
    /// As any call.
    pub async fn next_if_any(&mut self) -> Result<Option<Vec<BlobItem>>, AzureError> {
        match self.next().await {
            Err(error) if error.is_not_found() => Ok(None),
            other => other,
        }
    }
}

fn read_item(item: azure_storage_blob::models::BlobItem) -> Option<BlobItem> {
    let properties = item.properties.unwrap_or_default();
    let metadata = item.metadata.and_then(|metadata| metadata.values).unwrap_or_default();
    Some(BlobItem {
        name: item.name?,
        etag: properties.etag.map(|etag| etag.to_string()).unwrap_or_default().into(),
        length: properties.content_length.unwrap_or_default(),
        last_modified: properties.last_modified,
        metadata: in_lower_case(metadata),
    })
}

fn read_properties(headers: &Headers) -> BlobProperties {
    let text = |name: &'static str| header(headers, name);
    let metadata = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().to_ascii_lowercase();
        Some((name.strip_prefix(METADATA_PREFIX)?.to_owned(), value.as_str().to_owned()))
    });
    let copy = text("x-ms-copy-id").zip(text("x-ms-copy-status").and_then(copy_status));
    BlobProperties {
        etag: text("etag").unwrap_or_default().into(),
        length: text("content-length").and_then(|text| text.parse().ok()).unwrap_or_default(),
        last_modified: text("last-modified").and_then(date),
        metadata: metadata.collect(),
        copy: copy.map(|(id, status)| Copy {
            id: id.to_owned(),
            status,
            copied: text("x-ms-copy-progress").and_then(progress),
            source: text("x-ms-copy-source").map(without_queries),
            description: text("x-ms-copy-status-description").map(without_queries),
        }),
    }
}

fn header<'a>(headers: &'a Headers, name: &'static str) -> Option<&'a str> {
    headers.get_optional_str(&HeaderName::from_static(name))
}

/// `copied/total`; the total may be missing early on.
fn progress(text: &str) -> Option<(u64, u64)> {
    let (copied, total) = text.split_once('/')?;
    Some((copied.trim().parse().ok()?, total.trim().parse().ok()?))
}

fn copy_status(text: &str) -> Option<CopyStatus> {
    Some(match text.to_ascii_lowercase().as_str() {
        "pending" => CopyStatus::Pending,
        "success" => CopyStatus::Success,
        "aborted" => CopyStatus::Aborted,
        "failed" => CopyStatus::Failed,
        _ => return None,
    })
}

/// Metadata travels as HTTP headers, so that names and values are limited to what a header can hold.
fn headers_of(
    attempted: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Option<HashMap<String, String>>, AzureError> {
    for (name, value) in metadata {
        let good_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let good_value = value.chars().all(|c| c == ' ' || c.is_ascii_graphic());
        if !(good_name && good_value) {
            let message = format!(
                "metadata '{name}' cannot be sent: letters, digits and _ in the name, ASCII in the value"
            );
            return Err(AzureError::permanent(attempted, "InvalidMetadata", message));
        }
    }
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    Ok((!metadata.is_empty()).then_some(metadata))
}

fn in_lower_case(metadata: HashMap<String, String>) -> BTreeMap<String, String> {
    metadata.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect()
}
