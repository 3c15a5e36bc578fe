//! What a caller may do at a scope: <https://learn.microsoft.com/rest/api/authorization/permissions>, and what roles somebody else has
//! there: <https://learn.microsoft.com/azure/role-based-access-control/role-assignments-list-rest>.

use serde_json::Value;

use super::{
    Azure, AzureError,
    json::{items, text},
};

const API_VERSION: &str = "2022-04-01";
const PROVIDER: &str = "Microsoft.Authorization";

/// What roles allow at a scope, role by role: what one of them does not allow, another may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions(Vec<Permission>);

/// What one role allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permission {
    /// Of Resource Manager: `Microsoft.DevTestLab/labs/read`, `*/read`, `*`.
    pub actions: Vec<String>,
    /// What of that it does not.
    pub not_actions: Vec<String>,
    /// Of the services' data.
    pub data_actions: Vec<String>,
    /// What of that it does not.
    pub not_data_actions: Vec<String>,
}

impl Permissions {
    /// Whether an action of Resource Manager is allowed.
    pub fn allow(&self, action: &str) -> bool {
        self.0.iter().any(|role| any(&role.actions, action) && !any(&role.not_actions, action))
    }

    /// Whether an action on data is allowed.
    pub fn allow_data(&self, action: &str) -> bool {
        self.0.iter().any(|role| any(&role.data_actions, action) && !any(&role.not_data_actions, action))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(roles: I) -> Self {
        Self(roles.into_iter().collect())
    }
}

fn any(patterns: &[String], action: &str) -> bool {
    patterns.iter().any(|pattern| matches(pattern, action))
}

/// Whether an action fits a pattern: `*` stands for any text, and case does not matter
/// (<https://learn.microsoft.com/azure/role-based-access-control/role-definitions#wildcard-permissions>).
fn matches(pattern: &str, action: &str) -> bool {
    let (pattern, action) = (pattern.to_ascii_lowercase(), action.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == action };
    // What stands between stars is taken where it comes first, so that most is left for what follows.
    let rest = action.strip_prefix(first).and_then(|rest| {
        parts.try_fold(rest, |rest, part| rest.find(part).map(|at| &rest[at + part.len()..]))
    });
    rest.is_some_and(|rest| rest.ends_with(last))
}

impl Azure {
    /// What the caller may do at a scope, a resource id.
    ///
    /// # Errors
    /// As any call; and if `scope` is no resource id.
    pub async fn permissions(&self, scope: &str) -> Result<Permissions, AzureError> {
        let attempted = format!("GET permissions at {scope}");
        let more = ["providers", PROVIDER, "permissions"];
        let url = self.resource_url(&attempted, scope, &more, API_VERSION, &[])?;
        Ok(self.list(&attempted, url).await?.iter().map(permission).collect())
    }

    /// What the roles of somebody else allow at a scope: those that are assigned there or above, to that principal or to a group
    /// that it is in. Denials are not seen. The caller needs to read assignments and definitions, as the role *Reader* does.
    ///
    /// # Errors
    /// As any call; and if `scope` is no resource id.
    pub async fn permissions_of(&self, principal: &str, scope: &str) -> Result<Permissions, AzureError> {
        let attempted = format!("GET roles of {principal} at {scope}");
        let filter = format!("assignedTo('{principal}')");
        let more = ["providers", PROVIDER, "roleAssignments"];
        let url = self.resource_url(&attempted, scope, &more, API_VERSION, &[("$filter", &filter)])?;
        let mut roles = Vec::new();
        for assignment in self.list(&attempted, url).await? {
            // Azure may list what is assigned below the scope, too.
            let is_here = text(&assignment, "/properties/scope").is_none_or(|own| covers(&own, scope));
            let Some(role) = text(&assignment, "/properties/roleDefinitionId").filter(|_| is_here) else {
                continue;
            };
            // Roles of the whole tenant have an id without a subscription.
            let name = role.rsplit('/').next().unwrap_or_default();
            let more = ["providers", PROVIDER, "roleDefinitions", name];
            let url = self.resource_url(&attempted, scope, &more, API_VERSION, &[])?;
            if let Some(definition) = self.get(&attempted, url).await? {
                roles.extend(items(&definition, "/properties/permissions").map(permission));
            }
        }
        Ok(Permissions(roles))
    }
}

/// Whether what is assigned at `own` counts at `scope`.
fn covers(own: &str, scope: &str) -> bool {
    let (own, scope) = (own.trim_end_matches('/').to_ascii_lowercase(), scope.to_ascii_lowercase());
    scope.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn permission(value: &Value) -> Permission {
    let texts = |name: &str| items(value, name).filter_map(|text| text.as_str()).map(str::to_owned).collect();
    Permission {
        actions: texts("/actions"),
        not_actions: texts("/notActions"),
        data_actions: texts("/dataActions"),
        not_data_actions: texts("/notDataActions"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(actions: &[&str], not_actions: &[&str]) -> Permission {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Permission { actions: owned(actions), not_actions: owned(not_actions), ..Permission::default() }
    }

    #[test]
    fn a_star_stands_for_any_text_and_case_does_not_matter() {
        for (pattern, action, expected) in [
            ("*", "Microsoft.Compute/disks/read", true),
            ("*/read", "microsoft.compute/disks/READ", true),
            ("*/read", "Microsoft.Compute/disks/readers/write", false),
            ("Microsoft.Compute/*", "Microsoft.ComputeRp/disks/read", false),
            ("Microsoft.Compute/disks/*/action", "Microsoft.Compute/disks/beginGetAccess/action", true),
            ("a/*/b/*/c", "a/1/b/2/b/3/c", true),
            ("a/*/b/*/c", "a/1/b/c", false),
            ("a*a", "a", false),
            ("Microsoft.Compute/disks/read", "microsoft.compute/DISKS/read", true),
            ("Microsoft.Compute/disks", "Microsoft.Compute/disks/read", false),
        ] {
            assert_eq!(matches(pattern, action), expected, "{pattern} {action}");
        }
    }

    #[test]
    fn what_one_role_leaves_out_another_may_allow_and_data_is_apart() {
        let contributor = role(&["*"], &["Microsoft.Authorization/*/Write"]);
        let alone = Permissions::from_iter([contributor.clone()]);
        assert!(alone.allow("Microsoft.DevTestLab/labs/read"));
        assert!(!alone.allow("Microsoft.Authorization/roleAssignments/write"));
        let both = Permissions::from_iter([contributor, role(&["Microsoft.Authorization/*"], &[])]);
        assert!(both.allow("Microsoft.Authorization/roleAssignments/write"));
        assert!(!both.allow_data("Microsoft.DevTestLab/labs/read"), "actions are not data actions");
        assert!(!Permissions::default().allow("anything"));
    }

    #[test]
    fn an_assignment_counts_at_its_scope_and_below_and_nowhere_else() {
        let group = "/subscriptions/s/resourceGroups/rg";
        assert!(
            covers(group, &group.to_uppercase()) && covers(group, "/subscriptions/s/resourceGroups/rg/x/y")
        );
        assert!(covers("/", group), "the whole tenant");
        assert!(!covers(group, "/subscriptions/s/resourceGroups/rg2") && !covers(group, "/subscriptions/s"));
    }
}
