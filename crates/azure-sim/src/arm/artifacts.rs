//! Artifact sources and what their artifacts do to a VM.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{error::ArmError, labs::Lab, marketplace::OsType};

/// What DevTest Labs does after an artifact's script (`postDeployActions` of Artifactfile.json).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PostDeploy {
    /// Nothing.
    Nothing,
    /// Restarts the VM (some artifacts do so by `deallocate` and a start).
    Restart,
    /// Waits until the OS has shut down, and deallocates the VM: sysprep and waagent deprovision.
    Deallocate,
}

/// One artifact of a source.
#[derive(Clone, Debug)]
pub struct Artifact {
    /// The folder's name, such as `windows-chrome`.
    pub name: String,
    /// On which OS it works; it fails on the other.
    pub os: OsType,
    /// What comes after its script.
    pub post_deploy: PostDeploy,
}

/// A repository of artifacts that a lab knows.
#[derive(Clone, Debug)]
pub struct ArtifactSource {
    /// `public repo` for Microsoft's own, with the space.
    pub name: String,
    /// By name in lower case.
    pub artifacts: BTreeMap<String, Artifact>,
}

/// The name of Microsoft's source in every lab.
pub const PUBLIC_REPO: &str = "public repo";

/// Folders of <https://github.com/Azure/azure-devtestlab/tree/master/Artifacts>.
const PUBLIC_ARTIFACTS: &str = "linux-apt-package linux-bootstrap-chef linux-change-password linux-change-sshkey \
    linux-deploy-app-from-storage linux-deprovision linux-deprovision-agent2 linux-deprovision-Ubuntu linux-install-docker \
    linux-install-docker-container linux-install-git linux-install-mongodb linux-install-mysqldb linux-install-nodejs \
    linux-install-nvm linux-java linux-mono-devel linux-npm-package linux-openjdk-tomcat7 linux-powershell linux-run-bash \
    linux-secure-mariadb linux-swapfile linux-vsts-build-agent linux-xrdp linux-yum-package \
    windows-7zip windows-add-local-admin windows-add-local-group windows-add-user-to-group windows-appxremove windows-atom \
    windows-awscli windows-azurecli windows-azuredevops-multiple-agents windows-azurepowershell windows-azuresdknet-vs2013 \
    windows-azuresdknet-vs2015 windows-beyond-compare windows-bootstrap-chef windows-certificate-from-keyvault \
    windows-change-password windows-chocolatey windows-chocolateyfeed windows-chrome windows-clone-git-repo \
    windows-create-url-shortcut windows-CreateDomain windows-deploymentgroup \
    windows-desired-state-configuration-az-automation windows-docker windows-domain-join windows-domain-join-new \
    windows-dotnet45 windows-download-artifacts-drop windows-download-sas-blob windows-dsc windows-eclipse \
    windows-enable-local-admins windows-fiddler windows-firefox windows-firewall windows-git windows-gvim-cream windows-iis \
    windows-install-certificate windows-install-powershell-module windows-install-windows-ms-updates windows-java \
    windows-mongodb windows-nodejs windows-notepadplusplus windows-npm-package windows-office windows-powershell \
    windows-putty windows-rename-computer windows-resharper windows-restart windows-run-command windows-run-powershell \
    windows-seleniumgrid windows-ServiceFabricSDK windows-slack windows-ssms windows-sublime windows-sysinternals \
    windows-sysprep windows-vs-test-agents windows-vscode windows-vsts-build-agent windows-webpi windows-winscp";

/// These restart the VM, by `restart` or by `deallocate` and a start.
const RESTARTING: [&str; 6] = [
    "windows-restart",
    "windows-domain-join",
    "windows-domain-join-new",
    "windows-createdomain",
    "windows-docker",
    "windows-servicefabricsdk",
];

/// An artifact as its name tells: `windows-…` or `linux-…`, generalising where it says so.
pub(crate) fn named(name: &str) -> Artifact {
    let lower = name.to_lowercase();
    let generalizes = lower.starts_with("windows-sysprep") || lower.starts_with("linux-deprovision");
    let post_deploy = if generalizes {
        PostDeploy::Deallocate
    } else if RESTARTING.contains(&lower.as_str()) {
        PostDeploy::Restart
    } else {
        PostDeploy::Nothing
    };
    Artifact {
        name: name.to_owned(),
        os: if lower.starts_with("linux") { OsType::Linux } else { OsType::Windows },
        post_deploy,
    }
}

impl ArtifactSource {
    /// A source that holds artifacts of these names.
    pub fn new<'a>(name: &str, artifacts: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            name: name.to_owned(),
            artifacts: artifacts
                .into_iter()
                .map(|artifact| (artifact.to_lowercase(), named(artifact)))
                .collect(),
        }
    }

    /// Microsoft's source.
    pub fn public_repo() -> Self {
        Self::new(PUBLIC_REPO, PUBLIC_ARTIFACTS.split_whitespace())
    }

    /// As GET answers it; `id` is the source's.
    pub(crate) fn view(&self, id: &str) -> Value {
        json!({
            "id": id,
            "name": self.name,
            "type": "Microsoft.DevTestLab/labs/artifactSources",
            "properties": {
                "displayName": "Public Artifact Repo",
                "uri": "https://github.com/Azure/azure-devtestlab.git",
                "sourceType": "GitHub",
                "folderPath": "/Artifacts",
                "armTemplateFolderPath": "/Environments",
                "branchRef": "master",
                "status": "Enabled",
                "provisioningState": "Succeeded",
            },
        })
    }
}

impl Artifact {
    /// As GET answers it; `source_id` is the source's id.
    pub(crate) fn view(&self, source_id: &str) -> Value {
        json!({
            "id": format!("{source_id}/artifacts/{}", self.name.to_lowercase()),
            "name": self.name,
            "type": "Microsoft.DevTestLab/labs/artifactSources/artifacts",
            "properties": {
                "title": self.name,
                "publisher": "Microsoft",
                "targetOsType": self.os.text(),
                "filePath": format!("/Artifacts/{}/Artifactfile.json", self.name),
            },
        })
    }
}

/// One artifact of a lab VM.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) id: String,
    pub(crate) parameters: Value,
    pub(crate) artifact: Artifact,
    pub(crate) status: &'static str,
    pub(crate) started: Option<time::OffsetDateTime>,
    pub(crate) message: String,
}

/// An artifact that waits for its turn.
pub(crate) const PENDING: &str = "Pending";
/// The artifact that is being applied.
pub(crate) const INSTALLING: &str = "Installing";
/// An artifact that worked.
pub(crate) const SUCCEEDED: &str = "Succeeded";
/// An artifact that failed.
pub(crate) const FAILED: &str = "Failed";
/// An artifact after one that failed.
pub(crate) const SKIPPED: &str = "Skipped";

impl Run {
    pub(crate) fn view(&self) -> Value {
        let mut body = json!({
            "artifactId": self.id,
            "artifactTitle": self.artifact.name,
            "status": self.status,
            "deploymentStatusMessage": self.message,
            "vmExtensionStatusMessage": "",
        });
        if let Some(started) = self.started {
            body["installTime"] = json!(super::stamp(started));
        }
        if !self.parameters.is_null() {
            body["parameters"] = self.parameters.clone();
        }
        body
    }
}

/// Reads `artifacts` of a body; every id must name an artifact of this lab, in full or relative to the lab.
pub(crate) fn read(lab: &Lab, list: &Value) -> Result<Vec<Run>, ArmError> {
    let items = match list {
        Value::Null => return Ok(Vec::new()),
        Value::Array(items) => items,
        _ => return Err(ArmError::bad_request("'artifacts' must be an array.")),
    };
    items
        .iter()
        .map(|item| {
            let id = item["artifactId"]
                .as_str()
                .ok_or_else(|| ArmError::bad_request("Every artifact must have an 'artifactId'."))?;
            let artifact = find(lab, id).ok_or_else(|| {
                ArmError::new(
                    404,
                    "ArtifactNotFound",
                    format!("The artifact '{id}' was not found in lab '{}'.", lab.name),
                )
            })?;
            Ok(Run {
                id: id.to_owned(),
                parameters: without_secrets(&item["parameters"]),
                artifact,
                status: PENDING,
                started: None,
                message: String::new(),
            })
        })
        .collect()
}

/// Parameters' values may be secrets; DevTest Labs does not say which, so none is ever shown.
fn without_secrets(parameters: &Value) -> Value {
    match parameters {
        Value::Array(items) => items.iter().map(|item| json!({"name": item["name"]})).collect(),
        _ => Value::Null,
    }
}

fn find(lab: &Lab, id: &str) -> Option<Artifact> {
    let lower = id.to_lowercase();
    let relative = lower.strip_prefix(&lab.key()).unwrap_or(&lower);
    let segments: Vec<&str> = relative.split('/').filter(|s| !s.is_empty()).collect();
    match segments.as_slice() {
        ["artifactsources", source, "artifacts", name] => {
            lab.artifact_sources.get(*source)?.artifacts.get(*name).cloned()
        }
        _ => None,
    }
}
