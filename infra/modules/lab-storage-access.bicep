// What the factory may do in the storage account of a lab. A file of its own, because the account's name is known only once the
// lab has been read.

param accountName string
param principalId string
param labStorageRole string

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: accountName
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, labStorageRole)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', labStorageRole)
  }
}
