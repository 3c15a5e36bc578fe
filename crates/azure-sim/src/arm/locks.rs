//! Management locks (Microsoft, "Lock your resources to protect your infrastructure").

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
};
use crate::World;

/// What a lock forbids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum LockLevel {
    /// Deleting.
    CanNotDelete,
    /// Everything but GET.
    ReadOnly,
}

/// A lock at a scope.
#[derive(Clone, Debug)]
pub(crate) struct Lock {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) level: LockLevel,
    pub(crate) notes: Option<String>,
}

impl Lock {
    fn view(&self) -> Value {
        let mut properties = json!({"level": self.level});
        if let Some(notes) = &self.notes {
            properties["notes"] = json!(notes);
        }
        json!({
            "id": self.id,
            "type": "Microsoft.Authorization/locks",
            "name": self.name,
            "properties": properties,
        })
    }
}

/// How many segments a lock's path has after its scope: `providers/Microsoft.Authorization/locks[/{name}]`.
const COLLECTION_SEGMENTS: usize = 3;

/// `…/providers/Microsoft.Authorization/locks[/{name}]`.
pub(crate) fn route(world: &mut World, call: &Call, name: Option<&str>) -> Result<Answer, ArmError> {
    let depth = call.lower.len() - COLLECTION_SEGMENTS - usize::from(name.is_some());
    let scope = format!("/{}", call.lower[..depth].join("/"));
    let Some(name) = name else {
        return list(world, call, &scope);
    };
    let locks = world.arm.locks.entry(scope).or_default();
    match call.method {
        Method::GET => match locks.get(name) {
            Some(lock) => Ok(Answer::json(200, lock.view())),
            None => Err(ArmError::new(404, "LockNotFound", format!("The lock '{name}' could not be found."))),
        },
        Method::PUT => {
            let body = call.json()?;
            let level = serde_json::from_value(body["properties"]["level"].clone()).map_err(|_| {
                ArmError::new(400, "InvalidLock", "The lock level must be 'CanNotDelete' or 'ReadOnly'.")
            })?;
            let lock = Lock {
                id: call.path(),
                name: call.name().to_owned(),
                level,
                notes: body["properties"]["notes"].as_str().map(str::to_owned),
            };
            let view = lock.view();
            let status = match locks.insert(name.to_owned(), lock) {
                Some(_) => 200,
                None => 201,
            };
            Ok(Answer::json(status, view))
        }
        Method::DELETE => Ok(Answer::empty(if locks.remove(name).is_some() { 200 } else { 204 })),
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

/// The locks of a scope with those of its group and subscription; `$filter=atScope()` leaves these out.
fn list(world: &World, call: &Call, scope: &str) -> Result<Answer, ArmError> {
    if call.method != Method::GET {
        return Err(ArmError::method_not_allowed(&call.method, &call.path()));
    }
    let only_here = match call.query.get("$filter").map(|filter| filter.trim().to_ascii_lowercase()) {
        None => false,
        Some(filter) if filter == "atscope()" => true,
        Some(filter) => {
            let message = format!("The filter '{filter}' is not supported.");
            return Err(ArmError::new(400, "InvalidFilter", message));
        }
    };
    let is_above = |above: &str| scope.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'));
    let value: Vec<Value> = world
        .arm
        .locks
        .iter()
        .filter(|(at, _)| *at == scope || (!only_here && is_above(at)))
        .flat_map(|(_, locks)| locks.values().map(Lock::view))
        .collect();
    Ok(Answer::json(200, json!({"value": value})))
}

/// # Errors
/// 409 `ScopeLocked` if a lock at the resource or above it forbids the call.
pub(crate) fn check(world: &World, call: &Call) -> Result<(), ArmError> {
    if world.arm.locks.is_empty() || call.method == Method::GET || call.method == Method::HEAD {
        return Ok(());
    }
    match forbidding(world, &call.key(), call.method == Method::DELETE) {
        Some(scope) => {
            let verb = if call.method == Method::DELETE { "delete" } else { "write" };
            Err(ArmError::new(
                409,
                "ScopeLocked",
                format!(
                    "The scope '{}' cannot perform {verb} operation because following scope(s) are locked: '{scope}'. Please remove the lock and try again.",
                    call.path()
                ),
            ))
        }
        None => Ok(()),
    }
}

/// The scope whose lock forbids to change, or to delete, what is at `key`.
pub(crate) fn forbidding(world: &World, key: &str, deleting: bool) -> Option<String> {
    let ends = key.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
    ends.chain(std::iter::once(key.len()))
        .map(|end| &key[..end])
        .find(|scope| {
            world
                .arm
                .locks
                .get(*scope)
                .is_some_and(|locks| locks.values().any(|lock| deleting || lock.level == LockLevel::ReadOnly))
        })
        .map(str::to_owned)
}
