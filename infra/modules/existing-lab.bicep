// A factory lab that stands already.

@description('Name of the lab, in the resource group of this deployment.')
param name string

resource lab 'Microsoft.DevTestLab/labs@2018-09-15' existing = {
  name: name
}

output id string = lab.id
output storageAccountName string = last(split(lab.properties.defaultStorageAccount, '/'))
