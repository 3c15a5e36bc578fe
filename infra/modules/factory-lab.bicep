// A factory lab for those who have none: its network, the public artifacts, and policies that bound what a mistake can cost.

@description('Name of the lab.')
param name string
param location string
param tags object
@description('Resource id of the resource group for the VMs behind the lab. Without it DevTest Labs makes one for each VM.')
param machinesResourceGroupId string
@description('Most VMs at a time. A run makes all its images at once, so that it needs one for each, and some to spare.')
@minValue(1)
param mostMachines int
@description('The sizes that a VM may have; vmSize in factory.json is one of them.')
param machineSizes array

// The group of the VMs can be chosen in this version only, whose types Bicep does not have.
#disable-next-line BCP081
resource lab 'Microsoft.DevTestLab/labs@2018-10-15-preview' = {
  name: name
  location: location
  tags: tags
  properties: {
    labStorageType: 'Premium'
    vmCreationResourceGroupId: machinesResourceGroupId
  }
}

resource network 'Microsoft.DevTestLab/labs/virtualNetworks@2018-09-15' = {
  parent: lab
  name: 'Dtl${name}'
  properties: {
    description: 'The network of the factory VMs.'
  }
}

// Has windows-sysprep and linux-deprovision, which end every build. The name is what templates and factory.json write.
resource artifacts 'Microsoft.DevTestLab/labs/artifactSources@2018-09-15' = {
  parent: lab
  name: 'public repo'
  properties: {
    displayName: 'Public Artifact Repo'
    uri: 'https://github.com/Azure/azure-devtestlab.git'
    sourceType: 'GitHub'
    folderPath: '/Artifacts'
    branchRef: 'master'
    status: 'Enabled'
  }
}

// Nor does Bicep have that of a set of policies, though it has that of a policy.
#disable-next-line BCP081
resource policies 'Microsoft.DevTestLab/labs/policySets@2018-09-15' existing = {
  parent: lab
  name: 'default'
}

resource atMostSoMany 'Microsoft.DevTestLab/labs/policySets/policies@2018-09-15' = {
  parent: policies
  name: 'MaxVmsAllowedPerLab'
  properties: {
    description: 'A run that goes wrong stops here, not at the quota of the subscription.'
    factName: 'LabVmCount'
    evaluatorType: 'MaxValuePolicy'
    threshold: string(mostMachines)
    status: 'Enabled'
  }
}

resource onlyTheseSizes 'Microsoft.DevTestLab/labs/policySets/policies@2018-09-15' = {
  parent: policies
  name: 'AllowedVmSizesInLab'
  properties: {
    description: 'A typing error in a definition buys no large VM.'
    factName: 'LabVmSize'
    evaluatorType: 'AllowedValuesPolicy'
    threshold: string(machineSizes)
    status: 'Enabled'
  }
}

output id string = lab.id
output storageAccountName string = last(split(lab.properties.defaultStorageAccount, '/'))
