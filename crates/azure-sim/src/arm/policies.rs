//! Lab policies: limits that a lab's owner sets (Microsoft, "Policies - Create Or Update", "Policy Sets - Evaluate Policies").

use http::Method;
use serde_json::{Value, json};

use super::{
    call::{Answer, Call},
    error::ArmError,
    labs::Lab,
    listing,
};
use crate::World;

/// One policy.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) name: String,
    /// `LabVmCount`, `LabVmSize`, …
    pub(crate) fact: String,
    /// `MaxValuePolicy` or `AllowedValuesPolicy`.
    pub(crate) evaluator: String,
    /// A number, or a JSON array as a string.
    pub(crate) threshold: String,
    pub(crate) enabled: bool,
}

const MAXIMUM: &str = "MaxValuePolicy";
const ALLOWED: &str = "AllowedValuesPolicy";

/// What a call wants to do with one fact.
pub(crate) struct Wish<'a> {
    pub(crate) fact: &'a str,
    /// So many more.
    pub(crate) offset: i64,
    /// This value.
    pub(crate) data: &'a str,
    /// For whom.
    pub(crate) user: &'a str,
}

impl Policy {
    fn view(&self, lab: &Lab) -> Value {
        json!({
            "id": format!("{}/policysets/default/policies/{}", lab.key(), self.name.to_lowercase()),
            "name": self.name,
            "type": "Microsoft.DevTestLab/labs/policySets/policies",
            "properties": {
                "factName": self.fact,
                "evaluatorType": self.evaluator,
                "threshold": self.threshold,
                "status": if self.enabled { "Enabled" } else { "Disabled" },
                "provisioningState": "Succeeded",
            },
        })
    }

    /// The violation, if the wish breaks this policy.
    fn violation(&self, lab: &Lab, wish: &Wish<'_>) -> Option<(&'static str, String)> {
        if !self.enabled || !self.fact.eq_ignore_ascii_case(wish.fact) {
            return None;
        }
        if self.evaluator.eq_ignore_ascii_case(MAXIMUM) {
            let limit: i64 = self.threshold.trim().parse().ok()?;
            let now = current(lab, wish)?;
            (now + wish.offset > limit).then(|| {
                let where_ = if wish.fact.to_ascii_lowercase().starts_with("userowned") {
                    "owned by a single user in this lab"
                } else {
                    "created in this lab"
                };
                (
                    MAXIMUM,
                    format!(
                        "You cannot exceed the limit ({limit}) of virtual machines that can be {where_}."
                    ),
                )
            })
        } else {
            let allowed: Vec<Value> = serde_json::from_str(&self.threshold).unwrap_or_default();
            let fits = allowed.iter().any(|entry| match entry {
                Value::String(text) => same_value(text, wish.data),
                other => same_value(&other.to_string(), wish.data),
            });
            (!fits).then(|| {
                (
                    ALLOWED,
                    format!(
                        "The value '{}' is not allowed by the policy '{}' of this lab.",
                        wish.data, self.name
                    ),
                )
            })
        }
    }
}

/// Compares values of a policy: JSON documents by content, other texts ignoring case.
fn same_value(one: &str, other: &str) -> bool {
    let json = |text: &str| serde_json::from_str::<Value>(&text.to_lowercase()).ok();
    match (json(one), json(other)) {
        (Some(Value::Object(one)), Some(Value::Object(other))) => {
            one.iter().all(|(key, value)| other.get(key) == Some(value))
        }
        _ => one.eq_ignore_ascii_case(other),
    }
}

fn current(lab: &Lab, wish: &Wish<'_>) -> Option<i64> {
    let premium = |machine: &&super::LabMachine| machine.storage_type().eq_ignore_ascii_case("Premium");
    let own = |machine: &&super::LabMachine| machine.owner() == wish.user;
    let machines = lab.machines.values();
    let count = match wish.fact.to_ascii_lowercase().as_str() {
        "labvmcount" => lab.machines.len(),
        "labpremiumvmcount" => machines.filter(premium).count(),
        "userownedlabvmcount" => machines.filter(own).count(),
        "userownedlabpremiumvmcount" => machines.filter(own).filter(premium).count(),
        _ => return None,
    };
    i64::try_from(count).ok()
}

/// # Errors
/// 409 with the evaluator's name as its code, for the first policy that a wish breaks.
pub(crate) fn check(lab: &Lab, wishes: &[Wish<'_>]) -> Result<(), ArmError> {
    for wish in wishes {
        for policy in lab.policies.values() {
            if let Some((code, message)) = policy.violation(lab, wish) {
                return Err(ArmError::new(409, code, message));
            }
        }
    }
    Ok(())
}

/// `{lab}/policysets/default/…`.
pub(crate) fn route(
    world: &mut World,
    call: &Call,
    lab_key: &str,
    rest: &[&str],
) -> Result<Answer, ArmError> {
    let Some(lab) = world.arm.labs.get_mut(lab_key) else {
        return Err(ArmError::not_found(&call.path()));
    };
    match (rest, &call.method) {
        (["evaluatepolicies"], &Method::POST) => evaluate(lab, call),
        (["policies"], &Method::GET) => {
            let lab = &world.arm.labs[lab_key];
            listing::page(world, call, |token| listing::after(&lab.policies, token), |p: &Policy| p.view(lab))
        }
        (["policies", name], &Method::GET) => match lab.policies.get(*name) {
            Some(policy) => Ok(Answer::json(200, policy.view(lab))),
            None => Err(ArmError::not_found(&call.path())),
        },
        (["policies", name], &Method::PUT) => {
            let body = call.json()?;
            let text = |name: &str| body["properties"][name].as_str().unwrap_or_default().to_owned();
            let policy = Policy {
                name: call.name().to_owned(),
                fact: text("factName"),
                evaluator: text("evaluatorType"),
                threshold: text("threshold"),
                enabled: !text("status").eq_ignore_ascii_case("disabled"),
            };
            if ![MAXIMUM, ALLOWED].iter().any(|e| e.eq_ignore_ascii_case(&policy.evaluator))
                || policy.fact.is_empty()
            {
                return Err(ArmError::bad_request("A policy needs 'factName' and a known 'evaluatorType'."));
            }
            let view = policy.view(lab);
            let old = lab.policies.insert((*name).to_owned(), policy);
            Ok(Answer::json(if old.is_some() { 200 } else { 201 }, view))
        }
        (["policies", name], &Method::DELETE) => {
            let status = if lab.policies.remove(*name).is_some() { 200 } else { 204 };
            Ok(Answer::empty(status))
        }
        _ => Err(ArmError::method_not_allowed(&call.method, &call.path())),
    }
}

fn evaluate(lab: &Lab, call: &Call) -> Result<Answer, ArmError> {
    let body = call.json()?;
    let wishes =
        body["policies"].as_array().ok_or_else(|| ArmError::bad_request("'policies' must be an array."))?;
    let results: Vec<Value> = wishes
        .iter()
        .map(|wish| {
            let text = |name: &str| wish[name].as_str().unwrap_or_default();
            let wish = Wish {
                fact: text("factName"),
                offset: text("valueOffset").parse().unwrap_or(0),
                data: text("factData"),
                user: match text("userObjectId") {
                    "" => &call.principal.object_id,
                    user => user,
                },
            };
            let violations: Vec<Value> = lab
                .policies
                .values()
                .filter_map(|policy| policy.violation(lab, &wish))
                .map(|(code, message)| json!({"code": code, "message": message}))
                .collect();
            json!({"hasError": !violations.is_empty(), "policyViolations": violations})
        })
        .collect();
    Ok(Answer::json(200, json!({"results": results})))
}
