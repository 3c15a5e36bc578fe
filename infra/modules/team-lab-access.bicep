// What the factory may do in one team lab, and in the storage account that DevTest Labs made for it. The account is looked for in
// the lab's resource group, where DevTest Labs puts it.

@description('Name of the lab, in the resource group of this deployment.')
param labName string
param principalId string
param teamLabRole string
param labStorageRole string
@description('The role of a storage account that is reached with a key of its own, and the names of those accounts.')
param keyedStorageRole string
param keyedAccounts array

resource lab 'Microsoft.DevTestLab/labs@2018-09-15' existing = {
  name: labName
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(lab.id, principalId, teamLabRole)
  scope: lab
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', teamLabRole)
  }
}

module storage 'lab-storage-access.bicep' = {
  name: 'lab-storage-${uniqueString(lab.id)}'
  params: {
    accountName: last(split(lab.properties.defaultStorageAccount, '/'))
    principalId: principalId
    labStorageRole: labStorageRole
    keyedStorageRole: keyedStorageRole
    keyedAccounts: keyedAccounts
  }
}
