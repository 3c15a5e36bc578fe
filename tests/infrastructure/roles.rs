//! Roles grant what the code declares that it needs (`image_factory::azure::actions`), and nothing else, each at its place.

use std::{collections::BTreeSet, fs};

use image_factory::azure::actions::{ACTIONS, Place};

use crate::{
    bicep::{Declaration, Expression, File, Kind},
    files, infra, module,
};

/// The custom role of a place.
struct Custom {
    place: Place,
    /// The variables with its actions; those of data have a variable of their own.
    actions: &'static [&'static str],
    /// The output with its name.
    role: &'static str,
    /// The modules of main.bicep that assign it, each with its file.
    assigned: &'static [(&'static str, &'static str)],
}

const CUSTOM: [Custom; 8] = [
    Custom {
        place: Place::FactoryLab,
        actions: &["factoryLabActions"],
        role: "factoryLabRole",
        assigned: &[("factoryLabAccess", "group-access")],
    },
    Custom {
        place: Place::Machines,
        actions: &["machineActions"],
        role: "machinesRole",
        assigned: &[("machinesAccess", "group-access"), ("allMachinesAccess", "subscription-access")],
    },
    Custom {
        place: Place::TeamLab,
        actions: &["teamLabActions"],
        role: "teamLabRole",
        assigned: &[("teamLabAccess", "team-lab-access")],
    },
    Custom {
        place: Place::LabStorage,
        actions: &["labStorageActions", "labStorageDataActions"],
        role: "labStorageRole",
        assigned: &[("factoryLabStorageAccess", "lab-storage-access"), ("teamLabAccess", "team-lab-access")],
    },
    Custom {
        place: Place::FactoryStorage,
        actions: &["factoryStorageActions"],
        role: "factoryStorageRole",
        assigned: &[("factoryLabStorageAccess", "lab-storage-access")],
    },
    Custom {
        place: Place::KeyedStorage,
        actions: &["keyedStorageActions"],
        role: "keyedStorageRole",
        assigned: &[("factoryLabStorageAccess", "lab-storage-access"), ("teamLabAccess", "team-lab-access")],
    },
    Custom {
        place: Place::Subscription,
        actions: &["subscriptionActions"],
        role: "subscriptionRole",
        assigned: &[("subscriptionAccess", "subscription-access")],
    },
    Custom {
        place: Place::Ledger,
        actions: &["ledgerDataActions"],
        role: "ledgerRole",
        assigned: &[("ledgerStorage", "ledger-storage")],
    },
];

/// Built-in roles that are assigned, with the actions of ours that they grant, and what else they are for
/// (<https://learn.microsoft.com/azure/role-based-access-control/built-in-roles>).
const BUILT_IN: [(&str, &str, &[&str]); 6] = [
    (
        "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "Storage Blob Data Owner: the Functions host, on its own account",
        &[],
    ),
    ("0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3", "Storage Table Data Contributor: the same", &[]),
    ("3913510d-42f4-4e42-8a64-420c390055eb", "Monitoring Metrics Publisher: the Functions host", &[]),
    ("4633458b-17de-408a-b874-0445c86b69e6", "Key Vault Secrets User: references in app settings", &[]),
    (
        "4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0",
        "Azure Service Bus Data Receiver",
        // It grants Microsoft.ServiceBus/*/queues/read as well.
        &[
            "Microsoft.ServiceBus/namespaces/messages/receive/action",
            "Microsoft.ServiceBus/namespaces/queues/read",
        ],
    ),
    (
        "69a216fc-b8fb-44d8-bc22-1f3c2cd27a39",
        "Azure Service Bus Data Sender",
        &["Microsoft.ServiceBus/namespaces/messages/send/action"],
    ),
];

const ASSIGNMENT: &str = "Microsoft.Authorization/roleAssignments";
const DEFINITION: &str = "Microsoft.Authorization/roleDefinitions";

fn declared(place: Place) -> BTreeSet<&'static str> {
    ACTIONS.iter().filter(|action| action.place == place).map(|action| action.name).collect()
}

#[test]
fn each_custom_role_grants_what_the_code_needs_at_its_place_and_nothing_else() {
    let roles = module("roles");
    for Custom { place, actions: variables, .. } in CUSTOM {
        let granted: Vec<&str> = variables.iter().flat_map(|name| roles.variable(name).texts()).collect();
        let set: BTreeSet<&str> = granted.iter().copied().collect();
        assert_eq!(
            set,
            declared(place),
            "{variables:?} in infra/modules/roles.bicep, and src/azure/actions.rs"
        );
        assert_eq!(set.len(), granted.len(), "{variables:?} name an action twice");
        assert!(granted.iter().all(|name| !name.contains('*')), "{variables:?}: {granted:?}");
        // What is done to blobs is granted as an action on data, and does nothing as any other
        // (<https://learn.microsoft.com/azure/role-based-access-control/role-definitions#control-and-data-actions>).
        for variable in variables {
            let of_data =
                roles.variable(variable).texts().iter().all(|name| name.contains("/containers/blobs/"));
            assert_eq!(of_data, variable.ends_with("DataActions"), "{variable}");
        }
    }
}

#[test]
fn each_custom_role_is_defined_with_its_own_actions() {
    let roles = module("roles");
    let mut defined = BTreeSet::new();
    for definition in roles.resources(DEFINITION) {
        let Some(Expression::Array(permissions)) =
            definition.value.as_ref().unwrap().at("properties.permissions")
        else {
            panic!("{} has no permissions", definition.name)
        };
        for permission in permissions {
            let Expression::Object(kinds) = permission else { panic!("{permission:?}") };
            for (kind, actions) in kinds {
                match actions {
                    Expression::Name(variable) => {
                        let is_data = variable.ends_with("DataActions");
                        assert_eq!(kind == "dataActions", is_data, "{}", definition.name);
                        assert!(defined.insert(variable.clone()), "{variable} is granted twice");
                    }
                    // Of a role that grants data actions alone.
                    other => assert_eq!(*other, Expression::Array(Vec::new()), "{}", definition.name),
                }
            }
        }
    }
    let expected: BTreeSet<String> =
        CUSTOM.iter().flat_map(|custom| custom.actions).map(|name| (*name).to_owned()).collect();
    assert_eq!(defined, expected);
}

#[test]
fn the_doctor_calls_each_role_by_its_name() {
    let roles = module("roles");
    let names: BTreeSet<&str> = roles
        .resources(DEFINITION)
        .map(|role| match role.value.as_ref().unwrap().at("properties.roleName") {
            Some(Expression::Text(name, _)) => name.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let told =
        CUSTOM.iter().flat_map(|custom| custom.place.roles()).map(|role| format!("${{prefix}}: {role}"));
    assert_eq!(names.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), told.collect());
    let built_in = Place::ServiceBus.roles();
    assert!(built_in.iter().all(|role| BUILT_IN.iter().any(|(_, about, _)| about == role)), "{built_in:?}");
    let main = fs::read_to_string(infra().join("main.bicep")).unwrap();
    assert!(main.contains("prefix: 'Image factory ${environmentName}'"), "as src/doctor/grant.rs writes it");
}

#[test]
fn each_custom_role_is_assigned_where_it_belongs_and_nowhere_else() {
    let main = File::read(&infra(), "main.bicep");
    for Custom { role: output, assigned: places, .. } in CUSTOM {
        assert!(module("roles").find(output).is_some_and(|found| found.kind == Kind::Output), "{output}");
        let role = Expression::Member(
            Box::new(Expression::Member(
                Box::new(Expression::Name("roles".to_owned())),
                "outputs".to_owned(),
            )),
            output.to_owned(),
        );
        let mut assigned = BTreeSet::new();
        for declaration in &main.declarations {
            let Kind::Module(path) = &declaration.kind else { continue };
            if declaration.value.as_ref().unwrap().all().contains(&&role) {
                let file = path.trim_start_matches("modules/").trim_end_matches(".bicep");
                assigned.insert((declaration.name.as_str(), file.to_owned()));
            }
        }
        let expected = places.iter().map(|(name, file)| (*name, (*file).to_owned())).collect();
        assert_eq!(assigned, expected, "{output}");
        // Each of these files assigns the role that it is given.
        for (_, file) in places {
            assert!(module(file).resources(ASSIGNMENT).next().is_some(), "{file} assigns nothing");
        }
    }
}

#[test]
fn keys_of_accounts_can_be_read_only_where_an_account_is_named() {
    for path in files("bicep") {
        let file = File::read(&infra(), &path);
        let holds_keys = |found: &&Declaration| {
            let texts = found.value.iter().flat_map(|value| value.all()).filter_map(Expression::text);
            texts.into_iter().any(|text| text.to_ascii_lowercase().contains("listkeys"))
        };
        let found: Vec<&str> =
            file.declarations.iter().filter(holds_keys).map(|found| found.name.as_str()).collect();
        let expected: &[&str] = if path.ends_with("roles.bicep") { &["keyedStorageActions"] } else { &[] };
        assert_eq!(found, expected, "{path}");
    }
    let text = fs::read_to_string(infra().join("modules/roles.bicep")).unwrap();
    let (_, definition) = text.split_once("resource keyedStorage ").unwrap();
    let (head, _) = definition.split_once('\n').unwrap();
    assert!(head.ends_with("= if (hasKeyedAccounts) {"), "{head}");
    let main = File::read(&infra(), "main.bicep");
    let default = main.find("keyedAccounts").unwrap().value.as_ref();
    assert_eq!(default, Some(&Expression::Array(Vec::new())), "no account is named unless somebody does");
    let access = File::read(&infra(), "modules/lab-storage-access.bicep");
    let Expression::Ternary(parts) = access.variable("role") else { panic!("no choice of the role") };
    let [condition, then, otherwise] = &**parts;
    let name = |text: &str| Expression::Name(text.to_owned());
    assert_eq!(
        (condition, then, otherwise),
        (&name("isKeyed"), &name("keyedStorageRole"), &name("labStorageRole"))
    );
}

#[test]
fn built_in_roles_are_known_and_grant_the_rest_of_what_the_code_needs() {
    let mut assigned = BTreeSet::new();
    for path in files("bicep") {
        let file = File::read(&infra(), &path);
        let texts =
            file.declarations.iter().filter_map(|found| Some((&found.name, found.value.as_ref()?.text()?)));
        for (name, text) in texts.filter(|(_, text)| uuid::Uuid::parse_str(text).is_ok()) {
            let (id, _, _) = BUILT_IN
                .iter()
                .find(|(id, _, _)| *id == text)
                .unwrap_or_else(|| panic!("{path}: {name} is no built-in role that this test knows: {text}"));
            let is_used = file.resources(ASSIGNMENT).any(|assignment| {
                let id = assignment.value.as_ref().unwrap().at("properties.roleDefinitionId").unwrap();
                id.all().contains(&&Expression::Name(name.clone()))
            });
            assert!(is_used, "{path}: {name} is not assigned");
            assigned.insert(*id);
        }
    }
    assert_eq!(assigned, BUILT_IN.iter().map(|(id, _, _)| *id).collect());
    let granted: BTreeSet<&str> = BUILT_IN.iter().flat_map(|(_, _, actions)| *actions).copied().collect();
    assert_eq!(granted, declared(Place::ServiceBus));
}

#[test]
fn every_assignment_is_to_the_factory_and_says_that_it_is_no_person() {
    let mut seen = 0;
    for path in files("bicep") {
        let file = File::read(&infra(), &path);
        for assignment in file.resources(ASSIGNMENT) {
            let value = assignment.value.as_ref().unwrap();
            let principal = Expression::Name("principalId".to_owned());
            assert_eq!(value.at("properties.principalId"), Some(&principal), "{path}: {}", assignment.name);
            // Without it an assignment to an identity that was just made fails (Microsoft, "Troubleshoot Azure RBAC").
            let kind = value.at("properties.principalType").and_then(Expression::text);
            assert_eq!(kind, Some("ServicePrincipal"), "{path}: {}", assignment.name);
            seen += 1;
        }
    }
    assert!(seen >= 10, "only {seen} assignments were found");
}
