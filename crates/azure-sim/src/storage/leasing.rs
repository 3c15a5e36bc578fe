//! Lease Blob and Lease Container.

use http::StatusCode;
use uuid::Uuid;

use super::{
    answer::Answer,
    conditions::Conditions,
    container,
    error::Error,
    lease::{Action, Lease, Outcome},
    request::{Call, http_date},
    write,
};
use crate::World;

/// The blob's lease with its ETag and time.
fn blob<'a>(world: &'a mut World, call: &Call<'_>) -> Result<(&'a mut Lease, Answer), Error> {
    let key = call.key()?;
    let blob = write::container_mut(world, call)?.blobs.get_mut(&key).ok_or_else(Error::blob_not_found)?;
    Conditions::of(call)?.check_write(Some(&write::seen(&blob.base, call)))?;
    write::check_no_pending_copy(&blob.base)?;
    let answer = Answer::new(StatusCode::OK)
        .header("etag", blob.base.etag(call.now))
        .header("last-modified", http_date(blob.base.last_modified));
    Ok((&mut blob.lease, answer))
}

fn id(call: &Call<'_>, name: &str) -> Result<String, Error> {
    let text = call.required_header(name)?;
    let id = Uuid::parse_str(text).map_err(|_| Error::invalid_header(name, text))?;
    Ok(id.to_string())
}

fn action(world: &mut World, call: &Call<'_>) -> Result<Action, Error> {
    let held = || id(call, "x-ms-lease-id");
    let proposed = || id(call, "x-ms-proposed-lease-id");
    match call.required_header("x-ms-lease-action")?.to_ascii_lowercase().as_str() {
        "acquire" => {
            let text = call.required_header("x-ms-lease-duration")?;
            let seconds = text.parse().map_err(|_| Error::invalid_header("x-ms-lease-duration", text))?;
            let proposed = match call.header("x-ms-proposed-lease-id") {
                Some(_) => proposed()?,
                None => world.new_guid().to_string(),
            };
            Ok(Action::Acquire { seconds, proposed })
        }
        "renew" => Ok(Action::Renew { id: held()? }),
        "change" => Ok(Action::Change { id: held()?, proposed: proposed()? }),
        "release" => Ok(Action::Release { id: held()? }),
        "break" => Ok(Action::Break { period: call.number("x-ms-lease-break-period")? }),
        other => Err(Error::invalid_header("x-ms-lease-action", other)),
    }
}

/// Acquires, renews, changes, releases or breaks the lease of a blob or a container.
pub(super) fn apply(world: &mut World, call: &Call<'_>) -> Result<Answer, Error> {
    let action = action(world, call)?;
    let (lease, mut answer) = match &call.blob {
        Some(_) => blob(world, call)?,
        None => container::lease(world, call)?,
    };
    match lease.apply(action, call.now)? {
        Outcome::Acquired(id) => {
            answer.status = StatusCode::CREATED;
            answer.set("x-ms-lease-id", id);
        }
        Outcome::Held(id) => answer.set("x-ms-lease-id", id),
        Outcome::Released => {}
        Outcome::Breaking(seconds) => {
            answer.status = StatusCode::ACCEPTED;
            answer.set("x-ms-lease-time", seconds.to_string());
        }
    }
    Ok(answer)
}
