//! Which lab is meant.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Deserialize, Serialize};

/// "Lab: 1-50, alphanumerics, underscores, and hyphens"
/// (<https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules#microsoftdevtestlab>).
const LONGEST_LAB_NAME: usize = 50;
/// "Resource group: 1-90" (the same page).
const LONGEST_GROUP_NAME: usize = 90;

/// A lab as the configuration names it. Without a resource group the lab is looked up in its subscription.
///
/// Compared, hashed and ordered ignoring case, as Azure does with ids.
#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "Fields", into = "Fields")]
pub struct LabId(Fields);

#[derive(Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Fields {
    subscription_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_group: Option<String>,
    lab_name: String,
}

/// Why a lab cannot be called that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLab {
    /// The subscription's id.
    #[error("'{0}' is no subscription id: it must be a GUID such as 00000000-0000-0000-0000-000000000000")]
    Subscription(String),
    /// The resource group's name.
    #[error(
        "'{0}' is no name of a resource group: it has 1 to 90 letters, digits, '_', '-', '.', '(' and ')', and no '.' at its end"
    )]
    ResourceGroup(String),
    /// The lab's name.
    #[error("'{0}' is no name of a lab: it has 1 to 50 letters, digits, '_' and '-'")]
    LabName(String),
}

impl LabId {
    /// Names a lab.
    ///
    /// # Errors
    /// If a part breaks Azure's rules; the first one that does is named.
    pub fn new(subscription_id: &str, resource_group: Option<&str>, lab_name: &str) -> Result<Self, BadLab> {
        check_subscription(subscription_id)?;
        resource_group.map_or(Ok(()), check_resource_group)?;
        check_lab_name(lab_name)?;
        Ok(Self(Fields {
            subscription_id: subscription_id.to_owned(),
            resource_group: resource_group.map(str::to_owned),
            lab_name: lab_name.to_owned(),
        }))
    }

    /// The subscription's GUID, as it was written.
    pub fn subscription_id(&self) -> &str {
        &self.0.subscription_id
    }

    /// The resource group, if the configuration names it.
    pub fn resource_group(&self) -> Option<&str> {
        self.0.resource_group.as_deref()
    }

    /// The lab's name, as it was written.
    pub fn lab_name(&self) -> &str {
        &self.0.lab_name
    }

    /// Whether both may mean one lab: a name without a resource group means that lab in any group.
    pub fn may_be(&self, other: &Self) -> bool {
        let groups = self.resource_group().zip(other.resource_group());
        self.0.subscription_id.eq_ignore_ascii_case(&other.0.subscription_id)
            && self.0.lab_name.eq_ignore_ascii_case(&other.0.lab_name)
            && groups.is_none_or(|(a, b)| a.eq_ignore_ascii_case(b))
    }

    /// The same text for all spellings of this lab.
    pub fn folded(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

/// Whether this is a GUID with hyphens.
pub(crate) fn check_subscription(text: &str) -> Result<(), BadLab> {
    match uuid::Uuid::try_parse(text) {
        Ok(_) if text.len() == uuid::fmt::Hyphenated::LENGTH => Ok(()),
        _ => Err(BadLab::Subscription(text.to_owned())),
    }
}

/// Whether this may be a resource group's name.
pub(crate) fn check_resource_group(text: &str) -> Result<(), BadLab> {
    let fits = (1..=LONGEST_GROUP_NAME).contains(&text.chars().count())
        && text.chars().all(|c| c.is_alphanumeric() || "_-.()".contains(c))
        && !text.ends_with('.');
    if fits { Ok(()) } else { Err(BadLab::ResourceGroup(text.to_owned())) }
}

/// Whether this may be a lab's name.
pub(crate) fn check_lab_name(text: &str) -> Result<(), BadLab> {
    let fits = (1..=LONGEST_LAB_NAME).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits { Ok(()) } else { Err(BadLab::LabName(text.to_owned())) }
}

impl TryFrom<Fields> for LabId {
    type Error = BadLab;

    fn try_from(fields: Fields) -> Result<Self, BadLab> {
        Self::new(&fields.subscription_id, fields.resource_group.as_deref(), &fields.lab_name)
    }
}

impl From<LabId> for Fields {
    fn from(lab: LabId) -> Self {
        lab.0
    }
}

impl PartialEq for LabId {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for LabId {}

impl Hash for LabId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

impl PartialOrd for LabId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for LabId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl fmt::Display for LabId {
    /// `subscription/group/lab`, or `subscription//lab` where the group is not named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = self.resource_group().unwrap_or_default();
        write!(f, "{}/{group}/{}", self.0.subscription_id, self.0.lab_name)
    }
}

impl fmt::Debug for LabId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBSCRIPTION: &str = "8D9F1E4A-1111-4222-8333-444455556666";

    #[test]
    fn labs_are_compared_ignoring_case() {
        let a = LabId::new(SUBSCRIPTION, Some("Rg"), "Web").unwrap();
        let b = LabId::new(&SUBSCRIPTION.to_lowercase(), Some("rG"), "wEB").unwrap();
        assert_eq!(a, b);
        assert_eq!(a.lab_name(), "Web");
        let without = LabId::new(SUBSCRIPTION, None, "WEB").unwrap();
        assert_ne!(a, without);
        assert!(a.may_be(&without) && without.may_be(&a));
        assert!(!a.may_be(&LabId::new(SUBSCRIPTION, Some("other"), "web").unwrap()));
    }

    #[test]
    fn azures_rules_are_kept() {
        for subscription in
            ["", "8d9f1e4a", "8d9f1e4a111142228333444455556666", "{8d9f1e4a-1111-4222-8333-444455556666}"]
        {
            assert!(
                matches!(LabId::new(subscription, None, "x"), Err(BadLab::Subscription(_))),
                "{subscription}"
            );
        }
        for group in ["", "a/b", "ends.", &"x".repeat(91)] {
            assert!(
                matches!(LabId::new(SUBSCRIPTION, Some(group), "x"), Err(BadLab::ResourceGroup(_))),
                "{group}"
            );
        }
        for lab in ["", "a b", "a.b", "é", &"x".repeat(51)] {
            assert!(matches!(LabId::new(SUBSCRIPTION, None, lab), Err(BadLab::LabName(_))), "{lab}");
        }
        assert!(LabId::new(SUBSCRIPTION, Some("a(b)_c.d-e"), &"x".repeat(50)).is_ok());
    }

    #[test]
    fn json_has_azures_keys_and_is_checked() {
        let text = format!(r#"{{"subscriptionId":"{SUBSCRIPTION}","labName":"web"}}"#);
        let lab: LabId = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&lab).unwrap(), text);
        assert!(serde_json::from_str::<LabId>(r#"{"subscriptionId":"x","labName":"web"}"#).is_err());
    }
}
