//! Configurations for the laptop: a folder, the shipped example, or one of a given size.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context as _, bail};
use include_dir::{Dir, include_dir};
use serde_json::{Value, json};

use crate::{
    domain::{Configuration, ConfigurationFiles, FactorySettings},
    source::Directory,
};

/// The example that the repository ships.
static EXAMPLE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/examples");

/// The files of `directory`, or of the shipped example.
pub fn read(directory: Option<&Path>) -> anyhow::Result<ConfigurationFiles> {
    match directory {
        Some(directory) => Ok(Directory::new(directory).read()?),
        None => {
            let mut files = Vec::new();
            collect(&EXAMPLE, &mut files);
            Ok(files.into_iter().collect())
        }
    }
}

fn collect(folder: &Dir<'_>, files: &mut Vec<(String, Vec<u8>)>) {
    for file in folder.files() {
        files.push((file.path().to_string_lossy().replace('\\', "/"), file.contents().to_vec()));
    }
    folder.dirs().for_each(|folder| collect(folder, files));
}

/// A configuration of no image and no lab.
pub fn empty() -> Configuration {
    Configuration {
        settings: FactorySettings::default(),
        labs: Vec::new(),
        definitions: BTreeMap::new(),
        broken: BTreeMap::new(),
    }
}

/// What a generated configuration is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Golden images.
    pub images: usize,
    /// Labs, of which each receives all images.
    pub labs: usize,
    /// In so many subscriptions the labs are.
    pub subscriptions: usize,
    /// Whether all images are of Linux; otherwise every other one is of Windows, with a larger disk.
    pub is_linux: bool,
}

impl Shape {
    /// Images of Windows and Linux in turn, labs in four subscriptions.
    pub fn new(images: usize, labs: usize) -> Self {
        Self { images, labs, subscriptions: 4, is_linux: false }
    }
}

/// A configuration of this shape.
pub fn generate(shape: Shape) -> ConfigurationFiles {
    let definitions = (0..shape.images).map(|index| {
        let is_windows = index % 2 == 0 && !shape.is_linux;
        let folder = if is_windows { "Windows" } else { "Linux" };
        let path = format!("GoldenImages/{folder}/Image{index:04}.json");
        (path, definition(is_windows, index % 4).to_string().into_bytes())
    });
    let subscriptions = shape.subscriptions.max(1);
    let paths = if shape.is_linux { vec!["Linux"] } else { vec!["Windows", "Linux"] };
    let labs: Vec<_> = (0..shape.labs)
        .map(|index| {
            json!({
                "SubscriptionId": format!("a0000000-0000-4000-8000-{:012}", index % subscriptions),
                "ResourceGroup": format!("rg-team-{index:03}"),
                "LabName": format!("team-{index:03}"),
                "ImagePaths": paths,
            })
        })
        .collect();
    let labs = ("Labs.json".to_owned(), json!({ "Labs": labs }).to_string().into_bytes());
    definitions.chain([labs]).collect()
}

/// A lab VM with so many artifacts.
pub fn definition(windows: bool, artifacts: usize) -> Value {
    let image = if windows {
        json!({"publisher": "MicrosoftWindowsServer", "offer": "WindowsServer", "sku": "2022-datacenter-g2",
            "osType": "Windows", "version": "latest"})
    } else {
        json!({"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server",
            "osType": "Linux", "version": "latest"})
    };
    let names = if windows {
        ["windows-git", "windows-vscode", "windows-chrome"]
    } else {
        ["linux-apt-package", "linux-install-docker", "linux-java"]
    };
    let artifacts = names.get(..artifacts).unwrap_or(&names);
    lab_vm(&json!({ "galleryImageReference": image }), artifacts)
}

/// The template of a lab VM from `source` (a property of the VM) with these artifacts of the public repository.
pub fn lab_vm(source: &Value, artifacts: &[&str]) -> Value {
    let artifact = |name: &&str| {
        let id = format!(
            "[resourceId('Microsoft.DevTestLab/labs/artifactSources/artifacts', parameters('labName'), 'public repo', '{name}')]"
        );
        json!({ "artifactId": id })
    };
    let mut properties = json!({
        "labVirtualNetworkId": "[resourceId('Microsoft.DevTestLab/labs/virtualnetworks', parameters('labName'), concat('Dtl', parameters('labName')))]",
        "labSubnetName": "[concat('Dtl', parameters('labName'), 'Subnet')]",
        "size": "[parameters('size')]",
        "userName": "[parameters('userName')]",
        "password": "[parameters('password')]",
        "isAuthenticationWithSshKey": false,
        "storageType": "Standard",
        "allowClaim": false,
        "artifacts": artifacts.iter().map(artifact).collect::<Vec<_>>(),
    });
    for (name, value) in source.as_object().into_iter().flatten() {
        properties[name] = value.clone();
    }
    let parameter = |kind: &str| json!({ "type": kind });
    json!({
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {"newVMName": parameter("string"), "labName": parameter("string"), "size": parameter("string"),
            "userName": parameter("string"), "password": parameter("securestring")},
        "resources": [{
            "type": "Microsoft.DevTestLab/labs/virtualmachines",
            "apiVersion": "2018-09-15",
            "name": "[concat(parameters('labName'), '/', parameters('newVMName'))]",
            "location": "[resourceGroup().location]",
            "properties": properties,
        }],
    })
}

/// The configuration in `files`; prints its problems and fails if one is an error.
pub fn check(files: &ConfigurationFiles) -> anyhow::Result<Configuration> {
    let (configuration, problems) = Configuration::load(files);
    for problem in problems.iter() {
        eprintln!("{problem}");
    }
    let configuration = configuration.filter(|_| !problems.has_errors());
    if configuration.is_none() {
        bail!("the configuration cannot be used; see the {} problems above", problems.errors().count());
    }
    configuration.context("there is no configuration")
}
