//! From a request to its operation.

use http::{HeaderValue, Method, StatusCode};

use super::{
    answer::Answer,
    authorization::{Caller, Need, On, authorize, roles},
    block_blob, container, copy, delegation,
    error::Error,
    leasing, list, page_blob, properties, read,
    request::{Call, ticks},
    snapshot, tags, write,
};
use crate::{Request, Response, World, chaos::Chance};

/// An operation of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    ListContainers,
    AccountInformation,
    ServiceProperties,
    UserDelegationKey,
    CreateContainer,
    DeleteContainer,
    ContainerProperties,
    SetContainerMetadata,
    ContainerAcl,
    SetContainerAcl,
    LeaseContainer,
    ListBlobs,
    GetBlob,
    BlobMetadata,
    BlobTags,
    BlockList,
    PageRanges,
    PutBlockBlob,
    PutPageBlob,
    PutAppendBlob,
    PutBlock,
    PutBlockFromUrl,
    PutBlockList,
    PutPage,
    PutPageFromUrl,
    SetBlobProperties,
    SetBlobMetadata,
    SetBlobTags,
    Snapshot,
    LeaseBlob,
    Copy,
    CopyFromUrl,
    PutFromUrl,
    AbortCopy,
    DeleteBlob,
}

use Operation as O;

impl Operation {
    /// The operation that the request's method, path, query and headers name.
    fn of(call: &Call<'_>) -> Result<Self, Error> {
        let comp = call.query("comp").unwrap_or_default();
        let restype = call.query("restype").unwrap_or_default();
        let is_read = matches!(*call.method, Method::GET | Method::HEAD);
        let method = if is_read { "GET" } else { call.method.as_str() };
        let operation = match (&call.container, &call.blob) {
            (None, _) => match (method, restype, comp) {
                ("GET", "", "list") => O::ListContainers,
                ("GET", "account", "properties") => O::AccountInformation,
                ("GET", "service", "properties") => O::ServiceProperties,
                ("POST", "service", "userdelegationkey") => O::UserDelegationKey,
                _ => return Err(Self::unknown(call, comp)),
            },
            (Some(_), None) => match (method, comp) {
                ("PUT", "") => O::CreateContainer,
                ("DELETE", "") => O::DeleteContainer,
                ("GET", "" | "metadata") => O::ContainerProperties,
                ("PUT", "metadata") => O::SetContainerMetadata,
                ("GET", "acl") => O::ContainerAcl,
                ("PUT", "acl") => O::SetContainerAcl,
                ("PUT", "lease") => O::LeaseContainer,
                ("GET", "list") => O::ListBlobs,
                _ => return Err(Self::unknown(call, comp)),
            },
            (Some(_), Some(_)) => match (method, comp) {
                ("GET", "properties") if restype == "account" => O::AccountInformation,
                ("GET", "") => O::GetBlob,
                ("GET", "metadata") => O::BlobMetadata,
                ("GET", "tags") => O::BlobTags,
                ("GET", "blocklist") => O::BlockList,
                ("GET", "pagelist") => O::PageRanges,
                ("DELETE", "") => O::DeleteBlob,
                ("PUT", "") => return Self::of_put(call),
                ("PUT", "block") if call.header("x-ms-copy-source").is_some() => O::PutBlockFromUrl,
                ("PUT", "block") => O::PutBlock,
                ("PUT", "blocklist") => O::PutBlockList,
                ("PUT", "page") if call.header("x-ms-copy-source").is_some() => O::PutPageFromUrl,
                ("PUT", "page") => O::PutPage,
                ("PUT", "properties") => O::SetBlobProperties,
                ("PUT", "metadata") => O::SetBlobMetadata,
                ("PUT", "tags") => O::SetBlobTags,
                ("PUT", "snapshot") => O::Snapshot,
                ("PUT", "lease") => O::LeaseBlob,
                ("PUT", "copy") => O::AbortCopy,
                _ => return Err(Self::unknown(call, comp)),
            },
        };
        Ok(operation)
    }

    /// Put Blob or a copy.
    fn of_put(call: &Call<'_>) -> Result<Self, Error> {
        let is_copy = call.header("x-ms-copy-source").is_some();
        let requires_sync = call.header("x-ms-requires-sync");
        match call.header("x-ms-blob-type") {
            None if is_copy && requires_sync.is_some_and(|value| value.eq_ignore_ascii_case("true")) => {
                Ok(O::CopyFromUrl)
            }
            None if is_copy => Ok(O::Copy),
            Some("BlockBlob") if is_copy => Ok(O::PutFromUrl),
            Some("BlockBlob") => Ok(O::PutBlockBlob),
            Some("PageBlob") if !is_copy => Ok(O::PutPageBlob),
            Some("AppendBlob") if !is_copy => Ok(O::PutAppendBlob),
            Some(other) => Err(Error::invalid_header("x-ms-blob-type", other)),
            None => Err(Error::missing_header("x-ms-blob-type")),
        }
    }

    fn unknown(call: &Call<'_>, comp: &str) -> Error {
        if !matches!(*call.method, Method::GET | Method::HEAD | Method::PUT | Method::DELETE | Method::POST) {
            let message = "The resource doesn't support specified Http Verb.";
            return Error::new(405, "UnsupportedHttpVerb", message);
        }
        Error::invalid_query("comp", comp)
    }

    /// What the operation needs (Microsoft, "Create an account SAS", "Create a service SAS": operations by permission).
    fn need(self) -> Need {
        let (permissions, on) = match self {
            O::ListContainers => ("l", On::Service),
            O::AccountInformation | O::ServiceProperties => ("r", On::Service),
            O::UserDelegationKey => ("r", On::Service),
            O::CreateContainer => ("cw", On::Container),
            O::DeleteContainer => ("d", On::Container),
            O::ContainerProperties | O::ContainerAcl => ("r", On::Container),
            O::SetContainerMetadata | O::SetContainerAcl | O::LeaseContainer => ("w", On::Container),
            O::ListBlobs => ("l", On::Container),
            O::GetBlob | O::BlobMetadata | O::BlockList | O::PageRanges => ("r", On::Object),
            O::BlobTags | O::SetBlobTags => ("t", On::Object),
            O::PutBlockBlob
            | O::PutPageBlob
            | O::PutAppendBlob
            | O::Copy
            | O::CopyFromUrl
            | O::PutFromUrl
            | O::Snapshot => ("cw", On::Object),
            O::PutBlock | O::PutBlockFromUrl | O::PutBlockList | O::PutPage | O::PutPageFromUrl => {
                ("w", On::Object)
            }
            O::SetBlobProperties | O::SetBlobMetadata | O::LeaseBlob | O::AbortCopy => ("w", On::Object),
            O::DeleteBlob => ("d", On::Object),
        };
        Need { permissions, on }
    }

    fn run(self, world: &mut World, call: &Call<'_>, caller: &Caller) -> Result<Answer, Error> {
        match self {
            O::ListContainers => list::containers(world, call),
            O::AccountInformation => Ok(account_information()),
            O::ServiceProperties => Ok(service_properties()),
            O::UserDelegationKey => delegation::get_key(world, call, caller),
            O::CreateContainer => container::create(world, call),
            O::DeleteContainer => container::delete(world, call),
            O::ContainerProperties => container::properties(world, call),
            O::SetContainerMetadata => container::set_container_metadata(world, call),
            O::ContainerAcl => container::acl(world, call),
            O::SetContainerAcl => container::set_acl(world, call),
            O::LeaseContainer | O::LeaseBlob => leasing::apply(world, call),
            O::ListBlobs => list::blobs(world, call),
            O::GetBlob => read::get(world, call),
            O::BlobMetadata => properties::get_metadata(world, call),
            O::BlobTags => tags::get(world, call),
            O::BlockList => block_blob::get_block_list(world, call),
            O::PageRanges => page_blob::get_page_ranges(read::find(world, call)?.1, call),
            O::PutBlockBlob => block_blob::put(world, call),
            O::PutPageBlob => page_blob::put(world, call),
            O::PutAppendBlob => {
                let message = "Append blobs are not supported.";
                Err(Error::new(400, "BlobTypeNotSupported", message))
            }
            O::PutBlock => block_blob::put_block(world, call),
            O::PutBlockFromUrl => block_blob::put_block_from_url(world, call, caller),
            O::PutBlockList => block_blob::put_block_list(world, call),
            O::PutPage => page_blob::put_page(world, call),
            O::PutPageFromUrl => page_blob::put_page_from_url(world, call, caller),
            O::SetBlobProperties => properties::set(world, call),
            O::SetBlobMetadata => properties::set_blob_metadata(world, call),
            O::SetBlobTags => tags::set(world, call),
            O::Snapshot => snapshot::create(world, call),
            O::Copy => copy::start(world, call, caller),
            O::CopyFromUrl => copy::copy_from_url(world, call, caller),
            O::PutFromUrl => copy::put_from_url(world, call, caller),
            O::AbortCopy => copy::abort(world, call),
            O::DeleteBlob => snapshot::delete(world, call),
        }
    }
}

fn account_information() -> Answer {
    Answer::new(StatusCode::OK)
        .header("x-ms-sku-name", "Standard_LRS")
        .header("x-ms-account-kind", "StorageV2")
        .header("x-ms-is-hns-enabled", "false")
}

/// The settings of a new account: nothing is logged, nothing is kept, no other origin may call.
fn service_properties() -> Answer {
    let mut document = super::xml::Document::new("StorageServiceProperties");
    document.text("Cors", "");
    document.open("DeleteRetentionPolicy");
    document.text("Enabled", "false");
    Answer::new(StatusCode::OK).xml(document.finish())
}

/// Answers one request.
pub(super) fn handle(world: &mut World, account: &str, path: &str, request: &Request) -> Response {
    world.counts.blob_calls += 1;
    let id = world.new_guid().to_string();
    let now = world.now();
    let mut version = None;
    let result = Call::new(account, path, request, now).and_then(|call| {
        version = HeaderValue::from_str(call.version()).ok();
        let result = answer(world, &call);
        if !matches!(*call.method, Method::GET | Method::HEAD) {
            copy::source_changed(world, account, call.key().ok());
        }
        result
    });
    let is_head = request.method() == Method::HEAD;
    let mut answer = result.unwrap_or_else(|error| error.into_answer(is_head, &id, &ticks(now)));
    answer.set("server", "Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0");
    answer.set("x-ms-request-id", id);
    if let Some(version) = version {
        answer.headers.insert("x-ms-version", version);
    }
    if let Some(id) = request.headers().get("x-ms-client-request-id") {
        answer.headers.insert("x-ms-client-request-id", id.clone());
    }
    answer.into_response()
}

fn answer(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    check_version(call)?;
    if let Some(export) = world.storage.exports.get(call.account) {
        return export.answer(call);
    }
    let account = world.storage.accounts.get(call.account).ok_or_else(Error::resource_not_found)?;
    let operation = Operation::of(call)?;
    let caller = authorize(world, call, account, operation.need())?;
    if let Caller::Bearer(principal) = &caller
        && operation != O::UserDelegationKey
    {
        roles::check(world, principal, account, call.container.as_deref(), roles::action(operation.need()))?;
    }
    check_supported(call)?;
    check_letters(world, call, operation, &caller)?;
    if world.chances.takes(Chance::EtagConflict) {
        write::overtake(world, call);
    }
    operation.run(world, call, &caller)
}

/// Headers that would change what a request means, and that are not simulated: refused, as the service refuses what it does not
/// know.
const UNSUPPORTED_HEADERS: [&str; 9] = [
    "x-ms-access-tier",
    "x-ms-encryption-key",
    "x-ms-encryption-scope",
    "x-ms-if-tags",
    "x-ms-immutability-policy-mode",
    "x-ms-immutability-policy-until-date",
    "x-ms-legal-hold",
    "x-ms-source-if-tags",
    "x-ms-structured-body",
];
/// Query parameters of the same kind.
const UNSUPPORTED_PARAMETERS: [&str; 3] = ["deletetype", "prevsnapshot", "versionid"];

fn check_supported(call: &Call<'_>) -> Result<(), Error> {
    if let Some(name) = UNSUPPORTED_HEADERS.into_iter().find(|name| call.headers.contains_key(*name)) {
        let message = "One of the HTTP headers specified in the request is not supported.";
        return Err(Error::new(400, "UnsupportedHeader", message).detail("HeaderName", name));
    }
    if let Some(name) = UNSUPPORTED_PARAMETERS.into_iter().find(|name| call.query.contains_key(*name)) {
        let message = "One of the query parameters specified in the request URI is not supported.";
        return Err(Error::new(400, "UnsupportedQueryParameter", message).detail("QueryParameterName", name));
    }
    Ok(())
}

/// What a SAS must also hold, by what the request carries and by what it meets: `t` for tags, `w` to write over a blob, which `c`
/// alone does not allow (Microsoft, "Create a service SAS").
fn check_letters(world: &World, call: &Call<'_>, operation: Operation, caller: &Caller) -> Result<(), Error> {
    if call.headers.contains_key("x-ms-tags") && !caller.has('t') {
        return Err(Error::permission_mismatch());
    }
    let replaces =
        matches!(operation, O::PutBlockBlob | O::PutPageBlob | O::Copy | O::CopyFromUrl | O::PutFromUrl);
    if replaces && !caller.has('w') {
        let contents = write::container(world, call)?;
        if contents.blobs.contains_key(&call.key()?) {
            let message = "This request is not authorized to perform blob overwrites.";
            return Err(Error::new(403, "UnauthorizedBlobOverwrite", message));
        }
    }
    Ok(())
}

/// Any well-formed version is accepted.
fn check_version(call: &Call<'_>) -> Result<(), Error> {
    let is_date = |text: &str| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.iter().map(|part| part.len()).eq([4, 2, 2])
            && parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match call.header("x-ms-version") {
        Some(version) if !is_date(version) => Err(Error::invalid_header("x-ms-version", version)),
        _ => Ok(()),
    }
}
