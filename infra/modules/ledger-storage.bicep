// What the factory remembers: small JSON documents in one container of an account of its own.

@description('Name of the storage account.')
param name string
param location string
param tags object
@description('Replication. Zone-redundant storage outlives the loss of a data centre.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
])
param sku string
@description('Principal id of the factory.')
param principalId string
@description('The custom role of the factory on its ledger.')
param ledgerRole string

var container = 'image-factory'

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: account
  name: 'default'
  properties: {
    // A container that somebody deletes by mistake comes back whole.
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 14
    }
    // Documents are written at every turn, each time with the version that was read. Soft delete of blobs would keep every
    // one of these versions, and a run can be made again.
    deleteRetentionPolicy: {
      enabled: false
    }
  }
}

resource ledger 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: container
}

resource mayUseLedger 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(ledger.id, principalId, ledgerRole)
  scope: ledger
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', ledgerRole)
  }
}

output url string = '${account.properties.primaryEndpoints.blob}${ledger.name}'
