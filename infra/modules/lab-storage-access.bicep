// What the factory may do in the storage account of a lab. A file of its own, because the account's name is known only once the
// lab has been read.

param accountName string
param principalId string
param labStorageRole string
@description('The role that signs for VHDs, on the account of the factory lab; none if empty.')
param factoryStorageRole string = ''
@description('The role of an account that is reached with a key of its own, in place of the others.')
param keyedStorageRole string
@description('Names of the accounts that are reached so.')
param keyedAccounts array

var isKeyed = contains(keyedAccounts, accountName)
var role = isKeyed ? keyedStorageRole : labStorageRole

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: accountName
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, role)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
  }
}

resource maySign 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!isKeyed && !empty(factoryStorageRole)) {
  name: guid(account.id, principalId, factoryStorageRole)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', factoryStorageRole)
  }
}
