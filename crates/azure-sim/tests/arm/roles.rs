//! What roles allow, how a caller learns it, and how others' roles are listed.

use azure_sim::arm::{Denial, Role, RoleAssignment};
use http::Method;
use serde_json::{Value, json};

use crate::azure::{Azure, SUBSCRIPTION};

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn role(name: &str, actions: &[&str], not_actions: &[&str]) -> Role {
    let (actions, not_actions) = (texts(actions), texts(not_actions));
    Role { name: name.to_owned(), actions, not_actions, ..Role::default() }
}

fn caller(azure: &Azure) -> String {
    azure.sim.world().identity.managed_identity.object_id.clone()
}

fn assign(azure: &Azure, roles: &[(&str, Role)]) {
    let principal = caller(azure);
    let assignments = roles.iter().map(|(scope, role)| RoleAssignment {
        principal: principal.clone(),
        scope: (*scope).to_owned(),
        role: role.clone(),
    });
    azure.sim.world().arm.role_assignments = Some(assignments.collect());
}

async fn permissions(azure: &Azure, scope: &str) -> Vec<Value> {
    let answer = azure.get(&format!("{scope}/providers/Microsoft.Authorization/permissions")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["value"].as_array().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn who_has_no_role_may_do_nothing_but_see_the_tenant() {
    let azure = Azure::new();
    assign(&azure, &[]);
    let refused = azure.get(&Azure::lab_path()).await;
    assert_eq!((refused.status, refused.code()), (403, "AuthorizationFailed"));
    let own =
        azure.get(&format!("{}/providers/Microsoft.Authorization/permissions", Azure::lab_path())).await;
    assert_eq!(own.code(), "AuthorizationFailed", "asking for permissions is an action as well");
    assert_eq!(azure.get("/tenants").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_role_counts_at_its_scope_and_below_with_what_it_allows() {
    let azure = Azure::new();
    let subscription = format!("/subscriptions/{SUBSCRIPTION}");
    let reader = role("Reader", &["*/read"], &[]);
    assign(&azure, &[(&Azure::group().to_uppercase(), reader)]);
    assert_eq!(azure.get(&Azure::lab_path()).await.status, 200);
    let refused = azure.delete(&Azure::image_path("x")).await;
    assert_eq!(refused.code(), "AuthorizationFailed");
    assert!(
        refused.body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Microsoft.DevTestLab/labs/customimages/delete")
    );
    let above = azure.get(&format!("{subscription}/providers/Microsoft.DevTestLab/labs")).await;
    assert_eq!(above.status, 403, "a role on a group is none on its subscription");
}

#[tokio::test(start_paused = true)]
async fn permissions_list_each_role_of_the_caller_at_a_scope() {
    let azure = Azure::new();
    let (reader, images) = (
        role("Reader", &["*/read"], &[]),
        role("Images", &["Microsoft.DevTestLab/labs/customImages/*"], &["*/delete"]),
    );
    assign(&azure, &[(&Azure::group(), reader), (&Azure::lab_path(), images)]);
    let at_lab = permissions(&azure, &Azure::lab_path()).await;
    let images = json!({"actions": ["Microsoft.DevTestLab/labs/customImages/*"], "notActions": ["*/delete"],
        "dataActions": [], "notDataActions": []});
    assert_eq!((at_lab.len(), &at_lab[1]), (2, &images));
    assert_eq!(permissions(&azure, &Azure::group()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_denied_is_no_permission() {
    let azure = Azure::new();
    assert_eq!(permissions(&azure, &Azure::lab_path()).await[0]["actions"], json!(["*"]));
    let denial = Denial {
        action_part: "labs/formulas".to_owned(),
        scope_part: "/labs/".to_owned(),
        ..Denial::default()
    };
    azure.sim.world().arm.denials = vec![denial];
    assert_eq!(permissions(&azure, &Azure::lab_path()).await[0]["notActions"], json!(["*labs/formulas*"]));
    assert_eq!(permissions(&azure, &Azure::group()).await[0]["notActions"], json!([]));
}

#[tokio::test(start_paused = true)]
async fn the_roles_of_a_principal_are_listed_with_their_definitions() {
    let azure = Azure::new();
    assign(&azure, &[(&Azure::group(), role("Owner", &["*"], &[]))]);
    let list = |filter: &str| {
        format!("{}/providers/Microsoft.Authorization/roleAssignments?$filter={filter}", Azure::lab_path())
    };
    let who = caller(&azure);
    let found = azure.get(&list(&format!("assignedTo('{who}')"))).await.body;
    let properties = &found["value"][0]["properties"];
    assert_eq!((&properties["principalId"], &properties["scope"]), (&json!(who), &json!(Azure::group())));
    let definition = azure.get(properties["roleDefinitionId"].as_str().unwrap()).await.body;
    // At the subscription the caller has no role.
    assert_eq!(definition["error"]["code"], "AuthorizationFailed");
    let name = properties["roleDefinitionId"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let at_lab = format!("{}/providers/Microsoft.Authorization/roleDefinitions/{name}", Azure::lab_path());
    let definition = azure.get(&at_lab).await.body;
    assert_eq!(definition["properties"]["roleName"], "Owner");
    assert_eq!(definition["properties"]["permissions"][0]["actions"], json!(["*"]));
    assert_eq!(azure.get(&list("assignedTo('nobody')")).await.body["value"], json!([]));
    assert_eq!(azure.get(&list("principal eq 'x'")).await.code(), "UnsupportedQuery");
    let unknown = azure.get(&at_lab.replace(&name, "00000000-0000-0000-0000-000000000000")).await;
    assert_eq!(unknown.code(), "RoleDefinitionDoesNotExist");
    assert_eq!(azure.call(Method::PUT, &at_lab, Some(json!({}))).await.status, 405);
}
