//! What a test or `dev` puts into the world before (or behind the back of) those who work with it.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{
    Lab,
    artifacts::{ArtifactSource, named},
    custom_images::CustomImage,
    formulas::Formula,
    generic, labs,
    locks::{Lock, LockLevel},
    marketplace::OsType,
    operations,
    policies::Policy,
    resource_groups::{self, ResourceGroup},
    shared_galleries::SharedGallery,
    tags::Tags,
    virtual_machines::{self, LabMachine},
};
use crate::{World, storage};

/// A lab to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabSpec {
    /// The subscription's id, a GUID; added if it is new.
    pub subscription_id: String,
    /// The resource group; added if it is new.
    pub resource_group: String,
    /// The lab's name.
    pub name: String,
    /// The region, such as `westeurope`.
    pub location: String,
}

impl LabSpec {
    /// The lab's id in lower case, which is also how DevTest Labs writes it.
    pub fn id(&self) -> String {
        labs::key(&self.subscription_id, &self.resource_group, &self.name)
    }
}

/// A custom image to be added, as if it had been made before.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomImageSpec {
    /// Its name.
    pub name: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Map<String, Value>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// The OS in it.
    pub os: OsType,
    /// Whether it failed; a failed image stays in the list.
    #[serde(default)]
    pub failed: bool,
}

/// A formula to be added.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FormulaSpec {
    /// Its name.
    pub name: String,
    /// `formulaContent.properties`, such as `{"customImageId": …}`.
    pub content: Value,
}

/// A lab VM to be added, as if it had been made before: running, without artifacts.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VirtualMachineSpec {
    /// Its name.
    pub name: String,
    /// Its tags.
    #[serde(default)]
    pub tags: Map<String, Value>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// Its OS.
    pub os: OsType,
    /// More of its properties, such as `customImageId` or `allowClaim`.
    #[serde(default)]
    pub properties: Map<String, Value>,
    /// Whether its making failed.
    #[serde(default)]
    pub failed: bool,
}

/// An image definition of a compute gallery.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GalleryImageSpec {
    /// The definition's name.
    pub definition: String,
    /// The OS in it.
    pub os: OsType,
    /// Its versions, such as `1.0.0`.
    pub versions: Vec<String>,
    /// The size of its OS disk, in bytes.
    pub bytes: u64,
}

/// Storage accounts have 3 to 24 letters and digits; the recorded lab `factory` had `afactory9688`.
const LONGEST_ACCOUNT_STEM: usize = 19;

impl World {
    /// Adds a lab with all that DevTest Labs makes with it: storage account, key vault, the networks `Dtl{lab}` and `{lab}-vnet`
    /// with their subnets, and the source `public repo`. Answers the lab's id in lower case. A lab that is there stays as it is.
    pub fn add_lab(&mut self, spec: &LabSpec) -> String {
        let key = spec.id();
        if self.arm.labs.contains_key(&key) {
            return key;
        }
        let subscription = spec.subscription_id.to_lowercase();
        self.arm.subscriptions.entry(subscription.clone()).or_default();
        let group = ResourceGroup {
            subscription: subscription.clone(),
            name: spec.resource_group.clone(),
            location: spec.location.clone(),
            ..ResourceGroup::default()
        };
        let group_key = resource_groups::key(&subscription, &spec.resource_group);
        self.arm.groups.entry(group_key).or_insert(group);

        let base = format!("/subscriptions/{subscription}/resourceGroups/{}/providers", spec.resource_group);
        let account = self.free_account(&key, &spec.name);
        let storage_account_id = format!("{base}/Microsoft.Storage/storageAccounts/{account}");
        storage::create_account(self, &storage_account_id, &spec.location);
        let digits = digits(&key, 1000);
        let mut lab = Lab {
            subscription,
            group: spec.resource_group.clone(),
            name: spec.name.clone(),
            location: spec.location.clone(),
            tags: Tags::new(),
            storage_account_id,
            vault_id: format!("{base}/Microsoft.KeyVault/vaults/{}{digits}", spec.name),
            created: self.now(),
            unique: self.new_guid(),
            machines: Default::default(),
            images: Default::default(),
            formulas: Default::default(),
            policies: Default::default(),
            artifact_sources: Default::default(),
            shared_galleries: Default::default(),
            children: Default::default(),
        };
        generic::add_network(&mut lab, &format!("Dtl{}", spec.name));
        generic::add_network(&mut lab, &format!("{}-vnet", spec.name));
        generic::add_source(&mut lab, ArtifactSource::public_repo());
        self.arm.labs.insert(key.clone(), lab);
        key
    }

    /// An account name that nobody has.
    fn free_account(&self, key: &str, lab: &str) -> String {
        let stem: String = lab
            .to_lowercase()
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(LONGEST_ACCOUNT_STEM)
            .collect();
        (0..)
            .map(|turn| format!("a{stem}{}", digits(key, turn)))
            .find(|name| !self.storage.accounts.contains_key(name))
            .unwrap_or_default()
    }

    /// The lab of this id, in any spelling.
    pub fn lab(&self, id: &str) -> Option<&Lab> {
        self.arm.labs.get(&id.to_lowercase())
    }

    fn lab_mut(&mut self, id: &str) -> Option<&mut Lab> {
        self.arm.labs.get_mut(&id.to_lowercase())
    }

    /// Takes a lab away with its VMs, behind everybody's back; its storage account stays. Says whether it was there.
    pub fn delete_lab(&mut self, id: &str) -> bool {
        let key = id.to_lowercase();
        let Some(lab) = self.arm.labs.get(&key) else {
            return false;
        };
        let machines: Vec<String> = lab.machines.keys().cloned().collect();
        let in_machines = lab.machines.values().filter_map(|machine| machine.operation.clone());
        let in_images = lab.images.values().filter_map(|image| image.operation.clone());
        let operations: Vec<String> = in_machines.chain(in_images).collect();
        for name in machines {
            virtual_machines::remove(self, &key, &name);
        }
        self.arm.labs.remove(&key);
        for operation in operations {
            operations::cancel(self, &operation);
        }
        true
    }

    /// Adds a network `name` with the subnet `{name}Subnet` to a lab. Says whether the lab is there.
    pub fn add_virtual_network(&mut self, lab: &str, name: &str) -> bool {
        self.lab_mut(lab).map(|lab| generic::add_network(lab, name)).is_some()
    }

    /// Adds artifacts to a lab's source, and the source if it is new. Says whether the lab is there.
    pub fn add_artifacts(&mut self, lab: &str, source: &str, names: &[&str]) -> bool {
        let Some(lab) = self.lab_mut(lab) else {
            return false;
        };
        match lab.artifact_sources.get_mut(&source.to_lowercase()) {
            Some(known) => {
                let new = names.iter().map(|name| (name.to_lowercase(), named(name)));
                known.artifacts.extend(new);
            }
            None => generic::add_source(lab, ArtifactSource::new(source, names.iter().copied())),
        }
        true
    }

    /// Adds a custom image. Answers its id, if the lab is there.
    pub fn add_custom_image(&mut self, lab: &str, spec: CustomImageSpec) -> Option<String> {
        let unique = self.new_guid();
        let since = self.now();
        let account = self.lab(lab)?.storage_account().to_owned();
        let folder = format!("{}/uploads", self.endpoints.blob(&account));
        let lab = self.lab_mut(lab)?;
        let id = format!("{}/customimages/{}", lab.key(), spec.name.to_lowercase());
        let image = CustomImage {
            properties: [(
                "vhd".to_owned(),
                json!({
                    "imageName": format!("{folder}/{}.vhd", spec.name),
                    "sysPrep": spec.os == OsType::Windows,
                    "osType": spec.os.text(),
                }),
            )]
            .into_iter()
            .collect(),
            tags: spec.tags,
            author: "seed".to_owned(),
            created: spec.created,
            unique,
            state: if spec.failed { "Failed" } else { "Succeeded" },
            os: spec.os,
            bytes: spec.os.marketplace_disk(),
            generalized: true,
            operation: None,
            request_id: id.clone(),
            since,
            unseen_until: None,
            name: spec.name.clone(),
        };
        lab.images.insert(spec.name.to_lowercase(), image);
        Some(id)
    }

    /// Adds a formula. Answers its id, if the lab is there.
    pub fn add_formula(&mut self, lab: &str, spec: FormulaSpec) -> Option<String> {
        let (unique, created) = (self.new_guid(), self.now());
        let lab = self.lab_mut(lab)?;
        let formula = Formula {
            name: spec.name.clone(),
            tags: Tags::new(),
            properties: json!({"description": "", "osType": "Windows", "formulaContent": {"properties": spec.content}}),
            author: "seed".to_owned(),
            created,
            unique,
        };
        lab.formulas.insert(spec.name.to_lowercase(), formula);
        Some(format!("{}/formulas/{}", lab.key(), spec.name.to_lowercase()))
    }

    /// Adds a lab VM that runs (or failed). Answers its id, if the lab is there.
    pub fn add_virtual_machine(&mut self, lab: &str, spec: VirtualMachineSpec) -> Option<String> {
        let unique = self.new_guid();
        let key = lab.to_lowercase();
        let lab = self.arm.labs.get_mut(&key)?;
        let id = format!("{key}/virtualmachines/{}", spec.name.to_lowercase());
        let mut properties = spec.properties;
        for (name, value) in
            [("size", json!("Standard_D2s_v3")), ("allowClaim", json!(false)), ("ownerObjectId", json!(""))]
        {
            properties.entry(name).or_insert(value);
        }
        let machine = LabMachine {
            name: spec.name.clone(),
            location: lab.location.clone(),
            tags: spec.tags,
            properties,
            unique,
            created: spec.created,
            created_by: "seed".to_owned(),
            request_id: id.clone(),
            os: spec.os,
            disk_bytes: spec.os.marketplace_disk(),
            source: "FromGalleryImage",
            image_reference: None,
            state: if spec.failed { virtual_machines::FAILED } else { virtual_machines::SUCCEEDED },
            artifacts: Vec::new(),
            compute: None,
            known_power: None,
            operation: None,
            making_since: None,
            unseen_until: None,
        };
        lab.machines.insert(spec.name.to_lowercase(), machine);
        if !spec.failed {
            virtual_machines::seed_compute(self, &key, &spec.name.to_lowercase());
        }
        Some(id)
    }

    /// Puts a tag on a custom image or VM of `lab` (`kind` is `customimages` or `virtualmachines`), as a person does in the
    /// portal; says whether it was there.
    pub fn set_tag(&mut self, lab: &str, kind: &str, name: &str, tag: (&str, &str)) -> bool {
        let Some(lab) = self.arm.labs.get_mut(&lab.to_lowercase()) else {
            return false;
        };
        let name = name.to_lowercase();
        let tags = match kind {
            "customimages" => lab.images.get_mut(&name).map(|image| &mut image.tags),
            _ => lab.machines.get_mut(&name).map(|machine| &mut machine.tags),
        };
        tags.map(|tags| tags.insert(tag.0.to_owned(), json!(tag.1))).is_some()
    }

    /// Gives a subscription so many cores in each region; `None` takes the limit away. The subscription is added if it is new.
    pub fn set_quota(&mut self, subscription: &str, cores: Option<u32>) {
        let subscription = self.arm.subscriptions.entry(subscription.to_lowercase()).or_default();
        subscription.cores = cores;
    }

    /// Sets a lab policy: `fact` such as `LabVmCount`, `evaluator` `MaxValuePolicy` or `AllowedValuesPolicy`, and the threshold as
    /// DevTest Labs keeps it (a number, or a JSON array, as text). Says whether the lab is there.
    pub fn set_policy(&mut self, lab: &str, fact: &str, evaluator: &str, threshold: &str) -> bool {
        let policy = Policy {
            name: fact.to_owned(),
            fact: fact.to_owned(),
            evaluator: evaluator.to_owned(),
            threshold: threshold.to_owned(),
            enabled: true,
        };
        self.lab_mut(lab).map(|lab| lab.policies.insert(fact.to_lowercase(), policy)).is_some()
    }

    /// Puts a lock on a scope (a resource id).
    pub fn add_lock(&mut self, scope: &str, name: &str, level: LockLevel) {
        let lock = Lock {
            id: format!("{scope}/providers/Microsoft.Authorization/locks/{name}"),
            name: name.to_owned(),
            level,
            notes: None,
        };
        let scope = scope.trim_end_matches('/').to_lowercase();
        self.arm.locks.entry(scope).or_default().insert(name.to_lowercase(), lock);
    }

    /// Makes an image definition of a compute gallery known.
    pub fn add_gallery_image(&mut self, gallery_id: &str, image: GalleryImageSpec) {
        let images = self.arm.gallery_images.entry(gallery_id.to_lowercase()).or_default();
        images.insert(image.definition.to_lowercase(), image);
    }

    /// Attaches a compute gallery to a lab with all its images. Says whether the lab is there.
    pub fn attach_gallery(&mut self, lab: &str, name: &str, gallery_id: &str) -> bool {
        let gallery = SharedGallery {
            name: name.to_owned(),
            gallery_id: gallery_id.to_owned(),
            allow_all: true,
            enabled: Default::default(),
        };
        self.lab_mut(lab).map(|lab| lab.shared_galleries.insert(name.to_lowercase(), gallery)).is_some()
    }

    /// Puts a secret into a key vault, for templates' parameter references.
    pub fn set_secret(&mut self, vault_id: &str, name: &str, value: &str) {
        let key = (vault_id.to_lowercase(), name.to_lowercase());
        self.arm.secrets.insert(key, value.to_owned());
    }
}

/// Four digits that depend on a lab's id.
fn digits(key: &str, turn: u32) -> String {
    let hash = Sha256::digest(format!("{key}/{turn}"));
    let number = u16::from_be_bytes([hash[0], hash[1]]) % 9000 + 1000;
    number.to_string()
}
