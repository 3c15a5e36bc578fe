// The custom roles of the factory: exactly what its code does, by the place where it does it. src/azure/actions.rs says which call
// needs which action; an action that one of the two lacks fails the tests.
targetScope = 'subscription'

@description('Begins the names of the roles, which are unique in a tenant.')
param prefix string
@description('Whether there are storage accounts of labs that are reached with a key of theirs.')
param hasKeyedAccounts bool
@description('The subscriptions in which the roles are assigned, as /subscriptions/{id}.')
param assignableScopes array

// On the factory lab's resource group: VMs are made by deployments of templates, and go with their deployments.
var factoryLabActions = [
  'Microsoft.DevTestLab/labs/read'
  'Microsoft.DevTestLab/labs/customImages/read'
  'Microsoft.DevTestLab/labs/artifactSources/artifacts/read'
  'Microsoft.DevTestLab/labs/sharedGalleries/sharedImages/read'
  'Microsoft.DevTestLab/labs/virtualMachines/read'
  'Microsoft.DevTestLab/labs/virtualMachines/write'
  'Microsoft.DevTestLab/labs/virtualMachines/delete'
  'Microsoft.Resources/deployments/read'
  'Microsoft.Resources/deployments/write'
  'Microsoft.Resources/deployments/delete'
  'Microsoft.Resources/deployments/cancel/action'
]

// Where DevTest Labs puts the compute side of the factory lab's VMs. The factory reads the OS disk of a VM that is deallocated.
var machineActions = [
  'Microsoft.Compute/virtualMachines/read'
  'Microsoft.Compute/disks/read'
  'Microsoft.Compute/disks/beginGetAccess/action'
  'Microsoft.Compute/disks/endGetAccess/action'
]

// On each team lab.
var teamLabActions = [
  'Microsoft.DevTestLab/labs/read'
  'Microsoft.DevTestLab/labs/customImages/read'
  'Microsoft.DevTestLab/labs/customImages/write'
  'Microsoft.DevTestLab/labs/customImages/delete'
  'Microsoft.DevTestLab/labs/formulas/read'
  'Microsoft.DevTestLab/labs/virtualMachines/read'
]

// On the storage account of each lab, the factory's included: VHDs are written, read and deleted as the factory's identity.
var labStorageActions = [
  'Microsoft.Storage/storageAccounts/read'
  'Microsoft.Storage/storageAccounts/blobServices/containers/write'
]
var labStorageDataActions = [
  'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'
  'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'
  'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'
]

// On the storage account of the factory lab: a copy into another account reads its source by a signature, for which the service
// lends a key.
var factoryStorageActions = [
  'Microsoft.Storage/storageAccounts/blobServices/generateUserDelegationKey/action'
]

// In place of both, on the accounts that are named in keyedAccounts. A key of an account allows everything in it.
var keyedStorageActions = [
  'Microsoft.Storage/storageAccounts/read'
  'Microsoft.Storage/storageAccounts/listKeys/action'
]

// On each subscription: the URLs of operations that go on, and of the Marketplace's images, name no resource group, and a lab is
// looked up by its name where Labs.json gives no group. The doctor asks what roles allow, there and at everything below, and which
// VM sizes and how many cores there are, and where the Service Bus namespace is.
var subscriptionActions = [
  'Microsoft.Compute/locations/diskOperations/read'
  'Microsoft.Compute/locations/publishers/artifacttypes/offers/skus/versions/read'
  'Microsoft.DevTestLab/labs/read'
  'Microsoft.DevTestLab/locations/operations/read'
  'Microsoft.Authorization/permissions/read'
  'Microsoft.Compute/locations/usages/read'
  'Microsoft.Compute/skus/read'
  'Microsoft.ServiceBus/namespaces/read'
]

// On the ledger's container. The container itself is made here, not by the factory.
var ledgerDataActions = [
  'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read'
  'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write'
  'Microsoft.Storage/storageAccounts/blobServices/containers/blobs/delete'
]

resource factoryLab 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'factory lab')
  properties: {
    roleName: '${prefix}: factory lab'
    description: 'Makes and deletes the VMs of golden images in the factory lab.'
    type: 'CustomRole'
    permissions: [
      {
        actions: factoryLabActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

resource machines 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'machines')
  properties: {
    roleName: '${prefix}: machines'
    description: 'Reads the VMs behind the factory lab, and their disks.'
    type: 'CustomRole'
    permissions: [
      {
        actions: machineActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

resource teamLab 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'team lab')
  properties: {
    roleName: '${prefix}: team lab'
    description: 'Registers custom images in a lab, and retires those that it made.'
    type: 'CustomRole'
    permissions: [
      {
        actions: teamLabActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

resource labStorage 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'lab storage')
  properties: {
    roleName: '${prefix}: lab storage'
    description: 'Writes VHDs into the storage account of a lab.'
    type: 'CustomRole'
    permissions: [
      {
        actions: labStorageActions
        dataActions: labStorageDataActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

resource factoryStorage 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'factory storage')
  properties: {
    roleName: '${prefix}: factory storage'
    description: 'Signs for the VHDs of the factory lab, so that they can be copied to other labs.'
    type: 'CustomRole'
    permissions: [
      {
        actions: factoryStorageActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

resource keyedStorage 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (hasKeyedAccounts) {
  name: guid(subscription().id, prefix, 'keyed storage')
  properties: {
    roleName: '${prefix}: keyed storage'
    description: 'Reads the keys of a storage account that allows nothing else.'
    type: 'CustomRole'
    permissions: [
      {
        actions: keyedStorageActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

resource inSubscription 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'operations')
  properties: {
    roleName: '${prefix}: operations'
    description: 'Asks how operations go on and which images the Marketplace has, and finds labs by their names.'
    type: 'CustomRole'
    permissions: [
      {
        actions: subscriptionActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

resource ledger 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, prefix, 'ledger')
  properties: {
    roleName: '${prefix}: ledger'
    description: 'Reads and writes the documents of the ledger.'
    type: 'CustomRole'
    permissions: [
      {
        actions: []
        dataActions: ledgerDataActions
      }
    ]
    assignableScopes: assignableScopes
  }
}

// By name: the id of a role begins with the subscription in which it is assigned.
output factoryLabRole string = factoryLab.name
output machinesRole string = machines.name
output teamLabRole string = teamLab.name
output labStorageRole string = labStorage.name
output factoryStorageRole string = factoryStorage.name
output keyedStorageRole string = guid(subscription().id, prefix, 'keyed storage')
output subscriptionRole string = inSubscription.name
output ledgerRole string = ledger.name
