//! Containers.

use http::StatusCode;

use super::{
    account::{AccessPolicy, CONTAINER_DELETION, Container, PublicAccess},
    answer::Answer,
    blob::quoted,
    conditions::Conditions,
    error::Error,
    lease::{Guarded, Lease},
    read::{set_lease, set_metadata},
    request::{Call, http_date},
    write, xml,
};
use crate::World;

/// A container has at most so many stored access policies.
const MOST_POLICIES: usize = 5;

/// 3 to 63 lower-case letters, digits and single hyphens between them (Microsoft, "Naming and referencing containers").
fn is_name(name: &str) -> bool {
    let is_part =
        |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name == "$root" || ((3..=63).contains(&name.len()) && name.split('-').all(is_part))
}

fn name<'a>(call: &'a Call<'_>) -> Result<&'a str, Error> {
    call.container.as_deref().ok_or_else(|| Error::missing_query("restype"))
}

fn public_access(call: &Call<'_>, world: &World) -> Result<PublicAccess, Error> {
    let access = match call.header("x-ms-blob-public-access") {
        None => return Ok(PublicAccess::None),
        Some("blob") => PublicAccess::Blob,
        Some("container") => PublicAccess::Container,
        Some(other) => return Err(Error::invalid_header("x-ms-blob-public-access", other)),
    };
    let account = world.storage.accounts.get(call.account);
    if account.is_some_and(|account| account.allow_blob_public_access) {
        return Ok(access);
    }
    let message = "Public access is not permitted on this storage account.";
    Err(Error::new(409, "PublicAccessNotPermitted", message))
}

/// Create Container.
pub(super) fn create(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let name = name(call)?;
    if !is_name(name) {
        let is_short = name.len() < 3 || name.len() > 63;
        let (code, message) = if is_short {
            ("OutOfRangeInput", "The specified resource name length is not within the permissible limits.")
        } else {
            ("InvalidResourceName", "The specified resource name contains invalid characters.")
        };
        return Err(Error::new(400, code, message));
    }
    let metadata = call.metadata()?;
    let public_access = public_access(call, world)?;
    let etag = world.storage.new_etag(call.now);
    let contents = world.storage.contents.get_mut(call.account).ok_or_else(Error::resource_not_found)?;
    if contents.containers.contains_key(name) {
        let message = "The specified container already exists.";
        return Err(Error::new(409, "ContainerAlreadyExists", message));
    }
    if contents.being_deleted.get(name).is_some_and(|free| call.now < *free) {
        let message = "The specified container is being deleted. Try operation later.";
        return Err(Error::new(409, "ContainerBeingDeleted", message));
    }
    contents.being_deleted.remove(name);
    let container = Container {
        metadata,
        etag,
        last_modified: call.now,
        lease: Lease::default(),
        public_access,
        policies: Vec::new(),
    };
    let answer = described(StatusCode::CREATED, &container);
    contents.containers.insert(name.to_owned(), container);
    Ok(answer)
}

fn described(status: StatusCode, container: &Container) -> Answer {
    Answer::new(status)
        .header("etag", quoted(container.etag))
        .header("last-modified", http_date(container.last_modified))
}

fn find<'a>(world: &'a World, call: &Call<'_>) -> Result<&'a Container, Error> {
    let container = write::container(world, call)?.containers.get(name(call)?);
    let container = container.ok_or_else(Error::container_not_found)?;
    container.lease.check_read(call.lease_id(), Guarded::Container, call.now)?;
    Ok(container)
}

/// The container for changing it. Its lease keeps nobody from that, but a lease id that is sent must be right.
fn find_mut<'a>(world: &'a mut World, call: &Call<'_>) -> Result<&'a mut Container, Error> {
    let seen = find(world, call)?;
    let seen = (quoted(seen.etag), seen.last_modified);
    Conditions::of(call)?.check_write(Some(&seen))?;
    let containers = &mut write::container_mut(world, call)?.containers;
    containers.get_mut(name(call)?).ok_or_else(Error::container_not_found)
}

/// Delete Container, with all its blobs.
pub(super) fn delete(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let name = name(call)?;
    let container = find_mut(world, call)?;
    container.lease.check_write(call.lease_id(), Guarded::Container, call.now)?;
    let contents = write::container_mut(world, call)?;
    contents.containers.remove(name);
    contents.being_deleted.insert(name.to_owned(), call.now + CONTAINER_DELETION);
    contents.blobs.retain(|(container, _), _| container != name);
    contents.uncommitted.retain(|(container, _), _| container != name);
    Ok(Answer::new(StatusCode::ACCEPTED))
}

/// Get Container Properties and Get Container Metadata.
pub(super) fn properties(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let container = find(world, call)?;
    let mut answer = described(StatusCode::OK, container);
    set_metadata(&mut answer, &container.metadata);
    set_lease(&mut answer, &container.lease, call);
    set_public_access(&mut answer, container);
    answer.set("x-ms-has-immutability-policy", "false");
    answer.set("x-ms-has-legal-hold", "false");
    answer.set("x-ms-default-encryption-scope", "$account-encryption-key");
    answer.set("x-ms-deny-encryption-scope-override", "false");
    Ok(answer)
}

fn set_public_access(answer: &mut Answer, container: &Container) {
    match container.public_access {
        PublicAccess::None => {}
        PublicAccess::Blob => answer.set("x-ms-blob-public-access", "blob"),
        PublicAccess::Container => answer.set("x-ms-blob-public-access", "container"),
    }
}

/// Set Container Metadata: what is not sent is gone.
pub(super) fn set_container_metadata(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let metadata = call.metadata()?;
    let etag = world.storage.new_etag(call.now);
    let container = find_mut(world, call)?;
    container.metadata = metadata;
    container.etag = etag;
    container.last_modified = call.now;
    Ok(described(StatusCode::OK, container))
}

/// Get Container ACL.
pub(super) fn acl(world: &World, call: &Call<'_>) -> Result<Answer, Error> {
    let container = find(world, call)?;
    let mut document = xml::Document::new("SignedIdentifiers");
    for (id, policy) in &container.policies {
        document.open("SignedIdentifier");
        document.text("Id", id);
        document.open("AccessPolicy");
        let parts =
            [("Start", &policy.start), ("Expiry", &policy.expiry), ("Permission", &policy.permission)];
        for (name, value) in parts {
            if let Some(value) = value {
                document.text(name, value);
            }
        }
        document.close();
        document.close();
    }
    let mut answer = described(StatusCode::OK, container).xml(document.finish());
    set_public_access(&mut answer, container);
    Ok(answer)
}

/// Set Container ACL: public access and stored access policies.
pub(super) fn set_acl(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let leaves = if call.body.is_empty() { Vec::new() } else { xml::leaves(call.body)? };
    let mut policies: Vec<(String, AccessPolicy)> = Vec::new();
    for (name, text) in leaves {
        if name == "SignedIdentifier/Id" {
            policies.push((text, AccessPolicy::default()));
            continue;
        }
        let Some((_, policy)) = policies.last_mut() else {
            continue;
        };
        let text = Some(text).filter(|text| !text.is_empty());
        match name.as_str() {
            "SignedIdentifier/AccessPolicy/Start" => policy.start = text,
            "SignedIdentifier/AccessPolicy/Expiry" => policy.expiry = text,
            "SignedIdentifier/AccessPolicy/Permission" => policy.permission = text,
            _ => {}
        }
    }
    if policies.len() > MOST_POLICIES {
        return Err(Error::invalid_xml());
    }
    let public_access = public_access(call, world)?;
    let etag = world.storage.new_etag(call.now);
    let container = find_mut(world, call)?;
    container.policies = policies;
    container.public_access = public_access;
    container.etag = etag;
    container.last_modified = call.now;
    Ok(described(StatusCode::OK, container))
}

/// The container's lease with its ETag and time, for a lease operation.
pub(super) fn lease<'a>(world: &'a mut World, call: &Call<'_>) -> Result<(&'a mut Lease, Answer), Error> {
    write::container(world, call)?;
    let containers = &mut write::container_mut(world, call)?.containers;
    let container = containers.get_mut(name(call)?).ok_or_else(Error::container_not_found)?;
    let seen = (quoted(container.etag), container.last_modified);
    Conditions::of(call)?.check_write(Some(&seen))?;
    let answer = described(StatusCode::OK, container);
    Ok((&mut container.lease, answer))
}
