//! What else must hold of a deployment: no keys, no passwords, and `azd up` finds what it needs.

use std::{collections::BTreeSet, fs};

use crate::{
    bicep::{Expression, File, Kind},
    files, infra, root,
};

/// What each kind of resource must say so that nobody gets in with a key.
const WITHOUT_KEYS: [(&str, &str, &str); 6] = [
    ("Microsoft.Storage/storageAccounts", "properties.allowSharedKeyAccess", "false"),
    ("Microsoft.Storage/storageAccounts", "properties.allowBlobPublicAccess", "false"),
    ("Microsoft.ServiceBus/namespaces", "properties.disableLocalAuth", "true"),
    ("Microsoft.Insights/components", "properties.DisableLocalAuth", "true"),
    ("Microsoft.KeyVault/vaults", "properties.enableRbacAuthorization", "true"),
    ("Microsoft.Web/sites/basicPublishingCredentialsPolicies", "properties.allow", "false"),
];

fn all() -> Vec<File> {
    files("bicep").iter().map(|path| File::read(&infra(), path)).collect()
}

#[test]
fn nothing_that_is_made_can_be_entered_with_a_key() {
    let files = all();
    for (kind, property, wanted) in WITHOUT_KEYS {
        let resources: Vec<_> = files.iter().flat_map(|file| file.resources(kind)).collect();
        assert!(!resources.is_empty(), "there is no {kind}");
        for resource in resources {
            let value = resource.value.as_ref().unwrap();
            assert_eq!(
                value.at(property).and_then(Expression::word),
                Some(wanted),
                "{}: {property}",
                resource.name
            );
        }
    }
}

#[test]
fn no_file_asks_for_a_key_or_takes_a_password() {
    for path in files("bicep") {
        let text = fs::read_to_string(infra().join(&path)).unwrap();
        for word in ["listKeys(", "listkeys(", "@secure(", "AccountKey", "SharedAccessKey", "listSecrets("] {
            assert!(!text.contains(word), "{path}: {word}");
        }
    }
}

#[test]
fn the_vault_cannot_be_purged() {
    let files = all();
    let vault = files.iter().flat_map(|file| file.resources("Microsoft.KeyVault/vaults")).next().unwrap();
    let value = vault.value.as_ref().unwrap();
    assert_eq!(value.at("properties.enablePurgeProtection").and_then(Expression::word), Some("true"));
}

#[test]
fn the_app_runs_the_handler_as_a_custom_one_on_both_plans() {
    let app = crate::module("function-app");
    let runtime = app.find("flexApp").unwrap().value.as_ref().unwrap();
    let name = runtime.at("properties.functionAppConfig.runtime.name").and_then(Expression::text);
    assert_eq!(name, Some("custom"));
    let Expression::Ternary(parts) = app.variable("premiumSettings") else { panic!("no condition") };
    assert_eq!(parts[2].at("FUNCTIONS_WORKER_RUNTIME").and_then(Expression::text), Some("custom"));
}

#[test]
fn the_deployment_script_reads_what_the_deployment_gives() {
    let main = File::read(&infra(), "main.bicep");
    let given: BTreeSet<&str> = main
        .declarations
        .iter()
        .filter(|found| found.kind == Kind::Output)
        .map(|found| found.name.as_str())
        .collect();
    let script = fs::read_to_string(infra().join("deploy.sh")).unwrap();
    // `: "${NAME:?…}"` is how it asks for what it needs.
    let read: BTreeSet<&str> =
        script.split("${").skip(1).filter_map(|rest| Some(rest.split_once(":?")?.0)).collect();
    assert!(read.contains("FACTORY_APP"), "{read:?}");
    let missing: Vec<_> = read.difference(&given).collect();
    assert!(missing.is_empty(), "infra/deploy.sh reads what infra/main.bicep does not give: {missing:?}");
}

#[test]
fn azd_provisions_by_a_parameters_file_that_is_there_and_then_deploys() {
    let text = fs::read_to_string(root().join("azure.yaml")).unwrap();
    let value = |key: &str| {
        let line =
            text.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{key}"));
        line.trim().to_owned()
    };
    assert_eq!((value("provider:"), value("path:")), ("bicep".to_owned(), "infra".to_owned()));
    let module = value("module:");
    assert!(infra().join(format!("{module}.bicepparam")).is_file(), "{module}");
    let script = value("run:");
    assert!(root().join(&script).is_file(), "{script}");
}
