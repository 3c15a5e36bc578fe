//! What the factory's identity must be allowed to do, and where.
//!
//! Custom roles grant exactly this: `infra/modules/roles.bicep`. Whole runs prove that it is what the code calls
//! (`tests/scenarios/actions.rs`), and the parsed roles that they grant it (`tests/infrastructure/`). The names are those of
//! <https://learn.microsoft.com/azure/role-based-access-control/resource-provider-operations>; Azure compares them ignoring case.

/// Where an action is needed: each place has a role of its own, which is assigned nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The resource group of the factory lab.
    FactoryLab,
    /// The resource groups in which DevTest Labs makes the compute side of the factory lab's VMs.
    Machines,
    /// A team lab.
    TeamLab,
    /// The storage account of a lab, be it the factory's or a team's.
    LabStorage,
    /// The storage account of the factory lab alone, from which VHDs are copied.
    FactoryStorage,
    /// In place of both, the account of a lab that `IMAGE_FACTORY_KEYED_ACCOUNTS` names.
    KeyedStorage,
    /// A subscription that has a lab: the URLs of operations and of the Marketplace name no resource group.
    Subscription,
    /// The container of the ledger.
    Ledger,
    /// The Service Bus namespace.
    ServiceBus,
}

impl Place {
    /// Every place.
    pub const ALL: [Self; 9] = [
        Self::FactoryLab,
        Self::Machines,
        Self::TeamLab,
        Self::LabStorage,
        Self::FactoryStorage,
        Self::KeyedStorage,
        Self::Subscription,
        Self::Ledger,
        Self::ServiceBus,
    ];

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::FactoryLab => "factory lab",
            Self::Machines => "machines",
            Self::TeamLab => "team lab",
            Self::LabStorage => "lab storage",
            Self::FactoryStorage => "factory storage",
            Self::KeyedStorage => "keyed storage",
            Self::Subscription => "subscription",
            Self::Ledger => "ledger",
            Self::ServiceBus => "Service Bus",
        }
    }

    /// The roles that grant its actions: how the names of custom ones end (infra/modules/roles.bicep), or those of built-in ones.
    pub fn roles(self) -> &'static [&'static str] {
        match self {
            Self::FactoryLab => &["factory lab"],
            Self::Machines => &["machines"],
            Self::TeamLab => &["team lab"],
            Self::LabStorage => &["lab storage"],
            Self::FactoryStorage => &["factory storage"],
            Self::KeyedStorage => &["keyed storage"],
            Self::Subscription => &["operations"],
            Self::Ledger => &["ledger"],
            Self::ServiceBus => &["Azure Service Bus Data Sender", "Azure Service Bus Data Receiver"],
        }
    }
}

/// An action that the factory needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name: `Microsoft.DevTestLab/labs/read`.
    pub name: &'static str,
    /// Where.
    pub place: Place,
    /// The function that needs it, and why if that is not plain.
    pub needed_by: &'static str,
}

impl Action {
    /// Whether it is done to a service's data, which roles allow apart (`dataActions`).
    pub fn is_on_data(&self) -> bool {
        ["/containers/blobs/", "/namespaces/messages/"].iter().any(|part| self.name.contains(part))
    }
}

const fn action(place: Place, name: &'static str, needed_by: &'static str) -> Action {
    Action { name, place, needed_by }
}

/// All actions, by place.
pub const ACTIONS: &[Action] = &[
    action(Place::FactoryLab, "Microsoft.DevTestLab/labs/read", "Azure::find_lab"),
    action(Place::FactoryLab, "Microsoft.DevTestLab/labs/customImages/read", "Azure::custom_image_by_id"),
    action(
        Place::FactoryLab,
        "Microsoft.DevTestLab/labs/artifactSources/artifacts/read",
        "Azure::artifacts: the doctor",
    ),
    action(
        Place::FactoryLab,
        "Microsoft.DevTestLab/labs/sharedGalleries/sharedImages/read",
        "Azure::shared_image",
    ),
    action(
        Place::FactoryLab,
        "Microsoft.DevTestLab/labs/virtualMachines/read",
        "Azure::lab_vm, Azure::lab_vms",
    ),
    // Resource Manager asks for it of whoever deploys a template with such a resource
    // (<https://learn.microsoft.com/azure/azure-resource-manager/templates/deploy-cli#required-permissions>).
    action(
        Place::FactoryLab,
        "Microsoft.DevTestLab/labs/virtualMachines/write",
        "Azure::put_deployment: the resource of every golden image",
    ),
    action(Place::FactoryLab, "Microsoft.DevTestLab/labs/virtualMachines/delete", "Azure::delete_lab_vm"),
    action(
        Place::FactoryLab,
        "Microsoft.Resources/deployments/read",
        "Azure::deployment, Azure::deployments",
    ),
    action(Place::FactoryLab, "Microsoft.Resources/deployments/write", "Azure::put_deployment"),
    action(Place::FactoryLab, "Microsoft.Resources/deployments/delete", "Azure::delete_deployment"),
    action(Place::FactoryLab, "Microsoft.Resources/deployments/cancel/action", "Azure::cancel_deployment"),
    action(Place::Machines, "Microsoft.Compute/virtualMachines/read", "Azure::compute_vm"),
    action(Place::Machines, "Microsoft.Compute/disks/read", "Azure::disk"),
    action(Place::Machines, "Microsoft.Compute/disks/beginGetAccess/action", "Azure::begin_disk_access"),
    action(Place::Machines, "Microsoft.Compute/disks/endGetAccess/action", "Azure::end_disk_access"),
    action(Place::TeamLab, "Microsoft.DevTestLab/labs/read", "Azure::find_lab"),
    action(
        Place::TeamLab,
        "Microsoft.DevTestLab/labs/customImages/read",
        "Azure::custom_image, Azure::custom_images",
    ),
    action(Place::TeamLab, "Microsoft.DevTestLab/labs/customImages/write", "Azure::put_custom_image"),
    action(Place::TeamLab, "Microsoft.DevTestLab/labs/customImages/delete", "Azure::delete_custom_image"),
    action(Place::TeamLab, "Microsoft.DevTestLab/labs/formulas/read", "Azure::formulas"),
    action(Place::TeamLab, "Microsoft.DevTestLab/labs/virtualMachines/read", "Azure::lab_vms"),
    action(Place::LabStorage, "Microsoft.Storage/storageAccounts/read", "Azure::storage_account"),
    action(
        Place::LabStorage,
        "Microsoft.Storage/storageAccounts/blobServices/containers/write",
        "Container::create_if_missing: the container of VHDs",
    ),
    action(
        Place::LabStorage,
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
        "Container::get, Container::properties, Container::pages; of a copy's source, whoever signs its SAS",
    ),
    action(
        Place::LabStorage,
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
        "Container::put, Container::start_copy, Container::abort_copy",
    ),
    action(
        Place::LabStorage,
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
        "Container::delete",
    ),
    action(
        Place::FactoryStorage,
        "Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action",
        "Container::user_delegation_sas_url",
    ),
    action(Place::KeyedStorage, "Microsoft.Storage/storageAccounts/read", "Azure::storage_account"),
    action(Place::KeyedStorage, "Microsoft.Storage/storageAccounts/listKeys/action", "Azure::storage_key"),
    action(Place::Subscription, "Microsoft.Compute/locations/diskOperations/read", "Azure::disk_access"),
    action(
        Place::Subscription,
        "Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read",
        "Azure::newest_version",
    ),
    action(
        Place::Subscription,
        "Microsoft.DevTestLab/labs/read",
        "Azure::find_lab: where Labs.json names no resource group",
    ),
    action(Place::Subscription, "Microsoft.DevTestLab/locations/operations/read", "Azure::check"),
    action(
        Place::Subscription,
        "Microsoft.Authorization/permissions/read",
        "Azure::permissions: the doctor, there and at everything below",
    ),
    action(
        Place::Subscription,
        "Microsoft.Compute/locations/usages/read",
        "Azure::compute_usages: the doctor",
    ),
    action(
        Place::Subscription,
        "Microsoft.ServiceBus/namespaces/read",
        "Azure::service_bus_namespace: the doctor, which knows its host alone",
    ),
    action(Place::Subscription, "Microsoft.Compute/skus/read", "Azure::vm_sizes: the doctor"),
    action(
        Place::Ledger,
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read",
        "Container::get, Container::properties, Container::pages",
    ),
    action(
        Place::Ledger,
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write",
        "Container::put",
    ),
    action(
        Place::Ledger,
        "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete",
        "Container::delete",
    ),
    action(Place::ServiceBus, "Microsoft.ServiceBus/namespaces/queues/read", "Azure::queues: the doctor"),
    action(Place::ServiceBus, "Microsoft.ServiceBus/namespaces/messages/send/action", "ServiceBusOutbox"),
    action(
        Place::ServiceBus,
        "Microsoft.ServiceBus/namespaces/messages/receive/action",
        "the Functions host, for the triggers of functions/",
    ),
];
