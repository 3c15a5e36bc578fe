//! Tags: their limits, and `…/providers/Microsoft.Resources/tags/default` (Microsoft, "Tags - Update At Scope").

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
};
use crate::World;

/// Tags as JSON, in the order in which they were given; all values are strings.
pub(crate) type Tags = Map<String, Value>;

/// "Each resource can have a maximum of 50 tag name-value pairs."
const MOST: usize = 50;
/// "The tag name has a limit of 512 characters and the tag value has a limit of 256 characters."
const LONGEST_NAME: usize = 512;
const LONGEST_VALUE: usize = 256;
/// Segments of `providers/Microsoft.Resources/tags/default`.
const OWN_SEGMENTS: usize = 4;

/// Reads `tags` of a body; `None` where there are none.
pub(crate) fn read(body: &Value) -> Result<Option<Tags>, ArmError> {
    match &body["tags"] {
        Value::Null => Ok(None),
        Value::Object(tags) => check(tags).map(|()| Some(tags.clone())),
        _ => Err(ArmError::new(400, "InvalidTags", "The tags must be a JSON object of strings.")),
    }
}

fn check(tags: &Tags) -> Result<(), ArmError> {
    let refuse = |message: String| Err(ArmError::new(400, "InvalidTags", message));
    if tags.len() > MOST {
        return refuse(format!("A resource can have at most {MOST} tags, not {}.", tags.len()));
    }
    for (name, value) in tags {
        let twice = tags.keys().filter(|other| other.eq_ignore_ascii_case(name)).count() > 1;
        if name.is_empty()
            || name.chars().count() > LONGEST_NAME
            || name.contains(['<', '>', '%', '&', '\\', '?', '/'])
        {
            return refuse(format!("The tag name '{name}' is invalid."));
        }
        if twice {
            return refuse(format!("The tag name '{name}' is there twice; names ignore case."));
        }
        match value.as_str() {
            Some(value) if value.chars().count() <= LONGEST_VALUE => {}
            _ => {
                return refuse(format!(
                    "The value of tag '{name}' must be a string of at most {LONGEST_VALUE} characters."
                ));
            }
        }
    }
    Ok(())
}

/// GET and PATCH of a resource's tags.
pub(crate) fn route(world: &mut World, call: &Call) -> Result<Answer, ArmError> {
    let key = format!("/{}", call.lower[..call.lower.len() - OWN_SEGMENTS].join("/"));
    let Some(current) = find(world, &key) else {
        return Err(ArmError::not_found(&key));
    };
    match call.method {
        Method::GET => {}
        Method::PATCH => {
            let body = call.json()?;
            let given = read(&body["properties"])?.unwrap_or_default();
            let operation = body["operation"].as_str().unwrap_or_default().to_ascii_lowercase();
            let mut tags = if operation == "replace" { Tags::new() } else { current.clone() };
            for (name, value) in given {
                tags.retain(|old, old_value| {
                    !old.eq_ignore_ascii_case(&name) || (operation == "delete" && *old_value != value)
                });
                if operation != "delete" {
                    tags.insert(name, value);
                }
            }
            if !["merge", "replace", "delete"].contains(&operation.as_str()) {
                return Err(ArmError::bad_request("The operation must be 'Merge', 'Replace' or 'Delete'."));
            }
            check(&tags)?;
            *current = tags;
        }
        Method::PUT => *current = read(&call.json()?["properties"])?.unwrap_or_default(),
        _ => return Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
    let body = json!({
        "id": call.path(),
        "name": "default",
        "type": "Microsoft.Resources/tags",
        "properties": {"tags": current},
    });
    Ok(Answer::json(200, body))
}

/// The tags of a group, a lab, a lab VM or a custom image.
fn find<'a>(world: &'a mut World, key: &str) -> Option<&'a mut Tags> {
    let segments: Vec<&str> = key.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["subscriptions", subscription, "resourcegroups", group] => {
            let key = format!("{subscription}/{group}");
            world.arm.groups.get_mut(&key).map(|group| &mut group.tags)
        }
        [_, subscription, _, group, "providers", "microsoft.devtestlab", "labs", lab, rest @ ..] => {
            let lab = world.arm.labs.get_mut(&super::labs::key(subscription, group, lab))?;
            match rest {
                [] => Some(&mut lab.tags),
                ["virtualmachines", name] => lab.machines.get_mut(*name).map(|machine| &mut machine.tags),
                ["customimages", name] => lab.images.get_mut(*name).map(|image| &mut image.tags),
                ["formulas", name] => lab.formulas.get_mut(*name).map(|formula| &mut formula.tags),
                _ => None,
            }
        }
        _ => None,
    }
}
