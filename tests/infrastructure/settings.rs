//! Every setting that is read is set, and every setting that is set is read: by the handler, by the Functions host, or by a
//! binding. What the handler reads is taken from its sources, so that a new setting cannot be forgotten here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    bicep::{Expression, File},
    entries, functions, module, root,
};

/// Settings of the handler that stay unset in Azure, each with the reason.
const NOT_IN_AZURE: [(&str, &str); 2] = [
    ("ServiceBus", "a connection string, which is a secret: the namespace is reached with the identity"),
    ("IMAGE_FACTORY_CONFIGURATION", "a folder of the machine: the app has none"),
];

/// Settings of the Functions host, each with where Microsoft documents it.
const OF_THE_HOST: [(&str, &str); 11] = [
    ("AzureWebJobsStorage__accountName", "functions-reference, Connecting to host storage with an identity"),
    (
        "AzureWebJobsStorage__credential",
        "functions-reference, Common properties for identity-based connections",
    ),
    (
        "AzureWebJobsStorage__clientId",
        "functions-reference, Common properties for identity-based connections",
    ),
    ("ServiceBus__credential", "functions-reference, Common properties for identity-based connections"),
    ("ServiceBus__clientId", "functions-reference, Common properties for identity-based connections"),
    ("APPLICATIONINSIGHTS_CONNECTION_STRING", "functions-app-settings"),
    ("APPLICATIONINSIGHTS_AUTHENTICATION_STRING", "functions-app-settings"),
    ("FUNCTIONS_EXTENSION_VERSION", "functions-app-settings"),
    ("FUNCTIONS_WORKER_RUNTIME", "functions-app-settings"),
    ("WEBSITE_RUN_FROM_PACKAGE", "functions-app-settings"),
    (
        "WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID",
        "run-functions-from-deployment-package, Fetch a package from Azure Blob Storage using a managed identity",
    ),
];

/// Settings of the sample that only a machine of one's own needs.
const ONLY_IN_THE_SAMPLE: [&str; 2] = ["AzureWebJobsStorage", "FUNCTIONS_WORKER_RUNTIME"];

/// What the handler reads: the public texts of `settings.rs` and of its folder are the settings' names, by that module's rule, and
/// so is the filter of the log.
pub fn read_by_the_handler() -> BTreeSet<String> {
    let folder = root().join("src/handler/settings");
    let mut sources = vec![root().join("src/handler/settings.rs"), root().join("src/handler/logging.rs")];
    sources
        .extend(entries(&folder).into_iter().filter(|name| name != "tests.rs").map(|name| folder.join(name)));
    let mut names = BTreeSet::new();
    for source in sources.iter().filter(|path| path.is_file()) {
        let text = fs::read_to_string(source).unwrap();
        for line in text.lines() {
            let constant =
                line.trim().strip_prefix("pub const ").or_else(|| line.strip_prefix("const FILTER_VARIABLE"));
            let value = constant.and_then(|rest| rest.split_once(": &str = \"")?.1.strip_suffix("\";"));
            names.extend(value.map(str::to_owned));
        }
    }
    names
}

/// The settings that stand as `%name%` in functions/.
fn read_by_bindings() -> BTreeSet<String> {
    let texts = functions().into_iter().map(|(_, function)| function.to_string());
    texts.flat_map(|text| text.split('%').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The keys of an object that is put together of variables, conditions and unions.
fn keys(file: &File, expression: &Expression) -> BTreeSet<String> {
    match expression {
        Expression::Object(properties) => properties.iter().map(|(name, _)| name.clone()).collect(),
        Expression::Name(name) => keys(file, file.variable(name)),
        Expression::Call(name, parts) if name == "union" => {
            parts.iter().flat_map(|part| keys(file, part)).collect()
        }
        Expression::Ternary(parts) => parts[1..].iter().flat_map(|part| keys(file, part)).collect(),
        other => panic!("no settings can be read from {other:?}"),
    }
}

/// The settings that are deployed.
fn deployed() -> BTreeSet<String> {
    let file = module("function-app");
    let settings = file.resources("Microsoft.Web/sites/config").next().unwrap();
    keys(&file, settings.value.as_ref().unwrap().at("properties").unwrap())
}

fn names<const N: usize>(list: [(&str, &str); N]) -> BTreeSet<String> {
    list.iter().map(|(name, _)| (*name).to_owned()).collect()
}

#[test]
fn every_setting_that_is_read_is_set_and_every_setting_that_is_set_is_read() {
    let handler = read_by_the_handler();
    for known in ["IMAGE_FACTORY_LEDGER", "IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET", "RUST_LOG"] {
        assert!(handler.contains(known), "the sources are not read rightly: no {known} in {handler:?}");
    }
    let nowhere = names(NOT_IN_AZURE);
    let gone: Vec<_> = nowhere.difference(&handler).collect();
    assert!(gone.is_empty(), "nobody reads any more: {gone:?}");
    let mut expected: BTreeSet<String> = handler.difference(&nowhere).cloned().collect();
    expected.extend(read_by_bindings());
    expected.extend(names(OF_THE_HOST));
    let deployed = deployed();
    let missing: Vec<_> = expected.difference(&deployed).collect();
    assert!(missing.is_empty(), "read, but not set in infra/modules/function-app.bicep: {missing:?}");
    let idle: Vec<_> = deployed.difference(&expected).collect();
    assert!(idle.is_empty(), "set in infra/modules/function-app.bicep, but read by nobody: {idle:?}");
}

/// Every source of the program below a folder, without those of the simulator's commands and of tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for name in
        entries(folder).into_iter().filter(|name| !matches!(name.as_str(), "dev" | "tests" | "tests.rs"))
    {
        let path = folder.join(&name);
        match path.is_dir() {
            true => sources(&path, found),
            false => found.push(path),
        }
    }
}

#[test]
fn no_setting_is_read_outside_of_the_settings() {
    let mut paths = Vec::new();
    sources(&root().join("src"), &mut paths);
    let known = read_by_the_handler();
    let mut seen = 0;
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let texts = text.split('"').skip(1).step_by(2).filter(|text| text.starts_with("IMAGE_FACTORY_"));
        let is_name = |text: &&str| text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        for name in texts.filter(is_name) {
            assert!(
                known.contains(name),
                "{}: {name} is no public text of src/handler/settings",
                path.display()
            );
            seen += 1;
        }
    }
    assert!(seen >= known.iter().filter(|name| name.starts_with("IMAGE_FACTORY_")).count(), "{seen}");
}

#[test]
fn the_sample_has_no_setting_that_nobody_reads_and_all_that_bindings_name() {
    let text = fs::read_to_string(root().join("local.settings.sample.json")).unwrap();
    let sample: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    let sample: BTreeSet<String> = sample["Values"].as_object().unwrap().keys().cloned().collect();
    let mut known = read_by_the_handler();
    known.extend(read_by_bindings());
    known.extend(ONLY_IN_THE_SAMPLE.map(str::to_owned));
    let idle: Vec<_> = sample.difference(&known).collect();
    assert!(idle.is_empty(), "{idle:?}");
    let missing: Vec<_> = read_by_bindings().difference(&sample).cloned().collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Whether the name of a setting says that its value is a secret.
fn is_secret(name: &str) -> bool {
    ["SECRET", "TOKEN", "PRIVATE_KEY", "PASSWORD", "HEADERS"].iter().any(|word| name.contains(word))
}

#[test]
fn no_setting_holds_a_secret() {
    let file = module("function-app");
    for declaration in &file.declarations {
        let Some(value) = &declaration.value else { continue };
        for expression in value.all() {
            let Expression::Object(properties) = expression else { continue };
            for (name, value) in properties.iter().filter(|(name, _)| is_secret(name)) {
                let text = value.text().unwrap_or_default();
                assert!(
                    text.starts_with("@Microsoft.KeyVault("),
                    "{name} is no reference to Key Vault: {value:?}"
                );
            }
        }
    }
}
