//! Resource ids: <https://learn.microsoft.com/azure/azure-resource-manager/templates/template-functions-resource>.

use std::{fmt, str::FromStr};

/// Whether two ids name the same resource: Azure hands them out in mixed case and compares them without.
pub fn same_id(a: &str, b: &str) -> bool {
    let trim = |id: &str| id.trim().trim_end_matches('/').to_owned();
    trim(a).eq_ignore_ascii_case(&trim(b))
}

/// An id taken apart: `/subscriptions/{s}/resourceGroups/{g}/providers/{namespace}/{type}/{name}/…`.
/// Equality ignores case.
#[derive(Clone, Debug)]
pub struct ResourceId {
    /// The subscription's id.
    pub subscription_id: String,
    /// The resource group; `None` for what hangs on the subscription itself.
    pub resource_group: Option<String>,
    /// The provider's namespace, e.g. `Microsoft.DevTestLab`; `None` for a subscription or a group.
    pub provider: Option<String>,
    /// Types and names in turn, from the outermost: `[("labs", "web"), ("customimages", "x")]`.
    pub path: Vec<(String, String)>,
}

/// A text that is no resource id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no resource id: expected '/subscriptions/…/resourceGroups/…/providers/…'")]
pub struct BadResourceId(String);

impl ResourceId {
    /// The resource's own name, the last in its id.
    pub fn name(&self) -> &str {
        let outer = self.resource_group.as_deref().unwrap_or(&self.subscription_id);
        self.path.last().map_or(outer, |(_, name)| name)
    }

    /// The name of the part of this type, in any case: `named("labs")`.
    pub fn named(&self, kind: &str) -> Option<&str> {
        self.path.iter().find(|(part, _)| part.eq_ignore_ascii_case(kind)).map(|(_, name)| name.as_str())
    }

    /// The full type, e.g. `Microsoft.DevTestLab/labs/customimages`, in the case of the id.
    pub fn resource_type(&self) -> String {
        let mut kind = self.provider.clone().unwrap_or_default();
        for (part, _) in &self.path {
            kind.push('/');
            kind.push_str(part);
        }
        kind
    }

    /// The id's segments, without slashes and not encoded.
    pub(super) fn segments(&self) -> Vec<String> {
        let mut segments = vec!["subscriptions".to_owned(), self.subscription_id.clone()];
        if let Some(group) = &self.resource_group {
            segments.extend(["resourceGroups".to_owned(), group.clone()]);
        }
        if let Some(provider) = &self.provider {
            segments.extend(["providers".to_owned(), provider.clone()]);
        }
        for (kind, name) in &self.path {
            segments.extend([kind.clone(), name.clone()]);
        }
        segments
    }
}

impl FromStr for ResourceId {
    type Err = BadResourceId;

    fn from_str(text: &str) -> Result<Self, BadResourceId> {
        let bad = || BadResourceId(super::error::without_queries(text).chars().take(200).collect());
        let mut parts = text.trim().trim_end_matches('/').strip_prefix('/').ok_or_else(bad)?.split('/');
        let odd =
            |part: &&str| part.is_empty() || matches!(*part, "." | "..") || part.contains(['?', '#', '\\']);
        let mut pair = |expected: Option<&str>| -> Result<Option<(String, String)>, BadResourceId> {
            let Some(key) = parts.next() else { return Ok(None) };
            let value = parts.next().ok_or_else(bad)?;
            let unexpected = expected.is_some_and(|expected| !expected.eq_ignore_ascii_case(key));
            if unexpected || odd(&key) || odd(&value) {
                return Err(bad());
            }
            Ok(Some((key.to_owned(), value.to_owned())))
        };
        let (_, subscription_id) = pair(Some("subscriptions"))?.ok_or_else(bad)?;
        let mut id = Self { subscription_id, resource_group: None, provider: None, path: Vec::new() };
        while let Some((key, value)) = pair(None)? {
            let outer = id.provider.is_none();
            if outer && id.resource_group.is_none() && key.eq_ignore_ascii_case("resourceGroups") {
                id.resource_group = Some(value);
            } else if outer && key.eq_ignore_ascii_case("providers") {
                id.provider = Some(value);
            } else if !outer {
                id.path.push((key, value));
            } else {
                return Err(bad());
            }
        }
        Ok(id)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.segments().iter().try_for_each(|segment| write!(f, "/{segment}"))
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        same_id(&self.to_string(), &other.to_string())
    }
}

impl Eq for ResourceId {}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str =
        "/subscriptions/S/resourcegroups/rg/providers/microsoft.devtestlab/labs/Web/customimages/a b";

    #[test]
    fn an_id_is_taken_apart_and_compared_without_case() {
        let id: ResourceId = IMAGE.parse().unwrap();
        assert_eq!(id.subscription_id, "S");
        assert_eq!(id.resource_group.as_deref(), Some("rg"));
        assert_eq!(id.provider.as_deref(), Some("microsoft.devtestlab"));
        assert_eq!((id.name(), id.named("Labs")), ("a b", Some("Web")));
        assert_eq!(id.resource_type(), "microsoft.devtestlab/labs/customimages");
        assert_eq!(id, IMAGE.to_uppercase().parse().unwrap());
        assert!(same_id(IMAGE, &format!("{}/", IMAGE.to_uppercase())));
        assert!(!same_id(IMAGE, "/subscriptions/S"));
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_id() {
        for text in [
            "",
            "subscriptions/S",
            "/subscriptions",
            "/tenants/T",
            "/subscriptions/S/resourceGroups/rg/providers/p/labs",
            "/subscriptions/S/resourceGroups/../providers/p/labs/x",
            "/subscriptions/S/resourceGroups/rg/providers/p/labs/x?y=z",
            "/subscriptions//resourceGroups/rg",
            "https://elsewhere/subscriptions/S",
        ] {
            assert!(text.parse::<ResourceId>().is_err(), "{text}");
        }
    }
}
