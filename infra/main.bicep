// Everything that an image factory needs in Azure. Choose small.bicepparam or large.bicepparam, and see docs/deployment.md.
targetScope = 'subscription'

@description('Name of the installation, of letters, digits and hyphens. All names are made from it. Two installations in one tenant need two, because the names of roles are unique there.')
@minLength(2)
@maxLength(20)
param environmentName string
@description('Region of everything that is made here.')
param location string
@description('Tags of everything that is made here.')
param tags object = {}

// An entry of Labs.json. There ResourceGroup may be left out; here it cannot, because a role stands on the lab.
type teamLab = {
  SubscriptionId: string
  ResourceGroup: string
  LabName: string
  ImagePaths: array
}

@description('The labs that receive images: the Labs of Labs.json. At most 800, as many as a deployment has parts.')
param labs teamLab[]

@description('Whether the factory lab is made here, with a resource group for it and one for its VMs.')
param createFactoryLab bool = true
@description('Name of the factory lab, new or there already.')
param factoryLabName string = 'image-factory'
@description('Subscription of the factory lab, if it is there already.')
param factoryLabSubscriptionId string = subscription().subscriptionId
@description('Resource group of the factory lab, if it is there already.')
param factoryLabResourceGroup string = 'rg-${environmentName}-lab'
@description('Resource group of the VMs behind a factory lab that is there already. Without it DevTest Labs makes a group for each VM, and the factory may read VMs and export their disks in the whole subscription.')
param machinesResourceGroup string = ''
@description('Most VMs at a time in a factory lab that is made here.')
param mostMachines int = 20
@description('Sizes of VMs in a factory lab that is made here.')
param machineSizes array = [
  'Standard_D2s_v3'
]

@description('Names of those storage accounts of labs that allow the factory nothing but a key of theirs. All others are reached as its identity; without any, the factory may read no key at all.')
param keyedAccounts array = []

@description('Repository with the configuration, such as https://github.com/<owner>/<repository>.')
param repository string
@description('Branch of which the newest commit counts.')
param branch string = 'main'
@description('Folder of the repository with Labs.json and GoldenImages; the repository itself if empty.')
param folder string = ''
@description('API of a GitHub Enterprise server; empty for github.com.')
param githubApi string = ''
@description('Whether the repository is read with a token, the secret repository-token of the key vault. Set it once the secret is there.')
param readsWithToken bool = false
@description('Id or client id of a GitHub App that reads the repository in place of a token, or empty. Its private key is the secret github-app-key of the vault.')
param githubAppId string = ''
@description('Id of the installation of that app, which it needs.')
param githubAppInstallationId string = ''

@description('Plan of the function app.')
@allowed([
  'flex'
  'premium'
])
param plan string = 'flex'
@description('Most instances of the function app.')
param mostInstances int = 40
@description('Memory of an instance of Flex Consumption.')
param instanceMemoryMB int = 2048
@description('Tier of Service Bus.')
param serviceBusSku string = 'Standard'
@description('Replication of the ledger.')
param ledgerSku string = 'Standard_LRS'
@description('How many days logs are kept.')
param logRetentionInDays int = 31
@description('Most gigabytes of logs a day; -1 for no limit.')
param logDailyQuotaGb int = -1
@description('When cleanup ticks. Recovery of lost messages is counted in its ticks: leave it at ten minutes.')
param cleanupSchedule string = '0 */10 * * * *'
@description('When a run of everything starts by itself, as an NCRONTAB expression in UTC.')
param schedule string = '0 0 1 * * *'
@description('What the handler logs; its own default if empty.')
param logFilter string = ''
@description('Where traces and metrics go besides the log: an OTLP receiver over HTTP, such as https://collector.example.org:4318; nowhere if empty. See docs/telemetry.md.')
param otlpEndpoint string = ''
@description('Whether that receiver asks for headers, the secret otlp-headers of the key vault (name=value, separated by commas). Set it once the secret is there.')
param otlpHasHeaders bool = false
@description('Who is told by alerts, as addresses of mail.')
param alertMailAddresses array
@description('A queue with no fewer messages than this for half an hour raises an alert.')
param standingQueueMessages int = 0

var token = toLower(uniqueString(subscription().id, environmentName, location))
var allTags = union(tags, {
  'azd-env-name': environmentName
})
// Lab and VMs of a new factory lab are in this subscription; of one that is there already they are in its own.
var labSubscription = createFactoryLab ? subscription().subscriptionId : factoryLabSubscriptionId
var newMachinesGroup = 'rg-${environmentName}-machines'
var machinesGroup = createFactoryLab ? newMachinesGroup : machinesResourceGroup
// In lower case, so that union drops what is there twice.
var ownSubscriptionId = toLower(subscription().subscriptionId)
var labSubscriptionId = toLower(labSubscription)
var subscriptionIds = union([labSubscriptionId], map(labs, lab => toLower(lab.SubscriptionId)))
var packageContainer = 'packages'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: allTags
}

resource labGroup 'Microsoft.Resources/resourceGroups@2024-03-01' = if (createFactoryLab) {
  name: factoryLabResourceGroup
  location: location
  tags: allTags
}

resource machines 'Microsoft.Resources/resourceGroups@2024-03-01' = if (createFactoryLab) {
  name: newMachinesGroup
  location: location
  tags: allTags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${environmentName}'
    location: location
    tags: allTags
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles-${token}'
  params: {
    prefix: 'Image factory ${environmentName}'
    hasKeyedAccounts: !empty(keyedAccounts)
    assignableScopes: map(union([ownSubscriptionId], subscriptionIds), id => '/subscriptions/${id}')
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-${environmentName}'
    componentName: 'appi-${environmentName}'
    location: location
    tags: allTags
    retentionInDays: logRetentionInDays
    dailyQuotaGb: logDailyQuotaGb
    principalId: identity.outputs.principalId
  }
}

module hostStorage 'modules/host-storage.bicep' = {
  name: 'host-storage'
  scope: group
  params: {
    name: 'sthost${token}'
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
    packageContainer: packageContainer
  }
}

module ledgerStorage 'modules/ledger-storage.bicep' = {
  name: 'ledger-storage'
  scope: group
  params: {
    name: 'stledger${token}'
    location: location
    tags: allTags
    sku: ledgerSku
    principalId: identity.outputs.principalId
    ledgerRole: roles.outputs.ledgerRole
  }
}

module serviceBus 'modules/service-bus.bicep' = {
  name: 'service-bus'
  scope: group
  params: {
    name: 'sbns-${environmentName}-${token}'
    location: location
    tags: allTags
    sku: serviceBusSku
    principalId: identity.outputs.principalId
  }
}

module keyVault 'modules/key-vault.bicep' = {
  name: 'key-vault'
  scope: group
  params: {
    name: 'kv${token}'
    location: location
    tags: allTags
    principalId: identity.outputs.principalId
  }
}

module newLab 'modules/factory-lab.bicep' = if (createFactoryLab) {
  name: 'factory-lab'
  scope: labGroup
  params: {
    name: factoryLabName
    location: location
    tags: allTags
    machinesResourceGroupId: machines.id
    mostMachines: mostMachines
    machineSizes: machineSizes
  }
}

module existingLab 'modules/existing-lab.bicep' = if (!createFactoryLab) {
  name: 'factory-lab-${token}'
  scope: resourceGroup(labSubscription, factoryLabResourceGroup)
  params: {
    name: factoryLabName
  }
}

module factoryLabAccess 'modules/group-access.bicep' = {
  name: 'factory-lab-access-${token}'
  scope: resourceGroup(labSubscription, factoryLabResourceGroup)
  params: {
    principalId: identity.outputs.principalId
    role: roles.outputs.factoryLabRole
  }
  dependsOn: [
    labGroup
  ]
}

module factoryLabStorageAccess 'modules/lab-storage-access.bicep' = {
  name: 'factory-lab-storage-access-${token}'
  scope: resourceGroup(labSubscription, factoryLabResourceGroup)
  params: {
    accountName: createFactoryLab ? newLab!.outputs.storageAccountName : existingLab!.outputs.storageAccountName
    principalId: identity.outputs.principalId
    labStorageRole: roles.outputs.labStorageRole
    factoryStorageRole: roles.outputs.factoryStorageRole
    keyedStorageRole: roles.outputs.keyedStorageRole
    keyedAccounts: keyedAccounts
  }
}

module machinesAccess 'modules/group-access.bicep' = if (!empty(machinesGroup)) {
  name: 'machines-access-${token}'
  scope: resourceGroup(labSubscription, empty(machinesGroup) ? factoryLabResourceGroup : machinesGroup)
  params: {
    principalId: identity.outputs.principalId
    role: roles.outputs.machinesRole
  }
  dependsOn: [
    machines
  ]
}

module allMachinesAccess 'modules/subscription-access.bicep' = if (empty(machinesGroup)) {
  name: 'all-machines-access-${token}'
  scope: subscription(labSubscription)
  params: {
    principalId: identity.outputs.principalId
    role: roles.outputs.machinesRole
  }
}

module subscriptionAccess 'modules/subscription-access.bicep' = [for id in subscriptionIds: {
  name: 'subscription-access-${token}-${uniqueString(id)}'
  scope: subscription(id)
  params: {
    principalId: identity.outputs.principalId
    role: roles.outputs.subscriptionRole
  }
}]

module teamLabAccess 'modules/team-lab-access.bicep' = [for lab in labs: {
  name: 'team-lab-access-${token}-${uniqueString(lab.SubscriptionId, lab.ResourceGroup, lab.LabName)}'
  scope: resourceGroup(lab.SubscriptionId, lab.ResourceGroup)
  params: {
    labName: lab.LabName
    principalId: identity.outputs.principalId
    teamLabRole: roles.outputs.teamLabRole
    labStorageRole: roles.outputs.labStorageRole
    keyedStorageRole: roles.outputs.keyedStorageRole
    keyedAccounts: keyedAccounts
  }
}]

module functionApp 'modules/function-app.bicep' = {
  name: 'function-app'
  scope: group
  params: {
    name: 'func-${environmentName}-${token}'
    planName: 'plan-${environmentName}'
    location: location
    tags: allTags
    plan: plan
    mostInstances: mostInstances
    instanceMemoryMB: instanceMemoryMB
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    hostStorageName: hostStorage.outputs.name
    packageContainerUrl: hostStorage.outputs.packageContainerUrl
    ledgerUrl: ledgerStorage.outputs.url
    serviceBusNamespace: serviceBus.outputs.fullyQualifiedNamespace
    keyVaultName: keyVault.outputs.name
    applicationInsightsConnectionString: monitoring.outputs.connectionString
    factoryLabId: createFactoryLab ? newLab!.outputs.id : existingLab!.outputs.id
    keyedAccounts: join(keyedAccounts, ',')
    repository: repository
    branch: branch
    folder: folder
    githubApi: githubApi
    readsWithToken: readsWithToken
    githubAppId: githubAppId
    githubAppInstallationId: githubAppInstallationId
    cleanupSchedule: cleanupSchedule
    schedule: schedule
    logFilter: logFilter
    otlpEndpoint: otlpEndpoint
    otlpHasHeaders: otlpHasHeaders
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    prefix: 'alert-${environmentName}'
    location: location
    tags: allTags
    mailAddresses: alertMailAddresses
    serviceBusId: serviceBus.outputs.id
    workspaceId: monitoring.outputs.workspaceId
    standingQueueMessages: standingQueueMessages
  }
}

module workbook 'modules/workbook.bicep' = {
  name: 'workbook'
  scope: group
  params: {
    displayName: 'Image factory ${environmentName}'
    location: location
    tags: allTags
    workspaceId: monitoring.outputs.workspaceId
    serviceBusId: serviceBus.outputs.id
  }
}

// infra/deploy.sh reads these.
output AZURE_RESOURCE_GROUP string = group.name
output FACTORY_APP string = functionApp.outputs.name
output FACTORY_HOST string = functionApp.outputs.hostName
output FACTORY_PLAN string = plan
output FACTORY_HOST_STORAGE string = hostStorage.outputs.name
output FACTORY_PACKAGE_CONTAINER string = packageContainer
output FACTORY_KEY_VAULT string = keyVault.outputs.name
output FACTORY_IDENTITY_CLIENT_ID string = identity.outputs.clientId
