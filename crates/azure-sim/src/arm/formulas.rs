//! Formulas: recipes from which people make VMs. An image that a formula names must not go.

use http::Method;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{
    Event,
    call::{Answer, Call},
    error::ArmError,
    labs::{self, Lab},
    listing,
    operations::{self, Provider},
    tags::{self, Tags},
};
use crate::World;

/// How long a formula takes to be made.
const CREATION: std::time::Duration = std::time::Duration::from_secs(5);

/// A formula.
#[derive(Clone, Debug)]
pub(crate) struct Formula {
    pub(crate) name: String,
    pub(crate) tags: Tags,
    /// `description`, `osType`, `formulaContent`, `vm`.
    pub(crate) properties: Value,
    pub(crate) author: String,
    pub(crate) created: OffsetDateTime,
    pub(crate) unique: uuid::Uuid,
}

impl Formula {
    fn view(&self, lab: &Lab) -> Value {
        let mut properties = self.properties.clone();
        properties["author"] = json!(self.author);
        properties["creationDate"] = json!(super::stamp(self.created));
        properties["provisioningState"] = json!("Succeeded");
        properties["uniqueIdentifier"] = json!(self.unique);
        let mut body = json!({
            "properties": properties,
            "id": format!("{}/formulas/{}", lab.key(), self.name.to_lowercase()),
            "name": self.name,
            "type": "Microsoft.DevTestLab/labs/formulas",
        });
        if !self.tags.is_empty() {
            body["tags"] = json!(self.tags);
        }
        body
    }
}

/// `{lab}/formulas[/{name}]`.
pub(crate) fn route(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    let now = world.now();
    match (rest, &call.method) {
        ([], &Method::GET) => {
            let lab = labs::get(world, lab_key, call)?;
            listing::page(
                world,
                call,
                |token| listing::after(&lab.formulas, token),
                |f: &Formula| f.view(lab),
            )
        }
        ([name], &Method::GET) => {
            let lab = labs::get(world, lab_key, call)?;
            match lab.formulas.get(*name) {
                Some(formula) => Ok(Answer::json(200, formula.view(lab))),
                None => Err(ArmError::not_found(&call.path())),
            }
        }
        ([name], &Method::PUT) => {
            let body = call.json()?;
            labs::check_name(call.name(), "formula")?;
            let tags = tags::read(&body)?.unwrap_or_default();
            if !body["properties"].is_object() {
                return Err(ArmError::bad_request("The formula has no 'properties'."));
            }
            let mut properties = body["properties"].clone();
            // A formula may hold a password; it never comes back.
            if let Some(content) = properties["formulaContent"]["properties"].as_object_mut() {
                content.remove("password");
            }
            let unique = world.new_guid();
            let lab = labs::get_mut(world, lab_key, call)?;
            let old = lab.formulas.get(*name);
            let status = if old.is_some() { 200 } else { 201 };
            let formula = Formula {
                name: old.map_or(call.name(), |old| &old.name).to_owned(),
                tags,
                properties,
                author: call.principal.object_id.clone(),
                created: old.map_or(now, |old| old.created),
                unique: old.map_or(unique, |old| old.unique),
            };
            let mut view = formula.view(lab);
            view["properties"]["provisioningState"] = json!("Creating");
            lab.formulas.insert((*name).to_owned(), formula);
            let location = lab.location.clone();
            let operation = operations::begin(world, Provider::DevTestLab, call.subscription(), &location);
            world.schedule(CREATION, crate::world::Event::Arm(Event::OperationEnds(operation.clone())));
            Ok(operations::accepted(world, &operation, Answer::json(status, view)))
        }
        ([name], &Method::PATCH) => {
            let new = tags::read(&call.json()?)?;
            let lab = labs::get_mut(world, lab_key, call)?;
            let Some(formula) = lab.formulas.get_mut(*name) else {
                return Err(ArmError::not_found(&call.path()));
            };
            if let Some(new) = new {
                formula.tags = new;
            }
            let lab = labs::get(world, lab_key, call)?;
            Ok(Answer::json(200, lab.formulas[*name].view(lab)))
        }
        ([name], &Method::DELETE) => {
            let lab = labs::get_mut(world, lab_key, call)?;
            let status = if lab.formulas.remove(*name).is_some() { 200 } else { 204 };
            Ok(Answer::empty(status))
        }
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}
