// The function app with its plan: the Functions host of Azure, which starts the factory's handler.

@description('Name of the app, which is also the beginning of its address.')
param name string
param planName string
param location string
param tags object

@description('Flex Consumption scales to zero and costs by use. Elastic Premium keeps an instance warm all the time.')
@allowed([
  'flex'
  'premium'
])
param plan string
@description('Most instances. Each works on 16 messages a queue at a time (maxConcurrentCalls in host.json).')
@minValue(1)
@maxValue(1000)
param mostInstances int
@description('Memory of an instance of Flex Consumption. The handler takes a few dozen megabytes, the host beside it some hundred.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int

@description('Resource id of the identity of the factory.')
param identityId string
@description('Client id of that identity.')
param identityClientId string

param hostStorageName string
@description('URL of the container with the deployed package.')
param packageContainerUrl string
@description('URL of the ledger: the account with its container.')
param ledgerUrl string
param serviceBusNamespace string
param keyVaultName string
param applicationInsightsConnectionString string

@description('Resource id of the factory lab.')
param factoryLabId string
@description('Names of the storage accounts of labs that are reached with a key of theirs, separated by commas.')
param keyedAccounts string
@description('The repository with the configuration; see docs/configuration.md for this one and the next three.')
param repository string
param branch string
param folder string
param githubApi string
@description('Whether the repository is read with a token, the secret repository-token of the key vault.')
param readsWithToken bool
@description('Id or client id of the GitHub App that reads the repository in place of a token, or empty. Its private key is the secret github-app-key of the vault.')
param githubAppId string
@description('Id of the installation of the app, which it needs.')
param githubAppInstallationId string
@description('When cleanup ticks, as an NCRONTAB expression.')
param cleanupSchedule string
@description('When a run of everything starts by itself, as an NCRONTAB expression.')
param schedule string
@description('What is logged: target=level, separated by commas.')
param logFilter string
@description('Where traces and metrics go: an OTLP receiver over HTTP, or empty.')
param otlpEndpoint string
@description('Whether it asks for headers, the secret otlp-headers of the key vault.')
param otlpHasHeaders bool

var isFlex = plan == 'flex'
// Addresses of Azure DevOps have this segment, those of GitHub never.
var isAzureDevOps = contains(repository, '/_git/')

// What the handler reads (src/handler/settings.rs and its folder, and the %names% in functions/).
var handlerSettings = {
  IMAGE_FACTORY_LEDGER: ledgerUrl
  IMAGE_FACTORY_LAB: factoryLabId
  IMAGE_FACTORY_KEYED_ACCOUNTS: keyedAccounts
  IMAGE_FACTORY_RESOURCE_MANAGER: environment().resourceManager
  IMAGE_FACTORY_REPOSITORY: repository
  IMAGE_FACTORY_BRANCH: branch
  IMAGE_FACTORY_FOLDER: folder
  IMAGE_FACTORY_GITHUB_API: githubApi
  AZURE_CLIENT_ID: identityClientId
  ServiceBus__fullyQualifiedNamespace: serviceBusNamespace
  CleanupSchedule: cleanupSchedule
  Schedule: schedule
  RUST_LOG: logFilter
}
var webhookSettings = isAzureDevOps ? {
  IMAGE_FACTORY_AZURE_DEVOPS_WEBHOOK_SECRET: '@Microsoft.KeyVault(VaultName=${keyVaultName};SecretName=azure-devops-webhook)'
} : {
  IMAGE_FACTORY_GITHUB_WEBHOOK_SECRET: '@Microsoft.KeyVault(VaultName=${keyVaultName};SecretName=github-webhook)'
}
var tokenSettings = readsWithToken ? {
  IMAGE_FACTORY_REPOSITORY_TOKEN: '@Microsoft.KeyVault(VaultName=${keyVaultName};SecretName=repository-token)'
} : {}
var githubAppSettings = empty(githubAppId) ? {} : {
  IMAGE_FACTORY_GITHUB_APP_ID: githubAppId
  IMAGE_FACTORY_GITHUB_APP_INSTALLATION_ID: githubAppInstallationId
  IMAGE_FACTORY_GITHUB_APP_PRIVATE_KEY: '@Microsoft.KeyVault(VaultName=${keyVaultName};SecretName=github-app-key)'
}
// The Functions host takes no notice of these unless its own telemetryMode is OpenTelemetry (host.json).
var telemetrySettings = empty(otlpEndpoint) ? {} : {
  OTEL_EXPORTER_OTLP_ENDPOINT: otlpEndpoint
}
var telemetryHeaders = otlpHasHeaders ? {
  OTEL_EXPORTER_OTLP_HEADERS: '@Microsoft.KeyVault(VaultName=${keyVaultName};SecretName=otlp-headers)'
} : {}

// What the Functions host reads.
var hostSettings = {
  AzureWebJobsStorage__accountName: hostStorageName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  ServiceBus__credential: 'managedidentity'
  ServiceBus__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
}
// On Flex Consumption functionAppConfig stands for these; there they are refused or do nothing.
var premiumSettings = isFlex ? {} : {
  FUNCTIONS_EXTENSION_VERSION: '~4'
  FUNCTIONS_WORKER_RUNTIME: 'custom'
  // Read from the container with the identity, so that no file share is needed, which could be reached with a key only.
  WEBSITE_RUN_FROM_PACKAGE: '${packageContainerUrl}/image-factory.zip'
  WEBSITE_RUN_FROM_PACKAGE_BLOB_MI_RESOURCE_ID: identityId
}

resource flexPlan 'Microsoft.Web/serverfarms@2024-04-01' = if (isFlex) {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource flexApp 'Microsoft.Web/sites@2024-04-01' = if (isFlex) {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: flexPlan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packageContainerUrl
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      // A custom handler. The version is that of Microsoft's samples; az functionapp list-flexconsumption-runtimes lists them.
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      scaleAndConcurrency: {
        maximumInstanceCount: mostInstances
        instanceMemoryMB: instanceMemoryMB
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
    }
  }
}

resource premiumPlan 'Microsoft.Web/serverfarms@2024-04-01' = if (!isFlex) {
  name: planName
  location: location
  tags: tags
  kind: 'elastic'
  sku: {
    name: 'EP1'
    tier: 'ElasticPremium'
  }
  properties: {
    reserved: true
    maximumElasticWorkerCount: min(mostInstances, 100)
  }
}

resource premiumApp 'Microsoft.Web/sites@2024-04-01' = if (!isFlex) {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: premiumPlan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      // One instance is always there.
      minimumElasticInstanceCount: 1
    }
  }
}

// Whichever of the two was made.
resource app 'Microsoft.Web/sites@2024-04-01' existing = {
  name: name
}

// Basic authentication of deployments is a password, so there is none. What belongs to one app is made one after the other: Azure
// refuses a change while another one goes on.
resource noBasicScm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
  dependsOn: [
    flexApp
    premiumApp
  ]
}

resource noBasicFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
  dependsOn: [
    noBasicScm
  ]
}

resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union(handlerSettings, webhookSettings, tokenSettings, githubAppSettings, telemetrySettings, telemetryHeaders, hostSettings, premiumSettings)
  dependsOn: [
    noBasicFtp
  ]
}

output name string = name
output hostName string = isFlex ? flexApp!.properties.defaultHostName : premiumApp!.properties.defaultHostName
